//! Suite `std-1`: AES-256-GCM, HKDF-SHA-256, HPKE (X25519), Ed25519, BLAKE3.
//!
//! Every cryptographic primitive of the vault is reached through this module, so that another suite (`gm-1`) has one
//! place to go. Specification: `docs/format/keys.md`. Secrets are wiped when dropped and never printed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, hkdf};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{KeyId, VaultId, WriterId};

/// The suite number that stands in every object's header.
pub const SUITE_STD_1: u8 = 1;

/// Bytes that sealing adds: the authentication tag.
pub const TAG_BYTES: usize = 16;

const HPKE_PUBLIC_BYTES: usize = 32;

mod source;

#[cfg(test)]
pub(crate) mod seeded;
#[cfg(test)]
use seeded as given;
#[cfg(not(test))]
use source as given;

/// `N` random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    given::fill(&mut bytes);
    bytes
}

/// SHA-256 of the joined `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl Secret {
    /// A fresh random secret.
    pub fn generate() -> Self {
        Self(random())
    }

    /// HKDF-SHA-256 of this secret with an empty salt; `info` parts are length-prefixed (varint) and joined.
    #[must_use]
    pub fn derive(&self, info: &[&[u8]]) -> Self {
        self.derive_salted(&[], info)
    }

    /// The same with a salt.
    #[must_use]
    pub fn derive_salted(&self, salt: &[u8], info: &[&[u8]]) -> Self {
        let mut joined = Encoder::new();
        for part in info {
            joined.bytes(part);
        }
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        let info = [joined.as_slice()];
        let okm = prk.expand(&info, hkdf::HKDF_SHA256).expect("32 bytes can be expanded");
        let mut out = [0; 32];
        okm.fill(&mut out).expect("the output is as long as was asked for");
        Self(out)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An Ed25519 signing key.
pub struct SigningKey {
    seed: Secret,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self::from_seed(Secret::generate())
    }

    /// The key with this seed.
    pub fn from_seed(seed: Secret) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed.0).expect("every 32 bytes are an Ed25519 seed");
        Self { seed, pair }
    }

    /// The seed, to be sealed in a key bundle.
    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        VerifyKey(bytes)
    }

    /// Ed25519 over `domain`, a zero byte and `message`.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        Signature(given::sign(&self.pair, &signed_bytes(domain, message)))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.verify_key())
    }
}

impl Clone for SigningKey {
    fn clone(&self) -> Self {
        Self::from_seed(self.seed.clone())
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyKey(pub [u8; 32]);

impl VerifyKey {
    /// Whether `signature` is this key's over `domain`, a zero byte and `message`.
    pub fn verifies(&self, domain: &str, message: &[u8], signature: &Signature) -> bool {
        given::verifies(&self.0, &signed_bytes(domain, message), &signature.0)
    }

    /// The id of this key's holder: the first 16 bytes of the key's BLAKE3.
    pub fn writer_id(&self) -> WriterId {
        let mut id = [0; WriterId::LEN];
        id.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..WriterId::LEN]);
        WriterId(id)
    }
}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyKey({})", crate::id::to_hex(&self.0[..4]))
    }
}

fn signed_bytes(domain: &str, message: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], message].concat()
}

/// What a sealed piece of an object is; bound by its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// A frame of file content.
    Content = 1,
    /// A frame of tree or list nodes.
    Metadata = 2,
    /// A pack's directory.
    Directory = 3,
    /// A segment's body.
    Segment = 4,
    /// A snapshot's sealed part.
    Snapshot = 5,
    /// A session checkpoint's sealed part.
    Session = 6,
}

/// The random key of one object, split into an encryption key and a commitment.
pub struct ObjectKey {
    secret: Secret,
    vault: VaultId,
    aead: LessSafeKey,
    commitment: [u8; 32],
}

impl ObjectKey {
    /// A fresh key for an object of `vault`.
    pub fn generate(vault: VaultId) -> Self {
        Self::from_secret(vault, Secret::generate())
    }

    fn from_secret(vault: VaultId, secret: Secret) -> Self {
        let encryption = secret.derive(&[b"shudao object encryption", &vault.0]);
        let commitment = secret.derive(&[b"shudao object commitment", &vault.0]).0;
        Self { aead: aead(&encryption), vault, commitment, secret }
    }

    /// The first 16 bytes of the commitment.
    pub fn id(&self) -> KeyId {
        key_id(&self.commitment)
    }

    /// Seals `plain` under this key. A (purpose, counter) pair must never be used twice with one key.
    pub fn seal(&self, purpose: Purpose, counter: u64, mut plain: Vec<u8>) -> Vec<u8> {
        plain.reserve_exact(TAG_BYTES);
        self.aead
            .seal_in_place_append_tag(nonce(purpose, counter), self.associated(purpose, counter), &mut plain)
            .expect("a frame is far below the cipher's limit");
        plain
    }

    /// Opens what [`ObjectKey::seal`] made with the same purpose and counter; [`Kind::Damaged`] otherwise.
    pub fn open(&self, purpose: Purpose, counter: u64, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.open_into(purpose, counter, sealed, &mut plain)?;
        Ok(plain)
    }

    /// As [`ObjectKey::open`], into a buffer whose content is replaced; after an error it means nothing.
    pub fn open_into(
        &self,
        purpose: Purpose,
        counter: u64,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let (data, tag) = sealed.split_at(sealed.len().saturating_sub(TAG_BYTES));
        plain.resize(data.len(), 0);
        self.aead
            .open_separate_gather(
                nonce(purpose, counter),
                self.associated(purpose, counter),
                data,
                tag,
                plain,
            )
            .map_err(|_| {
                Error::damaged(format!("open {purpose:?} frame {}/{counter}: not authentic", self.id()))
            })
    }

    fn associated(&self, purpose: Purpose, counter: u64) -> Aad<Vec<u8>> {
        let mut data = Encoder::new();
        data.raw(b"shudao frame").raw(&self.vault.0).u8(purpose as u8).raw(&self.id().0).u64(counter);
        Aad::from(data.finish())
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectKey({:?})", self.id())
    }
}

fn key_id(commitment: &[u8; 32]) -> KeyId {
    let mut id = [0; KeyId::LEN];
    id.copy_from_slice(&commitment[..KeyId::LEN]);
    KeyId(id)
}

fn aead(key: &Secret) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.0).expect("the key has the cipher's length"))
}

fn nonce(purpose: Purpose, counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[0] = purpose as u8;
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Which kind of long-lived key wraps an object key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Wrapping {
    /// Sealed by HPKE to the vault's read key: content.
    Read = 1,
    /// Under a writer's tree key: tree packs and a snapshot's sealed part.
    Tree = 2,
    /// Under the index key: segments and pack directories.
    Index = 3,
}

/// Names a wrapping key: its kind, its writer (zero unless [`Wrapping::Tree`]) and its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrappingName {
    /// Kind.
    pub wrapping: Wrapping,
    /// Whose tree key; zero for the others.
    pub writer: WriterId,
    /// Generation, from 1.
    pub generation: u32,
}

impl WrappingName {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(self.wrapping as u8).raw(&self.writer.0).u32(self.generation);
        out.finish()
    }
}

/// An object key as it stands in an object's key table: committed to, and wrapped or sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Commitment to the object key.
    pub commitment: [u8; 32],
    /// The key that opens it.
    pub name: WrappingName,
    sealed: Vec<u8>,
}

/// A wrapped key is at most this long, so that a hybrid suite fits.
const WRAPPED_BYTES_MAX: usize = 4096;

impl WrappedKey {
    /// The key's id, which frames name.
    pub fn id(&self) -> KeyId {
        key_id(&self.commitment)
    }

    /// Appends the table entry.
    pub fn encode(&self, out: &mut Encoder) {
        out.raw(&self.commitment).raw(&self.name.bytes()).bytes(&self.sealed);
    }

    /// Reads a table entry.
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let commitment = input.array()?;
        let wrapping = match input.u8()? {
            1 => Wrapping::Read,
            2 => Wrapping::Tree,
            3 => Wrapping::Index,
            _ => return Err(input.error("unknown kind of wrapping key")),
        };
        let name = WrappingName { wrapping, writer: WriterId(input.array()?), generation: input.u32()? };
        Ok(Self { commitment, name, sealed: input.bytes(WRAPPED_BYTES_MAX)?.to_vec() })
    }

    /// Wraps `key` under a symmetric wrapping key with a fresh salt.
    pub fn wrap(key: &ObjectKey, under: &Secret, name: WrappingName) -> Self {
        let salt: [u8; 32] = random();
        let wrapping = under.derive_salted(&salt, &[b"shudao wrap", &key.vault.0, &name.bytes()]);
        let sealed = seal_once(&wrapping, &key.commitment, &key.secret.0);
        Self { commitment: key.commitment, name, sealed: [&salt[..], &sealed].concat() }
    }

    /// Undoes [`WrappedKey::wrap`].
    pub fn unwrap_with(&self, under: &Secret, vault: VaultId) -> Result<ObjectKey> {
        let (salt, sealed) = self.sealed.split_at_checked(32).ok_or_else(|| self.refused())?;
        let wrapping = under.derive_salted(salt, &[b"shudao wrap", &vault.0, &self.name.bytes()]);
        let plain = open_once(&wrapping, &self.commitment, sealed).ok_or_else(|| self.refused())?;
        self.committed(&plain, vault)
    }

    /// Seals `key` by HPKE to the vault's read key of `generation`.
    pub fn seal_to(key: &ObjectKey, read_public: &ReadPublic, generation: u32) -> Self {
        let name = WrappingName { wrapping: Wrapping::Read, writer: WriterId::default(), generation };
        let info = [&b"shudao object key"[..], &key.vault.0, &name.bytes()].concat();
        let sealed = hpke_seal(read_public, &info, &key.commitment, &key.secret.0);
        Self { commitment: key.commitment, name, sealed }
    }

    /// Undoes [`WrappedKey::seal_to`].
    pub fn unseal_with(&self, read_secret: &ReadSecret, vault: VaultId) -> Result<ObjectKey> {
        let info = [&b"shudao object key"[..], &vault.0, &self.name.bytes()].concat();
        let plain =
            hpke_open(read_secret, &info, &self.commitment, &self.sealed).ok_or_else(|| self.refused())?;
        self.committed(&plain, vault)
    }

    fn committed(&self, plain: &[u8], vault: VaultId) -> Result<ObjectKey> {
        let secret = Secret(plain.try_into().map_err(|_| self.refused())?);
        let key = ObjectKey::from_secret(vault, secret);
        if key.commitment == self.commitment { Ok(key) } else { Err(self.refused()) }
    }

    fn refused(&self) -> Error {
        Error::damaged(format!(
            "open object key {}: it does not match its wrapping or its commitment",
            self.id()
        ))
    }
}

/// The public half of the vault's read key, or of a recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadPublic(pub [u8; 32]);

/// The secret half of the vault's read key, or of a recipient (X25519).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadSecret(pub Secret);

/// A fresh X25519 key pair for HPKE.
pub fn generate_read_pair() -> (ReadPublic, ReadSecret) {
    let (public, secret) = HPKE.generate_key_pair().expect("the operating system's random source answers");
    let secret = Secret(secret.secret_bytes().try_into().expect("an X25519 secret has 32 bytes"));
    (
        ReadPublic(public.0.as_slice().try_into().expect("an X25519 public key has 32 bytes")),
        ReadSecret(secret),
    )
}

/// The public half of `secret`.
pub fn public_of(secret: &ReadSecret) -> ReadPublic {
    let key =
        PrivateKey::from_private_key(&X25519, &secret.0.0).expect("every 32 bytes are an X25519 secret");
    let public = key.compute_public_key().expect("an X25519 secret has a public key");
    ReadPublic(public.as_ref().try_into().expect("an X25519 public key has 32 bytes"))
}

/// HPKE base mode, single shot: encapsulated secret followed by the ciphertext.
pub fn hpke_seal(to: &ReadPublic, info: &[u8], associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let (encapsulated, sealed) =
        HPKE.seal(info, associated, plain, &HpkePublicKey(to.0.to_vec())).expect("sealing to an X25519 key");
    [encapsulated.0, sealed].concat()
}

/// Undoes [`hpke_seal`]; `None` if it was not made so for this key.
pub fn hpke_open(with: &ReadSecret, info: &[u8], associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (encapsulated, sealed) = sealed.split_at_checked(HPKE_PUBLIC_BYTES)?;
    let secret = HpkePrivateKey::from(with.0.0.to_vec());
    HPKE.open(&EncapsulatedSecret(encapsulated.to_vec()), info, associated, sealed, &secret).ok()
}

/// What Argon2id may cost: memory in KiB, passes over it, lanes. Only values within bounds exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl KdfCost {
    /// What new passphrase slots cost: 128 MiB, 3 passes, 1 lane.
    pub const STANDARD: Self = Self { memory_kib: 128 << 10, passes: 3, lanes: 1 };

    /// A cost of at most 1 GiB, 10 passes and 8 lanes; `None` beyond, or below what Argon2 can do.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        let legal = (1..=8).contains(&lanes)
            && (1..=10).contains(&passes)
            && (8 * lanes..=1 << 20).contains(&memory_kib);
        legal.then_some(Self { memory_kib, passes, lanes })
    }

    /// (memory in KiB, passes, lanes).
    pub fn parameters(&self) -> (u32, u32, u32) {
        (self.memory_kib, self.passes, self.lanes)
    }
}

/// Argon2id of a passphrase; [`Kind::Unavailable`] if this machine has not the memory that `cost` asks for.
pub fn stretch(passphrase: &[u8], salt: &[u8; 32], cost: KdfCost) -> Result<Secret> {
    let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .expect("a cost exists only within bounds");
    let mut out = Secret([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut out.0)
        .map_err(|_| {
            let mib = cost.memory_kib >> 10;
            Error::new(Kind::Unavailable, format!("stretch the passphrase: {mib} MiB of memory are needed"))
        })?;
    Ok(out)
}

/// Seals under a key that is used for nothing else, ever (fresh salt or fresh secret): the nonce is zero.
pub fn seal_once(key: &Secret, associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    aead(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(associated), &mut bytes)
        .expect("short input");
    bytes
}

/// Undoes [`seal_once`]; `None` if it is not authentic.
pub fn open_once(key: &Secret, associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let len = aead(key).open_in_place(nonce, Aad::from(associated), &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}

/// The error of a role that lacks a key.
pub(crate) fn forbidden(what: &str) -> Error {
    Error::new(Kind::Forbidden, format!("this key's role cannot {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId([7; 16]);

    #[test]
    fn a_frame_opens_only_under_its_own_key_purpose_and_counter() {
        let key = ObjectKey::generate(VAULT);
        let sealed = key.seal(Purpose::Content, 3, b"bytes".to_vec());
        assert_eq!(key.open(Purpose::Content, 3, &sealed).unwrap(), b"bytes");
        assert!(key.open(Purpose::Content, 4, &sealed).is_err());
        assert!(key.open(Purpose::Metadata, 3, &sealed).is_err());
        assert!(ObjectKey::generate(VAULT).open(Purpose::Content, 3, &sealed).is_err());
        let other_vault = ObjectKey::from_secret(VaultId([8; 16]), key.secret.clone());
        assert!(other_vault.open(Purpose::Content, 3, &sealed).is_err());
    }

    #[test]
    fn wrapped_and_sealed_keys_round_trip_and_refuse_others() {
        let key = ObjectKey::generate(VAULT);
        let under = Secret::generate();
        let name = WrappingName { wrapping: Wrapping::Index, writer: WriterId::default(), generation: 1 };
        let wrapped = WrappedKey::wrap(&key, &under, name);
        assert_eq!(wrapped.unwrap_with(&under, VAULT).unwrap().id(), key.id());
        assert!(wrapped.unwrap_with(&Secret::generate(), VAULT).is_err());
        let mut renamed = wrapped.clone();
        renamed.name.generation = 2;
        assert!(renamed.unwrap_with(&under, VAULT).is_err());

        let (public, secret) = generate_read_pair();
        let sealed = WrappedKey::seal_to(&key, &public, 1);
        assert_eq!(sealed.unseal_with(&secret, VAULT).unwrap().id(), key.id());
        assert!(sealed.unseal_with(&generate_read_pair().1, VAULT).is_err());

        let mut encoder = Encoder::new();
        sealed.encode(&mut encoder);
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes, "wrapped key");
        assert_eq!(WrappedKey::decode(&mut decoder).unwrap(), sealed);
        decoder.finish().unwrap();
    }

    #[test]
    fn a_signature_holds_for_its_domain_and_message_only() {
        let key = SigningKey::generate();
        let signature = key.sign("shudao test", b"message");
        assert!(key.verify_key().verifies("shudao test", b"message", &signature));
        assert!(!key.verify_key().verifies("shudao other", b"message", &signature));
        assert!(!key.verify_key().verifies("shudao test", b"massage", &signature));
        assert!(!SigningKey::generate().verify_key().verifies("shudao test", b"message", &signature));
    }
}
