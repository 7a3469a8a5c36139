//! New chunks on their way into packs: known? → frame → compress → seal → verify → pack → upload queue.
//!
//! ```text
//! readers ── offer ──▶ open frame ──▶ [frames] ──▶ sealers ──▶ open pack ──▶ [packs] ──▶ uploader
//!             │ known: counted                        (compress, seal, open again, compare)
//! ```
//!
//! Both queues are bounded, so readers wait when sealing or uploading is slower. A chunk is stored once a run: the
//! first offer takes its place in the session's table before anyone else can offer it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use shudao_vault::frame::{Compression, FRAME_BYTES_TARGET, Scratch};
use shudao_vault::id::{ChunkId, Digest, PackId, WriterId};
use shudao_vault::index::Index;
use shudao_vault::keys::KeyRing;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::log::State;
use shudao_vault::need::NeedCounts;
use shudao_vault::pack::{FinishedPack, PackKind};
use shudao_vault::reader::may_rely_on;
use shudao_vault::tree::NodeSink;
use shudao_vault::{Error, Kind, Result};
use tokio::sync::mpsc;

use crate::lane::Lane;

/// Metadata packs are small: a run that changed little must not wait for, nor waste, a large one.
const METADATA_PACK_BYTES_TARGET: usize = 8 << 20;

/// What an ingest works with; fixed for one run.
pub struct IngestContext {
    /// Keys of the writer.
    pub ring: Arc<KeyRing>,
    /// Where chunks of earlier runs are.
    pub index: Arc<Index>,
    /// The log when the session began.
    pub state: State,
    /// Writers whose own segments count without being vouched: this one and its predecessors.
    pub trusted: Vec<WriterId>,
    /// How hard to compress.
    pub compression: Compression,
    /// Bytes of a content pack.
    pub pack_bytes_target: usize,
    /// Count new bytes but store nothing.
    pub dry_run: bool,
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
}

/// A chunk of this run: how often it was referred to before its pack was finished, then its pack.
enum SessionChunk {
    Waiting { references: u64 },
    Packed(PackId),
}

struct Ledger {
    chunks: HashMap<ChunkId, SessionChunk>,
    counts: NeedCounts,
}

/// Takes chunks from several threads; see the module's picture.
pub struct Ingest {
    context: IngestContext,
    ledger: Mutex<Ledger>,
    open: [Mutex<PlainFrame>; 2],
    lanes: [Lane; 2],
    frames: Mutex<Option<Sender<PlainFrame>>>,
    counters: Arc<IngestCounters>,
    failure: Mutex<Option<Error>>,
}

impl Ingest {
    /// An ingest and the queue from which [`Ingest::seal_until_closed`] takes frames.
    pub fn new(context: IngestContext, counters: Arc<IngestCounters>) -> (Self, SealQueue) {
        let (sender, receiver) = bounded(4);
        let lane = |kind, bytes_target| Lane::new(kind, Arc::clone(&context.ring), bytes_target);
        let ingest = Self {
            lanes: [
                lane(PackKind::Content, context.pack_bytes_target),
                lane(PackKind::Metadata, METADATA_PACK_BYTES_TARGET.min(context.pack_bytes_target)),
            ],
            open: [ChunkSpace::Content, ChunkSpace::Metadata].map(|space| Mutex::new(PlainFrame::new(space))),
            ledger: Mutex::new(Ledger { chunks: HashMap::new(), counts: NeedCounts::new() }),
            frames: Mutex::new(Some(sender)),
            failure: Mutex::default(),
            counters,
            context,
        };
        (ingest, SealQueue(receiver))
    }

    /// Refers to a chunk once, storing it if nobody has. `digest` must be the BLAKE3 of `bytes`.
    pub fn offer(&self, space: ChunkSpace, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let id = self.context.ring.chunk_id(space, digest);
        if self.refer(space, &id)? {
            self.counters.bytes_known.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return Ok(());
        }
        self.counters.chunks_new.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes_new.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let full = {
            let mut open = lock(&self.open[lane_of(space)]);
            let full = (!open.bytes.is_empty() && open.bytes.len() + bytes.len() > FRAME_BYTES_TARGET)
                .then(|| std::mem::replace(&mut *open, PlainFrame::new(space)));
            open.bytes.extend_from_slice(bytes);
            open.chunks.push((id, bytes.len() as u32));
            full
        };
        full.map_or(Ok(()), |frame| self.send(frame))
    }

    /// Whether the chunk is stored; does not count a reference. Used to decide if an unchanged file may be reused.
    pub fn knows(&self, space: ChunkSpace, digest: &Digest) -> Result<bool> {
        let id = self.context.ring.chunk_id(space, digest);
        if lock(&self.ledger).chunks.contains_key(&id) {
            return Ok(true);
        }
        Ok(self.stored_pack(space, &id)?.is_some())
    }

    /// Counts a reference to a chunk that [`Ingest::knows`]; [`Kind::Bug`] if it does not.
    pub fn refer_known(&self, space: ChunkSpace, digest: &Digest, length: usize) -> Result<()> {
        let id = self.context.ring.chunk_id(space, digest);
        if lock(&self.ledger).refer(&id) {
            return Ok(());
        }
        let pack = self.stored_pack(space, &id)?;
        let unknown = || Error::new(Kind::Bug, format!("chunk {} was known and is not", digest.short()));
        lock(&self.ledger).counts.add(pack.ok_or_else(unknown)?);
        self.counters.bytes_known.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the chunk is stored or taken by an earlier offer; otherwise takes it for the caller to store.
    fn refer(&self, space: ChunkSpace, id: &ChunkId) -> Result<bool> {
        if lock(&self.ledger).refer(id) {
            return Ok(true);
        }
        // The lookup may read the disk, so nobody else waits for it; the table is asked again before it is changed.
        let stored = self.stored_pack(space, id)?;
        let mut ledger = lock(&self.ledger);
        if ledger.refer(id) {
            return Ok(true);
        }
        match stored {
            Some(pack) => ledger.counts.add(pack),
            None => drop(ledger.chunks.insert(*id, SessionChunk::Waiting { references: 1 })),
        }
        Ok(stored.is_some())
    }

    fn stored_pack(&self, space: ChunkSpace, id: &ChunkId) -> Result<Option<PackId>> {
        let places = self.context.index.lookup(id, space)?;
        let usable =
            places.iter().filter(|place| may_rely_on(place, &self.context.state, &self.context.trusted));
        Ok(usable.map(|place| place.pack).min())
    }

    fn send(&self, frame: PlainFrame) -> Result<()> {
        let sender = lock(&self.frames).clone();
        match sender {
            Some(sender) if sender.send(frame).is_ok() => Ok(()),
            _ => Err(self.take_failure()),
        }
    }

    /// Body of a sealing thread: works until [`Ingest::close`] was called and the queue is empty. Finished packs go
    /// to `packs`, which blocks while the uploader is behind.
    pub fn seal_until_closed(&self, queue: &SealQueue, packs: &mpsc::Sender<FinishedPack>) {
        let mut scratch = Scratch::new();
        while let Ok(frame) = queue.0.recv() {
            if let Err(error) = self.seal(frame, &mut scratch, packs) {
                self.fail(error);
                break;
            }
        }
    }

    fn seal(
        &self,
        frame: PlainFrame,
        scratch: &mut Scratch,
        packs: &mpsc::Sender<FinishedPack>,
    ) -> Result<()> {
        if self.context.dry_run {
            return Ok(());
        }
        let lane = &self.lanes[lane_of(frame.space)];
        let (seat, closed) = lane.reserve(frame.bytes.len(), frame.chunks.len())?;
        if let Some(pack) = closed {
            self.hand_over(pack, scratch, packs)?;
        }
        match seat.fill(&frame.bytes, frame.chunks, self.context.compression, scratch)? {
            Some(pack) => self.hand_over(pack, scratch, packs),
            None => Ok(()),
        }
    }

    /// Reads the pack as a reader will, then gives it to the uploader.
    fn hand_over(
        &self,
        pack: FinishedPack,
        scratch: &mut Scratch,
        packs: &mpsc::Sender<FinishedPack>,
    ) -> Result<()> {
        pack.verify(&self.context.ring, scratch)?;
        self.counters.bytes_packed.fetch_add(pack.bytes.len() as u64, Ordering::Relaxed);
        lock(&self.ledger).packed(&pack);
        packs.blocking_send(pack).map_err(|_| self.take_failure())
    }

    /// Sends the last, partly filled frames and ends the queue. Call once, after the last offer.
    pub fn close(&self) -> Result<()> {
        for open in &self.open {
            let frame = {
                let mut open = lock(open);
                let space = open.space;
                std::mem::replace(&mut *open, PlainFrame::new(space))
            };
            if !frame.chunks.is_empty() {
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
    pub fn flush(&self, packs: &mpsc::Sender<FinishedPack>) -> Result<()> {
        for lane in &self.lanes {
            if let Some(pack) = lane.close()? {
                self.hand_over(pack, &mut Scratch::new(), packs)?;
            }
        }
        self.check()
    }

    /// References per pack of everything offered; complete once [`Ingest::flush`] has returned.
    pub fn take_counts(&self) -> NeedCounts {
        std::mem::replace(&mut lock(&self.ledger).counts, NeedCounts::new())
    }

    /// Records the first failure; readers and sealers stop at their next step.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        *lock(&self.frames) = None;
    }

    /// The failure, if one was recorded.
    pub fn check(&self) -> Result<()> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    fn take_failure(&self) -> Error {
        let failure = lock(&self.failure).take();
        failure.unwrap_or_else(|| Error::new(Kind::Unavailable, "storing stopped after an earlier failure"))
    }
}

/// Sealing threads take frames from here.
#[derive(Clone)]
pub struct SealQueue(Receiver<PlainFrame>);

impl Ledger {
    fn refer(&mut self, id: &ChunkId) -> bool {
        match self.chunks.get_mut(id) {
            Some(SessionChunk::Waiting { references }) => *references += 1,
            Some(SessionChunk::Packed(pack)) => self.counts.add(*pack),
            None => return false,
        }
        true
    }

    fn packed(&mut self, pack: &FinishedPack) {
        let id = pack.pack().id;
        for chunk in &pack.contents.directory.chunks {
            if let Some(SessionChunk::Waiting { references }) =
                self.chunks.insert(chunk.id, SessionChunk::Packed(id))
            {
                for _ in 0..references {
                    self.counts.add(id);
                }
            }
        }
    }
}

/// Stores tree and list nodes through the ingest.
pub struct Nodes<'a>(pub &'a Ingest);

impl NodeSink for Nodes<'_> {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.offer(ChunkSpace::Metadata, &digest, &node)
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
