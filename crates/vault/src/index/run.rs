//! A run: an immutable sorted file that covers some segments. Layout: `docs/format/index.md` section 4.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Location;
use super::coverage::Coverage;
use super::filter::Filter;
use super::page_cache::PageCache;
use super::record::{ChunkRecord, FrameRecord, PAGE_BYTES, Page, Record, page_is_whole, prefix};
use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, VaultId};
use crate::keys::ring::ChunkSpace;
use crate::pack::PackRef;

const MAGIC: &[u8; 8] = b"SHUDAO.R";
const VERSION: u8 = 0;
/// Pages that a merge reads at once.
const STREAM_PAGES: u64 = 64;

/// How many records a run has, and with that where they lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) chunks: u64,
    pub(super) frames: u64,
    pub(super) packs: u64,
    pub(super) segments: u64,
}

/// The pages of one kind of record.
#[derive(Debug)]
struct Section<R> {
    first_page: u64,
    records: u64,
    kind: PhantomData<R>,
}

impl<R: Record> Section<R> {
    fn at(first_page: u64, records: u64) -> Self {
        Self { first_page, records, kind: PhantomData }
    }

    fn pages(&self) -> u64 {
        self.records.div_ceil(R::PER_PAGE)
    }

    fn end_page(&self) -> u64 {
        self.first_page + self.pages()
    }
}

impl Counts {
    fn chunks(&self) -> Section<ChunkRecord> {
        Section::at(1, self.chunks)
    }

    fn frames(&self) -> Section<FrameRecord> {
        Section::at(self.chunks().end_page(), self.frames)
    }

    fn packs(&self) -> Section<PackRef> {
        Section::at(self.frames().end_page(), self.packs)
    }

    /// Where the tail begins, in bytes.
    pub(super) fn tail_offset(&self) -> u64 {
        self.packs().end_page() * PAGE_BYTES as u64
    }
}

/// Page 0 of a run.
pub(super) fn encode_head(vault: VaultId, counts: &Counts, tail: &[u8]) -> Page {
    let mut out = Encoder::new();
    out.raw(MAGIC).u8(VERSION).raw(&vault.0);
    out.u64(counts.chunks).u64(counts.frames).u64(counts.packs).u64(counts.segments);
    out.u64(tail.len() as u64).raw(blake3::hash(tail).as_bytes());
    let hash = blake3::hash(out.as_slice());
    out.raw(hash.as_bytes());
    let mut page = [0; PAGE_BYTES];
    page[..out.as_slice().len()].copy_from_slice(out.as_slice());
    page
}

/// The tail of a run.
pub(super) fn encode_tail(coverage: &Coverage, fences: &[u64], filter: &Filter) -> Vec<u8> {
    let mut out = Encoder::new();
    coverage.encode(&mut out);
    for fence in fences {
        out.u64(*fence);
    }
    filter.encode(&mut out);
    out.finish()
}

/// Reads page 0 of a file of `file_len` bytes: counts and tail length, which fit the file, and the tail's hash.
fn decode_head(page: &[u8], vault: VaultId, file_len: u64) -> Result<(Counts, u64, [u8; 32])> {
    let mut input = Decoder::new(page, "index cache file");
    if &input.array::<8>()? != MAGIC || input.u8()? != VERSION || input.array()? != vault.0 {
        return Err(input.error("is of another kind, version or vault"));
    }
    let mut counts = [0; 4];
    for count in &mut counts {
        *count = input.u64()?;
    }
    let (tail_len, tail_hash) = (input.u64()?, input.array()?);
    let hashed = page.len() - input.remaining();
    if input.array()? != *blake3::hash(&page[..hashed]).as_bytes() {
        return Err(input.error("its checksum does not match"));
    }
    let [chunks, frames, packs, segments] = counts;
    let counts = Counts { chunks, frames, packs, segments };
    let bounded = [chunks, frames, packs, segments, tail_len].iter().all(|count| *count <= file_len);
    if !bounded || counts.tail_offset() + tail_len != file_len {
        return Err(input.error("has not the length that it says"));
    }
    Ok((counts, tail_len, tail_hash))
}

/// An open run.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    /// Names its pages in the cache.
    number: u64,
    counts: Counts,
    pub(super) coverage: Coverage,
    fences: Vec<u64>,
    filter: Filter,
    damaged: AtomicBool,
}

impl Run {
    /// Opens the run at `path` after checking its head and tail; `number` must be unique in this process.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is not a whole run of this vault and version, [`Kind::Unavailable`] if it cannot be
    /// read.
    pub(super) fn open(path: PathBuf, vault: VaultId, number: u64) -> Result<Self> {
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::damaged(format!("open index cache {}: ends too early", path.display()))
            }
            _ => Error::new(Kind::Unavailable, format!("open index cache {}", path.display())).because(error),
        };
        let file = File::open(&path).map_err(unread)?;
        let file_len = file.metadata().map_err(unread)?.len();
        let mut head = [0; PAGE_BYTES];
        file.read_exact_at(&mut head, 0).map_err(unread)?;
        let (counts, tail_len, tail_hash) = decode_head(&head, vault, file_len)?;
        // Not longer than the file.
        let mut tail = vec![0; tail_len as usize];
        file.read_exact_at(&mut tail, counts.tail_offset()).map_err(unread)?;
        let mut input = Decoder::new(&tail, "index cache file");
        if *blake3::hash(&tail).as_bytes() != tail_hash {
            return Err(input.error("its checksum does not match"));
        }
        let coverage = Coverage::decode(&mut input, counts.segments)?;
        if coverage.frames() != counts.frames || coverage.packs() != counts.packs {
            return Err(input.error("its counts contradict each other"));
        }
        let mut fences = Vec::new();
        for _ in 0..counts.chunks().pages() {
            fences.push(input.u64()?);
        }
        if !fences.is_sorted() {
            return Err(input.error("its pages are not in order"));
        }
        let filter = Filter::decode(&mut input, counts.chunks)?;
        input.finish()?;
        Ok(Self { path, file, number, counts, coverage, fences, filter, damaged: AtomicBool::new(false) })
    }

    /// How many records it has.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a page was found damaged; then the file is gone and the run answers nothing any more.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Marks the run as damaged, removes its file, and says so.
    fn give_up(&self, cause: Option<io::Error>) -> Error {
        self.damaged.store(true, Ordering::Relaxed);
        // If it cannot be removed, the next opening or reading finds the damage again.
        let _ = std::fs::remove_file(&self.path);
        let message = format!(
            "read index cache {}: damaged, so it was removed; the next run fetches its segments again",
            self.path.display()
        );
        match cause {
            Some(cause) => Error::damaged(message).because(cause),
            None => Error::damaged(message),
        }
    }

    fn page(&self, number: u64, cache: &PageCache) -> Result<Arc<Page>> {
        if self.is_damaged() {
            return Err(self.give_up(None));
        }
        cache.get((self.number, number), |page| {
            let offset = number * PAGE_BYTES as u64;
            self.file.read_exact_at(page, offset).map_err(|error| self.give_up(Some(error)))?;
            if page_is_whole(number, page) { Ok(()) } else { Err(self.give_up(None)) }
        })
    }

    /// Appends all places of a chunk in live segments to `found`.
    pub(super) fn lookup(
        &self,
        id: &ChunkId,
        space: ChunkSpace,
        cache: &PageCache,
        found: &mut Vec<Location>,
    ) -> Result<()> {
        self.records_of(id, cache, &mut |_, chunk| self.locate(&chunk, space, cache, found))
    }

    /// Hands out all records of a chunk with their ordinals, dead ones included.
    pub(super) fn records_of(
        &self,
        id: &ChunkId,
        cache: &PageCache,
        each: &mut impl FnMut(u64, ChunkRecord) -> Result<()>,
    ) -> Result<()> {
        let key = prefix(id);
        if !self.filter.may_contain(key) {
            return Ok(());
        }
        // Equal keys may begin on the page before the first one whose fence they equal.
        let start = self.fences.partition_point(|fence| *fence < key).saturating_sub(1);
        let end = self.fences.partition_point(|fence| *fence <= key);
        let section = self.counts.chunks();
        for page_index in start..end {
            let page = self.page(section.first_page + page_index as u64, cache)?;
            let before = page_index as u64 * ChunkRecord::PER_PAGE;
            let records = (section.records - before).min(ChunkRecord::PER_PAGE) as usize;
            let id_at = |slot: usize| &page[slot * ChunkRecord::BYTES..][..ChunkId::LEN];
            let mut slot = partition_point(records, |slot| id_at(slot) < id.0.as_slice());
            while slot < records && id_at(slot) == id.0 {
                each(before + slot as u64, ChunkRecord::in_page(page.as_slice(), slot)?)?;
                slot += 1;
            }
        }
        Ok(())
    }

    fn locate(
        &self,
        chunk: &ChunkRecord,
        space: ChunkSpace,
        cache: &PageCache,
        found: &mut Vec<Location>,
    ) -> Result<()> {
        let Some((_, segment)) = self.coverage.of_frame(chunk.frame) else { return Ok(()) };
        let ordinal = u64::from(chunk.frame);
        let page = self.page(self.counts.frames().first_page + ordinal / FrameRecord::PER_PAGE, cache)?;
        let frame = FrameRecord::in_page(page.as_slice(), (ordinal % FrameRecord::PER_PAGE) as usize)?;
        Location::collect(chunk, &frame, segment, space, found);
        Ok(())
    }

    /// All chunk records in order, dead ones included.
    pub(super) fn chunks(&self) -> Records<'_, ChunkRecord> {
        Records::new(self, self.counts.chunks(), 0..self.counts.chunks)
    }

    /// The frame records of a range of ordinals.
    pub(super) fn frames(&self, ordinals: Range<u64>) -> Records<'_, FrameRecord> {
        Records::new(self, self.counts.frames(), ordinals)
    }

    /// The pack records of a range of ordinals.
    pub(super) fn packs(&self, ordinals: Range<u64>) -> Records<'_, PackRef> {
        Records::new(self, self.counts.packs(), ordinals)
    }
}

fn partition_point(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Reads consecutive records in large pieces, past the page cache.
pub(super) struct Records<'a, R> {
    run: &'a Run,
    section: Section<R>,
    ordinals: Range<u64>,
    buffer: Vec<u8>,
    buffer_page: u64,
}

impl<'a, R: Record> Records<'a, R> {
    fn new(run: &'a Run, section: Section<R>, ordinals: Range<u64>) -> Self {
        Self { run, section, ordinals, buffer: Vec::new(), buffer_page: 0 }
    }

    /// Makes the buffer hold `page`, counted from the section's beginning, and returns it.
    fn page(&mut self, page: u64) -> Result<&[u8]> {
        let held = (self.buffer.len() / PAGE_BYTES) as u64;
        if !(self.buffer_page..self.buffer_page + held).contains(&page) {
            self.fill(page)?;
        }
        let start = (page - self.buffer_page) as usize * PAGE_BYTES;
        Ok(&self.buffer[start..start + PAGE_BYTES])
    }

    fn fill(&mut self, page: u64) -> Result<()> {
        let last = self.ordinals.end.div_ceil(R::PER_PAGE);
        let pages = (last - page).min(STREAM_PAGES);
        let number = self.section.first_page + page;
        self.buffer.resize(pages as usize * PAGE_BYTES, 0);
        self.buffer_page = page;
        let read = self.run.file.read_exact_at(&mut self.buffer, number * PAGE_BYTES as u64);
        read.map_err(|error| self.run.give_up(Some(error)))?;
        let whole = (number..).zip(self.buffer.chunks_exact(PAGE_BYTES));
        for (number, page) in whole {
            if !page_is_whole(number, page) {
                return Err(self.run.give_up(None));
            }
        }
        Ok(())
    }
}

impl<R: Record> Iterator for Records<'_, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        let ordinal = self.ordinals.next()?;
        let slot = (ordinal % R::PER_PAGE) as usize;
        Some(self.page(ordinal / R::PER_PAGE).and_then(|page| R::in_page(page, slot)))
    }
}
