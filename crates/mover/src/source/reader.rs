//! A file's content, piece by piece: data and holes, up to the size it had when it was opened.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, FileType, OFlags, SeekFrom};
use rustix::io::Errno;

use super::directory::open_quietly;
use super::found::{Found, Unread, UnreadKind};
use super::status::{Fingerprint, Follow, Status};

/// From this size on, a file's pages are given back to the system once they are read, so that a backup does not
/// push everything else out of memory.
const BIG_FILE_BYTES: u64 = 32 << 20;

/// How much is read before pages are given back.
const RELEASE_BYTES: u64 = 8 << 20;

/// A file being read from its start to its end.
#[derive(Debug)]
pub struct OpenFile {
    file: OwnedFd,
    opened: Status,
    position: u64,
    /// End of the data around `position`; equal to it if it must be asked for.
    data_end: u64,
    released: u64,
}

/// The next part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes were put at the start of the buffer; at least one.
    Data(usize),
    /// This many bytes, at least one, are not allocated and read as zeros.
    Hole(u64),
    /// Everything was given, up to the size at opening.
    End,
    /// The file has become shorter: it ends here, before the size at opening. It has changed while it was read.
    Shrunk,
}

impl OpenFile {
    pub(super) fn open(found: &Found) -> Result<Self, Unread> {
        let place = &found.place;
        // NONBLOCK: a pipe that has taken the file's place must not keep us waiting for a writer.
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        if place.follow == Follow::Never {
            flags |= OFlags::NOFOLLOW;
        }
        let directory = place.directory.handle()?;
        let file = open_quietly(&*directory, &place.name, flags)?;
        let opened = Status::of_open(&file)?;
        if opened.kind != FileType::RegularFile || opened.identity() != (found.device, found.inode) {
            return Err(Unread { kind: UnreadKind::Replaced, error: Errno::STALE.into() });
        }
        if opened.size > 0 {
            // Advice may be ignored, and so may be the answer to it.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        Ok(Self { file, position: 0, data_end: known_data_end(&opened), opened, released: 0 })
    }

    /// Size in bytes when it was opened: what is read, whatever the file does meanwhile.
    pub fn size(&self) -> u64 {
        self.opened.size
    }

    /// Bytes given so far, holes included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the file was when it was opened.
    pub fn fingerprint(&self) -> Fingerprint {
        self.opened.fingerprint()
    }

    /// What the file is now. If this is not [`Self::fingerprint`] after the last piece, it changed while it was read.
    pub fn fingerprint_now(&self) -> io::Result<Fingerprint> {
        Ok(Status::of_open(&self.file)?.fingerprint())
    }

    /// Begins again from the start and with the size that the file has now.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.opened = Status::of_open(&self.file)?;
        self.data_end = known_data_end(&self.opened);
        (self.position, self.released) = (0, 0);
        Ok(())
    }

    /// Goes on at `position`, which lies in data or is where a hole or the data behind it begins.
    pub fn seek(&mut self, position: u64) {
        self.data_end = known_data_end(&self.opened);
        (self.position, self.released) = (position, position);
    }

    /// The next piece. `buffer` must not be empty; data fills it as far as one read does.
    pub fn next_piece(&mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        if self.position >= self.opened.size {
            self.release(0);
            return Ok(Piece::End);
        }
        if self.position >= self.data_end
            && let Some(piece) = self.find_data()?
        {
            return Ok(piece);
        }
        let left = usize::try_from(self.data_end - self.position).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let read = loop {
            match rustix::io::pread(&self.file, &mut buffer[..wanted], self.position) {
                Err(Errno::INTR) => {}
                read => break read?,
            }
        };
        if read == 0 {
            return Ok(Piece::Shrunk);
        }
        self.position += read as u64;
        self.release(RELEASE_BYTES);
        Ok(Piece::Data(read))
    }

    /// Passes over a hole at the position, or sets `data_end` beyond it.
    fn find_data(&mut self) -> io::Result<Option<Piece>> {
        let size = self.opened.size;
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(self.position)) {
            Ok(start) => start.min(size),
            // No data from here on: a hole up to the end, which may have moved.
            Err(Errno::NXIO) => Status::of_open(&self.file)?.size.min(size),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                // This file system cannot tell holes: everything is data.
                self.data_end = size;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if start > self.position {
            let length = start - self.position;
            self.position = start;
            self.data_end = start;
            return Ok(Some(Piece::Hole(length)));
        }
        if start < self.position {
            return Ok(Some(Piece::Shrunk));
        }
        let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(self.position)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => return Ok(Some(Piece::Shrunk)),
            Err(error) => return Err(error.into()),
        };
        // Data that became a hole between the two questions is read as the zeros it now is.
        self.data_end = if end > self.position { end } else { size };
        Ok(None)
    }

    /// Gives read pages of a big file back to the system, if there are more than `held_max` bytes of them.
    fn release(&mut self, held_max: u64) {
        if self.opened.size < BIG_FILE_BYTES || self.position - self.released <= held_max {
            return;
        }
        let length = NonZeroU64::new(self.position - self.released);
        let _ = rustix::fs::fadvise(&self.file, self.released, length, Advice::DontNeed);
        self.released = self.position;
    }
}

/// Up to where a file is known to be data without asking: all of it if every byte is allocated. A compressed file
/// looks as if it had holes, and is asked in vain.
fn known_data_end(status: &Status) -> u64 {
    if status.allocated < status.size { 0 } else { status.size }
}
