//! Incidents in which the target, or one single record, led to removals or ended every run.

use serde_json::json;

use super::{Company, dn};
use crate::linking::put;
use crate::outcomes::change_mail_ldif;
use crate::support::fault_target::{Conflict, Fault, Rule};
use crate::support::mirror::Held as _;
use crate::support::slapd::GROUPS;
use crate::support::world::World;
use crate::truth::{anchor_of, assert_only_ours, differences, errors_of, writes};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

fn hire(company: &Company, numbers: std::ops::Range<usize>) {
    let world = World::new(31, numbers.end, 0);
    for person in &world.people[numbers] {
        company.slapd.add(&person.ldif());
    }
}

fn reconcile(company: &Company) -> crate::support::relay::Finished {
    let arguments = ["sync", "--mode", "reconcile", "--output", "json"];
    company.relay.spawn(&arguments).wait()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_09_groups_that_the_relay_never_made_are_left_alone() {
    let company = Company::of(12, 3).await;
    let member = company.target.users()[0]["id"].clone();
    let tower = put(
        &company.target,
        "/Groups",
        json!({"schemas": [GROUP], "displayName": "AWSControlTower", "members": [{"value": member}]}),
    );
    let held = || {
        let groups = company.target.groups().into_iter();
        groups
            .filter(|group| group["id"] == tower.as_str())
            .collect::<Vec<_>>()
    };
    let before = held();
    company.slapd.delete(&format!("cn=dangling,{GROUPS}"));
    company.relay.sync().completed();
    super::harmless(&company.target, "a reconciling run", || reconcile(&company)).completed();
    assert_eq!(held(), before);
    assert_only_ours(&company.target, "a group of others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_09_somebody_who_is_made_anew_has_one_account_and_keeps_it() {
    let company = Company::of(12, 0).await;
    let world = World::new(31, 12, 0);
    company.slapd.delete(&dn(3));
    company.slapd.add(&world.people[3].ldif());
    // The account is that of somebody who left, until a person says that it is the same one.
    for _ in 0..2 {
        let run = company.relay.sync();
        assert_eq!(run.count("usersCreated"), 0, "{run:?}");
    }
    let accept = ["links", "accept", &dn(3), "--output", "json"];
    let accepted = company.relay.spawn(&accept).wait();
    assert_eq!(accepted.job["decided"], 1, "{accepted:?}");
    company.relay.sync().completed();
    for what in ["the next run", "the one after it"] {
        company.harmless_run(what);
        let user = company.target.target().user_named("u0000003").unwrap();
        assert_eq!(user["active"], true, "{what}: {user}");
    }
    let deleted = |write: &crate::support::fault_target::Exchange| write.call.method == "DELETE";
    assert!(!writes(&company.target).iter().any(deleted));
    company.assert_settled("made anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_09_one_change_that_is_refused_ends_no_run_and_nothing_is_sent_for_ever() {
    let company = Company::of(12, 0).await;
    for number in 0..6 {
        company.slapd.modify(&change_mail_ldif(
            number,
            &format!("new{number}@example.org"),
        ));
    }
    let refused = Fault::Status {
        code: 400,
        scim_type: Some("invalidValue"),
        detail: "this address cannot be changed",
        numeric: false,
    };
    let poison = company.target.target().user_named("u0000002").unwrap();
    let path = format!("/Users/{}", poison["id"].as_str().unwrap());
    company
        .target
        .set_rules(vec![Rule::on("PATCH", &path, refused)]);
    let run = company.harmless_run("one of six is refused");
    assert_eq!(
        (run.count("usersUpdated"), errors_of(&run, &dn(2)).len()),
        (5, 1),
        "{run:?}"
    );
    company.target.set_rules(Vec::new());
    company.relay.sync();
    // Nor is there anything left to send.
    company.assert_settled("it is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_12_a_list_of_the_target_that_ends_with_its_first_page_blocks_nobody() {
    let company = Company::of(40, 3).await;
    for honest_total in [true, false] {
        let cut = || Fault::TruncatedList {
            keep: 10,
            honest_total,
        };
        let all = |call: &scim_relay::demo::target::answer::Call| {
            call.query.iter().all(|(name, _)| name != "filter")
        };
        company.target.set_rules(vec![
            Rule::on("GET", "/Users", cut()).matching(all),
            Rule::on("GET", "/Groups", cut()).matching(all),
        ]);
        let what = format!("honest total: {honest_total}");
        let run = super::harmless(&company.target, &what, || reconcile(&company));
        assert_eq!(
            (run.writes(), run.count("usersCreated")),
            (0, 0),
            "{what}: {run:?}"
        );
    }
    company.target.set_rules(Vec::new());
    company.assert_settled("the list is whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_13_a_target_that_shows_a_hundred_members_loses_none_of_the_others() {
    let company = Company::of(151, 0).await;
    let members: String = (0..150)
        .map(|number| format!("member: {}\n", dn(number)))
        .collect();
    let team = format!("cn=team,{GROUPS}");
    company.slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\n{members}"
    ));
    company.relay.sync().completed();
    company
        .target
        .set_rules(vec![Rule::on("GET", "/Groups", Fault::ShowMembers(100))]);
    super::harmless(&company.target, "a reconciling run", || reconcile(&company));
    company.slapd.modify(&format!(
        "dn: {team}\nchangetype: modify\nadd: member\nmember: {}\n",
        dn(150)
    ));
    let run = company.harmless_run("one more");
    assert_eq!(run.count("membersAdded"), 1, "{run:?}");
    super::harmless(&company.target, "another one", || reconcile(&company));
    assert_eq!(differences(&company.slapd, &company.target), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_18_one_collision_keeps_no_other_new_user_out() {
    let company = Company::of(12, 0).await;
    hire(&company, 12..18);
    let stranger =
        json!({"schemas": [USER], "userName": "u0000014", "externalId": "somebody-else"});
    put(&company.target, "/Users", stranger);
    let run = company.harmless_run("six are new, and one name is taken");
    assert_eq!(
        (run.count("usersCreated"), errors_of(&run, &dn(14)).len()),
        (5, 1),
        "{run:?}"
    );
    assert_only_ours(&company.target, "a name that is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_20_no_such_user_and_yet_a_conflict_doubles_and_removes_nobody() {
    for shape in [
        Conflict::WithoutType,
        Conflict::ServerError,
        Conflict::Uniqueness,
    ] {
        let what = format!("{shape:?}");
        let company = Company::of(12, 0).await;
        hire(&company, 12..14);
        // Somebody was faster: the account is there, and the filter does not find it yet.
        let anchor = anchor_of(&company.slapd, &dn(12));
        let faster = json!({"schemas": [USER], "userName": "u0000012", "externalId": anchor, "active": true});
        put(&company.target, "/Users", faster);
        let filtered = |call: &scim_relay::demo::target::answer::Call| {
            call.query.iter().any(|(name, _)| name == "filter")
        };
        company.target.set_rules(vec![
            Rule::on("GET", "/Users", Fault::FindNothing).matching(filtered),
            Rule::on("POST", "/Users", Fault::ConflictAs(shape)),
        ]);
        company.harmless_run(&what);
        company.harmless_run(&what);
        assert_eq!(company.target.users().len(), 14, "{what}");
        company.target.set_rules(Vec::new());
        company.harmless_run(&what);
        company.assert_settled(&what);
    }
}
