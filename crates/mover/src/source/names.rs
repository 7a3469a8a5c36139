//! The names in one directory, sorted by their bytes: in memory up to a limit, then in sorted runs on disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one name costs besides its bytes.
const SPAN_BYTES: usize = size_of::<Span>();

/// Buffer of each run that is merged.
const RUN_BUFFER_BYTES: usize = 32 << 10;

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
}

/// Names one after the other in one piece of memory.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Arena {
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.spans.len() * SPAN_BYTES
    }

    fn push(&mut self, name: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("a directory's names do not fit in memory");
        let start = u32::try_from(self.bytes.len()).map_err(too_long)?;
        let length = u16::try_from(name.len()).map_err(too_long)?;
        self.bytes.extend_from_slice(name);
        self.spans.push(Span { start, length });
        Ok(())
    }

    fn name(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..usize::from(span.length)]
    }

    fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.spans = spans;
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}

/// Takes names in any order.
#[derive(Debug)]
pub(super) struct NameSorter {
    arena: Arena,
    bytes_max: usize,
    spill_directory: PathBuf,
    spill: Option<Spill>,
}

/// Sorted runs, one after the other in one unnamed file.
#[derive(Debug)]
struct Spill {
    file: BufWriter<File>,
    written: u64,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl NameSorter {
    /// A sorter that holds at most `bytes_max` bytes (at least one name) and spills into `spill_directory`.
    pub(super) fn new(bytes_max: usize, spill_directory: &Path) -> Self {
        Self {
            arena: Arena::default(),
            bytes_max: bytes_max.min(u32::MAX as usize / 2),
            spill_directory: spill_directory.to_owned(),
            spill: None,
        }
    }

    /// Whether no name was added.
    pub(super) fn is_empty(&self) -> bool {
        self.arena.spans.is_empty() && self.spill.is_none()
    }

    /// Adds a name of at most 65,535 bytes.
    pub(super) fn push(&mut self, name: &[u8]) -> io::Result<()> {
        if !self.arena.spans.is_empty() && self.arena.held_bytes() + name.len() + SPAN_BYTES > self.bytes_max
        {
            self.spill()?;
        }
        self.arena.push(name)
    }

    fn spill(&mut self) -> io::Result<()> {
        self.arena.sort();
        if self.spill.is_none() {
            let file = tempfile::tempfile_in(&self.spill_directory)?;
            self.spill = Some(Spill { file: BufWriter::new(file), written: 0, ends: Vec::new() });
        }
        if let Some(spill) = &mut self.spill {
            for span in &self.arena.spans {
                spill.file.write_all(&span.length.to_le_bytes())?;
                spill.file.write_all(self.arena.name(*span))?;
                spill.written += 2 + u64::from(span.length);
            }
            spill.ends.push(spill.written);
        }
        self.arena.clear();
        Ok(())
    }

    /// All names in order, none twice.
    pub(super) fn finish(mut self) -> io::Result<SortedNames> {
        if self.spill.is_some() {
            self.spill()?;
        }
        let source = match self.spill {
            None => {
                self.arena.sort();
                Source::Memory { arena: self.arena, next: 0 }
            }
            Some(spill) => Source::Runs(Merge::open(spill)?),
        };
        Ok(SortedNames { source, last: None })
    }
}

/// The sorted names, each given once.
#[derive(Debug)]
pub(super) struct SortedNames {
    source: Source,
    last: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Source {
    Memory { arena: Arena, next: usize },
    Runs(Merge),
}

impl SortedNames {
    /// Bytes of memory that the names still hold.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.source {
            Source::Memory { arena, .. } => arena.held_bytes(),
            Source::Runs(merge) => merge.runs.len() * RUN_BUFFER_BYTES,
        }
    }

    fn next_with_twins(&mut self) -> Option<io::Result<Vec<u8>>> {
        match &mut self.source {
            Source::Memory { arena, next } => {
                let name = arena.name(*arena.spans.get(*next)?).to_vec();
                *next += 1;
                Some(Ok(name))
            }
            Source::Runs(merge) => merge.next(),
        }
    }
}

impl Iterator for SortedNames {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_with_twins()? {
                // A directory that changes while it is listed may show a name twice.
                Ok(name) if self.last.as_ref() == Some(&name) => {}
                Ok(name) => {
                    self.last = Some(name.clone());
                    return Some(Ok(name));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[derive(Debug)]
struct Merge {
    runs: Vec<BufReader<Run>>,
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

/// A part of the spill file, read at its own place.
#[derive(Debug)]
struct Run {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Run {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Merge {
    fn open(spill: Spill) -> io::Result<Self> {
        let file = Arc::new(spill.file.into_inner().map_err(io::IntoInnerError::into_error)?);
        let starts = std::iter::once(0).chain(spill.ends.iter().copied());
        let runs = starts
            .zip(&spill.ends)
            .map(|(at, end)| Run { file: Arc::clone(&file), at, end: *end })
            .map(|run| BufReader::with_capacity(RUN_BUFFER_BYTES, run))
            .collect();
        let mut merge = Self { runs, heads: BinaryHeap::new() };
        for run in 0..merge.runs.len() {
            merge.advance(run)?;
        }
        Ok(merge)
    }

    /// Takes the next name of `run` into the heap; nothing at its end.
    fn advance(&mut self, run: usize) -> io::Result<()> {
        let reader = &mut self.runs[run];
        if reader.buffer().is_empty() && reader.get_ref().at == reader.get_ref().end {
            return Ok(());
        }
        let mut length = [0; 2];
        reader.read_exact(&mut length)?;
        let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
        reader.read_exact(&mut name)?;
        self.heads.push(Reverse((name, run)));
        Ok(())
    }

    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let Reverse((name, run)) = self.heads.pop()?;
        Some(self.advance(run).map(|()| name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(names: &[Vec<u8>], bytes_max: usize) -> Vec<Vec<u8>> {
        let mut sorter = NameSorter::new(bytes_max, &std::env::temp_dir());
        for name in names {
            sorter.push(name).unwrap();
        }
        sorter.finish().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn memory_stays_below_the_limit_however_many_names_there_are() {
        let mut sorter = NameSorter::new(4096, &std::env::temp_dir());
        for number in 0..20_000_u32 {
            sorter.push(format!("{:08x}", number.wrapping_mul(2_654_435_761)).as_bytes()).unwrap();
            assert!(sorter.arena.held_bytes() <= 4096);
        }
        let names: Vec<_> = sorter.finish().unwrap().map(Result::unwrap).collect();
        assert_eq!(names.len(), 20_000);
        assert!(names.is_sorted());
    }

    #[test]
    fn a_spill_directory_that_is_missing_is_an_error() {
        let mut sorter = NameSorter::new(1, Path::new("/nonexistent/spill"));
        sorter.push(b"a").unwrap();
        assert_eq!(sorter.push(b"b").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sorted_by_bytes_without_twins_in_memory_and_spilled(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..200),
        ) {
            let mut expected = names.clone();
            expected.sort();
            expected.dedup();
            for bytes_max in [1, 64, 500, 1 << 20] {
                prop_assert_eq!(&sorted(&names, bytes_max), &expected);
            }
        }
    }
}
