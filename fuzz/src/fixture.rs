//! The vault that the corpus belongs to: its keys are fixed and no secret.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use shudao_vault::codec::Encoder;
use shudao_vault::frame::{Compression, Scratch};
use shudao_vault::id::{Digest, VaultId};
use shudao_vault::keys::ring::index_key;
use shudao_vault::keys::{KeyRing, Role};
use shudao_vault::pack::{FinishedPack, PACK_BYTES_TARGET, PackBuilder, PackKind};
use shudao_vault::suite::{ReadSecret, Secret, SigningKey, public_of};
use shudao_vault::vault_file::VaultFile;

/// The vault.
pub const VAULT: VaultId = VaultId([7; VaultId::LEN]);

static OWNER: LazyLock<KeyRing> = LazyLock::new(|| {
    let read = ReadSecret(Secret([3; 32]));
    let metadata = Secret([4; 32]);
    KeyRing {
        vault: VAULT,
        role: Role::Owner,
        signing: SigningKey::from_seed(Secret([1; 32])),
        chunk_id: Secret([2; 32]),
        gear: Some(Secret([5; 32])),
        boundary: Some(Secret([6; 32])),
        read_public: (1, public_of(&read)),
        read_secrets: BTreeMap::from([(1, read)]),
        index: BTreeMap::from([(1, index_key(&metadata))]),
        metadata: BTreeMap::from([(1, metadata)]),
        trees: BTreeMap::new(),
        predecessors: Vec::new(),
    }
});

/// The owner's keys.
pub fn owner() -> &'static KeyRing {
    &OWNER
}

/// A writer's signing key.
pub fn writer() -> SigningKey {
    SigningKey::from_seed(Secret([8; 32]))
}

/// The vault's description.
pub fn file() -> &'static VaultFile {
    static FILE: LazyLock<VaultFile> = LazyLock::new(|| VaultFile::new(VAULT, OWNER.signing.verify_key()));
    &FILE
}

/// What opens the slots of the corpus that are locked to a recipient.
pub fn identity() -> ReadSecret {
    ReadSecret(Secret([9; 32]))
}

/// A pack of two frames, one of them with two chunks.
///
/// # Panics
/// Never: it is the same every time.
pub fn pack(kind: PackKind) -> FinishedPack {
    let mut builder = PackBuilder::new(kind, PACK_BYTES_TARGET, owner()).expect("an owner writes packs");
    let mut scratch = Scratch::new();
    for chunks in [&[&b"first chunk"[..], b"second"][..], &[b"alone"]] {
        let name = |chunk: &&[u8]| (owner().chunk_id(kind.space(), &Digest::of(chunk)), chunk.len() as u32);
        let (plain, chunks) = (chunks.concat(), chunks.iter().map(name).collect::<Vec<_>>());
        let ticket = builder.reserve(plain.len(), chunks.len()).expect("lengths are legal");
        let ticket = ticket.expect("an empty pack has room");
        let frame = ticket.seal(&plain, chunks, Compression::Fast, &mut scratch).expect("as reserved");
        builder.append(frame).expect("the frame is of this pack");
    }
    builder.finish().expect("the pack is whole")
}

/// `bytes` with the signature at their end replaced by a right one.
pub fn signed_anew(bytes: &[u8], domain: &str, key: &SigningKey) -> Vec<u8> {
    signed(&bytes[..bytes.len().saturating_sub(64)], domain, key)
}

/// `body` and its signature.
pub fn signed(body: &[u8], domain: &str, key: &SigningKey) -> Vec<u8> {
    [body, &key.sign(domain, body).0].concat()
}

/// `body` and its checksum.
pub fn with_trailer(body: &[u8]) -> Vec<u8> {
    [body, blake3::hash(body).as_bytes()].concat()
}

/// The start of an object of this vault, to go on writing.
pub fn object(kind: shudao_vault::object::ObjectKind) -> Encoder {
    shudao_vault::object::start(kind, VAULT)
}
