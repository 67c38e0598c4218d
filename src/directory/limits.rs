//! The limits of the guard, as they are written.

use crate::document::{Fields, Problems};
use crate::plan::guard::Limits;

/// Reads the table `guard` of a profile.
pub(super) fn limits(mut fields: Fields<'_>, problems: &mut Problems) -> Limits {
    let usual = Limits::default();
    let mut number = |name, usual: u64, most: i64| {
        let usual = i64::try_from(usual).unwrap_or(most);
        u64::try_from(fields.integer(name, usual, 0..=most, problems)).unwrap_or_default()
    };
    let limits = Limits {
        deactivations: number("deactivations", usual.deactivations, 10_000_000),
        deactivations_percent: number("deactivationsPercent", usual.deactivations_percent, 100),
        deactivations_most: number("deactivationsMost", usual.deactivations_most, 10_000_000),
        groups_emptied: number("groupsEmptied", usual.groups_emptied, 10_000_000),
        groups_emptied_percent: number("groupsEmptiedPercent", usual.groups_emptied_percent, 100),
        group_members_removed: number(
            "groupMembersRemoved",
            usual.group_members_removed,
            10_000_000,
        ),
        group_members_removed_percent: number(
            "groupMembersRemovedPercent",
            usual.group_members_removed_percent,
            100,
        ),
        members_removed: number("membersRemoved", usual.members_removed, 10_000_000),
        members_removed_percent: number(
            "membersRemovedPercent",
            usual.members_removed_percent,
            100,
        ),
        creations: number("creations", usual.creations, 10_000_000),
        creations_percent: number("creationsPercent", usual.creations_percent, 100),
        attribute_changes: number("attributeChanges", usual.attribute_changes, 10_000_000),
        attribute_changes_percent: number(
            "attributeChangesPercent",
            usual.attribute_changes_percent,
            100,
        ),
        plausible_percent: number("plausiblePercent", usual.plausible_percent, 100),
        found_percent: number("foundPercent", usual.found_percent, 100),
        hold_all: fields.boolean("holdAll", usual.hold_all, problems),
    };
    fields.finish(problems);
    limits
}
