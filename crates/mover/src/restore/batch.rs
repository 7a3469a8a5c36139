//! Files that are written together, and the frames they need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rayon::prelude::*;
use shudao_vault::entry::{Extent, TreePath};
use shudao_vault::fetch::Frames;
use shudao_vault::id::Digest;
use shudao_vault::index::Location;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::reader::{FrameKey, Reader, frame_key, slice_of};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::PathProblem;
use super::target::Place;
use super::write::{FileInWork, Piece, WriteError};
use crate::ingest::lock;

/// A batch is closed when the frames it needs hold this many plain bytes.
const BATCH_FRAME_BYTES: usize = 16 << 20;
/// … or when it holds this many files.
const BATCH_FILES: usize = 4096;

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
    pub(super) path: TreePath,
    pub(super) place: Place,
    pub(super) first: Place,
    /// Whether it counts as a regular file.
    pub(super) is_file: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) works: Vec<Work>,
    pub(super) links: Vec<Link>,
    frames: BTreeMap<FrameKey, Location>,
    frame_bytes: usize,
}

impl Batch {
    /// Adds a part to the last work.
    pub(super) fn push(&mut self, part: Part) {
        if let Part::Chunk { place: Some(place), .. } = &part
            && self.frames.insert(frame_key(place), *place).is_none()
        {
            self.frame_bytes += place.frame_length as usize;
        }
        if let Some(work) = self.works.last_mut() {
            work.parts.push(part);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.frame_bytes >= BATCH_FRAME_BYTES || self.works.len() + self.links.len() >= BATCH_FILES
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
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) bytes_written: u64,
    pub(super) failed: Vec<PathProblem>,
    pub(super) not_set: Vec<PathProblem>,
    pub(super) is_full: bool,
}

/// Writes the batch's files in parallel, then its links in order.
pub(super) fn write_batch(
    batch: Batch,
    frames: &Frames,
    reader: &Reader,
    runtime: &Handle,
    prune: bool,
) -> Written {
    let outcomes: Vec<Written> =
        batch.works.into_par_iter().map(|work| write_one(work, frames, reader, runtime, prune)).collect();
    let mut all = Written::default();
    for outcome in outcomes {
        all.merge(outcome);
    }
    for link in batch.links {
        match link.place.link_to(&link.first) {
            Ok(()) => all.files += u64::from(link.is_file),
            Err(cause) => {
                let what = format!("make a hard link: {cause}");
                all.failed.push(PathProblem { path: link.path, what });
            }
        }
    }
    all
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

fn write_one(work: Work, frames: &Frames, reader: &Reader, runtime: &Handle, prune: bool) -> Written {
    let mut outcome = Written::default();
    let mut shared = lock(&work.file);
    // Empty when an earlier part failed, which was reported then.
    let Some(mut file) = shared.take() else { return outcome };
    let path = file.entry.path().clone();
    let result = write_parts(&mut file, work.parts, frames, reader, runtime).and_then(|()| {
        if !work.ends {
            *shared = Some(file);
            return Ok(Vec::new());
        }
        let (size, written) = (file.entry.size(), file.bytes_written);
        let not_set = file.finish(prune)?;
        outcome.files = 1;
        outcome.bytes = size;
        outcome.bytes_written = written;
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
    let mut pieces = Vec::with_capacity(parts.len());
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
                (Piece::Data(bytes), u64::from(length))
            }
        };
        offset += length;
        pieces.push(piece);
    }
    Ok(file.write(&pieces)?)
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
