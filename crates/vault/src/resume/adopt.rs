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

/// What could be read of what is to be taken over. None of it was looked up yet.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    segments: Vec<Segment>,
    /// Of packs without segment.
    contents: Vec<PackContents>,
    problems: Vec<Problem>,
}

impl Gathered {
    /// Everything that will be relied on: what of it is condemned is to be kept before it is looked up.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        let segments = self.segments.iter().map(|segment| &segment.clear);
        let in_segments = segments.flat_map(|clear| {
            clear.packs.iter().map(|pack| Name::pack(pack.id)).chain([Name::index(clear.id)])
        });
        in_segments.chain(self.contents.iter().map(|contents| Name::pack(contents.pack.id))).collect()
    }

    /// Notes what cannot be read; an error of the store as a whole is passed on.
    fn note(&mut self, name: Name, error: Error) -> Result<()> {
        if error.is_retryable() {
            return Err(error);
        }
        self.problems.push(Problem { object: name.to_string(), what: chain(&error) });
        Ok(())
    }
}

/// Reads segments and directories. What is live already needs no adoption.
pub(crate) async fn gather(replica: &Replica, ring: &KeyRing, adoption: Adoption) -> Result<Gathered> {
    let mut gathered = Gathered { contents: adoption.packs, ..Gathered::default() };
    let live: BTreeSet<SegmentId> = replica.state().segments_live().iter().copied().collect();
    let wanted = adoption.shelf.segments.iter().filter(|id| !live.contains(id));
    let mut read = stream::iter(wanted)
        .map(|id| async move { (*id, read_segment(replica, ring, id).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, segment)) = read.next().await {
        match segment {
            Ok(segment) if adoption.trusted.contains(&segment.clear.author) => {
                gathered.segments.push(segment)
            }
            Ok(_) => gathered.note(Name::index(id), Error::damaged("it is another writer's"))?,
            Err(error) => gathered.note(Name::index(id), error)?,
        }
    }
    drop(read);
    let mut read = stream::iter(&adoption.shelf.packs)
        .map(|mark| async move { (mark.pack.id, read_marked(replica.objects(), ring, mark).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, contents)) = read.next().await {
        match contents {
            Ok(contents) => gathered.contents.push(contents),
            Err(error) => gathered.note(Name::pack(id), error)?,
        }
    }
    Ok(gathered)
}

async fn read_segment(replica: &Replica, ring: &KeyRing, id: &SegmentId) -> Result<Segment> {
    let bytes = replica.objects().read(&Name::index(*id)).await?;
    Segment::decode(&bytes, ring, &|writer| replica.state().verify_key(writer))
}

async fn read_marked(objects: &Objects, ring: &KeyRing, mark: &PackMark) -> Result<PackContents> {
    let ends = PackEnds::fetch(objects, ring.vault, mark.pack.id).await?;
    let contents = ends.contents(ring)?;
    if contents.pack == mark.pack && ends.digest() == mark.digest {
        return Ok(contents);
    }
    Err(Error::damaged("it has another directory than it had when it was stored"))
}

/// Looks everything up, puts segments over packs that have none, and adds all of it to `index`. Where an object is not
/// there any more, it is left out: its chunks are stored again.
pub(crate) async fn take(
    objects: &Objects,
    ring: &KeyRing,
    index: &mut Index,
    gathered: Gathered,
) -> Result<Adopted> {
    let mut adopted = Adopted { problems: gathered.problems, ..Adopted::default() };
    for segment in gathered.segments {
        let Segment { clear, .. } = &segment;
        // At the key in force: what a sweep gave up may vanish at any time.
        let name = Name::index(clear.id);
        let mut missing =
            absent(objects, &clear.packs).await?.into_iter().map(Name::pack).collect::<Vec<_>>();
        if objects.size(&name).await?.is_none() {
            missing.push(name);
        }
        match missing.first() {
            None => {
                adopted.holds(clear.id, &clear.packs);
                index.add(&segment)?;
            }
            Some(missing) => {
                let what = format!("it cannot be gone on with: {missing} is not there any more");
                adopted.problems.push(Problem { object: name.to_string(), what });
            }
        }
    }
    let mut contents = gathered.contents;
    let packs: Vec<PackRef> = contents.iter().map(|contents| contents.pack).collect();
    // A pack that is not there never arrived: nothing is lost by that.
    let absent: BTreeSet<PackId> = absent(objects, &packs).await?.into_iter().collect();
    contents
        .retain(|contents| !absent.contains(&contents.pack.id) && !adopted.packs.contains(&contents.pack.id));
    let mut builder = SegmentBuilder::new(ring);
    for contents in contents {
        if let Some(segment) = builder.add_pack(contents)? {
            put(objects, index, segment, &mut adopted).await?;
        }
    }
    if let Some(segment) = builder.end_segment()? {
        put(objects, index, segment, &mut adopted).await?;
    }
    Ok(adopted)
}

async fn put(
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

/// Those of these packs that are not there in full.
async fn absent(objects: &Objects, packs: &[PackRef]) -> Result<Vec<PackId>> {
    stream::iter(packs)
        .map(|pack| async move {
            let size = objects.size(&Name::pack(pack.id)).await?;
            Ok::<_, Error>((size != Some(pack.size)).then_some(pack.id))
        })
        .buffered(FETCHES_MAX)
        .try_filter_map(|absent| async move { Ok(absent) })
        .try_collect()
        .await
}
