//! What a session has done so far, for a run that goes on from there.
//!
//! Layout and rules: `docs/format/session.md`. A [`Checkpoint`] is signed and sealed like a snapshot, and believed only from
//! the same key or a named predecessor; even then every chunk must be found in a segment before it is relied on. Nothing here
//! reads a clock.

mod adopt;
mod checkpoint;
mod find;
mod partial;
mod shelf;

pub use adopt::Adopted;
pub(crate) use adopt::{Adoption, gather, take};
pub use checkpoint::{Checkpoint, PACKS_MAX, Place, TREES_MAX};
pub use find::{Found, find, put};
pub use partial::{FILES_MAX, HASH_BLOCK_BYTES, HashState, PartialFile, PartialTree};
pub use shelf::{PackMark, SharedShelf, Shelf};

#[cfg(test)]
mod tests;
