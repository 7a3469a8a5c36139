//! End-to-end tests, in one program so that linking happens once.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod harness;
mod import_rules;
mod roundtrip; mod incremental; mod selection; mod codes; mod roles; mod proof; mod damage; mod full_disk; mod over_s3; mod output; mod scale; mod examples;
