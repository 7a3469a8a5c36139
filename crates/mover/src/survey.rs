//! Measuring a source before it is moved: sizes, kinds, ages, and what a sample says of deduplication, compression and
//! speed.
//!
//! The walk sees everything; the sample reads whole files, drawn evenly over the walk, up to a budget of bytes. What it
//! says is an estimate and is called one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shudao_vault::entry::TreePath;
use shudao_vault::frame::{Compression, FRAME_BYTES_TARGET, FrameName, Scratch, compresses, seal_frame};
use shudao_vault::id::{Digest, VaultId};
use shudao_vault::suite::{ObjectKey, Purpose};

use crate::chunker::{Chunkers, GearTable, Profiles};
use crate::source::{Found, FoundNode, HardLinks, Piece, ScanError, ScanOptions, Scanned, Why, scan};

/// Unreadable paths kept by name.
const UNREAD_MAX: usize = 1000;
/// Bytes read from one file for the sample, at most.
const SAMPLE_FILE_BYTES_MAX: u64 = 64 << 20;
const READ_BYTES: usize = 1 << 20;
const DAY_SECONDS: i64 = 86_400;

/// What to measure.
pub struct SurveyOptions {
    /// The walk.
    pub scan: ScanOptions,
    /// The time against which ages are counted.
    pub now: SystemTime,
    /// Bytes that the sample may read.
    pub sample_bytes_max: u64,
}

impl Default for SurveyOptions {
    /// No roots; a sample of 512 MiB.
    fn default() -> Self {
        Self { scan: ScanOptions::default(), now: UNIX_EPOCH, sample_bytes_max: 512 << 20 }
    }
}

/// Paths that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// Their logical bytes.
    pub bytes: u64,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Regular files, each inode once.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Logical bytes.
    pub bytes: u64,
    /// Allocated bytes: holes left out.
    pub bytes_allocated: u64,
    /// By kind of file.
    pub kinds: Vec<Group>,
    /// By size.
    pub sizes: Vec<Group>,
    /// By time since the last modification.
    pub ages: Vec<Group>,
    /// Logical bytes of files modified within the last day.
    pub churn_bytes_per_day: u64,
    /// Files a second that the walk looked at.
    pub scan_files_per_second: f64,
    /// What the sample showed.
    pub sample: Sample,
    /// Paths that could not be read, with the system's word; at most 1,000.
    pub unread: Vec<(TreePath, String)>,
    /// How many could not be read.
    pub unread_total: u64,
}

/// What reading a part of the source showed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of distinct chunks among them.
    pub bytes_distinct: u64,
    /// Bytes of those when compressed.
    pub bytes_compressed: u64,
    /// Time spent reading.
    pub reading: Duration,
    /// Time spent cutting, hashing, compressing and sealing, on one core.
    pub working: Duration,
}

impl Sample {
    /// Bytes over distinct bytes; 1 for an empty sample.
    pub fn dedup_ratio(&self) -> f64 {
        ratio(self.bytes, self.bytes_distinct)
    }

    /// Distinct bytes over their compressed size; 1 for an empty sample.
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.bytes_distinct, self.bytes_compressed)
    }

    /// Bytes a second on one core, reading included.
    pub fn work_bytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.reading + self.working)
    }

    /// Bytes a second at which the source gave its bytes.
    pub fn read_bytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.reading)
    }
}

fn ratio(whole: u64, part: u64) -> f64 {
    if part == 0 { 1.0 } else { whole as f64 / part as f64 }
}

fn per_second(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { bytes as f64 / time.as_secs_f64() }
}

/// Counters that a display may read meanwhile.
#[derive(Debug, Default)]
pub struct SurveyProgress {
    /// Files seen.
    pub files: AtomicU64,
    /// Logical bytes seen.
    pub bytes: AtomicU64,
    /// Set from outside to stop.
    pub stop: Arc<AtomicBool>,
}

/// Why a survey ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The source as a whole cannot be read.
    #[error(transparent)]
    Source(#[from] ScanError),
    /// Stopped on request.
    #[error("interrupted")]
    Interrupted,
}

/// Walks the source and reads a sample of it. Blocks. Changes nothing.
pub fn survey(options: SurveyOptions, progress: &SurveyProgress) -> Result<Survey, SurveyError> {
    let now = options.now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let (mut tally, mut drawn) = (Tally::new(now), Drawn::default());
    let mut links = HardLinks::default();
    let started = Instant::now();
    for scanned in scan(options.scan)? {
        if progress.stop.load(Ordering::Relaxed) {
            return Err(SurveyError::Interrupted);
        }
        match scanned {
            Scanned::Found(found) if links.member(&found).is_some() => {}
            Scanned::Found(found) => {
                tally.add(&found);
                if let FoundNode::File { size } = found.node {
                    progress.files.fetch_add(1, Ordering::Relaxed);
                    progress.bytes.fetch_add(size, Ordering::Relaxed);
                    drawn.offer(*found, options.sample_bytes_max);
                }
            }
            Scanned::Skipped { why: Why::Socket, .. } => tally.kind("sockets", 0),
            Scanned::Skipped { .. } => {}
            Scanned::Unreadable { path, error, .. } => {
                tally.survey.unread_total += 1;
                if tally.survey.unread.len() < UNREAD_MAX {
                    tally.survey.unread.push((path, error.to_string()));
                }
            }
        }
    }
    let mut survey = tally.survey;
    let elapsed = started.elapsed().as_secs_f64();
    survey.scan_files_per_second = if elapsed > 0.0 { survey.files as f64 / elapsed } else { 0.0 };
    survey.sample = read_sample(&drawn, progress)?;
    Ok(survey)
}

struct Tally {
    survey: Survey,
    now: i64,
}

impl Tally {
    fn new(now: i64) -> Self {
        Self { survey: Survey::default(), now }
    }

    fn add(&mut self, found: &Found) {
        let size = match found.node {
            FoundNode::File { size } => size,
            FoundNode::Directory => {
                self.survey.directories += 1;
                return self.kind("directories", 0);
            }
            FoundNode::Symlink { .. } => return self.kind("symbolic links", 0),
            FoundNode::Fifo => return self.kind("pipes", 0),
            FoundNode::CharDevice { .. } | FoundNode::BlockDevice { .. } => return self.kind("devices", 0),
        };
        self.survey.files += 1;
        self.survey.bytes += size;
        self.survey.bytes_allocated += found.allocated;
        self.kind("files", size);
        let age = self.now.saturating_sub(found.mtime.seconds);
        if age < DAY_SECONDS {
            self.survey.churn_bytes_per_day += size;
        }
        group(&mut self.survey.sizes, size_class(size), size);
        group(&mut self.survey.ages, age_class(age), size);
    }

    fn kind(&mut self, name: &'static str, bytes: u64) {
        group(&mut self.survey.kinds, name, bytes);
    }
}

fn group(groups: &mut Vec<Group>, name: &'static str, bytes: u64) {
    match groups.iter_mut().find(|group| group.name == name) {
        Some(group) => {
            group.count += 1;
            group.bytes += bytes;
        }
        None => groups.push(Group { name, count: 1, bytes }),
    }
}

fn size_class(size: u64) -> &'static str {
    match size {
        0 => "empty",
        1..=4096 => "up to 4 KiB",
        4097..=65_536 => "up to 64 KiB",
        65_537..=1_048_576 => "up to 1 MiB",
        1_048_577..=67_108_864 => "up to 64 MiB",
        67_108_865..=1_073_741_824 => "up to 1 GiB",
        _ => "above 1 GiB",
    }
}

fn age_class(seconds: i64) -> &'static str {
    match seconds / DAY_SECONDS {
        ..1 => "within a day",
        1..7 => "within a week",
        7..30 => "within 30 days",
        30..365 => "within a year",
        _ => "older",
    }
}

/// Files to be read: an even draw over the walk. When there are too many, every second one is dropped and from then on
/// only every second one is taken, and so on.
#[derive(Default)]
struct Drawn {
    files: Vec<Found>,
    bytes: u64,
    seen: u64,
    stride: u64,
}

/// Files kept for the sample, whatever their size.
const DRAWN_MAX: usize = 512;

impl Drawn {
    fn offer(&mut self, found: Found, bytes_max: u64) {
        self.seen += 1;
        if found.size() == 0 || !self.seen.is_multiple_of(self.stride.max(1)) {
            return;
        }
        self.bytes += found.size().min(SAMPLE_FILE_BYTES_MAX);
        self.files.push(found);
        while self.files.len() > 1 && (self.bytes > bytes_max || self.files.len() > DRAWN_MAX) {
            self.stride = self.stride.max(1) * 2;
            let mut place = 0;
            self.files.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.bytes = self.files.iter().map(|found| found.size().min(SAMPLE_FILE_BYTES_MAX)).sum();
        }
    }
}

fn read_sample(drawn: &Drawn, progress: &SurveyProgress) -> Result<Sample, SurveyError> {
    // A survey has no vault: any key will do for measuring.
    let chunkers = Chunkers::new(&Profiles::DEFAULT, &GearTable::derive(&[0; 32]));
    let key = ObjectKey::generate(VaultId::default());
    let (mut scratch, mut counter) = (Scratch::new(), 0);
    let (mut sample, mut known, mut frame) = (Sample::default(), HashSet::new(), Vec::new());
    for found in &drawn.files {
        if progress.stop.load(Ordering::Relaxed) {
            return Err(SurveyError::Interrupted);
        }
        let started = Instant::now();
        let bytes = read_up_to(found);
        sample.reading += started.elapsed();
        let started = Instant::now();
        let chunker = chunkers.of_file(Some(found.size()), || compresses(&bytes));
        let mut rest = &bytes[..];
        while let Some(length) = chunker.next_cut(rest, true).filter(|_| !rest.is_empty()) {
            let (chunk, after) = rest.split_at(length);
            rest = after;
            sample.bytes += length as u64;
            if known.insert(Digest::of(chunk)) {
                sample.bytes_distinct += length as u64;
                frame.extend_from_slice(chunk);
            }
            if frame.len() >= FRAME_BYTES_TARGET {
                sample.bytes_compressed += sealed_length(&key, &mut counter, &mut frame, &mut scratch);
            }
        }
        sample.working += started.elapsed();
    }
    sample.bytes_compressed += sealed_length(&key, &mut counter, &mut frame, &mut scratch);
    Ok(sample)
}

fn sealed_length(key: &ObjectKey, counter: &mut u32, frame: &mut Vec<u8>, scratch: &mut Scratch) -> u64 {
    if frame.is_empty() {
        return 0;
    }
    let name = FrameName { key, purpose: Purpose::Content, counter: *counter };
    *counter += 1;
    let sealed =
        seal_frame(name, frame, Compression::Default, scratch).map_or(frame.len(), |sealed| sealed.len());
    frame.clear();
    sealed as u64
}

/// The file's first bytes; what cannot be read is left out of the sample.
fn read_up_to(found: &Found) -> Vec<u8> {
    let Ok(mut file) = found.open() else { return Vec::new() };
    let mut bytes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while (bytes.len() as u64) < SAMPLE_FILE_BYTES_MAX {
        match file.next_piece(&mut buffer) {
            Ok(Piece::Data(length)) => bytes.extend_from_slice(&buffer[..length]),
            Ok(Piece::Hole(_)) => {}
            Ok(Piece::End | Piece::Shrunk) | Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_size_and_age() {
        for (size, class) in
            [(0, "empty"), (1, "up to 4 KiB"), (65_537, "up to 1 MiB"), (u64::MAX, "above 1 GiB")]
        {
            assert_eq!(size_class(size), class);
        }
        for (age, class) in [(-5, "within a day"), (DAY_SECONDS, "within a week"), (i64::MAX, "older")] {
            assert_eq!(age_class(age), class);
        }
    }

    #[test]
    fn a_source_with_duplicates_is_seen_as_such() {
        let directory = tempfile::tempdir().unwrap();
        for copy in 0..4 {
            std::fs::write(directory.path().join(format!("copy-{copy}")), vec![7; 100_000]).unwrap();
        }
        let scan = ScanOptions { roots: vec![directory.path().to_owned()], ..ScanOptions::default() };
        let options = SurveyOptions { scan, now: SystemTime::now(), ..SurveyOptions::default() };
        let found = survey(options, &SurveyProgress::default()).unwrap();
        assert_eq!((found.files, found.directories, found.bytes), (4, 1, 400_000));
        assert_eq!(found.churn_bytes_per_day, 400_000);
        assert!(found.sample.dedup_ratio() >= 4.0, "{:?}", found.sample);
        assert!(found.sample.compression_ratio() > 10.0, "{:?}", found.sample);
    }
}
