//! Cron expressions and intervals: what is taken comes to an end, and later than now.
#![no_main]

use chrono::{DateTime, Utc};
use scim_relay::job::schedule::{CronExpression, Schedule, parse_interval};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let now = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::days(20_000);
    if let Ok(expression) = CronExpression::parse(text) {
        let next = expression.next_after(now);
        assert!(next.is_none_or(|next| next > now), "{next:?}");
        let _ = Schedule::Cron(Box::new(expression)).next_run(None, now);
    }
    if let Ok(interval) = parse_interval(text) {
        assert!(interval > chrono::Duration::zero());
        assert_eq!(
            Schedule::Every(interval).next_run(Some(now), now),
            Some(now + interval)
        );
    }
});
