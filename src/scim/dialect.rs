//! How a target wants to be spoken to: differences between vendors are data.

use serde::{Deserialize, Serialize};

/// The manner of one target. The default is RFC 7644 in the manner of the interoperability profile draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dialect {
    /// Most member values in one PATCH operation.
    pub members_per_operation: usize,
    /// Most member values in one PATCH request.
    pub members_per_request: usize,
    /// Most member values in the request that creates a group.
    pub members_per_create: usize,
    /// Whether `members` of a read group are complete, so that they may be compared.
    pub members_readable: bool,
    /// Most resources asked for in one page of a list.
    pub page_resources: usize,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            members_per_operation: 100,
            members_per_request: 1_000,
            // Half of the mebibyte that common gateways let pass, with ids that are UUIDs.
            members_per_create: 10_000,
            members_readable: true,
            page_resources: 100,
        }
    }
}
