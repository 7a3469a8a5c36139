//! The keys of one role, in memory: what its holder can wrap, unwrap, name and sign.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, Digest, SourceId, VaultId, WriterId};
use crate::keys::bundle::{Bundle, Grant};
use crate::suite::{
    ObjectKey, ReadPublic, ReadSecret, Secret, SigningKey, WrappedKey, Wrapping, WrappingName, forbidden,
    generate_read_pair,
};

/// What a key's holder may do. Rights are bits in its certificate; a role is a preset of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads everything and signs for the vault.
    Owner,
    /// Backs up incrementally; cannot read content, cannot delete.
    Writer,
    /// Sees names and plain digests, never content; collects, compacts, checks structure.
    Keeper,
}

impl Role {
    /// The role's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Keeper => "keeper",
        }
    }

    /// The role's number in stored bytes.
    pub fn number(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::Writer => 2,
            Self::Keeper => 3,
        }
    }

    /// The role with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Owner, Self::Writer, Self::Keeper].into_iter().find(|role| role.number() == number)
    }
}

/// Which name space a chunk's id is drawn from, so that content can never be taken for a tree node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkSpace {
    /// File content and long extended attributes.
    Content = 1,
    /// Tree and list nodes.
    Metadata = 2,
}

/// The secrets of one bundle. Fields that a role does not have are empty; see `docs/format/keys.md` for the table.
#[derive(Debug, Clone)]
pub struct KeyRing {
    /// The vault these keys belong to.
    pub vault: VaultId,
    /// The role.
    pub role: Role,
    /// Signs log entries, statements, snapshots and segments.
    pub signing: SigningKey,
    /// Names chunks and sources; one a vault, never rotated.
    pub chunk_id: Secret,
    /// Seeds the chunker's gear table. Owner and writers.
    pub gear: Option<Secret>,
    /// Cuts trees and extent lists into nodes. Owner and writers.
    pub boundary: Option<Secret>,
    /// Newest generation of the public read key.
    pub read_public: (u32, ReadPublic),
    /// Secret read keys by generation. Owner only.
    pub read_secrets: BTreeMap<u32, ReadSecret>,
    /// Metadata keys by generation. Owner and keepers.
    pub metadata: BTreeMap<u32, Secret>,
    /// Tree keys of the writer itself and of its named predecessors, by generation. Writers only.
    pub trees: BTreeMap<(WriterId, u32), Secret>,
    /// Index keys by generation. Everyone.
    pub index: BTreeMap<u32, Secret>,
    /// Writers whose trees this one may read and reuse.
    pub predecessors: Vec<WriterId>,
}

/// The tree key of `writer` under metadata key `metadata`.
pub fn tree_key(metadata: &Secret, writer: WriterId) -> Secret {
    metadata.derive(&[b"tree", &writer.0])
}

/// The index key under metadata key `metadata`.
pub fn index_key(metadata: &Secret) -> Secret {
    metadata.derive(&[b"index"])
}

impl KeyRing {
    /// An owner's ring of fresh secrets for a new vault, each of generation 1.
    pub fn create(vault: VaultId) -> Self {
        let (public, secret) = generate_read_pair();
        let metadata = Secret::generate();
        Self {
            vault,
            role: Role::Owner,
            signing: SigningKey::generate(),
            chunk_id: Secret::generate(),
            gear: Some(Secret::generate()),
            boundary: Some(Secret::generate()),
            read_public: (1, public),
            read_secrets: BTreeMap::from([(1, secret)]),
            trees: BTreeMap::new(),
            index: BTreeMap::from([(1, index_key(&metadata))]),
            metadata: BTreeMap::from([(1, metadata)]),
            predecessors: Vec::new(),
        }
    }

    /// A ring of `role` for a new holder with a fresh signing key; for [`Role::Owner`], this ring itself, because a
    /// vault has one owner key. A writer gets its own and its predecessors' tree keys of every generation.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] unless this is an owner's ring.
    pub fn issue(&self, role: Role, predecessors: &[WriterId]) -> Result<Self> {
        if role == Role::Owner {
            return if self.role == role { Ok(self.clone()) } else { Err(forbidden("issue keys")) };
        }
        let signing = SigningKey::generate();
        let grant = Grant { role, holder: signing.verify_key().writer_id(), predecessors };
        Ok(Bundle::derive(self, &grant)?.with_signing(signing))
    }

    /// Adds a read and a metadata generation: what is written from now on is sealed to the new ones.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] unless this is an owner's ring.
    pub fn rotate(&mut self) -> Result<()> {
        if self.role != Role::Owner {
            return Err(forbidden("rotate keys"));
        }
        let newest = self.metadata.keys().chain(self.read_secrets.keys()).max().copied().unwrap_or(0);
        let generation = newest
            .checked_add(1)
            .ok_or_else(|| Error::new(Kind::Input, "rotate keys: there is no generation after the newest"))?;
        let (public, secret) = generate_read_pair();
        let metadata = Secret::generate();
        self.read_public = (generation, public);
        self.read_secrets.insert(generation, secret);
        self.index.insert(generation, index_key(&metadata));
        self.metadata.insert(generation, metadata);
        Ok(())
    }

    /// The id of the ring's holder.
    pub fn writer_id(&self) -> WriterId {
        self.signing.verify_key().writer_id()
    }

    /// The id under which the index knows a chunk: BLAKE3 of (space, plain digest), keyed.
    pub fn chunk_id(&self, space: ChunkSpace, digest: &Digest) -> ChunkId {
        let mut hasher = blake3::Hasher::new_keyed(&self.chunk_id.0);
        hasher.update(&[space as u8]).update(&digest.0);
        ChunkId(*hasher.finalize().as_bytes())
    }

    /// The opaque id of a source's name.
    pub fn source_id(&self, name: &str) -> SourceId {
        let key = self.chunk_id.derive(&[b"shudao source"]);
        let mut id = [0; SourceId::LEN];
        id.copy_from_slice(&blake3::keyed_hash(&key.0, name.as_bytes()).as_bytes()[..SourceId::LEN]);
        SourceId(id)
    }

    /// Seals `key` to the read key: the ring's holder can no longer open it unless it is an owner.
    pub fn wrap_content(&self, key: &ObjectKey) -> WrappedKey {
        WrappedKey::seal_to(key, &self.read_public.1, self.read_public.0)
    }

    /// Wraps `key` under the holder's own newest tree key.
    pub fn wrap_tree(&self, key: &ObjectKey) -> Result<WrappedKey> {
        let writer = self.writer_id();
        let (generation, secret) = self.newest_tree(writer).ok_or_else(|| forbidden("write trees"))?;
        Ok(WrappedKey::wrap(key, &secret, WrappingName { wrapping: Wrapping::Tree, writer, generation }))
    }

    /// Wraps `key` under the newest index key.
    pub fn wrap_index(&self, key: &ObjectKey) -> Result<WrappedKey> {
        let (generation, secret) = self.index.last_key_value().ok_or_else(|| forbidden("read the index"))?;
        let name =
            WrappingName { wrapping: Wrapping::Index, writer: WriterId::default(), generation: *generation };
        Ok(WrappedKey::wrap(key, secret, name))
    }

    /// Opens a wrapped key; [`Kind::Forbidden`] if this role has no key for it.
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<ObjectKey> {
        let WrappingName { wrapping, writer, generation } = wrapped.name;
        match wrapping {
            Wrapping::Read => match self.read_secrets.get(&generation) {
                Some(secret) => wrapped.unseal_with(secret, self.vault),
                None => Err(forbidden("read content")),
            },
            Wrapping::Tree => match self.tree_secret(writer, generation) {
                Some(secret) => wrapped.unwrap_with(&secret, self.vault),
                None => Err(forbidden("read the names of another writer")),
            },
            Wrapping::Index => match self.index.get(&generation) {
                Some(secret) => wrapped.unwrap_with(secret, self.vault),
                None => Err(Error::new(
                    Kind::Forbidden,
                    format!("this key lacks index key generation {generation}"),
                )),
            },
        }
    }

    /// Whether this ring can read content.
    pub fn reads_content(&self) -> bool {
        !self.read_secrets.is_empty()
    }

    /// Whether this ring can read the names in trees written by `writer`.
    pub fn reads_names_of(&self, writer: WriterId) -> bool {
        self.newest_tree(writer).is_some()
    }

    fn tree_secret(&self, writer: WriterId, generation: u32) -> Option<Secret> {
        match self.metadata.get(&generation) {
            Some(metadata) => Some(tree_key(metadata, writer)),
            None => self.trees.get(&(writer, generation)).cloned(),
        }
    }

    fn newest_tree(&self, writer: WriterId) -> Option<(u32, Secret)> {
        if let Some((generation, metadata)) = self.metadata.last_key_value() {
            return Some((*generation, tree_key(metadata, writer)));
        }
        let mut own = self.trees.range((writer, 0)..=(writer, u32::MAX));
        own.next_back().map(|((_, generation), secret)| (*generation, secret.clone()))
    }
}
