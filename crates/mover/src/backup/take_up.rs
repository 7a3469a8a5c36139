//! Going on where an interrupted session was.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shudao_vault::id::{SegmentId, SessionId, SourceId, Timestamp};
use shudao_vault::resume::{Checkpoint, Place, SharedShelf, Shelf};
use shudao_vault::session::Session;
use shudao_vault::vault::{Problem, Vault};

use super::checkpoint::Log;
use super::journal::{Journal, Leftover};
use super::{BackupError, BackupProgress, BackupSummary, Resumed};

/// How a run goes on where another was interrupted, and how the next one can.
#[derive(Debug, Clone)]
pub struct ResumeOptions {
    /// The state directory of this host, for the journal; without one, packs that were on their way at a crash are
    /// uploaded again. The source's lock must be held.
    pub state: Option<PathBuf>,
    /// How often a checkpoint is made.
    pub checkpoint_every: Duration,
    /// From this size in bytes on, a checkpoint tells how far a file is that is being read.
    pub file_bytes_min: u64,
}

impl Default for ResumeOptions {
    /// No journal; a checkpoint every minute; files from 64 MiB on.
    fn default() -> Self {
        Self { state: None, checkpoint_every: Duration::from_secs(60), file_bytes_min: 64 << 20 }
    }
}

/// A session that has begun, and what it takes up.
pub(super) struct Begun {
    pub(super) session: Session,
    /// The place of a replica on which it has begun.
    pub(super) first: usize,
    /// Where its next checkpoint goes.
    pub(super) place: Place,
    pub(super) journal: Option<Arc<Journal>>,
    /// Segments over what was adopted.
    pub(super) adopted: Vec<SegmentId>,
    /// What is acknowledged of it; at first, segments over what was adopted.
    pub(super) shelf: SharedShelf,
    /// Trees and files that interrupted sessions had.
    pub(super) earlier: Checkpoint,
    /// What was taken up.
    pub(super) resumed: Option<Resumed>,
    /// What could not be.
    pub(super) problems: Vec<Problem>,
}

/// Begins a session, or goes on with the one that this host's journal names, and adopts what an interrupted one stored.
pub(super) async fn begin(
    vault: &mut Vault,
    options: &ResumeOptions,
    source: SourceId,
    now: Timestamp,
) -> Result<Begun, BackupError> {
    vault.refresh().await?;
    let here = (vault.ring().vault, source);
    let mut leftover = match &options.state {
        Some(state) => Leftover::read(state, here.0, here.1).map_err(BackupError::State)?,
        None => Leftover::default(),
    };
    if leftover.session.is_some_and(|id| vault.has_committed(id)) {
        // It died between its commit and the end of its journal.
        leftover.packs.clear();
        leftover.session = None;
    }
    let (mut problems, mut found) = (Vec::new(), None);
    for id in vault.interrupted(&source) {
        let mut checkpoints = vault.checkpoint_of(id).await?;
        problems.append(&mut checkpoints.problems);
        if let Some(checkpoint) = checkpoints.checkpoint {
            found = Some((id, checkpoint));
            break;
        }
    }
    let own = leftover.session.and_then(|id| Session::of_log(vault.replicas(), vault.ring(), id, source));
    let ((session, first), k) = match own {
        Some(own) => {
            let k = vault.checkpoint_of(own.0.id).await?.next;
            (own, k)
        }
        None => {
            let (replicas, ring) = vault.replicas_mut();
            (Session::begin(replicas, ring, source, now).await?, 0)
        }
    };
    // Another run may have committed since the vault was opened: the parent must be found in the index.
    vault.refresh().await?;
    let of = found.as_ref().map(|(id, _)| *id).or(leftover.session);
    let (_, mut earlier) = found.unwrap_or((session.id, Checkpoint::default()));
    let mut packs = Vec::new();
    for ends in &leftover.packs {
        // One that cannot be opened, of another key or generation, is uploaded again.
        packs.extend(ends.contents(vault.ring()));
    }
    let shelf = std::mem::take(&mut earlier.shelf);
    let mut adopted = vault.adopt((&session, first), shelf, packs, now).await?;
    problems.append(&mut adopted.problems);
    let shelf = Shelf { segments: adopted.segments.clone(), packs: Vec::new() };
    let place = Place { session: session.id, k };
    let journal = match &options.state {
        Some(state) => {
            let journal = Journal::begin(state, here, session.id, &leftover);
            let failed =
                |error: &std::io::Error| Problem { object: "journal".into(), what: error.to_string() };
            problems.extend(journal.as_ref().err().map(failed));
            journal.ok().map(Arc::new)
        }
        None => None,
    };
    let resumed = of.filter(|_| !adopted.packs.is_empty() || earlier != Checkpoint::default());
    let resumed =
        resumed.map(|session| Resumed { session, bytes_stored: adopted.bytes, ..Resumed::new(session) });
    let (shelf, adopted) = (Arc::new(Mutex::new(shelf)), adopted.segments);
    Ok(Begun { session, first, place, journal, adopted, shelf, earlier, resumed, problems })
}

impl Begun {
    /// Where the run's checkpoints go.
    pub(super) fn log(&self, vault: &Vault, options: &ResumeOptions) -> Log {
        Log {
            stores: vault.replicas().iter().map(|replica| replica.store().clone()).collect(),
            ring: Arc::clone(vault.ring()),
            place: self.place,
            shelf: Arc::clone(&self.shelf),
            journal: self.journal.clone(),
            trees: self.earlier.trees.clone(),
            every: options.checkpoint_every,
        }
    }

    /// Puts into the summary what was taken up and what went wrong about it.
    pub(super) fn tell(&self, progress: &BackupProgress, summary: &mut BackupSummary) {
        if let Some(journal) = &self.journal {
            summary.notes.extend(
                journal.take_failure().map(|failure| {
                    format!("the journal in the state directory could not be kept: {failure}")
                }),
            );
            journal.remove();
        }
        summary.resumed = self.resumed.map(|resumed| Resumed {
            files: progress.resumed.files.load(Ordering::Relaxed),
            bytes: progress.resumed.bytes.load(Ordering::Relaxed),
            ..resumed
        });
        let passed_over = |problem: &Problem| format!("{}: {}", problem.object, problem.what);
        summary.notes.extend(self.problems.iter().map(passed_over));
    }
}

impl Resumed {
    fn new(session: SessionId) -> Self {
        Self { session, files: 0, bytes: 0, bytes_stored: 0 }
    }
}
