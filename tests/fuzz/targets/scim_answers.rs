//! An answer of a SCIM target: a status, then a body that is a list, an error, a resource, or anything else.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let statuses = [
        200, 201, 202, 204, 301, 400, 404, 409, 410, 413, 429, 500, 503,
    ];
    let status = statuses[usize::from(*first) % statuses.len()];
    scim_relay::provider::fuzzing::answer(status, body);
});
