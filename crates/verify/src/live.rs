//! A live tree, read plainly: every path below one or several roots, in path order, with whole-file digests.
//!
//! This is the verifier's own reader. It shares no code with the reader that makes backups, on purpose, and prefers
//! the obvious way to the fast one: it opens every file, reads every byte of it, holes included, and believes nothing
//! that it was told earlier.
//!
//! ```text
//! walk (this thread, path order) -> window of at most 128 items -> digests (several threads)
//!                                          |
//!                                          v  oldest first: output is in path order
//! ```
//!
//! What becomes an entry: directories, files, symbolic links, named pipes and devices. What does not: sockets, what the
//! exclude patterns match, and what cannot be read. A mount point that is not entered is an entry (the directory), what
//! is mounted there is not; the same goes for a directory that is one of its own ancestors by a bind mount.
//!
//! **Memory** is bounded by four things: the window (128 items, each at most about 1 MiB and ordinarily 300 bytes), one
//! buffer of 256 KiB per thread, the names of the directories on the way to the current one (8 bytes and the name for
//! each: a million names were read in 32 MB in all), and about 250 bytes for each inode of which some links are still to come. The
//! number of files and their sizes do not matter.
//!
//! **Open files**: at most 64 directories on the way down, one per item in the window, and one per thread. Deeper
//! trees are walked by opening directories again, one name at a time, so no path is too long.
//!
//! Symbolic links are followed in the roots' own paths only. The caller's clock is never read.

mod links;
mod names;
mod node;
mod roots;
mod walk;
mod xattrs;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use shudao_vault::entry::{Portable, TreePath};

use links::Links;
use node::{Known, Leaf, ReadNode};
use walk::{Found, Walk};

/// How many items may be under way between the walk and the caller.
const WINDOW_ITEMS_MAX: usize = 128;

/// What to leave out, and how many threads read.
#[derive(Debug, Clone, Default)]
pub struct LiveOptions {
    /// Lines of a gitignore file, matched against paths inside the tree. A directory that matches is not entered.
    pub excludes: Vec<String>,
    /// Do not enter directories that are mount points, unless they are roots or lead to one.
    pub one_file_system: bool,
    /// Threads that read files; 0 means one per processor.
    pub threads: usize,
}

/// One thing met in a live tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// An entry, as the manifest root covers it.
    Entry(Portable),
    /// This path, and everything below it, could not be read: it is no entry.
    NotRead {
        /// Where.
        path: TreePath,
        /// Why.
        why: NotRead,
    },
    /// This path was left out by rule. For a directory that was not entered, its entry stands before this.
    Skipped {
        /// Where.
        path: TreePath,
        /// By which rule.
        why: Skipped,
    },
}

impl Live {
    /// Where it stands.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Entry(portable) => &portable.path,
            Self::NotRead { path, .. } | Self::Skipped { path, .. } => path,
        }
    }
}

/// Why a path could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRead {
    /// The system refused.
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The system's error number.
        errno: i32,
    },
    /// It was listed in its directory and then gone.
    Vanished,
    /// It changed while it was read.
    Changed,
    /// Something else took its place while it was read.
    Replaced,
    /// Its path is longer than an entry may be.
    PathTooLong,
    /// A kind of file that no POSIX system defines.
    UnknownKind,
    /// The directory lists a name that is empty, `.`, `..` or contains a slash, or more names than can be sorted.
    BadListing,
    /// Its extended attributes are larger than an entry may be.
    AttributesTooLarge,
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { doing, errno } => {
                write!(f, "cannot {doing}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Vanished => f.write_str("vanished while the tree was read"),
            Self::Changed => f.write_str("changed while it was read"),
            Self::Replaced => f.write_str("was replaced while it was read"),
            Self::PathTooLong => f.write_str("its path is longer than 256 KiB"),
            Self::UnknownKind => f.write_str("is of an unknown kind"),
            Self::BadListing => f.write_str("the directory lists names that cannot be"),
            Self::AttributesTooLarge => f.write_str("its extended attributes are larger than 1 MiB"),
        }
    }
}

/// By which rule a path was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// Sockets are no entries.
    Socket,
    /// An exclude pattern matches.
    Excluded,
    /// Another file system is mounted here, and the reader was told to stay on one.
    OtherFileSystem,
    /// The directory is one of its own ancestors.
    Loop,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "is a socket",
            Self::Excluded => "is excluded by a pattern",
            Self::OtherFileSystem => "lies on another file system",
            Self::Loop => "is one of its own ancestors",
        })
    }
}

/// Why a tree cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// No root was given.
    #[error("name at least one directory to read")]
    NoRoot,
    /// A root is missing or may not be entered.
    #[error("open {}", path.display())]
    OpenRoot {
        /// The root as given.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A root was opened, but its own metadata or names cannot be read.
    #[error("read {}: {why}", path.display())]
    ReadRoot {
        /// The root.
        path: PathBuf,
        /// Why.
        why: NotRead,
    },
    /// A pattern is not one of gitignore's.
    #[error("understand the exclude pattern {pattern:?}")]
    Exclude {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: ignore::Error,
    },
    /// The reading threads cannot be started.
    #[error("start threads to read with")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

/// An iterator over a live tree in path order. Blocks while files are read. Dropping it stops the reading.
pub struct LiveTree {
    walk: Walk,
    window: VecDeque<Slot>,
    links: Links,
    pool: rayon::ThreadPool,
    stop: Arc<AtomicBool>,
}

/// A place in the window, oldest first.
enum Slot {
    /// Nothing is left to do.
    Ready(Live),
    /// A thread reads it.
    Reading(Receiver<(Leaf, ReadNode)>),
    /// A further link to a file that stands earlier in the window or was returned already.
    Again(Leaf),
}

impl LiveTree {
    /// Opens the tree below `roots`.
    ///
    /// One directory is itself the root of the tree. One path that is no directory stands alone below the directory that
    /// holds it. Several paths keep their full paths below `/`: the directories above them become entries too, but
    /// nothing else in those does. What is named so is never excluded, nor left out for standing on another file
    /// system, and symbolic links on the way to it are followed.
    pub fn read(roots: &[impl AsRef<Path>], options: &LiveOptions) -> Result<Self, LiveError> {
        let rules = roots::Rules::new(options)?;
        let start = roots::Start::find(roots)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|number| format!("verify-{number}"))
            .build()
            .map_err(LiveError::Threads)?;
        Ok(Self {
            walk: Walk::new(start, rules)?,
            window: VecDeque::with_capacity(WINDOW_ITEMS_MAX),
            links: Links::default(),
            pool,
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Walks on until the window is full.
    fn fill(&mut self) {
        while self.window.len() < WINDOW_ITEMS_MAX {
            let slot = match self.walk.next() {
                None => return,
                Some(Found::Ready(live)) => Slot::Ready(live),
                Some(Found::Leaf(leaf)) if self.links.is_further_link(&leaf) => Slot::Again(leaf),
                Some(Found::Leaf(leaf)) => Slot::Reading(self.start_reading(leaf)),
            };
            self.window.push_back(slot);
        }
    }

    fn start_reading(&self, leaf: Leaf) -> Receiver<(Leaf, ReadNode)> {
        let (sender, receiver) = sync_channel(1);
        let stop = Arc::clone(&self.stop);
        self.pool.spawn(move || {
            let outcome = leaf.read(Known::Nothing, &stop);
            // Nobody listens once the tree was dropped, and then nothing is lost.
            let _ = sender.send((leaf, outcome));
        });
        receiver
    }

    /// Turns what was read into what the caller sees, knowing the links that stand earlier in path order.
    fn settle(&mut self, leaf: Leaf, outcome: ReadNode) -> Live {
        match outcome {
            Ok((portable, facts)) => Live::Entry(self.links.place(portable, &facts)),
            Err(why) => Live::NotRead { path: leaf.path, why },
        }
    }
}

impl Iterator for LiveTree {
    type Item = Live;

    fn next(&mut self) -> Option<Live> {
        self.fill();
        Some(match self.window.pop_front()? {
            Slot::Ready(live) => live,
            Slot::Reading(receiver) => {
                let (leaf, outcome) = receiver.recv().expect("a reading thread always answers");
                self.settle(leaf, outcome)
            }
            Slot::Again(leaf) => {
                let outcome = leaf.read(self.links.known(&leaf), &self.stop);
                self.settle(leaf, outcome)
            }
        })
    }
}

impl Drop for LiveTree {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
