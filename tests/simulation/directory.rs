//! The directory of a history: what is true in it, and the source that tells of it, truly or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use scim_relay::fault::Fault;
use scim_relay::identity::digest::Digest;
use scim_relay::identity::feed::{Changes, Hint, Ladder, Lost, Mark, Position, Rung, Step};
use scim_relay::identity::known::{Known, Seen};
use scim_relay::identity::observation::{
    Coverage, Look, Observation, ReadEnd, Statement, Unreadable,
};
use scim_relay::identity::{Anchor, Identity, Kind, Member, MemberKey, RowKey, Value};
use scim_relay::source::examination::{Examination, Questions, Server};
use scim_relay::source::explanation::{Explained, Inquiry};
use scim_relay::source::{
    Bell, Connector, Error, Names, NamingGroup, Search, Settings, Source, Stage,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::site::Site;

/// Where the directory starts.
pub const ROOT: &str = "dc=example,dc=org";
/// Where users are; the second is outside of a narrow scope.
pub const PLACES: [&str; 3] = ["staff", "sales", "attic"];
/// Where groups are; the second is out of scope.
pub const GROUP_PLACES: [&str; 2] = ["groups", "elsewhere"];

/// A user as the directory has it.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub anchor: Uuid,
    /// The name in the tree.
    pub cn: String,
    /// Which of [`PLACES`].
    pub place: usize,
    /// Absent where the entry cannot be mapped.
    pub uid: Option<String>,
    pub given: String,
    pub surname: String,
    pub mail: Option<String>,
    pub title: Option<String>,
    pub disabled: bool,
    /// What the exclusion filter leaves out.
    pub contractor: bool,
}

impl User {
    pub fn dn(&self) -> String {
        format!("cn={},ou={},{ROOT}", self.cn, PLACES[self.place])
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.title.as_deref().unwrap_or("-");
        let mail = self.mail.as_deref().unwrap_or("-");
        write!(
            f,
            "user {} {} uid {:?} {}, {mail}, {title}",
            self.anchor,
            self.dn(),
            self.uid,
            self.given
        )?;
        f.write_str(if self.disabled { ", disabled" } else { "" })?;
        f.write_str(if self.contractor { ", contractor" } else { "" })
    }
}

/// A group as the directory has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Group {
    pub anchor: Uuid,
    pub cn: String,
    /// Which of [`GROUP_PLACES`].
    pub place: usize,
    /// The DNs that it names, be they somebody's or not.
    pub members: BTreeSet<String>,
}

impl Group {
    pub fn dn(&self) -> String {
        format!("cn={},ou={},{ROOT}", self.cn, GROUP_PLACES[self.place])
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "group {} {} of {:?}",
            self.anchor,
            self.dn(),
            self.members
        )
    }
}

/// What is true in the directory.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub users: BTreeMap<Uuid, User>,
    pub groups: BTreeMap<Uuid, Group>,
    /// Entries that were deleted, and may be restored under their old anchor.
    pub deleted_users: Vec<User>,
    pub deleted_groups: Vec<Group>,
    /// What the change feed tells, in order: it does not tell of groups that the server rewrote by itself.
    pub changes: Vec<Uuid>,
    /// Every anchor that there ever was.
    pub anchors: BTreeSet<Uuid>,
    /// The groups that the server rewrote when an entry was deleted, by its anchor.
    rewritten: BTreeMap<Uuid, BTreeSet<Uuid>>,
    /// Groups that lost a member who was deleted and restored, which no feed shows: a full scan does.
    pub unnoticed: BTreeSet<Uuid>,
}

impl Model {
    /// Notes for the feed that an entry changed.
    pub fn touch(&mut self, anchor: Uuid) {
        self.anchors.insert(anchor);
        self.changes.push(anchor);
    }

    /// Writes a new name of an entry into the groups that name it, as a server with referential integrity does.
    pub fn rename_member(&mut self, before: &str, after: &str) {
        for group in self.groups.values_mut() {
            if group.members.remove(before) {
                group.members.insert(after.to_owned());
            }
        }
    }

    /// Takes an entry that is gone out of the groups that name it, as such a server does.
    pub fn forget_member(&mut self, anchor: Uuid, dn: &str) {
        let groups = self.groups.values_mut();
        let losing = groups.filter_map(|group| group.members.remove(dn).then_some(group.anchor));
        self.rewritten.entry(anchor).or_default().extend(losing);
    }

    /// Notes that an entry is back. Groups do not have it again.
    pub fn restored(&mut self, anchor: Uuid) {
        self.unnoticed
            .extend(self.rewritten.remove(&anchor).unwrap_or_default());
    }

    /// The user or group of a DN.
    pub fn named(&self, dn: &str) -> Option<(Kind, Uuid)> {
        let user = self.users.values().find(|user| user.dn() == dn);
        let group = self.groups.values().find(|group| group.dn() == dn);
        user.map(|user| (Kind::User, user.anchor))
            .or(group.map(|group| (Kind::Group, group.anchor)))
    }
}

/// What goes wrong on the directory's side in one run.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// No connection.
    pub refused: bool,
    /// The read ends after so many entries, and says so.
    pub cut_after: Option<usize>,
    /// The read answers success and nothing.
    pub empty: bool,
    /// Entries that a read passes over while it says that it is complete.
    pub passed_over: BTreeSet<Uuid>,
    /// Entries that come and cannot be used.
    pub unreadable: BTreeSet<Uuid>,
    /// Entries that come twice.
    pub twice: bool,
    /// So many looks in a hundred are not answered.
    pub looks_failing: u64,
    /// The feed cannot tell any more.
    pub feed_lost: bool,
}

impl Faults {
    /// Whether a read tells everything, and truly.
    pub fn tell_all(&self) -> bool {
        let Self {
            cut_after,
            empty,
            passed_over,
            unreadable,
            looks_failing,
            ..
        } = self;
        cut_after.is_none()
            && !empty
            && passed_over.is_empty()
            && unreadable.is_empty()
            && *looks_failing == 0
    }
}

/// The way to the directory of a site.
pub struct Way(pub Site);

#[async_trait]
impl Connector for Way {
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Source>, Error> {
        self.0.disk().step().await;
        if self.0.lock().source_faults.refused {
            return Err(broken("connection refused"));
        }
        Ok(Box::new(Scripted {
            site: self.0.clone(),
            settings: settings.clone(),
        }))
    }

    async fn listen(&self, _: &Settings, _: &Position) -> Result<Box<dyn Bell>, Error> {
        Err(broken("it does not tell by itself"))
    }
}

fn broken(what: &str) -> Error {
    Error::new(
        Stage::Network,
        Fault::Transient,
        format!("the scripted directory: {what}"),
    )
}

struct Scripted {
    site: Site,
    settings: Settings,
}

/// An entry that matches a search, as it is told.
struct Told {
    kind: Kind,
    anchor: Uuid,
    dn: String,
    attributes: Vec<(String, Vec<String>)>,
    members: Vec<String>,
}

impl Told {
    fn key(&self) -> RowKey {
        RowKey {
            kind: self.kind,
            anchor: Anchor::Uuid(self.anchor),
        }
    }

    fn digest(&self) -> Digest {
        let bytes = |values: &Vec<String>| -> Vec<Vec<u8>> {
            values.iter().map(|value| value.clone().into()).collect()
        };
        let mut owned: Vec<(String, Vec<Vec<u8>>)> = self
            .attributes
            .iter()
            .map(|(name, values)| (name.clone(), bytes(values)))
            .collect();
        owned.push(("member".to_owned(), bytes(&self.members)));
        let mut parts: Vec<(&str, Vec<&[u8]>)> = owned
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(Vec::as_slice).collect()))
            .collect();
        Digest::of_entry(&self.dn, &mut parts)
    }

    fn identity(&self) -> Identity {
        let key = |dn: &String| MemberKey::of_dn(&dn.parse().unwrap());
        let mut members: Vec<Member> = self
            .members
            .iter()
            .map(|dn| Member {
                key: key(dn),
                name: dn.clone(),
            })
            .collect();
        members.sort_unstable();
        let mut names = vec![key(&self.dn)];
        let uid = self.attributes.iter().find(|(name, _)| name == "uid");
        if let Some((_, values)) = uid {
            names.extend(values.iter().map(|uid| MemberKey::of_uid(uid)));
        }
        let text = |values: &Vec<String>| values.iter().cloned().map(Value::Text).collect();
        Identity {
            kind: self.kind,
            anchor: Anchor::Uuid(self.anchor),
            dn: self.dn.clone(),
            attributes: self
                .attributes
                .iter()
                .map(|(name, values)| (name.clone(), text(values)))
                .collect(),
            members,
            names,
        }
    }
}

/// Whether a search has the user of a model in scope. The filters of a history are known, so their texts are looked for.
fn matches(search: &Search, user: &User) -> bool {
    let excluded = search.filter.contains("employeeType=contractor") && user.contractor;
    !excluded && user.dn().ends_with(&search.base)
}

/// The attributes that were asked for.
fn asked(search: &Search, all: &[(&str, Option<&String>)]) -> Vec<(String, Vec<String>)> {
    let is_asked = |name: &str| {
        let mut asked = search.attributes.iter();
        asked.any(|asked| asked.eq_ignore_ascii_case(name))
    };
    all.iter()
        .filter(|(name, _)| is_asked(name))
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), vec![(*value)?.clone()])))
        .collect()
}

impl Scripted {
    /// What is in scope now, users first.
    fn in_scope(&self) -> Vec<Told> {
        let state = self.site.lock();
        let users = state.model.users.values();
        let users = users.filter(|user| matches(&self.settings.users, user));
        let mut told: Vec<Told> = users.map(|user| self.user(user)).collect();
        if let Some(search) = &self.settings.groups {
            let groups = state.model.groups.values();
            let groups = groups.filter(|group| group.dn().ends_with(&search.base));
            told.extend(groups.map(|group| Told {
                kind: Kind::Group,
                anchor: group.anchor,
                dn: group.dn(),
                attributes: asked(search, &[("cn", Some(&group.cn))]),
                members: group.members.iter().cloned().collect(),
            }));
        }
        told
    }

    fn user(&self, user: &User) -> Told {
        let display = format!("{} {}", user.given, user.surname);
        let locked = user.disabled.then(|| "true".to_owned());
        Told {
            kind: Kind::User,
            anchor: user.anchor,
            dn: user.dn(),
            attributes: asked(
                &self.settings.users,
                &[
                    ("uid", user.uid.as_ref()),
                    ("givenName", Some(&user.given)),
                    ("sn", Some(&user.surname)),
                    ("displayName", Some(&display)),
                    ("mail", user.mail.as_ref()),
                    ("title", user.title.as_ref()),
                    ("nsAccountLock", locked.as_ref()),
                ],
            ),
            members: Vec::new(),
        }
    }

    async fn tell(
        &self,
        told: Vec<Told>,
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> ReadEnd {
        let faults = self.site.lock().source_faults.clone();
        let mut end = ReadEnd {
            coverage: Coverage::Complete,
            users: 0,
            groups: 0,
        };
        for (number, entry) in told.into_iter().enumerate() {
            if faults.cut_after.is_some_and(|count| number >= count) {
                end.coverage = Coverage::Partial("the scripted directory cut the read".to_owned());
                break;
            }
            self.site.disk().step().await;
            if faults.empty || faults.passed_over.contains(&entry.anchor) {
                continue;
            }
            let is_unreadable = faults.unreadable.contains(&entry.anchor);
            let digest = if is_unreadable {
                Digest::default()
            } else {
                entry.digest()
            };
            let seen = known.meet(&entry.key(), digest);
            if faults.twice {
                known.meet(&entry.key(), digest);
            }
            if seen != Seen::Again {
                match entry.kind {
                    Kind::User => end.users += 1,
                    Kind::Group => end.groups += 1,
                }
            }
            let observation = if is_unreadable {
                Observation::Unreadable(Unreadable {
                    kind: entry.kind,
                    anchor: Some(Anchor::Uuid(entry.anchor)),
                    dn: entry.dn,
                    problem: "a value breaks off".to_owned(),
                })
            } else if matches!(seen, Seen::New | Seen::Changed) {
                Observation::Present(Box::new(entry.identity()), digest)
            } else {
                continue;
            };
            if sink.send(Statement::Entry(observation)).await.is_err() {
                break;
            }
        }
        end
    }
}

#[async_trait]
impl Source for Scripted {
    async fn explain(&self, _: &Inquiry) -> Result<Explained, Error> {
        unreachable!("nobody asks why in a history")
    }

    async fn read(
        &self,
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error> {
        let end = self.tell(self.in_scope(), known, sink).await;
        self.site.lock().was_read = true;
        self.site.after_reading();
        Ok(end)
    }

    async fn read_these(
        &self,
        anchors: &[Anchor],
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error> {
        let mut told = self.in_scope();
        told.retain(|entry| anchors.contains(&Anchor::Uuid(entry.anchor)));
        Ok(self.tell(told, known, sink).await)
    }

    async fn groups_naming(&self, dns: &[String]) -> Result<Vec<NamingGroup>, Error> {
        self.site.disk().step().await;
        if self.site.look_fails() {
            return Err(broken("a search was not answered"));
        }
        let mut told = self.in_scope();
        told.retain(|entry| entry.members.iter().any(|member| dns.contains(member)));
        Ok(told
            .iter()
            .map(|entry| NamingGroup {
                anchor: Some(Anchor::Uuid(entry.anchor)),
                dn: entry.dn.clone(),
            })
            .collect())
    }

    async fn ladder(&self) -> Result<Ladder, Error> {
        let step = |rung, obstacle| Step {
            rung,
            obstacle,
            blind: None,
        };
        let without = (!self.site.lock().has_feed).then(|| "not there".to_owned());
        Ok(Ladder(vec![
            step(Rung::Syncrepl, without),
            step(Rung::FullScan, None),
        ]))
    }

    async fn position(&self, _: Rung) -> Result<Position, Error> {
        Ok(self.now())
    }

    async fn changes(&self, since: &Position) -> Result<Changes, Error> {
        self.site.disk().step().await;
        let now = self.now();
        let state = self.site.lock();
        let Mark::Syncrepl(cookies) = &since.mark else {
            return Err(broken("another server's cookie"));
        };
        let cookie: [u8; 8] = cookies[0].as_slice().try_into().unwrap();
        let from = usize::try_from(u64::from_be_bytes(cookie)).unwrap();
        if state.source_faults.feed_lost {
            return Ok(Changes::Lost(Lost::harmless("the cookie is too old")));
        }
        let changed: BTreeSet<Uuid> = state.model.changes[from..].iter().copied().collect();
        let hint = |anchor| Hint {
            anchor: Anchor::Uuid(anchor),
            container: false,
        };
        Ok(Changes::Hints(changed.into_iter().map(hint).collect(), now))
    }

    async fn look(&self, key: &RowKey) -> Result<Look, Error> {
        self.site.disk().step().await;
        if self.site.look_fails() {
            return Err(broken("a look was not answered"));
        }
        let found = self.in_scope().into_iter().find(|told| told.key() == *key);
        Ok(match found {
            Some(told) => Look::Present(Box::new(told.identity())),
            None => Look::Absent,
        })
    }

    async fn find(&self, _: &str, _: &Names) -> Result<Option<Observation>, Error> {
        Err(broken("nobody is looked for by name here"))
    }

    async fn examine(&self, _: &Questions) -> Result<Examination, Error> {
        Err(broken("nobody tests the connection here"))
    }

    async fn server(&self) -> Server {
        Server {
            address: self.settings.address(),
            ..Server::default()
        }
    }

    async fn close(&self) {}
}

impl Scripted {
    fn now(&self) -> Position {
        let count = self.site.lock().model.changes.len() as u64;
        Position {
            server: self.settings.host.clone(),
            mark: Mark::Syncrepl(vec![count.to_be_bytes().to_vec()]),
        }
    }
}
