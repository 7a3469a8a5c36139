//! The targets, by what they decode.

pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod objects;
pub(crate) mod packs;
pub(crate) mod sessions;
pub(crate) mod snapshots;
pub(crate) mod text;
pub(crate) mod trees;
