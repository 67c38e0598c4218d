//! How much of a page gathers before its reader is woken: slapd sends each entry by itself, and to be woken for one costs as
//! much as to read it.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What gathers, in bytes: some thirty entries.
const GATHERED: usize = 32 * 1024;
/// Entries of a search that are taken as they come, until it is known how large they are; a short answer ends within them.
const MEASURED: u64 = 100;
/// How long the rest of a page may be waited for that turns out to be shorter than expected, or slow.
const PAUSE: Duration = Duration::from_millis(5);

/// The least number of bytes that wakes the reader; what there is can be read at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Every byte does.
    Low,
    /// Fewer do not.
    High,
}

impl Mark {
    /// The number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Low => 1,
            Self::High => GATHERED,
        }
    }
}

/// Watches one page after the other, and says when the mark has to move.
pub(super) struct Gathering {
    mark: Mark,
    /// Entries that may still come in the page.
    missing: u64,
    /// Entries and bytes that came in the search.
    entries: u64,
    bytes: u64,
    /// When what gathers is read in any case.
    ends: Option<Pin<Box<Sleep>>>,
}

impl Gathering {
    /// Nothing gathers before a page begins.
    pub(super) fn new() -> Self {
        Self {
            mark: Mark::Low,
            missing: 0,
            entries: 0,
            bytes: 0,
            ends: None,
        }
    }

    /// Another search begins.
    pub(super) fn forget(&mut self) {
        self.entries = 0;
        self.bytes = 0;
    }

    /// A page of so many entries at the most was asked for.
    pub(super) fn begins(&mut self, entries: u64) {
        self.missing = entries;
    }

    /// An entry came; answers the mark when it moves.
    pub(super) fn came(&mut self, bytes: usize) -> Option<Mark> {
        self.entries += 1;
        self.bytes += bytes as u64;
        self.missing = self.missing.saturating_sub(1);
        self.moves_to(if self.is_long() {
            Mark::High
        } else {
            Mark::Low
        })
    }

    /// The page ended, or what gathers has to be read now, and the rest of the page as it comes; answers the mark when it moves.
    pub(super) fn ends(&mut self) -> Option<Mark> {
        self.missing = 0;
        self.moves_to(Mark::Low)
    }

    /// Waits until what gathers has to be read whatever its size.
    pub(super) async fn lasts(&mut self) {
        if self.mark == Mark::Low {
            return pending().await;
        }
        let end = Instant::now() + PAUSE;
        let ends = self.ends.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ends.as_mut().reset(end);
        ends.as_mut().await;
    }

    /// Whether the rest of the page is larger than what gathers, if its entries are half as large as those before.
    fn is_long(&self) -> bool {
        let rest = self.missing.saturating_mul(self.bytes) / self.entries.max(1) / 2;
        self.entries >= MEASURED && rest > GATHERED as u64
    }

    fn moves_to(&mut self, mark: Mark) -> Option<Mark> {
        (self.mark != mark).then(|| {
            self.mark = mark;
            mark
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::ldap::request::{self, Reach, Search};
    use crate::source::ldap::wire::{Reply, Wire};
    use bytes::BytesMut;
    use ldap3_proto::LdapCodec;
    use ldap3_proto::control::LdapControl;
    use ldap3_proto::proto::{LdapMsg, LdapOp, LdapResult, LdapResultCode, LdapSearchResultEntry};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{advance, timeout};
    use tokio_util::codec::{Decoder, Encoder};

    const ENTRY: usize = 1_000;
    const PAGE: u16 = 1_000;

    /// Where the mark moves to, and after how many entries, in a page of so many.
    fn moves(gathering: &mut Gathering, entries: u64) -> Vec<(u64, Mark)> {
        gathering.begins(PAGE.into());
        let came = |entry| Some((entry, gathering.came(ENTRY)?));
        (1..=entries).filter_map(came).collect()
    }

    #[test]
    fn a_page_gathers_once_its_entries_are_measured_and_not_at_its_end() {
        let mut gathering = Gathering::new();
        let end = 1_000 - 65;
        let first = vec![(MEASURED, Mark::High), (end, Mark::Low)];
        assert_eq!(moves(&mut gathering, 1_000), first);
        let next = vec![(1, Mark::High), (end, Mark::Low)];
        assert_eq!(moves(&mut gathering, 1_000), next);
        gathering.forget();
        assert_eq!(moves(&mut gathering, MEASURED - 1), vec![]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_gathered_is_read_after_a_pause_and_the_rest_of_the_page_as_it_comes() {
        let mut gathering = Gathering::new();
        assert!(timeout(PAUSE * 100, gathering.lasts()).await.is_err());
        moves(&mut gathering, 200);
        for _ in 0..3 {
            assert!(timeout(PAUSE / 2, gathering.lasts()).await.is_err());
            advance(PAUSE).await;
        }
        gathering.lasts().await;
        assert_eq!(gathering.ends(), Some(Mark::Low));
        assert_eq!(gathering.came(ENTRY), None);
        assert_eq!(moves(&mut gathering, 1), vec![(1, Mark::High)]);
    }

    fn message(id: i32, op: LdapOp, ctrl: Vec<LdapControl>) -> LdapMsg {
        let msgid = id;
        LdapMsg { msgid, op, ctrl }
    }

    fn entry() -> LdapOp {
        LdapOp::SearchResultEntry(LdapSearchResultEntry {
            dn: "x".repeat(ENTRY),
            attributes: Vec::new(),
        })
    }

    fn done() -> LdapOp {
        LdapOp::SearchResultDone(LdapResult {
            code: LdapResultCode::Success,
            matcheddn: String::new(),
            message: String::new(),
            referral: Vec::new(),
        })
    }

    /// Answers each search with the next page, and leaves the connection open when there is none.
    async fn answer(mut stream: TcpStream, pages: Vec<usize>) {
        let mut codec = LdapCodec::default();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let last = pages.len() - 1;
        for (number, entries) in pages.into_iter().enumerate() {
            let asked = loop {
                match codec.decode(&mut input).unwrap() {
                    Some(asked) => break asked.msgid,
                    None => stream.read_buf(&mut input).await.unwrap(),
                };
            };
            for _ in 0..entries {
                codec
                    .encode(message(asked, entry(), Vec::new()), &mut output)
                    .unwrap();
            }
            let cookie = vec![1; usize::from(number < last)];
            let page = LdapControl::SimplePagedResults { size: 0, cookie };
            codec
                .encode(message(asked, done(), vec![page]), &mut output)
                .unwrap();
            stream.write_all_buf(&mut output).await.unwrap();
        }
        let _ = stream.read_buf(&mut input).await;
    }

    #[tokio::test]
    async fn a_page_that_is_shorter_than_it_may_be_ends_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let pages = vec![1_000, 1_000, 7, 300, 0];
        tokio::spawn(answer(far, pages.clone()));
        let mut wire = Wire::new(Box::new(near), 1 << 20, Duration::from_secs(10));
        let mut cookie = Vec::new();
        for entries in pages {
            let search = Search {
                base: "",
                reach: Reach::Subtree,
                filter: request::any_entry(),
                entries_max: 0,
                attributes: &[],
                names_only: false,
            };
            wire.page(search, Vec::new(), PAGE, &cookie).await.unwrap();
            let mut read = 0;
            cookie = loop {
                match wire.reply().await.unwrap() {
                    Reply::Entry(_) => read += 1,
                    Reply::Reference(_) => {}
                    Reply::Done(_, cookie) => break cookie.unwrap(),
                }
            };
            assert_eq!(read, entries);
        }
        assert!(cookie.is_empty());
    }
}
