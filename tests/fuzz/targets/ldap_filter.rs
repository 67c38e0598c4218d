//! An LDAP filter (RFC 4515): what is read is written so that it reads as the same.
#![no_main]

use scim_relay::identity::filter::within_limits;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = within_limits(text);
    scim_relay::source::fuzzing::filter(text);
});
