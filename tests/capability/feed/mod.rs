//! Change feeds: every rung of the ladder gives what a full scan gives, and what a feed loses is found by one.

mod falling_back;
mod faults;
pub mod site;
mod story;
mod watch;
