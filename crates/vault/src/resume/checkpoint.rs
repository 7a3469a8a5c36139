//! A checkpoint as an object: sealed under the author's tree key, signed, with a trailer.

use super::partial::{FILES_MAX, PartialFile, PartialTree};
use super::shelf::{MARK_BYTES, PackMark, Shelf};
use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, SegmentId, SessionId, WriterId};
use crate::keys::KeyRing;
use crate::object::{self, ObjectKind};
use crate::suite::{ObjectKey, Purpose, Signature, VerifyKey, WrappedKey, Wrapping};

const WHAT: &str = "session checkpoint";
const SIGNATURE_DOMAIN: &str = "shudao session checkpoint";
const SIGNATURE_BYTES: usize = 64;
const SEALED_BYTES_MAX: usize = 256 << 20;

/// Packs without segment at most.
pub const PACKS_MAX: usize = 65_536;
/// Trees at most.
pub const TREES_MAX: usize = 8;

/// Which checkpoint of which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The session.
    pub session: SessionId,
    /// Dense from 0.
    pub k: u64,
}

/// Everything that a session has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is acknowledged.
    pub shelf: Shelf,
    /// Trees of entries that are stored; the last paths strictly ascend.
    pub trees: Vec<PartialTree>,
    /// Files that were being read, by strictly ascending path.
    pub files: Vec<PartialFile>,
}

impl Checkpoint {
    /// The signed object's bytes, decoded again and compared.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] if the ring writes no trees; [`Kind::Bug`] if the checkpoint breaks a rule of the format.
    pub fn seal(&self, place: Place, ring: &KeyRing) -> Result<Vec<u8>> {
        let key = ObjectKey::generate(ring.vault);
        let wrapped = ring.wrap_tree(&key)?;
        let mut out = object::start(ObjectKind::SessionCheckpoint, ring.vault);
        out.raw(&place.session.0).u64(place.k).raw(&ring.writer_id().0).varint(1);
        wrapped.encode(&mut out);
        out.bytes(&key.seal(Purpose::Session, 0, self.encode()));
        let signature = ring.signing.sign(SIGNATURE_DOMAIN, out.as_slice());
        out.raw(&signature.0);
        let bytes = object::finish_with_trailer(out);
        let own = ring.signing.verify_key();
        match Self::open(&bytes, place, ring, &own) {
            Ok(read) if read == *self => Ok(bytes),
            Ok(_) => Err(Error::new(Kind::Bug, "seal session checkpoint: it is not what was encoded")),
            Err(error) => Err(Error::new(Kind::Bug, "seal session checkpoint").because(error)),
        }
    }

    /// Checks and opens the checkpoint that was found at `place`, whose session was begun by the holder of `author`.
    ///
    /// # Errors
    /// [`Kind::Damaged`] or [`Kind::Unsupported`]; [`Kind::Forbidden`] if the ring cannot read the author's names.
    pub fn open(bytes: &[u8], place: Place, ring: &KeyRing, author: &VerifyKey) -> Result<Self> {
        let body = object::without_trailer(bytes, WHAT)?;
        let mut input = object::open(body, ObjectKind::SessionCheckpoint, ring.vault, WHAT)?;
        if input.array()? != place.session.0 || input.u64()? != place.k {
            return Err(input.error("is another checkpoint than its name says"));
        }
        let writer = WriterId(input.array()?);
        let (signed, signature) =
            body.split_last_chunk::<SIGNATURE_BYTES>().ok_or_else(|| input.error("ends too early"))?;
        if writer != author.writer_id() || !author.verifies(SIGNATURE_DOMAIN, signed, &Signature(*signature))
        {
            return Err(input.error("is not signed by who began the session"));
        }
        if input.varint()? != 1 {
            return Err(input.error("has not exactly one key"));
        }
        let wrapped = WrappedKey::decode(&mut input)?;
        if wrapped.name.wrapping != Wrapping::Tree || wrapped.name.writer != writer {
            return Err(input.error("is not sealed under its author's tree key"));
        }
        let sealed = input.bytes(SEALED_BYTES_MAX)?;
        input.raw(SIGNATURE_BYTES)?;
        input.finish()?;
        Self::decode(&ring.unwrap(&wrapped)?.open(Purpose::Session, 0, sealed)?)
    }

    /// What is sealed, in the clear.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.varint(self.shelf.segments.len() as u64);
        for segment in &self.shelf.segments {
            out.raw(&segment.0);
        }
        out.varint(self.shelf.packs.len() as u64);
        for mark in &self.shelf.packs {
            mark.encode(&mut out);
        }
        out.varint(self.trees.len() as u64);
        for tree in &self.trees {
            tree.encode(&mut out);
        }
        out.varint(self.files.len() as u64);
        for file in &self.files {
            file.encode(&mut out);
        }
        out.finish()
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    ///
    /// # Errors
    /// [`Kind::Damaged`] for every byte string that it does not write.
    pub fn decode(plain: &[u8]) -> Result<Self> {
        let mut input = Decoder::new(plain, WHAT);
        let count = input.count(SegmentId::LEN)?;
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            segments.push(ObjectId(input.array()?));
        }
        let count = input.count(MARK_BYTES)?;
        if count > PACKS_MAX {
            return Err(input.error("too many packs without segment"));
        }
        let packs = (0..count).map(|_| PackMark::decode(&mut input)).collect::<Result<Vec<_>>>()?;
        let count = input.count(34)?;
        if count > TREES_MAX {
            return Err(input.error("too many trees"));
        }
        let trees = (0..count).map(|_| PartialTree::decode(&mut input)).collect::<Result<Vec<_>>>()?;
        let count = input.count(32)?;
        if count > FILES_MAX {
            return Err(input.error("too many files"));
        }
        let files = (0..count).map(|_| PartialFile::decode(&mut input)).collect::<Result<Vec<_>>>()?;
        if !trees.is_sorted_by(|a, b| a.last < b.last) || !files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(input.error("its trees or files are not in order"));
        }
        input.finish()?;
        Ok(Self { shelf: Shelf { segments, packs }, trees, files })
    }
}
