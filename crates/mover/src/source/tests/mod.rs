//! The walk and the reader on real trees. Whoever runs these, root or not, everything is asserted that this user can
//! see; what only root can make is asserted to be refused to everyone else.

mod kinds;
mod reading;
mod shape;
mod trouble;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

use super::*;

pub(super) fn tempdir() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes each file (or, with a trailing slash, directory) with its path as content.
pub(super) fn plant(root: &Path, paths: &[&str]) {
    for path in paths {
        let full = root.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, path).unwrap();
        }
    }
}

/// Makes `depth` directories called `name` inside each other and gives their handles.
pub(super) fn deepen(root: &Path, name: &str, depth: usize) -> Vec<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut handles = vec![openat(CWD, root, flags, Mode::empty()).unwrap()];
    for level in 0..depth {
        mkdirat(&handles[level], name, Mode::from_raw_mode(0o755)).unwrap();
        handles.push(openat(&handles[level], name, flags, Mode::empty()).unwrap());
    }
    handles.split_off(1)
}

/// Removes what [`deepen`] made, which is too deep for the usual ways.
pub(super) fn remove_deep(root: &Path, name: &str) {
    let done = Command::new("rm").arg("-rf").arg(root.join(name)).status().unwrap();
    assert!(done.success());
}

pub(super) fn options(roots: &[&Path]) -> ScanOptions {
    ScanOptions { roots: roots.iter().map(PathBuf::from).collect(), ..ScanOptions::default() }
}

pub(super) fn scan_all(options: ScanOptions) -> Vec<Scanned> {
    scan(options).unwrap().collect()
}

/// A line for each word of the walk: the path, and a mark where it is not simply found.
pub(super) fn lines(scanned: &[Scanned]) -> Vec<String> {
    let line = |scanned: &Scanned| match scanned {
        Scanned::Found(found) if found.node == FoundNode::Directory => format!("{}/", found.path),
        Scanned::Found(found) => found.path.to_string(),
        Scanned::Skipped { path, why } => format!("{path} {why:?}"),
        Scanned::Unreadable { path, kind, .. } => format!("{path} {kind:?}"),
    };
    scanned.iter().map(line).collect()
}

pub(super) fn walk_lines(root: &Path) -> Vec<String> {
    lines(&scan_all(options(&[root])))
}

/// The found path, which must be there.
pub(super) fn find<'a>(scanned: &'a [Scanned], path: &[u8]) -> &'a Found {
    scanned
        .iter()
        .find_map(|scanned| match scanned {
            Scanned::Found(found) if found.path.as_bytes() == path => Some(&**found),
            _ => None,
        })
        .unwrap_or_else(|| panic!("{:?} is not in {:?}", String::from_utf8_lossy(path), lines(scanned)))
}

/// Content as data and holes; adjoining pieces of a kind joined.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data(Vec<u8>),
    Hole(u64),
    Shrunk,
}

pub(super) fn read_parts(file: &mut OpenFile, buffer_bytes: usize) -> Vec<Part> {
    let (mut parts, mut buffer) = (Vec::new(), vec![0; buffer_bytes]);
    loop {
        match (file.next_piece(&mut buffer).unwrap(), parts.last_mut()) {
            (Piece::End, _) => return parts,
            (Piece::Shrunk, _) => {
                parts.push(Part::Shrunk);
                return parts;
            }
            (Piece::Data(length), Some(Part::Data(data))) => data.extend_from_slice(&buffer[..length]),
            (Piece::Data(length), _) => parts.push(Part::Data(buffer[..length].to_vec())),
            (Piece::Hole(length), Some(Part::Hole(sum))) => *sum += length,
            (Piece::Hole(length), _) => parts.push(Part::Hole(length)),
        }
    }
}
