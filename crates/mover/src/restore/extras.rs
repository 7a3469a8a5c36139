//! What stands in the target and not in the snapshot.
//!
//! Only what the backup would have seen can be extra. What it was told to leave out, could not read or never looked at
//! (beside a file that was named alone, above several named paths, on another mount, a socket) is none, and neither is a
//! directory that holds such a thing.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, FileType};
use shudao_vault::entry::{Entry, Node, TreePath};
use shudao_vault::id::Digest;
use shudao_vault::reader::Reader;
use shudao_vault::snapshot::Contents;
use shudao_vault::tree::EntryStream;
use tokio::runtime::Handle;

use super::target::Target;
use super::{Filter, PathProblem, RestoreError};
use crate::source::{Excludes, ExcludesBuilder, Follow, Status};

/// What a snapshot, restored with a filter, speaks of.
pub struct Scope {
    filter: Filter,
    excludes: Excludes,
    unread: BTreeSet<TreePath>,
    /// Below these the source was read as a whole.
    named: Vec<TreePath>,
    /// The name of what was backed up, if it was one path: where that is a file, nothing beside it was read.
    alone: Option<Vec<u8>>,
    one_file_system: bool,
}

/// What is extra below a target.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExtrasPlan {
    /// The extras in path order; with a directory goes everything below it.
    pub extras: Vec<TreePath>,
    /// Directories that could not be looked into.
    pub unseen: Vec<PathProblem>,
}

impl Scope {
    /// What a snapshot with these contents speaks of, as far as `filter` goes.
    ///
    /// # Errors
    /// [`RestoreError::UnreadUnknown`], and [`RestoreError::Pattern`] if the snapshot's patterns are none.
    pub fn new(contents: &Contents, filter: Filter) -> Result<Self, RestoreError> {
        let unread = &contents.unread;
        if unread.total > unread.items.len() as u64 {
            return Err(RestoreError::UnreadUnknown { total: unread.total });
        }
        let mut excludes = ExcludesBuilder::default();
        for pattern in &contents.excludes {
            excludes.pattern(pattern).map_err(|cause| pattern_error(pattern, cause))?;
        }
        let (named, alone) = match &contents.paths[..] {
            // The output of a command.
            [] => (Vec::new(), None),
            [path] => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                (vec![TreePath::root()], Some(name.to_vec()))
            }
            paths => (paths.iter().filter_map(|path| below_slash(path)).collect(), None),
        };
        Ok(Self {
            filter,
            excludes: excludes.build().map_err(|cause| pattern_error("", cause))?,
            unread: unread.items.iter().filter_map(|unread| TreePath::new(unread.path.clone())).collect(),
            named,
            alone,
            one_file_system: contents.one_file_system,
        })
    }

    /// The named path that the directory lies at or below, if the source's was read as a whole.
    fn named_above(&self, directory: &TreePath) -> Option<&TreePath> {
        self.named.iter().find(|named| directory.is_within(named))
    }

    /// Whether what stands at `path` is none of the snapshot's business.
    fn keeps(&self, path: &TreePath, kind: FileType) -> bool {
        let is_directory = kind == FileType::Directory;
        kind == FileType::Socket
            || !self.filter.wants(path, is_directory)
            || self.excludes.excludes(path, is_directory)
            || std::iter::successors(Some(path.clone()), TreePath::parent)
                .any(|above| self.unread.contains(&above))
    }
}

fn below_slash(path: &[u8]) -> Option<TreePath> {
    let path = path.strip_prefix(b"/")?;
    TreePath::new(path.strip_suffix(b"/").unwrap_or(path))
}

fn pattern_error(pattern: &str, cause: crate::source::ExcludeError) -> RestoreError {
    let cause = Box::new(ignore::Error::Glob { glob: None, err: cause.to_string() });
    RestoreError::Pattern { pattern: pattern.to_owned(), cause }
}

/// A directory of the snapshot on the way to the current path.
struct Known {
    path: TreePath,
    device: u64,
    /// Beyond it the source was not read.
    is_border: bool,
    /// Its children, and whether each is a directory; complete when the directory is left.
    children: HashMap<Vec<u8>, bool>,
}

impl Known {
    fn of(entry: &Entry, above: Option<&Self>, scope: &Scope) -> Self {
        let device = entry.local.device;
        let is_mount = scope.one_file_system
            && !scope.named.contains(entry.path())
            && above.is_some_and(|above| above.device != device);
        let is_border = is_mount || above.is_some_and(|above| above.is_border);
        Self { path: entry.path().clone(), device, is_border, children: HashMap::new() }
    }
}

/// Lists the extras below `to` without changing anything.
///
/// # Errors
/// [`RestoreError::Vault`] when the snapshot cannot be read whole: then nothing may be called extra.
pub fn plan_extras(
    reader: &Arc<Reader>,
    root: (Digest, u8),
    to: &Path,
    scope: &Scope,
    runtime: &Handle,
) -> Result<ExtrasPlan, RestoreError> {
    let target = Target::open(to).map_err(|cause| RestoreError::Target { to: to.to_owned(), cause })?;
    let mut planner = Planner { target, scope, plan: ExtrasPlan::default() };
    let mut entries = EntryStream::open(Arc::clone(reader), root.0, root.1);
    let mut open: Vec<Known> = Vec::new();
    loop {
        let entry = runtime.block_on(entries.next())?;
        while let Some(known) =
            open.pop_if(|known| entry.as_ref().is_none_or(|entry| !entry.path().is_within(&known.path)))
        {
            planner.look_into(&known);
        }
        let Some(entry) = entry else { break };
        let is_directory = entry.portable.node == Node::Directory;
        if let Some(above) = open.last_mut() {
            above.children.insert(entry.path().name().to_vec(), is_directory);
        }
        if is_directory {
            open.push(Known::of(&entry, open.last(), scope));
        }
    }
    let mut plan = planner.plan;
    plan.extras.sort();
    Ok(plan)
}

struct Planner<'a> {
    target: Target,
    scope: &'a Scope,
    plan: ExtrasPlan,
}

/// A directory all of which is extra, as far as has been seen.
struct Extra {
    path: TreePath,
    status: Status,
    /// Names that were not looked at yet.
    names: Vec<Vec<u8>>,
    /// What may go although the directory itself may not.
    removable: Vec<TreePath>,
    holds_others: bool,
}

impl Planner<'_> {
    /// Finds the extras in a directory of the snapshot.
    fn look_into(&mut self, known: &Known) {
        let Some(named) = self.scope.named_above(&known.path) else { return };
        let is_file_alone = known.path.is_root()
            && self.scope.alone.as_ref().is_some_and(|name| {
                known.children.len() == 1
                    && known.children.get(name).is_some_and(|is_directory| !is_directory)
            });
        if known.is_border || is_file_alone {
            return;
        }
        if let Err(cause) = self.collect(known, &named.clone()) {
            self.unseen(&known.path, &cause);
        }
    }

    fn collect(&mut self, known: &Known, named: &TreePath) -> io::Result<()> {
        let handle = match self.target.directory(&known.path) {
            Ok(handle) => handle,
            // Nothing there, or something else that the restore replaces: there is nothing inside it.
            Err(error) if is_no_directory(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let status = Status::of_open(&*handle)?;
        if self.scope.one_file_system && status.is_across(&Status::of_open(&*self.target.directory(named)?)?)
        {
            return Ok(());
        }
        for name in names_in(&handle)? {
            let kind = Status::of(&*handle, &name, Follow::Never)?.kind;
            let is_same_kind =
                known.children.get(&name).map(|is_directory| *is_directory || kind != FileType::Directory);
            if is_same_kind != Some(true) {
                self.extra(known.path.join(&name), kind, &status);
            }
        }
        Ok(())
    }

    /// Adds what the snapshot does not have: the whole, or what of it may go.
    fn extra(&mut self, path: TreePath, kind: FileType, parent: &Status) {
        if self.scope.keeps(&path, kind) {
            return;
        }
        if kind != FileType::Directory {
            self.plan.extras.push(path);
            return;
        }
        // An explicit stack: a hostile depth must not overflow ours.
        let mut stack: Vec<Extra> = self.enter(path, parent).into_iter().collect();
        while let Some(top) = stack.last_mut() {
            let Some(name) = top.names.pop() else {
                let Some(done) = stack.pop() else { break };
                self.leave(done, stack.last_mut());
                continue;
            };
            let (child, status) = (top.path.join(&name), top.status);
            let kind = match self
                .target
                .directory(&top.path)
                .and_then(|handle| Ok(Status::of(&*handle, &name, Follow::Never)?.kind))
            {
                Ok(kind) => kind,
                Err(cause) => {
                    top.holds_others = true;
                    self.unseen(&child, &cause);
                    continue;
                }
            };
            if self.scope.keeps(&child, kind) {
                top.holds_others = true;
            } else if kind != FileType::Directory {
                top.removable.push(child);
            } else if let Some(extra) = self.enter(child, &status) {
                stack.push(extra);
            } else {
                top.holds_others = true;
            }
        }
    }

    /// Begins a directory; none if it is on another mount or cannot be read.
    fn enter(&mut self, path: TreePath, parent: &Status) -> Option<Extra> {
        let begun = self.target.directory(&path).and_then(|handle| {
            let status = Status::of_open(&*handle)?;
            if status.is_across(parent) {
                return Ok(None);
            }
            let names = names_in(&handle)?;
            Ok(Some(Extra { path: path.clone(), status, names, removable: Vec::new(), holds_others: false }))
        });
        begun.unwrap_or_else(|cause| {
            self.unseen(&path, &cause);
            None
        })
    }

    fn leave(&mut self, done: Extra, above: Option<&mut Extra>) {
        let removable = if done.holds_others { done.removable } else { vec![done.path] };
        match above {
            Some(above) => {
                above.holds_others |= done.holds_others;
                above.removable.extend(removable);
            }
            None => self.plan.extras.extend(removable),
        }
    }

    fn unseen(&mut self, path: &TreePath, cause: &io::Error) {
        let what = format!("look for what the snapshot lacks: {cause}");
        self.plan.unseen.push(PathProblem { path: path.clone(), what });
    }
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn names_in(handle: &Arc<OwnedFd>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(&**handle)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Removes what was planned; what cannot be removed is returned. Never follows a symbolic link, never goes into another
/// mount, and leaves what came after the plan and is not the snapshot's business.
pub fn remove_extras(
    to: &Path,
    extras: &[TreePath],
    scope: &Scope,
) -> Result<Vec<PathProblem>, RestoreError> {
    let at = |cause| RestoreError::Target { to: to.to_owned(), cause };
    let mut target = Target::open(to).map_err(at)?;
    let mut failed = Vec::new();
    for extra in extras {
        if let Err(cause) = remove(&mut target, extra, scope) {
            failed.push(PathProblem { path: extra.clone(), what: format!("remove it: {cause}") });
        }
    }
    Ok(failed)
}

fn remove(target: &mut Target, extra: &TreePath, scope: &Scope) -> io::Result<()> {
    let place = target.place(extra)?;
    let parent = Status::of_open(&*place.directory)?;
    if Status::of(&*place.directory, &place.name, Follow::Never)?.kind != FileType::Directory {
        return place.unlink();
    }
    // Depth first by an explicit stack, as above.
    let mut stack = vec![(extra.clone(), parent, false)];
    while let Some((path, parent, is_emptied)) = stack.pop() {
        if is_emptied {
            target.forget();
            target.place(&path)?.remove_directory()?;
            continue;
        }
        let handle = target.directory(&path)?;
        let status = Status::of_open(&*handle)?;
        if status.is_across(&parent) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        stack.push((path.clone(), parent, true));
        for name in names_in(&handle)? {
            let child = path.join(&name);
            let kind = Status::of(&*handle, &name, Follow::Never)?.kind;
            if scope.keeps(&child, kind) {
                // The directory cannot be removed then, which is told.
            } else if kind == FileType::Directory {
                stack.push((child, status, false));
            } else {
                target.place(&child)?.unlink()?;
            }
        }
    }
    Ok(())
}
