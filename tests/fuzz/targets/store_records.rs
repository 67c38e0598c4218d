//! Records and keys of the store: any bytes are a record or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scim_relay::store::fuzzing::records(bytes));
