//! Who must consent before a resource is linked, and what is never linked nor changed.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::protected::Pattern;
use crate::snapshot::LinkDecision;

#[test]
fn linking_needs_consent_to_exactly_that_resource() {
    let decision = |id: &str, accepted| {
        Some(LinkDecision {
            id: id.into(),
            accepted,
            at: DateTime::UNIX_EPOCH,
            by: "token".into(),
        })
    };
    for (by, decision, by_itself, expected) in [
        (MatchedBy::Name, None, false, "?"),
        (MatchedBy::Name, decision("9", true), false, "link accepted"),
        (MatchedBy::Name, decision("8", true), false, "?"),
        (MatchedBy::Name, decision("9", false), true, "waits"),
        (
            MatchedBy::Name,
            decision("8", false),
            true,
            "link name_matches",
        ),
        (MatchedBy::Email, None, true, "link email_matches"),
        (MatchedBy::FormerEntry, None, false, "?"),
        (
            MatchedBy::FormerEntry,
            decision("9", true),
            false,
            "link accepted",
        ),
        (MatchedBy::TakenName, decision("9", true), true, "?"),
        (MatchedBy::TakenEmail, decision("9", true), true, "?"),
        (MatchedBy::Several, decision("9", true), true, "?"),
        (
            MatchedBy::ExternalId,
            None,
            false,
            "link external_id_matches",
        ),
    ] {
        let (mut row, seen) = row(Kind::User, None, found(by), PRESENT);
        row.decision = decision.clone();
        let verdict = user(&row, &seen, desired("a@x", Some(true)), &policy(by_itself));
        let told = match (verdict.steps.first(), &verdict.problem, verdict.waits) {
            (Some(step), _, _) => format!("{} {}", step.class.as_str(), step.reason.as_str()),
            (None, Some(_), _) => "?".to_owned(),
            (None, None, Some(_)) => "waits".to_owned(),
            (None, None, None) => String::new(),
        };
        assert_eq!(told, expected, "{by:?} {decision:?}");
        assert!(
            !verdict.is_clean(),
            "it is looked at again: {by:?} {decision:?}"
        );
    }
}

#[test]
fn target_resources_that_are_protected_get_no_step() {
    let protected = Protected {
        ids: BTreeSet::from(["9".to_owned()]),
        user_names: vec![Pattern::parse("ANN").unwrap()],
        group_names: vec![Pattern::parse("team*").unwrap()],
    };
    let policy = Policy {
        protected,
        ..policy(true)
    };
    let waits = |verdict: Verdict, what: &str| {
        assert_eq!(
            (verdict.waits, verdict.steps.len(), &verdict.problem),
            (Some(Waits::Protected), 0, &None),
            "{what}"
        );
        assert!(
            !verdict.is_clean(),
            "{what}: it is made good when it is on the list no more"
        );
    };
    for (what, standing, wanted) in [
        ("left", ABSENT, desired("a@x", Some(true))),
        ("disabled", PRESENT, desired("a@x", Some(false))),
        ("changed", PRESENT, desired("b@x", Some(true))),
    ] {
        let (row, seen) = row(Kind::User, applied("a@x", true), None, standing);
        waits(user(&row, &seen, wanted, &policy), what);
    }
    for by in [MatchedBy::ExternalId, MatchedBy::Name, MatchedBy::TakenName] {
        let (row, seen) = row(Kind::Group, None, found(by), PRESENT);
        waits(
            group(&row, &seen, desired("", None), &[], &[], &policy),
            "found",
        );
    }
    // One that does not differ waits for nothing.
    let (row_, seen) = row(Kind::User, applied("a@x", true), None, PRESENT);
    assert!(user(&row_, &seen, desired("a@x", Some(true)), &policy).is_clean());
    // Nobody is created under a name that is on the list.
    let (row_, seen) = row(Kind::User, None, None, PRESENT);
    let verdict = user(&row_, &seen, desired("a@x", Some(true)), &policy);
    assert!(verdict.steps.is_empty() && verdict.problem.unwrap().contains("protected"));
}
