//! One entry explained: found or not, which clause decides, mapped, at the target, and what the next run does; whoever is not
//! in scope too. Nothing is written by it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::active_directory::domain::relay_of;
use crate::admin_api::directories::Fresh;
use crate::linking::{edit, put};
use crate::program::{Api, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::samba::{self, Samba};
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, Slapd};
use crate::truth::{anchor_of, relay};

const OTHERS: &str = "ou=others,dc=example,dc=org";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

fn dn(uid: &str) -> String {
    format!("uid={uid},{PEOPLE}")
}

fn person_at(uid: &str, base: &str, more: &str) -> String {
    format!(
        "dn: uid={uid},{base}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\ncn: {uid}\nsn: {uid}\nuid: {uid}\n\
         displayName: {uid}\nmail: {uid}@example.org\n{more}\n"
    )
}

fn person(uid: &str, more: &str) -> String {
    person_at(uid, PEOPLE, more)
}

fn others() -> String {
    format!("dn: {OTHERS}\nobjectClass: organizationalUnit\nou: others\n\n")
}

fn group(name: &str, members: &[&str]) -> String {
    let members: String = members.iter().map(|dn| format!("member: {dn}\n")).collect();
    format!("dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n{members}\n")
}

/// The explanation as a script gets it where no relay runs.
fn explain_with(relay: &Relay, entry: &str, more: &[&str]) -> Value {
    let arguments = [&["explain", "--output", "json", entry], more].concat();
    let ended = relay.spawn(&arguments).wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.job
}

fn explain(relay: &Relay, entry: &str) -> Value {
    explain_with(relay, entry, &[])
}

/// What a person reads.
fn text(relay: &Relay, entry: &str) -> String {
    let ended = run_with(
        &relay.config_path(),
        &["explain", entry],
        &relay.variables(),
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

fn clause<'a>(explained: &'a Value, name: &str) -> &'a Value {
    let clauses = explained["scope"]["clauses"].as_array().unwrap();
    let found = clauses.iter().find(|clause| clause["clause"] == name);
    found.unwrap_or_else(|| panic!("no clause {name}: {explained:#}"))
}

fn steps(explained: &Value) -> Vec<(String, String)> {
    let steps = explained["next"]["steps"].as_array().unwrap();
    let word = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    steps
        .iter()
        .map(|step| (word(step, "operation"), word(step, "reason")))
        .collect()
}

fn step(operation: &str, reason: &str) -> Vec<(String, String)> {
    vec![(operation.to_owned(), reason.to_owned())]
}

#[track_caller]
fn assert_says(text: &Value, words: &str) {
    let text = text.as_str().unwrap_or_default();
    assert!(text.contains(words), "`{words}` is not in: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_somebody_in_scope_before_and_after_the_first_run() {
    let slapd = Slapd::with(&person("ann", "telephoneNumber: +49 30 1\n"));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    let anchor = anchor_of(&slapd, &dn("ann"));
    let before = explain(&relay, "ann");
    assert_eq!(before["found"], true, "{before:#}");
    assert_eq!(
        before["entry"],
        json!({ "dn": dn("ann"), "anchor": anchor, "kind": "user" })
    );
    assert_eq!(before["scope"]["inScope"], true);
    assert_eq!(before["mapped"]["resource"]["userName"], "ann");
    assert_eq!(before["account"]["active"], true);
    assert_eq!(before["target"]["linked"], Value::Null);
    assert_eq!(steps(&before), step("create_user", "new"), "{before:#}");
    let writes = |target: &FaultTarget| {
        let journal = target.journal().into_iter();
        journal.filter(|one| one.call.method != "GET").count()
    };
    assert_eq!(writes(&target), 0, "it asks, and writes nothing");
    // A preview finds the same to do: nothing was kept of the explanation.
    let preview = relay.spawn(&["preview", "--output", "json"]).wait().job;
    assert_eq!(preview["usersCreated"], 1, "{preview:#}");

    relay.sync().completed();
    let sent = writes(&target);
    for selector in ["ann", &dn("ann").to_uppercase(), &anchor] {
        let after = explain(&relay, selector);
        assert_eq!(after["owner"], "default");
        assert_eq!(after["target"]["linked"]["active"], true, "{after:#}");
        assert_eq!(after["target"]["active"], true);
        assert_eq!(after["target"]["differences"], json!([]));
        assert!(steps(&after).is_empty());
        assert_says(&after["next"]["message"], "as the target acknowledged it");
    }
    // The entry changes, and no run has read it yet.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: Ann B.\n",
        dn("ann")
    ));
    let changed = explain(&relay, "ann");
    assert_eq!(steps(&changed), step("update", "changed"), "{changed:#}");
    let attribute = &changed["next"]["steps"][0]["attributes"][0];
    assert_eq!(
        attribute,
        &json!({ "attribute": "displayName", "before": "ann", "after": "Ann B." })
    );
    assert_eq!(writes(&target), sent);
    let preview = relay.spawn(&["preview", "--output", "json"]).wait().job;
    assert_eq!(preview["usersUpdated"], 1, "{preview:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_each_clause_that_leaves_somebody_out() {
    let slapd = Slapd::with(&format!(
        "{}{}{}{}{}{}",
        others(),
        person_at("olga", OTHERS, ""),
        person("ann", "departmentNumber: Marketing\nemployeeType: staff\n"),
        person("ben", "departmentNumber: Sales\nemployeeType: staff\n"),
        person(
            "cleo",
            "departmentNumber: Sales\ntitle: Robot\nemployeeType: staff\n"
        ),
        person("dan", "departmentNumber: Sales\n"),
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let filter =
        "(&(mail=*)(|(departmentNumber=sales)(departmentNumber=support))(!(title=R\\6fbot)))";
    let relay = relay(&slapd, &target).directory(&format!(
        "userObjectClasses = [\"person\"]\nuserSearchFilter = '{filter}'\n\
         exclusionFilter = '(!(employeeType=staff))'"
    ));
    let ben = explain(&relay, "ben");
    assert_eq!(ben["scope"]["inScope"], true, "{ben:#}");

    let olga = explain(&relay, "olga");
    assert_eq!(olga["found"], true, "{olga:#}");
    assert_eq!(olga["scope"]["inScope"], false);
    assert_eq!(clause(&olga, "base")["passes"], false);
    assert_says(
        &olga["scope"]["message"],
        &format!("it is not below `{PEOPLE}`"),
    );
    assert_eq!(olga["mapped"]["resource"]["userName"], "olga");

    let ann = explain(&relay, "ann");
    let users = clause(&ann, "userSearchFilter");
    assert_eq!(users["passes"], false, "{ann:#}");
    assert_eq!(clause(&ann, "userObjectClasses")["passes"], true);
    assert_eq!(clause(&ann, "exclusionFilter")["passes"], true);
    assert_says(
        &ann["scope"]["message"],
        "userSearchFilter: `(departmentNumber=sales)` does not match: departmentNumber is Marketing",
    );
    let parts = users["parts"].as_array().unwrap();
    let said: Vec<(&str, bool)> = parts
        .iter()
        .map(|part| {
            let filter = part["filter"].as_str().unwrap();
            (filter, part["matches"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("(mail=*)", true),
            (
                "(|(departmentNumber=sales)(departmentNumber=support))",
                false
            ),
            ("(!(title=Robot))", true),
        ]
    );
    assert_eq!(parts[1]["parts"].as_array().unwrap().len(), 2);

    // An excluded value, compared as the server compares it.
    let cleo = explain(&relay, "cleo");
    assert_says(
        &cleo["scope"]["message"],
        "userSearchFilter: `(title=Robot)` matches: title is Robot",
    );
    let dan = explain(&relay, "dan");
    assert_says(
        &dan["scope"]["message"],
        "exclusionFilter: `(employeeType=staff)` does not match: it has no employeetype that the account may see",
    );
    assert!(steps(&dan).is_empty());
    let told = text(&relay, "ann");
    assert!(
        told.starts_with("Not in scope of the profile default: userSearchFilter"),
        "{told}"
    );
    assert!(
        told.contains("clause    exclusionFilter (!(!(employeeType=staff))): yes"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_who_is_not_found_and_who_is_hidden() {
    let mut slapd = Options::new()
        .ldif(&others())
        .ldif(&person("ann", ""))
        .ldif(&person("ben", ""))
        .ldif(&format!(
            "dn: cn=twin 1,{PEOPLE}\nobjectClass: inetOrgPerson\ncn: twin\nsn: Twin\nuid: twin\n\n\
             dn: cn=twin 2,{PEOPLE}\nobjectClass: inetOrgPerson\ncn: twin\nsn: Twin\nuid: twin\n\n"
        ))
        .ldif(&person("both", ""))
        .ldif(&person_at("both", OTHERS, ""))
        .start();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);

    let nobody = explain(&relay, "nobody");
    assert_eq!(nobody["found"], false, "{nobody:#}");
    assert_eq!(nobody["absence"]["reason"], "notSeen");
    assert_says(&nobody["absence"]["message"], "is called `nobody`");
    assert_eq!(nobody["entry"], Value::Null);
    // What would be a filter if it were put into one.
    let injected = explain(&relay, "x)(uid=*");
    assert_eq!(injected["found"], false, "{injected:#}");
    let missing = explain(&relay, &dn("nobody"));
    assert_eq!(missing["absence"]["reason"], "missing", "{missing:#}");
    assert_says(&missing["absence"]["message"], PEOPLE);

    let twins = explain(&relay, "twin");
    assert_eq!(twins["found"], false);
    assert_eq!(twins["absence"]["reason"], "several", "{twins:#}");
    let names = twins["absence"]["candidates"].as_array().unwrap();
    assert_eq!(names.len(), 2);
    // Of two the one in scope is meant, and the other is told.
    let both = explain(&relay, "both");
    assert_eq!(both["entry"]["dn"], dn("both"), "{both:#}");
    assert_eq!(both["alsoCalledSo"], json!([format!("uid=both,{OTHERS}")]));

    // Neither of the two gets the name, as in a run.
    relay.sync();
    let twin = explain(&relay, &format!("cn=twin 1,{PEOPLE}"));
    assert!(steps(&twin).is_empty(), "{twin:#}");
    assert_says(&twin["next"]["problem"], "the same user name");
    slapd.restart_with(&format!(
        "access to dn.base=\"{}\" by dn.exact=\"{READER}\" none by * break",
        dn("ann")
    ));
    for selector in [&dn("ann"), "ann"] {
        let ann = explain(&relay, selector);
        assert_eq!(ann["found"], false, "{ann:#}");
        assert_eq!(ann["absence"]["reason"], "hidden", "{ann:#}");
        assert_says(&ann["absence"]["message"], "may not see it");
        // The relay would not meet her, so she would have left.
        assert_eq!(ann["entry"]["dn"], dn("ann"));
        assert_eq!(steps(&ann), step("deactivate", "absent"));
    }
    slapd.restart_with("");
    slapd.delete(&dn("ben"));
    let anchor = explain(&relay, "ann")["entry"]["anchor"].clone();
    assert!(anchor.is_string());
    let ben = explain(&relay, "ben");
    assert_eq!(ben["found"], false);
    assert_eq!(ben["absence"]["reason"], "missing", "{ben:#}");
    assert_eq!(ben["target"]["linked"]["active"], true);
    assert_eq!(steps(&ben), step("deactivate", "absent"));
    assert_says(
        &ben["next"]["message"],
        "sets the account inactive, because the entry is not found in the directory any more",
    );
    relay.sync();
    let gone = explain(&relay, "ben");
    assert!(steps(&gone).is_empty(), "{gone:#}");
    assert_says(&gone["next"]["message"], "inactive already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_who_is_disabled_or_has_moved_away() {
    let slapd = Slapd::with(&format!(
        "{}{}{}{}{}",
        (0..9)
            .map(|number| person(&format!("u{number}"), ""))
            .collect::<String>(),
        others(),
        person("ann", ""),
        person("ben", ""),
        person("cleo", "nsAccountLock: TRUE\n")
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let never = explain(&relay, "cleo");
    assert_eq!(never["account"]["active"], false, "{never:#}");
    assert_says(&never["account"]["message"], "nsAccountLock is true");
    assert!(steps(&never).is_empty());
    assert_says(
        &never["next"]["message"],
        "disabled when first seen is not created",
    );

    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: nsAccountLock\nnsAccountLock: TRUE\n",
        dn("ann")
    ));
    let ann = explain(&relay, "ann");
    assert_eq!(steps(&ann), step("deactivate", "disabled"), "{ann:#}");
    assert_says(
        &ann["next"]["message"],
        "sets the account inactive, because it is disabled: nsAccountLock is true",
    );
    slapd.modrdn(&dn("ben"), "uid=ben", Some(OTHERS));
    let ben = explain(&relay, "ben");
    assert_eq!(ben["found"], true);
    assert_eq!(ben["entry"]["dn"], format!("uid=ben,{OTHERS}"), "{ben:#}");
    assert_eq!(steps(&ben), step("deactivate", "absent"));
    assert_says(&ben["next"]["message"], "it is not below");
    // So it happens.
    let run = relay.sync();
    assert_eq!(run.count("usersDeactivated"), 2, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_what_the_target_has() {
    let slapd = Slapd::with(&format!(
        "{}{}{}",
        person("ann", ""),
        person("ben", ""),
        person("cleo", "")
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let taken = json!({"schemas": [USER], "userName": "cleo", "active": true});
    let taken = put(&target, "/Users", taken);
    let relay = relay(&slapd, &target);
    // Before first contact the target is asked, as the first run would.
    let cleo = explain(&relay, "cleo");
    assert_eq!(cleo["target"]["matched"]["id"], taken.as_str(), "{cleo:#}");
    assert_eq!(cleo["target"]["matched"]["matchedBy"], "userName");
    assert!(steps(&cleo).is_empty());
    assert_says(&cleo["next"]["message"], "until a person decides");
    relay.sync();
    let cleo = explain(&relay, "cleo");
    assert_says(&cleo["next"]["problem"], "scim-relay links");

    let ann = target.target().user_named("ann").unwrap();
    let path = format!("/Users/{}", ann["id"].as_str().unwrap());
    let change = json!([{"op": "replace", "path": "displayName", "value": "Somebody"},
        {"op": "replace", "path": "active", "value": false}]);
    edit(&target, &path, change);
    let explained = explain(&relay, "ann");
    assert_eq!(explained["target"]["active"], false, "{explained:#}");
    let differences = explained["target"]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 2, "{explained:#}");
    assert!(
        differences.contains(
            &json!({ "attribute": "displayName", "found": "Somebody", "expected": "ann" })
        )
    );
    assert_says(
        &explained["target"]["message"],
        "a reconciling run brings that back",
    );

    let gone = target.target().user_named("ben").unwrap();
    let gone = format!("/Users/{}", gone["id"].as_str().unwrap());
    let call = scim_relay::demo::target::answer::Call::new("DELETE", &gone);
    assert_eq!(target.target().handle(call).status, 204);
    assert_says(
        &explain(&relay, "ben")["target"]["message"],
        "not there any more",
    );

    // A target that does not answer keeps nobody from the rest.
    target.set_rules(vec![Rule::on(
        "GET",
        "/Users",
        Fault::Slow(Duration::from_secs(60)),
    )]);
    let silent = explain(&relay, "ann");
    assert_eq!(silent["target"]["answered"], false, "{silent:#}");
    assert_says(&silent["target"]["message"], "did not answer");
    assert_eq!(silent["scope"]["inScope"], true);
    assert_eq!(silent["target"]["linked"]["active"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_a_group_and_who_of_it_is_left_out() {
    let inner = format!("cn=inner,{GROUPS}");
    let slapd = Slapd::with(&format!(
        "{}{}{}{}{}{}",
        others(),
        person("ann", ""),
        person("ben", ""),
        person_at("olga", OTHERS, ""),
        group("inner", &[&dn("ben")]),
        group(
            "team",
            &[
                &dn("ann"),
                &format!("uid=olga,{OTHERS}"),
                &dn("nobody"),
                &inner
            ]
        ),
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let team = explain(&relay, "team");
    assert_eq!(team["entry"]["kind"], "group", "{team:#}");
    assert_eq!(clause(&team, "groupSearchFilter")["passes"], true);
    let members = &team["members"];
    assert_eq!(
        (&members["named"], &members["linked"], &members["leftOut"]),
        (&json!(4), &json!(1), &json!(3)),
        "{team:#}"
    );
    let of = |name: &str| {
        let left = members["firstLeftOut"].as_array().unwrap().iter();
        let mut left = left.filter(|one| one["name"].as_str().unwrap().starts_with(name));
        left.next().unwrap()["reason"].clone()
    };
    assert_says(
        &of("uid=olga"),
        "no profile of the directory has it in scope",
    );
    assert_says(
        &of("uid=nobody"),
        "no profile of the directory has it in scope",
    );
    assert_says(&of("cn=inner"), "nestedGroups is direct");
    assert!(steps(&team).is_empty());

    // Members change, and no run has read that yet; at the target somebody puts another one in.
    slapd.modify(&format!(
        "dn: cn=team,{GROUPS}\nchangetype: modify\nadd: member\nmember: {}\n-\ndelete: member\nmember: {}\n",
        dn("ben"),
        dn("ann")
    ));
    let changed = explain(&relay, "team");
    assert_eq!(
        steps(&changed),
        [
            step("remove_members", "membership"),
            step("add_members", "membership")
        ]
        .concat(),
        "{changed:#}"
    );
    assert_eq!(changed["members"]["linked"], 1);
    assert_eq!(changed["members"]["missingAtTarget"], 0);
    let told = text(&relay, "team");
    assert!(
        told.contains("members   4 named, 1 with a resource, 3 left out"),
        "{told}"
    );
    let stray = explain(&relay, OTHERS);
    assert_eq!(stray["scope"]["inScope"], false, "{stray:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_whose_profile_somebody_is() {
    let slapd = Slapd::with(&format!(
        "{}{}{}",
        others(),
        person("ann", ""),
        person_at("olga", OTHERS, "")
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let guests = format!(
        "[[profiles]]\nname = \"guests\"\nusersDN = \"{OTHERS}\"\nsynchronizeGroups = false\n"
    );
    let relay = relay(&slapd, &target).directory(&guests);
    relay.sync().completed();
    let olga = explain(&relay, "olga");
    assert_eq!(olga["owner"], "guests", "{olga:#}");
    assert_eq!(olga["profile"], "guests");
    assert_eq!(steps(&olga), step("create_user", "new"));
    let profiles = olga["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 2);
    assert_eq!(profiles[0]["inScope"], false);
    assert_says(&profiles[0]["message"], "it is not below");
    assert_eq!(profiles[1]["inScope"], true);
    let by_default = explain_with(&relay, "olga", &["--profile", "default"]);
    assert_eq!(by_default["profile"], "default", "{by_default:#}");
    assert_eq!(by_default["scope"]["inScope"], false);
    assert!(steps(&by_default).is_empty());
    assert_says(
        &by_default["next"]["message"],
        "belongs to the profile guests",
    );
    // She changes profiles, and nobody takes her account away.
    relay
        .spawn(&["sync", "--profile", "guests", "--output", "json"])
        .wait()
        .completed();
    slapd.modrdn(&format!("uid=olga,{OTHERS}"), "uid=olga", Some(PEOPLE));
    let moved = explain(&relay, "olga");
    assert_eq!(moved["owner"], "default", "{moved:#}");
    assert!(steps(&moved).is_empty(), "{moved:#}");
    let unknown = relay
        .spawn(&["explain", "olga", "--profile", "none", "--output", "json"])
        .wait();
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_through_a_running_relay_and_to_nobody_else() {
    let site = Fresh::new(3).await;
    let id = site.created();
    let path = format!("/directories/{id}/explain");
    let ask = |api: &Api, body: Value| api.post(&path, &body.to_string());
    let answer = ask(&site.api, json!({ "entry": "u0000001" }));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["scope"]["inScope"], true);
    assert_eq!(steps(&answer.json()), step("create_user", "new"));
    for (body, pointer) in [
        (json!({}), "/entry"),
        (json!({ "entry": "" }), "/entry"),
        (json!({ "entry": "x", "profile": "none" }), "/profile"),
    ] {
        let refused = ask(&site.api, body);
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{refused:?}"
        );
    }
    let other = site.tenant();
    let mut other = other.as_object().unwrap().clone();
    other.insert("name".to_owned(), json!("other"));
    assert_eq!(
        site.api.post("/tenants", &json!(other).to_string()).status,
        201
    );
    let stranger = site.api.with("x-tenant-id", "other");
    assert_eq!(ask(&stranger, json!({ "entry": "u0000001" })).status, 404);
    let jobs = site
        .api
        .with("x-tenant-id", "acme")
        .get(&format!("/directories/{id}/jobs"));
    assert_eq!(jobs.json()["items"], json!([]), "no job is made");
    let base = site.serving.base_url();
    let told = run_with(
        &site.relay.config_path(),
        &["explain", "u0000001", "--tenant", "acme", "--url", &base],
        &site.relay.variables(),
    );
    assert_eq!(told.code, Some(0), "{told:?}");
    for words in [
        "In scope of the profile default. The next run: creates the account, because the entry is new.",
        "entry     user uid=u0000001,ou=people,dc=example,dc=org",
        "clause    base ou=people,dc=example,dc=org: yes",
        "account   it is enabled",
        "mapped    userName = u0000001",
    ] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
    // A directory that does not answer.
    let broken = site.api.with("x-tenant-id", "acme");
    let put = broken.put(
        &format!("/directories/{id}"),
        r#"{"usersDN": "ou=nowhere,dc=example,dc=org"}"#,
    );
    assert_eq!(put.status, 200, "{put:?}");
    let lost = ask(&broken, json!({ "entry": "u0000001" }));
    assert_eq!(
        lost.status, 200,
        "the entry is found outside the search: {lost:?}"
    );
    assert_eq!(clause(&lost.json(), "base")["passes"], false);
    drop(site.slapd);
    let refused = ask(&broken, json!({ "entry": "u0000001" }));
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_in_active_directory_what_is_no_person_and_who_has_expired() {
    let samba = Samba::start();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay_of(&samba, &target).directory(&format!(
        "usersDN = \"{0}\"\nuserSearchFilter = '(objectClass=user)'",
        samba::DOMAIN
    ));
    let computer = explain(&relay, "DC1$");
    assert_eq!(computer["found"], true, "{computer:#}");
    assert_eq!(computer["scope"]["inScope"], false);
    assert_says(
        &computer["scope"]["message"],
        "notAPerson: `(objectClass=computer)` matches",
    );
    let guest = explain(&relay, "Guest");
    assert_eq!(guest["scope"]["inScope"], true, "{guest:#}");
    assert_says(&guest["account"]["message"], "userAccountControl is ");
    assert_says(&guest["next"]["message"], "disabled when first seen");
    let missing = explain(&relay, &format!("CN=Nobody,{}", samba::DOMAIN));
    assert_eq!(missing["absence"]["reason"], "notSeen", "{missing:#}");
}
