//! One file's bytes into chunks and extents.

use shudao_vault::Result;
use shudao_vault::entry::{Extent, Extents};
use shudao_vault::frame::compresses;
use shudao_vault::id::Digest;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::resume::HashState;
use shudao_vault::tree::ExtentListBuilder;

use super::file_hash::FileHasher;
use crate::chunker::{Chunker, Chunkers};
use crate::ingest::{CheckpointNodes, Ingest, Nodes};

/// What a file's bytes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// Logical size.
    pub(crate) size: u64,
    /// BLAKE3 of the whole.
    pub(crate) digest: Digest,
    /// Where its bytes are.
    pub(crate) extents: Extents,
    /// The chunker profile that its chunks were cut by.
    pub(crate) profile: u8,
}

/// So much of a hole is hashed between two looks whether to stop.
pub(super) const HOLE_STEP: u64 = 64 << 20;

/// Cuts, hashes and offers a stream of bytes and holes.
pub(crate) struct ContentWriter<'a> {
    ingest: &'a Ingest,
    chunkers: &'a Chunkers,
    /// Of the whole file, as far as is known; see [`Chunkers::of_file`].
    size_expected: Option<u64>,
    /// Chosen by the first bytes that are cut.
    chunker: Option<&'a Chunker>,
    extents: ExtentListBuilder,
    buffer: Vec<u8>,
    start: usize,
    size: u64,
    hasher: Option<FileHasher>,
    only_chunk: Option<Digest>,
}

impl<'a> ContentWriter<'a> {
    pub(crate) fn new(
        ingest: &'a Ingest,
        chunkers: &'a Chunkers,
        size_expected: Option<u64>,
        boundary: &shudao_vault::suite::Secret,
    ) -> Self {
        Self {
            ingest,
            chunkers,
            size_expected,
            chunker: None,
            extents: ExtentListBuilder::new(boundary),
            buffer: Vec::new(),
            start: 0,
            size: 0,
            hasher: None,
            only_chunk: None,
        }
    }

    /// The same writer behind `extents`, whose bytes are stored, cut by `chunker` if any were. Those from [`HashState::hashed`] to their
    /// end must be given to [`ContentWriter::hash_again`] first.
    #[must_use]
    pub(crate) fn behind(
        self,
        extents: ExtentListBuilder,
        chunker: Option<&'a Chunker>,
        hash: &HashState,
    ) -> Self {
        let (size, hasher) = (extents.length(), Some(FileHasher::take_up(hash)));
        Self { extents, chunker, size, hasher, ..self }
    }

    /// Takes bytes that are stored and not hashed.
    pub(crate) fn hash_again(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }

    /// Takes a hole that is stored and not hashed; false if `stop` said so before its end: the writer is of no use then.
    pub(crate) fn hash_hole_again(&mut self, length: u64, stop: &dyn Fn() -> bool) -> bool {
        let Some(hasher) = &mut self.hasher else { return true };
        let mut left = length;
        while left > 0 {
            if stop() {
                return false;
            }
            let piece = left.min(HOLE_STEP);
            hasher.update_zeros(piece);
            left -= piece;
        }
        true
    }

    /// How far the file is stored: its extents, the end of the last, and the hash; `None` before the first chunk's end.
    /// The list's nodes are offered for a checkpoint.
    pub(crate) fn so_far(&self) -> Result<Option<(Extents, u64, HashState)>> {
        let Some(hasher) = self.hasher.as_ref().filter(|_| self.size > 0) else { return Ok(None) };
        let extents = self.extents.clone().finish(&mut CheckpointNodes(self.ingest))?;
        Ok(Some((extents, self.size, hasher.state())))
    }

    /// Takes the next bytes.
    ///
    /// They are cut only once there are enough to hold a cut for certain. Looking for one earlier would begin at the
    /// chunk's start each time: a pipe that gives 4 KiB at a time would be hashed a hundred times over.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.cut(self.chunker.map_or(self.chunkers.max_bytes(), Chunker::max_bytes), false)
    }

    /// Takes the next hole. Chunking starts anew after it. False if `stop` said so before its end: the writer is of no use
    /// then.
    pub(crate) fn hole(&mut self, length: u64, stop: &dyn Fn() -> bool) -> Result<bool> {
        if length == 0 {
            return Ok(true);
        }
        self.cut(1, true)?;
        self.start_hashing();
        if !self.hash_hole_again(length, stop) {
            return Ok(false);
        }
        self.size += length;
        self.extents.push(Extent::Hole { length }, &mut Nodes(self.ingest))?;
        Ok(true)
    }

    /// The whole file's content.
    pub(crate) fn finish(mut self) -> Result<Content> {
        let chunker = self.chunker();
        if self.hasher.is_none() && self.size == 0 && self.pending() <= chunker.max_bytes() {
            self.only_chunk = self.single()?;
        }
        self.cut(1, true)?;
        let digest = match (self.only_chunk, self.hasher) {
            (Some(digest), _) => digest,
            (None, Some(hasher)) => hasher.finish(),
            (None, None) => Digest::of(&[]),
        };
        let extents = self.extents.finish(&mut Nodes(self.ingest))?;
        Ok(Content { size: self.size, digest, extents, profile: chunker.profile_number() })
    }

    /// Stores the buffer as the file's only chunk, whose digest then serves as the file's; `None` if it is more.
    fn single(&mut self) -> Result<Option<Digest>> {
        let chunker = self.chunker();
        let bytes = &self.buffer[self.start..];
        if bytes.is_empty() || chunker.next_cut(bytes, true) != Some(bytes.len()) {
            return Ok(None);
        }
        let digest = Digest::of(bytes);
        self.ingest.offer(ChunkSpace::Content, &digest, bytes)?;
        let length = bytes.len() as u32;
        self.start = self.buffer.len();
        self.size = u64::from(length);
        self.extents.push(Extent::Data { digest, length }, &mut Nodes(self.ingest))?;
        Ok(Some(digest))
    }

    /// The chunker of the file, chosen now if it was not yet: by the bytes that wait.
    fn chunker(&mut self) -> &'a Chunker {
        let (buffer, start, size) = (&self.buffer, self.start, self.size_expected);
        let choose = || self.chunkers.of_file(size, || compresses(&buffer[start..]));
        self.chunker.get_or_insert_with(choose)
    }

    /// The number of the profile by which the file is cut; 0 before anything was.
    pub(crate) fn profile(&self) -> u8 {
        self.chunker.map_or(0, Chunker::profile_number)
    }

    fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn start_hashing(&mut self) {
        self.hasher.get_or_insert_with(FileHasher::new);
    }

    /// Cuts chunks off while at least `pending_min` bytes wait.
    fn cut(&mut self, pending_min: usize, at_end: bool) -> Result<()> {
        while self.pending() >= pending_min {
            let chunker = self.chunker();
            let Some(length) = chunker.next_cut(&self.buffer[self.start..], at_end) else { break };
            self.start_hashing();
            let bytes = &self.buffer[self.start..self.start + length];
            if let Some(hasher) = &mut self.hasher {
                hasher.update(bytes);
            }
            let digest = Digest::of(bytes);
            self.ingest.offer(ChunkSpace::Content, &digest, bytes)?;
            self.extents.push(Extent::Data { digest, length: length as u32 }, &mut Nodes(self.ingest))?;
            self.start += length;
            self.size += length as u64;
        }
        // Moving what is left to the front costs at most one chunk's length a cut.
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        Ok(())
    }
}
