//! A key ring as bytes: what a slot seals for its holder.
//!
//! The signing key is not in it, because the owner must be able to seal a new bundle (after a rotation) for a holder
//! whose signing key it does not know.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{VaultId, WriterId};
use crate::keys::certificate::PREDECESSORS_MAX;
use crate::keys::decode_ascending;
use crate::keys::ring::{KeyRing, Role, index_key, tree_key};
use crate::suite::{ReadPublic, ReadSecret, Secret, SigningKey, forbidden, public_of};
use crate::vault_file::VaultFile;

const WHAT: &str = "key bundle";
const LAYOUT: u8 = 1;

/// Whom the owner grants keys.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Which keys.
    pub role: Role,
    /// The holder's id.
    pub holder: WriterId,
    /// Writers whose tree keys a writer gets too.
    pub predecessors: &'a [WriterId],
}

/// A key ring without its signing key.
#[derive(Debug, Clone)]
pub struct Bundle {
    vault: VaultId,
    role: Role,
    holder: WriterId,
    chunk_id: Secret,
    gear: Option<Secret>,
    boundary: Option<Secret>,
    read_public: (u32, ReadPublic),
    read_secrets: BTreeMap<u32, ReadSecret>,
    metadata: BTreeMap<u32, Secret>,
    trees: BTreeMap<(WriterId, u32), Secret>,
    index: BTreeMap<u32, Secret>,
    predecessors: Vec<WriterId>,
}

impl Bundle {
    /// What `grant` says, out of an owner's ring.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] unless `owner` is an owner's ring; [`Kind::Input`] for too many predecessors.
    pub fn derive(owner: &KeyRing, grant: &Grant<'_>) -> Result<Self> {
        if owner.role != Role::Owner {
            return Err(forbidden("issue keys"));
        }
        if grant.predecessors.len() > PREDECESSORS_MAX {
            return Err(Error::new(Kind::Input, "issue keys: more than 256 predecessors"));
        }
        let (role, holder) = (grant.role, grant.holder);
        let mut predecessors = if role == Role::Writer { grant.predecessors.to_vec() } else { Vec::new() };
        predecessors.sort_unstable();
        predecessors.dedup();
        let mut trees = BTreeMap::new();
        if role == Role::Writer {
            for (generation, metadata) in &owner.metadata {
                for writer in predecessors.iter().chain([&holder]) {
                    trees.insert((*writer, *generation), tree_key(metadata, *writer));
                }
            }
        }
        let cuts = role != Role::Keeper;
        Ok(Self {
            vault: owner.vault,
            role,
            holder,
            chunk_id: owner.chunk_id.clone(),
            gear: owner.gear.clone().filter(|_| cuts),
            boundary: owner.boundary.clone().filter(|_| cuts),
            read_public: owner.read_public.clone(),
            read_secrets: if role == Role::Owner { owner.read_secrets.clone() } else { BTreeMap::new() },
            metadata: if role == Role::Writer { BTreeMap::new() } else { owner.metadata.clone() },
            trees,
            index: owner.index.clone(),
            predecessors,
        })
    }

    /// The ring of the holder of `signing`.
    pub fn with_signing(self, signing: SigningKey) -> KeyRing {
        KeyRing {
            vault: self.vault,
            role: self.role,
            signing,
            chunk_id: self.chunk_id,
            gear: self.gear,
            boundary: self.boundary,
            read_public: self.read_public,
            read_secrets: self.read_secrets,
            metadata: self.metadata,
            trees: self.trees,
            index: self.index,
            predecessors: self.predecessors,
        }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The holder's id.
    pub fn holder(&self) -> WriterId {
        self.holder
    }

    /// The bundle's plain bytes, bound to `file`.
    pub fn encode(&self, file: &VaultFile) -> Zeroizing<Vec<u8>> {
        let mut out = Encoder::new();
        out.u8(LAYOUT).raw(&self.vault.0).raw(&file.hash()).raw(&file.owner.0);
        out.u8(self.role.number()).raw(&self.holder.0).raw(&self.chunk_id.0);
        out.u32(self.read_public.0).raw(&self.read_public.1.0);
        for secret in [&self.gear, &self.boundary].into_iter().flatten() {
            out.raw(&secret.0);
        }
        match self.role {
            Role::Owner => {
                let secrets = self.read_secrets.iter().map(|(generation, secret)| (generation, &secret.0));
                encode_generations(&mut out, secrets);
                encode_generations(&mut out, self.metadata.iter());
            }
            Role::Keeper => encode_generations(&mut out, self.metadata.iter()),
            Role::Writer => {
                encode_generations(&mut out, self.index.iter());
                out.varint(self.predecessors.len() as u64);
                for predecessor in &self.predecessors {
                    out.raw(&predecessor.0);
                }
                out.varint(self.trees.len() as u64);
                for ((writer, generation), secret) in &self.trees {
                    out.raw(&writer.0).u32(*generation).raw(&secret.0);
                }
            }
        }
        Zeroizing::new(out.finish())
    }

    /// Reads a bundle and checks that it is of the vault that `file` describes.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is not, or its bytes break the layout.
    pub fn decode(bytes: &[u8], file: &VaultFile) -> Result<Self> {
        let mut input = Decoder::new(bytes, WHAT);
        if input.u8()? != LAYOUT {
            return Err(Error::new(Kind::Unsupported, "decode key bundle: a newer shudao is needed"));
        }
        if input.array()? != file.vault.0 || input.array()? != file.hash() || input.array()? != file.owner.0 {
            return Err(input.error("was made for another vault.json: that file was replaced"));
        }
        let role = Role::from_number(input.u8()?).ok_or_else(|| input.error("has an unknown role"))?;
        let holder = WriterId(input.array()?);
        let chunk_id = Secret(input.array()?);
        let read_public = (generation(&mut input)?, ReadPublic(input.array()?));
        let mut bundle = Self {
            vault: file.vault,
            role,
            holder,
            chunk_id,
            gear: None,
            boundary: None,
            read_public,
            read_secrets: BTreeMap::new(),
            metadata: BTreeMap::new(),
            trees: BTreeMap::new(),
            index: BTreeMap::new(),
            predecessors: Vec::new(),
        };
        if role != Role::Keeper {
            bundle.gear = Some(Secret(input.array()?));
            bundle.boundary = Some(Secret(input.array()?));
        }
        bundle.decode_secrets(&mut input)?;
        input.finish()?;
        Ok(bundle)
    }

    fn decode_secrets(&mut self, input: &mut Decoder<'_>) -> Result<()> {
        match self.role {
            Role::Owner => {
                let secrets = decode_generations(input)?;
                self.read_secrets =
                    secrets.into_iter().map(|(key, secret)| (key, ReadSecret(secret))).collect();
                let (newest, public) = &self.read_public;
                let last = self.read_secrets.last_key_value();
                if !last.is_some_and(|(last, secret)| last == newest && public_of(secret) == *public) {
                    return Err(input.error("its read keys contradict each other"));
                }
                self.metadata = decode_generations(input)?;
            }
            Role::Keeper => self.metadata = decode_generations(input)?,
            Role::Writer => {
                self.index = decode_generations(input)?;
                let id = |input: &mut Decoder<'_>| Ok(WriterId(input.array()?));
                self.predecessors = decode_ascending(input, WriterId::LEN, id, |id| *id)?;
                let tree = |input: &mut Decoder<'_>| {
                    Ok(((WriterId(input.array()?), generation(input)?), Secret(input.array()?)))
                };
                self.trees = decode_ascending(input, 52, tree, |(key, _)| *key)?.into_iter().collect();
            }
        }
        if self.role != Role::Writer {
            self.index = self.metadata.iter().map(|(key, metadata)| (*key, index_key(metadata))).collect();
        }
        if self.index.is_empty() { Err(input.error("has no index key")) } else { Ok(()) }
    }
}

fn encode_generations<'a>(out: &mut Encoder, keys: impl ExactSizeIterator<Item = (&'a u32, &'a Secret)>) {
    out.varint(keys.len() as u64);
    for (generation, secret) in keys {
        out.u32(*generation).raw(&secret.0);
    }
}

fn decode_generations(input: &mut Decoder<'_>) -> Result<BTreeMap<u32, Secret>> {
    let item = |input: &mut Decoder<'_>| Ok((generation(input)?, Secret(input.array()?)));
    Ok(decode_ascending(input, 36, item, |(generation, _)| *generation)?.into_iter().collect())
}

fn generation(input: &mut Decoder<'_>) -> Result<u32> {
    match input.u32()? {
        0 => Err(input.error("generations count from 1")),
        generation => Ok(generation),
    }
}
