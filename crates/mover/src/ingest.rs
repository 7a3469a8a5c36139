//! New chunks on their way into packs: known? → frame → compress → seal → verify → pack → upload queue.
//!
//! ```text
//! readers ── offer ──▶ open frame ──▶ [frames] ──▶ sealers ──▶ open pack ──▶ [packs] ──▶ uploader
//!             │ known: counted                        (compress, seal, open again, compare)
//! ```
//!
//! Both queues are bounded, so readers wait when sealing or uploading is slower. A chunk is stored once a run: the
//! first offer takes its place in the session's table before anyone else can offer it.
//!
//! A flush ([`Ingest::arrive`]) waits until everything offered before it is acknowledged, while offering goes on.
//!
//! *Failure:* the first cause is kept for [`Ingest::take_failure`]; everybody else only learns that storing has
//! stopped. A sealer that fails, even by a panic, goes on emptying the queue until nobody can send any more, so that no
//! reader waits for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, bounded};
use shudao_vault::frame::{Compression, FRAME_BYTES_TARGET, Scratch};
use shudao_vault::id::{ChunkId, Digest, PackId};
use shudao_vault::index::{Index, Location};
use shudao_vault::keys::KeyRing;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::log::State;
use shudao_vault::need::NeedCounts;
use shudao_vault::pack::{PACK_CHUNKS_MAX, PackKind};
use shudao_vault::reliance::Reliance;
use shudao_vault::tree::NodeSink;
use shudao_vault::{Error, Kind, Result};
use tokio::sync::mpsc;

use crate::backup::Journal;
use crate::batch::{Batch, Share, Unit};
use crate::budget::Shares;
use crate::lane::{Lane, LaneOptions, Parcel};
use crate::presence::Presence;
use ledger::{Ledger, Offer};

mod ledger;

/// Chunks in a frame: four frames of the tiniest chunks still fit into one pack.
const FRAME_CHUNKS_MAX: usize = PACK_CHUNKS_MAX / 4;

/// What an ingest works with; fixed for one run.
pub struct IngestContext {
    /// Keys of the writer.
    pub ring: Arc<KeyRing>,
    /// Where chunks of earlier runs are.
    pub index: Arc<Index>,
    /// What of them may be relied on, by the logs when the session began; see [`Ingest::hear`].
    pub reliance: Reliance,
    /// Looks whether packs of earlier runs are where the logs say; without it the logs are believed.
    pub presence: Option<Presence>,
    /// How hard to compress.
    pub compression: Compression,
    /// Bytes of a content pack.
    pub pack_bytes_target: usize,
    /// How much may be in memory.
    pub shares: Shares,
    /// Count new bytes but store nothing.
    pub dry_run: bool,
    /// Where packs are noted before they are put.
    pub journal: Option<Arc<Journal>>,
}

/// What a run has stored so far. Counters only grow; read at any time.
#[derive(Debug, Default)]
pub struct IngestCounters {
    /// Chunks that no pack held before.
    pub chunks_new: AtomicU64,
    /// Plain bytes of those.
    pub bytes_new: AtomicU64,
    /// Sealed bytes in finished packs.
    pub bytes_packed: AtomicU64,
    /// Plain bytes of chunks that were already stored.
    pub bytes_known: AtomicU64,
}

struct PlainFrame {
    space: ChunkSpace,
    bytes: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

impl PlainFrame {
    fn new(space: ChunkSpace) -> Self {
        Self { space, bytes: Vec::new(), chunks: Vec::new() }
    }

    fn has_room(&self, length: usize) -> bool {
        self.chunks.is_empty()
            || (self.bytes.len() + length <= FRAME_BYTES_TARGET && self.chunks.len() < FRAME_CHUNKS_MAX)
    }

    fn take(&mut self) -> Self {
        let empty = Self::new(self.space);
        std::mem::replace(self, empty)
    }

    /// The full frame on its way, with its share in the batch that is open now.
    fn send_off(&mut self, batch: &Mutex<Arc<Batch>>) -> FullFrame {
        FullFrame { share: Share::of_frame(&lock(batch)), plain: self.take() }
    }
}

struct FullFrame {
    plain: PlainFrame,
    share: Share,
}

/// Takes chunks from several threads; see the module's picture.
pub struct Ingest {
    context: IngestContext,
    /// Held shared from the decision to rely on something until the ledger says so: whoever has changed it may then ask the
    /// ledger what is relied on, and nothing is added that the change forbids.
    reliance: RwLock<Reliance>,
    ledger: Mutex<Ledger>,
    open: [Mutex<PlainFrame>; 2],
    lanes: [Lane; 2],
    frames: Mutex<Option<Sender<FullFrame>>>,
    /// Where what is offered now belongs.
    batch: Mutex<Arc<Batch>>,
    /// Held shared from the moment in which a chunk is taken until it is in a frame, and alone to begin a new batch: so
    /// a chunk that is known to one thread is never still in the hands of another that has not put it into the batch.
    turning: RwLock<()>,
    counters: Arc<IngestCounters>,
    has_failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Ingest {
    /// An ingest and the queue from which [`Ingest::seal_until_closed`] takes frames.
    pub fn new(mut context: IngestContext, counters: Arc<IngestCounters>) -> (Self, SealQueue) {
        let reliance = std::mem::replace(&mut context.reliance, Reliance::new(Vec::new(), Vec::new()));
        let (sender, receiver) = bounded(context.shares.frames_waiting.count);
        let content = LaneOptions {
            kind: PackKind::Content,
            bytes_target: context.pack_bytes_target,
            packs_max: context.shares.content_packs.count,
        };
        let metadata = LaneOptions {
            kind: PackKind::Metadata,
            bytes_target: context.shares.metadata_packs.each_bytes.min(context.pack_bytes_target),
            packs_max: context.shares.metadata_packs.count,
        };
        let ingest = Self {
            lanes: [content, metadata].map(|options| Lane::new(options, Arc::clone(&context.ring))),
            open: [ChunkSpace::Content, ChunkSpace::Metadata].map(|space| Mutex::new(PlainFrame::new(space))),
            reliance: RwLock::new(reliance),
            ledger: Mutex::new(Ledger::new()),
            frames: Mutex::new(Some(sender)),
            batch: Mutex::default(),
            turning: RwLock::new(()),
            has_failed: AtomicBool::new(false),
            failure: Mutex::default(),
            counters,
            context,
        };
        (ingest, SealQueue(receiver))
    }

    /// Refers to a chunk once, storing it if nobody has. `digest` must be the BLAKE3 of `bytes`.
    ///
    /// # Errors
    /// The index's; that storing has stopped, whose cause [`Ingest::take_failure`] tells.
    pub fn offer(&self, space: ChunkSpace, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.put(space, digest, bytes, Offer::Counted)
    }

    fn put(&self, space: ChunkSpace, digest: &Digest, bytes: &[u8], offer: Offer) -> Result<()> {
        self.check()?;
        let id = self.context.ring.chunk_id(space, digest);
        let full = {
            let _steady = self.turning.read().unwrap_or_else(PoisonError::into_inner);
            if self.refer(space, &id, offer)? {
                self.counters.bytes_known.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                return Ok(());
            }
            self.counters.chunks_new.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes_new.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let mut open = lock(&self.open[lane_of(space)]);
            let full = (!open.has_room(bytes.len())).then(|| open.send_off(&self.batch));
            open.bytes.extend_from_slice(bytes);
            open.chunks.push((id, bytes.len() as u32));
            full
        };
        full.map_or(Ok(()), |frame| self.send(frame))
    }

    /// Waits until everything that was offered before is acknowledged by the store, while other threads offer on; false
    /// if that will not be: storing has stopped, or `give_up` said so. Its packs end, however small they are.
    ///
    /// # Errors
    /// Those of finishing a pack; that storing has stopped.
    pub fn arrive(&self, packs: &mpsc::Sender<Parcel>, give_up: &dyn Fn() -> bool) -> Result<bool> {
        let (batch, frames) = self.turn();
        for frame in frames {
            self.send(frame)?;
        }
        let give_up = || give_up() || self.check().is_err();
        if !batch.wait(Unit::Frame, &give_up) {
            return Ok(false);
        }
        for lane in &self.lanes {
            if let Some(pack) = lane.close_batch(&batch)? {
                self.hand_over(pack, &mut Scratch::new(), packs)?;
            }
        }
        Ok(batch.wait(Unit::Pack, &give_up))
    }

    /// Begins a new batch; returns the old one and its last frames.
    fn turn(&self) -> (Arc<Batch>, Vec<FullFrame>) {
        let _alone = self.turning.write().unwrap_or_else(PoisonError::into_inner);
        let open = self.open.iter().map(lock);
        let frames = open.filter(|open| !open.chunks.is_empty()).map(|mut open| open.send_off(&self.batch));
        let frames = frames.collect();
        (std::mem::take(&mut *lock(&self.batch)), frames)
    }

    /// Whether the chunk is stored; does not count a reference. Used to decide if an unchanged file may be reused.
    pub fn knows(&self, space: ChunkSpace, digest: &Digest) -> Result<bool> {
        let id = self.context.ring.chunk_id(space, digest);
        if lock(&self.ledger).has(&id) {
            return Ok(true);
        }
        Ok(self.stored_at(space, &id)?.is_some())
    }

    /// Counts a reference to a chunk that is stored; false if it is not, or not any more, though [`Ingest::knows`] said so.
    pub fn refer_known(&self, space: ChunkSpace, digest: &Digest, length: usize) -> Result<bool> {
        let id = self.context.ring.chunk_id(space, digest);
        if lock(&self.ledger).refer(&id, Offer::Counted) {
            return Ok(true);
        }
        let stored = self.stored_at(space, &id)?;
        let reliance = read(&self.reliance);
        let Some((place, holders)) = stored.filter(|(place, _)| reliance.allows(place)) else {
            return Ok(false);
        };
        lock(&self.ledger).rely_on(place.pack, holders);
        self.counters.bytes_known.fetch_add(length as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether the chunk is stored or taken by an earlier offer; otherwise takes it for the caller to store.
    fn refer(&self, space: ChunkSpace, id: &ChunkId, offer: Offer) -> Result<bool> {
        if lock(&self.ledger).refer(id, offer) {
            return Ok(true);
        }
        // The lookup may read the disk, so nobody else waits for it; the table is asked again before it is changed, and so
        // is what may be relied on.
        let stored = self.stored_at(space, id)?;
        let reliance = read(&self.reliance);
        let mut ledger = lock(&self.ledger);
        if ledger.refer(id, offer) {
            return Ok(true);
        }
        let stored = stored.filter(|(place, _)| reliance.allows(place));
        let is_stored = stored.is_some();
        match (stored, offer) {
            (Some((place, holders)), Offer::Counted) => ledger.rely_on(place.pack, holders),
            (Some(_), Offer::Uncounted) => {}
            (None, offer) => ledger.take(id, offer),
        }
        Ok(is_stored)
    }

    /// Where an earlier session stored the chunk, and the replicas that have it; the least pack of several.
    fn stored_at(&self, space: ChunkSpace, id: &ChunkId) -> Result<Option<(Location, Vec<usize>)>> {
        let places = self.context.index.lookup(id, space)?;
        let mut usable: Vec<(Location, Vec<usize>)> = {
            let reliance = read(&self.reliance);
            let allowing = places.iter().map(|place| (*place, reliance.allowing(place).collect()));
            allowing.filter(|(_, holders): &(_, Vec<usize>)| !holders.is_empty()).collect()
        };
        usable.sort_by_key(|(place, _)| place.pack);
        let Some(presence) = &self.context.presence else { return Ok(usable.into_iter().next()) };
        for (place, holders) in usable {
            if lock(&self.ledger).relies_on(&place.pack) {
                return Ok(Some((place, holders)));
            }
            let found = presence.find(place.pack, &holders);
            if !found.is_empty() {
                return Ok(Some((place, found)));
            }
        }
        Ok(None)
    }

    /// Takes over what the log of the replica at `place` says now. From the return on nothing comes to be relied on that is
    /// condemned or swept there, unless another replica has it.
    pub fn hear(&self, place: usize, state: &State) {
        self.reliance.write().unwrap_or_else(PoisonError::into_inner).hear(place, state);
        if let Some(presence) = &self.context.presence {
            presence.answered(place);
        }
    }

    /// The replica at `place` is out of reach from now on: what only it has is stored anew.
    pub fn withdraw(&self, place: usize) {
        self.reliance.write().unwrap_or_else(PoisonError::into_inner).withdraw(place);
    }

    /// These packs are nowhere: from now on what they hold is stored anew.
    pub fn renounce(&self, packs: &[PackId]) {
        let mut reliance = self.reliance.write().unwrap_or_else(PoisonError::into_inner);
        packs.iter().for_each(|pack| reliance.renounce(*pack));
    }

    /// Whether the replica at `place` was not withdrawn.
    pub fn is_reachable(&self, place: usize) -> bool {
        read(&self.reliance).is_reachable(place)
    }

    /// The packs of earlier sessions that something offered so far relies on, each with the replicas that still have it, as
    /// far as the logs heard say.
    pub fn relied_on(&self) -> Vec<(PackId, Vec<usize>)> {
        let mut foreign = lock(&self.ledger).foreign();
        let reliance = read(&self.reliance);
        for (pack, holders) in &mut foreign {
            holders.retain(|place| reliance.still_holds(*place, pack));
        }
        foreign
    }

    /// The packs that were looked for and found on the replica at `place`.
    pub fn found_on(&self, place: usize) -> Vec<PackId> {
        self.context.presence.as_ref().map(|presence| presence.found_on(place)).unwrap_or_default()
    }

    /// Begins again: everything that the snapshot needs is to be offered once more. What was stored is known. Call it when
    /// [`Ingest::flush`] has returned, and seal what comes out of the new queue.
    pub fn begin_again(&self) -> SealQueue {
        let (sender, receiver) = bounded(self.context.shares.frames_waiting.count);
        lock(&self.ledger).begin_again();
        *lock(&self.frames) = Some(sender);
        SealQueue(receiver)
    }

    fn send(&self, frame: FullFrame) -> Result<()> {
        let sender = lock(&self.frames).clone();
        match sender {
            Some(sender) if sender.send(frame).is_ok() => Ok(()),
            _ => Err(stopped()),
        }
    }

    /// Body of a sealing thread: works until [`Ingest::close`] was called and the queue is empty. Finished packs go
    /// to `packs`, which blocks while the uploader is behind.
    pub fn seal_until_closed(&self, queue: &SealQueue, packs: &mpsc::Sender<Parcel>) {
        let _drain = Drain { ingest: self, queue };
        let mut scratch = Scratch::new();
        while let Ok(frame) = queue.0.recv() {
            if let Err(error) = self.seal(frame, &mut scratch, packs) {
                self.fail(error);
                break;
            }
        }
    }

    fn seal(&self, frame: FullFrame, scratch: &mut Scratch, packs: &mpsc::Sender<Parcel>) -> Result<()> {
        if self.context.dry_run {
            return Ok(());
        }
        let FullFrame { plain: frame, share } = frame;
        let lane = &self.lanes[lane_of(frame.space)];
        let (seat, closed) = lane.reserve(frame.bytes.len(), frame.chunks.len())?;
        seat.bring(share);
        if let Some(pack) = closed {
            self.hand_over(pack, scratch, packs)?;
        }
        match seat.fill(&frame.bytes, frame.chunks, self.context.compression, scratch)? {
            Some(pack) => self.hand_over(pack, scratch, packs),
            None => Ok(()),
        }
    }

    /// Reads the pack as a reader will, then gives it to the uploader.
    fn hand_over(&self, parcel: Parcel, scratch: &mut Scratch, packs: &mpsc::Sender<Parcel>) -> Result<()> {
        let pack = &parcel.pack;
        pack.verify(&self.context.ring, scratch)?;
        self.counters.bytes_packed.fetch_add(pack.bytes.len() as u64, Ordering::Relaxed);
        if let Some(journal) = &self.context.journal {
            journal.note(pack);
        }
        lock(&self.ledger).packed(pack);
        // The uploader ends early only after it failed, and then it is the one to say why.
        packs.blocking_send(parcel).map_err(|_| stopped())
    }

    /// Sends the last, partly filled frames and ends the queue. Call once, after the last offer.
    pub fn close(&self) -> Result<()> {
        for open in &self.open {
            let mut open = lock(open);
            let last = (!open.chunks.is_empty()).then(|| open.send_off(&self.batch));
            drop(open);
            if let Some(frame) = last {
                self.send(frame)?;
            }
        }
        *lock(&self.frames) = None;
        Ok(())
    }

    /// Ends the queue without sending what is left: the run has failed.
    pub fn abandon(&self) -> Result<()> {
        *lock(&self.frames) = None;
        Ok(())
    }

    /// Hands over the last packs. Call once, after every sealing thread has ended.
    ///
    /// # Errors
    /// The recorded failure; [`Kind::Bug`] if a chunk that was taken is in no pack.
    pub fn flush(&self, packs: &mpsc::Sender<Parcel>) -> Result<()> {
        self.check()?;
        for lane in &self.lanes {
            if let Some(pack) = lane.close()? {
                self.hand_over(pack, &mut Scratch::new(), packs)?;
            }
        }
        let lost = lock(&self.ledger).waiting();
        if lost > 0 && !self.context.dry_run {
            return Err(Error::new(
                Kind::Bug,
                format!("{lost} chunks that were to be stored are in no pack"),
            ));
        }
        self.check()
    }

    /// Whether the run relies on this pack, or may come to: it is one of its own, or something offered so far is in it.
    pub fn refers_to(&self, pack: &PackId) -> bool {
        lock(&self.ledger).needs(pack)
    }

    /// References per pack of everything offered; complete once [`Ingest::flush`] has returned.
    pub fn counts(&self) -> NeedCounts {
        lock(&self.ledger).counts().clone()
    }

    /// Records a failure, the first one for good; readers and sealers stop at their next step.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        *lock(&self.frames) = None;
    }

    /// Succeeds unless a failure was recorded.
    ///
    /// # Errors
    /// That storing has stopped; not why: see [`Ingest::take_failure`].
    pub fn check(&self) -> Result<()> {
        if self.has_failed.load(Ordering::Acquire) { Err(stopped()) } else { Ok(()) }
    }

    /// The first failure, for the one who reports it: call it when all threads have ended.
    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }
}

/// What everybody learns who is not the first to fail.
fn stopped() -> Error {
    Error::new(Kind::Unavailable, "storing stopped after an earlier failure")
}

/// Empties the queue at a sealer's end, whatever ended it.
struct Drain<'a> {
    ingest: &'a Ingest,
    queue: &'a SealQueue,
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ingest.fail(Error::new(Kind::Bug, "a sealing thread failed by a panic"));
        }
        // After a failure nobody gets a sender any more; those who have one wait for room, and are given it here.
        while self.queue.0.recv().is_ok() {}
    }
}

/// Sealing threads take frames from here.
#[derive(Clone)]
pub struct SealQueue(Receiver<FullFrame>);

/// Stores tree and list nodes through the ingest.
pub struct Nodes<'a>(pub &'a Ingest);

impl NodeSink for Nodes<'_> {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.offer(ChunkSpace::Metadata, &digest, &node)
    }
}

/// Stores nodes that only a checkpoint needs: the snapshot's counts do not know of them.
pub(crate) struct CheckpointNodes<'a>(pub(crate) &'a Ingest);

impl NodeSink for CheckpointNodes<'_> {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.put(ChunkSpace::Metadata, &digest, &node, Offer::Uncounted)
    }
}

fn lane_of(space: ChunkSpace) -> usize {
    match space {
        ChunkSpace::Content => 0,
        ChunkSpace::Metadata => 1,
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whoever panicked while holding it has already failed the run; the data behind it is never half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // As above.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
