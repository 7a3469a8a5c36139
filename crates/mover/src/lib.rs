//! How data moves: sources, chunking, the pipeline, restore.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the walk over a file tree, files as they are read, a command's output |
//! | [`chunker`] | where files are cut (pure) |
//! | [`backup`] | from a source to a snapshot |
//! | [`ingest`] | new chunks on their way into packs |
//! | [`restore`] | from a snapshot back to files |
//!
//! The only writer of packs; the verifier must never depend on this crate.

pub mod backup;
pub mod chunker;
pub mod ingest;
mod lane;
pub mod restore;
pub mod source;
pub mod survey;
