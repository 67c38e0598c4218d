#![doc = include_str!("ARCHITECTURE.md")]

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
pub mod scim;
pub mod secret;
pub mod snapshot;
pub mod store;
pub mod telemetry;
