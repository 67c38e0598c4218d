//! What went wrong elsewhere, as it is on public record: each incident that can happen to a bridge like this one as a test that
//! ends without a wrong removal. `tests/run incident` runs them all.
//!
//! | incident | what happened | tests |
//! |---|---|---|
//! | I1 Gitea #4402 | time limit exceeded: all accounts deactivated | `reads::incident_01_…` |
//! | I2 Gitea #7949, #7960 | an empty list: everybody deactivated | `reads::incident_02_…` |
//! | I3 Zulip #13130 | no connection taken for not found | `reads::incident_03_…` |
//! | I4 GLPI #984, #24686 | server unreachable: 512 disabled; people who move are trashed | `reads::incident_04_…` |
//! | I5 wg-portal #744 | 389 Directory Server without an ACI: success, and no entries | `reads::incident_05_…` |
//! | I6 1Password 2026 | a changed group as scope: nobody in it, everybody suspended | `scope::incident_06_…` |
//! | I7 Auvik 2026 | a part of the users taken for deleted | `reads::incident_07_…` |
//! | I8 Slack 2018 | suspending removed integrations and archived channels, restoring was a load of its own | the side effects are the target's; what is ours, that suspending is one attribute and an undo brings back everything: `scope::incident_08_…`; that an undo keeps to the rate too: one client sends for all jobs (`target_throttling`) |
//! | I9 ssosync | #194 empty, then made anew; #236 partial memberships; #88 groups of others; #59 a user made anew; #355 one change ends every run; #330 the same update for ever | `reads::incident_09_…` (#194, #236), `target::incident_09_…` (#88, #355, #330); #59: `target::incident_09_somebody_who_is_made_anew…` |
//! | I10 pg-ldap-sync #32 and others | a group grows from 1,498 to 1,501: all members revoked | `active_directory::windows::incident_10_…` |
//! | I11 Atlassian | the search for deleted entries by a plain account | `reads::incident_11_…` |
//! | I12 idm-sync #17 | a list cut to its first page | `target::incident_12_…` |
//! | I13 FusionAuth #2784 | the target shows the first 100 members only | `target::incident_13_…`; that adding members takes the others out there is nothing that a client could see; #3307, a limit on the size of a group: `outcomes::large_groups` |
//! | I14 noobient 2015 | a filter deleted 44 users, fewer than the 500 of the limit, administrators among them | `scope::incident_14_…` |
//! | I15 Azure AD Connect 1.4 | an upgrade changed the rules | `scope::incident_15_…`: what a new version means by the same file is a changed profile like any other |
//! | I16 gshaw0 2015 | a job moved users to another unit; the threshold saved them | `scope::incident_16_…` |
//! | I17 mailcow-ldap-sync #3 and others | the DN taken for the identity | `reads::incident_17_…` |
//! | I18 owncloud #751 | one collision ends the sync of all new users | `target::incident_18_…` |
//! | I19 Bitwarden #233 and others | circular groups | `reads::incident_19_…` |
//! | I20 Metatavu #74 and others | the filter says no, the creation says 409, or 500 | `target::incident_20_…` |
//! | I21 theexchangeguy 2016 | 16,402 real leavers have to be approved | `scope::incident_21_…` |

mod reads;
mod scope;
mod target;

use std::collections::HashSet;

use crate::incomplete_reads::sweep::takes_away;
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::mirror::Held as _;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{Options, PEOPLE, READER, SUFFIX, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, relay, writes};

/// A directory and a target that are equal.
struct Company {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
}

impl Company {
    async fn of(people: usize, groups: usize) -> Self {
        let unit = format!("ou=elsewhere,{SUFFIX}");
        let unit = format!("dn: {unit}\nobjectClass: organizationalUnit\nou: elsewhere\n\n");
        let world = World::new(31, people, groups);
        let unlimited = format!("limits dn.exact=\"{READER}\" size=unlimited");
        let slapd = Options::new().ldif(&world.ldif()).ldif(&unit);
        let slapd = slapd.database(&unlimited).start();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        Self {
            slapd,
            target,
            relay,
        }
    }

    /// The same company with other lines in its directory's definition.
    fn with(self, lines: &str) -> Self {
        Self {
            relay: self.relay.directory(lines),
            ..self
        }
    }

    /// A run that takes nothing away from anybody.
    fn harmless_run(&self, what: &str) -> Finished {
        harmless(&self.target, what, || self.relay.sync())
    }

    /// A run that waits for a person, and takes nothing away until then.
    fn waiting_run(&self, what: &str) -> Finished {
        let run = self.harmless_run(what);
        assert_eq!(run.job["status"], "awaiting_approval", "{what}: {run:?}");
        run
    }

    fn assert_settled(&self, what: &str) {
        assert_settled(&self.slapd, &self.target, &self.relay, what);
    }

    fn inactive(&self) -> usize {
        let users = self.target.users().into_iter();
        users.filter(|user| user["active"] == false).count()
    }
}

/// Whatever `run` does takes no account, no resource and no membership away.
fn harmless(target: &FaultTarget, what: &str, run: impl FnOnce() -> Finished) -> Finished {
    let (before, earlier) = (rights(target), writes(target).len());
    let finished = run();
    let removals: Vec<Exchange> = writes(target).split_off(earlier);
    let removals: Vec<&Exchange> = removals.iter().filter(|one| takes_away(one)).collect();
    assert!(removals.is_empty(), "{what}: {removals:#?}\n{finished:?}");
    let after = rights(target);
    let lost: Vec<&String> = before.difference(&after).collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?}\n{finished:?}");
    finished
}

/// Who may log in, and who is in which group.
fn rights(target: &FaultTarget) -> HashSet<String> {
    let mut users = target.users();
    users.retain(|user| user["active"] == true);
    let mut rights: HashSet<String> = users.iter().map(|user| user["id"].to_string()).collect();
    for group in target.groups() {
        let id = group["id"].as_str().unwrap();
        let members = target.target().members(id).unwrap().into_iter();
        rights.extend(members.map(|member| format!("{member} in {id}")));
    }
    rights
}

/// The DN of a person.
fn dn(number: usize) -> String {
    format!("{},{PEOPLE}", rdn(number))
}

fn rdn(number: usize) -> String {
    format!("uid=u{number:07}")
}
