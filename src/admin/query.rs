//! The query of a request: parameters taken one by one; those that a route does not have are refused.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::admin::problem::Problem;

/// How many items a list gives unless asked otherwise.
pub(super) const LIMIT: usize = 50;
/// The longest value, in characters.
pub(super) const VALUE_CHARS_MAX: usize = 1024;
/// How many it gives at the most.
pub(super) const LIMIT_MAX: usize = 200;

/// The parameters of a request.
pub(super) struct Query {
    parameters: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::malformed("the query is not made of name=value pairs"))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs.0 {
            if value.is_empty() || value.chars().count() > VALUE_CHARS_MAX {
                let name = name.escape_debug();
                return Err(Problem::malformed(format!(
                    "{name}: must have 1 to {VALUE_CHARS_MAX} characters; leave it out where it does not matter"
                )));
            }
            if parameters.insert(name.clone(), value).is_some() {
                let name = name.escape_debug();
                return Err(Problem::malformed(format!(
                    "the query names `{name}` twice; name it once"
                )));
            }
        }
        Ok(Self {
            parameters,
            wrong: Vec::new(),
        })
    }
}

impl Query {
    /// A parameter as it is.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.parameters.remove(name)
    }

    /// A parameter that is read further; `expected` says what it must be.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        read(&text)
            .map_err(|error| self.wrong.push(format!("{name}: {error}")))
            .ok()
    }

    /// Where an earlier answer ended.
    pub(super) fn cursor<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.parsed("cursor", |text| {
            read(text).ok_or("must be the nextCursor of an earlier answer")
        })
    }

    /// A time.
    pub(super) fn time(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        self.parsed(name, |text| {
            let cure =
                "must be a time such as 2026-11-21T09:30:00Z (write a + of an offset as %2B)";
            text.parse().map_err(|_| cure)
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parsed(name, |text| {
            text.parse().map_err(|_| "must be true or false")
        })
    }

    /// One of these, by the word that the API has for it.
    pub(super) fn word<T: Serialize + Copy>(&mut self, name: &'static str, all: &[T]) -> Option<T> {
        let word = |value: &T| match serde_json::to_value(value) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        };
        self.parsed(name, |asked| {
            let found = all.iter().find(|value| word(value) == asked);
            found.copied().ok_or_else(|| {
                let all: Vec<String> = all.iter().map(word).collect();
                format!("must be one of {}", all.join(", "))
            })
        })
    }

    /// How many items a list shall give.
    pub(super) fn limit(&mut self) -> usize {
        let asked = self.parsed("limit", |text| match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a whole number from 1 to {LIMIT_MAX}")),
        });
        asked.unwrap_or(LIMIT)
    }

    /// Refuses the request if anything is wrong.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(Problem::malformed(self.wrong.join("; ")))
    }
}

/// Refuses parameters that are not among these.
pub(super) fn only(known: &[&str], address: &Uri) -> Result<(), Problem> {
    let parameters = url::form_urlencoded::parse(address.query().unwrap_or_default().as_bytes());
    let there_are = match known {
        [] => "it has none".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    };
    let wrong: Vec<String> = parameters
        .filter(|(name, _)| !known.contains(&name.as_ref()))
        .map(|(name, _)| {
            let name = name.escape_debug();
            format!("`{name}` is not a parameter of this address; {there_are}")
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Problem::malformed(wrong.join("; ")))
}
