//! Every kind of incomplete read at many places of the read, on each server where it can be had: counted, and nobody loses
//! anything. `POSITIONS=200 tests/run incomplete_sweep` tries so many places of each kind instead of a few.

use std::collections::HashSet;
use std::io::Write as _;

use serde_json::Value;

use super::{hidden, said};
use crate::support::fault_ldap::{FaultLdap, Request, Step, done, entry, page};
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::mirror::Held as _;
use crate::support::proxy::Proxy;
use crate::support::relay::{Finished, Relay};
use crate::support::samba::{self, Samba};
use crate::support::slapd::{GROUPS, PEOPLE, READER, Slapd};
use crate::support::tampering::{Lie, Passed, Tampering};
use crate::support::world::World;
use crate::truth::{deactivates, operations};

/// Few entries on a page, so that a read has many.
const LINES: &str = "pageEntries = 5\nanswerTimeoutSeconds = 3\nreconcileInterval = \"never\"";

/// A way in which a read is less than the directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The connection ends after byte N, and nobody is served any more.
    CutAtByte,
    /// The server's process is killed when byte N has passed.
    ServerKilled,
    /// After byte N the server says nothing more, until the relay has waited long enough.
    Silence,
    /// Notice of disconnection instead of entry N.
    NoticeOfDisconnection,
    /// sizeLimitExceeded after entry N; slapd: by its own limits.
    SizeLimit,
    /// timeLimitExceeded after entry N.
    TimeLimit,
    /// adminLimitExceeded after entry N.
    AdminLimit,
    /// busy after entry N.
    Busy,
    /// Access rules of the server itself hide all people from number N on, and say success.
    HiddenByAccessRules,
    /// Entry N comes without its anchor.
    HiddenAnchor,
    /// Entry N does not come, and the search ends well.
    DroppedEntry,
    /// Entry N and the rest of its page do not come, and the search ends well.
    DroppedPage,
    /// Page N says that it is the last one.
    EarlyLastPage,
    /// Page N comes without its paging control.
    LostPagingControl,
    /// Page N comes again in the place of the next one.
    RepeatedPage,
    /// Before entry N a part of the tree is said to be elsewhere.
    Reference,
    /// Some of the members of group N come, and the connection ends when the others are asked for.
    CutMembers,
    /// Entry N breaks the encoding.
    MalformedEntry,
}

const KINDS: [Kind; 18] = [
    Kind::CutAtByte,
    Kind::ServerKilled,
    Kind::Silence,
    Kind::NoticeOfDisconnection,
    Kind::SizeLimit,
    Kind::TimeLimit,
    Kind::AdminLimit,
    Kind::Busy,
    Kind::HiddenByAccessRules,
    Kind::HiddenAnchor,
    Kind::DroppedEntry,
    Kind::DroppedPage,
    Kind::EarlyLastPage,
    Kind::LostPagingControl,
    Kind::RepeatedPage,
    Kind::Reference,
    Kind::CutMembers,
    Kind::MalformedEntry,
];

impl Kind {
    /// Whether a read of this kind looks like a whole one, so that only the guard and the look before a removal help.
    fn looks_whole(self) -> bool {
        matches!(
            self,
            Self::HiddenByAccessRules
                | Self::DroppedEntry
                | Self::DroppedPage
                | Self::EarlyLastPage
                | Self::RepeatedPage
        )
    }

    fn lie(self) -> Option<Lie> {
        Some(match self {
            Self::NoticeOfDisconnection => Lie::Disconnects,
            Self::SizeLimit => Lie::Ends(4),
            Self::TimeLimit => Lie::Ends(3),
            Self::AdminLimit => Lie::Ends(11),
            Self::Busy => Lie::Ends(51),
            Self::HiddenAnchor => Lie::HidesAnchor,
            Self::DroppedEntry => Lie::DropsEntry,
            Self::DroppedPage => Lie::DropsEntries,
            Self::EarlyLastPage => Lie::EndsEarly,
            Self::LostPagingControl => Lie::LosesControl,
            Self::RepeatedPage => Lie::RepeatsPage,
            Self::Reference => Lie::Refers,
            Self::CutMembers => Lie::CutsMembers,
            Self::MalformedEntry => Lie::Breaks,
            Self::CutAtByte | Self::ServerKilled | Self::Silence | Self::HiddenByAccessRules => {
                return None;
            }
        })
    }
}

/// How many places of each kind are tried, where it has as many.
fn positions() -> usize {
    std::env::var("POSITIONS").map_or(2, |number| number.parse().expect("POSITIONS is a number"))
}

enum Server {
    Slapd(Slapd),
    Samba(Samba),
    Fault(FaultLdap),
}

impl Server {
    fn name(&self) -> &'static str {
        match self {
            Self::Slapd(_) => "slapd",
            Self::Samba(_) => "samba",
            Self::Fault(_) => "fault",
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Slapd(slapd) => slapd.port(),
            Self::Samba(samba) => samba.port(),
            Self::Fault(server) => server.address.port(),
        }
    }
}

/// A directory and a target that are equal, and what makes the directory's answers worse.
pub struct Scene {
    server: Server,
    proxy: Proxy,
    /// Falsifies what the server answers.
    pub tampering: Tampering,
    /// Has what the directory has.
    pub target: FaultTarget,
    /// Reads through both.
    pub relay: Relay,
    people: usize,
    whole: Passed,
    seen: usize,
}

impl Scene {
    async fn of(server: Server, people: usize, lines: &str) -> Self {
        let tampering = Tampering::start(server.port());
        let proxy = Proxy::start(tampering.port());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::of_ldap_port(proxy.port(), target.base_url(), "any")
            .directory(lines)
            .directory(LINES);
        let mut scene = Self {
            server,
            proxy,
            tampering,
            target,
            relay,
            people,
            whole: Passed::default(),
            seen: 0,
        };
        let first = scene.run().completed();
        assert_eq!(first.count("usersCreated"), people as u64, "{first:?}");
        // After a run that failed the relay asks for less, because it knows no position in a feed.
        let most = scene.tampering.passed().bytes * 3 / 4;
        scene.proxy.cut_after(most as u64);
        assert_ne!(scene.run().code, Some(0));
        scene.proxy.pass();
        scene.tampering.pass();
        assert_eq!(scene.run().completed().writes(), 0);
        scene.whole = scene.tampering.passed();
        assert_eq!(scene.whole.entries, people + scene.target.groups().len());
        scene.seen = scene.target.journal().len();
        scene
    }

    /// On slapd.
    pub async fn slapd(people: usize) -> Self {
        let slapd = Slapd::with(&World::new(21, people, 12).ldif());
        Self::of(Server::Slapd(slapd), people, "").await
    }

    /// On a domain controller.
    pub async fn samba(people: usize) -> Self {
        let samba = Samba::start();
        let mut ldif = String::new();
        for number in 0..people {
            ldif.push_str(&format!(
                "dn: CN=s{number:03},{}\nobjectClass: user\nsAMAccountName: s{number:03}\nuserAccountControl: 544\nsn: Test\n\n",
                samba::PEOPLE
            ));
        }
        for number in 0..12 {
            ldif.push_str(&format!(
                "dn: CN=team{number},{}\nobjectClass: group\nsAMAccountName: team{number}\n",
                samba::GROUPS
            ));
            for member in number..number + 6 {
                ldif.push_str(&format!("member: CN=s{member:03},{}\n", samba::PEOPLE));
            }
            ldif.push('\n');
        }
        samba.add(&ldif);
        let lines = format!(
            "type = \"active_directory\"\nbindDN = \"{}\"\nbaseDN = \"{}\"\nusersDN = \"{}\"\ngroupsDN = \"{}\"",
            samba::READER,
            samba::DOMAIN,
            samba::PEOPLE,
            samba::GROUPS
        );
        Self::of(Server::Samba(samba), people, &lines).await
    }

    /// On the scripted server.
    pub async fn fault(people: usize) -> Self {
        let server = FaultLdap::start(move |request| scripted(request, people)).await;
        Self::of(Server::Fault(server), people, "").await
    }

    /// A run that reads everything.
    pub fn run(&self) -> Finished {
        self.spawn().wait()
    }

    fn spawn(&self) -> crate::support::relay::Sync {
        let arguments = ["sync", "--mode", "full", "--output", "json"];
        self.relay.spawn(&arguments)
    }

    /// What took something away since the last look.
    pub fn removals(&mut self) -> Vec<Exchange> {
        let journal = self.target.journal();
        let new = journal[self.seen..].iter().filter(|one| one.took_effect());
        self.seen = journal.len();
        new.filter(|one| takes_away(one)).cloned().collect()
    }

    /// Users who may log in, and groups with their members.
    pub fn rights(&self) -> (HashSet<String>, HashSet<String>) {
        let mut users = self.target.users();
        users.retain(|user| user["active"] == true);
        let users = users.iter().map(|user| user["id"].to_string());
        let groups = self.target.groups();
        let groups = groups
            .iter()
            .map(|group| format!("{} {}", group["id"], group["members"]));
        (users.collect(), groups.collect())
    }

    /// How many places a kind has on this server; none where it cannot be had.
    fn places(&self, kind: Kind) -> usize {
        let is_slapd = matches!(self.server, Server::Slapd(_));
        match kind {
            // The first bytes are those of the bind; how long some answers are is not always quite the same.
            Kind::CutAtByte | Kind::Silence => self.whole.bytes * 49 / 50,
            // What is on its way when the server ends still arrives.
            Kind::ServerKilled if is_slapd => self.whole.bytes * 9 / 10,
            // At least a tenth is hidden: less than that is what leaving looks like.
            Kind::HiddenByAccessRules if is_slapd => self.people * 9 / 10,
            Kind::ServerKilled | Kind::HiddenByAccessRules => 0,
            Kind::SizeLimit if is_slapd => self.people - 1,
            Kind::EarlyLastPage | Kind::LostPagingControl | Kind::RepeatedPage => self.whole.pages,
            Kind::CutMembers => self.whole.groups,
            _ => self.whole.entries,
        }
    }

    /// A run that reads less than there is, by this kind at this place.
    fn incomplete_run(&mut self, kind: Kind, at: usize) -> Finished {
        let context = format!("{} {kind:?} at {at}", self.server.name());
        match (&mut self.server, kind) {
            (_, Kind::CutAtByte) => {
                self.proxy.cut_after(at as u64);
                let run = self.run();
                assert!(self.proxy.reached(), "{context}: {run:?}");
                run
            }
            (_, Kind::Silence) => {
                self.proxy.stall_after(at as u64);
                let run = self.run();
                assert!(self.proxy.reached(), "{context}: {run:?}");
                run
            }
            (Server::Slapd(slapd), Kind::ServerKilled) => {
                self.proxy.stall_after(at as u64);
                let arguments = ["sync", "--mode", "full", "--output", "json"];
                let sync = self.relay.spawn(&arguments);
                self.proxy.wait_reached();
                slapd.kill();
                self.proxy.pass();
                let run = sync.wait();
                slapd.restart();
                run
            }
            (Server::Slapd(slapd), Kind::SizeLimit) => {
                slapd.restart_with(&format!("limits dn.exact=\"{READER}\" size={}", at + 1));
                self.run_and_restore()
            }
            (Server::Slapd(slapd), Kind::HiddenByAccessRules) => {
                let from = at..self.people;
                let names: Vec<String> = from.map(|number| format!("u{number:07}")).collect();
                let rule = format!("dn.regex=\"^uid=({}),{PEOPLE}$\"", names.join("|"));
                slapd.restart_with(&hidden(&rule));
                self.run_and_restore()
            }
            _ => {
                self.tampering.lie(kind.lie().unwrap(), at);
                let run = self.run();
                assert!(self.tampering.told(), "{context}: {run:?}");
                run
            }
        }
    }

    fn run_and_restore(&mut self) -> Finished {
        let run = self.run();
        if let Server::Slapd(slapd) = &mut self.server {
            slapd.restart_with("");
        }
        run
    }

    /// Everything passes again: nothing was lost, so nothing is to be done.
    fn assert_recovered(&mut self, context: &str) {
        self.proxy.pass();
        self.tampering.pass();
        let run = self.run().completed();
        assert_eq!(run.writes(), 0, "{context}: {run:?}");
        assert_eq!(run.job["completeRead"], true, "{context}: {run:?}");
    }

    /// Somebody really leaves: what is counted as a removal is one.
    fn assert_counts_leavers(&mut self) {
        if let Server::Slapd(slapd) = &self.server {
            slapd.delete(&format!("uid=u0000000,{PEOPLE}"));
            self.run().completed();
            assert!(!self.removals().is_empty());
        }
    }

    fn sweep(&mut self, kind: Kind) {
        let places = self.places(kind);
        let runs = positions().min(places);
        let before = self.rights();
        let mut removals = 0;
        for number in 0..runs {
            // In the middle of equal parts, so that neither end is left out for long.
            let at = (2 * number + 1) * places / (2 * runs);
            let context = format!("{} {kind:?} at {at} of {places}", self.server.name());
            let run = self.incomplete_run(kind, at);
            let taken = self.removals();
            removals += taken.len();
            assert!(taken.is_empty(), "{context}: {taken:#?}\n{run:?}");
            assert_eq!(self.rights(), before, "{context}: {run:?}");
            if kind.looks_whole() {
                // What it holds back must not hide what the next one does.
                self.assert_recovered(&context);
            } else {
                assert_ne!(
                    run.code,
                    Some(0),
                    "{context}: a success is claimed: {run:?}"
                );
                assert_ne!(run.job["completeRead"], true, "{context}: {}", said(&run));
            }
        }
        if runs > 0 {
            self.assert_recovered(&format!("after {kind:?}"));
            let (name, server) = (snake(kind), self.server.name());
            // Not captured: the figures are to be seen.
            let line = format!("incomplete: {server} {name} {runs} runs {removals} removals\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    }
}

/// Whether a request takes an account, a resource or a membership away, or might.
pub fn takes_away(exchange: &Exchange) -> bool {
    let removes = |operation: &Value| {
        let verb = operation["op"].as_str().unwrap_or_default();
        verb.eq_ignore_ascii_case("remove")
            || (operation["path"] == "members" && verb.eq_ignore_ascii_case("replace"))
    };
    matches!(exchange.call.method.as_str(), "DELETE" | "PUT")
        || deactivates(exchange)
        || operations(exchange).iter().any(removes)
}

/// `CutAtByte` as `cut_at_byte`.
fn snake(kind: Kind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A directory of so many people and twelve groups that pages its answers.
fn scripted(request: &Request, people: usize) -> Option<Vec<Step>> {
    let below = request.subtree && [PEOPLE, GROUPS].contains(&request.base.as_str());
    if request.op != 0x63 || !below {
        return None;
    }
    let id = request.id;
    let uuid = |number: usize| uuid::Uuid::from_u128(1 + number as u128).to_string();
    let dn = |number: usize| format!("uid=f{number},{PEOPLE}").into_bytes();
    let is_wanted = |number: &usize| {
        let mut wanted = request.anchor.iter();
        wanted.all(|anchor| *anchor == uuid(*number))
    };
    let anchor = |number: usize| ("entryUUID", vec![uuid(number).into_bytes()]);
    let found: Vec<Vec<u8>> = if request.base == PEOPLE {
        let entries = (0..people).filter(is_wanted).map(|number| {
            let name = format!("f{number}").into_bytes();
            let attributes = [
                anchor(number),
                ("uid", vec![name.clone()]),
                ("cn", vec![name.clone()]),
                ("sn", vec![name]),
            ];
            entry(id, &format!("uid=f{number},{PEOPLE}"), &attributes)
        });
        entries.collect()
    } else {
        let groups = (people..people + 12).filter(is_wanted).map(|number| {
            let name = format!("team{number}");
            let members = (0..6)
                .map(|member| dn((number + member) % people))
                .collect();
            let attributes = [
                anchor(number),
                ("cn", vec![name.clone().into_bytes()]),
                ("member", members),
            ];
            entry(id, &format!("cn={name},{GROUPS}"), &attributes)
        });
        groups.collect()
    };
    let Some(cookie) = &request.cookie else {
        return Some(vec![Step::Send([found.concat(), done(id, 0, "")].concat())]);
    };
    let from: usize = std::str::from_utf8(cookie).unwrap().parse().unwrap_or(0);
    let until = found.len().min(from + request.page_entries.unwrap());
    let cookie = match until == found.len() {
        true => String::new(),
        false => until.to_string(),
    };
    let answer = [found[from..until].concat(), page(id, cookie.as_bytes())];
    Some(vec![Step::Send(answer.concat())])
}

/// As many people as places are wanted, as far as a server lists so many without further ado.
fn company() -> usize {
    positions().clamp(60, 400)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_sweep_on_slapd_takes_nothing_away() {
    let mut scene = Scene::slapd(company()).await;
    KINDS.into_iter().for_each(|kind| scene.sweep(kind));
    scene.assert_counts_leavers();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_sweep_on_samba_takes_nothing_away() {
    let mut scene = Scene::samba(company()).await;
    KINDS.into_iter().for_each(|kind| scene.sweep(kind));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_sweep_on_the_fault_server_takes_nothing_away() {
    let mut scene = Scene::fault(company()).await;
    KINDS.into_iter().for_each(|kind| scene.sweep(kind));
}
