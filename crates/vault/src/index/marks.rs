//! What of an index is still referenced: one bit a chunk, one bit a frame.
//!
//! Marks are laid over the index as it is; it cannot change while they live. All places of a marked chunk are marked, so that a
//! copy is never taken for waste because another one exists: which of them a snapshot counts on is not known here.

use std::collections::{BTreeMap, HashSet};

use super::Index;
use super::run::Run;
use super::write::Piece;
use crate::error::Result;
use crate::id::{ChunkId, PackId};
use crate::pack::PackRef;

/// What marking a chunk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The index knows no live place of it.
    Absent,
    /// It was not marked before.
    Fresh,
    /// It was marked already.
    Before,
}

/// How much of a pack is referenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUsage {
    /// The pack.
    pub pack: PackRef,
    /// Frames in it.
    pub frames: u64,
    /// Frames that hold a marked chunk.
    pub frames_live: u64,
    /// Sealed bytes of all frames.
    pub bytes: u64,
    /// Sealed bytes of the frames that hold a marked chunk.
    pub bytes_live: u64,
}

#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: u64) -> Self {
        Self(vec![0; len.div_ceil(64) as usize])
    }

    fn get(&self, at: u64) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Sets a bit; returns whether it was set before.
    fn set(&mut self, at: u64) -> bool {
        let was = self.get(at);
        if let Some(word) = self.0.get_mut((at / 64) as usize) {
            *word |= 1 << (at % 64);
        }
        was
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
    }
}

/// Marks over one index.
#[derive(Debug)]
pub struct Marks<'a> {
    index: &'a Index,
    runs: Vec<RunMarks<'a>>,
    /// What is not in a run yet is little, and has no ordinals.
    batch_chunks: HashSet<ChunkId>,
    batch_frames: Bits,
}

#[derive(Debug)]
struct RunMarks<'a> {
    run: &'a Run,
    chunks: Bits,
    frames: Bits,
}

impl<'a> Marks<'a> {
    /// Nothing is marked yet.
    pub fn new(index: &'a Index) -> Self {
        let marks_of = |run: &'a Run| {
            let counts = run.counts();
            RunMarks { run, chunks: Bits::new(counts.chunks), frames: Bits::new(counts.frames) }
        };
        Self {
            index,
            runs: index.runs.iter().map(marks_of).collect(),
            batch_chunks: HashSet::new(),
            batch_frames: Bits::new(index.batch.coverage.frames()),
        }
    }

    /// Chunks that can be marked; one that has several places may count several times.
    pub fn chunks(&self) -> u64 {
        self.index.chunks()
    }

    /// Marks every place of a chunk.
    ///
    /// # Errors
    /// As [`Index::lookup`]'s.
    pub fn mark(&mut self, id: &ChunkId) -> Result<Mark> {
        let (mut is_known, mut is_fresh) = (false, false);
        let batch = &self.index.batch;
        for record in batch.records_of(id) {
            if batch.coverage.of_frame(record.frame).is_some() {
                is_known = true;
                self.batch_frames.set(u64::from(record.frame));
            }
        }
        if is_known {
            is_fresh = self.batch_chunks.insert(*id);
        }
        for RunMarks { run, chunks, frames } in &mut self.runs {
            run.records_of(id, &self.index.cache, &mut |ordinal, record| {
                if run.coverage.of_frame(record.frame).is_some() {
                    is_known = true;
                    is_fresh |= !chunks.set(ordinal);
                    frames.set(u64::from(record.frame));
                }
                Ok(())
            })?;
        }
        Ok(match (is_known, is_fresh) {
            (false, _) => Mark::Absent,
            (true, true) => Mark::Fresh,
            (true, false) => Mark::Before,
        })
    }

    /// Marks many chunks, which are sorted so that each page of the index is read once. Returns how many are absent.
    ///
    /// # Errors
    /// As [`Index::lookup`]'s.
    pub fn mark_all(&mut self, ids: &mut [ChunkId]) -> Result<u64> {
        ids.sort_unstable();
        let mut absent = 0;
        for id in ids {
            absent += u64::from(self.mark(id)? == Mark::Absent);
        }
        Ok(absent)
    }

    /// Whether a chunk is referenced: true unless the index knows it and nothing has marked it. What is not known is never
    /// called waste.
    ///
    /// # Errors
    /// As [`Index::lookup`]'s.
    pub fn may_be_live(&self, id: &ChunkId) -> Result<bool> {
        let (mut is_known, mut is_marked) = (false, self.batch_chunks.contains(id));
        let batch = &self.index.batch;
        is_known |= batch.records_of(id).any(|record| batch.coverage.of_frame(record.frame).is_some());
        for RunMarks { run, chunks, .. } in &self.runs {
            run.records_of(id, &self.index.cache, &mut |ordinal, record| {
                is_known |= run.coverage.of_frame(record.frame).is_some();
                is_marked |= chunks.get(ordinal);
                Ok(())
            })?;
        }
        Ok(is_marked || !is_known)
    }

    /// How much of each pack in a live segment is marked. Where two segments speak of one pack, the one that finds more of it
    /// live is believed.
    ///
    /// # Errors
    /// As [`Index::lookup`]'s.
    pub fn usage(&self) -> Result<BTreeMap<PackId, PackUsage>> {
        let mut usage = BTreeMap::new();
        for RunMarks { run, frames, .. } in &self.runs {
            add_usage(Piece::Run(run), frames, &mut usage)?;
        }
        add_usage(Piece::Batch(&self.index.batch), &self.batch_frames, &mut usage)?;
        Ok(usage)
    }

    /// Bytes of memory that the marks take.
    pub fn bytes(&self) -> usize {
        let runs = self.runs.iter().map(|run| run.chunks.bytes() + run.frames.bytes());
        runs.sum::<usize>() + self.batch_frames.bytes() + self.batch_chunks.len() * ChunkId::LEN
    }
}

fn add_usage(piece: Piece<'_>, marked: &Bits, usage: &mut BTreeMap<PackId, PackUsage>) -> Result<()> {
    for (segment, _) in piece.live() {
        let mut of_segment: BTreeMap<PackId, PackUsage> = BTreeMap::new();
        for pack in piece.packs(segment) {
            let pack = pack?;
            let empty = PackUsage { pack, frames: 0, frames_live: 0, bytes: 0, bytes_live: 0 };
            of_segment.insert(pack.id, empty);
        }
        for (ordinal, frame) in piece.coverage().frame_range(segment).zip(piece.frames(segment)) {
            let frame = frame?;
            let Some(pack) = of_segment.get_mut(&frame.pack) else { continue };
            let bytes = u64::from(frame.stored_length);
            pack.frames += 1;
            pack.bytes += bytes;
            if marked.get(ordinal) {
                pack.frames_live += 1;
                pack.bytes_live += bytes;
            }
        }
        for (id, found) in of_segment {
            let known = usage.entry(id).or_insert(found);
            if found.bytes_live > known.bytes_live {
                *known = found;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyId, SegmentId, VaultId, WriterId};
    use crate::pack::PackKind;
    use crate::segment::{Segment, SegmentChunk, SegmentClear, SegmentFrame};

    fn chunk(n: u8) -> ChunkId {
        ChunkId([n; 32])
    }

    fn pack(n: u8) -> PackId {
        PackId::of(&[n])
    }

    /// A segment over one pack: frame i of 100 sealed bytes holds the chunks of its list.
    fn segment(name: u8, of: u8, frames: &[&[u8]]) -> Segment {
        let pack = PackRef { id: pack(of), kind: PackKind::Content, size: 1000 };
        let frame = |at: usize| SegmentFrame {
            pack: 0,
            key: KeyId([of; 16]),
            counter: at as u32,
            offset: 100 * at as u64,
            stored_length: 100,
            plain_length: 100,
            writer: WriterId([1; 16]),
        };
        let mut chunks: Vec<_> = frames
            .iter()
            .enumerate()
            .flat_map(|(at, chunks)| {
                chunks.iter().zip(0..).map(move |(n, offset)| SegmentChunk {
                    id: chunk(*n),
                    frame: at as u32,
                    offset,
                    length: 1,
                })
            })
            .collect();
        chunks.sort_unstable();
        let clear = SegmentClear { id: SegmentId::of(&[name]), author: WriterId([1; 16]), packs: vec![pack] };
        Segment { clear, frames: (0..frames.len()).map(frame).collect(), chunks }
    }

    fn check(index: &Index) {
        let mut marks = Marks::new(index);
        assert_eq!(marks.mark(&chunk(1)).unwrap(), Mark::Fresh);
        assert_eq!(marks.mark(&chunk(1)).unwrap(), Mark::Before);
        assert_eq!(marks.mark(&chunk(99)).unwrap(), Mark::Absent);
        assert_eq!(marks.mark_all(&mut [chunk(98), chunk(5), chunk(1)]).unwrap(), 1);
        for (n, may_be_live) in [(1, true), (5, true), (2, false), (6, false), (99, true)] {
            assert_eq!(marks.may_be_live(&chunk(n)).unwrap(), may_be_live, "{n}");
        }
        let usage = marks.usage().unwrap();
        let lives: Vec<_> =
            usage.values().map(|pack| (pack.frames, pack.frames_live, pack.bytes_live)).collect();
        let mut expected = vec![(pack(1), (3, 2, 200)), (pack(2), (1, 0, 0)), (pack(3), (1, 1, 100))];
        expected.sort_unstable();
        assert_eq!(lives, expected.into_iter().map(|(_, lives)| lives).collect::<Vec<_>>());
    }

    /// Chunk 1 stands twice; nothing refers to pack 2; two segments speak of pack 3, and one of them says less.
    fn segments() -> [Segment; 4] {
        [
            segment(1, 1, &[&[1, 2], &[3, 4], &[1, 6]]),
            segment(2, 2, &[&[7, 8]]),
            segment(3, 3, &[&[5, 9]]),
            segment(4, 3, &[&[9]]),
        ]
    }

    #[test]
    fn every_place_of_a_marked_chunk_is_live() {
        let vault = VaultId([1; 16]);
        let directory = tempfile::tempdir().unwrap();
        let mut written = Index::open(directory.path(), vault).unwrap();
        let mut in_memory = Index::in_memory(vault);
        for segment in segments() {
            in_memory.add(&segment).unwrap();
            written.add(&segment).unwrap();
            written.commit().unwrap();
        }
        check(&in_memory);
        check(&written);
        assert_eq!(Marks::new(&written).bytes(), 8 * 2 * 4);
    }

    #[test]
    fn a_segment_that_is_no_longer_live_says_nothing() {
        let vault = VaultId([1; 16]);
        let mut index = Index::in_memory(vault);
        for segment in segments() {
            index.add(&segment).unwrap();
        }
        index.retain(&[SegmentId::of(&[3])].into());
        let mut marks = Marks::new(&index);
        assert_eq!(marks.mark(&chunk(1)).unwrap(), Mark::Absent);
        assert_eq!(marks.mark(&chunk(9)).unwrap(), Mark::Fresh);
        assert_eq!(marks.usage().unwrap().into_keys().collect::<Vec<_>>(), [pack(3)]);
    }
}
