//! The whole path of an administrator who has never seen the product: sign in, add a directory, see what a sync would do, run it,
//! and understand what went wrong.

use serde_json::json;

use super::signed_in;
use crate::admin_api::directories::Fresh;
use crate::support::browser::{Browser, Look};
use crate::support::fault_target::{Fault, Rule};
use crate::support::relay::API_TOKEN;
use crate::support::slapd::{GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX};

const STAFF: usize = 30;

/// A relay with a tenant and nothing else.
async fn site() -> Fresh {
    let fresh = Fresh::new(STAFF).await;
    let tenant = fresh.api.post("/tenants", &fresh.tenant().to_string());
    assert_eq!(tenant.status, 201, "{tenant:?}");
    fresh
}

fn users_at_target(fresh: &Fresh) -> usize {
    fresh.target.target().counters().users
}

#[tokio::test(flavor = "multi_thread")]
async fn console_signing_in_and_out() {
    let fresh = site().await;
    let browser = Browser::start(Look::Usual).await;
    let shared = format!("{}/#/acme/audit", fresh.serving.base_url());
    browser.open(&shared).await;
    browser.arrive("Sign in").await;
    browser.fill("API token", "srt_mistyped").await;
    browser.press("Sign in").await;
    browser.see("the token is not valid here").await;
    browser.fill("API token", API_TOKEN).await;
    browser.shoot("sign-in").await;
    browser.press("Sign in").await;
    // A link that was shared leads where it says, after signing in.
    browser.arrive("Audit log").await;
    browser.see("session.create").await;
    let readable = browser.run("return document.cookie").await;
    assert_eq!(readable, json!(""), "a script reads the cookie");
    let stored = browser
        .run("return JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
        .await;
    assert!(!stored.to_string().contains("srt_"), "{stored}");
    browser.open(&shared).await;
    browser.arrive("Audit log").await;
    browser.press("Sign out").await;
    browser.arrive("Sign in").await;
    browser.open(&shared).await;
    browser.arrive("Sign in").await;
    browser.assert_quiet("signing in and out").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_session_that_ends_takes_nothing_that_was_entered() {
    let fresh = site().await;
    let body = json!({ "name": "short", "tenants": ["acme"], "permissions": ["directory:read", "directory:write"] });
    let issued = fresh.api.post("/tokens", &body.to_string()).json();
    let browser = Browser::start(Look::Usual).await;
    browser
        .open(&format!("{}/#/acme/add", fresh.serving.base_url()))
        .await;
    browser
        .fill("API token", issued["token"].as_str().unwrap())
        .await;
    browser.press("Sign in").await;
    browser.arrive("Add a directory").await;
    browser.fill("Name", "half a form").await;
    browser.fill("Host name", "127.0.0.1").await;
    let path = format!("/tokens/{}", issued["id"].as_str().unwrap());
    assert_eq!(fresh.api.delete(&path).status, 204);
    browser.press("Test connection").await;
    browser.see("Your session has ended").await;
    browser.fill("API token", API_TOKEN).await;
    browser.press("Sign in").await;
    let kept =
        "return !document.querySelector('dialog') && document.querySelector('[name=name]').value";
    let kept = browser.until("the form is there", kept).await;
    assert_eq!(kept, json!("half a form"));
    browser.press("Test connection").await;
    browser.see("Reach the server failed").await;
    browser.assert_quiet("signing in again").await;
    browser.close().await;
}

/// Fills the first part of the form, with mistakes that the tests are to find.
async fn connect(browser: &Browser, fresh: &Fresh) {
    browser.fill("Name", "hq").await;
    browser.pick("Type", "ldap").await;
    browser.fill("Host name", "127.0.0.1").await;
    browser.pick("Encryption", "plain").await;
    browser.fill("Port", "1").await;
    browser.press("Test connection").await;
    browser.see("Reach the server failed").await;
    browser.shoot("test-connection-failed").await;
    browser.fill("Port", &fresh.slapd.port().to_string()).await;
    browser.press("Test connection").await;
    browser.see("It works.").await;
    browser.fill("Account (bind DN)", READER).await;
    browser.fill("Password", "wrong").await;
    browser.press("Test authentication").await;
    browser.see("Sign in (bind) failed").await;
    browser.fill("Password", READER_PASSWORD).await;
    browser.press("Test authentication").await;
    browser
        .until(
            "both tests pass",
            "return document.querySelectorAll('.notice.green').length === 2",
        )
        .await;
}

/// Fills the rest, and looks at what it makes of one person.
async fn complete(browser: &Browser, uid: &str, groups: usize) {
    browser.fill("Base DN", SUFFIX).await;
    browser.fill("Users below", PEOPLE).await;
    browser.fill("Users are", "(objectClass=person").await;
    browser.press("Test everything").await;
    browser.until("the filter is named", "return [...document.querySelectorAll('.wrong')].some(one => one.innerText.includes('filter'))").await;
    browser.fill("Users are", "(objectClass=person)").await;
    browser.fill("Groups below", GROUPS).await;
    browser.press("Test everything").await;
    browser
        .see(&format!("{STAFF} users and {groups} groups are in scope"))
        .await;
    browser.fill("Try it on one user or group", uid).await;
    browser.press("Preview this entry").await;
    browser.see(&format!("\"userName\": \"{uid}\"")).await;
    // The preview is live: it shows what each change of the mapping makes of that person.
    browser.press("Add an attribute").await;
    browser.fill("SCIM attribute, row 7", "nickName").await;
    browser.pick("Kind, row 7", "expression").await;
    browser.fill("Value, row 7", "{{ uid | upper }}").await;
    browser
        .see(&format!("\"nickName\": \"{}\"", uid.to_uppercase()))
        .await;
    browser.pick("When", "cron").await;
    let at = "At (minute hour day month weekday)";
    browser.fill(at, "99 2 * * *").await;
    browser.see("the minute field").await;
    browser.fill(at, "0 2 * * 1-5").await;
    browser.see("The next runs:").await;
    browser
        .until(
            "five times",
            "return document.querySelectorAll('main form time').length === 5",
        )
        .await;
    browser
        .fill("Users deactivated, at least allowed", "3")
        .await;
    browser.fill("… but never more than", "3").await;
    browser.shoot("add-directory").await;
    browser.assert_accessible("the filled form").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_path_from_nothing_to_an_undone_job() {
    let fresh = site().await;
    let people = fresh.slapd.search(PEOPLE, "(objectClass=person)", &["uid"]);
    let uid = people[0].values("uid")[0].clone();
    let browser = signed_in(&fresh.serving.base_url(), Look::Usual).await;
    browser.arrive("Dashboard").await;
    browser.see("No directory yet").await;
    browser.shoot("dashboard-empty").await;
    browser.press("Add a directory").await;
    browser.arrive("Add a directory").await;
    connect(&browser, &fresh).await;
    let groups = fresh.slapd.search(GROUPS, "(cn=*)", &["cn"]).len();
    complete(&browser, &uid, groups).await;
    browser.press("Save without enabling").await;
    browser.arrive("hq").await;
    browser.see("This directory is not enabled").await;

    browser.press("Preview").await;
    browser.arrive("Preview job").await;
    browser.see("Create user").await;
    browser.see("new in the directory").await;
    browser.shoot("job-preview").await;
    assert_eq!(users_at_target(&fresh), 0, "a preview sent something");
    browser.follow("hq").await;
    browser.follow("Settings").await;
    browser.press("Save, and enable").await;
    browser.see("It runs by its schedule from now on").await;
    browser.assert_accessible("a dialog").await;
    browser.press("Let it run").await;
    browser.arrive("hq").await;

    // One of them is refused by the target, and the page says why and what cures it.
    let refused = {
        let uid = uid.clone();
        let refusal = Fault::Status {
            code: 400,
            scim_type: Some("invalidValue"),
            detail: "no such cost centre",
            numeric: false,
        };
        Rule::on("POST", "/Users", refusal).matching(move |call| {
            call.body
                .as_ref()
                .is_some_and(|body| body["userName"] == uid.as_str())
        })
    };
    fresh.target.set_rules(vec![refused]);
    browser.press("Sync now").await;
    browser.arrive("Incremental job").await;
    browser.see("Completed with errors").await;
    browser.see("What went wrong").await;
    browser
        .see("Create user, answered 400 (invalidValue): 1 object")
        .await;
    browser.see("no such cost centre").await;
    browser.shoot("job-errors").await;
    browser.press("Download CSV").await;
    let csv = browser.downloaded(".csv").await;
    assert!(csv.starts_with("at,kind,operation,reason,dn,anchor,id,attribute,before,after,members,status,scimType,error\r\n"), "{csv}");
    assert!(
        csv.contains("no such cost centre") && csv.contains(&uid),
        "{csv}"
    );
    browser.press("Download JSON").await;
    let changes: serde_json::Value =
        serde_json::from_str(&browser.downloaded(".json").await).unwrap();
    assert!(changes.as_array().unwrap().len() > STAFF, "{changes:#}");
    assert_eq!(users_at_target(&fresh), STAFF - 1);

    fresh.target.set_rules(Vec::new());
    explain_and_sync_one(&browser, &fresh, &uid).await;
    approve_and_undo(&browser, &fresh).await;
    browser.assert_quiet("the whole path").await;
    browser.close().await;
}

/// Finds the one that failed, sees why, and sends it alone.
async fn explain_and_sync_one(browser: &Browser, fresh: &Fresh, uid: &str) {
    browser.follow("hq").await;
    browser.follow("Users").await;
    browser.fill("Name or DN", uid).await;
    browser.press("Filter").await;
    browser.see("Not yet sent").await;
    browser.see("no such cost centre").await;
    browser.follow(uid).await;
    browser.see("What does the next run do?").await;
    browser.shoot("explain").await;
    browser.press("Sync this one now").await;
    browser.press("Sync it").await;
    browser.arrive("Full job").await;
    browser.see("Completed").await;
    assert_eq!(users_at_target(fresh), STAFF);
}

/// Five leave where three may: the plan waits, is approved, and is undone.
async fn approve_and_undo(browser: &Browser, fresh: &Fresh) {
    let active = || {
        let users = fresh.target.target().users();
        users.iter().filter(|user| user["active"] == true).count()
    };
    let before = active();
    let people = fresh.slapd.search(PEOPLE, "(objectClass=person)", &["uid"]);
    for person in people.iter().take(5) {
        fresh.slapd.delete(&person.dn);
    }
    browser.follow("hq").await;
    browser.press("Sync all users").await;
    browser.see("Every user and group is read").await;
    browser.press("Sync all users").await;
    browser.arrive("Full job").await;
    browser.see("for your approval").await;
    browser.see("Deactivate: 5").await;
    browser.shoot("job-waits").await;
    assert_eq!(active(), before);
    browser.press("Approve").await;
    browser.see("Exactly these changes are sent").await;
    let approve = browser
        .run("return document.querySelector('dialog button.first').innerText")
        .await;
    browser.press(approve.as_str().unwrap()).await;
    browser.see("The plan was approved").await;
    browser.see("Completed").await;
    browser.see("Users deactivated").await;
    assert_eq!(active(), before - 5);
    browser.press("Undo …").await;
    browser.tick("Only show what would be put back").await;
    browser.press("Undo it now").await;
    browser.arrive("Undoing job").await;
    browser.see("Completed").await;
    browser.see("Users reactivated").await;
    assert_eq!(active(), before);
    browser.shoot("job-undone").await;
    browser.follow("Dashboard").await;
    browser.arrive("Dashboard").await;
    browser.see("Recent runs").await;
    browser.shoot("dashboard").await;
    browser.assert_accessible("the dashboard").await;
}
