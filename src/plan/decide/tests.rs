//! Every state of a row, and the steps that it needs.

mod deprovisioning;
mod grace;
mod groups;
mod linking;

use super::*;
use crate::id::ProfileName;
use crate::identity::digest::Digest;
use crate::identity::{Anchor, Identity};
use crate::mapping::rule::FieldProblem;
use crate::snapshot::Match;
use chrono::DateTime;

fn attributes(mail: &str) -> Attributes {
    [
        (AttributePath::user_name(), "ann"),
        (AttributePath::work_email(), mail),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(path, value)| (path, Value::Text(value.to_owned())))
    .collect()
}

fn applied(mail: &str, active: bool) -> Option<Applied> {
    let mut attributes = attributes(mail);
    attributes.insert(AttributePath::active(), Value::Bool(active));
    Some(Applied {
        id: "7".into(),
        attributes,
    })
}

fn desired(mail: &str, active: Option<bool>) -> Desired {
    Desired {
        active,
        resource: Ok(attributes(mail)),
    }
}

fn broken(active: Option<bool>) -> Desired {
    let problem = FieldProblem {
        path: AttributePath::user_name(),
        message: "no uid".into(),
    };
    Desired {
        active,
        resource: Err(vec![problem]),
    }
}

fn found(by: MatchedBy) -> Option<Match> {
    Some(Match {
        id: "9".into(),
        by,
        resource: None,
    })
}

fn policy(link_by_name: bool) -> Policy {
    let user_attributes = BTreeSet::from([AttributePath::user_name(), AttributePath::work_email()]);
    Policy {
        population: Population::All,
        keeps_active: true,
        group_attributes: BTreeSet::from([AttributePath::display_name()]),
        user_attributes,
        link_by_name,
        protected: Protected::default(),
        deprovisioning: Deprovisioning::Deactivate,
        grace: Grace::default(),
        absent_groups: AbsentGroups::Empty,
        members_with_create: 2,
    }
}

fn row(
    kind: Kind,
    applied: Option<Applied>,
    found: Option<Match>,
    standing: Standing,
) -> (Row, Seen) {
    let anchor = Anchor::Text("a".into());
    let identity = Identity {
        kind,
        anchor: anchor.clone(),
        dn: "uid=ann".into(),
        attributes: Default::default(),
        members: Vec::new(),
        names: Vec::new(),
    };
    let seen = Seen {
        identity,
        digest: Digest::default(),
        standing,
    };
    let row = Row {
        key: RowKey { kind, anchor },
        seen: vec![(ProfileName::default(), seen.clone())],
        applied,
        found,
        decision: None,
        last: Default::default(),
    };
    (row, seen)
}

const PRESENT: Standing = Standing::Present;
const ABSENT: Standing = Standing::Absent {
    since: DateTime::UNIX_EPOCH,
};

/// Steps as words: class, reason, changed paths; `!` when the last one makes the row clean, `?` for a problem.
fn told(verdict: &Verdict) -> String {
    let mut words: Vec<String> = verdict
        .steps
        .iter()
        .map(|step| {
            let changed = match &step.action {
                Action::Change { changes } => changes
                    .iter()
                    .map(|change| change.path.name.clone())
                    .collect(),
                Action::Create { .. } => vec!["create".to_owned()],
                Action::Delete { .. } => vec!["delete".to_owned()],
                Action::Link { id, .. } => vec![id.clone()],
                Action::AddMembers(rows) | Action::RemoveMembers(rows) => {
                    rows.iter().map(|row| row.anchor.to_string()).collect()
                }
                Action::SetManager(row) => vec![row.anchor.to_string()],
            };
            format!(
                "{}:{}{}",
                step.class.as_str(),
                changed.join("+"),
                if step.last_of_row { "!" } else { "" }
            )
        })
        .collect();
    words.extend(verdict.problem.as_ref().map(|_| "?".to_owned()));
    words.join(" ")
}

#[test]
fn every_state_of_a_user_has_its_steps() {
    let cases = [
        // applied, found, standing, desired, expected
        (
            None,
            None,
            PRESENT,
            desired("m", Some(true)),
            "create_user:create!",
        ),
        (None, None, PRESENT, desired("m", Some(false)), ""),
        (None, None, PRESENT, desired("m", None), "?"),
        (None, None, PRESENT, broken(Some(true)), "?"),
        (None, None, PRESENT, broken(Some(false)), ""),
        (None, None, ABSENT, desired("m", Some(true)), ""),
        (
            None,
            found(MatchedBy::ExternalId),
            PRESENT,
            desired("m", Some(true)),
            "link:9!",
        ),
        (
            None,
            found(MatchedBy::ExternalId),
            PRESENT,
            desired("m", Some(false)),
            "link:9!",
        ),
        (
            None,
            found(MatchedBy::Name),
            PRESENT,
            desired("m", Some(true)),
            "?",
        ),
        (
            None,
            found(MatchedBy::TakenName),
            PRESENT,
            desired("m", Some(true)),
            "?",
        ),
        (
            applied("m", true),
            None,
            PRESENT,
            desired("m", Some(true)),
            "",
        ),
        (
            applied("m", true),
            None,
            PRESENT,
            desired("n", Some(true)),
            "update:emails!",
        ),
        (
            applied("m", true),
            None,
            PRESENT,
            desired("", Some(true)),
            "update:emails!",
        ),
        (
            applied("m", true),
            None,
            PRESENT,
            desired("m", Some(false)),
            "deactivate:active!",
        ),
        (
            applied("m", true),
            None,
            PRESENT,
            desired("n", Some(false)),
            "deactivate:active update:emails!",
        ),
        (applied("m", true), None, PRESENT, desired("m", None), ""),
        (
            applied("m", true),
            None,
            PRESENT,
            broken(Some(false)),
            "deactivate:active ?",
        ),
        (applied("m", true), None, PRESENT, broken(Some(true)), "?"),
        (
            applied("m", true),
            None,
            ABSENT,
            broken(None),
            "deactivate:active!",
        ),
        (
            applied("m", false),
            None,
            ABSENT,
            desired("m", Some(true)),
            "",
        ),
        (
            applied("m", false),
            None,
            PRESENT,
            desired("n", Some(true)),
            "reactivate:active+emails!",
        ),
        (
            applied("m", false),
            None,
            PRESENT,
            desired("m", Some(false)),
            "",
        ),
        (
            applied("m", false),
            None,
            PRESENT,
            desired("n", Some(false)),
            "update:emails!",
        ),
        (applied("m", false), None, PRESENT, broken(Some(true)), "?"),
    ];
    for (applied, found, standing, desired, expected) in cases {
        let (row, seen) = row(Kind::User, applied.clone(), found.clone(), standing);
        let verdict = user(&row, &seen, desired.clone(), &policy(false));
        assert_eq!(
            told(&verdict),
            expected,
            "{applied:?} {found:?} {standing:?} {desired:?}"
        );
    }
    let (row, seen) = row(Kind::User, None, found(MatchedBy::Name), PRESENT);
    let linked = user(&row, &seen, desired("m", Some(true)), &policy(true));
    assert_eq!(told(&linked), "link:9!");
}

#[test]
fn an_account_that_does_not_say_whether_it_is_active_is_told_where_that_is_kept() {
    let mut silent = applied("m", true);
    if let Some(applied) = &mut silent {
        applied.attributes.remove(&AttributePath::active());
    }
    let (row, seen) = row(Kind::User, silent, None, PRESENT);
    let said = |active, policy| told(&user(&row, &seen, desired("m", Some(active)), &policy));
    assert_eq!(said(true, policy(false)), "reactivate:active!");
    assert_eq!(said(false, policy(false)), "deactivate:active!");
    let never = Policy {
        keeps_active: false,
        ..policy(false)
    };
    assert_eq!(said(true, never), "");
}

#[test]
fn attributes_outside_the_mapping_are_not_compared() {
    let (row, seen) = row(Kind::User, applied("m", true), None, PRESENT);
    let mut narrow = policy(false);
    narrow.user_attributes.remove(&AttributePath::work_email());
    let verdict = user(&row, &seen, desired("n", Some(true)), &narrow);
    assert!(verdict.is_clean());
}

#[test]
fn a_population_restricts_whom_a_profile_creates_and_updates() {
    let name = || found(MatchedBy::Name);
    let ours = || found(MatchedBy::ExternalId);
    for (applied, found, desired, of_active, of_inactive) in [
        (
            None,
            None,
            desired("m", Some(true)),
            "create_user:create!",
            "",
        ),
        (None, None, desired("m", Some(false)), "", ""),
        (None, ours(), desired("m", Some(true)), "link:9!", ""),
        (
            None,
            ours(),
            desired("m", Some(false)),
            "link:9!",
            "link:9!",
        ),
        (None, name(), desired("m", Some(true)), "link:9!", ""),
        (None, name(), desired("m", Some(false)), "", "link:9!"),
        (
            applied("m", true),
            None,
            desired("n", Some(true)),
            "update:emails!",
            "",
        ),
        (
            applied("m", true),
            None,
            desired("n", Some(false)),
            "deactivate:active!",
            "deactivate:active update:emails!",
        ),
        (
            applied("m", false),
            None,
            desired("n", Some(false)),
            "",
            "update:emails!",
        ),
        (
            applied("m", false),
            None,
            desired("n", Some(true)),
            "reactivate:active+emails!",
            "",
        ),
        (applied("m", true), None, desired("n", None), "", ""),
        (applied("m", true), None, broken(Some(true)), "?", ""),
        (
            applied("m", true),
            None,
            broken(Some(false)),
            "deactivate:active!",
            "deactivate:active ?",
        ),
    ] {
        for (population, expected) in [
            (Population::Active, of_active),
            (Population::Inactive, of_inactive),
        ] {
            let policy = Policy {
                population,
                ..policy(true)
            };
            let (row, seen) = row(Kind::User, applied.clone(), found.clone(), PRESENT);
            let verdict = user(&row, &seen, desired.clone(), &policy);
            let context = format!("{population:?} {applied:?} {found:?} {desired:?}");
            assert_eq!(told(&verdict), expected, "{context}");
        }
    }
    // Whoever left the scope is deactivated by any profile.
    for population in [Population::All, Population::Active, Population::Inactive] {
        let policy = Policy {
            population,
            ..policy(false)
        };
        let (row, seen) = row(Kind::User, applied("m", true), None, ABSENT);
        let verdict = user(&row, &seen, desired("m", Some(true)), &policy);
        assert_eq!(told(&verdict), "deactivate:active!", "{population:?}");
    }
}
