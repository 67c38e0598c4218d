//! The paged read (RFC 2696) of everything in scope, or of some entries of it, and the proof that it was complete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lber::structure::StructureTag;
use tokio::sync::mpsc;

use crate::identity::digest::{self, Digest};
use crate::identity::known::{Known, Seen};
use crate::identity::observation::{Coverage, Observation, ReadEnd, Statement, Unreadable};
use crate::identity::{Anchor, Kind, RowKey};
use crate::source::Error;
use crate::source::ldap::answer::Answer;
use crate::source::ldap::frame::Message;
use crate::source::ldap::primary;
use crate::source::ldap::ranges::{self, Followed};
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Parts, Scope, readable_dn};
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::{Reply, Wire, WireError};
use crate::source::ldap::words;

/// Entries between two statements of how far the read is.
const ENTRIES_PER_STATEMENT: u64 = 1_000;
/// Entries that one search asks for by their anchors.
const ANCHORS_PER_SEARCH: usize = 100;

/// Why a search ended before its end.
pub(super) enum Stop {
    Wire(WireError),
    Answer(Answer),
    /// Success without the paging control: whether more would follow is not known.
    NoCookie,
    /// A page without entries, and then the same again.
    NoProgress,
    /// More entries with ranges in one page than the page may have entries, or than can be kept.
    Flooded,
    /// Nobody takes the observations any more.
    NoReceiver,
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Stop {
    /// What happened and what cures it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Wire(error) => format!("{error}; {}", words::broken_cure(error)),
            Self::Answer(answer) => format!("{}; {}", answer.words(), words::cure(answer.code)),
            Self::NoCookie => "the server said success without saying whether more pages follow; it does not page \
                               (RFC 2696) as it must, so look for a proxy or a limit in between"
                .to_owned(),
            Self::NoProgress => "the server gives the same page, without entries, again and again".to_owned(),
            Self::Flooded => "the server sent more entries in a page than were asked for".to_owned(),
            Self::NoReceiver => "the read was given up".to_owned(),
        }
    }

    /// The error of a search that gave nothing at all.
    pub(super) fn into_error(self, server: &str, doing: &str) -> Error {
        match self {
            Self::Wire(error) => words::broken(server, doing, &error),
            Self::Answer(answer) => words::refused(server, doing, &answer),
            Self::NoCookie | Self::NoProgress | Self::Flooded | Self::NoReceiver => {
                words::unreadable(server, doing, &self.words())
            }
        }
    }

    /// Whether another search on the same connection can be tried.
    fn spares_the_wire(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::NoCookie | Self::NoProgress)
    }
}

/// How a page ended.
struct Page {
    answer: Answer,
    /// The cookie for the next page; empty after the last.
    next: Option<Vec<u8>>,
    entries: u64,
}

/// An entry with open ranges, read again when its page has ended.
struct Deferred {
    dn: String,
    anchor: Result<Anchor, String>,
}

/// A read on its way.
struct Reading<'a> {
    session: &'a mut Session,
    known: &'a mut Known,
    sink: mpsc::Sender<Statement>,
    end: ReadEnd,
    /// Anything at all that the server gave.
    received: bool,
    /// What was not read: the first, and how many.
    gap: Option<String>,
    gaps: u64,
    /// The names behind anchors that an administrator chose, since those may not be unique.
    chosen: HashMap<[u8; 16], [u8; 16]>,
    /// The groups that are the primary ones of users, where that counts; unknown when not all users were read.
    primary_groups: Option<HashSet<u32>>,
}

/// What is read of a scope.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Everything.
    All,
    /// The entries with these anchors.
    These(&'a [Anchor]),
}

impl Part<'_> {
    /// The filters of the searches that find it.
    fn filters(self, scope: &Scope) -> Vec<StructureTag> {
        let Self::These(anchors) = self else {
            return vec![scope.filter.clone()];
        };
        let narrowed = |anchors: &[Anchor]| {
            let values = anchors
                .iter()
                .filter_map(|anchor| scope.anchor_form.encode(anchor));
            let values: Vec<_> = values.collect();
            let attribute = scope.anchor_attribute.as_str();
            let values: Vec<_> = values.iter().map(|value| (attribute, &value[..])).collect();
            request::with_any(&scope.filter, &values)
        };
        anchors.chunks(ANCHORS_PER_SEARCH).map(narrowed).collect()
    }
}

/// Reads users, then groups, then organizational units.
pub(super) async fn read(
    session: &mut Session,
    part: Part<'_>,
    known: &mut Known,
    sink: mpsc::Sender<Statement>,
) -> Result<ReadEnd, Error> {
    session.check_server()?;
    session.check_bases().await?;
    let scopes = session.scopes();
    let mut reading = Reading {
        session,
        known,
        sink,
        end: ReadEnd {
            coverage: Coverage::Complete,
            users: 0,
            groups: 0,
        },
        received: false,
        gap: None,
        gaps: 0,
        chosen: HashMap::new(),
        primary_groups: matches!(part, Part::All).then(HashSet::new),
    };
    let searches = |scope: &Arc<Scope>| {
        let filters = part.filters(scope).into_iter();
        let scope = scope.clone();
        filters.map(move |filter| (scope.clone(), filter))
    };
    let searches: Vec<_> = scopes.iter().flat_map(searches).collect();
    for (scope, filter) in searches {
        let Err(stop) = reading.search(&scope, &filter).await else {
            continue;
        };
        if !reading.received {
            return Err(reading.error(&scope, stop));
        }
        let read = match scope.kind {
            Kind::User => reading.end.users,
            Kind::Group => reading.end.groups,
        };
        reading.primary_groups = None;
        reading.lack(format!(
            "the search for {}s below `{}` broke off after {read}: {}",
            scope.sought,
            scope.base,
            stop.words()
        ));
        if !stop.spares_the_wire() {
            break;
        }
    }
    Ok(reading.ended())
}

impl Reading<'_> {
    /// Reads one search, page by page.
    async fn search(&mut self, scope: &Scope, filter: &StructureTag) -> Result<(), Stop> {
        let attributes: Vec<&str> = scope.wanted.iter().map(String::as_str).collect();
        let mut cookie = Vec::new();
        loop {
            let search = Search {
                base: &scope.base,
                reach: Reach::Subtree,
                filter: filter.clone(),
                entries_max: 0,
                attributes: &attributes,
                names_only: false,
            };
            let entries_max = self.session.page_entries;
            let wire = &mut self.session.wire;
            wire.page(search, scope.controls(), entries_max, &cookie)
                .await?;
            let Page {
                answer,
                next,
                entries,
            } = self.page(scope).await?;
            if !answer.is_success() {
                return Err(Stop::Answer(answer));
            }
            self.received = true;
            match next {
                None => return Err(Stop::NoCookie),
                Some(next) if next.is_empty() => return Ok(()),
                Some(next) if next == cookie && entries == 0 => return Err(Stop::NoProgress),
                Some(next) => cookie = next,
            }
        }
    }

    /// Reads one page, then the rest of those of its entries that came in parts.
    async fn page(&mut self, scope: &Scope) -> Result<Page, Stop> {
        let mut deferred = Vec::new();
        let mut name_bytes = 0;
        let mut entries = 0;
        let (answer, next) = loop {
            match self.session.wire.reply().await? {
                Reply::Entry(message) => {
                    self.received = true;
                    entries += 1;
                    if let Some(entry) = self.entry(scope, message).await? {
                        name_bytes += entry.dn.len();
                        if deferred.len() == usize::from(self.session.page_entries)
                            || name_bytes > self.session.message_bytes_max
                        {
                            return Err(Stop::Flooded);
                        }
                        deferred.push(entry);
                    }
                }
                Reply::Reference(uris) => self.reference(scope, &uris),
                Reply::Done(answer, cookie) => break (answer, cookie),
            }
        };
        if answer.is_success() {
            for entry in deferred {
                self.whole(scope, entry).await?;
            }
        } else if let Some(entry) = deferred.first() {
            let dn = &entry.dn;
            self.lack(format!("`{dn}` was read only in part"));
        }
        Ok(Page {
            answer,
            next,
            entries,
        })
    }

    /// Takes an entry in, unless it has to be read further.
    async fn entry(&mut self, scope: &Scope, message: Message) -> Result<Option<Deferred>, Stop> {
        let messages = [message];
        let parts = scope.parts(&messages).map_err(WireError::from)?;
        let anchor = scope.anchor(&parts);
        if let Some(groups) = &mut self.primary_groups {
            let ids = parts.values(primary::GROUP_ID).iter();
            groups.extend(ids.filter_map(|id| std::str::from_utf8(id).ok()?.parse::<u32>().ok()));
        }
        let is_primary = scope.primary_group_id(&parts).is_some_and(|id| {
            self.primary_groups
                .as_ref()
                .is_none_or(|ids| ids.contains(&id))
        });
        if !parts.ranged && !is_primary {
            self.take(scope, parts, anchor).await?;
            return Ok(None);
        }
        match readable_dn(parts.dn) {
            Ok(dn) => Ok(Some(Deferred {
                dn: dn.to_owned(),
                anchor,
            })),
            Err(problem) => {
                let dn = parts.dn_for_people();
                self.gap(scope, anchor.ok(), dn, problem).await?;
                Ok(None)
            }
        }
    }

    /// Reads an entry with all its values, and takes it in.
    async fn whole(&mut self, scope: &Scope, entry: Deferred) -> Result<(), Stop> {
        let bytes_max = self.session.message_bytes_max;
        let wire: &mut Wire = &mut self.session.wire;
        match ranges::follow(wire, scope, &entry.dn, bytes_max).await? {
            Followed::Gap(why) => self.gap(scope, entry.anchor.ok(), entry.dn, why).await,
            Followed::Whole(messages) => {
                let parts = scope.parts(&messages).map_err(WireError::from)?;
                let anchor = scope.anchor(&parts);
                if anchor == entry.anchor {
                    return self.take(scope, parts, anchor).await;
                }
                let why = "another entry took its name while it was read".to_owned();
                self.gap(scope, entry.anchor.ok(), entry.dn, why).await
            }
        }
    }

    /// Meets an entry: states it when it is new, changed or cannot be used.
    async fn take(
        &mut self,
        scope: &Scope,
        mut parts: Parts<'_>,
        anchor: Result<Anchor, String>,
    ) -> Result<(), Stop> {
        let anchor = match anchor {
            Ok(anchor) => anchor,
            Err(problem) => {
                let dn = parts.dn_for_people();
                return self.gap(scope, None, dn, problem).await;
            }
        };
        let dn = match readable_dn(parts.dn) {
            Ok(dn) => dn,
            Err(problem) => {
                let dn = parts.dn_for_people();
                return self.unreadable(scope, Some(anchor), dn, problem).await;
            }
        };
        if let Err(problem) = self.unique(scope, &anchor, dn) {
            let dn = dn.to_owned();
            return self.unreadable(scope, Some(anchor), dn, problem).await;
        }
        let key = RowKey {
            kind: scope.kind,
            anchor,
        };
        self.known.approach(&key);
        let digest = scope.digest(dn, &mut parts);
        let seen = self.meet(&key, digest);
        if seen != Seen::Again {
            self.state_progress().await?;
        }
        match seen {
            Seen::Unchanged | Seen::Again => Ok(()),
            Seen::New | Seen::Changed => match scope.identity(&parts, key.anchor.clone()) {
                Ok(identity) => {
                    let present = Observation::Present(Box::new(identity), digest);
                    self.state(Statement::Entry(present)).await
                }
                Err(problem) => {
                    let dn = dn.to_owned();
                    self.unreadable(scope, Some(key.anchor), dn, problem).await
                }
            },
        }
    }

    /// Marks an entry as met, and counts it once.
    fn meet(&mut self, key: &RowKey, digest: Digest) -> Seen {
        let seen = self.known.meet(key, digest);
        if seen != Seen::Again {
            match key.kind {
                Kind::User => self.end.users += 1,
                Kind::Group => self.end.groups += 1,
            }
        }
        seen
    }

    /// An anchor that an administrator chose may stand in two entries; the second is refused, not taken for the first.
    fn unique(&mut self, scope: &Scope, anchor: &Anchor, dn: &str) -> Result<(), String> {
        let Anchor::Text(text) = anchor else {
            return Ok(());
        };
        let slot = digest::short(&[scope.kind.as_str().as_bytes(), text.as_bytes()]);
        let name = digest::short(&[dn.as_bytes()]);
        if *self.chosen.entry(slot).or_insert(name) == name {
            return Ok(());
        }
        Err(format!(
            "another entry has the same `{}`; an anchor belongs to one entry only",
            scope.anchor_attribute
        ))
    }

    /// States an entry that could not be read to its end, or not told apart: absence means nothing now.
    async fn gap(
        &mut self,
        scope: &Scope,
        anchor: Option<Anchor>,
        dn: String,
        problem: String,
    ) -> Result<(), Stop> {
        self.lack(format!("{} `{dn}`: {problem}", scope.sought));
        self.unreadable(scope, anchor, dn, problem).await
    }

    /// States an entry that is there and cannot be used.
    async fn unreadable(
        &mut self,
        scope: &Scope,
        anchor: Option<Anchor>,
        dn: String,
        problem: String,
    ) -> Result<(), Stop> {
        let kind = scope.kind;
        if let Some(anchor) = anchor.clone() {
            self.meet(&RowKey { kind, anchor }, Digest::default());
        }
        let unreadable = Observation::Unreadable(Unreadable {
            kind,
            anchor,
            dn,
            problem,
        });
        self.state(Statement::Entry(unreadable)).await
    }

    async fn state_progress(&mut self) -> Result<(), Stop> {
        let ReadEnd { users, groups, .. } = self.end;
        if (users + groups).is_multiple_of(ENTRIES_PER_STATEMENT) {
            self.state(Statement::Met { users, groups }).await?;
        }
        Ok(())
    }

    async fn state(&mut self, statement: Statement) -> Result<(), Stop> {
        let sent = self.sink.send(statement).await;
        sent.map_err(|_| Stop::NoReceiver)
    }

    /// A reference into another naming context is no part of the search; any other is a part that was not searched.
    fn reference(&mut self, scope: &Scope, uris: &[String]) {
        self.received = true;
        if self.session.leads_elsewhere(uris) {
            tracing::debug!(kind = %scope.kind, "reference to another naming context");
        } else {
            self.lack(format!(
                "a part below `{}` is held by another server ({}); read that server as a directory of its own, and \
                 choose a base without it",
                scope.base,
                uris.join(" ")
            ));
        }
    }

    fn lack(&mut self, what: String) {
        self.gaps += 1;
        self.gap.get_or_insert(what);
    }

    fn error(&self, scope: &Scope, stop: Stop) -> Error {
        let server = &self.session.server;
        let doing = format!("the search for {}s below `{}`", scope.sought, scope.base);
        stop.into_error(server, &doing)
    }

    fn ended(self) -> ReadEnd {
        let mut end = self.end;
        if let Some(gap) = self.gap {
            let more = match self.gaps {
                1 => String::new(),
                gaps => format!(" (and {} more)", gaps - 1),
            };
            end.coverage = Coverage::Partial(format!("{}: {gap}{more}", self.session.server));
        }
        end
    }
}
