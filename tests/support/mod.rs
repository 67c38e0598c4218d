//! The servers that tests talk to.
pub mod fault_target;
