//! The local index: where chunks lie, answered from sorted files in the cache directory.
//!
//! It is a cache of the live segments and can always be built from them again: a file that fails a check is removed
//! and its segments are fetched again. Layout and rules: `docs/format/index.md` section 4.
//!
//! The order of use: [`Index::open`], [`Index::retain`] with the live segments, [`Index::missing`] to learn which to
//! fetch, [`Index::add`] for each, [`Index::commit`]; then [`Index::lookup`] from as many threads as wanted.

mod batch;
mod coverage;
mod directory;
mod filter;
mod marks;
mod page_cache;
mod record;
mod run;
mod write;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use batch::Batch;
use coverage::Covered;
use directory::CacheDirectory;
pub use marks::{Mark, Marks, PackUsage};
use page_cache::PageCache;
use record::{ChunkRecord, FrameRecord};
use run::Run;
use write::{Piece, write_run};

use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, KeyId, PackId, SegmentId, VaultId, WriterId};
use crate::keys::ring::ChunkSpace;
use crate::pack::{PackKind, PackRef};
use crate::segment::{SEGMENT_CHUNKS_TARGET, Segment};

/// Pages in memory.
pub const PAGE_CACHE_BYTES: usize = 16 << 20;
/// More runs than this are merged.
const RUNS_MAX: usize = 8;
/// Ends the name of a run.
const RUN_SUFFIX: &str = ".run";
/// Begins the name of a file that is being written.
const TEMPORARY_PREFIX: &str = "temporary-";

/// One place of a chunk, as a segment claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Its kind.
    pub pack_kind: PackKind,
    /// The object key that opens the frame.
    pub key: KeyId,
    /// The frame's counter under that key.
    pub counter: u32,
    /// Where the sealed frame begins in the pack.
    pub frame_offset: u64,
    /// Number of its sealed bytes.
    pub stored_length: u32,
    /// Number of its plain bytes.
    pub frame_length: u32,
    /// Where the chunk begins in the frame's plain bytes.
    pub offset: u32,
    /// The chunk's length in bytes.
    pub length: u32,
    /// Who sealed the frame.
    pub writer: WriterId,
    /// Who signed the segment that says all this.
    pub author: WriterId,
    /// That segment.
    pub segment: SegmentId,
}

impl Location {
    /// Appends the place that the records make, unless it is in another space or already there.
    fn collect(
        chunk: &ChunkRecord,
        frame: &FrameRecord,
        segment: &Covered,
        space: ChunkSpace,
        found: &mut Vec<Self>,
    ) {
        let location = Self {
            pack: frame.pack,
            pack_kind: frame.kind,
            key: frame.key,
            counter: frame.counter,
            frame_offset: frame.offset,
            stored_length: frame.stored_length,
            frame_length: frame.plain_length,
            offset: chunk.offset,
            length: chunk.length,
            writer: frame.writer,
            author: segment.author,
            segment: segment.id,
        };
        if frame.kind.space() == space && !found.contains(&location) {
            found.push(location);
        }
    }
}

/// A pack that a live segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedPack {
    /// The pack.
    pub pack: PackRef,
    /// Who signed the segment: the index answers for all of the pack as far as that author is believed.
    pub author: WriterId,
    /// That segment.
    pub segment: SegmentId,
}

/// Where chunks lie, for one vault.
#[derive(Debug)]
pub struct Index {
    directory: Option<CacheDirectory>,
    vault: VaultId,
    runs: Vec<Run>,
    batch: Batch,
    cache: PageCache,
    next_number: u64,
}

impl Index {
    /// An index that is kept in memory only, however large it gets.
    pub fn in_memory(vault: VaultId) -> Self {
        Self {
            directory: None,
            vault,
            runs: Vec::new(),
            batch: Batch::default(),
            cache: PageCache::new(PAGE_CACHE_BYTES),
            next_number: 0,
        }
    }

    /// Opens the index of `vault` in `directory`, which is created if needed and belongs to this index alone. Damaged
    /// and foreign runs are removed.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the directory cannot be made or read, [`Kind::Full`] without room for it.
    pub fn open(directory: &Path, vault: VaultId) -> Result<Self> {
        let directory = CacheDirectory::open(directory)?;
        let mut index = Self::in_memory(vault);
        let mut runs = Vec::new();
        for path in directory.runs()? {
            match Run::open(path.clone(), vault, index.take_number()) {
                Ok(run) => runs.push(run),
                Err(error) if error.kind() == Kind::Damaged => directory.remove(&path)?,
                // Another process merged it away meanwhile, or it cannot be read: its segments are missing then.
                Err(_) => {}
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.coverage.live_chunks()));
        let mut covered = BTreeSet::new();
        for run in runs {
            if run.coverage.ids().any(|id| covered.contains(&id)) {
                directory.remove_if_alone(run.path())?;
            } else {
                covered.extend(run.coverage.ids());
                index.runs.push(run);
            }
        }
        directory.share();
        index.directory = Some(directory);
        Ok(index)
    }

    /// The segments of `live` that the index does not cover: to be fetched and added.
    pub fn missing(&self, live: &[SegmentId]) -> Vec<SegmentId> {
        let covered: BTreeSet<SegmentId> =
            self.whole_runs().flat_map(|run| run.coverage.ids()).chain(self.batch.coverage.ids()).collect();
        live.iter().filter(|id| !covered.contains(id)).copied().collect()
    }

    /// Adds a segment; one that is covered already only becomes live again. What is added collects in memory up to 65,536 chunks and
    /// is then written as a run.
    ///
    /// # Errors
    /// [`Kind::Full`] or [`Kind::Unavailable`] if the run cannot be written; what was added stays in memory.
    pub fn add(&mut self, segment: &Segment) -> Result<()> {
        self.runs.retain(|run| !run.is_damaged());
        let coverages = self.runs.iter_mut().map(|run| &mut run.coverage);
        if coverages.chain([&mut self.batch.coverage]).any(|coverage| coverage.revive(segment.clear.id)) {
            return Ok(());
        }
        if !self.batch.is_empty() && self.batch.len() + segment.chunks.len() > SEGMENT_CHUNKS_TARGET {
            self.commit()?;
        }
        self.batch.add(segment);
        Ok(())
    }

    /// Restricts the answers to the segments in `live`. The others are masked at once, and left out when their run is
    /// next rewritten; nothing needs to be fetched because of it.
    pub fn retain(&mut self, live: &BTreeSet<SegmentId>) {
        self.runs.retain(|run| !run.is_damaged());
        for run in &mut self.runs {
            run.coverage.retain(live);
        }
        self.batch.coverage.retain(live);
    }

    /// Writes what was added as a run, merges runs when there are more than 8, and rewrites those of which a quarter
    /// or more is no longer live. An index in memory does nothing.
    ///
    /// # Errors
    /// [`Kind::Full`] or [`Kind::Unavailable`]; [`Kind::Damaged`] if a run that was to be merged is: it is removed, and
    /// [`Index::missing`] names its segments. The index stays usable.
    pub fn commit(&mut self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        self.runs.retain(|run| !run.is_damaged());
        if !self.batch.is_empty() {
            let path = write_run(directory.path(), self.vault, &[Piece::Batch(&self.batch)])?;
            self.take_in(path)?;
            self.batch = Batch::default();
        }
        let wasted = |run: &Run| {
            run.coverage.dead_chunks() * 4 > run.coverage.live_chunks() + run.coverage.dead_chunks()
        };
        while let Some(position) = self.runs.iter().position(wasted) {
            let run = self.runs.swap_remove(position);
            self.rewrite(vec![run])?;
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.sort_by_key(|run| std::cmp::Reverse(run.coverage.live_chunks()));
            let sizes: Vec<u64> = self.runs.iter().map(|run| run.coverage.live_chunks()).collect();
            let merged = self.runs.split_off(merge_start(&sizes));
            self.rewrite(merged)?;
        }
        Ok(())
    }

    /// All places of a chunk in live segments; usually none or one.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if a cache file is: it is removed, and [`Index::missing`] names its segments. An index that
    /// cannot answer never says that a chunk is absent.
    pub fn lookup(&self, id: &ChunkId, space: ChunkSpace) -> Result<Vec<Location>> {
        let mut found = Vec::new();
        self.batch.lookup(id, space, &mut found);
        for run in &self.runs {
            run.lookup(id, space, &self.cache, &mut found)?;
        }
        Ok(found)
    }

    /// The number of places in live segments.
    pub fn chunks(&self) -> u64 {
        self.pieces().flat_map(Piece::live).map(|(_, segment)| segment.chunks).sum()
    }

    /// The packs of all live segments, in no order; a pack in two segments comes twice. Errors as
    /// [`Index::lookup`]'s.
    pub fn packs(&self) -> impl Iterator<Item = Result<IndexedPack>> + '_ {
        self.pieces().flat_map(|piece| {
            piece.live().flat_map(move |(ordinal, segment)| {
                let (author, segment) = (segment.author, segment.id);
                piece.packs(ordinal).map(move |pack| pack.map(|pack| IndexedPack { pack, author, segment }))
            })
        })
    }

    /// The live segments with the packs that they speak of, a pair for each, in no order. Errors as
    /// [`Index::lookup`]'s.
    pub fn segment_packs(&self) -> impl Iterator<Item = Result<(SegmentId, PackId)>> + '_ {
        self.pieces().flat_map(|piece| {
            piece.live().flat_map(move |(ordinal, segment)| {
                let id = segment.id;
                piece.packs(ordinal).map(move |pack| pack.map(|pack| (id, pack.id)))
            })
        })
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.runs.iter().map(Piece::Run).chain(std::iter::once(Piece::Batch(&self.batch)))
    }

    fn whole_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.is_damaged())
    }

    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn take_in(&mut self, path: Option<PathBuf>) -> Result<()> {
        if let Some(path) = path {
            let run = Run::open(path, self.vault, self.take_number())?;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Replaces `runs`, which were taken out of the index, by one; puts them back where that fails.
    fn rewrite(&mut self, runs: Vec<Run>) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let pieces: Vec<Piece<'_>> = runs.iter().map(Piece::Run).collect();
        let written = write_run(directory.path(), self.vault, &pieces);
        match written {
            Ok(path) => {
                let mut replaced = runs.iter().map(Run::path).filter(|old| Some(*old) != path.as_deref());
                let removed = replaced.try_for_each(|old| directory.remove(old));
                self.take_in(path).and(removed)
            }
            Err(error) => {
                self.runs.extend(runs.into_iter().filter(|run| !run.is_damaged()));
                Err(error)
            }
        }
    }
}

/// Which runs, of these descending sizes, to merge: the smallest ones, at least as many as bring their number down to
/// 8, and further as long as the next is not larger than all taken so far. So sizes stay far apart, and a chunk is
/// rewritten a logarithmic number of times.
fn merge_start(sizes: &[u64]) -> usize {
    let mut start = sizes.len().min(RUNS_MAX - 1);
    let mut taken: u64 = sizes[start..].iter().sum();
    while start > 0 && sizes[start - 1] <= taken {
        start -= 1;
        taken += sizes[start];
    }
    start
}

fn cache_error(verb: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{verb} index cache {}", path.display())).because(error)
}

#[cfg(test)]
mod tests;
