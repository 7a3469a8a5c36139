//! Packs being filled by several sealing threads at once.
//!
//! A frame's counter must be known before it is sealed, so a thread first takes a [`Seat`] in the open pack, seals,
//! then fills the seat. A pack that has no room for the next frame gives no more seats and is finished by whoever
//! fills its last one.
//!
//! Packs are most of a backup's memory, so each holds a [`Berth`] from its first byte until the store has acknowledged
//! it, and a new one waits for a free berth. The wait ends: a berth is held by a pack that is being uploaded, by one
//! whose seats other threads are filling, or (one at most) by the finished pack that the waiting thread is about to hand
//! over; and all of them drop their berths when the run fails.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use shudao_vault::frame::{Compression, Scratch};
use shudao_vault::id::ChunkId;
use shudao_vault::keys::KeyRing;
use shudao_vault::pack::{FinishedPack, FrameTicket, PackBuilder, PackKind};
use shudao_vault::{Error, Kind, Result};

use crate::batch::{Batch, Share};
use crate::ingest::lock;

/// One kind of packs: content or metadata.
pub(crate) struct Lane {
    options: LaneOptions,
    ring: Arc<KeyRing>,
    berths: Arc<Berths>,
    current: Mutex<Option<Arc<OpenPack>>>,
}

/// What a lane's packs are to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneOptions {
    pub(crate) kind: PackKind,
    pub(crate) bytes_target: usize,
    /// Packs in memory at the same time; at least 2, see the module's last paragraph.
    pub(crate) packs_max: usize,
}

/// A finished pack on its way to the store.
pub struct Parcel {
    /// The pack.
    pub pack: FinishedPack,
    receipt: Receipt,
}

/// What is given back when a store has acknowledged a pack: the leave to hold it in memory, and its batches' shares.
pub(crate) struct Receipt {
    shares: Vec<Share>,
    _berth: Berth,
}

/// Leave to hold one pack in memory; given back when dropped.
struct Berth(Arc<Berths>);

struct Berths {
    free: Mutex<usize>,
    freed: Condvar,
}

type OpenPack = Mutex<Filling>;

struct Filling {
    builder: Option<PackBuilder>,
    berth: Option<Berth>,
    /// One for each batch that has frames here.
    shares: Vec<Share>,
    seats_empty: usize,
    closed: bool,
}

/// A frame's reserved place in a pack.
pub(crate) struct Seat {
    pack: Arc<OpenPack>,
    ticket: FrameTicket,
}

impl Lane {
    pub(crate) fn new(options: LaneOptions, ring: Arc<KeyRing>) -> Self {
        let berths = Berths { free: Mutex::new(options.packs_max.max(2)), freed: Condvar::new() };
        Self { options, ring, berths: Arc::new(berths), current: Mutex::default() }
    }

    /// A seat for a frame of `plain_len` bytes in `chunks` chunks, and the pack that had no room for it, if its last
    /// seat was filled already. Waits for a free berth when a new pack is begun.
    pub(crate) fn reserve(&self, plain_len: usize, chunks: usize) -> Result<(Seat, Option<Parcel>)> {
        let mut current = lock(&self.current);
        let mut finished = None;
        if let Some(pack) = current.take() {
            let mut filling = lock(&pack);
            if let Some(ticket) = filling.reserve(plain_len, chunks)? {
                drop(filling);
                *current = Some(Arc::clone(&pack));
                return Ok((Seat { pack, ticket }, None));
            }
            filling.closed = true;
            finished = filling.finish_if_full()?;
        }
        let berth = Some(Berths::take(&self.berths));
        let builder = PackBuilder::new(self.options.kind, self.options.bytes_target, &self.ring)?;
        let mut filling =
            Filling { builder: Some(builder), berth, shares: Vec::new(), seats_empty: 0, closed: false };
        let ticket = filling.reserve(plain_len, chunks)?;
        let ticket = ticket.ok_or_else(|| Error::new(Kind::Bug, "an empty pack has no room for a frame"))?;
        let pack = Arc::new(Mutex::new(filling));
        *current = Some(Arc::clone(&pack));
        Ok((Seat { pack, ticket }, finished))
    }

    /// Ends the current pack if it holds frames of `batch`. Returns it if its last seat was filled already; otherwise
    /// whoever fills that finishes it.
    pub(crate) fn close_batch(&self, batch: &Arc<Batch>) -> Result<Option<Parcel>> {
        let mut current = lock(&self.current);
        let Some(pack) = current.take() else { return Ok(None) };
        let mut filling = lock(&pack);
        if !filling.shares.iter().any(|share| share.is_in(batch)) {
            drop(filling);
            *current = Some(pack);
            return Ok(None);
        }
        filling.closed = true;
        filling.finish_if_full()
    }

    /// Ends the current pack, if there is one. Call it once all sealing has ended.
    ///
    /// # Errors
    /// [`Kind::Bug`] if a seat was never filled: what should be in it is nowhere.
    pub(crate) fn close(&self) -> Result<Option<Parcel>> {
        let Some(pack) = lock(&self.current).take() else { return Ok(None) };
        let mut filling = lock(&pack);
        filling.closed = true;
        let finished = filling.finish_if_full()?;
        let unfilled = || Error::new(Kind::Bug, "a frame that was to be sealed never came to its pack");
        finished.ok_or_else(unfilled).map(Some)
    }
}

impl Parcel {
    /// The pack, and the receipt to sign once the store has acknowledged it.
    pub(crate) fn into_parts(self) -> (FinishedPack, Receipt) {
        (self.pack, self.receipt)
    }
}

impl Receipt {
    /// The store has acknowledged the pack. A receipt that is dropped says that it may be nowhere.
    pub(crate) fn sign(self) {
        self.shares.into_iter().for_each(Share::settle);
    }
}

impl Seat {
    /// The frame that will sit here brings its share in a batch.
    pub(crate) fn bring(&self, share: Share) {
        let mut filling = lock(&self.pack);
        if filling.shares.iter().any(|known| known.is_beside(&share)) {
            share.settle();
        } else {
            filling.shares.push(share.into_pack());
        }
    }

    /// Seals a frame and puts it into its pack. Returns the pack if this was its last empty seat.
    pub(crate) fn fill(
        self,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
        compression: Compression,
        scratch: &mut Scratch,
    ) -> Result<Option<Parcel>> {
        let sealed = self.ticket.seal(plain, chunks, compression, scratch)?;
        let mut filling = lock(&self.pack);
        filling.seats_empty -= 1;
        filling.builder.as_mut().ok_or_else(finished_twice)?.append(sealed)?;
        filling.finish_if_full()
    }
}

impl Filling {
    fn reserve(&mut self, plain_len: usize, chunks: usize) -> Result<Option<FrameTicket>> {
        let ticket = self.builder.as_mut().ok_or_else(finished_twice)?.reserve(plain_len, chunks)?;
        self.seats_empty += usize::from(ticket.is_some());
        Ok(ticket)
    }

    fn finish_if_full(&mut self) -> Result<Option<Parcel>> {
        if !self.closed || self.seats_empty > 0 {
            return Ok(None);
        }
        let Some((builder, berth)) = self.builder.take().zip(self.berth.take()) else { return Ok(None) };
        let receipt = Receipt { shares: std::mem::take(&mut self.shares), _berth: berth };
        Ok(Some(Parcel { pack: builder.finish()?, receipt }))
    }
}

impl Berths {
    fn take(berths: &Arc<Self>) -> Berth {
        let mut free = lock(&berths.free);
        while *free == 0 {
            free = berths.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Berth(Arc::clone(berths))
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

fn finished_twice() -> Error {
    Error::new(Kind::Bug, "a frame came to a pack that was finished")
}

#[cfg(test)]
mod tests;
