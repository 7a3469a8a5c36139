//! The recording layer: how often, and with how many bytes, the backend was asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that reached the backend, repeated ones included, and bytes of those that succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Whole objects and ranges asked for.
    pub reads: u64,
    /// Bytes that arrived.
    pub bytes_read: u64,
    /// Objects sent.
    pub writes: u64,
    /// Bytes of objects that were new at the store.
    pub bytes_written: u64,
    /// Sizes asked for.
    pub sizes: u64,
    /// Listings asked for.
    pub lists: u64,
    /// Objects asked to be deleted.
    pub deletes: u64,
    /// Locks asked for or set.
    pub locks: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

/// What the counters count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Read,
    BytesRead,
    Write,
    BytesWritten,
    Size,
    List,
    Delete,
    Lock,
    Retry,
}

/// The counters of one store, shared by its clones.
#[derive(Default)]
pub(super) struct Meter {
    counters: [AtomicU64; 9],
}

impl Meter {
    pub(super) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    pub(super) fn add(&self, count: Count, amount: u64) {
        self.counters[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> Usage {
        let read = |count: Count| self.counters[count as usize].load(Ordering::Relaxed);
        Usage {
            reads: read(Count::Read),
            bytes_read: read(Count::BytesRead),
            writes: read(Count::Write),
            bytes_written: read(Count::BytesWritten),
            sizes: read(Count::Size),
            lists: read(Count::List),
            deletes: read(Count::Delete),
            locks: read(Count::Lock),
            retries: read(Count::Retry),
        }
    }
}
