//! Each page renders usefully with 100,000 users and 1,000 jobs in the store.

use std::fmt::Write as _;

use chrono::{TimeDelta, Utc};
use scim_relay::id::{DirectoryId, JobId, ProfileKey, ProfileName};
use scim_relay::job::{Job, Mode, Status, Trigger};
use serde_json::json;
use uuid::Uuid;

use super::{places, run, signed_in, visit};
use crate::admin_api::directories::Fresh;
use crate::program::Api;
use crate::support::browser::Look;
use crate::support::slapd::{Options, PEOPLE, READER};

const USERS: usize = 100_000;
/// Directories beside the large one: a directory keeps 200 jobs.
const OTHERS: usize = 4;
const JOBS_OF_EACH: usize = 200;

fn people() -> String {
    let mut ldif = String::new();
    for number in 0..USERS {
        writeln!(
            ldif,
            "dn: uid=user{number:06},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: user{number:06}\ncn: User {number}\nsn: {number}\n\
             givenName: User\ndisplayName: User {number}\nmail: user{number:06}@example.org\n"
        )
        .unwrap();
    }
    ldif
}

/// An ended job of a directory, as it may have been some hours ago.
fn job(directory: DirectoryId, number: usize) -> Job {
    let at = Utc::now() - TimeDelta::minutes(i64::try_from(number).unwrap() * 15);
    let profile = ProfileKey {
        directory,
        profile: ProfileName::default(),
    };
    let mut job = Job::queued(
        JobId(Uuid::now_v7()),
        &profile,
        Trigger::Schedule,
        Mode::Incremental,
        at,
    );
    job.start(at);
    job.counters.users_updated = u64::try_from(number % 40).unwrap();
    job.complete_read = Some(true);
    job.end(Status::Completed, at + TimeDelta::seconds(2));
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn console_large_store_renders_usefully() {
    let mut fresh = Fresh::new(0).await;
    let unlimited = format!("limits dn.exact=\"{READER}\" size=unlimited");
    fresh.slapd = Options::new().database(&unlimited).ldif(&people()).start();
    let large = fresh.created();
    let preview = run(&fresh, &large, &json!({ "mode": "preview" }));
    assert_eq!(
        preview["progress"]["usersRead"],
        json!(USERS),
        "{preview:#}"
    );
    let mut directories = vec![large.clone()];
    for number in 0..OTHERS {
        let mut other = fresh.directory();
        other["name"] = json!(format!("site {number}"));
        let created = fresh.api.post("/directories", &other.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        directories.push(created.json()["id"].as_str().unwrap().to_owned());
    }
    let Fresh {
        relay,
        serving,
        target,
        ..
    } = fresh;
    assert_eq!(serving.terminate(), Some(0));
    let settings = scim_relay::store::Settings {
        path: relay.store(),
        cache_mib: 16,
    };
    let store = scim_relay::store::open(&settings).unwrap();
    for directory in &directories {
        // The preview is one of them.
        let more = JOBS_OF_EACH - usize::from(*directory == large);
        let directory = DirectoryId(directory.parse().unwrap());
        for number in (0..more).rev() {
            store.save_job(&job(directory, number)).await.unwrap();
        }
    }
    drop(store);
    drop(target);

    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let kept: usize = directories
        .iter()
        .map(|directory| api.jobs(directory).len())
        .sum();
    assert_eq!(kept, directories.len() * JOBS_OF_EACH);
    let browser = signed_in(&serving.base_url(), Look::Usual).await;
    for place in places(&large) {
        visit(&browser, &place).await;
        let elements = browser
            .run("return document.querySelectorAll('main *').length")
            .await;
        assert!(
            elements.as_u64() < Some(5_000),
            "{place} draws {elements} elements"
        );
        browser.assert_quiet(&place).await;
    }
    visit(&browser, "").await;
    browser.see("site 3").await;
    browser.shoot("dashboard-large").await;
    visit(&browser, &format!("directories/{large}/jobs")).await;
    browser.press("Show more").await;
    browser
        .until(
            "a hundred jobs",
            "return document.querySelectorAll('main tbody tr').length === 100",
        )
        .await;
    // The last of them all is found by name.
    visit(
        &browser,
        &format!("directories/{large}/users?text=user099999"),
    )
    .await;
    browser.see("uid=user099999").await;
    let planned = format!(
        "directories/{large}/jobs/{}",
        preview["id"].as_str().unwrap()
    );
    visit(&browser, &planned).await;
    browser.see("100,000 steps").await;
    browser.shoot("plan-large").await;
    browser.close().await;
}
