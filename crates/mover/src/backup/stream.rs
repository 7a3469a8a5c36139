//! A command's output as a snapshot of one file.

use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::atomic::Ordering;

use shudao_vault::entry::{Entry, FileTime, Local, Node, Portable, TreePath};
use shudao_vault::suite::Secret;
use shudao_vault::tree::{TreeBuilder, TreeSummary};

use super::content::{Content, ContentWriter};
use super::{BackupError, BackupProgress, BackupSummary};
use crate::budget::READ_BYTES;
use crate::chunker::Chunkers;
use crate::ingest::{Ingest, Nodes};
use crate::source::command::CommandSource;

/// What storing a stream needs.
pub(super) struct Parts<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) progress: &'a BackupProgress,
    pub(super) boundary: &'a Secret,
    pub(super) chunkers: &'a Chunkers,
}

/// Runs the command and stores what it prints. Its exit code decides: anything but zero stores nothing.
pub(super) fn store(
    parts: &Parts<'_>,
    name: Vec<u8>,
    words: &[OsString],
) -> Result<(TreeSummary, BackupSummary), BackupError> {
    let name = TreePath::new(name).filter(|name| name.parent() == Some(TreePath::root()));
    let no_name =
        || BackupError::Output(io::Error::other("its name in the snapshot must be one name without a slash"));
    let name = name.ok_or_else(no_name)?;
    let mut running = CommandSource::start(words)?;
    let mut writer = ContentWriter::new(parts.ingest, parts.chunkers, None, parts.boundary);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if parts.progress.stop.load(Ordering::Relaxed) {
            return Err(BackupError::Interrupted);
        }
        let length = running.read(&mut buffer).map_err(BackupError::Output)?;
        if length == 0 {
            break;
        }
        parts.progress.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        writer.data(&buffer[..length])?;
    }
    running.finish()?;
    let content = writer.finish()?;
    let mut summary = BackupSummary { bytes_total: content.size, ..BackupSummary::default() };
    summary.counts.files = 1;
    summary.counts.files_new = 1;
    summary.counts.directories = 1;
    parts.progress.files.fetch_add(1, Ordering::Relaxed);
    parts.progress.bytes.fetch_add(content.size, Ordering::Relaxed);
    let mut tree = TreeBuilder::new(parts.boundary);
    let now = now();
    tree.push(&entry(TreePath::root(), now, None), &mut Nodes(parts.ingest))?;
    tree.push(&entry(name, now, Some(content)), &mut Nodes(parts.ingest))?;
    Ok((tree.finish(&mut Nodes(parts.ingest))?, summary))
}

fn entry(path: TreePath, mtime: FileTime, content: Option<Content>) -> Entry {
    let (node, mode, extents, profile) = match content {
        Some(Content { size, digest, extents, profile }) => {
            (Node::File { size, digest }, 0o600, extents, profile)
        }
        None => (Node::Directory, 0o700, shudao_vault::entry::Extents::default(), 0),
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let portable = Portable { path, node, mode, uid, gid, mtime, xattrs: Vec::new(), first_link: None };
    Entry { portable, local: Local { extents, profile, ..Local::default() } }
}

fn now() -> FileTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    FileTime { seconds: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
}
