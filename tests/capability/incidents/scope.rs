//! Incidents in which somebody, or an upgrade, changed who is meant, or very many really left.

use std::fmt::Write as _;

use super::{Company, dn, rdn};
use crate::feed::site::Site;
use crate::support::fault_target::FaultTarget;
use crate::support::slapd::{PEOPLE, SUFFIX};
use crate::truth::writes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_06_another_group_as_scope_suspends_nobody() {
    let site = Site::domain();
    let people: Vec<String> = ["ann", "ben"]
        .map(|name| site.person(name))
        .into_iter()
        .chain((0..12).map(|number| site.person(&format!("other{number}"))))
        .collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    site.add_group("everybody", &people);
    site.add_group("nobody", &[]);
    let target = FaultTarget::start(Vec::new()).await;
    let of = |group: &str| {
        let group = site.group(group);
        format!("userSearchFilter = \"(&(objectClass=user)(memberOf={group}))\"")
    };
    let relay = site.relay(&target).directory(&of("everybody"));
    assert_eq!(relay.sync().completed().count("usersCreated"), 14);
    let relay = relay.directory(&of("nobody"));
    let run = super::harmless(&target, "nobody is in the group", || relay.sync());
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    let relay = relay.directory(&of("everybody"));
    let run = super::harmless(&target, "the group is the old one", || relay.sync());
    assert_eq!(run.completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_08_suspending_is_one_attribute_and_an_undo_brings_everything_back() {
    let company = Company::of(60, 8).await;
    let before = super::rights(&company.target);
    let earlier = writes(&company.target).len();
    // u0000000 to u0000019.
    let company = company.with("exclusionFilter = \"(|(uid=u000000*)(uid=u000001*))\"");
    let applied = company.relay.approved(company.waiting_run("twenty leave"));
    assert_eq!(applied.count("usersDeactivated"), 20, "{applied:?}");
    for write in writes(&company.target).split_off(earlier) {
        assert_eq!(write.call.method, "PATCH", "{write:?}");
    }
    let job = applied.job["id"].as_str().unwrap();
    let undone = company
        .relay
        .spawn(&["jobs", "undo", job, "--output", "json"])
        .wait();
    assert_eq!(undone.count("usersReactivated"), 20, "{undone:?}");
    assert_eq!(super::rights(&company.target), before);
    assert_eq!(company.harmless_run("and so it stays").writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_14_a_filter_that_leaves_out_forty_of_120_waits_and_protected_accounts_stay() {
    let company = Company::of(120, 4).await;
    let company = Company {
        relay: company
            .relay
            .tenant("protected = { ids = [], userNames = [\"u0000007\"], groupNames = [] }"),
        ..company
    };
    let company = company
        .with("exclusionFilter = \"(|(uid=u000000*)(uid=u000001*)(uid=u000002*)(uid=u000003*))\"");
    let run = company.waiting_run("forty of 120");
    // Even somebody who approves it locks no administrator out.
    company.relay.approved(run);
    assert_eq!(company.inactive(), 39);
    let administrator = company.target.target().user_named("u0000007").unwrap();
    assert_eq!(administrator["active"], true, "{administrator}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_15_rules_that_changed_wait_whatever_few_they_take_away() {
    let company = Company::of(60, 4).await;
    let company = company.with("exclusionFilter = \"(|(uid=u0000004)(uid=u0000005))\"");
    let run = company.waiting_run("two of sixty, which is below every limit");
    let holds = run.job["holds"].to_string();
    assert!(
        holds.contains("scope, filters or mapping were changed"),
        "{run:?}"
    );
    let company = company.with("exclusionFilter = \"(uid=nobody)\"");
    assert_eq!(company.harmless_run("they are in again").writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_16_people_who_were_moved_out_by_mistake_are_moved_back_in_time() {
    let company = Company::of(60, 4).await;
    let elsewhere = format!("ou=elsewhere,{SUFFIX}");
    for number in 0..12 {
        company
            .slapd
            .modrdn(&dn(number), &rdn(number), Some(&elsewhere));
    }
    company.waiting_run("twelve of sixty");
    for number in 0..12 {
        let there = format!("{},{elsewhere}", rdn(number));
        company.slapd.modrdn(&there, &rdn(number), Some(PEOPLE));
    }
    assert_eq!(
        company.harmless_run("they are back").completed().writes(),
        0
    );
    company.assert_settled("they are back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_21_four_hundred_real_leavers_go_with_one_approval() {
    let company = Company::of(600, 8).await;
    let mut leavers = String::new();
    for number in 100..500 {
        write!(leavers, "dn: {}\nchangetype: delete\n\n", dn(number)).unwrap();
    }
    company.slapd.modify(&leavers);
    let run = company.waiting_run("400 of 600");
    let approved = company.relay.approved(run).completed();
    assert_eq!(approved.count("usersDeactivated"), 400, "{approved:?}");
    assert_eq!(company.inactive(), 400);
    company.assert_settled("they left");
}
