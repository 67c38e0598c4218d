//! scim-relay.
