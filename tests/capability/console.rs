//! The web console, in a real browser: its pages as people use them, and what it does to keep them safe.

mod accessible;
mod decisions;
mod hostile;
mod large;
mod path;
mod session;

use serde_json::{Value, json};

use crate::admin_api::directories::Fresh;
use crate::support::browser::{Browser, Look};
use crate::support::relay::API_TOKEN;

/// Every page of a directory, and those beside, each below the tenant's own place.
fn places(directory: &str) -> Vec<String> {
    let home = format!("directories/{directory}");
    let tabs = [
        "",
        "/users",
        "/groups",
        "/jobs",
        "/links",
        "/conflicts",
        "/held",
        "/explain",
        "/profiles",
        "/profiles/add",
        "/settings",
    ];
    let tabs = tabs.map(|tab| format!("{home}{tab}"));
    let beside = ["", "add", "audit"].map(str::to_owned);
    beside.into_iter().chain(tabs).collect()
}

/// A browser that is signed in at a relay.
async fn signed_in(base: &str, look: Look) -> Browser {
    let browser = Browser::start(look).await;
    browser.open(&format!("{base}/")).await;
    browser.fill("API token", API_TOKEN).await;
    browser.press("Sign in").await;
    let inside =
        "return Boolean(document.querySelector('header.bar') && document.querySelector('main h1'))";
    browser.until("signed in", inside).await;
    browser
}

/// Opens a place of the tenant and waits until it is whole.
async fn visit(browser: &Browser, place: &str) {
    open_place(browser, place).await;
    let text = browser.text().await;
    for failure in [
        "Malformed request",
        "Invalid values",
        "The console failed",
        "Internal error",
    ] {
        assert!(!text.contains(failure), "{place}: {text}");
    }
}

/// The same for an address that may well be none.
async fn open_place(browser: &Browser, place: &str) {
    // An empty page in between, so that what is seen afterwards is the new one.
    browser
        .run("document.querySelector('main').replaceChildren()")
        .await;
    browser.go(&format!("#/acme/{place}")).await;
    let there = "const main = document.querySelector('header.bar ~ main');
        return Boolean(main?.querySelector('h1')) && !main.innerText.includes('Loading …')";
    browser.until(&format!("the page {place}"), there).await;
}

/// Starts a job and waits for its end.
fn run(fresh: &Fresh, directory: &str, body: &Value) -> Value {
    let path = format!("/directories/{directory}/sync");
    let started = fresh.api.post(&path, &body.to_string());
    assert_eq!(started.status, 202, "{started:?}");
    let job = started.json()["jobId"].as_str().unwrap().to_owned();
    fresh.api.finished_job(directory, &job)
}

fn sync(fresh: &Fresh, directory: &str) -> Value {
    run(fresh, directory, &json!({ "mode": "full" }))
}
