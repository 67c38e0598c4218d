//! A filter with a typo on a directory of 300 users, and then a real reorganization.

use serde_json::Value;

use super::{approve, dn, jobs, plan, waiting};
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::Slapd;
use crate::support::world::World;

fn inactive(target: &Scim2Server) -> usize {
    let users = target.users().into_iter();
    users.filter(|user| user["active"] == false).count()
}

fn steps(plan: &Value) -> &Vec<Value> {
    plan["items"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_a_filter_with_a_typo_waits_and_is_rejected_and_a_reorganization_is_approved_and_undone()
 {
    let slapd = Slapd::with(&World::new(11, 300, 6).ldif());
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    let loaded = target.writes();

    // The typo: nobody matches, and nobody loses anything.
    let relay = relay.directory("userSearchFilter = \"(objectClass=inetOrgPersn)\"");
    let job = waiting(&relay.sync());
    assert_eq!((target.writes(), inactive(&target)), (loaded, 0));
    let read = plan(&relay, &job);
    assert_eq!(read["waiting"], true, "{read:#}");
    let leave = |step: &&Value| step["operation"] == "deactivate";
    let leavers: Vec<&Value> = steps(&read).iter().filter(leave).collect();
    assert_eq!(leavers.len(), 300);
    for step in leavers {
        assert_eq!(
            (&step["reason"], &step["forApproval"]),
            (&"absent".into(), &true.into())
        );
        assert_eq!(step["attributes"][0]["after"], false, "{step:#}");
        assert!(
            step["dn"].as_str().unwrap().starts_with("uid=u"),
            "{step:#}"
        );
    }
    assert!(
        read["holds"].to_string().contains("fewer than 80 %"),
        "{read:#}"
    );

    // Later runs leave it alone and say so.
    let later = relay.sync().completed();
    assert_eq!(later.writes(), 0);
    assert!(
        later.job["warnings"].to_string().contains(&job),
        "{later:?}"
    );
    let rejected = jobs(&relay, &["reject", &job]);
    assert_eq!(
        rejected.job["decision"]["verdict"], "rejected",
        "{rejected:?}"
    );
    assert_eq!(
        relay.sync().completed().writes(),
        0,
        "it is not asked for again"
    );
    let again = jobs(&relay, &["reject", &job]);
    assert_eq!(
        again.code,
        Some(1),
        "there is nothing to decide any more: {again:?}"
    );

    // Without the typo everything is as it was.
    let relay = relay.directory("userSearchFilter = \"(objectClass=inetOrgPerson)\"");
    assert_eq!(relay.sync().completed().writes(), 0);
    assert_eq!(
        jobs(&relay, &["holds"]).job["items"],
        Value::Array(Vec::new())
    );

    // A real reorganization: thirty leave.
    for number in 0..30 {
        slapd.delete(&dn(number));
    }
    let job = waiting(&relay.sync());
    assert_eq!(inactive(&target), 0);
    let wrong = jobs(&relay, &["approve", &job, "--digest", "0000"]);
    assert_eq!(wrong.code, Some(1), "another plan was read: {wrong:?}");
    assert_eq!(inactive(&target), 0);
    let before = target.writes();
    let applied = approve(&relay, &job);
    assert_eq!(applied.job["status"], "completed", "{applied:?}");
    assert_eq!(applied.count("usersDeactivated"), 30);
    assert_eq!(inactive(&target), 30);
    assert!(target.writes() > before);
    assert_eq!(relay.sync().completed().writes(), 0);

    // And back: what was approved is undone, and stays so.
    let preview = jobs(&relay, &["undo", &job, "--preview"]);
    assert_eq!(
        (preview.count("usersReactivated"), inactive(&target)),
        (30, 30),
        "{preview:?}"
    );
    let undone = jobs(&relay, &["undo", &job]);
    assert_eq!(undone.job["status"], "completed", "{undone:?}");
    assert_eq!(
        (undone.count("usersReactivated"), inactive(&target)),
        (30, 0)
    );
    assert_eq!(relay.sync().completed().writes(), 0, "undone stays undone");
    let held = jobs(&relay, &["holds"]);
    let undone = |held: &Value| held["state"] == "undone";
    assert!(
        held.job["items"].as_array().unwrap().iter().all(undone),
        "{held:?}"
    );

    // Whoever wants it after all gives it free, and is asked again.
    jobs(&relay, &["release", "--all"]);
    let job = waiting(&relay.sync());
    assert_eq!(plan(&relay, &job)["operationsHeld"]["deactivate"], 30);
}
