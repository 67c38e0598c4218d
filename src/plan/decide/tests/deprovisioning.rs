//! What becomes of the accounts of those who are gone.

use super::*;

#[test]
fn an_account_is_deleted_only_where_the_profile_says_so_and_only_of_who_is_gone() {
    use Deprovisioning::{Both, Deactivate, Delete, Never};
    for (deprovisioning, standing, is_active, active, words) in [
        (Deactivate, ABSENT, true, None, "deactivate:active!"),
        (Deactivate, ABSENT, false, None, ""),
        (Delete, ABSENT, true, None, "delete:delete!"),
        (Delete, ABSENT, false, None, "delete:delete!"),
        (Both, ABSENT, true, None, "deactivate:active delete:delete!"),
        (Both, ABSENT, false, None, "delete:delete!"),
        (Never, ABSENT, true, None, ""),
        (Delete, PRESENT, true, Some(false), "deactivate:active!"),
        (Both, PRESENT, true, Some(false), "deactivate:active!"),
        (Never, PRESENT, true, Some(false), "deactivate:active!"),
    ] {
        let policy = Policy {
            deprovisioning,
            ..policy(false)
        };
        let (row, seen) = row(Kind::User, applied("m", is_active), None, standing);
        let verdict = user(&row, &seen, desired("m", active), &policy);
        assert_eq!(told(&verdict), words, "{deprovisioning:?}");
        let (row, seen) = super::row(Kind::User, None, None, ABSENT);
        let verdict = user(&row, &seen, desired("m", active), &policy);
        assert_eq!(verdict, Verdict::nothing());
    }
}
