//! The pace that a tenant allows: limits of all requests together and of single kinds, and what throttling looks like.

use crate::document::{Fields, Node, Problems, Value};
use crate::scim::pace::{REQUESTS_MAX, Rate, Rates, SECONDS_MAX, Throttling};

/// The limit of all requests together.
pub(super) fn read_rate(
    fields: &mut Fields<'_>,
    usual: i64,
    problems: &mut Problems,
) -> Option<Rate> {
    let most = i64::from(REQUESTS_MAX);
    let requests = fields.integer("rateLimit", usual, 1..=most, problems);
    let burst = read_burst(fields, "rateBurst", requests, problems);
    Rate::new(u32::try_from(requests).ok()?, 1, burst).ok()
}

/// The limits of single kinds of requests, over the usual ones.
pub(super) fn read_rates(mut fields: Fields<'_>, usual: Rates, problems: &mut Problems) -> Rates {
    let mut rate = |name| {
        let pointer = fields.pointer_of(name);
        let node = fields.node(name)?;
        read_single(node, &pointer, problems)
    };
    let rates = Rates {
        read: rate("read").or(usual.read),
        create: rate("create").or(usual.create),
        update: rate("update").or(usual.update),
        delete: rate("delete").or(usual.delete),
    };
    fields.finish(problems);
    rates
}

/// A number of requests for each second, or a table.
fn read_single(node: &Node, pointer: &str, problems: &mut Problems) -> Option<Rate> {
    let rate = match &node.value {
        Value::Integer(requests) => {
            Rate::new(u32::try_from(*requests).unwrap_or(0), 1, None)
        }
        Value::Table(_) => {
            let mut fields = Fields::of(node, pointer, problems);
            if !fields.has("requests") {
                problems.add(node.line, pointer, "lacks `requests`: how many a window may hold");
            }
            let most = i64::from(REQUESTS_MAX);
            let requests = fields.integer("requests", most, 1..=most, problems);
            let seconds = fields.integer("seconds", 1, 1..=i64::from(SECONDS_MAX), problems);
            let burst = read_burst(&mut fields, "burst", requests, problems);
            fields.finish(problems);
            Rate::new(
                u32::try_from(requests).ok()?,
                u32::try_from(seconds).ok()?,
                burst,
            )
        }
        _ => Err("must be a number of requests for each second, or a table: { requests = 180, seconds = 60, burst = 20 }".to_owned()),
    };
    rate.map_err(|wrong| problems.add(node.line, pointer, wrong))
        .ok()
}

fn read_burst(
    fields: &mut Fields<'_>,
    name: &'static str,
    requests: i64,
    problems: &mut Problems,
) -> Option<u32> {
    let is_there = fields.has(name);
    let burst = fields.integer(name, 1, 1..=i64::from(REQUESTS_MAX), problems);
    if burst > requests {
        let message = format!(
            "is {burst}, but a window may not hold more than {requests} requests: no burst can be larger"
        );
        fields.refuse(name, message, problems);
        return None;
    }
    u32::try_from(burst).ok().filter(|_| is_there)
}

/// What says "too many requests" besides 429 and 503.
pub(super) fn read_throttling(
    fields: &mut Fields<'_>,
    usual: Vec<Throttling>,
    problems: &mut Problems,
) -> Vec<Throttling> {
    if !fields.has("throttling") {
        return usual;
    }
    let mut read = Vec::new();
    for (pointer, node) in fields.tables("throttling", problems) {
        let mut fields = Fields::of(node, &pointer, problems);
        let status = fields.integer("status", 429, 400..=599, problems);
        let what = "a text that only the answers to too many requests contain";
        let text = fields.required_text("text", what, problems);
        fields.finish(problems);
        read.extend(
            u16::try_from(status)
                .ok()
                .zip(text)
                .map(|(status, text)| Throttling {
                    status,
                    text: text.to_owned(),
                }),
        );
    }
    read
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read(document: serde_json::Value) -> Result<(Option<Rate>, Rates), Vec<String>> {
        let node = Node::of_json(document);
        let mut problems = Problems::default();
        let mut fields = Fields::of(&node, "", &mut problems);
        let rate = read_rate(&mut fields, 20, &mut problems);
        let table = fields.table("rateLimits", &mut problems);
        let rates = read_rates(table, Rates::default(), &mut problems);
        fields.finish(&mut problems);
        if problems.0.is_empty() {
            return Ok((rate, rates));
        }
        Err(problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn limits_have_a_burst_and_a_window_of_their_own() {
        let (rate, rates) = read(json!({
            "rateLimit": 100, "rateBurst": 40,
            "rateLimits": { "create": 3, "update": { "requests": 180, "seconds": 60, "burst": 20 } },
        }))
        .unwrap();
        assert_eq!(rate, Rate::new(100, 1, Some(40)).ok());
        assert_eq!(rates.create, Rate::new(3, 1, None).ok());
        assert_eq!(rates.update, Rate::new(180, 60, Some(20)).ok());
        assert_eq!((rates.read, rates.delete), (None, None));
        assert_eq!(read(json!({})).unwrap().0, Rate::new(20, 1, None).ok());
    }

    #[test]
    fn limits_that_contradict_themselves_are_refused_at_their_place() {
        for (document, place, words) in [
            (json!({ "rateBurst": 21 }), "rateBurst", "more than 20"),
            (
                json!({ "rateLimits": { "create": 0 } }),
                "rateLimits.create",
                "between 1 and",
            ),
            (
                json!({ "rateLimits": { "create": -1 } }),
                "rateLimits.create",
                "between 1 and",
            ),
            (
                json!({ "rateLimits": { "create": "3" } }),
                "rateLimits.create",
                "must be a number",
            ),
            (
                json!({ "rateLimits": { "create": {} } }),
                "rateLimits.create",
                "lacks `requests`",
            ),
            (
                json!({ "rateLimits": { "read": { "requests": 5, "burst": 6 } } }),
                "rateLimits.read.burst",
                "more than 5",
            ),
            (
                json!({ "rateLimits": { "write": 5 } }),
                "rateLimits.write",
                "not a known key",
            ),
        ] {
            let problems = read(document.clone()).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            let (at, message) = problems[0].split_once(": ").unwrap();
            assert_eq!(at, place, "{document}");
            assert!(message.contains(words), "{message}");
        }
    }
}
