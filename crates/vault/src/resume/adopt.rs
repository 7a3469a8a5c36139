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
use crate::replicas::{Failures, Siblings};
use crate::segment::{FinishedSegment, Segment, SegmentBuilder, VerifyKeyOf};
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
    /// Segments that need no adoption.
    pub live: Vec<SegmentId>,
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

/// Reads segments and directories.
pub(crate) async fn gather(
    siblings: &Siblings,
    ring: &KeyRing,
    verify_key_of: VerifyKeyOf<'_>,
    adoption: Adoption,
) -> Result<Gathered> {
    let mut gathered = Gathered { contents: adoption.packs, ..Gathered::default() };
    let live: BTreeSet<SegmentId> = adoption.live.into_iter().collect();
    let wanted = adoption.shelf.segments.iter().filter(|id| !live.contains(id));
    let mut read = stream::iter(wanted)
        .map(|id| async move { (*id, siblings.read(&Name::index(*id)).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, bytes)) = read.next().await {
        match bytes.and_then(|bytes| Segment::decode(&bytes, ring, verify_key_of)) {
            Ok(segment) if adoption.trusted.contains(&segment.clear.author) => {
                gathered.segments.push(segment);
            }
            Ok(_) => gathered.note(Name::index(id), Error::damaged("it is another writer's"))?,
            Err(error) => gathered.note(Name::index(id), error)?,
        }
    }
    drop(read);
    let mut read = stream::iter(&adoption.shelf.packs)
        .map(|mark| async move { (mark.pack.id, read_marked(siblings, ring, mark).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, contents)) = read.next().await {
        match contents {
            Ok(contents) => gathered.contents.push(contents),
            Err(error) => gathered.note(Name::pack(id), error)?,
        }
    }
    Ok(gathered)
}

async fn read_marked(siblings: &Siblings, ring: &KeyRing, mark: &PackMark) -> Result<PackContents> {
    let mut failures = Failures::default();
    for sibling in siblings.in_order() {
        let read = PackEnds::fetch(sibling.objects(), ring.vault, mark.pack.id).await;
        sibling.note(&read);
        match read.and_then(|ends| Ok((ends.digest(), ends.contents(ring)?))) {
            Ok((digest, contents)) if digest == mark.digest && contents.pack == mark.pack => {
                return Ok(contents);
            }
            Ok(_) => failures.add(Error::damaged("it has another directory than when it was stored")),
            Err(error) => failures.add(error),
        }
    }
    Err(failures.into_error(|| format!("read pack {}", mark.pack.id)))
}

/// Looks everything up on these replicas, puts segments over packs that have none beside those packs, and adds all of it to
/// `index`. Where an object is on none of them any more, it is left out: its chunks are stored again.
///
/// # Errors
/// The index's; the stores', when none of them can be asked.
pub(crate) async fn take(
    replicas: &[Objects],
    ring: &KeyRing,
    index: &mut Index,
    gathered: Gathered,
) -> Result<Adopted> {
    let Gathered { mut segments, mut contents, problems } = gathered;
    let mut adopted = Adopted { problems, ..Adopted::default() };
    let mut failures = Failures::default();
    let mut answered = false;
    for objects in replicas {
        match take_here(objects, ring, &mut segments, &mut contents).await {
            Ok(here) => {
                answered = true;
                for segment in here {
                    index.add(&segment)?;
                    adopted.holds(segment.clear.id, &segment.clear.packs);
                }
            }
            Err(error) => failures.add(error),
        }
        contents.retain(|contents| !adopted.packs.contains(&contents.pack.id));
    }
    if !answered {
        return Err(failures.into_error(|| "look up what was stored".to_owned()));
    }
    // A pack without segment that is nowhere never arrived: nothing is lost by that.
    for Segment { clear, .. } in segments {
        let what = "it cannot be gone on with: something that it names is not there any more".to_owned();
        adopted.problems.push(Problem { object: Name::index(clear.id).to_string(), what });
    }
    Ok(adopted)
}

/// Takes what is whole on one replica out of `segments`; of `contents` it makes segments, which are put there.
async fn take_here(
    objects: &Objects,
    ring: &KeyRing,
    segments: &mut Vec<Segment>,
    contents: &mut [PackContents],
) -> Result<Vec<Segment>> {
    let mut whole = BTreeSet::new();
    let mut held = BTreeSet::new();
    for Segment { clear, .. } in segments.iter() {
        // At the key in force: what a sweep gave up may vanish at any time.
        let is_there = objects.size(&Name::index(clear.id)).await?.is_some();
        if is_there && absent(objects, &clear.packs).await?.is_empty() {
            whole.insert(clear.id);
            held.extend(clear.packs.iter().map(|pack| pack.id));
        }
    }
    let packs: Vec<PackRef> = contents.iter().map(|contents| contents.pack).collect();
    held.extend(absent(objects, &packs).await?);
    let mut builder = SegmentBuilder::new(ring);
    let mut made = Vec::new();
    for contents in contents.iter().filter(|contents| !held.contains(&contents.pack.id)) {
        made.extend(builder.add_pack(contents.clone())?);
    }
    made.extend(builder.end_segment()?);
    let mut here = Vec::with_capacity(whole.len() + made.len());
    for FinishedSegment { bytes, segment } in made {
        objects.put(&Name::index(segment.clear.id), bytes).await?;
        here.push(segment);
    }
    here.extend(segments.extract_if(.., |segment| whole.contains(&segment.clear.id)));
    Ok(here)
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
