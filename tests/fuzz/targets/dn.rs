//! A distinguished name (RFC 4514): parsed, compared, and taken apart.
#![no_main]

use scim_relay::identity::dn::{self, Dn};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(parsed) = text.parse::<Dn>() else {
        return;
    };
    assert!(parsed.is_within(&parsed));
    let above = dn::parent(text).map(str::parse::<Dn>);
    // What is written above a name is what is above it.
    assert_eq!(above.and_then(Result::ok), parsed.above());
    if let Some(above) = parsed.above() {
        assert!(parsed.is_within(&above) && !above.is_within(&parsed));
    }
});
