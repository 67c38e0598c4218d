//! scim-relay: a SCIM 2.0 bridge gateway.

pub mod fault;
pub mod id;
pub mod identity;
pub mod scim;
pub mod secret;
pub mod telemetry;
