//! A snapshot: a source at one instant, signed by its author.
//!
//! ```text
//! header | source 16 | sequence u64 | parent | time i64 | tree root 32 | commitment 32 | author 16 | keys | sealed | signature 64
//! ```
//!
//! Layout: `docs/format/snapshot.md`. The outer part is readable, and the signature verifies, without any key; names,
//! roots and counts are sealed under the author's tree key. Sealing draws a fresh object key and salt; nothing else
//! here is random, and nothing reads a clock.

mod contents;

pub use contents::{Contents, Counts, TreeRoot, UNREAD_MAX, Unread, UnreadKind, UnreadList};

use crate::codec::Decoder;
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, ObjectId, SnapshotId, SourceId, Timestamp, VaultId, WriterId};
use crate::keys::KeyRing;
use crate::keys::ring::ChunkSpace;
use crate::object::{self, ObjectKind};
use crate::roots::Roots;
use crate::suite::{ObjectKey, Purpose, Signature, VerifyKey, WrappedKey, Wrapping, random};

const WHAT: &str = "snapshot";
const SIGNATURE_DOMAIN: &str = "shudao snapshot";
const COMMITMENT_CONTEXT: &str = "shudao snapshot roots";
const SIGNATURE_BYTES: usize = 64;
const SEALED_BYTES_MAX: usize = 256 << 20;

/// What anyone may read of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOuter {
    /// BLAKE3 of the object's bytes.
    pub id: SnapshotId,
    /// The source, opaque without keys.
    pub source: SourceId,
    /// The parent's plus 1; at least 1.
    pub sequence: u64,
    /// The snapshot that this one was made against.
    pub parent: Option<SnapshotId>,
    /// When it was made, by the writer's clock.
    pub time: Timestamp,
    /// The keyed id of the tree's root node.
    pub tree_root: ChunkId,
    /// Salted commitment to the manifest and content roots.
    pub commitment: [u8; 32],
    /// Who signed it.
    pub author: WriterId,
    key: WrappedKey,
}

/// A snapshot opened by a role that reads its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What anyone may read.
    pub outer: SnapshotOuter,
    /// With the roots, opens the commitment to a party without keys.
    pub salt: [u8; 32],
    /// What is sealed.
    pub contents: Contents,
}

/// What a writer says of a snapshot; ids, salt, commitment and signature follow from it and the key ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The parent's plus 1; at least 1.
    pub sequence: u64,
    /// The snapshot that this one was made against.
    pub parent: Option<SnapshotId>,
    /// When it is made, by the writer's clock.
    pub time: Timestamp,
    /// What is to be sealed.
    pub contents: Contents,
}

impl Draft {
    /// The signed object's bytes, sealed under the ring holder's tree key; its id is BLAKE3 of them.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] if the ring writes no trees; [`Kind::Bug`] if the draft breaks a rule of the format.
    pub fn seal(&self, ring: &KeyRing) -> Result<Vec<u8>> {
        let salt = random();
        let plain = self.contents.encode(&salt)?;
        if self.sequence == 0 || plain.len() > SEALED_BYTES_MAX - 1024 {
            return Err(Error::new(Kind::Bug, "seal snapshot: sequence is zero, or it is too large"));
        }
        let key = ObjectKey::generate(ring.vault);
        let wrapped = ring.wrap_tree(&key)?;
        let contents = &self.contents;

        let mut out = object::start(ObjectKind::Snapshot, ring.vault);
        out.raw(&ring.source_id(&contents.source).0).u64(self.sequence);
        match &self.parent {
            None => out.u8(0),
            Some(parent) => out.u8(1).raw(&parent.0),
        };
        out.i64(self.time.0)
            .raw(&ring.chunk_id(ChunkSpace::Metadata, &contents.tree.digest).0)
            .raw(&commitment(&salt, &contents.roots))
            .raw(&ring.writer_id().0);
        out.varint(1);
        wrapped.encode(&mut out);
        out.bytes(&key.seal(Purpose::Snapshot, 0, plain));
        let signature = ring.signing.sign(SIGNATURE_DOMAIN, out.as_slice());
        out.raw(&signature.0);
        Ok(out.finish())
    }
}

impl SnapshotOuter {
    /// Reads the outer part. Nothing is proven by it until [`SnapshotOuter::verify`] has checked the signature.
    ///
    /// # Errors
    /// [`Kind::Damaged`] or [`Kind::Unsupported`].
    pub fn decode(bytes: &[u8], vault: VaultId) -> Result<Self> {
        Ok(Self::split(bytes, vault)?.0)
    }

    /// Reads the outer part and checks the signature over the whole object. `verify_key_of` returns the key that the
    /// vault's log certifies for an author.
    ///
    /// # Errors
    /// [`Kind::Damaged`] too if the author is not known or the signature is not its.
    pub fn verify(
        bytes: &[u8],
        vault: VaultId,
        verify_key_of: impl Fn(WriterId) -> Option<VerifyKey>,
    ) -> Result<Self> {
        let (outer, _) = Self::split(bytes, vault)?;
        outer.check_signature(bytes, verify_key_of)?;
        Ok(outer)
    }

    /// Whether the snapshot commits to these roots under this salt.
    pub fn commits_to(&self, salt: &[u8; 32], roots: &Roots) -> bool {
        commitment(salt, roots) == self.commitment
    }

    /// The outer part and the sealed bytes.
    fn split(bytes: &[u8], vault: VaultId) -> Result<(Self, &[u8])> {
        let mut input = object::open(bytes, ObjectKind::Snapshot, vault, WHAT)?;
        let source = SourceId(input.array()?);
        let sequence = input.u64()?;
        let parent = match input.u8()? {
            0 => None,
            1 => Some(ObjectId(input.array()?)),
            _ => return Err(input.error("unknown tag of the parent")),
        };
        let outer = Self {
            id: SnapshotId::of(bytes),
            source,
            sequence,
            parent,
            time: Timestamp(input.i64()?),
            tree_root: ChunkId(input.array()?),
            commitment: input.array()?,
            author: WriterId(input.array()?),
            key: decode_key_table(&mut input)?,
        };
        let sealed = input.bytes(SEALED_BYTES_MAX)?;
        input.raw(SIGNATURE_BYTES)?;
        if sequence == 0 {
            return Err(input.error("sequence is zero"));
        }
        input.finish()?;
        Ok((outer, sealed))
    }

    fn check_signature(
        &self,
        bytes: &[u8],
        verify_key_of: impl Fn(WriterId) -> Option<VerifyKey>,
    ) -> Result<()> {
        let damaged = |problem: &str| Error::damaged(format!("verify snapshot {}: {problem}", self.id));
        let key = verify_key_of(self.author)
            .filter(|key| key.writer_id() == self.author)
            .ok_or_else(|| damaged("its author's key is not known to the vault"))?;
        let (body, signature) =
            bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or_else(|| damaged("ends too early"))?;
        if key.verifies(SIGNATURE_DOMAIN, body, &Signature(*signature)) {
            Ok(())
        } else {
            Err(damaged("its signature is not its author's"))
        }
    }
}

impl Snapshot {
    /// Verifies and opens a snapshot. `verify_key_of` returns the key that the vault's log certifies for an author.
    ///
    /// # Errors
    /// As [`SnapshotOuter::verify`]; [`Kind::Forbidden`] if the ring cannot read the author's names (the outer part
    /// can still be had); [`Kind::Damaged`] if the sealed part contradicts the outer one.
    pub fn decode(
        bytes: &[u8],
        ring: &KeyRing,
        verify_key_of: impl Fn(WriterId) -> Option<VerifyKey>,
    ) -> Result<Self> {
        let (outer, sealed) = SnapshotOuter::split(bytes, ring.vault)?;
        outer.check_signature(bytes, verify_key_of)?;
        let damaged = |problem: &str| Error::damaged(format!("open snapshot {}: {problem}", outer.id));
        if outer.key.name.wrapping != Wrapping::Tree || outer.key.name.writer != outer.author {
            return Err(damaged("it is not sealed under its author's tree key"));
        }
        let plain = ring.unwrap(&outer.key)?.open(Purpose::Snapshot, 0, sealed)?;
        let (contents, salt) = Contents::decode(&plain)?;
        if ring.chunk_id(ChunkSpace::Metadata, &contents.tree.digest) != outer.tree_root {
            return Err(damaged("its sealed tree is not the one it names outside"));
        }
        if ring.source_id(&contents.source) != outer.source {
            return Err(damaged("its sealed source is not the one it names outside"));
        }
        if !outer.commits_to(&salt, &contents.roots) {
            return Err(damaged("its commitment is not to its roots"));
        }
        Ok(Self { outer, salt, contents })
    }
}

/// What a snapshot says outside about its roots.
pub fn commitment(salt: &[u8; 32], roots: &Roots) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(COMMITMENT_CONTEXT);
    hasher.update(salt).update(&roots.manifest).update(&roots.content);
    *hasher.finalize().as_bytes()
}

fn decode_key_table(input: &mut Decoder<'_>) -> Result<WrappedKey> {
    if input.varint()? != 1 {
        return Err(input.error("has not exactly one key"));
    }
    WrappedKey::decode(input)
}

#[cfg(test)]
mod tests;
