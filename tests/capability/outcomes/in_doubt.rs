//! Recovery that meets two resources with one externalId: nothing is guessed, and nobody else waits for it.

use std::time::Duration;

use scim_relay::demo::target::answer::Call;
use serde_json::{Value, json};

use super::{change_mail, created, dn, six};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::wait_for;
use crate::truth::{assert_settled, errors_of, relay, writes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_in_doubt_with_two_resources_is_left_alone_until_one_is_removed() {
    let slapd = six();
    // It takes effect, and the answer would come when nobody waits for it any more.
    let endless = Fault::Slow(Duration::from_secs(120));
    let target = FaultTarget::start(vec![Rule::on("POST", "/Users", endless).nth(3)]).await;
    let relay = relay(&slapd, &target).tenant("concurrency = 1");
    let mut killed = relay.spawn_sync();
    wait_for("the third user", Duration::from_secs(30), || {
        (target.target().users().len() == 3).then_some(())
    });
    killed.kill();
    let journal = target.journal();
    let last = journal
        .iter()
        .rfind(|exchange| exchange.took_effect())
        .unwrap();
    let body = last.call.body.clone().unwrap();
    let name = body["userName"].as_str().unwrap();
    let number: usize = name[1..].parse().unwrap();
    let entry = dn(number);
    let twin =
        json!({"schemas": body["schemas"], "userName": "twin", "externalId": body["externalId"]});
    let answer = target
        .target()
        .handle(Call::new("POST", "/Users").body(twin));
    assert_eq!(answer.status, 201);
    let twin = answer.body.unwrap()["id"].as_str().unwrap().to_owned();
    let of_row = |resource: &Value| resource["externalId"] == body["externalId"];
    let held = || -> Vec<Value> {
        let mut users = target.target().users();
        users.retain(of_row);
        users
    };
    let before = held();
    target.set_rules(Vec::new());

    // The others go on; this one waits, and so it does as often as it is asked, whatever changes in the directory.
    for run in 1..=2 {
        let finished = relay.sync();
        assert_eq!(finished.code, Some(3), "run {run}: {finished:?}");
        let count = finished.job["errorCount"].as_u64();
        assert_eq!(count, Some(1), "run {run}: {finished:?}");
        let error = &finished.job["errors"][0];
        assert_eq!(
            (&error["anchor"], &error["operation"]),
            (&body["externalId"], &json!("recover")),
            "run {run}: {finished:?}"
        );
        let detail = error["detail"].as_str().unwrap();
        for words in [
            "2 resources with externalId",
            &twin,
            "remove the duplicates",
        ] {
            assert!(detail.contains(words), "no `{words}` in {detail}");
        }
        assert_eq!(held(), before, "run {run}: something was sent for it");
        assert_eq!(created(&target, "/Users"), 6, "run {run}: {finished:?}");
        let other = usize::from(number == 0);
        change_mail(&slapd, other, &format!("run{run}@example.org"));
        change_mail(&slapd, number, &format!("doubt{run}@example.org"));
    }

    let answer = target
        .target()
        .handle(Call::new("DELETE", &format!("/Users/{twin}")));
    assert_eq!(answer.status, 204);
    let known = writes(&target).len();
    let healed = relay.sync().completed();
    assert!(errors_of(&healed, &entry).is_empty(), "{healed:?}");
    // The other one's change, and what this one missed.
    assert_eq!(writes(&target).len() - known, 2, "{healed:?}");
    assert_eq!(created(&target, "/Users"), 6, "{healed:?}");
    assert_eq!(held()[0]["id"], before[0]["id"], "it is another resource");
    assert_settled(&slapd, &target, &relay, "healed");
}
