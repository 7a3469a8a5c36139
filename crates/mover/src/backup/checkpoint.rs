//! Checkpoints of a run, made beside it.
//!
//! ```text
//! ask readers how far large files are ─▶ copy of the tree so far ─▶ everything offered arrives ─▶ put the checkpoint
//! ```
//!
//! Nothing waits for it: readers, pump and assembler go on. What the checkpoint names was offered before the arrival that it
//! waits for. A checkpoint that cannot be made costs the next run some reading and nothing else, so it never fails a run.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use shudao_vault::Result;
use shudao_vault::entry::TreePath;
use shudao_vault::keys::KeyRing;
use shudao_vault::resume::{self, Checkpoint, PACKS_MAX, PartialTree, Place, SharedShelf, TREES_MAX};
use shudao_vault::store::Store;
use shudao_vault::tree::TreeBuilder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::BackupProgress;
use super::journal::Journal;
use super::unfinished::Unfinished;
use crate::ingest::{CheckpointNodes, Ingest, lock};
use crate::lane::Parcel;

/// How long the last checkpoint of a run that is stopped may take.
const LAST_MAX: Duration = Duration::from_secs(10);
/// How long putting one may take.
const PUT_MAX: Duration = Duration::from_secs(30);
/// The least pause between two looks, where checkpoints are made without pause.
const LOOK: Duration = Duration::from_millis(5);

/// Where a run's checkpoints go, and what they tell besides the pipeline's doing.
pub(super) struct Log {
    /// Of all replicas.
    pub(super) stores: Vec<Store>,
    pub(super) ring: Arc<KeyRing>,
    /// Of the first one.
    pub(super) place: Place,
    pub(super) shelf: SharedShelf,
    pub(super) journal: Option<Arc<Journal>>,
    /// Trees of interrupted sessions, by ascending last path.
    pub(super) trees: Vec<PartialTree>,
    /// How often.
    pub(super) every: Duration,
}

/// Makes the checkpoints of one run.
pub(super) struct Checkpointer<'a> {
    pub(super) log: &'a Log,
    /// Of the next one.
    pub(super) place: Place,
    pub(super) ingest: &'a Ingest,
    pub(super) tree: Arc<Mutex<TreeBuilder>>,
    pub(super) unfinished: &'a Unfinished,
    pub(super) progress: &'a BackupProgress,
    pub(super) packs: &'a mpsc::Sender<Parcel>,
    pub(super) runtime: &'a Handle,
}

/// What a run had done when its last checkpoint was made.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Mark {
    last: Option<TreePath>,
    read: u64,
}

impl Checkpointer<'_> {
    /// Makes checkpoints until `ended` is closed, and one more then if the run was stopped. `done` says that none is
    /// needed any more.
    pub(super) fn run(mut self, ended: &Receiver<()>, done: &AtomicBool) {
        let mut made = Mark::default();
        let progress = self.progress;
        // From the moment in which a stop is seen there is a deadline.
        let stopped = OnceCell::new();
        let give_up = || {
            if !progress.stop.load(Ordering::Relaxed) {
                return done.load(Ordering::Relaxed);
            }
            stopped.get_or_init(Instant::now).elapsed() > LAST_MAX
        };
        while ended.recv_timeout(self.log.every.max(LOOK)) == Err(RecvTimeoutError::Timeout) {
            self.make(&mut made, &give_up);
        }
        if progress.stop.load(Ordering::Relaxed) {
            self.make(&mut made, &give_up);
        }
    }

    /// Makes a checkpoint if there is anything new to tell. One that fails is as if it had not been tried.
    fn make(&mut self, made: &mut Mark, give_up: &dyn Fn() -> bool) {
        let now = self.mark();
        if now == *made || self.ingest.check().is_err() {
            return;
        }
        if self.try_make(give_up).is_ok_and(|whole| whole) {
            *made = now;
        }
    }

    fn mark(&self) -> Mark {
        let last = lock(&self.tree).last().cloned();
        Mark { last, read: self.progress.bytes_read.load(Ordering::Relaxed) }
    }

    /// False if it was given up.
    fn try_make(&mut self, give_up: &dyn Fn() -> bool) -> Result<bool> {
        self.unfinished.ask(give_up);
        let tree = lock(&self.tree).clone();
        let last = tree.last().cloned();
        let files = self.unfinished.after(last.as_ref());
        let own = match last {
            Some(last) => {
                let tree = tree.finish(&mut CheckpointNodes(self.ingest))?;
                Some(PartialTree { root: tree.root, level: tree.level, last })
            }
            None => None,
        };
        // Before the arrival begins, so that an older note is of a pack that it waits for.
        let turned = self.log.journal.as_ref().map(|journal| journal.turn());
        if !self.ingest.arrive(self.packs, give_up)? {
            return Ok(false);
        }
        let mut shelf = lock(&self.log.shelf).clone();
        shelf.packs.truncate(PACKS_MAX);
        let checkpoint = Checkpoint { shelf, trees: self.trees(own), files };
        let Some(placed) = self.runtime.block_on(self.put(&checkpoint)) else { return Ok(false) };
        self.place.k = placed.k + 1;
        if let (Some(journal), Some(turned)) = (&self.log.journal, turned) {
            journal.forget_before(turned);
        }
        self.progress.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Puts the checkpoint on every replica; returns its last place if any of them has it.
    async fn put(&self, checkpoint: &Checkpoint) -> Option<Place> {
        let Log { stores, ring, .. } = self.log;
        let putting = stores
            .iter()
            .map(|store| tokio::time::timeout(PUT_MAX, resume::put(store, self.place, ring, checkpoint)));
        let put = futures_util::future::join_all(putting).await;
        put.into_iter().filter_map(|put| put.ok()?.ok()).max_by_key(|place| place.k)
    }

    /// The run's own tree, and earlier ones that reach further.
    fn trees(&self, own: Option<PartialTree>) -> Vec<PartialTree> {
        let mut trees: Vec<PartialTree> = own.into_iter().collect();
        for earlier in &self.log.trees {
            if trees.last().is_none_or(|last| last.last < earlier.last) && trees.len() < TREES_MAX {
                trees.push(earlier.clone());
            }
        }
        trees
    }
}
