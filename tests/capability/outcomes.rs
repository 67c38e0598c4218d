//! Whatever a target answers, or does not, nothing is doubled, nothing is lost, and nobody waits for somebody else.

mod answers;
mod conflicts;
mod in_doubt;
mod large_groups;
mod memberships;
mod mixed;
mod no_scim;
mod order;
mod swaps;
mod vanished;

use serde_json::Value;

use crate::support::fault_target::FaultTarget;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::writes;

/// A small company: six people, no groups.
fn six() -> Slapd {
    Slapd::with(&World::new(11, 6, 0).ldif())
}

/// Where the person of that number is.
fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// Changes the mail address of the person of that number.
fn change_mail(slapd: &Slapd, number: usize, mail: &str) {
    slapd.modify(&change_mail_ldif(number, mail));
}

/// The same as a text, for many at once.
pub(crate) fn change_mail_ldif(number: usize, mail: &str) -> String {
    format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: {mail}\n",
        dn(number)
    )
}

/// Disables the account of the person of that number.
pub(crate) fn disable(slapd: &Slapd, number: usize) {
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n",
        dn(number)
    ));
}

/// How many creations took effect below an endpoint.
pub(crate) fn created(target: &FaultTarget, endpoint: &str) -> usize {
    let writes = writes(target).into_iter();
    writes
        .filter(|write| write.call.method == "POST" && write.call.path == endpoint)
        .count()
}

/// The target's user for the person of that number.
fn user(target: &FaultTarget, number: usize) -> Value {
    target
        .target()
        .user_named(&format!("u{number:07}"))
        .unwrap()
}
