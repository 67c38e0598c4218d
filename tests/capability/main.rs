//! What the product promises, shown with real servers: one file for each promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines
)]

#[path = "../support/mod.rs"]
mod support;

mod active_directory;
mod admin_api;
mod attributes;
mod authorization;
mod bad_input;
mod command_line;
mod conflicts;
mod console;
mod demo;
mod deprovisioning;
mod explain;
mod fault_target;
mod feed;
mod grace;
mod group_names;
mod guard;
mod http2;
mod incidents;
mod incomplete_reads;
mod kill_loop;
mod leavers;
mod linking;
mod main_job;
mod managers;
mod nested_groups;
mod old_store;
mod organizational_units;
mod outcomes;
mod probe;
mod profiles;
mod program;
mod roles;
mod servers;
mod source_ldap;
mod support_itself;
mod sync_only;
mod target;
mod target_authentication;
mod target_bulk;
mod target_faults;
mod target_probe;
mod target_throttling;
mod truth;
