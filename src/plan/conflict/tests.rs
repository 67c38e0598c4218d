//! Every way in which three values can differ, under every policy, with every earlier decision.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::ConflictPolicy::{DirectoryWins, LocalWins, ManualReview};
use super::*;

const POLICIES: [ConflictPolicy; 3] = [DirectoryWins, LocalWins, ManualReview];

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// `-` is an absent value.
fn value(word: char) -> Option<Value> {
    (word != '-').then(|| Value::Text(word.to_string()))
}

fn attributes(word: char) -> Attributes {
    let value = value(word);
    value
        .map(|value| (AttributePath::display_name(), value))
        .into_iter()
        .collect()
}

/// What becomes of one attribute.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Nothing is sent, and nothing remembered.
    Nothing,
    /// The directory's value is sent.
    Sent,
    /// The target's value stays.
    Kept,
    /// It waits for a person.
    Waits,
}

/// Base, directory and target in three letters.
fn fate(
    policy: ConflictPolicy,
    values: &str,
    earlier: &[Conflict],
) -> (Fate, Attributes, Vec<Conflict>) {
    let mut letters = values.chars();
    let mut next = || letters.next().unwrap();
    let (base, directory, iam) = (attributes(next()), attributes(next()), attributes(next()));
    let paths = [AttributePath::display_name()].into();
    let known = Known {
        policy,
        paths: &paths,
        base: &base,
        directory: &directory,
        earlier,
    };
    let merged = known.merge(&iam, time(9));
    let mut wanted = directory.clone();
    withhold(&mut wanted, &merged);
    let sends = wanted != merged.base;
    let fate = match merged.conflicts.as_slice() {
        [] if sends => Fate::Sent,
        [] => Fate::Nothing,
        [conflict] => {
            assert!(
                !sends,
                "{values} {policy:?}: what is in conflict is not sent"
            );
            assert_eq!(merged.base, base, "{values} {policy:?}");
            assert_eq!(conflict.iam, iam.values().next().cloned());
            match &conflict.taken {
                None => Fate::Waits,
                Some(taken) => {
                    assert_eq!(taken.side, Side::Local, "{values} {policy:?}");
                    Fate::Kept
                }
            }
        }
        more => panic!("{more:?}"),
    };
    if fate == Fate::Sent {
        assert_eq!(
            merged.base, iam,
            "{values} {policy:?}: the request is made for what is there"
        );
    }
    (fate, merged.base, merged.conflicts)
}

#[test]
fn every_way_to_differ_has_its_fate_under_every_policy() {
    use Fate::{Kept, Nothing, Sent, Waits};
    // Base, directory, target.
    let table = [
        ("aaa", Difference::None, [Nothing, Nothing, Nothing]),
        ("---", Difference::None, [Nothing, Nothing, Nothing]),
        ("abb", Difference::None, [Nothing, Nothing, Nothing]),
        ("-bb", Difference::None, [Nothing, Nothing, Nothing]),
        ("a--", Difference::None, [Nothing, Nothing, Nothing]),
        ("aba", Difference::InDirectory, [Sent, Sent, Sent]),
        ("-b-", Difference::InDirectory, [Sent, Sent, Sent]),
        ("a-a", Difference::InDirectory, [Sent, Sent, Sent]),
        ("aab", Difference::InIam, [Sent, Kept, Waits]),
        ("aa-", Difference::InIam, [Sent, Kept, Waits]),
        ("--b", Difference::InIam, [Sent, Kept, Waits]),
        ("abc", Difference::InBoth, [Sent, Kept, Waits]),
        ("-bc", Difference::InBoth, [Sent, Kept, Waits]),
        ("a-c", Difference::InBoth, [Sent, Kept, Waits]),
        ("ab-", Difference::InBoth, [Sent, Kept, Waits]),
    ];
    for (values, how, fates) in table {
        let mut letters = values.chars().map(value);
        let mut next = || letters.next().unwrap();
        let (base, directory, iam) = (next(), next(), next());
        let found = difference(base.as_ref(), directory.as_ref(), iam.as_ref());
        assert_eq!(found, how, "{values}");
        for (policy, expected) in POLICIES.into_iter().zip(fates) {
            let (found, _, _) = fate(policy, values, &[]);
            assert_eq!(found, expected, "{values} {policy:?}");
        }
    }
}

/// What is remembered of `values` once somebody took a side.
fn decided(values: &str, side: Side) -> Vec<Conflict> {
    let (_, _, mut conflicts) = fate(ManualReview, values, &[]);
    for conflict in &mut conflicts {
        conflict.taken = Some(Taken {
            side,
            at: time(3),
            by: Some("ann".to_owned()),
        });
    }
    assert_eq!(conflicts.len(), 1);
    conflicts
}

#[test]
fn a_decision_holds_for_what_was_shown_and_a_kept_value_until_the_directory_has_a_new_one() {
    use Fate::{Kept, Nothing, Sent, Waits};
    use Side::{Directory, Local};
    // What was decided on, the side, what is met now, and its fate under local_wins and manual_review.
    for (shown, side, now, fates) in [
        ("abc", Directory, "abc", [Sent, Sent]),
        ("aac", Directory, "aac", [Sent, Sent]),
        ("ab-", Directory, "ab-", [Sent, Sent]),
        ("abc", Local, "abc", [Kept, Kept]),
        ("aac", Local, "aac", [Kept, Kept]),
        ("aa-", Local, "aa-", [Kept, Kept]),
        // The target's value changed once more.
        ("abc", Directory, "abd", [Kept, Waits]),
        ("abc", Local, "abd", [Kept, Kept]),
        ("aac", Local, "aad", [Kept, Kept]),
        // The directory has a new value, or its old one again: it is asked again.
        ("abc", Local, "adc", [Kept, Waits]),
        ("aac", Local, "adc", [Kept, Waits]),
        ("abc", Local, "aac", [Kept, Waits]),
        ("abc", Directory, "adc", [Kept, Waits]),
        // It solved itself.
        ("abc", Local, "abb", [Nothing, Nothing]),
        ("abc", Local, "aba", [Sent, Sent]),
        ("abc", Directory, "acc", [Nothing, Nothing]),
    ] {
        for (policy, expected) in [LocalWins, ManualReview].into_iter().zip(fates) {
            let (found, _, _) = fate(policy, now, &decided(shown, side));
            assert_eq!(found, expected, "{shown} {side:?} {now} {policy:?}");
        }
        assert!(matches!(
            fate(DirectoryWins, now, &decided(shown, side)).0,
            Sent | Nothing
        ));
    }
}

#[test]
fn what_waits_or_was_kept_is_not_looked_at_again_until_the_directory_changes() {
    let paths = [AttributePath::display_name()].into();
    let looks = |policy, base, directory, earlier: &[Conflict]| {
        let (base, directory) = (attributes(base), attributes(directory));
        let known = Known {
            policy,
            paths: &paths,
            base: &base,
            directory: &directory,
            earlier,
        };
        (known.needs_look(), known.remembered(time(9)))
    };
    for policy in [LocalWins, ManualReview] {
        assert!(!looks(policy, 'a', 'a', &[]).0);
        assert!(looks(policy, 'a', 'b', &[]).0);
        assert!(looks(policy, '-', 'b', &[]).0);
        for shown in ["abc", "aac", "a-c"] {
            let (_, _, earlier) = fate(policy, shown, &[]);
            let mut letters = shown.chars();
            let (base, directory) = (letters.next().unwrap(), letters.next().unwrap());
            let (look, remembered) = looks(policy, base, directory, &earlier);
            assert!(!look, "{shown}");
            assert_eq!(remembered.conflicts, earlier, "{shown}: nothing to write");
            // A new value, and whatever the target acknowledged meanwhile.
            assert!(looks(policy, base, 'd', &earlier).0, "{shown}");
            assert!(looks(policy, 'e', directory, &earlier).0, "{shown}");
            assert!(looks(policy, 'e', 'd', &earlier).1.conflicts.is_empty());
            let kept = decided(shown, Side::Local);
            assert!(!looks(policy, base, directory, &kept).0, "{shown}");
            let sent = decided(shown, Side::Directory);
            assert!(looks(policy, base, directory, &sent).0, "{shown}");
        }
    }
    // What the policy took is asked anew under another one, what a person took is not.
    let (_, _, by_policy) = fate(LocalWins, "abc", &[]);
    let (look, now) = looks(ManualReview, 'a', 'b', &by_policy);
    assert!(!look && now.conflicts[0].is_open());
    let (_, now) = looks(LocalWins, 'a', 'b', &now.conflicts);
    assert_eq!(now.conflicts[0].taken.as_ref().unwrap().side, Side::Local);
    let by_person = decided("abc", Side::Local);
    assert_eq!(
        looks(ManualReview, 'a', 'b', &by_person).1.conflicts,
        by_person
    );
}

#[test]
fn attributes_that_are_not_under_the_policy_are_left_alone_and_forgotten() {
    let (_, _, earlier) = fate(ManualReview, "abc", &[]);
    let (base, directory) = (attributes('a'), attributes('b'));
    let known = Known {
        policy: ManualReview,
        paths: &BTreeSet::new(),
        base: &base,
        directory: &directory,
        earlier: &earlier,
    };
    assert!(!known.needs_look());
    let merged = known.merge(&attributes('c'), time(9));
    assert_eq!((merged.base, merged.conflicts), (base.clone(), Vec::new()));
    assert!(known.remembered(time(9)).conflicts.is_empty());
}

#[test]
fn once_the_directory_wins_again_what_the_target_holds_counts_as_acknowledged() {
    let (_, _, earlier) = fate(LocalWins, "aac", &[]);
    assert_eq!(given_up(&attributes('a'), &earlier), attributes('c'));
    let (_, _, earlier) = fate(LocalWins, "aa-", &[]);
    assert_eq!(given_up(&attributes('a'), &earlier), attributes('-'));
    // Something else was acknowledged meanwhile.
    assert_eq!(given_up(&attributes('d'), &earlier), attributes('d'));
}
