//! What only Windows does and Samba does not: values and answers that end early, unasked. Imitated by the scripted server.

use std::sync::{Arc, Mutex};

use scim_relay::admin::probe::Stage;
use serde_json::json;

use crate::active_directory::assert_quiet;
use crate::main_job::names::Names;
use crate::probe::test;
use crate::support::fault_ldap::{FaultLdap, Request, Step, done, entry, page};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::Held as _;
use crate::support::relay::{Finished, Relay};

const BASE: &str = "DC=windows,DC=example";
const PEOPLE: &str = "OU=People,DC=windows,DC=example";
const GROUPS: &str = "OU=Groups,DC=windows,DC=example";
const GROUP: &str = "CN=everybody,OU=Groups,DC=windows,DC=example";
/// MaxPageSize: the most entries in one answer, paged or not.
const ANSWER_ENTRIES: usize = 1_000;
const SIZE_LIMIT_EXCEEDED: u8 = 4;

/// What happens to the group between the first and the second of its ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    /// Its first member is taken out, once, and another one put in: the domain notes that with the group.
    MembersChange,
    /// Its first member is deleted, once: the domain drops the value and notes nothing with the group.
    FirstIsDeleted,
}

/// What the domain holds: people by number, and one group.
struct Domain {
    people: Vec<usize>,
    members: Vec<usize>,
    usn: usize,
    meanwhile: Meanwhile,
    /// MaxValRange: the most values of an attribute in one answer.
    values: usize,
    /// Searches below a base that were not paged: answered to their limit only.
    cut_answers: usize,
}

impl Domain {
    fn new(people: usize, members: usize, values: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            people: (0..people).collect(),
            members: (0..members).collect(),
            usn: 7,
            meanwhile: Meanwhile::Nothing,
            values,
            cut_answers: 0,
        }))
    }

    fn answer(&mut self, request: &Request) -> Option<Vec<Step>> {
        let is_about_base = !request.subtree && request.attributes == ["1.1"];
        if request.op != 0x63 || request.base.is_empty() || is_about_base {
            return None;
        }
        let id = request.id;
        let of = |guid: [u8; 16]| request.guid.as_ref().is_none_or(|wanted| *wanted == guid);
        let found: Vec<Vec<u8>> = match request.base.as_str() {
            PEOPLE => {
                let people = self.people.iter().filter(|person| of(guid(**person)));
                people.map(|number| person(id, *number)).collect()
            }
            GROUPS if of(guid(usize::MAX)) => vec![self.group(request)],
            GROUP => vec![self.group(request)],
            GROUPS => Vec::new(),
            // One of the people, by name.
            _ => vec![entry(id, &request.base, &[])],
        };
        let Some(cookie) = &request.cookie else {
            let wanted = match request.entries_max {
                0 => ANSWER_ENTRIES,
                wanted => wanted.min(ANSWER_ENTRIES),
            };
            let is_cut = found.len() > wanted;
            self.cut_answers += usize::from(is_cut);
            let code = if is_cut { SIZE_LIMIT_EXCEEDED } else { 0 };
            let mut answer = found[..found.len().min(wanted)].concat();
            answer.extend(done(id, code, ""));
            return Some(vec![Step::Send(answer)]);
        };
        let from: usize = std::str::from_utf8(cookie).unwrap().parse().unwrap_or(0);
        let asked = request.page_entries.unwrap();
        let until = found.len().min(from + asked.min(ANSWER_ENTRIES));
        let cookie = match until == found.len() {
            true => String::new(),
            false => until.to_string(),
        };
        let mut answer = found[from..until].concat();
        answer.extend(page(id, cookie.as_bytes()));
        Some(vec![Step::Send(answer)])
    }

    /// The group as Windows gives it: of many members only a range, beside an attribute without values.
    fn group(&mut self, request: &Request) -> Vec<u8> {
        let wanted = request.attributes.iter().find_map(|name| {
            let range = name.strip_prefix("member;range=")?;
            range.split('-').next()?.parse().ok()
        });
        let from: usize = wanted.unwrap_or(0);
        if from > 0 {
            self.time_passes();
        }
        let until = self.members.len().min(from + self.values);
        let values: Vec<Vec<u8>> = self.members[from.min(until)..until]
            .iter()
            .map(|number| dn(*number).into_bytes())
            .collect();
        let last = if until == self.members.len() {
            "*".to_owned()
        } else {
            (until - 1).to_string()
        };
        let range = format!("member;range={from}-{last}");
        let is_whole = from == 0 && last == "*";
        let mut attributes = vec![
            ("objectGUID", vec![guid(usize::MAX).to_vec()]),
            ("cn", vec![b"everybody".to_vec()]),
            ("uSNChanged", vec![self.usn.to_string().into_bytes()]),
        ];
        if is_whole {
            attributes.push(("member", values));
        } else {
            attributes.push(("member", Vec::new()));
            attributes.push((&range, values));
        }
        entry(request.id, GROUP, &attributes)
    }

    fn time_passes(&mut self) {
        match std::mem::replace(&mut self.meanwhile, Meanwhile::Nothing) {
            Meanwhile::Nothing => {}
            Meanwhile::MembersChange => {
                self.members.remove(0);
                self.members.push(self.people.len() - 1);
                self.usn += 1;
            }
            Meanwhile::FirstIsDeleted => {
                let first = self.members.remove(0);
                self.people.retain(|number| *number != first);
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("w{number:04}")
}

fn dn(number: usize) -> String {
    format!("CN={},{PEOPLE}", name(number))
}

fn guid(number: usize) -> [u8; 16] {
    // Never all of it text, as with those of a real domain.
    (number as u128 | 0xff << 120).to_be_bytes()
}

fn person(id: u8, number: usize) -> Vec<u8> {
    let name = name(number).into_bytes();
    let attributes = [
        ("objectGUID", vec![guid(number).to_vec()]),
        ("sAMAccountName", vec![name.clone()]),
        ("sn", vec![name]),
        ("userAccountControl", vec![b"512".to_vec()]),
        ("userPassword", vec![b"x".to_vec()]),
    ];
    entry(id, &dn(number), &attributes)
}

/// A domain, and a relay that reads it.
struct Site {
    domain: Arc<Mutex<Domain>>,
    server: FaultLdap,
    target: FaultTarget,
    relay: Relay,
}

fn lines(page_entries: usize) -> String {
    format!(
        "type = \"active_directory\"\nbindDN = \"CN=reader,{BASE}\"\nbaseDN = \"{BASE}\"\nusersDN = \"{PEOPLE}\"\n\
         groupsDN = \"{GROUPS}\"\npageEntries = {page_entries}"
    )
}

impl Site {
    async fn new(domain: Arc<Mutex<Domain>>, page_entries: usize) -> Self {
        let script = domain.clone();
        let server = FaultLdap::start(move |request| script.lock().unwrap().answer(request)).await;
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::of_ldap_port(server.address.port(), target.base_url(), "any")
            .directory(&lines(page_entries));
        Self {
            domain,
            server,
            target,
            relay,
        }
    }

    /// The names of the group's members at the target, and of those in the domain.
    fn members(&self) -> (Vec<String>, Vec<String>) {
        let users = self.target.users();
        let of = |id: &serde_json::Value| {
            let user = users.iter().find(|user| user["id"] == *id).unwrap();
            user["userName"].as_str().unwrap().to_owned()
        };
        let groups = self.target.groups();
        let members = groups[0]["members"].as_array().unwrap();
        let mut held: Vec<String> = members.iter().map(|member| of(&member["value"])).collect();
        held.sort_unstable();
        let domain = self.domain.lock().unwrap();
        let mut wanted: Vec<String> = domain.members.iter().copied().map(name).collect();
        wanted.sort_unstable();
        (held, wanted)
    }

    fn assert_equal(&self) {
        let (held, wanted) = self.members();
        assert_eq!(held, wanted);
    }

    /// The next run, and the requests that it sent.
    fn sent(&self) -> (Finished, Vec<String>) {
        let before = self.target.journal().len();
        let run = self.relay.sync();
        let sent = Names::of(&self.target).writes(&self.target, before);
        (run, sent)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_windows_ends_values_and_answers_early_and_all_are_read() {
    // MaxValRange as it is shipped, as small as it can be set, and as large; pages as large as Windows gives, and larger.
    for (people, values, page_entries) in [
        (1_600, 1_500, 1_000),
        (1_501, 1_500, 5_000),
        (1_500, 1_500, 1_000),
        (70, 30, 1_000),
        (1_600, 5_000, 999),
    ] {
        let what = format!("{people} people, {values} values, {page_entries} entries");
        let site = Site::new(Domain::new(people, people, values), page_entries).await;
        let run = site.relay.sync().completed();
        assert_eq!(run.job["completeRead"], true, "{what}: {run:?}");
        assert_eq!(run.count("usersCreated"), people as u64, "{what}: {run:?}");
        site.assert_equal();
        assert_quiet(&site.relay);
        assert_eq!(site.domain.lock().unwrap().cut_answers, 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_windows_counts_beyond_the_limit_of_one_answer() {
    let site = Site::new(Domain::new(2_300, 1_600, 1_500), 1_000).await;
    let report = test(site.server.address.port(), &lines(5_000), Stage::All).await;
    assert_eq!(report["success"], true, "{report:#}");
    assert_eq!(
        (&report["usersFound"], &report["groupsFound"]),
        (&json!(2_300), &json!(1)),
        "{report:#}"
    );
    // The question whether passwords can be read is not paged: that there is one is enough.
    assert_eq!(site.domain.lock().unwrap().cut_answers, 1);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("userPassword"), "{report:#}");
    assert!(!warnings.contains("broke off"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_windows_groups_that_change_between_two_ranges_are_read_again() {
    let site = Site::new(Domain::new(1_700, 1_600, 1_500), 1_000).await;
    site.relay.sync().completed();
    site.assert_equal();
    site.domain.lock().unwrap().meanwhile = Meanwhile::MembersChange;
    let (run, sent) = site.sent();
    assert_eq!(run.job["status"], "completed", "{run:?}");
    assert_eq!(
        sent,
        [
            r#"PATCH /Groups/everybody add members=[{"value":"w1699"}]"#,
            r#"PATCH /Groups/everybody remove members[value eq "w0000"]"#,
        ],
        "{run:?}"
    );
    site.assert_equal();
    assert_quiet(&site.relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_windows_members_that_slip_between_two_ranges_stay_members() {
    let site = Site::new(Domain::new(1_700, 1_600, 1_500), 1_000).await;
    site.relay.sync().completed();
    // The value that was the first of the second range is the last of the first one by then, so it is in neither.
    site.domain.lock().unwrap().meanwhile = Meanwhile::FirstIsDeleted;
    let (run, sent) = site.sent();
    assert_eq!(sent, [""; 0], "{run:?}");
    let errors = run.job["errors"].to_string();
    assert!(
        errors.contains("members changed since it was read"),
        "{run:?}"
    );
    // The deleted one goes next time, and nobody else.
    let (run, sent) = site.sent();
    assert_eq!(
        sent,
        [
            r#"PATCH /Groups/everybody remove members[value eq "w0000"]"#,
            "PATCH /Users/w0000 replace active=false",
        ],
        "{run:?}"
    );
    site.assert_equal();
    assert_quiet(&site.relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incident_10_a_group_that_outgrows_one_answer_keeps_its_members() {
    let site = Site::new(Domain::new(1_600, 1_498, 1_500), 1_000).await;
    site.relay.sync().completed();
    {
        let mut domain = site.domain.lock().unwrap();
        domain.members.extend(1_498..1_501);
        domain.usn += 1;
    }
    let (run, _) = site.sent();
    assert_eq!(
        (run.count("membersAdded"), run.count("membersRemoved")),
        (3, 0),
        "{run:?}"
    );
    assert_eq!(run.writes(), 1, "{run:?}");
    site.assert_equal();
    assert_quiet(&site.relay);
}
