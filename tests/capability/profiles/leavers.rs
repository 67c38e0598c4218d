//! Leavers whom several profiles saw: the first run that finds them gone deactivates them, whichever profile's it is, and
//! nobody is deactivated because a profile is disabled, deleted, or runs rarely.

use super::*;

/// So many that a few who leave are no sign of a read that went wrong.
const MANY: usize = 20;

/// A second profile that sees everybody, and reads no groups.
fn overlapping() -> String {
    second(&format!(
        "usersDN = \"{SUFFIX}\"\nuserSearchFilter = \"(objectClass=inetOrgPerson)\""
    ))
}

/// The same, and it alone reads the groups.
fn overlapping_with_groups() -> String {
    let both = overlapping().replace("synchronizeGroups = false", "synchronizeGroups = true");
    format!("synchronizeGroups = false\n{both}")
}

/// Sees the guests, before the profile `guests` in order.
fn earlier(enabled: bool) -> String {
    format!(
        "[[profiles]]\nname = \"early\"\nenabled = {enabled}\nsynchronizeGroups = false\nusersDN = \"{GUESTS}\"\n{}",
        guests("userSearchFilter = \"(&(objectClass=inetOrgPerson)(!(title=out)))\"")
    )
}

impl Site {
    /// Runs each profile until nothing is left to do.
    fn load_all(&mut self, profiles: &[&str]) {
        for profile in profiles.iter().chain(profiles) {
            self.sends(profile);
        }
        for profile in profiles {
            assert_eq!(self.sends(profile), [""; 0], "{profile}");
        }
    }

    /// Asks for one entry alone.
    fn sends_only(&mut self, profile: &str, selector: &str) -> Vec<String> {
        let asked = [
            "sync",
            "--output",
            "json",
            "--profile",
            profile,
            "--only",
            selector,
        ];
        self.relay.spawn(&asked).wait().completed();
        self.tell()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_find_a_leaver_of_both_whichever_runs() {
    let mut site = Site::new(MANY, VISITORS, "", &overlapping()).await;
    site.load();
    // The first owns them, and does not run.
    site.slapd.delete(&format!("uid=s0,{PEOPLE}"));
    assert_eq!(site.sends("guests"), ["s0: active=false"]);
    assert_eq!(site.sends("guests"), [""; 0]);
    site.slapd.delete(&format!("uid=s1,{PEOPLE}"));
    let sent = site.sends_only("guests", &format!("uid=s1,{PEOPLE}"));
    assert_eq!(sent, ["s1: active=false"]);
    // It does, and the other does not.
    site.slapd.delete(&format!("uid=s2,{PEOPLE}"));
    assert_eq!(site.sends("default"), ["s2: active=false"]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_leave_whom_another_still_sees() {
    let mut site = Site::new(MANY, VISITORS, "", &overlapping()).await;
    site.load();
    let (s0, moved) = (format!("uid=s0,{PEOPLE}"), format!("uid=s0,{GUESTS}"));
    // The first that saw him loses him, and the other one still has him: one look, and he is the other's.
    site.slapd.modrdn(&s0, "uid=s0", Some(GUESTS));
    let lost = site.run("default", "full").completed();
    assert_eq!((lost.writes(), lost.count("skipped")), (0, 0), "{lost:?}");
    assert_eq!(
        site.sends("guests"),
        ["s0: displayName=s0 by cn, title=s0's title"]
    );
    site.assert_quiet();

    // That one is deleted: its users are released, those whom another one had before too.
    site.relay = site.relay.directory("profiles = []");
    assert_eq!(site.sends("default"), [""; 0]);
    site.relay = site.relay.directory(&overlapping());
    site.slapd.delete(&moved);
    assert_eq!(site.sends("guests"), ["s0: active=false"]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_take_a_leaver_out_of_groups_whichever_runs() {
    let staff = |number: usize| format!("uid=s{number},{PEOPLE}");
    let team = group("team", &[&staff(0), &staff(1)]);
    let mut site = Site::new(STAFF, VISITORS, &team, &overlapping_with_groups()).await;
    site.load();
    // The group names him still, as in a directory without referential integrity.
    site.slapd.delete(&staff(0));
    assert_eq!(
        site.sends("guests"),
        ["s0: active=false", "team: remove members[value eq \"s0\"]"]
    );
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_empty_a_group_of_both_and_take_its_roles_whichever_runs() {
    let team = group(
        "team",
        &[&format!("uid=s0,{PEOPLE}"), &format!("uid=g0,{GUESTS}")],
    ) + &group("other", &[&format!("uid=s0,{PEOPLE}")]);
    let guests = guests(&format!(
        "roleMapping = [{{ group = \"cn=team,{GROUPS}\", role = \"member\" }}]"
    ));
    let guests = guests.replace("synchronizeGroups = false", "synchronizeGroups = true");
    let mut site = Site::new(STAFF, VISITORS, &team, &guests).await;
    site.load();
    // The group is the first's, which does not run; the guest's role is not.
    site.slapd.delete(&format!("cn=team,{GROUPS}"));
    assert_eq!(
        site.sends("guests"),
        [
            "team: remove members[value eq \"s0\"], remove members[value eq \"g0\"]",
            "g0: remove roles[value eq \"member\"]"
        ]
    );
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_that_are_disabled_own_nobody() {
    let mut site = Site::new(1, MANY, "", &earlier(true)).await;
    let (g0, g1, g2) = (
        format!("uid=g0,{GUESTS}"),
        format!("uid=g1,{GUESTS}"),
        format!("uid=g2,{GUESTS}"),
    );
    site.replace(&g2, "title", "out");
    site.load_all(&["default", "early", "guests"]);

    // Disabled: whom another one sees is that one's, nothing is sent for the others, and nobody is suspended.
    site.relay = site.relay.directory(&earlier(false));
    assert_eq!(site.sends("default"), [""; 0]);
    let mapped = site.sends("guests");
    assert_eq!(mapped.len(), MANY - 1, "{mapped:?}");
    assert!(
        mapped.iter().all(|sent| sent.contains(" by cn")),
        "{mapped:?}"
    );
    site.assert_quiet();
    // Run by hand, it serves whom nobody else sees, and takes nobody.
    site.replace(&g2, "displayName", "Anew");
    site.replace(&g1, "displayName", "Anew too");
    assert_eq!(site.sends("early"), ["g2: displayName=Anew"]);
    site.slapd.delete(&g2);
    site.assert_quiet();

    // Gone while it is disabled.
    site.slapd.delete(&g0);
    assert_eq!(site.sends("guests"), ["g0: active=false"]);
    site.assert_quiet();

    // In the disabled one's scope alone: not suspended for that, and found when he is gone.
    site.replace(&g1, "title", "out");
    let lost = site.run("guests", "full").completed();
    assert_eq!((lost.writes(), lost.count("skipped")), (0, 1), "{lost:?}");
    site.slapd.delete(&g1);
    assert_eq!(site.sends("guests"), ["g1: active=false"]);
    site.assert_quiet();

    // Enabled again: it takes over what it sees, and finds who left of its own.
    site.relay = site.relay.directory(&earlier(true));
    assert_eq!(site.sends("guests"), [""; 0]);
    let back = site.sends("early");
    assert_eq!(back.len(), MANY - 2, "{back:?}");
    assert!(back.contains(&"g2: active=false".to_owned()), "{back:?}");
    site.load_all(&["default", "early", "guests"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_whose_scope_cannot_be_searched_withhold_removals_and_are_named() {
    for enabled in [true, false] {
        let early = format!(
            "[[profiles]]\nname = \"early\"\nenabled = {enabled}\nsynchronizeGroups = false\nusersDN = \"{GUESTS}\"\n"
        );
        let mut site = Site::new(MANY, 1, "", &(early + &overlapping())).await;
        site.load_all(&["default", "early", "guests"]);
        site.slapd.delete(&format!("uid=g0,{GUESTS}"));
        site.slapd.delete(GUESTS);
        for _ in 0..2 {
            let run = site.run("guests", "full");
            let told = run.job["errors"].to_string();
            assert!(
                told.contains("profile early") && told.contains(GUESTS),
                "{run:?}"
            );
            assert_eq!(site.tell(), [""; 0]);
        }
        site.relay = site.relay.directory(&overlapping());
        assert_eq!(site.sends("guests"), ["g0: active=false"]);
        site.assert_quiet();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_resolve_a_name_by_whoever_read_last() {
    let named = |name: &str, uid: &str| {
        person(uid, PEOPLE)
            .replace(&format!("dn: uid={uid}"), &format!("dn: cn={name}"))
            .replace(&format!("cn: {uid} by cn"), &format!("cn: {name}"))
    };
    let team = group("team", &[&format!("cn=Ann,{PEOPLE}")]);
    let more = named("Ann", "a1") + &team;
    let mut site = Site::new(1, 1, &more, &overlapping_with_groups()).await;
    site.load();
    // Ann marries, and another Ann comes; the first profile does not know yet.
    site.slapd
        .modrdn(&format!("cn=Ann,{PEOPLE}"), "cn=Ann B", None);
    site.slapd.add(&named("Ann", "a2"));
    let sent = site.sends("guests");
    let told = |part: &str| sent.iter().any(|sent| sent.contains(part));
    assert!(told("create a2"), "{sent:?}");
    assert!(told("team: remove members[value eq \"a1\"]"), "{sent:?}");
    assert!(
        told("team: members=[{\"value\":\"a2\"}]") || told("team: add members"),
        "{sent:?}"
    );
    assert_eq!(site.sends("guests"), [""; 0]);
}
