//! Segments that were added and are not in a run yet.

use std::collections::BTreeMap;

use super::Location;
use super::coverage::{Coverage, Covered};
use super::record::{ChunkRecord, FrameRecord};
use crate::id::ChunkId;
use crate::keys::ring::ChunkSpace;
use crate::pack::PackRef;
use crate::segment::Segment;

/// A run in memory. Frames and packs stand in the order of their segments.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) coverage: Coverage,
    pub(super) frames: Vec<FrameRecord>,
    pub(super) packs: Vec<PackRef>,
    /// (chunk, frame, offset) to length.
    chunks: BTreeMap<(ChunkId, u32, u32), u32>,
}

impl Batch {
    pub(super) fn add(&mut self, segment: &Segment) {
        let first = self.frames.len() as u32;
        let packs = &segment.clear.packs;
        self.coverage.push(Covered {
            id: segment.clear.id,
            author: segment.clear.author,
            chunks: segment.chunks.len() as u64,
            frames: segment.frames.len() as u64,
            packs: packs.len() as u64,
        });
        self.packs.extend_from_slice(packs);
        self.frames.extend(segment.frames.iter().map(|frame| FrameRecord {
            pack: packs[frame.pack as usize].id,
            kind: packs[frame.pack as usize].kind,
            key: frame.key,
            counter: frame.counter,
            offset: frame.offset,
            stored_length: frame.stored_length,
            plain_length: frame.plain_length,
            writer: frame.writer,
        }));
        let places = segment.chunks.iter();
        self.chunks.extend(places.map(|chunk| ((chunk.id, first + chunk.frame, chunk.offset), chunk.length)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.coverage.len() == 0
    }

    /// Chunk records, dead ones included.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = ChunkRecord> + '_ {
        self.chunks.iter().map(|((id, frame, offset), length)| ChunkRecord {
            id: *id,
            frame: *frame,
            offset: *offset,
            length: *length,
        })
    }

    pub(super) fn lookup(&self, id: &ChunkId, space: ChunkSpace, found: &mut Vec<Location>) {
        for chunk in self.records_of(id) {
            let Some((_, segment)) = self.coverage.of_frame(chunk.frame) else { continue };
            Location::collect(&chunk, &self.frames[chunk.frame as usize], segment, space, found);
        }
    }

    /// All records of a chunk, dead ones included.
    pub(super) fn records_of(&self, id: &ChunkId) -> impl Iterator<Item = ChunkRecord> + '_ {
        let id = *id;
        let records = self.chunks.range((id, 0, 0)..=(id, u32::MAX, u32::MAX));
        records.map(move |((_, frame, offset), length)| ChunkRecord {
            id,
            frame: *frame,
            offset: *offset,
            length: *length,
        })
    }
}
