//! End-to-end tests, in one program so that linking happens once.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod harness;
mod import_rules;
