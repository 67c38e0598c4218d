//! scim-relay.
pub mod demo;
