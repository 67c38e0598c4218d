//! A story for each row of the lifecycle, with exactly the requests that it costs.

use std::time::Duration;

use serde_json::json;

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::{assert_equal_to_domain, relay_of, ticks};
use crate::main_job::names::Names;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::samba::{ELSEWHERE, GROUPS, PEOPLE, Samba};
use crate::support::wait_for;

/// A domain, a target that keeps a journal, and a relay between them.
struct Story {
    samba: Samba,
    target: FaultTarget,
    relay: Relay,
}

impl Story {
    /// Ann and Ben, who are in the group a-team, and a unit within that of the people.
    async fn begin() -> Self {
        let samba = Samba::start();
        samba.add(&format!(
            "dn: OU=Sales,{PEOPLE}\nobjectClass: organizationalUnit\n\n"
        ));
        let ann = samba.add_user(PEOPLE, "ann", "");
        let ben = samba.add_user(PEOPLE, "ben", "");
        samba.add_group(GROUPS, "a-team", &[&ann, &ben]);
        // Others, so that one who leaves is not a fifth of the company.
        let others: Vec<String> = (0..8)
            .map(|number| samba.add_user(PEOPLE, &format!("other{number}"), ""))
            .collect();
        for (number, other) in others.iter().enumerate() {
            samba.add_group(GROUPS, &format!("others{number}"), &[other]);
        }
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay_of(&samba, &target);
        relay.sync().completed();
        let story = Self {
            samba,
            target,
            relay,
        };
        story.check();
        story
    }

    /// The next run sends exactly these, and the one after it nothing.
    fn costs(&self, requests: &[&str]) {
        let before = self.target.journal().len();
        let run = self.relay.sync().completed();
        let written = Names::of(&self.target).writes(&self.target, before);
        let mut requests: Vec<&str> = requests.to_vec();
        requests.sort_unstable();
        assert_eq!(written, requests, "{run:?}");
        self.check();
    }

    fn check(&self) {
        assert_equal_to_domain(&self.samba, &self.target, PEOPLE, GROUPS);
        assert_quiet(&self.relay);
    }
}

fn of(unit: &str, name: &str) -> String {
    format!("CN={name},{unit}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_joiner_change_rename_and_move() {
    let story = Story::begin().await;
    let samba = &story.samba;
    let joe = samba.add_user(PEOPLE, "joe", "");
    samba.modify(&format!(
        "dn: CN=a-team,{GROUPS}\nchangetype: modify\nadd: member\nmember: {joe}\n"
    ));
    let created = json!({
        "userName": "joe",
        "active": true,
        "displayName": "joe Test",
        "name": {"givenName": "joe", "familyName": "Test"},
        "emails": [{"type": "work", "primary": true, "value": "joe@example.org"}],
    });
    story.costs(&[
        &format!("POST /Users {created}"),
        r#"PATCH /Groups/a-team add members=[{"value":"joe"}]"#,
    ]);

    let ann = of(PEOPLE, "ann");
    samba.replace(&ann, "mail", &["a.new@example.org"]);
    samba.replace(&ann, "telephoneNumber", &["+49 30 7"]);
    story.costs(&[
        r#"PATCH /Users/ann add phoneNumbers=[{"type":"work","value":"+49 30 7"}] + replace emails[type eq "work"].value="a.new@example.org""#,
    ]);
    // Attributes that nothing is made of cost nothing.
    samba.replace(&ann, "description", &["works here"]);
    story.costs(&[]);

    // A new name and another place: the anchor is the same, and the domain follows names in groups.
    samba.modrdn(&ann, "CN=Ann Elsewho", Some(&format!("OU=Sales,{PEOPLE}")));
    story.costs(&[]);
    samba.modrdn(&format!("OU=Sales,{PEOPLE}"), "OU=Marketing", Some(PEOPLE));
    story.costs(&[]);
    let ann = of(&format!("OU=Marketing,{PEOPLE}"), "Ann Elsewho");
    samba.replace(&ann, "sAMAccountName", &["ann2"]);
    story.costs(&[r#"PATCH /Users/ann2 replace userName="ann2""#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_disabled_enabled_expired_and_due() {
    let story = Story::begin().await;
    let samba = &story.samba;
    let ann = of(PEOPLE, "ann");
    let off = "PATCH /Users/ann replace active=false";
    let on = "PATCH /Users/ann replace active=true";
    for (control, request) in [
        ("546", Some(off)),
        // Still disabled, and the password does not expire: another bit.
        ("66082", None),
        ("66080", Some(on)),
        ("544", None),
    ] {
        samba.replace(&ann, "userAccountControl", &[control]);
        story.costs(request.as_slice());
    }
    for (expires, request) in [
        ("132223104000000000", Some(off)),
        ("0", Some(on)),
        ("9223372036854775807", None),
        (ticks(-5).as_str(), Some(off)),
        (ticks(86_400).as_str(), Some(on)),
    ] {
        samba.replace(&ann, "accountExpires", &[expires]);
        story.costs(request.as_slice());
    }
    // Disabled and expired are two reasons; one of them is enough.
    samba.replace(&ann, "userAccountControl", &["546"]);
    story.costs(&[off]);
    samba.replace(&ann, "accountExpires", &["132223104000000000"]);
    story.costs(&[]);
    samba.replace(&ann, "userAccountControl", &["544"]);
    story.costs(&[]);
    samba.replace(&ann, "accountExpires", &["0"]);
    story.costs(&[on]);
    // The entry does not change when the time comes.
    let due = ticks(15);
    samba.replace(&ann, "accountExpires", &[&due]);
    story.costs(&[]);
    wait_for("the end of the account", Duration::from_secs(30), || {
        (ticks(0) >= due).then_some(())
    });
    story.costs(&[off]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_deleted_out_of_scope_and_back() {
    let story = Story::begin().await;
    let samba = &story.samba;
    let (ann, team) = (of(PEOPLE, "ann"), of(GROUPS, "a-team"));
    samba.modrdn(&ann, "CN=ann", Some(ELSEWHERE));
    story.costs(&[
        "PATCH /Users/ann replace active=false",
        r#"PATCH /Groups/a-team remove members[value eq "ann"]"#,
    ]);
    samba.modrdn(&of(ELSEWHERE, "ann"), "CN=ann", Some(PEOPLE));
    story.costs(&[
        "PATCH /Users/ann replace active=true",
        r#"PATCH /Groups/a-team add members=[{"value":"ann"}]"#,
    ]);
    // What is left of a deleted entry is a tombstone that this account cannot see; its absence is what counts.
    samba.delete(&of(PEOPLE, "ben"));
    story.costs(&[
        "PATCH /Users/ben replace active=false",
        r#"PATCH /Groups/a-team remove members[value eq "ben"]"#,
    ]);
    // Somebody else of the same name does not become who was deleted.
    let ben = samba.add_user(PEOPLE, "ben", "");
    samba.modify(&format!(
        "dn: {team}\nchangetype: modify\nadd: member\nmember: {ben}\n"
    ));
    let before = story.target.journal().len();
    let run = story.relay.sync();
    assert_eq!(run.writes(), 0, "{run:?}");
    let written = Names::of(&story.target).writes(&story.target, before);
    assert_eq!(written, [""; 0], "{run:?}");
    let error = run.job["errors"][0].to_string();
    assert!(error.contains("ben"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_groups_come_change_and_go() {
    let story = Story::begin().await;
    let samba = &story.samba;
    let (ann, ben) = (of(PEOPLE, "ann"), of(PEOPLE, "ben"));
    samba.add_group(GROUPS, "b-team", &[&ann, &ben]);
    story.costs(&[
        r#"POST /Groups {"displayName":"b-team","members":[{"value":"ann"},{"value":"ben"}]}"#,
    ]);
    samba.modrdn(&of(GROUPS, "b-team"), "CN=c-team", None);
    story.costs(&[r#"PATCH /Groups/c-team replace displayName="c-team""#]);
    let team = of(GROUPS, "c-team");
    samba.modify(&format!(
        "dn: {team}\nchangetype: modify\ndelete: member\nmember: {ann}\n"
    ));
    story.costs(&[r#"PATCH /Groups/c-team remove members[value eq "ann"]"#]);
    // Groups within groups are left out by default, and a cycle is no trouble.
    samba.modify(&format!(
        "dn: {team}\nchangetype: modify\nadd: member\nmember: CN=a-team,{GROUPS}\n"
    ));
    samba.modify(&format!(
        "dn: CN=a-team,{GROUPS}\nchangetype: modify\nadd: member\nmember: {team}\n"
    ));
    story.costs(&[]);
    samba.delete(&team);
    story.costs(&[r#"PATCH /Groups/c-team remove members[value eq "ben"]"#]);
}
