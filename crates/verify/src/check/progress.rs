//! Counters of a check that a display may read while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Packs read.
    pub packs: AtomicU64,
    /// Packs that will be read; 0 while unknown.
    pub packs_expected: AtomicU64,
    /// Bytes of packs read.
    pub bytes: AtomicU64,
    /// What is looked at now.
    pub now: Mutex<String>,
}

impl CheckProgress {
    pub(super) fn packs_total(&self, packs: u64) {
        self.packs_expected.store(packs, Ordering::Relaxed);
    }

    pub(super) fn pack_done(&self, bytes: u64) {
        self.packs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn current(&self, what: &str) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clear();
        now.push_str(what);
    }
}
