//! Large files that are being read: how far each one is stored.
//!
//! Only the thread that reads a file knows how far it is. Before a checkpoint every such thread is asked, and tells at its
//! next step; what it told stays until the file stands in the tree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shudao_vault::entry::TreePath;
use shudao_vault::resume::{FILES_MAX, PartialFile};

use crate::ingest::lock;
use crate::source::Found;

/// How long readers may take to tell. One that waits for room on a slow line tells later, for the next checkpoint.
const TELLING_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// The large files of a run.
#[derive(Debug)]
pub(super) struct Unfinished {
    bytes_min: u64,
    asked: AtomicU64,
    table: Mutex<Table>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    /// Which question each reader has answered.
    reading: BTreeMap<TreePath, u64>,
    known: BTreeMap<TreePath, PartialFile>,
}

/// Held by the thread that reads a large file.
pub(super) struct Watch<'a> {
    all: &'a Unfinished,
    path: TreePath,
    answered: u64,
}

impl Unfinished {
    /// Watches files of at least `bytes_min` bytes; begins with what earlier runs had of files.
    pub(super) fn new(bytes_min: u64, carried: Vec<PartialFile>) -> Self {
        let known = carried.into_iter().map(|file| (file.path.clone(), file)).collect();
        let table = Table { reading: BTreeMap::new(), known };
        Self { bytes_min, asked: AtomicU64::new(0), table: Mutex::new(table), told: Condvar::new() }
    }

    /// Begins to watch a file, if it is large and would be found unchanged again.
    pub(super) fn watch(&self, found: &Found) -> Option<Watch<'_>> {
        if found.size() < self.bytes_min.max(1) || !found.settled {
            return None;
        }
        let answered = self.asked.load(Ordering::Acquire);
        lock(&self.table).reading.insert(found.path.clone(), answered);
        Some(Watch { all: self, path: found.path.clone(), answered })
    }

    /// What is known of the file: it is still what it was then.
    pub(super) fn of(&self, found: &Found) -> Option<PartialFile> {
        let table = lock(&self.table);
        table.known.get(&found.path).filter(|file| found.settled && is_still(file, found)).cloned()
    }

    /// Asks every reader and waits a little until all have told.
    pub(super) fn ask(&self, give_up: &dyn Fn() -> bool) {
        let question = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let begun = Instant::now();
        let mut table = lock(&self.table);
        while table.reading.values().any(|answered| *answered < question)
            && begun.elapsed() < TELLING_MAX
            && !give_up()
        {
            table = self.told.wait_timeout(table, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What was told of files after `last`; those before it stand in the tree.
    pub(super) fn after(&self, last: Option<&TreePath>) -> Vec<PartialFile> {
        let mut table = lock(&self.table);
        table.known.retain(|path, _| last.is_none_or(|last| path > last));
        table.known.values().take(FILES_MAX).cloned().collect()
    }
}

impl Watch<'_> {
    /// Whether somebody asks how far the file is.
    pub(super) fn is_asked(&self) -> bool {
        self.all.asked.load(Ordering::Acquire) > self.answered
    }

    /// Tells how far it is; `None` if no further than was known.
    pub(super) fn tell(&mut self, file: Option<PartialFile>) {
        self.answered = self.all.asked.load(Ordering::Acquire);
        let mut table = lock(&self.all.table);
        table.reading.insert(self.path.clone(), self.answered);
        if let Some(file) = file {
            table.known.insert(self.path.clone(), file);
        }
        self.all.told.notify_all();
    }

    /// The file is not what was told of it.
    pub(super) fn forget(&self) {
        lock(&self.all.table).known.remove(&self.path);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(&self.all.table).reading.remove(&self.path);
        self.all.told.notify_all();
    }
}

fn is_still(file: &PartialFile, found: &Found) -> bool {
    (file.size, file.inode, file.mtime, file.ctime) == (found.size(), found.inode, found.mtime, found.ctime)
}
