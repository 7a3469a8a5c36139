//! The walk: every path below the roots, in path order, one at a time.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;
use shudao_vault::entry::TreePath;

use super::clock::Clocks;
use super::directory::{Directory, Opened, Pool, Purpose};
use super::excludes::Excludes;
use super::found::{Found, Place, Scanned, UnreadKind, Why, classify, settled};
use super::names::{NameSorter, SortedNames};
use super::owners::Owners;
use super::roots::{Start, Wanted, absolute, plan_start};
use super::status::{Follow, Identity, Status};

/// Paths above this are reported, not kept: an entry has a limit, and so has memory.
const PATH_BYTES_MAX: usize = 64 << 10;

/// How often a name is tried that becomes something else between two looks.
const TRIES_MAX: usize = 3;

/// Buffer for one piece of a directory's listing.
const LISTING_BYTES: usize = 64 << 10;

/// What to walk, and how.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// One directory becomes the snapshot's root; one file stands alone in the root, which is its directory; several
    /// paths keep their full paths. Symbolic links are followed here and nowhere else, and what is named here is
    /// never excluded itself.
    pub roots: Vec<PathBuf>,
    /// What is left out.
    pub excludes: Excludes,
    /// Do not go into other file systems; their mount points become empty directories.
    pub one_file_system: bool,
    /// Memory in bytes for the names of the directories that are being walked; more are sorted on disk.
    pub names_bytes_max: usize,
    /// Where names are sorted on disk.
    pub spill_directory: PathBuf,
    /// How many directories may be open at a time.
    pub open_directories_max: usize,
    /// By how many seconds the file systems' clocks are taken to be ahead: 0. A test that cannot wait until what it has
    /// just written is settled sets more.
    pub clock_ahead_seconds: i64,
}

impl Default for ScanOptions {
    /// No roots; everything below them; 64 MiB of names, 128 open directories, the system's temporary directory.
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            excludes: Excludes::default(),
            one_file_system: false,
            names_bytes_max: 64 << 20,
            spill_directory: std::env::temp_dir(),
            open_directories_max: 128,
            clock_ahead_seconds: 0,
        }
    }
}

/// Why a walk cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Nothing was named.
    #[error("no path to back up was given")]
    NoRoots,
    /// The one path, or each of several, cannot be read.
    #[error("read {path}")]
    Root {
        /// The path, the first of several.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Extended attributes can only be read safely by way of `/proc/self/fd`.
    #[error("/proc is not mounted, and without it extended attributes cannot be read")]
    NoProc,
}

/// The walk. Blocks; meant for a thread of its own.
#[derive(Debug)]
pub struct Scan {
    excludes: Excludes,
    one_file_system: bool,
    names_bytes_max: usize,
    spill_directory: PathBuf,
    owners: Arc<Owners>,
    clocks: Clocks,
    stack: Vec<Level>,
    /// The path of the topmost directory. One path, not one a level: the sum over a deep tree has no bound.
    here: TreePath,
    /// The directories on the stack that are taken whole: meeting one of them again below itself is a loop.
    ancestors: HashSet<Identity>,
    names_bytes: usize,
    listing: Vec<u8>,
    ready: VecDeque<Scanned>,
}

/// A directory that is being walked.
#[derive(Debug)]
struct Level {
    directory: Arc<Directory>,
    status: Status,
    names: SortedNames,
    names_bytes: usize,
    wanted: Wanted,
}

/// One name that is looked at.
struct Spot<'a> {
    path: &'a TreePath,
    name: &'a [u8],
    parent: &'a Arc<Directory>,
    parent_status: Status,
    /// Named on the command line, or on the way to what is named there.
    named: Option<&'a Wanted>,
    follow: Follow,
}

/// Begins to walk. Errors concern the roots; what goes wrong below them is part of the walk.
pub fn scan(options: ScanOptions) -> Result<Scan, ScanError> {
    if std::fs::metadata("/proc/self/fd").is_err() {
        return Err(ScanError::NoProc);
    }
    let mut roots: Vec<PathBuf> = Vec::new();
    let mut first_error = None;
    let mut readable = 0;
    for path in options.roots {
        match absolute(&path).and_then(|path| std::fs::metadata(&path).map(|_| path)) {
            Ok(path) if roots.contains(&path) => {}
            Ok(path) => {
                readable += 1;
                roots.push(path);
            }
            Err(source) => {
                // One of several that is missing is reported by the walk, where it would stand.
                roots.extend(std::path::absolute(&path));
                first_error.get_or_insert(ScanError::Root { path, source });
            }
        }
    }
    if readable == 0 {
        return Err(first_error.unwrap_or(ScanError::NoRoots));
    }
    let Start { base, wanted } = plan_start(&roots, |path| path.is_dir());
    let failed = |source| ScanError::Root { path: base.clone(), source };
    let pool = Pool::new(options.open_directories_max);
    let opened = Directory::open_base(&base, purpose(&wanted), &pool).map_err(failed)?;
    let mut scan = Scan {
        excludes: options.excludes,
        one_file_system: options.one_file_system,
        names_bytes_max: options.names_bytes_max,
        spill_directory: options.spill_directory,
        owners: Arc::new(Owners::load()),
        clocks: Clocks::ahead(options.clock_ahead_seconds),
        stack: Vec::new(),
        here: TreePath::root(),
        ancestors: HashSet::new(),
        names_bytes: 0,
        listing: Vec::with_capacity(LISTING_BYTES),
        ready: VecDeque::new(),
    };
    scan.descend(&TreePath::root(), opened, wanted).map_err(failed)?;
    Ok(scan)
}

fn purpose(wanted: &Wanted) -> Purpose {
    if wanted.whole { Purpose::List } else { Purpose::Pass }
}

impl Iterator for Scan {
    type Item = Scanned;

    fn next(&mut self) -> Option<Scanned> {
        loop {
            if let Some(scanned) = self.ready.pop_front() {
                return Some(scanned);
            }
            match self.stack.last_mut()?.names.next() {
                Some(Ok(name)) => self.visit(&name),
                Some(Err(error)) => {
                    let path = self.leave();
                    self.unreadable(&path, error);
                }
                None => {
                    self.leave();
                }
            }
        }
    }
}

impl Scan {
    /// Looks at one name of the topmost directory; again if it becomes something else meanwhile.
    fn visit(&mut self, name: &[u8]) {
        let Some(level) = self.stack.last_mut() else { return };
        let path = self.here.join(name);
        let (directory, parent_status) = (Arc::clone(&level.directory), level.status);
        let wanted = level.wanted.below.remove(name);
        let follow = if wanted.is_some() { Follow::Links } else { Follow::Never };
        let named = wanted.as_ref();
        let spot = Spot { path: &path, name, parent: &directory, parent_status, named, follow };
        if path.as_bytes().len() > PATH_BYTES_MAX {
            return self.unreadable(&path, Errno::NAMETOOLONG.into());
        }
        for tries in 1..=TRIES_MAX {
            match self.look(&spot) {
                Ok(()) => return,
                Err(error) if tries < TRIES_MAX && classify(&error) == UnreadKind::Replaced => {}
                Err(error) => return self.unreadable(&path, error),
            }
        }
    }

    /// Says what stands at `spot`. On an error nothing has been said.
    fn look(&mut self, spot: &Spot<'_>) -> io::Result<()> {
        let handle = spot.parent.handle()?;
        // The clock before the status: a change in between then counts as unsettled.
        let clock = self.clocks.read(&*handle, spot.parent_status.device);
        let status = match Status::of(&*handle, spot.name, spot.follow) {
            Err(_) if spot.named.is_none() && self.excludes.excludes(spot.path, false) => {
                return self.skip(spot, Why::Excluded);
            }
            status => status?,
        };
        let is_directory = status.kind == FileType::Directory;
        let excluded = self.excludes.excludes(spot.path, is_directory);
        let wanted = match spot.named {
            None if excluded => return self.skip(spot, Why::Excluded),
            None => Wanted { whole: true, ..Wanted::default() },
            Some(named) => {
                let whole = named.whole || (!excluded && self.takes_whole(&*handle, spot)?);
                Wanted { whole, below: named.below.clone() }
            }
        };
        if status.kind == FileType::Socket {
            return self.skip(spot, Why::Socket);
        }
        if is_directory {
            return self.enter(spot, status, wanted);
        }
        if !wanted.whole {
            // Something is wanted below what turned out to be no directory.
            return Err(Errno::NOTDIR.into());
        }
        if self.stays_out(spot, &status) {
            return self.skip(spot, Why::OtherFileSystem);
        }
        let settled = settled(&status, &spot.parent_status, clock);
        self.found(self.place(spot).describe(spot.path.clone(), status, settled)?);
        Ok(())
    }

    fn enter(&mut self, spot: &Spot<'_>, status: Status, wanted: Wanted) -> io::Result<()> {
        if self.stays_out(spot, &status) {
            return self.found_empty(spot, status, Why::OtherFileSystem);
        }
        let opened = spot.parent.open_child(spot.name, spot.follow, purpose(&wanted))?;
        // Opening may have mounted something.
        if self.stays_out(spot, &opened.status) {
            return self.found_empty(spot, opened.status, Why::OtherFileSystem);
        }
        if wanted.whole && self.ancestors.contains(&opened.status.identity()) {
            return self.found_empty(spot, opened.status, Why::Loop);
        }
        self.descend(spot.path, opened, wanted)
    }

    /// Lists a directory, says it and goes into it. On an error nothing has been said.
    fn descend(&mut self, path: &TreePath, opened: Opened, wanted: Wanted) -> io::Result<()> {
        let Opened { directory, handle, status } = opened;
        let left = self.names_bytes_max.saturating_sub(self.names_bytes);
        let mut sorter = NameSorter::new(left.max(self.names_bytes_max / 16), &self.spill_directory);
        let listed = if wanted.whole { list(&handle, &mut self.listing, &mut sorter) } else { Ok(()) };
        let broken = match listed {
            Err(error) if sorter.is_empty() => return Err(error),
            listed => listed.err(),
        };
        drop(handle);
        for name in wanted.below.keys() {
            sorter.push(name)?;
        }
        let names = sorter.finish()?;
        let place = Place {
            directory: Arc::clone(&directory),
            name: b".".to_vec(),
            follow: Follow::Never,
            owners: Arc::clone(&self.owners),
        };
        self.found(place.describe(path.clone(), status, false)?);
        if let Some(error) = broken {
            self.unreadable(path, error);
        }
        if wanted.whole {
            self.ancestors.insert(status.identity());
        }
        let names_bytes = names.held_bytes();
        self.names_bytes += names_bytes;
        self.here = path.clone();
        self.stack.push(Level { directory, status, names, names_bytes, wanted });
        Ok(())
    }

    /// Leaves the topmost directory and gives its path.
    fn leave(&mut self) -> TreePath {
        let above = self.here.parent().unwrap_or_default();
        let left = std::mem::replace(&mut self.here, above);
        let Some(level) = self.stack.pop() else { return left };
        self.names_bytes -= level.names_bytes;
        if level.wanted.whole {
            self.ancestors.remove(&level.status.identity());
        }
        left
    }

    /// Whether a name on the way to what is named belongs to a directory that is taken whole. A link does not: only
    /// what is named behind it was asked for.
    fn takes_whole(&self, directory: impl AsFd, spot: &Spot<'_>) -> io::Result<bool> {
        let inside_whole = self.stack.last().is_some_and(|level| level.wanted.whole);
        Ok(inside_whole && Status::of(directory, spot.name, Follow::Never)?.kind != FileType::Symlink)
    }

    fn stays_out(&self, spot: &Spot<'_>, status: &Status) -> bool {
        self.one_file_system && spot.named.is_none() && status.is_across(&spot.parent_status)
    }

    fn place(&self, spot: &Spot<'_>) -> Place {
        Place {
            directory: Arc::clone(spot.parent),
            name: spot.name.to_vec(),
            follow: spot.follow,
            owners: Arc::clone(&self.owners),
        }
    }

    fn found(&mut self, found: Found) {
        self.ready.push_back(Scanned::Found(Box::new(found)));
    }

    fn found_empty(&mut self, spot: &Spot<'_>, status: Status, why: Why) -> io::Result<()> {
        self.found(self.place(spot).describe(spot.path.clone(), status, false)?);
        self.skip(spot, why)
    }

    fn skip(&mut self, spot: &Spot<'_>, why: Why) -> io::Result<()> {
        self.ready.push_back(Scanned::Skipped { path: spot.path.clone(), why });
        Ok(())
    }

    fn unreadable(&mut self, path: &TreePath, error: io::Error) {
        let kind = classify(&error);
        self.ready.push_back(Scanned::Unreadable { path: path.clone(), error, kind });
    }
}

/// Gives every name in the directory to `sorter`.
fn list(directory: &OwnedFd, buffer: &mut Vec<u8>, sorter: &mut NameSorter) -> io::Result<()> {
    let mut names = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(io::Error::other(
                "the directory is damaged: it holds a name with a slash, or an empty one",
            ));
        }
        sorter.push(name)?;
    }
    Ok(())
}
