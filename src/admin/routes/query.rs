//! What a list is asked for: its limit, its cursor and its filters, each checked; a parameter that is not known is
//! refused, because a filter that does nothing would show what nobody asked for.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::admin::problem::Problem;

/// Rows that a list gives unless asked otherwise, and the most that it gives.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// The longest filter text, in bytes.
const TEXT_MAX: usize = 256;

/// The parameters of a request for a list.
pub(super) struct Asked(HashMap<String, String>);

impl Asked {
    /// Takes parameters; besides these filters there are `limit` and `cursor`.
    pub(super) fn of(query: HashMap<String, String>, filters: &[&str]) -> Result<Self, Problem> {
        let known = |name: &str| ["limit", "cursor"].contains(&name) || filters.contains(&name);
        for (name, value) in &query {
            if !known(name) {
                let all = [&["limit", "cursor"], filters].concat().join(", ");
                let name = name.escape_debug();
                return Err(Problem::malformed(format!(
                    "there is no parameter {name} here; there are {all}"
                )));
            }
            if value.is_empty() || value.len() > TEXT_MAX {
                return Err(Problem::malformed(format!(
                    "{name} must have 1 to {TEXT_MAX} characters; leave it out where it does not matter"
                )));
            }
        }
        Ok(Self(query))
    }

    /// How many rows.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.0.get("limit").map(|limit| limit.parse()) {
            None => Ok(LIMIT),
            Some(Ok(limit @ 1..=LIMIT_MAX)) => Ok(limit),
            Some(_) => Err(Problem::malformed(format!(
                "limit must be a whole number from 1 to {LIMIT_MAX}"
            ))),
        }
    }

    /// Where an earlier answer ended.
    pub(super) fn cursor<T>(&self, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.get("cursor") else {
            return Ok(None);
        };
        read(text)
            .map(Some)
            .ok_or_else(|| Problem::malformed("cursor must be the nextCursor of an earlier answer"))
    }

    /// Free text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// A time.
    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let time = self.0.get(name).map(|text| text.parse());
        time.transpose().map_err(|_| {
            Problem::malformed(format!(
                "{name} must be a time such as 2026-11-21T09:30:00Z (write a + of an offset as %2B)"
            ))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let flag = self.0.get(name).map(|text| text.parse());
        flag.transpose()
            .map_err(|_| Problem::malformed(format!("{name} must be true or false")))
    }

    /// One of these, by the word that the API has for it.
    pub(super) fn word<T: Serialize + Copy>(
        &self,
        name: &str,
        all: &[T],
    ) -> Result<Option<T>, Problem> {
        let Some(asked) = self.0.get(name) else {
            return Ok(None);
        };
        let word = |value: &T| match serde_json::to_value(value) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        };
        let found = all.iter().find(|value| word(value) == *asked);
        found.copied().map(Some).ok_or_else(|| {
            let all: Vec<String> = all.iter().map(word).collect();
            Problem::malformed(format!("{name} must be one of {}", all.join(", ")))
        })
    }
}
