//! Retry-After (RFC 9110 §10.2.3): how long a target asks to be left alone.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The longest pause that a target may ask for; a longer one is more likely a mistake than a wish.
const LONGEST: Duration = Duration::from_secs(3600);

/// The pause that the answer asks for, at most an hour; `None` where it asks for none, or for something unreadable.
///
/// A date is taken relative to the answer's own Date, so that a wrong clock on either side does not matter.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let wish = text(RETRY_AFTER)?;
    let pause = if !wish.is_empty() && wish.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a long time.
        Duration::from_secs(wish.parse().unwrap_or(u64::MAX))
    } else {
        let from = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let until = httpdate::parse_http_date(wish).ok()?;
        until.duration_since(from.unwrap_or(now)).ok()?
    };
    // "At once" is no answer to "too many": the relay's own pause is taken.
    (!pause.is_zero()).then_some(pause.min(LONGEST))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_are_read_and_garbage_is_not() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        let at_37 = "Sun, 06 Nov 1994 08:49:37 GMT";
        let at_30 = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        for (wish, date, seconds) in [
            ("120", None, Some(120)),
            (" 7 ", None, Some(7)),
            ("3600", None, Some(3600)),
            ("3601", None, Some(3600)),
            ("99999999999999999999999", None, Some(3600)),
            (at_37, None, Some(37)),
            (at_37, at_30, Some(7)),
            (at_37, Some("yesterday"), Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at_30, Some(7)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", at_30, Some(3600)),
            ("Tue, 06 Nov 1984 08:49:37 GMT", at_30, None),
            ("0", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("", None, None),
            ("soon", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, wish.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{wish:?} at {date:?}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
