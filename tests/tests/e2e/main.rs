//! End-to-end tests, in one program so that linking happens once.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod codes;
mod collection;
mod damage;
mod examples;
mod full_disk;
mod golden;
mod harness;
mod import_rules;
mod incremental;
mod interrupts;
mod locks;
mod output;
mod over_s3;
mod pins;
mod proof;
mod quickstart;
mod replicas;
mod resume;
mod roles;
mod roundtrip;
mod scale;
mod selection;
mod single_writer;
mod together;
