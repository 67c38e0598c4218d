//! What waits for a person is decided in the browser: links, conflicts, held changes; jobs are watched and cancelled, profiles and
//! tenants chosen.

use serde_json::json;

use super::{signed_in, sync, visit};
use crate::admin_api::directories::Fresh;
use crate::linking::{edit, put};
use crate::support::browser::Look;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

#[tokio::test(flavor = "multi_thread")]
async fn console_links_and_conflicts_are_decided() {
    let fresh = Fresh::new(5).await;
    let known = json!({ "schemas": [USER], "userName": "u0000001", "active": true });
    let id = put(&fresh.target, "/Users", known);
    let directory = fresh.created();
    sync(&fresh, &directory);
    let browser = signed_in(&fresh.serving.base_url(), Look::Usual).await;
    visit(&browser, &format!("directories/{directory}/links")).await;
    browser.see("Waits for you").await;
    browser.press("Accept").await;
    browser.see("Accepted").await;
    browser.press("Take it back").await;
    browser.see("Waits for you").await;
    browser.press("Accept all that wait").await;
    browser.see("This concerns 1 proposals").await;
    browser.press("Accept all").await;
    browser.see("Accepted").await;
    sync(&fresh, &directory);
    let linked = fresh.target.target().user_named("u0000001").unwrap();
    assert_eq!(linked["id"], json!(id));
    assert!(linked["externalId"].is_string(), "{linked:#}");

    let manual = json!({ "conflictPolicy": "manual_review" });
    assert_eq!(fresh.put(&directory, &manual).status, 200);
    sync(&fresh, &directory);
    let edited =
        json!([{ "op": "replace", "path": "displayName", "value": "Edited at the target" }]);
    edit(&fresh.target, &format!("/Users/{id}"), edited);
    let reconciled = super::run(&fresh, &directory, &json!({ "mode": "reconcile" }));
    assert_eq!(reconciled["conflicts"], 1, "{reconciled:#}");
    visit(&browser, &format!("directories/{directory}/conflicts")).await;
    browser.see("Edited at the target").await;
    browser.shoot("conflicts").await;
    browser.press("Keep the target's").await;
    browser.see("Target's value kept").await;
    browser.press("Take it back").await;
    browser.press("Take the directory's").await;
    browser.see("Directory's value taken").await;
    sync(&fresh, &directory);
    let user = fresh.target.target().user_named("u0000001").unwrap();
    assert_ne!(user["displayName"], "Edited at the target", "{user:#}");
    browser.assert_quiet("links and conflicts").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_job_is_watched_cancelled_and_what_was_rejected_is_released() {
    let fresh = Fresh::new(40).await;
    let directory = fresh.created();
    fresh.slow_creates();
    let browser = signed_in(&fresh.serving.base_url(), Look::Usual).await;
    visit(&browser, &format!("directories/{directory}")).await;
    browser.press("Sync now").await;
    browser.press("Sync for the first time").await;
    browser.see("Sending changes").await;
    let done = "return document.querySelector('progress')?.value";
    browser
        .until("some steps are done", &format!("{done} >= 2"))
        .await;
    let now = browser.run(done).await.as_f64().unwrap();
    browser
        .until("it goes on by itself", &format!("{done} > {now}"))
        .await;
    browser.shoot("job-running").await;
    // A second one is not started: the page leads to the one that runs.
    let running = browser.run("return location.hash").await;
    visit(&browser, &format!("directories/{directory}")).await;
    browser.press("Preview").await;
    browser
        .until(
            "the running job",
            &format!("return location.hash === {running}"),
        )
        .await;
    browser.press("Cancel").await;
    browser.see("What has been sent stays").await;
    browser.press("Cancel the job").await;
    browser.see("Cancelled").await;
    assert!(fresh.target.target().counters().users < 40);

    fresh.target.set_rules(Vec::new());
    sync(&fresh, &directory);
    let nobody = json!({ "userSearchFilter": "(&(objectClass=person)(uid=nobody))" });
    assert_eq!(fresh.put(&directory, &nobody).status, 200);
    let waiting = sync(&fresh, &directory);
    let job = waiting["id"].as_str().unwrap();
    visit(&browser, &format!("directories/{directory}/jobs/{job}")).await;
    browser.press("Reject").await;
    browser.see("Nothing of it is sent").await;
    browser.press("Reject").await;
    browser.see("The plan was rejected").await;
    visit(&browser, &format!("directories/{directory}/held")).await;
    browser.see("Rejected").await;
    browser
        .press("Release all that were rejected or undone")
        .await;
    browser.press("Release all").await;
    browser.see("Nothing is held").await;
    browser.assert_quiet("jobs").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_profiles_and_tenants() {
    let fresh = Fresh::new(5).await;
    let directory = fresh.created();
    let mut other = fresh.tenant();
    other["name"] = json!("globex");
    assert_eq!(fresh.api.post("/tenants", &other.to_string()).status, 201);
    let browser = signed_in(&fresh.serving.base_url(), Look::Usual).await;
    visit(&browser, &format!("directories/{directory}/profiles")).await;
    browser.press("Add a profile").await;
    browser.arrive("hq").await;
    browser.fill("Name", "Not A Name").await;
    browser.press("Save").await;
    browser
        .until(
            "the name is refused",
            "return document.querySelector('[name=name]').getAttribute('aria-invalid') === 'true'",
        )
        .await;
    browser.fill("Name", "contractors").await;
    browser.fill("Users are", "(employeeType=contractor)").await;
    browser.press("Save").await;
    browser.see("(employeeType=contractor)").await;
    browser.follow("Edit").await;
    browser.arrive("hq").await;
    browser.fill("Users are", "(employeeType=external)").await;
    browser.press("Save").await;
    browser.see("(employeeType=external)").await;
    browser.press("Delete").await;
    browser.see("Its users are released").await;
    browser.press("Delete the profile").await;
    browser
        .until(
            "it is gone",
            "return !document.body.innerText.includes('contractors')",
        )
        .await;

    // Of the other tenant nothing of this one is seen, not even by its address.
    browser.pick("Tenant", "globex").await;
    browser.see("No directory yet").await;
    browser
        .go(&format!("#/globex/directories/{directory}"))
        .await;
    browser.see("There is no such page").await;
    browser.go("#/nobody").await;
    browser.see("Your token is not for the tenant").await;
    browser.assert_quiet("profiles and tenants").await;
    browser.close().await;
}
