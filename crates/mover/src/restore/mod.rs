//! From a snapshot back to files.
//!
//! ```text
//! entries in path order ─▶ batches of files and the frames they need ─▶ fetch (ahead, in parallel)
//!                                                                          │
//!                      directories' metadata, syncfs ◀─ hard links ◀─ write files in parallel ─▶ syncfs now and then
//! ```
//!
//! Every chunk is checked against its digest when it is read and every file against its own before it gets its name.
//! A file that cannot be restored is reported and the others go on.

mod batch;
mod compare;
mod extras;
mod filter;
mod mark;
mod metadata;
mod run;
mod target;
mod write;
mod write_back;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use shudao_vault::entry::TreePath;

pub use extras::{ExtrasPlan, Scope, plan_extras, remove_extras};
pub use filter::Filter;
pub use mark::{Unfinished, unfinished};
pub use run::restore;

/// What to restore, and how.
pub struct RestoreOptions {
    /// The directory that becomes the snapshot's root.
    pub to: PathBuf,
    /// Which paths.
    pub filter: Filter,
    /// Write into an existing tree, only what differs.
    pub in_place: bool,
    /// Where marks of files being patched are kept; `None` patches without marks.
    pub marks: Option<PathBuf>,
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct RestoreSummary {
    /// Regular files restored or found right.
    pub files: u64,
    /// Directories restored or found right.
    pub directories: u64,
    /// Files that were right already.
    pub files_unchanged: u64,
    /// Bytes written into files.
    pub bytes_written: u64,
    /// Logical bytes of all files handled.
    pub bytes: u64,
    /// Paths that were not restored, and why.
    pub failed: Vec<PathProblem>,
    /// Metadata that could not be set.
    pub metadata_not_set: Vec<PathProblem>,
}

/// Something that went wrong at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathProblem {
    /// Where.
    pub path: TreePath,
    /// What, for people.
    pub what: String,
}

/// Counters that a display may read while the restore runs.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    /// Files finished.
    pub files: AtomicU64,
    /// Logical bytes finished.
    pub bytes: AtomicU64,
    /// Logical bytes of the whole tree.
    pub bytes_total: AtomicU64,
    /// The path worked on.
    pub current: Mutex<String>,
    /// Set from outside to stop at the next batch.
    pub stop: Arc<AtomicBool>,
}

/// Why a restore ended early.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A pattern is malformed.
    #[error("{pattern:?} is not a pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: Box<ignore::Error>,
    },
    /// The backup left so many paths unread that it does not list them all.
    #[error("the backup could not read {total} paths and lists only some: what else is extra cannot be told")]
    UnreadUnknown {
        /// How many there were.
        total: u64,
    },
    /// The target holds something, and writing into an existing tree was not asked for.
    #[error("{} is not empty", to.display())]
    NotEmpty {
        /// The target.
        to: PathBuf,
    },
    /// The target cannot be written.
    #[error("cannot write to {}", to.display())]
    Target {
        /// The target.
        to: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The target's file system is full. Files finished so far are whole; nothing else is visible.
    #[error("there is no room left on {}", to.display())]
    Full {
        /// The target.
        to: PathBuf,
    },
    /// The snapshot could not be read.
    #[error("read the snapshot")]
    Vault(#[from] shudao_vault::Error),
    /// Stopped on request.
    #[error("interrupted")]
    Interrupted,
}
