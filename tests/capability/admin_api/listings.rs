//! Lists: users and groups with state and last error, jobs and changes with filters, and every error of a job.

use serde_json::{Value, json};

use super::{STAFF, Site, items};
use crate::program::Api;
use crate::support::slapd::{GROUPS, PEOPLE};

fn run(api: &Api, directory: &str) -> Value {
    let id = api.start_job(directory);
    api.finished_job(directory, &id)
}

fn person(name: &str, uid: &str) -> String {
    format!(
        "dn: cn={name},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {name}\nsn: {name}\nmail: {name}@example.org\n"
    )
}

fn of<'a>(items: &'a [Value], dn: &str) -> &'a Value {
    let found = items.iter().find(|item| item["dn"] == dn);
    found.unwrap_or_else(|| panic!("no {dn} in {items:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_lists_users_and_groups_with_state_and_last_error() {
    let site = Site::new().await;
    let refused = format!("uid=u0000004,{PEOPLE}");
    let twins = ["first", "second"].map(|name| format!("cn={name},{PEOPLE}"));
    for name in ["first", "second"] {
        site.slapd.add(&person(name, "twin"));
    }
    site.slapd.add(&format!(
        "dn: cn=team,{GROUPS}\nobjectClass: groupOfNames\ncn: team\nmember: uid=u0000001,{PEOPLE}\n"
    ));
    let (_serving, api, directory) = site.serve();
    site.refuse("u0000004");
    run(&api, &directory);
    let users = format!("/directories/{directory}/users");
    let listed = || items(&api, &users, 5);
    let all = listed();
    assert_eq!(all.len(), STAFF + 2);
    let linked = of(&all, &format!("uid=u0000001,{PEOPLE}"));
    let there = site.target.target().user_named("u0000001").unwrap();
    assert_eq!(
        [
            &linked["state"],
            &linked["userName"],
            &linked["id"],
            &linked["active"]
        ],
        [
            &json!("linked"),
            &json!("u0000001"),
            &there["id"],
            &json!(true)
        ]
    );
    assert_eq!(
        (&linked["profile"], &linked["lastError"]),
        (&json!("default"), &json!(null))
    );
    assert!(linked["lastChangedAt"].is_string(), "{linked}");
    assert_eq!(linked["anchor"], there["externalId"]);
    let pending = of(&all, &refused).clone();
    assert_eq!(
        (&pending["state"], &pending["id"], &pending["userName"]),
        (&json!("pending"), &json!(null), &json!("u0000004"))
    );
    let error = &pending["lastError"];
    assert_eq!(
        (&error["operation"], &error["fault"], &error["status"]),
        (&json!("create_user"), &json!("rejected"), &json!(400))
    );
    for twin in &twins {
        let error = &of(&all, twin)["lastError"];
        assert_eq!(error["operation"], "map");
        assert!(
            error["detail"].as_str().unwrap().contains("same user name"),
            "{error}"
        );
    }
    // A further run that meets the same changes nothing of it, but for the time of the next try.
    run(&api, &directory);
    let again: Vec<Value> = listed()
        .into_iter()
        .zip(&all)
        .map(|(mut item, before)| {
            let tried = [&item, before].map(|item| item["nextTryAt"].is_string());
            let is_refused = item["dn"] == refused.as_str();
            assert_eq!(tried, [is_refused; 2], "{item}");
            item["nextTryAt"] = before["nextTryAt"].clone();
            item
        })
        .collect();
    assert_eq!(again, all);

    // Both are cured, one leaves.
    site.target.set_rules(Vec::new());
    site.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: uid\nuid: other\n",
        twins[1]
    ));
    let gone = format!("uid=u0000002,{PEOPLE}");
    site.slapd.delete(&gone);
    run(&api, &directory);
    let all = listed();
    assert_eq!(all.len(), STAFF + 2);
    for item in &all {
        assert_eq!(item["lastError"], json!(null), "{item}");
        let state = if item["dn"] == gone.as_str() {
            "absent"
        } else {
            "linked"
        };
        assert_eq!(item["state"], state, "{item}");
        assert_eq!(item["active"], state == "linked", "{item}");
    }
    let dns = |query: &str| -> Vec<String> {
        let found = items(&api, &format!("{users}?{query}"), 2);
        let dns = found
            .iter()
            .map(|item| item["dn"].as_str().unwrap().to_owned());
        dns.collect()
    };
    assert_eq!(dns("state=absent"), [gone]);
    assert_eq!(dns("text=U0000007"), [format!("uid=u0000007,{PEOPLE}")]);
    assert_eq!(dns("text=OTHER"), [twins[1].clone()]);
    assert_eq!(dns("text=nobody&state=linked"), Vec::<String>::new());
    for query in [
        "state=gone",
        "limit=0",
        "cursor=x",
        "status=linked",
        "text=",
    ] {
        let refused = api.get(&format!("{users}?{query}"));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }

    let groups = items(&api, &format!("/directories/{directory}/groups"), 5);
    let [team] = &groups[..] else {
        panic!("{groups:?}");
    };
    assert_eq!(
        (&team["displayName"], &team["state"]),
        (&json!("team"), &json!("linked"))
    );
    assert_eq!(team.get("userName"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_shows_what_is_at_the_target_already() {
    let site = Site::new().await;
    let put = |uid: &str, external: Option<&str>| {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": uid,
        });
        if let Some(external) = external {
            body["externalId"] = json!(external);
        }
        let call = scim_relay::demo::target::answer::Call::new("POST", "/Users").body(body);
        assert_eq!(site.target.target().handle(call).status, 201);
    };
    put("u0000005", None);
    put("u0000006", Some("somebody else"));
    let (_serving, api, directory) = site.serve();
    run(&api, &directory);
    let users = format!("/directories/{directory}/users");
    for (state, uid) in [("proposed", "u0000005"), ("taken", "u0000006")] {
        let found = items(&api, &format!("{users}?state={state}"), 9);
        let [item] = &found[..] else {
            panic!("{state}: {found:?}");
        };
        assert_eq!(
            (&item["userName"], &item["id"]),
            (&json!(uid), &json!(null))
        );
        assert!(
            item["lastError"]["detail"]
                .as_str()
                .unwrap()
                .contains("already has resource")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_every_error_of_a_job_is_under_its_changes() {
    const TWINS: usize = 120;
    let site = Site::new().await;
    let mut ldif = String::new();
    for number in 0..TWINS {
        ldif.push_str(&person(&format!("twin{number}"), "twin"));
        ldif.push('\n');
    }
    site.slapd.add(&ldif);
    site.refuse("u0000004");
    let (_serving, api, directory) = site.serve();
    let job = run(&api, &directory);
    assert_eq!(job["errorCount"], TWINS + 1, "{job}");
    assert_eq!(job["errors"].as_array().unwrap().len(), 100);
    let changes = format!(
        "/directories/{directory}/jobs/{}/changes",
        job["id"].as_str().unwrap()
    );
    assert_eq!(items(&api, &changes, 50).len(), STAFF + TWINS);
    let errors = items(&api, &format!("{changes}?errors=true"), 7);
    assert_eq!(errors.len(), TWINS + 1);
    for kept in job["errors"].as_array().unwrap() {
        assert!(errors.iter().any(|line| line["error"] == *kept), "{kept}");
    }
    let mut dns: Vec<&str> = errors
        .iter()
        .map(|line| line["dn"].as_str().unwrap())
        .collect();
    dns.sort_unstable();
    dns.dedup();
    assert_eq!(dns.len(), TWINS + 1, "each object once");
    let count = |query: &str| items(&api, &format!("{changes}?{query}"), 50).len();
    assert_eq!(count("errors=false"), STAFF - 1);
    assert_eq!(count("operation=map"), TWINS);
    assert_eq!(count("operation=create_user"), STAFF);
    assert_eq!(
        count("operation=create_user&errors=true&text=COST+centre"),
        1
    );
    assert_eq!(count("text=twin77"), 1);
    for query in ["errors=yes", "cursor=x", "status=failed"] {
        assert_eq!(
            api.get(&format!("{changes}?{query}")).status,
            400,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_filters_jobs() {
    let site = Site::new().await;
    let (_serving, api, directory) = site.serve();
    let start = |mode: &str| {
        let body = json!({ "mode": mode }).to_string();
        let answer = api.post(&format!("/directories/{directory}/sync"), &body);
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = answer.json()["jobId"].as_str().unwrap().to_owned();
        api.finished_job(&directory, &id)
    };
    let preview = start("preview");
    site.refuse("u0000004");
    let with_errors = start("full");
    site.target.set_rules(Vec::new());
    let good = start("full");
    let good_too = start("full");
    let jobs = format!("/directories/{directory}/jobs");
    let found = |query: &str| items(&api, &format!("{jobs}?{query}"), 1);
    assert_eq!(
        found("mode=full"),
        [&good_too, &good, &with_errors].map(Clone::clone)
    );
    assert_eq!(
        found("status=completed_with_errors")[..],
        *std::slice::from_ref(&with_errors)
    );
    assert_eq!(
        found("mode=preview&trigger=manual&profile=default"),
        [preview]
    );
    assert_eq!(found("trigger=schedule"), Vec::<Value>::new());
    assert_eq!(found("profile=other"), Vec::<Value>::new());
    let at = |job: &Value| job["queuedAt"].as_str().unwrap().to_owned();
    let query = format!("since={}&until={}", at(&with_errors), at(&good_too));
    assert_eq!(found(&query), [good, with_errors]);
    for (query, word) in [
        ("status=done", "completed_with_errors"),
        ("mode=x", "reconcile"),
        ("trigger=x", "schedule"),
        ("since=yesterday", "2026-11-21T09:30:00Z"),
        ("colour=red", "trigger"),
    ] {
        let refused = api.get(&format!("{jobs}?{query}"));
        assert_eq!(refused.status, 400, "{refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "no `{word}`: {detail}");
    }
}
