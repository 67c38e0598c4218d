//! Whatever a target answers, or does not, nothing is doubled, nothing is lost, and nobody waits for somebody else.
//!
//! Each hazard of a target, and the tests that would fail without what the relay does about it. `unit` stands for
//! `src/provider/http/tests` and its neighbours; where no module is named it is a neighbour of this file, by its last words.
//!
//! | hazard | tests |
//! |---|---|
//! | H40 outcome of a create unknown | `target_faults` (10,000 cases), `answers::a_creation_with_an_unclear_answer_is_made_once`, `answers::a_group_whose_creation_cannot_be_looked_at_is_not_made_again`, `large_groups::a_large_creation_that_is_not_answered…`, `in_doubt`, `mixed`, `kill_loop`, unit `a_create_whose_outcome_is_unclear_is_sent_once` |
//! | H41 409 on a create | `conflicts` (nine shapes: ours, somebody else's, free again) |
//! | H42 eventually consistent | `answers::a_creation_that_shows_late_in_look_ups_is_waited_for`, `lag::target_whose_index_lags_for_longer_than_a_run_gets_nobody_twice`, `lag::target_that_knows_new_users_late_gets_them_as_members_in_the_same_run` |
//! | H43 404 on a linked id | `vanished` (update, replaced, deactivation, groups), `another_target::target_that_lost_a_few_of_many…`, unit `what_is_gone_is_said_to_be_gone_with_conditions_too` |
//! | H44 changed out of band | `linking::a_reconciling_run_brings_mapped_values_back…`, `linking::drift` |
//! | H45 429, 503 | `answers::a_target_that_says_how_long_to_wait…`, `target_throttling`, `target_faults`, unit `ten_thousand_pauses_are_all_kept` |
//! | H46 failing at large | `breaker` (each update refused, gone in the middle), `order::a_user_whose_change_is_refused_blocks_nobody…`, `backoff`, unit `sync::breaker`, `plan::backoff` |
//! | H47 token refused in the middle | `order::a_token_that_is_refused_in_the_middle…`, `target_authentication::target_tokens_are_fetched_with_a_key_and_a_refused_one_is_renewed_once`, unit `a_token_that_is_refused_is_renewed_once_for_all…` |
//! | H48 another tenant | `another_target::target_without_what_is_linked…`, `another_target::target_with_strangers_under_our_ids…`; another address: `bad_input::target::bad_input_scim_url_not_found`, `bad_input_scim_server_unreachable` |
//! | H49 lists cut short | `linking::drift::a_list_of_the_target_that_is_cut_short…`, `…whose_pages_overlap…`, unit `lists_are_read_to_the_end…`, `cursors_are_followed…` |
//! | H50 what is not ours | `truth::assert_settled` asks it of every request in every story (`Exchange::strangers`); `linking::the_same_name_with_another_external_id_is_never_linked` |
//! | H51 protected accounts | `linking::protected` |
//! | H52 taken and not kept | `unkept`, `answers::an_update_that_was_acknowledged_and_not_carried_out…`, unit `sync::repairs`; no second run writes: `truth::assert_settled` |
//! | H53 202 | `no_scim`, `answers::a_creation_with_an_unclear_answer…`; no request says `Prefer`: `truth::assert_only_ours` |
//! | H54 redirects | unit `target_redirects_are_followed_on_no_method…` (five statuses, each request), `no_scim`, `answers::a_login_page_or_a_redirection…` |
//! | H55 no SCIM in a 200 | `no_scim`, `answers::a_login_page…`, unit `an_answer_that_is_no_list_is_no_evidence_of_absence`, `every_shape_of_answer_has_its_outcome` |
//! | H56 order | `order::leavers_go_first_and_references_after_what_they_name` |
//! | H57 taking back a mistake | not there yet |

mod another_target;
mod answers;
mod backoff;
mod breaker;
mod conflicts;
mod in_doubt;
mod lag;
mod large_groups;
mod memberships;
mod mixed;
mod no_scim;
mod order;
mod swaps;
mod unkept;
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
