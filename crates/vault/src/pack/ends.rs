//! A pack without its frames: all that is needed to know what it holds.

use bytes::Bytes;

use super::{Directory, FinishedPack, Footer, PREFIX_BYTES, PackContents, PackHeader, tail_range};
use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{Digest, PackId, VaultId};
use crate::keys::KeyRing;
use crate::name::Name;
use crate::objects::Objects;

/// Header, and everything from the sealed directory to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEnds {
    /// The pack's name.
    pub id: PackId,
    /// Length of the whole pack in bytes.
    pub size: u64,
    head: Bytes,
    tail: Bytes,
}

impl PackEnds {
    /// The ends of a pack that is at hand.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if its bytes are no pack.
    pub fn of(pack: &FinishedPack, vault: VaultId) -> Result<Self> {
        let bytes = &pack.bytes;
        let head = PackHeader::length_from(bytes, vault)?.min(bytes.len());
        let start = Footer::decode(bytes, bytes.len() as u64)?.directory_offset as usize;
        let pack = pack.pack();
        Ok(Self { id: pack.id, size: pack.size, head: bytes.slice(..head), tail: bytes.slice(start..) })
    }

    /// The ends of a stored pack. That they are of the pack with this hash is not checked: they are held against
    /// [`PackEnds::digest`], or believed for reading only.
    ///
    /// # Errors
    /// [`Kind::Missing`] and [`Kind::Damaged`]; the store's.
    pub(crate) async fn fetch(objects: &Objects, vault: VaultId, id: PackId) -> Result<Self> {
        let name = Name::pack(id);
        let size = objects.readable_size(&name).await?;
        let size = size.ok_or_else(|| Error::new(Kind::Missing, format!("{name} is missing")))?;
        let prefix = objects.read_range(&name, 0, size.min(PREFIX_BYTES as u64)).await?;
        let length = PackHeader::length_from(&prefix, vault)? as u64;
        let head = objects.read_range(&name, 0, length.min(size)).await?;
        let range = tail_range(size);
        let tail = objects.read_range(&name, range.start, range.end - range.start).await?;
        let start = Footer::decode(&tail, size)?.directory_offset;
        let tail = match start.checked_sub(range.start) {
            Some(start) => tail.slice(start as usize..),
            None => objects.read_range(&name, start, size - start).await?,
        };
        Ok(Self { id, size, head, tail })
    }

    /// BLAKE3 of both ends, one after the other.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.head).update(&self.tail);
        Digest(*hasher.finalize().as_bytes())
    }

    /// What the pack holds.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn contents(&self, ring: &KeyRing) -> Result<PackContents> {
        let header = PackHeader::decode(&self.head, ring.vault)?;
        let footer = Footer::decode(&self.tail, self.size)?;
        let sealed = self.tail.get(..footer.directory_length as usize);
        let sealed = sealed.ok_or_else(|| Error::damaged("open pack directory: it is not there whole"))?;
        let directory = Directory::open(ring, &header, &footer, sealed)?;
        Ok(PackContents::new(self.id, self.size, &header, directory))
    }

    /// Appends id, size and both ends.
    pub fn encode(&self, out: &mut Encoder) {
        out.raw(&self.id.0).u64(self.size).bytes(&self.head).bytes(&self.tail);
    }

    /// Reads what [`PackEnds::encode`] wrote.
    ///
    /// # Errors
    /// [`Kind::Damaged`].
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let (id, size) = (crate::id::ObjectId(input.array()?), input.u64()?);
        let mut part = || input.bytes(usize::MAX).map(Bytes::copy_from_slice);
        Ok(Self { id, size, head: part()?, tail: part()? })
    }
}
