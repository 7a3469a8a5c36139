//! The engines together, in this process and on a vault in memory: what the binary cannot be asked for, because it
//! would take a liar among the writers, or too long for thousands of edits.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod agreement;
mod bad_lines;
mod generations;
mod growing;
mod liars;
mod locked_vault;
mod object_lock;
mod place;
mod roles;
mod stolen;
