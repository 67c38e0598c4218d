//! The wire: one connection on which one operation runs at a time, each answer waited for as long as it may take.

use std::fmt;
use std::io;
use std::time::Duration;

use lber::structure::StructureTag;
use ldap3::controls::RawControl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::select;
use tokio::time::timeout;

use crate::source::ldap::answer::{Answer, paging_cookie};
use crate::source::ldap::ber::Malformed;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::frame::{FrameError, Framed, Message};
use crate::source::ldap::gathering::{Gathering, Mark};
use crate::source::ldap::request::{self, Search};
use crate::source::ldap::silence::Silence;

const ENTRY: u8 = 0x64;
const REFERENCE: u8 = 0x73;
const SEARCH_DONE: u8 = 0x65;
const INTERMEDIATE: u8 = 0x79;
/// How long a polite goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A byte stream to the server: plain or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Wakes the reader only when so many bytes have come, or the end; fewer can be read all the same.
    fn wake_at(&self, bytes: usize);
}

/// Why the wire carries nothing more. After any of these the connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server did not answer in time.
    #[error("the server sent no answer for {}", Seconds(*.0))]
    Silent(Duration),
    /// The stream could not be read or is not LDAP.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The server announced that it disconnects (RFC 4511 §4.4.1).
    #[error("the server ended the connection: {0}")]
    Disconnected(String),
    /// An answer to something that was not asked, or of a kind that does not answer it.
    #[error("the server sent a message that answers no request of ours")]
    Unexpected,
    /// An operation was given up in the middle, or an earlier error ended the connection.
    #[error("this connection broke off in the middle of an earlier operation")]
    Broken,
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

impl From<Malformed> for WireError {
    fn from(error: Malformed) -> Self {
        Self::Frame(error.into())
    }
}

impl WireError {
    /// Whether the server broke the protocol, rather than the connection its promise.
    pub(super) fn is_protocol(&self) -> bool {
        match self {
            Self::Unexpected => true,
            Self::Frame(error) => {
                matches!(error, FrameError::Malformed(_) | FrameError::TooLong { .. })
            }
            _ => false,
        }
    }
}

/// A duration as people say it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seconds", self.0.as_secs_f64())
    }
}

/// One message of the answer to a search.
#[derive(Debug)]
pub(super) enum Reply {
    /// An entry, not decoded yet.
    Entry(Message),
    /// Places where the server says the search should go on.
    Reference(Vec<String>),
    /// The end, and the cookie of the paging control where there was one.
    Done(Answer, Option<Vec<u8>>),
}

/// One message of the answer to a search with which a feed is read.
#[derive(Debug)]
pub(super) enum Event {
    /// An entry, not decoded yet, with its controls.
    Entry(Message),
    /// Something in between (RFC 4511 §4.13), not decoded yet.
    Intermediate(Message),
    /// The end, with its controls.
    Done(Answer, Message),
}

/// The most entries that a search for one entry asks for: two are enough to know that it is not one.
const FOUND_MAX: u16 = 2;

/// The most references that the answer to a search for one entry may have.
const REFERENCES_MAX: usize = 100;

/// How long a message of a feed is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as for any answer.
    Limited,
    /// Until there is one; whoever waits can stop.
    Endless,
}

/// What a search for one entry found.
#[derive(Debug)]
pub(super) struct Found {
    /// The entries; two stand for any number above one.
    pub(super) entries: Vec<Message>,
    /// How the search ended.
    pub(super) answer: Answer,
    /// The places that the server named and did not search.
    pub(super) references: Vec<Vec<String>>,
}

/// A connection to a server.
pub(super) struct Wire {
    framed: Framed<Box<dyn Stream>>,
    answer_timeout: Duration,
    last_id: u32,
    silence: Silence,
    gathering: Gathering,
    /// The request that is being answered. What was given up in the middle leaves it set, and the wire unusable.
    open: Option<u32>,
}

impl Wire {
    /// A wire over a protected stream.
    pub(super) fn new(stream: Box<dyn Stream>, bytes_max: usize, answer_timeout: Duration) -> Self {
        Self {
            framed: Framed::new(stream, bytes_max),
            answer_timeout,
            last_id: 0,
            silence: Silence::new(answer_timeout),
            gathering: Gathering::new(),
            open: None,
        }
    }

    /// The stream, when nothing after the last answer has been read from it yet.
    pub(super) fn into_stream(self) -> Option<Box<dyn Stream>> {
        let (stream, unread) = self.framed.into_parts();
        (self.open.is_none() && unread.is_empty()).then_some(stream)
    }

    /// Sends a whole message that somebody else made, and waits for the one message that answers it.
    pub(super) async fn exchange(&mut self, id: u32, message: &[u8]) -> Result<Message, WireError> {
        self.begin(id)?;
        self.send(message).await?;
        let answer = self.receive().await?;
        self.open = None;
        Ok(answer)
    }

    /// Sends an operation, and waits for the one message that answers it.
    pub(super) async fn ask(&mut self, operation: StructureTag) -> Result<Message, WireError> {
        let id = self.last_id + 1;
        let message = request::message(id, operation, Vec::new());
        self.exchange(id, &message).await
    }

    /// Starts a search; [`Wire::reply`] gives what it finds.
    pub(super) async fn search(
        &mut self,
        search: Search<'_>,
        controls: Vec<RawControl>,
    ) -> Result<(), WireError> {
        let id = self.last_id + 1;
        self.begin(id)?;
        let message = request::message(id, request::search(search), controls);
        self.send(&message).await
    }

    /// Starts a search for one page (RFC 2696): the first when the cookie is empty, otherwise the one after that which gave it.
    pub(super) async fn page(
        &mut self,
        search: Search<'_>,
        mut controls: Vec<RawControl>,
        entries: u16,
        cookie: &[u8],
    ) -> Result<(), WireError> {
        if cookie.is_empty() {
            self.gathering.forget();
        }
        controls.push(request::page(entries, cookie.to_vec()));
        self.search(search, controls).await?;
        self.gathering.begins(entries.into());
        Ok(())
    }

    /// The next message of the search that was started last; after [`Reply::Done`] there is none.
    pub(super) async fn reply(&mut self) -> Result<Reply, WireError> {
        let message = self.receive().await?;
        let mark = match message.op {
            ENTRY => self.gathering.came(message.bytes().len()),
            SEARCH_DONE => self.gathering.ends(),
            _ => None,
        };
        self.wake_at(mark);
        match message.op {
            ENTRY => Ok(Reply::Entry(message)),
            REFERENCE => Ok(Reply::Reference(Entry::references(&message)?)),
            SEARCH_DONE => {
                let (answer, _) = Answer::decode(message.body())?;
                let cookie = paging_cookie(&message)?;
                self.open = None;
                Ok(Reply::Done(answer, cookie))
            }
            _ => Err(WireError::Unexpected),
        }
    }

    /// The next message of the search that was started last, as a feed is read. References are passed over: what lies
    /// elsewhere does not change here. A search that goes on until something happens has no time limit.
    pub(super) async fn event(&mut self, patience: Patience) -> Result<Event, WireError> {
        loop {
            let message = match patience {
                Patience::Limited => self.receive().await?,
                Patience::Endless => {
                    let message = self.framed.next().await?.ok_or(WireError::Closed)?;
                    self.own(message)?
                }
            };
            match message.op {
                ENTRY => return Ok(Event::Entry(message)),
                INTERMEDIATE => return Ok(Event::Intermediate(message)),
                REFERENCE => {}
                SEARCH_DONE => {
                    let (answer, _) = Answer::decode(message.body())?;
                    self.open = None;
                    return Ok(Event::Done(answer, message));
                }
                _ => return Err(WireError::Unexpected),
            }
        }
    }

    /// Runs a search that should find one entry.
    pub(super) async fn find(
        &mut self,
        search: Search<'_>,
        controls: Vec<RawControl>,
    ) -> Result<Found, WireError> {
        self.find_up_to(FOUND_MAX, search, controls).await
    }

    /// The same for so many entries at the most.
    pub(super) async fn find_up_to(
        &mut self,
        entries_max: u16,
        search: Search<'_>,
        controls: Vec<RawControl>,
    ) -> Result<Found, WireError> {
        let search = Search {
            entries_max,
            ..search
        };
        self.search(search, controls).await?;
        let mut entries = Vec::new();
        let mut references = Vec::new();
        loop {
            match self.reply().await? {
                Reply::Entry(_) if entries.len() == usize::from(entries_max) => {
                    return Err(WireError::Unexpected);
                }
                Reply::Entry(entry) => entries.push(entry),
                Reply::Reference(_) if references.len() == REFERENCES_MAX => {
                    return Err(WireError::Unexpected);
                }
                Reply::Reference(uris) => references.push(uris),
                Reply::Done(answer, _) => {
                    return Ok(Found {
                        entries,
                        answer,
                        references,
                    });
                }
            }
        }
    }

    /// Says goodbye (RFC 4511 §4.3), if the server still listens.
    pub(super) async fn unbind(&mut self) {
        let message = request::message(self.last_id + 1, request::unbind(), Vec::new());
        self.open = Some(0);
        let goodbye = async {
            self.framed.send(&message).await?;
            self.framed.shutdown().await
        };
        // A server that is gone already needs no goodbye.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    fn begin(&mut self, id: u32) -> Result<(), WireError> {
        if self.open.is_some() || id <= self.last_id || id > i32::MAX as u32 {
            return Err(WireError::Broken);
        }
        self.last_id = id;
        self.open = Some(id);
        self.silence.begins();
        Ok(())
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), WireError> {
        match timeout(self.answer_timeout, self.framed.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(WireError::Silent(self.answer_timeout)),
        }
    }

    async fn receive(&mut self) -> Result<Message, WireError> {
        if self.open.is_none() {
            return Err(WireError::Broken);
        }
        let message = loop {
            select! {
                biased;
                message = self.framed.next() => break message?.ok_or(WireError::Closed)?,
                () = self.silence.lasts() => return Err(WireError::Silent(self.answer_timeout)),
                () = self.gathering.lasts() => {}
            }
            let mark = self.gathering.ends();
            self.wake_at(mark);
        };
        self.silence.is_broken();
        self.own(message)
    }

    fn wake_at(&self, moved: Option<Mark>) {
        if let Some(mark) = moved {
            self.framed.stream().wake_at(mark.bytes());
        }
    }

    /// A message, if it answers the request that is open.
    fn own(&self, message: Message) -> Result<Message, WireError> {
        if message.id == 0 {
            let words = Answer::decode(message.body())
                .map_or_else(|error| error.to_string(), |(answer, _)| answer.words());
            return Err(WireError::Disconnected(words));
        }
        if Some(message.id) == self.open {
            Ok(message)
        } else {
            Err(WireError::Unexpected)
        }
    }
}
