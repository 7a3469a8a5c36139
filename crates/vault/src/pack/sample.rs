//! Rings and packs for tests.

use std::collections::BTreeMap;

use super::{FinishedPack, PACK_BYTES_TARGET, PackBuilder, PackKind};
use crate::frame::{Compression, Scratch};
use crate::id::{ChunkId, Digest, VaultId};
use crate::keys::ring::index_key;
use crate::keys::{KeyRing, Role};
use crate::suite::{Secret, SigningKey, generate_read_pair};

pub(crate) const VAULT: VaultId = VaultId([7; 16]);

/// An owner's ring of a fresh vault.
pub(crate) fn owner() -> KeyRing {
    let (read_public, read_secret) = generate_read_pair();
    let metadata = Secret::generate();
    KeyRing {
        vault: VAULT,
        role: Role::Owner,
        signing: SigningKey::generate(),
        chunk_id: Secret::generate(),
        gear: Some(Secret::generate()),
        boundary: Some(Secret::generate()),
        read_public: (1, read_public),
        read_secrets: BTreeMap::from([(1, read_secret)]),
        index: BTreeMap::from([(1, index_key(&metadata))]),
        metadata: BTreeMap::from([(1, metadata)]),
        trees: BTreeMap::new(),
        predecessors: Vec::new(),
    }
}

/// A keeper's ring of the owner's vault: names and directories, no content.
pub(crate) fn keeper(owner: &KeyRing) -> KeyRing {
    let mut ring = owner.clone();
    ring.role = Role::Keeper;
    ring.signing = SigningKey::generate();
    ring.read_secrets.clear();
    ring
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The pieces of a frame: its plain bytes, and its chunks by id and length.
pub(crate) fn frame_of(ring: &KeyRing, kind: PackKind, chunks: &[&[u8]]) -> (Vec<u8>, Vec<(ChunkId, u32)>) {
    let name = |chunk: &&[u8]| (ring.chunk_id(kind.space(), &Digest::of(chunk)), chunk.len() as u32);
    (chunks.concat(), chunks.iter().map(name).collect())
}

/// A pack with these frames, appended in reverse.
pub(crate) fn pack(ring: &KeyRing, kind: PackKind, frames: &[&[&[u8]]]) -> FinishedPack {
    let mut scratch = Scratch::new();
    let mut builder = PackBuilder::new(kind, PACK_BYTES_TARGET, ring).unwrap();
    let mut sealed = Vec::new();
    for chunks in frames {
        let (plain, chunks) = frame_of(ring, kind, chunks);
        let ticket = builder.reserve(plain.len(), chunks.len()).unwrap().unwrap();
        sealed.push(ticket.seal(&plain, chunks, Compression::Fast, &mut scratch).unwrap());
    }
    for frame in sealed.into_iter().rev() {
        builder.append(frame).unwrap();
    }
    builder.finish().unwrap()
}
