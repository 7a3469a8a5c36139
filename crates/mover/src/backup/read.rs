//! Reading files: again where they change under our eyes, and on from where an interrupted session was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use shudao_vault::resume::PartialFile;
use shudao_vault::{Error, Kind};

use super::content::{ContentWriter, HOLE_STEP};
use super::pump::{Outcome, ReadJob, problem_of};
use super::reuse::Reuse;
use super::unfinished::{Unfinished, Watch};
use super::{BackupError, BackupProgress};
use crate::budget::READ_BYTES;
use crate::chunker::Chunkers;
use crate::source::{Found, FoundNode, OpenFile, Piece, Unread, UnreadKind};

/// How often a file that changes under our eyes is read before it is stored as read.
const READS_MAX: usize = 3;

/// Reads files for one thread.
pub(super) struct FileReader<'a> {
    pub(super) reuse: Reuse<'a>,
    pub(super) chunkers: &'a Chunkers,
    pub(super) progress: &'a BackupProgress,
    pub(super) unfinished: &'a Unfinished,
    /// Read everything, whatever is known of it.
    pub(super) rescan: bool,
}

/// What one reading came to.
enum Once {
    /// It is still what was found.
    Whole,
    /// It has changed, or is not what was found.
    Changed,
    /// It cannot be read.
    Unread(Unread),
}

impl FileReader<'_> {
    /// Body of a reading thread.
    pub(super) fn run(&self, todo: &Receiver<ReadJob>) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(job) = todo.recv() {
            match self.read_into(&job.found, &mut buffer) {
                // The assembler is gone only after it recorded why.
                Ok(outcome) => drop(job.outcome.send(outcome)),
                Err(BackupError::Vault(error)) => self.reuse.ingest.fail(error),
                Err(_) => {}
            }
        }
    }

    /// Reads one file.
    pub(super) fn read(&self, found: &Arc<Found>) -> Result<Outcome, BackupError> {
        self.read_into(found, &mut vec![0; READ_BYTES])
    }

    /// Reads a file, again if it changed meanwhile. What was found may be older than what is read: it is then looked at
    /// again, so that the entry's times belong to the bytes.
    fn read_into(&self, found: &Arc<Found>, buffer: &mut [u8]) -> Result<Outcome, BackupError> {
        let mut found = Arc::clone(found);
        let mut watch = self.unfinished.watch(&found);
        for attempt in 1..=READS_MAX {
            let is_last = attempt == READS_MAX;
            let (mut writer, earlier) = self.writer(&found, attempt == 1)?;
            let reading = Reading { found: &found, earlier, is_last };
            let stable = match self.read_once(&reading, &mut writer, buffer, &mut watch)? {
                Once::Whole => true,
                Once::Changed => false,
                Once::Unread(unread) if unread.kind == UnreadKind::Replaced && !is_last => false,
                Once::Unread(unread) => return Ok(unreadable(&found, &unread)),
            };
            if stable || is_last {
                return Ok(Outcome::Content { found, content: writer.finish()?, torn: !stable });
            }
            if let Some(watch) = watch.take() {
                watch.forget();
            }
            found = match found.look_again() {
                Ok(again) if matches!(again.node, FoundNode::File { .. }) => Arc::new(again),
                Ok(_) => {
                    let what = io::Error::other("something that is no file took its place while it was read");
                    return Ok(unreadable(&found, &Unread { kind: UnreadKind::Replaced, error: what }));
                }
                Err(unread) => return Ok(unreadable(&found, &unread)),
            };
        }
        Err(Error::new(Kind::Bug, "a file was read more often than allowed").into())
    }

    /// A writer for the file: behind what an interrupted session had stored of it, where that is known and all there.
    fn writer(
        &self,
        found: &Found,
        is_first: bool,
    ) -> Result<(ContentWriter<'_>, Option<PartialFile>), BackupError> {
        let Reuse { ingest, boundary, .. } = self.reuse;
        let fresh = ContentWriter::new(ingest, self.chunkers, Some(found.size()), boundary);
        let earlier = self.unfinished.of(found).filter(|_| is_first && !self.rescan);
        if let Some(earlier) = earlier
            // What had a hole and nothing else was not cut.
            && let chunker = self.chunkers.numbered(earlier.profile)
            && (chunker.is_some() || earlier.profile == 0)
            && let Some(list) = self.reuse.extents(&earlier.extents, earlier.offset)?
        {
            return Ok((fresh.behind(list, chunker, &earlier.hash), Some(earlier)));
        }
        Ok((fresh, None))
    }

    /// Reads a file once. A file that is not what was found when it is opened need not be read, because it will be found
    /// again; the last time it is read all the same, so that a file that never rests is stored as it was read.
    fn read_once(
        &self,
        reading: &Reading<'_>,
        writer: &mut ContentWriter<'_>,
        buffer: &mut [u8],
        watch: &mut Option<Watch<'_>>,
    ) -> Result<Once, BackupError> {
        let found = reading.found;
        let mut file = match found.open() {
            Ok(file) => file,
            Err(unread) => return Ok(Once::Unread(unread)),
        };
        if file.fingerprint() != found.fingerprint() && !reading.is_last {
            return Ok(Once::Changed);
        }
        if let Some(earlier) = &reading.earlier
            && !self.pass_stored(&mut file, writer, buffer, earlier)?
        {
            return Ok(Once::Changed);
        }
        loop {
            self.tell(found, writer, watch)?;
            match file.next_piece(buffer) {
                Ok(Piece::End) => break,
                Ok(Piece::Shrunk) => return Ok(Once::Changed),
                Ok(Piece::Data(length)) => {
                    self.count_read(length);
                    writer.data(&buffer[..length])?;
                }
                Ok(Piece::Hole(length)) => self.take_hole(length, found, writer, watch)?,
                Err(error) => return Ok(Once::Unread(error.into())),
            }
        }
        Ok(match file.fingerprint_now() {
            Ok(now) if now == found.fingerprint() => Once::Whole,
            Ok(_) => Once::Changed,
            Err(error) => Once::Unread(error.into()),
        })
    }

    /// Takes a hole, whose zeros are hashed like bytes: of terabytes that takes long, so it may be broken off. What is told
    /// then is how far the file was before it.
    fn take_hole(
        &self,
        length: u64,
        found: &Found,
        writer: &mut ContentWriter<'_>,
        watch: &mut Option<Watch<'_>>,
    ) -> Result<(), BackupError> {
        let is_long = watch.is_some() && length > HOLE_STEP;
        let before = if is_long { self.so_far(found, writer)? } else { None };
        if writer.hole(length, &|| self.is_stopped())? {
            return Ok(());
        }
        if let Some(watch) = watch {
            watch.tell(before);
        }
        Err(BackupError::Interrupted)
    }

    fn is_stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Relaxed)
    }

    /// Passes over what is stored, reading only the last bytes of it that its hash lacks; false if the file has another
    /// shape than it had.
    fn pass_stored(
        &self,
        file: &mut OpenFile,
        writer: &mut ContentWriter<'_>,
        buffer: &mut [u8],
        earlier: &PartialFile,
    ) -> Result<bool, BackupError> {
        file.seek(earlier.hash.hashed());
        while file.position() < earlier.offset {
            let left = usize::try_from(earlier.offset - file.position()).unwrap_or(usize::MAX);
            let wanted = left.min(buffer.len());
            match file.next_piece(&mut buffer[..wanted]) {
                Ok(Piece::Data(length)) => {
                    self.count_read(length);
                    writer.hash_again(&buffer[..length]);
                }
                Ok(Piece::Hole(length)) if length <= left as u64 => {
                    if !writer.hash_hole_again(length, &|| self.is_stopped()) {
                        return Err(BackupError::Interrupted);
                    }
                }
                // What cannot be read now is read from the start, and found out there.
                Ok(Piece::Hole(_) | Piece::End | Piece::Shrunk) | Err(_) => return Ok(false),
            }
        }
        self.progress.resumed.files.fetch_add(1, Ordering::Relaxed);
        self.progress.resumed.bytes.fetch_add(earlier.hash.hashed(), Ordering::Relaxed);
        Ok(true)
    }

    /// Tells how far a large file is, if somebody asks or the run is to stop; an error if it is to stop.
    fn tell(
        &self,
        found: &Found,
        writer: &ContentWriter<'_>,
        watch: &mut Option<Watch<'_>>,
    ) -> Result<(), BackupError> {
        let stop = self.is_stopped();
        if let Some(watch) = watch
            && (stop || watch.is_asked())
        {
            watch.tell(self.so_far(found, writer)?);
        }
        if stop { Err(BackupError::Interrupted) } else { Ok(()) }
    }

    fn so_far(&self, found: &Found, writer: &ContentWriter<'_>) -> Result<Option<PartialFile>, BackupError> {
        let so_far = writer.so_far()?.filter(|(_, offset, hash)| hash.hashed() < *offset);
        Ok(so_far.map(|(extents, offset, hash)| PartialFile {
            path: found.path.clone(),
            size: found.size(),
            mtime: found.mtime,
            ctime: found.ctime,
            inode: found.inode,
            profile: writer.profile(),
            offset,
            extents,
            hash,
        }))
    }

    fn count_read(&self, bytes: usize) {
        self.progress.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One attempt at a file.
struct Reading<'a> {
    found: &'a Found,
    earlier: Option<PartialFile>,
    is_last: bool,
}

fn unreadable(found: &Found, unread: &Unread) -> Outcome {
    Outcome::Problem(problem_of(found.path.clone(), unread.kind, &unread.error))
}
