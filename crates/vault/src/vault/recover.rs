//! What unreadable segments said, learned again from the packs themselves.
//!
//! Every pack carries a directory that says what its segment says. It is not signed, so nobody deduplicates against a
//! pack found this way; for reading, the plain digest decides.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::FETCHES_MAX;
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, PackId, WriterId};
use crate::index::Index;
use crate::keys::KeyRing;
use crate::name::Name;
use crate::needed::read_list;
use crate::objects::Objects;
use crate::pack::{Directory, Footer, PREFIX_BYTES, PackContents, PackHeader, tail_range};
use crate::replica::Replica;
use crate::segment::Segment;

/// Stands for whoever signed a segment that nobody signed: never trusted.
const NOBODY: WriterId = WriterId([0; WriterId::LEN]);

/// Adds to the index every pack that a visible snapshot lists and no readable segment holds, as far as its directory
/// can be read. Returns how many such packs there were, and how many of them were added.
pub(super) async fn recover(replica: &Replica, ring: &KeyRing, index: &mut Index) -> Result<(usize, usize)> {
    let mut wanted = listed_packs(replica).await?;
    for indexed in index.packs() {
        wanted.remove(&indexed?.pack.id);
    }
    let mut found = stream::iter(wanted.iter())
        .map(|id| async move { (*id, read_contents(replica.objects(), ring, *id).await) })
        .buffered(FETCHES_MAX);
    let mut added = 0;
    while let Some((id, contents)) = found.next().await {
        match contents {
            Ok(contents) => {
                let segment = ObjectId::of(&[&b"shudao pack without segment"[..], &id.0].concat());
                index.add(&Segment::of_pack(segment, NOBODY, contents))?;
                added += 1;
            }
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
    }
    drop(found);
    Ok((wanted.len(), added))
}

/// The packs that visible snapshots list; lists that cannot be read are passed over.
async fn listed_packs(replica: &Replica) -> Result<BTreeSet<PackId>> {
    let mut packs = BTreeSet::new();
    for (id, visible) in replica.state().visible() {
        match read_list(replica.objects(), replica.vault_id(), visible.need_list).await {
            Ok(list) => packs.extend(replica.state().serving_all(id, &list.packs)),
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packs)
}

/// Reads a pack's header and directory, and nothing else of it.
async fn read_contents(objects: &Objects, ring: &KeyRing, id: PackId) -> Result<PackContents> {
    let name = Name::pack(id);
    let size = objects.readable_size(&name).await?;
    let size = size.ok_or_else(|| Error::new(Kind::Missing, format!("{name} is missing")))?;
    let prefix = objects.read_range(&name, 0, size.min(PREFIX_BYTES as u64)).await?;
    let length = PackHeader::length_from(&prefix, ring.vault)? as u64;
    let header = PackHeader::decode(&objects.read_range(&name, 0, length.min(size)).await?, ring.vault)?;
    let range = tail_range(size);
    let tail = objects.read_range(&name, range.start, range.end - range.start).await?;
    let footer = Footer::decode(&tail, size)?;
    let place = footer.directory_range();
    let sealed = match place.start.checked_sub(range.start) {
        Some(start) => tail.slice(start as usize..(place.end - range.start) as usize),
        None => objects.read_range(&name, place.start, place.end - place.start).await?,
    };
    let directory = Directory::open(ring, &header, &footer, sealed.to_vec())?;
    Ok(PackContents::new(id, size, &header, directory))
}

/// Whether an error speaks of one object, not of the store or of the role.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Unsupported)
}
