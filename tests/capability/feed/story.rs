//! One story on every rung of the ladder: what an incremental run sends, and that a full scan after it finds nothing left.

use serde_json::json;

use crate::feed::site::Site;
use crate::main_job::names::Names;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::samba;
use crate::support::slapd::Options;

/// What a rung tells of those who left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sees {
    /// Nothing: only a full scan finds out.
    Changes,
    /// All but deletions.
    Moves,
    /// Everything.
    Deletions,
}

struct Story {
    site: Site,
    target: FaultTarget,
    relay: Relay,
    rung: &'static str,
    sees: Sees,
}

/// A run that asks the feed what changed.
pub const INCREMENTAL: &[&str] = &["sync", "--mode", "incremental", "--output", "json"];

/// Such a run; what waits because the profile is another one is approved.
pub fn incremental(relay: &Relay) -> Finished {
    relay
        .with_change_approved(relay.spawn(INCREMENTAL).wait())
        .completed()
}

impl Story {
    async fn begin(site: Site, rung: &'static str, sees: Sees, lines: &str) -> Self {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = site
            .relay(&target)
            .directory(&format!("changeDetection = \"{rung}\"\n{lines}"))
            .environment("ADMIN_PASSWORD", samba::ADMIN_PASSWORD);
        let first = incremental(&relay);
        assert_eq!(first.job["changeDetection"]["rung"], "full_scan");
        let story = Self {
            site,
            target,
            relay,
            rung,
            sees,
        };
        story.costs(Sees::Changes, &[]);
        story
    }

    /// The next incremental run sends exactly these, if its rung tells as much; a full scan sends the rest, and after it
    /// there is nothing left.
    fn costs(&self, told: Sees, requests: &[&str]) {
        let before = self.target.journal().len();
        let run = incremental(&self.relay);
        assert_eq!(run.job["changeDetection"]["rung"], self.rung, "{run:?}");
        if told <= self.sees {
            self.wrote(before, requests, &run);
        } else {
            // What it cannot tell it may come upon by chance, while it reads something else again.
            let written = Names::of(&self.target).writes(&self.target, before);
            let wanted = |request: &String| requests.contains(&request.as_str());
            assert!(written.iter().all(wanted), "{written:?} {run:?}");
        }
        let full = self.relay.sync().completed();
        self.wrote(before, requests, &full);
        let quiet = incremental(&self.relay);
        assert_eq!(
            quiet.job["requests"],
            json!({"read": 0, "write": 0}),
            "{quiet:?}"
        );
    }

    /// A change of which no feed can tell all makes the run read everything.
    fn reads_all(&self, requests: &[&str]) {
        let before = self.target.journal().len();
        let run = incremental(&self.relay);
        assert_eq!(run.job["changeDetection"]["rung"], "full_scan", "{run:?}");
        self.wrote(before, requests, &run);
    }

    /// Somebody else who is called ann does not become who was deleted.
    fn somebody_else_of_the_same_name(&self, before_her: &str) {
        let before = self.target.journal().len();
        let ann = self.site.add_user("ann");
        assert_ne!(ann, before_her);
        for mode in ["incremental", "full"] {
            let arguments = ["sync", "--mode", mode, "--output", "json"];
            let run = self.relay.spawn(&arguments).wait();
            assert_eq!(run.job["status"], "completed_with_errors", "{run:?}");
            let error = run.job["errors"][0].to_string();
            assert!(error.contains("ann"), "{run:?}");
            self.wrote(before, &[], &run);
        }
    }

    fn wrote(&self, before: usize, requests: &[&str], run: &Finished) {
        let written = Names::of(&self.target).writes(&self.target, before);
        let mut requests = requests.to_vec();
        requests.sort_unstable();
        assert_eq!(written, requests, "{}: {run:?}", self.rung);
    }

    fn tell(&self) {
        use Sees::{Changes, Deletions, Moves};
        let site = &self.site;
        let (ann, team) = (site.person("ann"), site.group("a-team"));
        let off = "PATCH /Users/ann replace active=false";
        let on = "PATCH /Users/ann replace active=true";
        let joins = r#"PATCH /Groups/a-team add members=[{"value":"ann"}]"#;
        let leaves = r#"PATCH /Groups/a-team remove members[value eq "ann"]"#;

        site.change(&ann, "replace: mail\nmail: new@example.org");
        self.costs(
            Changes,
            &[r#"PATCH /Users/ann replace emails[type eq "work"].value="new@example.org""#],
        );
        site.lock("ann", true);
        self.costs(Changes, &[off]);
        site.lock("ann", false);
        self.costs(Changes, &[on]);

        // Groups follow the name without telling, and so nobody leaves one.
        site.rename(&ann, &site.rdn("anna"), None);
        self.costs(Changes, &[]);
        let sales = format!("ou=sales,{}", site.people());
        site.rename(&site.person("anna"), &site.rdn("ann"), Some(&sales));
        self.costs(Changes, &[]);
        let in_sales = format!("{},{sales}", site.rdn("ann"));

        let joe = site.add_user("joe");
        site.change(&team, &format!("add: member\nmember: {joe}"));
        site.change(&team, &format!("delete: member\nmember: {in_sales}"));
        let created = json!({
            "userName": "joe", "active": true, "displayName": "joe Test",
            "name": {"givenName": "joe", "familyName": "Test"},
            "emails": [{"type": "work", "primary": true, "value": "joe@example.org"}],
        });
        let joe_joins = r#"PATCH /Groups/a-team add members=[{"value":"joe"}]"#;
        self.costs(
            Changes,
            &[&format!("POST /Users {created}"), joe_joins, leaves],
        );
        site.change(&team, &format!("add: member\nmember: {in_sales}"));
        self.costs(Changes, &[joins]);
        site.rename(&team, &site.rdn("b-team"), None);
        self.costs(
            Changes,
            &[r#"PATCH /Groups/b-team replace displayName="b-team""#],
        );
        site.rename(&site.group("b-team"), &site.rdn("a-team"), None);
        self.costs(
            Changes,
            &[r#"PATCH /Groups/a-team replace displayName="a-team""#],
        );

        // A new group, and one in a cycle with it: groups within groups are left out by default.
        site.add_group("new-team", &[&in_sales, &team]);
        site.change(
            &team,
            &format!("add: member\nmember: {}", site.group("new-team")),
        );
        self.costs(
            Changes,
            &[r#"POST /Groups {"displayName":"new-team","members":[{"value":"ann"}]}"#],
        );
        site.delete(&site.group("new-team"));
        self.costs(
            Deletions,
            &[r#"PATCH /Groups/new-team remove members[value eq "ann"]"#],
        );
        if let Site::Domain(_) = site {
            site.change(
                &in_sales,
                "replace: accountExpires\naccountExpires: 132223104000000000",
            );
            self.costs(Changes, &[off]);
            site.change(&in_sales, "replace: accountExpires\naccountExpires: 0");
            self.costs(Changes, &[on]);
        }

        // Out of the filter and back.
        site.change(&in_sales, "replace: description\ndescription: hidden");
        self.costs(Changes, &[off, leaves]);
        site.change(&in_sales, "delete: description");
        self.costs(Changes, &[on, joins]);
        // Out of the tree and back.
        site.rename(&in_sales, &site.rdn("ann"), Some(site.elsewhere()));
        self.costs(Moves, &[off, leaves]);
        let outside = format!("{},{}", site.rdn("ann"), site.elsewhere());
        site.rename(&outside, &site.rdn("ann"), Some(&sales));
        self.costs(Changes, &[on, joins]);

        // A unit takes those below it along, and says nothing of them.
        let marketing = format!("ou=marketing,{}", site.people());
        site.rename(&sales, "ou=marketing", None);
        self.reads_all(&[]);
        self.costs(Changes, &[]);

        site.delete(&format!("{},{marketing}", site.rdn("ann")));
        self.costs(Deletions, &[off, leaves]);
        site.change(&team, &format!("delete: member\nmember: {joe}"));
        self.costs(
            Changes,
            &[r#"PATCH /Groups/a-team remove members[value eq "joe"]"#],
        );
        site.delete(&team);
        self.costs(
            Deletions,
            &[r#"PATCH /Groups/a-team remove members[value eq "ben"]"#],
        );
        self.somebody_else_of_the_same_name(&in_sales);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_syncrepl() {
    let story = Story::begin(Site::openldap(), "syncrepl", Sees::Deletions, "").await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_syncrepl_of_389() {
    let story = Story::begin(Site::ds389(), "syncrepl", Sees::Deletions, "").await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_modify_timestamp() {
    let site =
        Site::openldap_with(Options::new().overlays("overlay refint\nrefint_attributes member\n"));
    let story = Story::begin(site, "modify_timestamp", Sees::Changes, "").await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_dirsync_as_a_plain_account() {
    let story = Story::begin(Site::domain(), "dirsync", Sees::Moves, "").await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_usn_changed_as_a_plain_account() {
    let story = Story::begin(Site::domain(), "usn_changed", Sees::Moves, "").await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_dirsync_with_deleted_objects() {
    let story = Story::begin(
        Site::domain(),
        "dirsync",
        Sees::Deletions,
        samba::AS_ADMINISTRATOR,
    )
    .await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_story_by_usn_changed_with_deleted_objects() {
    let story = Story::begin(
        Site::domain(),
        "usn_changed",
        Sees::Deletions,
        samba::AS_ADMINISTRATOR,
    )
    .await;
    story.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_costs_one_value_for_one_member_of_2000() {
    for rung in ["dirsync", "usn_changed"] {
        let site = Site::domain();
        let target = FaultTarget::start(Vec::new()).await;
        let crowd = samba::CROWD;
        let scope = format!(
            "usersDN = \"{company}\"\ngroupsDN = \"{crowd}\"\nchangeDetection = \"{rung}\"",
            company = "OU=Company,dc=ad,dc=example,dc=org"
        );
        let relay = site.relay(&target).directory(&scope);
        let first = incremental(&relay);
        assert_eq!(first.count("membersAdded"), samba::CROWD_USERS as u64);
        let group = format!("CN=crowd,{crowd}");
        let before = target.journal().len();
        site.change(
            &group,
            &format!("add: member\nmember: {}", site.person("ann")),
        );
        let run = incremental(&relay);
        assert_eq!(run.job["changeDetection"]["rung"], rung, "{run:?}");
        assert_eq!(
            Names::of(&target).writes(&target, before),
            [r#"PATCH /Groups/crowd add members=[{"value":"ann"}]"#]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_a_group_within_reaches_the_groups_around_it() {
    let lines = "nestedGroups = \"flatten\"";
    let story = Story::begin(Site::openldap(), "syncrepl", Sees::Deletions, lines).await;
    let (site, team) = (&story.site, story.site.group("a-team"));
    site.add_group("outer", &[&team]);
    story.costs(
        Sees::Changes,
        &[r#"POST /Groups {"displayName":"outer","members":[{"value":"ann"},{"value":"ben"}]}"#],
    );
    let other = site.person("other3");
    site.change(&team, &format!("add: member\nmember: {other}"));
    story.costs(
        Sees::Changes,
        &[
            r#"PATCH /Groups/a-team add members=[{"value":"other3"}]"#,
            r#"PATCH /Groups/outer add members=[{"value":"other3"}]"#,
        ],
    );
    site.delete(&site.person("ann"));
    story.costs(
        Sees::Deletions,
        &[
            "PATCH /Users/ann replace active=false",
            r#"PATCH /Groups/a-team remove members[value eq "ann"]"#,
            r#"PATCH /Groups/outer remove members[value eq "ann"]"#,
        ],
    );
}
