//! SCIM attribute paths and filters (RFC 7644): what is read is written so that it reads as the same, and no value closes a
//! filter.
#![no_main]

use scim_relay::scim::filter;
use scim_relay::scim::path::{AttributePath, Elements};
use scim_v2::filter::Filter;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let read: [Option<AttributePath>; 2] = [text.parse().ok(), AttributePath::from_rule(text).ok()];
    for path in read.into_iter().flatten() {
        let written = path.to_string();
        assert_eq!(written.parse().as_ref(), Ok(&path), "{written}");
        assert!(path.shares_element(&path) || path.element.is_none());
    }
    let _ = text.parse::<Elements>();
    let _ = text.parse::<Filter>();
    let equal = filter::eq("userName", text);
    assert!(equal.parse::<Filter>().is_ok(), "{equal}");
});
