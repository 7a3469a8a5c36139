//! What an interrupted session stored, taken over by another run.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::shelf::{PackMark, Shelf};
use crate::error::{Error, Result};
use crate::id::{PackId, SegmentId, WriterId};
use crate::index::Index;
use crate::keys::KeyRing;
use crate::name::Name;
use crate::objects::Objects;
use crate::pack::{PackContents, PackEnds, PackRef};
use crate::replica::Replica;
use crate::segment::{FinishedSegment, Segment, SegmentBuilder};
use crate::vault::{Problem, chain};

/// Objects looked up or fetched at the same time.
const FETCHES_MAX: usize = 16;

/// What is to be taken over.
#[derive(Debug, Default)]
pub(crate) struct Adoption {
    /// What a checkpoint tells.
    pub shelf: Shelf,
    /// Packs whose directories are at hand and of which it is not known whether they arrived.
    pub packs: Vec<PackContents>,
    /// Whose segments are believed: the writer and its predecessors.
    pub trusted: Vec<WriterId>,
}

/// What was taken over.
#[derive(Debug, Default)]
pub struct Adopted {
    /// The segments that now index it; for the commit.
    pub segments: Vec<SegmentId>,
    /// The packs that they hold.
    pub packs: BTreeSet<PackId>,
    /// Stored bytes of those packs: what need not be uploaded again.
    pub bytes: u64,
    /// What could not be taken over, and why.
    pub problems: Vec<Problem>,
}

impl Adopted {
    fn holds(&mut self, segment: SegmentId, packs: &[PackRef]) {
        self.segments.push(segment);
        for pack in packs {
            if self.packs.insert(pack.id) {
                self.bytes += pack.size;
            }
        }
    }
}

/// Looks everything up, puts segments over packs that have none, and adds all of it to `index`. Where an object is not
/// there any more, it is left out: its chunks are stored again.
pub(crate) async fn adopt(
    replica: &Replica,
    ring: &KeyRing,
    index: &mut Index,
    adoption: Adoption,
) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    let objects = replica.objects();
    let live: BTreeSet<SegmentId> = replica.state().segments_live().iter().copied().collect();
    for id in adoption.shelf.segments.iter().filter(|id| !live.contains(id)) {
        match fetch_segment(replica, ring, id, &adoption.trusted).await {
            Ok(segment) => {
                index.add(&segment)?;
                adopted.holds(*id, &segment.clear.packs);
            }
            Err(error) => note(&mut adopted, Name::index(*id), error)?,
        }
    }
    let mut contents = read_marked(objects, ring, &adoption.shelf.packs, &mut adopted).await?;
    for journalled in adoption.packs {
        match present(objects, journalled.pack).await {
            Ok(true) => contents.push(journalled),
            // It never arrived: nothing is lost by that.
            Ok(false) => {}
            Err(error) => return Err(error),
        }
    }
    contents.retain(|contents| !adopted.packs.contains(&contents.pack.id));
    let mut builder = SegmentBuilder::new(ring);
    for contents in contents {
        if let Some(segment) = builder.add_pack(contents)? {
            take_in(objects, index, segment, &mut adopted).await?;
        }
    }
    if let Some(segment) = builder.end_segment()? {
        take_in(objects, index, segment, &mut adopted).await?;
    }
    Ok(adopted)
}

async fn take_in(
    objects: &Objects,
    index: &mut Index,
    segment: FinishedSegment,
    adopted: &mut Adopted,
) -> Result<()> {
    let id = segment.id();
    objects.put(&Name::index(id), segment.bytes).await?;
    index.add(&segment.segment)?;
    adopted.holds(id, &segment.segment.clear.packs);
    Ok(())
}

/// Notes what cannot be taken over; an error of the store as a whole is passed on.
fn note(adopted: &mut Adopted, name: Name, error: Error) -> Result<()> {
    if error.is_retryable() {
        return Err(error);
    }
    adopted.problems.push(Problem { object: name.to_string(), what: chain(&error) });
    Ok(())
}

async fn fetch_segment(
    replica: &Replica,
    ring: &KeyRing,
    id: &SegmentId,
    trusted: &[WriterId],
) -> Result<Segment> {
    let (objects, state) = (replica.objects(), replica.state());
    // At the key in force: one that a sweep gave up may vanish at any time.
    let name = Name::index(*id);
    if objects.size(&name).await?.is_none() {
        return Err(Error::new(crate::Kind::Missing, format!("{name} is missing")));
    }
    let bytes = objects.read(&name).await?;
    let segment = Segment::decode(&bytes, ring, &|writer| state.verify_key(writer))?;
    if !trusted.contains(&segment.clear.author) {
        return Err(Error::damaged(format!("{name} is another writer's")));
    }
    let missing = stream::iter(&segment.clear.packs)
        .map(|pack| async move { Ok::<_, Error>((!present(objects, *pack).await?).then_some(pack.id)) })
        .buffer_unordered(FETCHES_MAX)
        .try_filter_map(|missing| async move { Ok(missing) })
        .try_collect::<Vec<_>>()
        .await?;
    match missing.first() {
        None => Ok(segment),
        Some(pack) => Err(Error::new(crate::Kind::Missing, format!("{} is missing", Name::pack(*pack)))),
    }
}

/// The directories of packs without segment that are there and are what the checkpoint says.
async fn read_marked(
    objects: &Objects,
    ring: &KeyRing,
    marks: &[PackMark],
    adopted: &mut Adopted,
) -> Result<Vec<PackContents>> {
    let mut read = stream::iter(marks)
        .map(|mark| async move { (mark.pack.id, read_one(objects, ring, mark).await) })
        .buffered(FETCHES_MAX);
    let mut contents = Vec::with_capacity(marks.len());
    let mut failed = Vec::new();
    while let Some((id, one)) = read.next().await {
        match one {
            Ok(one) => contents.push(one),
            Err(error) => failed.push((id, error)),
        }
    }
    drop(read);
    for (id, error) in failed {
        note(adopted, Name::pack(id), error)?;
    }
    Ok(contents)
}

async fn read_one(objects: &Objects, ring: &KeyRing, mark: &PackMark) -> Result<PackContents> {
    let name = Name::pack(mark.pack.id);
    if !present(objects, mark.pack).await? {
        return Err(Error::new(crate::Kind::Missing, format!("{name} is missing")));
    }
    let ends = PackEnds::fetch(objects, ring.vault, mark.pack.id).await?;
    let contents = ends.contents(ring)?;
    if contents.pack != mark.pack || ends.digest() != mark.digest {
        return Err(Error::damaged(format!("{name} has another directory than it had when it was stored")));
    }
    Ok(contents)
}

/// Whether the pack is there in full, at the key in force.
async fn present(objects: &Objects, pack: PackRef) -> Result<bool> {
    Ok(objects.size(&Name::pack(pack.id)).await? == Some(pack.size))
}
