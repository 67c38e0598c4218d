//! The provider against a server that answers as told and remembers what it was asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authentication;
mod bulk;
mod conditions;
mod dialects;
mod lookups;
mod outcomes;
mod politeness;
pub(super) mod target;
mod tls;
