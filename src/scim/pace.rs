//! How often a target may be asked: a limit for each kind of request, and by what a target says that it was too often.

use serde::{Deserialize, Serialize};

/// The most requests that one limit names.
pub const REQUESTS_MAX: u32 = 100_000;
/// The longest time that one limit is about, in seconds.
pub const SECONDS_MAX: u32 = 3_600;

/// The share of a limit's requests that may leave at once unless the limit says more, so that timers of a millisecond do
/// not cost throughput.
const BURST_DIVISOR: u32 = 50;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Read,
    /// POST.
    Create,
    /// PATCH and PUT.
    Update,
    /// DELETE.
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];
}

/// At most so many requests in any window of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Rate {
    requests: u32,
    seconds: u32,
    burst: Option<u32>,
}

impl Rate {
    /// A limit of `requests` in any `seconds`, of which `burst` may leave at once after a rest.
    ///
    /// # Errors
    /// In words, when a number is out of range, or the burst is more than a window may hold.
    pub fn new(requests: u32, seconds: u32, burst: Option<u32>) -> Result<Self, String> {
        if !(1..=REQUESTS_MAX).contains(&requests) {
            return Err(format!(
                "is {requests} requests, but must lie between 1 and {REQUESTS_MAX}"
            ));
        }
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(format!(
                "is {seconds} seconds, but must lie between 1 and {SECONDS_MAX}"
            ));
        }
        match burst {
            Some(burst) if !(1..=requests).contains(&burst) => Err(format!(
                "has a burst of {burst}, but must have one between 1 and its {requests} requests: no window may hold more"
            )),
            _ => Ok(Self {
                requests,
                seconds,
                burst,
            }),
        }
    }

    /// Most requests in a window.
    pub fn requests(self) -> u32 {
        self.requests
    }

    /// The length of a window in seconds.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// How many requests may leave at once after a rest; the others of a window follow evenly spaced.
    pub fn burst(self) -> u32 {
        self.burst
            .unwrap_or(1 + self.requests / BURST_DIVISOR)
            .min(self.requests)
    }
}

/// How a limit is written: a number of requests for each second, or all that it consists of.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Table(Table),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    requests: u32,
    #[serde(default = "one")]
    seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

fn one() -> u32 {
    1
}

impl From<Rate> for Written {
    fn from(rate: Rate) -> Self {
        let Rate {
            requests,
            seconds,
            burst,
        } = rate;
        match (seconds, burst) {
            (1, None) => Self::Number(requests),
            _ => Self::Table(Table {
                requests,
                seconds,
                burst,
            }),
        }
    }
}

impl TryFrom<Written> for Rate {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(requests) => Self::new(requests, 1, None),
            Written::Table(table) => Self::new(table.requests, table.seconds, table.burst),
        }
    }
}

/// The limits of single kinds of requests, beside that of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rates {
    /// Of GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Rate>,
    /// Of POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Rate>,
    /// Of PATCH and PUT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Rate>,
    /// Of DELETE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Rate>,
}

impl Rates {
    /// The limit of one kind, where there is one.
    pub fn of(&self, verb: Verb) -> Option<Rate> {
        match verb {
            Verb::Read => self.read,
            Verb::Create => self.create,
            Verb::Update => self.update,
            Verb::Delete => self.delete,
        }
    }
}

/// An answer by which a target says "too many requests" in another way than by 429: a status, with a text in the body.
/// Such a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttling {
    /// The status, 400 to 599.
    pub status: u16,
    /// What the body contains, as it is written there.
    pub text: String,
}

impl Throttling {
    /// Whether an answer is one of these.
    pub fn fits(&self, status: u16, body: &str) -> bool {
        self.status == status && body.contains(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, from_value, json, to_value};

    #[test]
    fn limits_are_numbers_or_tables_and_come_back_as_they_were_written() {
        let written = json!({
            "read": 50, "create": { "requests": 180, "seconds": 60, "burst": 20 },
            "update": { "requests": 5, "seconds": 30 },
        });
        let rates: Rates = from_value(written.clone()).unwrap();
        assert_eq!(to_value(rates).unwrap(), written);
        assert_eq!(rates.of(Verb::Read), Some(Rate::new(50, 1, None).unwrap()));
        let create = rates.of(Verb::Create).unwrap();
        assert_eq!(
            (create.requests(), create.seconds(), create.burst()),
            (180, 60, 20)
        );
        assert_eq!(rates.of(Verb::Update).unwrap().burst(), 1);
        assert_eq!(rates.of(Verb::Delete), None);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let wrong: [Value; 8] = [
            json!(0),
            json!(100_001),
            json!(-1),
            json!({}),
            json!({ "requests": 5, "seconds": 0 }),
            json!({ "requests": 5, "seconds": 3_601 }),
            json!({ "requests": 5, "burst": 6 }),
            json!({ "requests": 5, "perHour": 1 }),
        ];
        for wrong in wrong {
            assert!(from_value::<Rate>(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(from_value::<Rates>(json!({ "write": 1 })).is_err());
    }
}
