//! Collection: what is waste on a replica, and how it goes.
//!
//! ```text
//! listing ─▶ stock ─┐                         fence ─▶ the log
//! log ─▶ roots ─────┼─▶ plan ─▶ shown, or ─▶ delete ─▶ the store
//! trees ─▶ marks ───┘                         sweep, condemn, compact ─▶ the log
//! ```
//!
//! [`reach`] marks what snapshots reach, [`plan`] decides, [`Collector`] does; compactions it does on all replicas at once
//! (`beside`). Everything may stop anywhere: each step is a log entry or a delete that may be repeated, and the next collection
//! plans anew from what is there.

mod beside;
#[cfg(test)]
mod beside_tests;
mod compact;
pub mod plan;
pub mod reach;
mod run;
#[cfg(test)]
pub(crate) mod sample;
pub mod stock;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

pub use plan::{Amount, Plan};
pub use reach::Reached;
pub use run::Collector;

use crate::error::Result;
use crate::id::Timestamp;

/// How a collection is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Microseconds between a condemn and its sweep.
    pub grace_micros: i64,
    /// Microseconds without a sign of life after which a session is taken for dead.
    pub dead_micros: i64,
    /// A pack is compacted when so much of its frames is waste, in percent; none compacts nothing.
    pub waste_percent: Option<u8>,
}

impl Options {
    /// 72 hours of grace, and without a sign of life; packs of which a fifth is waste are compacted.
    pub const DEFAULT: Self = Self {
        grace_micros: 72 * 3600 * 1_000_000,
        dead_micros: 72 * 3600 * 1_000_000,
        waste_percent: Some(20),
    };
}

/// Tells the time. A collection is long, and its entries carry when they were made.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// Counters of a collection that a display may read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Nodes of trees read.
    pub nodes: AtomicU64,
    /// Bytes of packs read in order to be compacted.
    pub bytes_read: AtomicU64,
    /// Objects deleted.
    pub deleted: AtomicU64,
}

impl Progress {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Who watches a collection, and what it is told.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Tells the time.
    pub clock: Clock<'a>,
    /// Counts.
    pub progress: &'a Progress,
    /// Hears of the first plan before anything is done. An error ends the collection; so it can be shown and not done.
    pub planned: &'a (dyn Fn(&Outcome) -> Result<()> + Sync),
    /// Is asked between steps; an error ends the collection.
    pub stop: &'a (dyn Fn() -> Result<()> + Sync),
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sessions fenced.
    pub fenced: u64,
    /// Names condemned, and their bytes.
    pub condemned: Amount,
    /// Names swept, and their bytes: freed as soon as their keys are deleted.
    pub swept: Amount,
    /// Keys deleted, and their bytes.
    pub deleted: Amount,
    /// Packs that compaction replaced, and their bytes: freed once they are collected.
    pub replaced: Amount,
    /// Packs that it made, and their bytes.
    pub made: Amount,
    /// What stood in the way of something, each in a sentence.
    pub problems: Vec<String>,
    /// What is left to do, and what it waits for.
    pub left: Plan,
}
