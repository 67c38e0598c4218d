//! The configuration file: every text is a configuration or a list of mistakes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = scim_relay::config::parse(text, |_| None) {
        assert!(!problems.0.is_empty());
        problems
            .0
            .iter()
            .for_each(|problem| drop(problem.to_string()));
    }
});
