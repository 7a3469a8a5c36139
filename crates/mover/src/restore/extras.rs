//! What stands in the target and not in the snapshot.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, FileType};
use shudao_vault::entry::{Node, TreePath};
use shudao_vault::id::Digest;
use shudao_vault::reader::Reader;
use shudao_vault::tree::EntryStream;
use tokio::runtime::Handle;

use super::target::Target;
use super::{Filter, PathProblem, RestoreError};

/// Something in the target that the snapshot does not have at that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where it stands; everything below a directory goes with it.
    pub path: TreePath,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Lists the extras below `to`, in path order, without changing anything. Excluded paths are never extras.
///
/// # Errors
/// [`RestoreError::Vault`] when the snapshot cannot be read whole: then nothing may be called extra.
pub fn plan_extras(
    reader: &Arc<Reader>,
    root: (Digest, u8),
    to: &Path,
    filter: &Filter,
    runtime: &Handle,
) -> Result<Vec<Extra>, RestoreError> {
    let at = |cause| RestoreError::Target { to: to.to_owned(), cause };
    let mut target = Target::open(to).map_err(at)?;
    let mut entries = EntryStream::open(Arc::clone(reader), root.0, root.1);
    let mut extras = Vec::new();
    // Children of the directories on the way to the current path; a directory's list is complete when it is left.
    let mut open: Vec<(TreePath, HashSet<Vec<u8>>)> = Vec::new();
    loop {
        let entry = runtime.block_on(entries.next())?;
        while let Some((directory, _)) = open.last()
            && entry.as_ref().is_none_or(|entry| !entry.path().is_within(directory))
        {
            if let Some((directory, known)) = open.pop() {
                extras.extend(extras_of(&mut target, &directory, &known, filter).map_err(at)?);
            }
        }
        let Some(entry) = entry else { break };
        if let Some((_, known)) = open.last_mut() {
            known.insert(entry.path().name().to_vec());
        }
        if entry.portable.node == Node::Directory {
            open.push((entry.path().clone(), HashSet::new()));
        }
    }
    extras.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(extras)
}

fn extras_of(
    target: &mut Target,
    directory: &TreePath,
    known: &HashSet<Vec<u8>>,
    filter: &Filter,
) -> io::Result<Vec<Extra>> {
    let handle = match target.directory(directory) {
        Ok(handle) => handle,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut extras = Vec::new();
    for entry in Dir::read_from(&*handle)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || known.contains(name) {
            continue;
        }
        let path = directory.join(name);
        let is_directory = target
            .place(&path)?
            .stat()?
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if filter.wants(&path, is_directory) {
            extras.push(Extra { path, is_directory });
        }
    }
    Ok(extras)
}

/// Removes extras; what cannot be removed is returned. Never follows a symbolic link.
pub fn remove_extras(to: &Path, extras: &[Extra]) -> Result<Vec<PathProblem>, RestoreError> {
    let at = |cause| RestoreError::Target { to: to.to_owned(), cause };
    let mut target = Target::open(to).map_err(at)?;
    let mut failed = Vec::new();
    for extra in extras {
        if let Err(cause) = remove(&mut target, extra) {
            failed.push(PathProblem { path: extra.path.clone(), what: format!("remove it: {cause}") });
        }
    }
    Ok(failed)
}

fn remove(target: &mut Target, extra: &Extra) -> io::Result<()> {
    let place = target.place(&extra.path)?;
    if !extra.is_directory {
        return place.unlink();
    }
    // Depth first by an explicit stack: a hostile depth must not overflow ours.
    let mut stack = vec![(extra.path.clone(), false)];
    while let Some((path, emptied)) = stack.pop() {
        if emptied {
            target.forget();
            target.place(&path)?.remove_directory()?;
            continue;
        }
        stack.push((path.clone(), true));
        let handle = target.directory(&path)?;
        for entry in Dir::read_from(&*handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let child = path.join(name);
            let place = target.place(&child)?;
            match place.stat()? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    stack.push((child, false));
                }
                Some(_) => place.unlink()?,
                None => {}
            }
        }
    }
    Ok(())
}
