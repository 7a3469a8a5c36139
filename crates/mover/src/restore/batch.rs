//! Files that are written together, and the frames they need.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use rayon::prelude::*;
use rustix::fs::FileType;
use shudao_vault::entry::{Entry, Extent, Node, TreePath};
use shudao_vault::fetch::Frames;
use shudao_vault::id::Digest;
use shudao_vault::index::Location;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::reader::{FrameKey, Reader, frame_key, slice_of};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::PathProblem;
use super::compare::{Existing, look};
use super::target::Place;
use super::write::{FileInWork, Piece, WriteError};
use crate::ingest::lock;

/// A batch is closed when the frames it needs hold this many plain bytes.
const BATCH_FRAME_BYTES: usize = 12 << 20;
/// … or when it holds this many files.
const BATCH_FILES: usize = 4096;
/// … or this many parts of files.
const BATCH_PARTS: usize = 16_384;
/// … or so many directories that their open handles would go beyond what a process may have.
const BATCH_DIRECTORIES: usize = 128;

/// What is known of a file before its bytes arrive.
pub(super) enum Part {
    /// A chunk, and the place where it is looked for first.
    Chunk { digest: Digest, length: u32, place: Option<Location> },
    /// Not allocated.
    Hole(u64),
    /// Right already.
    Kept(u64),
}

/// A file shared by the batches that hold parts of it; empty once it is finished or has failed.
pub(super) type SharedFile = Arc<Mutex<Option<FileInWork>>>;

/// Some or all parts of one file.
pub(super) struct Work {
    pub(super) file: SharedFile,
    pub(super) parts: Vec<Part>,
    /// No later batch has more of it.
    pub(super) ends: bool,
}

/// A second name for a file.
pub(super) struct Link {
    pub(super) entry: Entry,
    pub(super) place: Place,
    pub(super) first: Place,
    /// Where the first name is in the tree.
    pub(super) first_path: TreePath,
    /// What stood at `place` before the batch.
    pub(super) found: Existing,
}

/// See the module.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) works: Vec<Work>,
    pub(super) links: Vec<Link>,
    frames: BTreeMap<FrameKey, Location>,
    frame_bytes: usize,
    parts: usize,
    directories: HashSet<RawFd>,
}

impl Batch {
    /// Adds a file, whose parts follow.
    pub(super) fn begin(&mut self, file: &SharedFile, place: &Place) {
        self.hold(place);
        self.works.push(Work { file: Arc::clone(file), parts: Vec::new(), ends: false });
    }

    /// Adds a second name.
    pub(super) fn link(&mut self, link: Link) {
        self.hold(&link.place);
        self.hold(&link.first);
        self.links.push(link);
    }

    /// Remembers that the place's directory stays open as long as the batch.
    fn hold(&mut self, place: &Place) {
        self.directories.insert(place.directory.as_raw_fd());
    }

    /// Adds a part to the last work.
    pub(super) fn push(&mut self, part: Part) {
        self.parts += 1;
        if let Part::Chunk { place: Some(place), .. } = &part
            && self.frames.insert(frame_key(place), *place).is_none()
        {
            self.frame_bytes += place.frame_length as usize;
        }
        let Some(work) = self.works.last_mut() else { return };
        match (work.parts.last_mut(), part) {
            (Some(Part::Kept(before)), Part::Kept(length)) => *before += length,
            (_, part) => work.parts.push(part),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.frame_bytes >= BATCH_FRAME_BYTES
            || self.works.len() + self.links.len() >= BATCH_FILES
            || self.parts >= BATCH_PARTS
            || self.directories.len() >= BATCH_DIRECTORIES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty() && self.links.is_empty()
    }

    /// Starts fetching the batch's frames.
    pub(super) fn fetch(&self, reader: &Arc<Reader>, runtime: &Handle) -> JoinHandle<Frames> {
        let (reader, places) = (Arc::clone(reader), self.frames.values().copied().collect::<Vec<_>>());
        runtime.spawn(async move { reader.frames(&places).await })
    }
}

/// What writing a batch came to.
#[derive(Default)]
pub(super) struct Written {
    /// Files finished.
    pub(super) files: u64,
    /// Logical bytes of files that were handled, finished or not.
    pub(super) bytes: u64,
    pub(super) bytes_written: u64,
    pub(super) failed: Vec<PathProblem>,
    pub(super) not_set: Vec<PathProblem>,
    pub(super) is_full: bool,
}

/// A batch whose files are being written, in parallel, on other threads. Its links are made afterwards, by [`make_link`].
pub(super) struct Writing {
    links: Vec<Link>,
    thread: Option<thread::JoinHandle<Written>>,
}

impl Writing {
    /// Begins, and does not wait.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(
        batch: Batch,
        frames: Frames,
        reader: &Arc<Reader>,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let (works, reader, runtime) = (batch.works, Arc::clone(reader), runtime.clone());
        let write = move || {
            let outcomes: Vec<Written> =
                works.into_par_iter().map(|work| write_one(work, &frames, &reader, &runtime)).collect();
            let mut all = Written::default();
            for outcome in outcomes {
                all.merge(outcome);
            }
            all
        };
        let thread = thread::Builder::new().name("restore".to_owned()).spawn(write)?;
        Ok(Self { links: batch.links, thread: Some(thread) })
    }

    /// Waits for its end, and returns what it came to and the links to make now.
    pub(super) fn wait(mut self) -> (Written, Vec<Link>) {
        let written = match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Written::default(),
        };
        (written, std::mem::take(&mut self.links))
    }
}

impl Drop for Writing {
    /// Whatever ended the restore early: nothing is written behind its back.
    fn drop(&mut self) {
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// Makes a second name of the file at the first one, once that is written. What stands there is replaced.
///
/// Returns false when the first name does not hold what the entry says, so that a link would give the entry other bytes.
pub(super) fn make_link(link: &Link, in_place: bool) -> io::Result<bool> {
    let Some(first) = link.first.stat()? else { return Ok(false) };
    let there = if in_place { link.place.stat()? } else { None };
    if let Some(there) = &there
        && (there.st_dev, there.st_ino) == (first.st_dev, first.st_ino)
    {
        // Other bytes would have been replaced, at the first name, by another inode.
        return Ok(link.found == Existing::Same);
    }
    // In a target that was empty whatever stands at the first name was written by this run.
    let is_right = if in_place {
        look(&link.first, &link.entry)? == Existing::Same
    } else {
        let is_file = FileType::from_raw_mode(first.st_mode) == FileType::RegularFile;
        let is_to_be_file = matches!(link.entry.portable.node, Node::File { .. });
        is_file == is_to_be_file && (!is_file || first.st_size as u64 == link.entry.size())
    };
    if !is_right {
        return Ok(false);
    }
    if there.is_none() {
        link.place.link_to(&link.first)?;
        return Ok(true);
    }
    let temporary = link.place.temporary();
    temporary.link_to(&link.first)?;
    link.place.take_over(&temporary).inspect_err(|_| drop(temporary.unlink()))?;
    Ok(true)
}

impl Written {
    fn merge(&mut self, other: Written) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.bytes_written += other.bytes_written;
        self.failed.extend(other.failed);
        self.not_set.extend(other.not_set);
        self.is_full |= other.is_full;
    }
}

fn write_one(work: Work, frames: &Frames, reader: &Reader, runtime: &Handle) -> Written {
    let mut outcome = Written::default();
    let mut shared = lock(&work.file);
    // Empty when an earlier part failed, which was reported then.
    let Some(mut file) = shared.take() else { return outcome };
    let path = file.entry.path().clone();
    let before = (file.offset(), file.bytes_written);
    let result = write_parts(&mut file, work.parts, frames, reader, runtime);
    outcome.bytes = file.offset() - before.0;
    outcome.bytes_written = file.bytes_written - before.1;
    let result = result.and_then(|()| {
        if !work.ends {
            *shared = Some(file);
            return Ok(Vec::new());
        }
        let not_set = file.finish()?;
        outcome.files = 1;
        Ok(not_set)
    });
    match result {
        Ok(not_set) => outcome.not_set.extend(not_set.into_iter().map(|not_set| PathProblem {
            path: path.clone(),
            what: format!("{}: {}", not_set.what, not_set.cause),
        })),
        Err(error) => {
            outcome.is_full = matches!(&error, Failure::Write(write) if write.is_full());
            outcome.failed.push(PathProblem { path, what: shudao_vault::vault::chain(&error) });
        }
    }
    outcome
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("bytes {from} to {to} cannot be read")]
    Lost {
        from: u64,
        to: u64,
        #[source]
        cause: shudao_vault::Error,
    },
}

fn write_parts(
    file: &mut FileInWork,
    parts: Vec<Part>,
    frames: &Frames,
    reader: &Reader,
    runtime: &Handle,
) -> Result<(), Failure> {
    let mut offset = file.offset();
    for part in parts {
        let (piece, length) = match part {
            Part::Hole(length) => (Piece::Hole(length), length),
            Part::Kept(length) => (Piece::Kept(length), length),
            Part::Chunk { digest, length, place } => {
                let bytes = chunk_bytes(&digest, place.as_ref(), frames, reader, runtime);
                let (from, to) = (offset, offset + u64::from(length));
                let bytes = bytes.map_err(|cause| Failure::Lost { from, to, cause })?;
                if bytes.len() != length as usize {
                    let cause = shudao_vault::Error::damaged(
                        "the chunk has another length than the file's entry says",
                    );
                    return Err(Failure::Lost { from, to, cause });
                }
                (Piece::Data(bytes, digest), u64::from(length))
            }
        };
        offset += length;
        file.write(&piece)?;
    }
    Ok(())
}

/// The chunk from the fetched frames or, when those do not give it, from wherever the index knows it.
fn chunk_bytes(
    digest: &Digest,
    place: Option<&Location>,
    frames: &Frames,
    reader: &Reader,
    runtime: &Handle,
) -> shudao_vault::Result<Bytes> {
    if let Some(place) = place
        && let Some(Ok(frame)) = frames.get(&frame_key(place))
        && let Ok(bytes) = slice_of(frame, place)
        && Digest::of(&bytes) == *digest
    {
        return Ok(bytes);
    }
    runtime.block_on(reader.chunk(ChunkSpace::Content, digest))
}

/// The part for an extent: where its chunk is looked for first.
pub(super) fn part_of(extent: &Extent, reader: &Reader) -> shudao_vault::Result<Part> {
    Ok(match extent {
        Extent::Hole { length } => Part::Hole(*length),
        Extent::Data { digest, length } => {
            let place = reader.places(ChunkSpace::Content, digest)?.into_iter().next();
            Part::Chunk { digest: *digest, length: *length, place }
        }
    })
}
