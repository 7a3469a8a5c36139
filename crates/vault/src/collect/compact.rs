//! Compaction: frames that snapshots reach move into new packs, and a statement says which packs serve whom from then on.
//!
//! An ordinary session on all replicas at once ([`super::beside`]): begin, new packs, their segments, and one `replace` at
//! the end. Until that entry nothing is different for anybody; after it the old packs serve no snapshot that was walked, and
//! go like any waste. A crash leaves strays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Progress;
use super::plan::Wasteful;
use super::run::{Collector, Reach, is_of_one_object};
use super::stock::{Stock, Stored};
use crate::error::{Error, Kind, Result};
use crate::id::{PackId, SegmentId, SessionId, SnapshotId, SourceId};
use crate::lock_pass::prove;
use crate::log::rules;
use crate::log::statement::{Replacement, ReplacesStatement};
use crate::log::{Body, LIST_ITEMS_MAX, Op, Signer, Statement};
use crate::name::Name;
use crate::pack::{Copied, CopySource, PACK_BYTES_TARGET, PackCopier, PackKind};
use crate::replica::Replica;
use crate::segment::{FinishedSegment, SegmentBuilder};
use crate::session::Session;
use crate::suite::random;
use crate::vault::chain;

/// One session copies from packs of about this many bytes (2 GiB) together: what a crash may waste.
const BATCH_BYTES: u64 = 2 << 30;
/// And from at most so many packs, so that its statement stays far below what an entry can carry.
const BATCH_PACKS_MAX: usize = 1024;

/// What a session has made so far.
struct Batch<'r> {
    segments: SegmentBuilder<'r>,
    made: Vec<Stored>,
    segment_ids: Vec<SegmentId>,
    /// By old pack, where its frames went.
    replaced: BTreeMap<PackId, BTreeSet<PackId>>,
    /// Old packs whose frames lie in the pack that is being filled.
    filling: BTreeSet<PackId>,
    old_bytes: u64,
}

impl Collector<'_> {
    /// Copies what is live of these packs, session by session.
    pub(super) async fn compact(
        &mut self,
        packs: &[Wasteful],
        reach: &Reach<'_>,
        stock: &mut Stock,
    ) -> Result<()> {
        let (elsewhere, packs): (Vec<Wasteful>, Vec<Wasteful>) =
            packs.iter().partition(|pack| self.is_compacted_elsewhere(&pack.usage.pack.id));
        if !elsewhere.is_empty() {
            let (count, address) = (elsewhere.len(), self.replica.store().address());
            self.outcome.problems.push(format!(
                "{count} packs are compacted on another replica, and not at {address} yet; `shudao vault replica sync` brings that"
            ));
        }
        let mut classes: BTreeMap<(PackKind, bool), Vec<Wasteful>> = BTreeMap::new();
        for pack in &packs {
            classes.entry((pack.usage.pack.kind, pack.vouched)).or_default().push(*pack);
        }
        for ((kind, _), packs) in classes {
            for batch in batches(&packs) {
                (self.watch.stop)()?;
                self.compact_batch(kind, batch, reach, stock).await?;
            }
        }
        Ok(())
    }

    /// Whether another replica has replaced a pack that this one has not: copies of this one's own would have no sibling to be
    /// mended from.
    fn is_compacted_elsewhere(&self, pack: &PackId) -> bool {
        let is_replaced = |replica: &Replica| replica.state().is_replaced(pack);
        !is_replaced(self.replica) && self.beside.replicas().any(is_replaced)
    }

    async fn compact_batch(
        &mut self,
        kind: PackKind,
        packs: &[Wasteful],
        reach: &Reach<'_>,
        stock: &mut Stock,
    ) -> Result<()> {
        let session = self.begin().await?;
        let compacted = self.fill_and_replace(&session, kind, packs, (reach, stock)).await;
        if compacted.is_err() {
            // Why it failed is the news; an open session only makes sweeps wait until it is taken for dead.
            let _ = self.give_up(session.id).await;
        }
        self.outcome.problems.extend(self.beside.take_left_out());
        compacted
    }

    async fn fill_and_replace(
        &mut self,
        session: &Session,
        kind: PackKind,
        packs: &[Wasteful],
        (reach, stock): (&Reach<'_>, &mut Stock),
    ) -> Result<()> {
        let ring = Arc::clone(&self.ring);
        let mut batch = Batch {
            segments: SegmentBuilder::new(&ring),
            made: Vec::new(),
            segment_ids: Vec::new(),
            replaced: BTreeMap::new(),
            filling: BTreeSet::new(),
            old_bytes: 0,
        };
        let mut copier = PackCopier::new(kind, PACK_BYTES_TARGET, &ring)?;
        for pack in packs {
            (self.watch.stop)()?;
            let id = pack.usage.pack.id;
            let bytes = match self.replica.objects().read(&Name::pack(id)).await {
                Ok(bytes) => bytes,
                Err(error) if is_of_one_object(&error) => {
                    self.outcome.problems.push(format!("not compacted: {}", chain(&error)));
                    continue;
                }
                Err(error) => return Err(error),
            };
            Progress::add(&self.watch.progress.bytes_read, bytes.len() as u64);
            let source = match CopySource::read(&id, bytes, &ring) {
                Ok(source) => source,
                Err(error) => {
                    self.outcome.problems.push(format!("not compacted: {}", chain(&error)));
                    continue;
                }
            };
            batch.replaced.entry(id).or_default();
            batch.old_bytes += source.contents().pack.size;
            for ordinal in live_frames(&source, reach)? {
                if copier.copy(&source, ordinal)? == Copied::Full {
                    let full =
                        std::mem::replace(&mut copier, PackCopier::new(kind, PACK_BYTES_TARGET, &ring)?);
                    self.put_pack(full, &mut batch).await?;
                    copier.copy(&source, ordinal)?;
                }
                batch.filling.insert(id);
            }
        }
        if !copier.is_empty() {
            self.put_pack(copier, &mut batch).await?;
        }
        if let Some(segment) = batch.segments.end_segment()? {
            self.put_segment(segment, &mut batch).await?;
        }
        rules::copied(batch.replaced.keys());
        self.replace(session, batch, reach, stock).await
    }

    async fn begin(&mut self) -> Result<Session> {
        let ring = Arc::clone(&self.ring);
        let session = Session {
            id: SessionId(random()),
            source: SourceId::default(),
            parent: None,
            parent_list: None,
            sequence: 1,
        };
        let now = self.now();
        let begin = async |replica: &mut Replica| {
            prove(replica, now).await?;
            let signer = Signer { key: &ring.signing, time: now };
            let op = Op::Begin { session: session.id, source: session.source, parent: None };
            replica.append(signer, |_| Ok(Some(op.clone()))).await.map(drop)
        };
        self.beside.run(begin(self.replica), &begin).await?;
        Ok(session)
    }

    /// Puts one object on all replicas.
    async fn put(&mut self, name: Name, bytes: Bytes) -> Result<()> {
        let put = async |replica: &mut Replica| replica.objects().put(&name, bytes.clone()).await;
        self.beside.run(put(self.replica), &put).await
    }

    async fn put_pack(&mut self, copier: PackCopier, batch: &mut Batch<'_>) -> Result<()> {
        let pack = copier.finish(&self.ring)?;
        let name = Name::pack(pack.pack().id);
        let bytes = pack.bytes.len() as u64;
        self.put(name, pack.bytes).await?;
        batch.made.push(Stored { name, swept: self.replica.state().sweep_of(&name), bytes, modified: None });
        for old in std::mem::take(&mut batch.filling) {
            batch.replaced.entry(old).or_default().insert(name.id);
        }
        match batch.segments.add_pack(pack.contents)? {
            Some(segment) => self.put_segment(segment, batch).await,
            None => Ok(()),
        }
    }

    async fn put_segment(&mut self, segment: FinishedSegment, batch: &mut Batch<'_>) -> Result<()> {
        let name = Name::index(segment.id());
        let bytes = segment.bytes.len() as u64;
        self.put(name, segment.bytes).await?;
        batch.made.push(Stored { name, swept: self.replica.state().sweep_of(&name), bytes, modified: None });
        batch.segment_ids.push(name.id);
        Ok(())
    }

    /// Ends the session: from here on the new packs serve the snapshots that were walked.
    async fn replace(
        &mut self,
        session: &Session,
        batch: Batch<'_>,
        reach: &Reach<'_>,
        stock: &mut Stock,
    ) -> Result<()> {
        let covers: Vec<SnapshotId> = reach.walked.iter().copied().collect();
        if covers.len() > LIST_ITEMS_MAX {
            let message = format!("compact: more than {LIST_ITEMS_MAX} snapshots; forget some first");
            return Err(Error::new(Kind::Unsupported, message));
        }
        let packs = batch.made.iter().filter(|object| object.name == Name::pack(object.name.id));
        let (made, bytes) = packs.fold((0, 0), |(count, sum), object| (count + 1, sum + object.bytes));
        let replacements = batch
            .replaced
            .into_iter()
            .map(|(old, new)| Replacement { old, new: new.into_iter().collect() })
            .collect::<Vec<_>>();
        if replacements.is_empty() {
            return self.give_up(session.id).await;
        }
        let count = replacements.len() as u64;
        let ring = Arc::clone(&self.ring);
        let now = self.now();
        let body = Body::Replaces(ReplacesStatement { segments: batch.segment_ids, replacements, covers });
        let statement = Statement { author: ring.writer_id(), time: now, serial: 0, body };
        let statement = statement.sign(ring.vault, &ring.signing)?;
        let relied: BTreeSet<Name> = batch.made.iter().map(|object| object.name).collect();
        let op = Op::Replace { session: session.id, statement };
        let conclude = async |replica: &mut Replica| {
            let signer = Signer { key: &ring.signing, time: now };
            session.append_relying(replica, signer, &relied, &[], &op).await
        };
        self.beside.run(conclude(self.replica), &conclude).await?;
        stock.add(batch.made);
        self.outcome.made.objects += made;
        self.outcome.made.bytes += bytes;
        self.outcome.replaced.objects += count;
        self.outcome.replaced.bytes += batch.old_bytes;
        Ok(())
    }

    async fn give_up(&mut self, session: SessionId) -> Result<()> {
        let (ring, now) = (Arc::clone(&self.ring), self.now());
        self.beside.leave(&ring, session, now).await;
        let signer = Signer { key: &ring.signing, time: now };
        self.replica.append(signer, |_| Ok(Some(Op::Fence { session }))).await.map(drop)
    }
}

/// The frames that hold a chunk which a snapshot reaches, or of which that is not known.
fn live_frames(source: &CopySource, reach: &Reach<'_>) -> Result<Vec<u32>> {
    let directory = &source.contents().directory;
    let mut live = BTreeSet::new();
    for chunk in &directory.chunks {
        if !live.contains(&chunk.frame) && reach.marks.may_be_live(&chunk.id)? {
            live.insert(chunk.frame);
        }
    }
    Ok(live.into_iter().collect())
}

/// Parts of at most so many bytes and packs, each of at least one pack.
fn batches(packs: &[Wasteful]) -> Vec<&[Wasteful]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, pack) in packs.iter().enumerate() {
        if at > start && (bytes + pack.usage.pack.size > BATCH_BYTES || at - start >= BATCH_PACKS_MAX) {
            parts.push(&packs[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += pack.usage.pack.size;
    }
    if start < packs.len() {
        parts.push(&packs[start..]);
    }
    parts
}
