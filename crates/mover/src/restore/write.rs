//! Writing one file: data, digest, metadata, then its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::OFlags;
use shudao_vault::entry::{Entry, Node};
use shudao_vault::id::Digest;

use super::mark::Mark;
use super::metadata::{NotSet, XattrBytes, set_metadata_of_file};
use super::target::Place;

/// A run of a file's bytes, in order.
pub(super) enum Piece {
    /// Bytes of a chunk, and its digest, against which they were checked.
    Data(Bytes, Digest),
    /// Not allocated.
    Hole(u64),
    /// Already right in the existing file.
    Kept(u64),
}

/// How the file's bytes get to their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Into a temporary file, checked, then renamed.
    Renamed,
    /// Into the existing file, checked by reading it back.
    Patched,
}

/// A file being written, over one or several batches.
pub(super) struct FileInWork {
    pub(super) entry: Entry,
    pub(super) place: Place,
    pub(super) xattrs: XattrBytes,
    pub(super) manner: Manner,
    temporary: Option<Place>,
    file: Option<File>,
    hasher: blake3::Hasher,
    offset: u64,
    /// The length that the file on disk has; what is left is a hole at its end.
    reaches: u64,
    /// The digest of the one chunk that was the whole file, so that its bytes are not hashed a second time.
    one_chunk: Option<Digest>,
    /// Bytes written so far, holes and kept ranges not counted.
    pub(super) bytes_written: u64,
    /// Says on disk that the file is being patched; removed when it is whole.
    pub(super) mark: Option<Mark>,
}

/// Why a file was not restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{step}")]
    Io {
        step: &'static str,
        #[source]
        cause: io::Error,
    },
    #[error("what was written has another digest than the snapshot's: expected {expected}, wrote {found}")]
    Digest { expected: Digest, found: Digest },
}

impl WriteError {
    pub(super) fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { cause, .. } if full.contains(&cause.kind()))
    }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> WriteError {
    move |cause| WriteError::Io { step, cause }
}

impl FileInWork {
    pub(super) fn new(entry: Entry, place: Place, xattrs: XattrBytes, manner: Manner) -> Self {
        let hasher = blake3::Hasher::new();
        Self {
            entry,
            place,
            xattrs,
            manner,
            hasher,
            temporary: None,
            file: None,
            offset: 0,
            reaches: 0,
            one_chunk: None,
            bytes_written: 0,
            mark: None,
        }
    }

    /// Bytes of the file handled so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes the next piece.
    pub(super) fn write(&mut self, piece: &Piece) -> Result<(), WriteError> {
        if self.file.is_none() {
            self.file = Some(self.open()?);
        }
        let Some(file) = &self.file else { return Ok(()) };
        match piece {
            Piece::Data(bytes, digest) => {
                file.write_all_at(bytes, self.offset).map_err(at("write data"))?;
                let length = bytes.len() as u64;
                if self.offset == 0 && length == self.entry.size() {
                    self.one_chunk = Some(*digest);
                } else if self.manner == Manner::Renamed {
                    self.hasher.update(bytes);
                }
                self.offset += length;
                self.reaches = self.reaches.max(self.offset);
                self.bytes_written += length;
            }
            Piece::Hole(length) => {
                if self.manner == Manner::Renamed {
                    hash_zeros(&mut self.hasher, *length);
                } else {
                    punch(file, self.offset, *length).map_err(at("make a hole"))?;
                }
                self.offset += length;
            }
            Piece::Kept(length) => self.offset += length,
        }
        Ok(())
    }

    fn open(&mut self) -> Result<File, WriteError> {
        match self.manner {
            Manner::Patched => {
                let file = File::from(self.place.open(OFlags::RDWR).map_err(at("open for patching"))?);
                file.set_len(self.entry.size()).map_err(at("set the file's size"))?;
                self.reaches = self.entry.size();
                Ok(file)
            }
            Manner::Renamed => {
                let temporary = self.place.temporary();
                let handle = temporary.create_file().map_err(at("create a temporary file"))?;
                self.temporary = Some(temporary);
                Ok(File::from(handle))
            }
        }
    }

    /// Checks what was written, sets metadata and gives the file its name. Returns what metadata could not be set.
    pub(super) fn finish(mut self) -> Result<Vec<NotSet>, WriteError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let Node::File { digest: expected, .. } = self.entry.portable.node else { return Ok(Vec::new()) };
        let found = match (self.manner, self.one_chunk) {
            (Manner::Renamed, Some(chunk)) => chunk,
            (Manner::Renamed, None) => Digest(*self.hasher.finalize().as_bytes()),
            (Manner::Patched, _) => {
                file.sync_data().map_err(at("write to disk"))?;
                digest_of(&file).map_err(at("read back"))?
            }
        };
        if found != expected {
            return Err(WriteError::Digest { expected, found });
        }
        if self.reaches < self.entry.size() {
            file.set_len(self.entry.size()).map_err(at("set the file's size"))?;
        }
        let not_set = set_metadata_of_file(&file, &self.entry.portable, &self.xattrs);
        drop(file);
        if let Some(temporary) = self.temporary.take()
            && let Err(cause) = self.place.take_over(&temporary)
        {
            self.temporary = Some(temporary);
            return Err(WriteError::Io { step: "give the file its name", cause });
        }
        if let Some(mark) = self.mark.take() {
            mark.remove().map_err(at("remove the mark of a patched file"))?;
        }
        Ok(not_set)
    }
}

impl Drop for FileInWork {
    /// A file that was not finished leaves nothing behind.
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.unlink());
        }
    }
}

/// BLAKE3 of a whole file.
pub(super) fn digest_of(file: &File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
}

/// Feeds `length` zero bytes to a hasher.
fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while length > 0 {
        let count = length.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..count as usize]);
        length -= count;
    }
}

fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, length) {
        Ok(()) => Ok(()),
        Err(_) => {
            let zeros = vec![0; 64 << 10];
            let (mut at, end) = (offset, offset + length);
            while at < end {
                let count = (end - at).min(zeros.len() as u64);
                file.write_all_at(&zeros[..count as usize], at)?;
                at += count;
            }
            Ok(())
        }
    }
}
