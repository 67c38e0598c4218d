//! Accessibility (WCAG 2.1 A and AA) of every page, wide and light, narrow and dark, and by keyboard alone.

use serde_json::json;

use super::{places, run, signed_in, sync, visit};
use crate::admin_api::directories::Fresh;
use crate::support::browser::{Browser, Look};

/// A directory with jobs of every kind of page: a preview, a run with an error, and a plan that waits.
async fn busy() -> (Fresh, Vec<String>) {
    let fresh = Fresh::new(30).await;
    let directory = fresh.created();
    let preview = run(&fresh, &directory, &json!({ "mode": "preview" }));
    let first = sync(&fresh, &directory);
    assert_eq!(first["status"], "completed", "{first:#}");
    let everybody_leaves = json!({ "userSearchFilter": "(&(objectClass=person)(uid=nobody))" });
    assert_eq!(fresh.put(&directory, &everybody_leaves).status, 200);
    let waiting = sync(&fresh, &directory);
    assert_eq!(waiting["status"], "awaiting_approval", "{waiting:#}");
    let mut pages = places(&directory);
    for job in [preview, first, waiting] {
        pages.push(format!(
            "directories/{directory}/jobs/{}",
            job["id"].as_str().unwrap()
        ));
    }
    let entry = fresh
        .api
        .get(&format!("/directories/{directory}/users?limit=1"))
        .json();
    let name = entry["items"][0]["userName"].as_str().unwrap().to_owned();
    pages.push(format!("directories/{directory}/explain?entry={name}"));
    (fresh, pages)
}

async fn check_all(look: Look) {
    let (fresh, pages) = busy().await;
    let base = fresh.serving.base_url();
    let signing_in = Browser::start(look).await;
    signing_in.open(&format!("{base}/")).await;
    signing_in.arrive("Sign in").await;
    signing_in.assert_accessible("signing in").await;
    signing_in.close().await;
    let browser = signed_in(&base, look).await;
    for page in &pages {
        visit(&browser, page).await;
        browser
            .run("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
            .await;
        browser.assert_accessible(&format!("{page} {look:?}")).await;
        let overflow = browser
            .run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            .await;
        assert!(
            overflow.as_i64() <= Some(0),
            "{page} is {overflow} pixels wider than the window ({look:?})"
        );
        browser.assert_quiet(page).await;
    }
    if look == Look::NarrowAndDark {
        visit(&browser, "").await;
        browser.shoot("dashboard-narrow-dark").await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_accessible_wide_and_light() {
    check_all(Look::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_accessible_narrow_and_dark() {
    check_all(Look::NarrowAndDark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_by_keyboard_alone() {
    let fresh = Fresh::new(5).await;
    fresh.created();
    let browser = Browser::start(Look::Usual).await;
    browser
        .open(&format!("{}/", fresh.serving.base_url()))
        .await;
    browser.arrive("Sign in").await;
    // The token's field has the focus; Enter sends it.
    browser.keys(crate::support::relay::API_TOKEN).await;
    browser.keys("\u{e007}").await;
    browser.arrive("Dashboard").await;
    // From the heading by Tab to the directory, past the table that can be scrolled.
    for _ in 0..5 {
        browser.keys("\u{e004}").await;
        if browser.run("return document.activeElement.innerText").await == json!("hq") {
            break;
        }
    }
    browser.keys("\u{e007}").await;
    browser.arrive("hq").await;
    // A dialog keeps the focus and gives it back.
    browser.run("[...document.querySelectorAll('button')].find(one => one.innerText === 'Sync all users').focus()").await;
    browser.keys("\u{e007}").await;
    browser.see("Every user and group is read").await;
    assert_eq!(
        browser
            .run("return document.activeElement.closest('dialog') !== null")
            .await,
        json!(true)
    );
    browser.keys("\u{e00c}").await;
    browser
        .until(
            "the dialog is gone",
            "return !document.querySelector('dialog')",
        )
        .await;
    assert_eq!(
        browser.run("return document.activeElement.innerText").await,
        json!("Sync all users")
    );
    browser.assert_quiet("by keyboard").await;
    browser.close().await;
}
