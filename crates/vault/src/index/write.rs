//! Writes a run from runs and batches: a streaming merge in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::batch::Batch;
use super::coverage::Coverage;
use super::filter::FilterBuilder;
use super::record::{ChunkRecord, FrameRecord, PAGE_BYTES, PAYLOAD_BYTES, Record, page_checksum, prefix};
use super::run::{Counts, Run, encode_head, encode_tail};
use super::{RUN_SUFFIX, TEMPORARY_PREFIX, cache_error};
use crate::codec::Encoder;
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, VaultId, to_hex};
use crate::pack::PackRef;

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Run(&'a Run),
    Batch(&'a Batch),
}

type Stream<'a, R> = Box<dyn Iterator<Item = Result<R>> + 'a>;

impl<'a> Piece<'a> {
    pub(super) fn coverage(self) -> &'a Coverage {
        match self {
            Self::Run(run) => &run.coverage,
            Self::Batch(batch) => &batch.coverage,
        }
    }

    fn chunks(self) -> Stream<'a, ChunkRecord> {
        match self {
            Self::Run(run) => Box::new(run.chunks()),
            Self::Batch(batch) => Box::new(batch.chunks().map(Ok)),
        }
    }

    /// The frames of one of its segments.
    pub(super) fn frames(self, segment: usize) -> Stream<'a, FrameRecord> {
        let range = self.coverage().frame_range(segment);
        match self {
            Self::Run(run) => Box::new(run.frames(range)),
            Self::Batch(batch) => {
                Box::new(batch.frames[range.start as usize..range.end as usize].iter().copied().map(Ok))
            }
        }
    }

    /// The packs of one of its segments.
    pub(super) fn packs(self, segment: usize) -> Stream<'a, PackRef> {
        let range = self.coverage().pack_range(segment);
        match self {
            Self::Run(run) => Box::new(run.packs(range)),
            Self::Batch(batch) => {
                Box::new(batch.packs[range.start as usize..range.end as usize].iter().copied().map(Ok))
            }
        }
    }

    /// The live segments of this piece.
    pub(super) fn live(self) -> impl Iterator<Item = (usize, &'a super::coverage::Covered)> {
        self.coverage().live()
    }
}

/// Writes one run of everything in `pieces` that is live; `None` if nothing is. No two pieces may cover one segment.
///
/// Needs memory for a page of each piece's stream, the keys of one filter shard, and the tail.
pub(super) fn write_run(directory: &Path, vault: VaultId, pieces: &[Piece<'_>]) -> Result<Option<PathBuf>> {
    let mut coverage = Coverage::default();
    for (_, segment) in pieces.iter().flat_map(|piece| piece.live()) {
        coverage.push(*segment);
    }
    if coverage.len() == 0 {
        return Ok(None);
    }
    if coverage.frames() > u64::from(u32::MAX) {
        return Err(Error::new(Kind::Unsupported, "write index cache: more than 4,294,967,295 frames"));
    }
    let path = directory.join(run_name(&coverage));
    let temporary = directory.join(temporary_name());
    let written = write_file(&temporary, vault, coverage, pieces).and_then(|()| {
        std::fs::rename(&temporary, &path).map_err(|error| cache_error("write", &path, error))
    });
    if written.is_err() {
        // The reason for giving up matters more than a leftover, which the next opening removes.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map(|()| Some(path))
}

/// Two processes that write the same segments choose the same name, and then either file will do.
fn run_name(coverage: &Coverage) -> String {
    let mut ids: Vec<_> = coverage.ids().collect();
    ids.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for id in &ids {
        hasher.update(&id.0);
    }
    format!("{}{RUN_SUFFIX}", to_hex(&hasher.finalize().as_bytes()[..16]))
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMPORARY_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn write_file(path: &Path, vault: VaultId, coverage: Coverage, pieces: &[Piece<'_>]) -> Result<()> {
    let failed = |error| cache_error("write", path, error);
    let mut file = File::create_new(path).map_err(failed)?;
    file.seek(SeekFrom::Start(PAGE_BYTES as u64)).map_err(failed)?;
    let mut pages = PageWriter { out: BufWriter::with_capacity(256 << 10, file), path, next_page: 1 };
    let mut fences = Vec::new();
    let mut filter = FilterBuilder::default();
    let mut section = pages.section();
    for chunk in Merge::new(pieces)? {
        let chunk: ChunkRecord = chunk?;
        let key = prefix(&chunk.id);
        if section.begins_page() {
            fences.push(key);
        }
        filter.push(key);
        section.push(&chunk)?;
    }
    let chunks = section.finish()?;
    let mut section = pages.section();
    for (piece, segment) in live_segments(pieces) {
        for frame in piece.frames(segment) {
            section.push(&frame?)?;
        }
    }
    let frames = section.finish()?;
    let mut section = pages.section();
    for (piece, segment) in live_segments(pieces) {
        for pack in piece.packs(segment) {
            section.push(&pack?)?;
        }
    }
    let packs = section.finish()?;
    let counts = Counts { chunks, frames, packs, segments: coverage.len() as u64 };
    let tail = encode_tail(&coverage, &fences, &filter.finish());
    pages.out.write_all(&tail).map_err(failed)?;
    let file = pages.out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.write_all_at(&encode_head(vault, &counts, &tail), 0).map_err(failed)
}

fn live_segments<'a>(pieces: &'a [Piece<'a>]) -> impl Iterator<Item = (Piece<'a>, usize)> {
    pieces.iter().flat_map(|piece| piece.live().map(|(segment, _)| (*piece, segment)))
}

/// Writes record pages one after the other.
struct PageWriter<'a> {
    out: BufWriter<File>,
    path: &'a Path,
    next_page: u64,
}

impl<'a> PageWriter<'a> {
    fn section(&mut self) -> SectionWriter<'_, 'a> {
        SectionWriter { pages: self, payload: Encoder::new(), records: 0 }
    }

    fn write(&mut self, payload: Encoder) -> Result<()> {
        let mut page = payload.finish();
        page.resize(PAYLOAD_BYTES, 0);
        let checksum = page_checksum(self.next_page, &page);
        page.extend_from_slice(&checksum);
        self.next_page += 1;
        self.out.write_all(&page).map_err(|error| cache_error("write", self.path, error))
    }
}

/// Fills the pages of one kind of record.
struct SectionWriter<'w, 'a> {
    pages: &'w mut PageWriter<'a>,
    payload: Encoder,
    records: u64,
}

impl SectionWriter<'_, '_> {
    fn begins_page(&self) -> bool {
        self.payload.as_slice().is_empty()
    }

    fn push<R: Record>(&mut self, record: &R) -> Result<()> {
        record.encode(&mut self.payload);
        self.records += 1;
        if self.records.is_multiple_of(R::PER_PAGE) {
            self.pages.write(std::mem::take(&mut self.payload))?;
        }
        Ok(())
    }

    /// Ends the last page and returns the number of records.
    fn finish(self) -> Result<u64> {
        if !self.begins_page() {
            self.pages.write(self.payload)?;
        }
        Ok(self.records)
    }
}

/// The live chunk records of all pieces in order, their frame ordinals counted in the new run.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<(ChunkId, usize)>>,
}

struct Source<'a> {
    coverage: &'a Coverage,
    /// By segment of the piece: what its frames' ordinals become (old and new first ordinal).
    moved: Vec<(u64, u64)>,
    stream: Stream<'a, ChunkRecord>,
    head: Option<ChunkRecord>,
}

impl<'a> Merge<'a> {
    fn new(pieces: &[Piece<'a>]) -> Result<Self> {
        let mut next_frame = 0;
        let mut merge = Self { sources: Vec::new(), heads: BinaryHeap::new() };
        for piece in pieces {
            let coverage = piece.coverage();
            let mut moved = vec![(0, 0); coverage.len()];
            for (ordinal, segment) in coverage.live() {
                moved[ordinal] = (coverage.frame_range(ordinal).start, next_frame);
                next_frame += segment.frames;
            }
            merge.sources.push(Source { coverage, moved, stream: piece.chunks(), head: None });
            merge.advance(merge.sources.len() - 1)?;
        }
        Ok(merge)
    }

    /// Makes the next live record of a source its head and returns the head before.
    fn advance(&mut self, index: usize) -> Result<Option<ChunkRecord>> {
        let source = &mut self.sources[index];
        let before = source.head.take();
        for chunk in source.stream.by_ref() {
            let mut chunk = chunk?;
            let Some((ordinal, _)) = source.coverage.of_frame(chunk.frame) else { continue };
            let (old, new) = source.moved[ordinal];
            // Both are below 2^32: the run's frames were counted.
            chunk.frame = (u64::from(chunk.frame) - old + new) as u32;
            source.head = Some(chunk);
            self.heads.push(Reverse((chunk.id, index)));
            break;
        }
        Ok(before)
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<ChunkRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        // Sources with one chunk in common take turns in their order, so places ascend by frame too.
        let Reverse((_, index)) = self.heads.pop()?;
        self.advance(index).transpose()
    }
}
