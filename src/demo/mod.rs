//! The two counterparts that the `demo` command brings along, so that it needs nothing installed: a directory and a target.
pub mod directory;
pub mod story;
pub mod target;
