#![doc = include_str!("ARCHITECTURE.md")]
#![cfg_attr(
    test,
    allow(clippy::too_many_lines, reason = "tables of cases are long")
)]

pub mod access;
pub mod admin;
pub mod app;
pub mod audit;
pub mod canary;
pub mod catalog;

pub mod cli;
pub mod config;
pub mod demo;
pub mod directory;
pub mod document;
pub mod fault;
pub mod id;
pub mod identity;
pub mod job;
pub mod mapping;
pub mod plan;
pub mod provider;
pub mod scheduler;
pub mod scim;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod vault;
