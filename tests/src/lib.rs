//! What the end-to-end tests stand on: the binary as a user runs it, trees with every oddity a file system has,
//! comparison by tools that are not ours, small disks, and two S3 servers.
//!
//! | module | holds |
//! |---|---|
//! | [`tool`] | other people's programs, found or asked for by name |
//! | [`vaultbox`], [`client`] | a vault of one test, and who uses it |
//! | [`binary`], [`invocation`], [`output`] | running `shudao` and reading what it says |
//! | [`oddities`], [`content`] | trees to back up |
//! | [`compare`] | whether two trees are equal, by rsync, find, getfacl, getcap, du and b3sum |
//! | [`disk`] | small file systems that fill up |
//! | [`clock`] | waiting until files have settled |
//! | [`s3`], [`fault`], [`traffic`], [`moto`] | S3 over loopback: one server in this process, which can misbehave and counts, and one of another make |
//!
//! Everything here panics with a sentence when something is missing or wrong: nothing is skipped in silence.

pub mod binary;
pub mod client;
pub mod clock;
pub mod compare;
pub mod content;
pub mod disk;
pub mod fault;
pub mod invocation;
pub mod moto;
pub mod oddities;
pub mod output;
pub mod s3;
pub mod tool;
pub mod traffic;
pub mod vaultbox;
