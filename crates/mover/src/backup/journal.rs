//! What a run was about to put, noted on this host before it is put.
//!
//! After a crash nobody knows whether a pack that was on its way has arrived. Its ends are noted here and on disk before
//! the request goes out, so the next run asks for it by name and need not upload it again. The journal reaches from the last
//! checkpoint on; it is no promise: without it, or with a torn one, some packs are uploaded twice.
//!
//! ```text
//! <state>/journal/<vault>-<source>/<n>   head, then notes; a new file for each checkpoint, older ones removed after it
//! head   magic "SHUDAO.J" | version u8 0 | vault 16 | session 16
//! note   length u32 | BLAKE3 of the bytes 32 | bytes: a pack's id, size, header, and everything from its directory on
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use shudao_vault::codec::{Decoder, Encoder};
use shudao_vault::id::{SessionId, SourceId, VaultId};
use shudao_vault::pack::{FinishedPack, PackEnds};
use shudao_vault::{Error, Kind};

use crate::ingest::lock;

const MAGIC: &[u8; 8] = b"SHUDAO.J";
const VERSION: u8 = 0;
/// A note is at most this long; a longer one is none.
const NOTE_BYTES_MAX: usize = 80 << 20;

/// What an earlier run left.
#[derive(Debug, Default)]
pub struct Leftover {
    /// The session that it worked for.
    pub session: Option<SessionId>,
    /// Packs that may or may not have arrived.
    pub packs: Vec<PackEnds>,
    /// Number of the next file.
    next: u64,
}

/// Notes packs. The first note that fails ends the noting: a backup does not fail because of it.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    vault: VaultId,
    session: SessionId,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: Option<File>,
    failure: Option<io::Error>,
}

impl Leftover {
    /// Reads what is in the directory of this source. What cannot be read is passed over.
    ///
    /// # Errors
    /// The file system's, when the directory cannot be read.
    pub fn read(state: &Path, vault: VaultId, source: SourceId) -> io::Result<Self> {
        let mut leftover = Self::default();
        for (number, path) in files(&directory(state, vault, source))? {
            leftover.next = leftover.next.max(number + 1);
            let Some((session, packs)) = fs::read(path).ok().and_then(|bytes| decode(&bytes, vault)) else {
                continue;
            };
            leftover.session = Some(session);
            leftover.packs.extend(packs);
        }
        Ok(leftover)
    }
}

/// The session and the packs that the bytes of a journal's file tell, up to the first note that is torn; `None` if they
/// are no journal of this vault.
pub fn decode(bytes: &[u8], vault: VaultId) -> Option<(SessionId, Vec<PackEnds>)> {
    let mut input = Decoder::new(bytes, "journal");
    if &input.array::<8>().ok()? != MAGIC || input.u8().ok()? != VERSION || input.array().ok()? != vault.0 {
        return None;
    }
    let session = SessionId(input.array().ok()?);
    let mut packs = Vec::new();
    while let Some(pack) = decode_note(&mut input) {
        packs.push(pack);
    }
    Some((session, packs))
}

fn decode_note(input: &mut Decoder<'_>) -> Option<PackEnds> {
    let length = usize::try_from(input.u32().ok()?).ok().filter(|length| *length <= NOTE_BYTES_MAX)?;
    let digest: [u8; 32] = input.array().ok()?;
    let bytes = input.raw(length).ok()?;
    if *blake3::hash(bytes).as_bytes() != digest {
        return None;
    }
    let mut note = Decoder::new(bytes, "journal note");
    let pack = PackEnds::decode(&mut note).ok()?;
    note.finish().ok().map(|()| pack)
}

impl Journal {
    /// A journal for `session` beside what `leftover` found, which stays until [`Journal::forget_before`].
    ///
    /// # Errors
    /// The file system's.
    pub fn begin(
        state: &Path,
        (vault, source): (VaultId, SourceId),
        session: SessionId,
        leftover: &Leftover,
    ) -> io::Result<Self> {
        let directory = directory(state, vault, source);
        fs::create_dir_all(&directory)?;
        let open = Open { number: leftover.next, file: None, failure: None };
        let journal = Self { directory, vault, session, open: Mutex::new(open) };
        lock(&journal.open).file = Some(journal.create(leftover.next)?);
        Ok(journal)
    }

    fn create(&self, number: u64) -> io::Result<File> {
        let mut head = Encoder::new();
        head.raw(MAGIC).u8(VERSION).raw(&self.vault.0).raw(&self.session.0);
        let mut file = File::create_new(self.directory.join(number.to_string()))?;
        file.write_all(head.as_slice())?;
        file.sync_data()?;
        File::open(&self.directory)?.sync_all()?;
        Ok(file)
    }

    /// Notes a pack that is about to be put; on disk when this returns.
    pub fn note(&self, pack: &FinishedPack) {
        let mut open = lock(&self.open);
        let Some(file) = open.file.as_mut() else { return };
        if let Err(error) = note_to(file, pack, self.vault) {
            open.file = None;
            open.failure = Some(error);
        }
    }

    /// Begins a new file; returns its number. What is noted from now on stands there.
    pub fn turn(&self) -> u64 {
        let mut open = lock(&self.open);
        open.number += 1;
        if open.file.is_some() {
            match self.create(open.number) {
                Ok(file) => open.file = Some(file),
                Err(error) => (open.file, open.failure) = (None, Some(error)),
            }
        }
        open.number
    }

    /// Removes the files before `number`: a checkpoint tells what they told. What cannot be removed is only read again.
    pub fn forget_before(&self, number: u64) {
        for (old, path) in files(&self.directory).unwrap_or_default() {
            if old < number {
                drop(fs::remove_file(path));
            }
        }
    }

    /// Removes everything: the session has committed.
    pub fn remove(&self) {
        lock(&self.open).file = None;
        self.forget_before(u64::MAX);
        drop(fs::remove_dir(&self.directory));
    }

    /// Why noting ended, if it did.
    pub fn take_failure(&self) -> Option<io::Error> {
        lock(&self.open).failure.take()
    }
}

fn note_to(file: &mut File, pack: &FinishedPack, vault: VaultId) -> io::Result<()> {
    let mut note = Encoder::new();
    PackEnds::of(pack, vault).map_err(io::Error::other)?.encode(&mut note);
    let note = note.finish();
    let too_long = || io::Error::other(Error::new(Kind::Bug, "note a pack: its directory is too long"));
    let length = u32::try_from(note.len()).map_err(|_| too_long())?;
    let mut record = Encoder::new();
    record.u32(length).raw(blake3::hash(&note).as_bytes()).raw(&note);
    file.write_all(record.as_slice())?;
    file.sync_data()
}

fn directory(state: &Path, vault: VaultId, source: SourceId) -> PathBuf {
    state.join("journal").join(format!("{vault}-{source}"))
}

/// The files by ascending number.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            files.push((number, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use shudao_vault::frame::{Compression, Scratch};
    use shudao_vault::id::Digest;
    use shudao_vault::keys::KeyRing;
    use shudao_vault::keys::ring::ChunkSpace;
    use shudao_vault::pack::{PackBuilder, PackKind};

    use super::*;

    const VAULT: VaultId = VaultId([1; 16]);
    const SOURCE: SourceId = SourceId([2; 16]);
    const SESSION: SessionId = SessionId([3; 16]);
    const HEAD_BYTES: usize = MAGIC.len() + 1 + VaultId::LEN + SessionId::LEN;

    fn pack(ring: &KeyRing, byte: u8) -> FinishedPack {
        let mut builder = PackBuilder::new(PackKind::Content, 1 << 20, ring).unwrap();
        let ticket = builder.reserve(1, 1).unwrap().unwrap();
        let id = ring.chunk_id(ChunkSpace::Content, &Digest::of(&[byte]));
        let frame = ticket.seal(&[byte], vec![(id, 1)], Compression::Stored, &mut Scratch::new()).unwrap();
        builder.append(frame).unwrap();
        builder.finish().unwrap()
    }

    fn begin(state: &Path) -> (Leftover, Journal) {
        let leftover = Leftover::read(state, VAULT, SOURCE).unwrap();
        let journal = Journal::begin(state, (VAULT, SOURCE), SESSION, &leftover).unwrap();
        (leftover, journal)
    }

    #[test]
    fn what_was_noted_is_read_by_the_next_run_until_it_is_forgotten() {
        let (state, ring) = (tempfile::tempdir().unwrap(), KeyRing::create(VAULT));
        let packs: Vec<FinishedPack> = (0..3).map(|byte| pack(&ring, byte)).collect();
        let (leftover, journal) = begin(state.path());
        assert_eq!((leftover.session, leftover.packs.len()), (None, 0));
        journal.note(&packs[0]);
        let turned = journal.turn();
        journal.note(&packs[1]);
        let (leftover, second) = begin(state.path());
        assert_eq!(leftover.session, Some(SESSION));
        let read: Vec<_> = leftover.packs.iter().map(|ends| ends.contents(&ring).unwrap()).collect();
        assert_eq!(read, [packs[0].contents.clone(), packs[1].contents.clone()]);
        journal.forget_before(turned);
        second.note(&packs[2]);
        let (leftover, third) = begin(state.path());
        let ids: Vec<_> = leftover.packs.iter().map(|ends| ends.id).collect();
        assert_eq!(ids, [packs[1].pack().id, packs[2].pack().id]);
        third.remove();
        assert_eq!(begin(state.path()).0.packs, []);
    }

    #[test]
    fn a_torn_note_ends_the_file_and_spoils_nothing_before_it() {
        let (state, ring) = (tempfile::tempdir().unwrap(), KeyRing::create(VAULT));
        let (_, journal) = begin(state.path());
        journal.note(&pack(&ring, 1));
        let path = directory(state.path(), VAULT, SOURCE).join("0");
        let whole = fs::read(&path).unwrap().len();
        journal.note(&pack(&ring, 2));
        let bytes = fs::read(&path).unwrap();
        for length in [
            HEAD_BYTES,
            HEAD_BYTES + 1,
            whole - 1,
            whole,
            whole + 1,
            whole + 40,
            bytes.len() - 1,
            bytes.len(),
        ] {
            let (session, packs) = decode(&bytes[..length], VAULT).unwrap();
            assert_eq!(session, SESSION);
            assert_eq!(
                packs.len(),
                usize::from(length >= whole) + usize::from(length == bytes.len()),
                "{length}"
            );
        }
        let mut flipped = bytes.clone();
        flipped[whole + 50] ^= 1;
        assert_eq!(decode(&flipped, VAULT).unwrap().1.len(), 1);
        assert!(decode(&bytes, VaultId([9; 16])).is_none());
        assert!(decode(&bytes[..HEAD_BYTES - 1], VAULT).is_none());
    }

    #[test]
    fn a_journal_that_cannot_be_written_stops_and_says_so() {
        let (state, ring) = (tempfile::tempdir().unwrap(), KeyRing::create(VAULT));
        let (_, journal) = begin(state.path());
        fs::remove_dir_all(state.path().join("journal")).unwrap();
        journal.turn();
        journal.note(&pack(&ring, 1));
        assert!(journal.take_failure().is_some());
    }
}
