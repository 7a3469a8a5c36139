//! How data moves: sources, chunking, the pipeline, restore.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the walk over a file tree, files as they are read, a command's output |
//! | [`chunker`] | where files are cut (pure) |
//! | [`budget`] | how much memory what may use (pure) |
//! | [`backup`] | from a source to a snapshot |
//! | [`ingest`] | new chunks on their way into packs |
//! | [`presence`] | whether what earlier sessions stored is where the logs say |
//! | [`fanout`] | packs on their way to each replica |
//! | [`restore`] | from a snapshot back to files |
//!
//! # What a backup holds in memory
//!
//! Everything large has a share of one budget: see [`budget`], and the table in `ARCHITECTURE.md`.
//!
//! Three things grow with the source, and no bound is kept on them yet: 21 bytes for each chunk stored by *this* run in
//! a table that is between 44 % and 88 % full, and half as much again while it doubles (a million new chunks: 44 MiB);
//! 1.5 bytes for each chunk of the vault (the index's filter); and the entry of each hard-link group whose last name was
//! not met yet.
//!
//! The only writer of packs; the verifier must never depend on this crate.

pub mod backup;
mod batch;
pub mod budget;
pub mod chunker;
pub mod fanout;
pub mod ingest;
mod lane;
pub mod presence;
pub mod restore;
pub mod source;
pub mod survey;
