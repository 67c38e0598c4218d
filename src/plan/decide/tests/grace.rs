//! Who is gone keeps what he has until his grace is over, and nothing is remembered of whom it pardons.

use super::*;
use chrono::Duration;

/// A profile with a grace period of ten seconds, asked so many seconds after the entry was found absent.
fn after(seconds: i64, deprovisioning: Deprovisioning) -> Policy {
    let now = DateTime::UNIX_EPOCH + Duration::seconds(seconds);
    let period = Duration::seconds(10);
    Policy {
        deprovisioning,
        grace: Grace {
            period,
            now,
            changed_at: None,
        },
        ..policy(false)
    }
}

#[test]
fn an_account_is_taken_away_when_the_grace_is_over_and_not_before() {
    use Deprovisioning::{Both, Deactivate, Delete, Never};
    let (enabled, disabled, unknown) = (Some(true), Some(false), None);
    for (seconds, deprovisioning, is_active, active, words, waits) in [
        (9, Deactivate, true, enabled, "", true),
        (10, Deactivate, true, enabled, "deactivate:active!", false),
        (9, Deactivate, true, unknown, "", true),
        (9, Delete, true, enabled, "", true),
        (9, Both, true, enabled, "", true),
        (
            10,
            Both,
            true,
            enabled,
            "deactivate:active delete:delete!",
            false,
        ),
        // Nothing is taken away in the end, so nothing is waited for.
        (9, Never, true, enabled, "", false),
        (9, Deactivate, false, enabled, "", false),
        (9, Delete, false, enabled, "", true),
        // Whoever was disabled before is no mere absentee, but is not deleted early.
        (9, Deactivate, true, disabled, "deactivate:active!", false),
        (9, Delete, true, disabled, "deactivate:active", true),
        (9, Both, true, disabled, "deactivate:active", true),
        (9, Delete, false, disabled, "", true),
        (9, Never, true, disabled, "", false),
    ] {
        let policy = after(seconds, deprovisioning);
        let (row, seen) = row(Kind::User, applied("m", is_active), None, ABSENT);
        let verdict = user(&row, &seen, desired("m", active), &policy);
        let context = format!("{deprovisioning:?} after {seconds} s, {active:?}");
        assert_eq!(told(&verdict), words, "{context}");
        let ends = DateTime::UNIX_EPOCH + Duration::seconds(10);
        assert_eq!(
            verdict.waits,
            waits.then_some(Waits::Grace(ends)),
            "{context}"
        );
        assert_eq!(verdict.is_clean(), words.is_empty() && !waits, "{context}");
    }
}

#[test]
fn whoever_is_there_has_no_need_of_grace() {
    let policy = after(9, Deprovisioning::Deactivate);
    let (row, seen) = row(Kind::User, applied("m", true), None, PRESENT);
    let back = user(&row, &seen, desired("m", Some(true)), &policy);
    assert_eq!(back, Verdict::nothing());
    let disabled = user(&row, &seen, desired("m", Some(false)), &policy);
    assert_eq!(told(&disabled), "deactivate:active!");
    assert_eq!(disabled.waits, None);
}

#[test]
fn a_group_is_emptied_when_its_grace_is_over() {
    let (row, seen) = row(Kind::Group, applied("m", true), None, ABSENT);
    let member = [row.key.clone()];
    let decided = |seconds| {
        let policy = after(seconds, Deprovisioning::Deactivate);
        group(&row, &seen, desired("m", None), &[], &member, &policy)
    };
    assert_eq!(told(&decided(9)), "");
    assert!(!decided(9).is_clean());
    assert_eq!(told(&decided(10)), "remove_members:a!");
    let keeps = Policy {
        absent_groups: AbsentGroups::Keep,
        ..after(9, Deprovisioning::Deactivate)
    };
    let kept = group(&row, &seen, desired("m", None), &[], &member, &keeps);
    assert!(kept.is_clean());
}
