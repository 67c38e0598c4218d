//! A stream of LDAP messages: framing, BER, search answers, entries and what is made of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scim_relay::source::fuzzing::answers(bytes));
