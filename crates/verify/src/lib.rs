//! How it is proven: a live tree held against a snapshot, a vault checked against itself, samples and their bounds.
//!
//! This crate shares the vault's format with the writer and nothing else: it reads live trees with code of its own,
//! so that a fault of the writer is seen by the checker instead of being repeated by it.
//!
//! | module | holds |
//! |---|---|
//! | [`live`] | reads a live tree as a stream of entries in path order, digests included |
//! | [`compare`] | holds two such streams against each other; pure |
//! | [`sampling`] | which objects to sample, and what a clean sample proves; pure |
//! | [`check`] | checks a vault against itself, at three depths |

pub mod check;
pub mod compare;
pub mod live;
pub mod sampling;
