//! Which segments a run covers, and which of them are still live.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ObjectId, SegmentId, WriterId};

/// A covered segment; its frames and packs are consecutive in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) id: SegmentId,
    pub(super) author: WriterId,
    pub(super) chunks: u64,
    pub(super) frames: u64,
    pub(super) packs: u64,
}

impl Covered {
    const BYTES: usize = SegmentId::LEN + WriterId::LEN + 24;
}

/// The segments of a run, in the order in which their frames and packs follow each other.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    segments: Vec<Covered>,
    frame_ends: Vec<u64>,
    pack_ends: Vec<u64>,
    dead: Vec<bool>,
}

impl Coverage {
    pub(super) fn push(&mut self, segment: Covered) {
        self.frame_ends.push(self.frames().saturating_add(segment.frames));
        self.pack_ends.push(self.packs().saturating_add(segment.packs));
        self.segments.push(segment);
        self.dead.push(false);
    }

    pub(super) fn frames(&self) -> u64 {
        self.frame_ends.last().copied().unwrap_or(0)
    }

    pub(super) fn packs(&self) -> u64 {
        self.pack_ends.last().copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.segments.iter().map(|segment| segment.id)
    }

    /// The live segments with their ordinals.
    pub(super) fn live(&self) -> impl Iterator<Item = (usize, &Covered)> + '_ {
        self.segments.iter().enumerate().filter(|(ordinal, _)| !self.dead[*ordinal])
    }

    pub(super) fn live_chunks(&self) -> u64 {
        self.live().map(|(_, segment)| segment.chunks).sum()
    }

    pub(super) fn dead_chunks(&self) -> u64 {
        self.segments.iter().map(|segment| segment.chunks).sum::<u64>() - self.live_chunks()
    }

    /// Masks the segments that are not in `live`, and unmasks the others.
    pub(super) fn retain(&mut self, live: &BTreeSet<SegmentId>) {
        for (segment, dead) in self.segments.iter().zip(&mut self.dead) {
            *dead = !live.contains(&segment.id);
        }
    }

    /// Unmasks a segment; false if it is not covered.
    pub(super) fn revive(&mut self, id: SegmentId) -> bool {
        let position = self.segments.iter().position(|segment| segment.id == id);
        if let Some(position) = position {
            self.dead[position] = false;
        }
        position.is_some()
    }

    /// The live segment that a frame belongs to, with its ordinal; `None` where it is dead or there is no such frame.
    pub(super) fn of_frame(&self, frame: u32) -> Option<(usize, &Covered)> {
        let ordinal = self.frame_ends.partition_point(|end| *end <= u64::from(frame));
        let segment = self.segments.get(ordinal)?;
        (!self.dead[ordinal]).then_some((ordinal, segment))
    }

    /// The frames of a segment.
    pub(super) fn frame_range(&self, ordinal: usize) -> Range<u64> {
        range(&self.frame_ends, ordinal)
    }

    /// The packs of a segment.
    pub(super) fn pack_range(&self, ordinal: usize) -> Range<u64> {
        range(&self.pack_ends, ordinal)
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        for segment in &self.segments {
            out.raw(&segment.id.0).raw(&segment.author.0);
            out.u64(segment.chunks).u64(segment.frames).u64(segment.packs);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>, count: u64) -> Result<Self> {
        let mut coverage = Self::default();
        if count > (input.remaining() / Covered::BYTES) as u64 {
            return Err(input.error("ends too early"));
        }
        for _ in 0..count {
            let (id, author) = (ObjectId(input.array()?), WriterId(input.array()?));
            let (chunks, frames, packs) = (input.u64()?, input.u64()?, input.u64()?);
            coverage.push(Covered { id, author, chunks, frames, packs });
        }
        Ok(coverage)
    }
}

fn range(ends: &[u64], ordinal: usize) -> Range<u64> {
    let start = ordinal.checked_sub(1).map_or(0, |before| ends[before]);
    start..ends[ordinal]
}
