//! The proof of a removal: just before something is taken away, one look whether its own reason still holds.

pub(super) mod groups;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::Utc;
use tokio::sync::Mutex;

use crate::id::ProfileName;
use crate::identity::known::Known;
use crate::identity::observation::Look;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::plan::{Reason, Step};
use crate::snapshot::Seen;
use crate::source::examination::Server;
use crate::source::{self, Connector, NamingGroup, Source};
use crate::sync::{Error, Relay};

/// The server of a run: the first one that answered. All connections of the run go to it, so that what one server does not
/// have yet, or not any more, is never compared with what another one has.
type Chosen = Mutex<Option<Server>>;

/// A connection to the directory in the scope of one profile, opened when it is first needed and again when it was lost.
struct Line<'a> {
    connector: &'a dyn Connector,
    settings: &'a source::Settings,
    chosen: Arc<Chosen>,
    source: Mutex<Option<Arc<dyn Source>>>,
}

impl<'a> Line<'a> {
    fn new(relay: &'a Relay, settings: &'a source::Settings, chosen: &Arc<Chosen>) -> Self {
        Self {
            connector: relay.connector.as_ref(),
            settings,
            chosen: chosen.clone(),
            source: Mutex::new(None),
        }
    }

    /// The open connection.
    async fn source(&self) -> Result<Arc<dyn Source>, source::Error> {
        let mut slot = self.source.lock().await;
        if let Some(source) = slot.as_ref() {
            return Ok(source.clone());
        }
        let opened = self.open().await?;
        *slot = Some(opened.clone());
        Ok(opened)
    }

    /// Opens a connection to the server of the run, which it chooses if it is the first.
    async fn open(&self) -> Result<Arc<dyn Source>, source::Error> {
        let mut chosen = self.chosen.lock().await;
        let settings = match chosen.as_ref() {
            Some(server) => &self.settings.staying_with(server),
            None => self.settings,
        };
        let opened: Arc<dyn Source> = self.connector.open(settings).await?.into();
        if chosen.is_none() {
            *chosen = Some(opened.server().await);
        }
        Ok(opened)
    }

    /// Looks at one entry; a connection that was lost in the meantime is opened once more.
    async fn look(&self, key: &RowKey) -> Result<Look, source::Error> {
        match self.source().await?.look(key).await {
            Ok(look) => Ok(look),
            Err(error) if error.fault() == crate::fault::Fault::Transient => {
                *self.source.lock().await = None;
                self.source().await?.look(key).await
            }
            Err(error) => Err(error),
        }
    }

    async fn close(&self) {
        if let Some(source) = self.source.lock().await.take() {
            source.close().await;
        }
    }
}

/// Where an entry is now, and by which names groups may name it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// In no profile's scope: deleted, or moved out.
    Gone,
    /// In the scope of the profile that runs.
    Here(Naming),
    /// In the scope of another profile of the directory, which takes it over when it runs next.
    Elsewhere(Naming),
}

/// How an entry is named now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    pub(super) dn: String,
    /// By which keys groups may name it.
    pub(super) keys: Vec<MemberKey>,
}

impl Naming {
    fn of(entry: Identity) -> Self {
        Self {
            dn: entry.dn,
            keys: entry.names,
        }
    }
}

/// What the read of a run did not come to: what is known of these entries may be old.
#[derive(Default)]
enum Missed {
    /// Everything was read, or a feed told what changed.
    #[default]
    Nothing,
    /// Everything but what was met.
    AllBut(Known),
    /// It cannot be told.
    Anything,
}

/// Reads the directory in the scope of the profile that runs, and looks at single entries in the others' too.
pub(super) struct Reader<'a> {
    own: Line<'a>,
    others: Vec<(&'a ProfileName, Line<'a>)>,
    /// The profiles whose groups count.
    counted: Vec<ProfileName>,
    /// What looks for absent entries found in this run; a leaver may be a member of many groups.
    found: Mutex<HashMap<RowKey, Whereabouts>>,
    missed: Mutex<Missed>,
    /// Entries that the read of this run met and could not use, or did not meet although they are there.
    unread: Mutex<BTreeSet<RowKey>>,
    /// Those of them of which an earlier run told.
    told: Mutex<BTreeSet<RowKey>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(relay: &'a Relay) -> Self {
        let chosen = Arc::default();
        Self {
            own: Line::new(relay, &relay.source, &chosen),
            others: relay
                .others
                .iter()
                .map(|(profile, settings)| (profile, Line::new(relay, settings, &chosen)))
                .collect(),
            counted: relay.counted(),
            found: Mutex::default(),
            missed: Mutex::default(),
            unread: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Notes that the read ended early, and what it met of what was known before; `None` where that cannot be told.
    pub(super) async fn ended_early(&self, met: Option<Known>) {
        *self.missed.lock().await = met.map_or(Missed::Anything, Missed::AllBut);
    }

    /// Notes an entry that the read met and could not use, or did not meet although it is there; answers whether that is new.
    pub(super) async fn could_not_read(&self, key: RowKey) -> bool {
        let is_told = self.told.lock().await.contains(&key);
        self.unread.lock().await.insert(key) && !is_told
    }

    /// Notes entries of which an earlier run told that they could not be read.
    pub(super) async fn was_told(&self, keys: &[RowKey]) {
        self.told.lock().await.extend(keys.iter().cloned());
    }

    /// What was noted so, in order.
    pub(super) async fn unread(&self) -> BTreeSet<RowKey> {
        self.unread.lock().await.clone()
    }

    /// Whether the read of this run may not have come to an entry, or could not use it: what is known of it may be old.
    pub(super) async fn may_have_missed(&self, key: &RowKey) -> bool {
        if self.unread.lock().await.contains(key) {
            return true;
        }
        match &*self.missed.lock().await {
            Missed::Nothing => false,
            Missed::AllBut(known) => !known.was_met(key),
            Missed::Anything => true,
        }
    }

    /// The open connection.
    pub(super) async fn source(&self) -> Result<Arc<dyn Source>, source::Error> {
        self.own.source().await
    }

    /// Gives up the open connection, which an operation may have broken; the next one goes to the same server.
    pub(super) async fn renew(&self) {
        self.own.close().await;
    }

    /// Where an entry is now: it has left the directory's scope only when no profile's has it.
    pub(super) async fn whereabouts(&self, key: &RowKey) -> Result<Whereabouts, source::Error> {
        if let Some(found) = self.found.lock().await.get(key) {
            return Ok(found.clone());
        }
        let found = self.look_everywhere(key).await?;
        self.found.lock().await.insert(key.clone(), found.clone());
        Ok(found)
    }

    async fn look_everywhere(&self, key: &RowKey) -> Result<Whereabouts, source::Error> {
        if let Look::Present(identity) = self.own.look(key).await? {
            return Ok(Whereabouts::Here(Naming::of(*identity)));
        }
        for (profile, other) in &self.others {
            if searches(other.settings, key.kind)
                && let Look::Present(identity) = look_for(profile, other, key).await?
            {
                return Ok(Whereabouts::Elsewhere(Naming::of(*identity)));
            }
        }
        Ok(Whereabouts::Gone)
    }

    /// The groups in the scope of any profile that counts which name one of these entries as a member, by DN.
    async fn groups_naming(&self, dns: &[String]) -> Result<Vec<NamingGroup>, source::Error> {
        let mut groups = self.own.source().await?.groups_naming(dns).await?;
        for (profile, other) in &self.others {
            if other.settings.groups.is_some() && self.counted.contains(profile) {
                groups.extend(other.source().await?.groups_naming(dns).await?);
            }
        }
        Ok(groups)
    }

    /// Looks at an entry in the scope of one profile, that of another one or of the one that runs; `None` where that
    /// profile searches for nothing of its kind.
    pub(super) async fn look_in(
        &self,
        profile: &ProfileName,
        key: &RowKey,
    ) -> Result<Option<Look>, source::Error> {
        let mut others = self.others.iter();
        let look = match others.find(|(other, _)| *other == profile) {
            Some((_, other)) if !searches(other.settings, key.kind) => return Ok(None),
            Some((_, other)) => look_for(profile, other, key).await,
            None => self.own.look(key).await,
        };
        look.map(Some)
    }

    pub(super) async fn close(&self) {
        let others = self.others.iter().map(|(_, other)| other);
        for line in std::iter::once(&self.own).chain(others) {
            line.close().await;
        }
    }
}

/// Looks at an entry in the scope of another profile; an error says which one that is, because it need not be the one
/// that runs, and may be disabled.
async fn look_for(
    profile: &ProfileName,
    line: &Line<'_>,
    key: &RowKey,
) -> Result<Look, source::Error> {
    line.look(key).await.map_err(|mut error| {
        let told = error.message;
        error.message = format!(
            "in the scope of the profile {profile}: {told}; correct that profile, or delete it if nobody is in its scope \
             any more"
        );
        error
    })
}

/// Whether another profile searches for entries of a kind at all. Where the one that runs does not, nothing can be proved.
fn searches(settings: &source::Settings, kind: Kind) -> bool {
    kind == Kind::User || settings.groups.is_some() || settings.units.is_some()
}

/// Whether the reason for a removal still holds.
pub(super) enum Proof {
    /// It does.
    Holds,
    /// The entry left the profile's scope for another one's: it is not gone, and its own profile goes on with it.
    Elsewhere,
    /// It does not, or could not be looked at; the text says what was found.
    Fails(String),
}

fn unproved(error: source::Error) -> Proof {
    Proof::Fails(format!(
        "the removal could not be proved, because the directory did not answer: {error}"
    ))
}

/// Looks at the entry of a removal. The look answers the removal's own reason: was it absent, is it still; was it
/// disabled, is it still; did the group's entry name these members, does it still; does the user who loses a role still
/// have the names by which it was looked for in groups, and is in none that gives it (specification page 8, 1).
pub(super) async fn of_removal(
    relay: &Relay,
    reader: &Reader<'_>,
    step: &Step,
    seen: &Seen,
) -> Result<Proof, Error> {
    if step.reason == Reason::Undone {
        return Ok(Proof::Holds); // a person's word, whatever the directory says
    }
    if step.reason == Reason::Absent {
        return Ok(match reader.whereabouts(&step.key).await {
            Ok(Whereabouts::Gone) => Proof::Holds,
            Ok(Whereabouts::Elsewhere(_)) => Proof::Elsewhere,
            Ok(Whereabouts::Here(_)) => Proof::Fails(
                "the entry was missing when the directory was read, but it is there".to_owned(),
            ),
            Err(error) => unproved(error),
        });
    }
    let look = match reader.own.look(&step.key).await {
        Ok(look) => look,
        Err(error) => return Ok(unproved(error)),
    };
    Ok(match (step.reason, look) {
        (_, Look::Absent) => {
            Proof::Fails("the entry changed since it was read: it is not there any more".to_owned())
        }
        (Reason::Disabled, Look::Present(identity)) => {
            match relay.profile.mapping.desired(&identity, Utc::now()).active {
                Some(false) => Proof::Holds,
                _ => Proof::Fails(
                    "the account was disabled when it was read, but it is enabled".to_owned(),
                ),
            }
        }
        (_, Look::Present(identity)) if step.key.kind == Kind::Group => {
            let names = |members: &[crate::identity::Member]| -> BTreeSet<_> {
                members.iter().map(|member| member.key).collect()
            };
            if names(&identity.members) == names(&seen.identity.members) {
                Proof::Holds
            } else {
                Proof::Fails("the group's members changed since it was read".to_owned())
            }
        }
        // Groups may name the entry by its new name already, and not have been found by the old one.
        (_, Look::Present(identity))
            if step.takes_roles() && identity.names != seen.identity.names =>
        {
            Proof::Fails("the entry was renamed since it was read".to_owned())
        }
        (_, Look::Present(identity)) if step.takes_roles() => {
            groups::of_lost_roles(relay, reader, step, identity.dn).await?
        }
        (_, Look::Present(_)) => Proof::Holds,
    })
}

/// Whether an entry that the read of this run did not come to, or could not use, is as it was when it was read: nobody gets an account or a
/// membership, or gets it back, by what an entry said before it was deleted.
pub(super) async fn of_old_news(reader: &Reader<'_>, step: &Step, seen: &Seen) -> Proof {
    let since = match reader.own.look(&step.key).await {
        Ok(Look::Present(identity)) if *identity == seen.identity => return Proof::Holds,
        Ok(Look::Present(_)) => "it changed since".to_owned(),
        Ok(Look::Absent) => "it is not there any more, or out of scope".to_owned(),
        Err(error) => format!("the directory did not answer when it was looked at: {error}"),
    };
    Proof::Fails(format!(
        "the read of this run did not come to the entry or could not use it, and {since}"
    ))
}
