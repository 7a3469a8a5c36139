//! From a source to a snapshot.
//!
//! ```text
//! walk ─▶ pump: merge with the parent ─┬─ unchanged ─────────────────────────▶ slots in path order
//!                                      └─ to read ─▶ readers: chunk, hash ─▶ ─┘        │
//!                                                        │ offer                        ▼
//!                                                      ingest ◀── nodes ── assembler: tree, roots, counts
//! ```
//!
//! Slots keep the path order while several readers work. Everything between two stages is bounded. Nothing is visible
//! in the vault before the one commit at the end.

mod assemble;
mod beside;
mod checkpoint;
mod content;
mod course;
mod deliver;
mod file_hash;
mod journal;
mod lock;
#[cfg(test)]
mod meanwhile_tests;
mod pipeline;
mod pump;
mod read;
#[cfg(test)]
mod replica_tests;
mod reuse;
mod run;
mod settle;
mod stream;
#[cfg(test)]
mod swept_tests;
#[cfg(test)]
mod sync_tests;
mod take_up;
#[cfg(test)]
mod tests;
mod unfinished;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shudao_vault::entry::TreePath;
use shudao_vault::frame::Compression;
use shudao_vault::id::{SessionId, SnapshotId};

pub use journal::{Journal, Leftover, decode as decode_journal};
pub use lock::SourceLock;
pub use run::backup;
pub use take_up::ResumeOptions;

use crate::fanout::{FanoutOptions, LaneProgress};
use crate::source::command::CommandError;
use crate::source::{ScanError, ScanOptions};

/// What is backed up.
pub enum BackupSource {
    /// Directories or files.
    Tree(ScanOptions),
    /// The standard output of a command, as one file.
    Command {
        /// The file's name in the snapshot.
        name: Vec<u8>,
        /// The program and its arguments.
        words: Vec<OsString>,
    },
}

/// What to back up, and how.
pub struct BackupOptions {
    /// Where the bytes come from.
    pub source: BackupSource,
    /// The source's name: parent, chain and retention follow it.
    pub source_name: String,
    /// The host's name, sealed in the snapshot.
    pub host: String,
    /// Labels.
    pub tags: Vec<String>,
    /// The exclude patterns as given, sealed in the snapshot.
    pub excludes: Vec<String>,
    /// Read every file, whatever its times say.
    pub rescan: bool,
    /// How hard to compress.
    pub compression: Compression,
    /// Read and count, store nothing.
    pub dry_run: bool,
    /// The program and version that writes the snapshot.
    pub program: String,
    /// How to deal with replicas of different speed.
    pub fanout: FanoutOptions,
    /// How to go on after an interruption.
    pub resume: ResumeOptions,
}

/// What a backup took up from an interrupted session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// That session; this run's own where it went on under it.
    pub session: SessionId,
    /// Files that were not read, or not from their start, because that session had read them.
    pub files: u64,
    /// Their bytes that were not read again.
    pub bytes: u64,
    /// Stored bytes of the packs that it had put and that were not put again.
    pub bytes_stored: u64,
}

/// What a backup did.
#[derive(Debug, Default)]
pub struct BackupSummary {
    /// The snapshot; `None` on a dry run.
    pub snapshot: Option<SnapshotId>,
    /// The snapshot it built on.
    pub parent: Option<SnapshotId>,
    /// Entries of every kind.
    pub counts: EntryCounts,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Logical bytes of all files in the snapshot.
    pub bytes_total: u64,
    /// Plain bytes of chunks that were not stored before.
    pub bytes_new: u64,
    /// Bytes put into the replica: packs, segments, lists, the snapshot.
    pub bytes_added: u64,
    /// What could not be read or changed while it was read; at most [`PROBLEMS_MAX`] are kept.
    pub problems: Vec<Problem>,
    /// How many paths could not be read.
    pub unreadable: u64,
    /// How many files changed while they were read.
    pub torn: u64,
    /// The manifest root.
    pub manifest_root: [u8; 32],
    /// The content root.
    pub content_root: [u8; 32],
    /// What was taken up from an interrupted session.
    pub resumed: Option<Resumed>,
    /// For people: what went wrong without harm to the snapshot, such as a checkpoint that could not be read.
    pub notes: Vec<String>,
    /// How it ended on each of the vault's opened replicas; empty on a dry run.
    pub replicas: Vec<ReplicaOutcome>,
}

/// How a run ended on one replica.
#[derive(Debug, Default)]
pub struct ReplicaOutcome {
    /// Its place among the vault's replicas.
    pub place: usize,
    /// Why the snapshot is not committed there; `None` if it is.
    pub failure: Option<shudao_vault::Error>,
    /// Objects of this run that it lacks.
    pub objects_behind: u64,
    /// Their bytes, as far as they are known: the snapshot's own object is left out.
    pub bytes_behind: u64,
}

impl ReplicaOutcome {
    /// Whether the snapshot is committed there.
    pub fn is_committed(&self) -> bool {
        self.failure.is_none()
    }
}

/// Problems kept with their text.
pub const PROBLEMS_MAX: usize = 10_000;

/// Entries by kind and by what was done with them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EntryCounts {
    /// Regular files.
    pub files: u64,
    /// … that the parent did not have.
    pub files_new: u64,
    /// … that were read because they differ from the parent's.
    pub files_changed: u64,
    /// … that were reused unread.
    pub files_unmodified: u64,
    /// Paths of the parent that are gone.
    pub removed: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Pipes and devices.
    pub others: u64,
    /// Sockets, which are not stored.
    pub sockets: u64,
    /// Paths excluded by patterns.
    pub excluded: u64,
}

/// Something that went wrong at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: TreePath,
    /// What kind.
    pub kind: ProblemKind,
    /// For people.
    pub what: String,
}

/// Kinds of problems at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// It could not be read; it is not in the snapshot.
    Unreadable,
    /// It was gone before it could be read; it is not in the snapshot.
    Vanished,
    /// It changed while it was read; what was read is in the snapshot.
    Changed,
    /// The format has no room for it; it is not in the snapshot.
    Unstorable,
}

/// Counters that a display may read while the backup runs.
#[derive(Debug, Default)]
pub struct BackupProgress {
    /// Entries finished.
    pub entries: AtomicU64,
    /// Regular files finished.
    pub files: AtomicU64,
    /// Bytes of files finished, read or reused.
    pub bytes: AtomicU64,
    /// Bytes read.
    pub bytes_read: AtomicU64,
    /// Bytes of the parent snapshot, as a first estimate of the whole.
    pub bytes_estimated: AtomicU64,
    /// What the ingest has stored.
    pub stored: Arc<crate::ingest::IngestCounters>,
    /// What was not read again.
    pub resumed: ResumedCounters,
    /// Checkpoints made.
    pub checkpoints: AtomicU64,
    /// Each replica's part, once the run has begun.
    pub replicas: Mutex<Vec<Arc<LaneProgress>>>,
    /// The path worked on.
    pub current: Mutex<String>,
    /// Set from outside to stop.
    pub stop: Arc<AtomicBool>,
}

impl BackupProgress {
    /// The source is passed over once more: what was counted of it is counted again.
    fn begin_again(&self) {
        for counter in [&self.files, &self.bytes, &self.resumed.files, &self.resumed.bytes] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// What a run need not read because an interrupted session had.
#[derive(Debug, Default)]
pub struct ResumedCounters {
    /// Files, in whole or up to some place.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

/// Why a backup ended without a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The vault or its store.
    #[error(transparent)]
    Vault(#[from] shudao_vault::Error),
    /// The source as a whole cannot be read.
    #[error(transparent)]
    Source(#[from] ScanError),
    /// The state directory cannot be used.
    #[error("use the state directory")]
    State(#[source] std::io::Error),
    /// The command that was to deliver the bytes failed; nothing was stored.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The command's output cannot be read, or its name is no file name.
    #[error("store the command's output")]
    Output(#[source] std::io::Error),
    /// Another run of the same source goes on here.
    #[error("another backup of this source is running on this host")]
    Busy,
    /// Stopped on request.
    #[error("interrupted")]
    Interrupted,
}
