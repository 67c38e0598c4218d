//! scim-relay: a SCIM 2.0 bridge gateway.

pub mod directory;
pub mod document;
pub mod fault;
pub mod id;
pub mod identity;
pub mod job;
pub mod mapping;
pub mod plan;
pub mod scim;
pub mod secret;
pub mod snapshot;
pub mod telemetry;
