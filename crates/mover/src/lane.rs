//! Packs being filled by several sealing threads at once.
//!
//! A frame's counter must be known before it is sealed, so a thread first takes a [`Seat`] in the open pack, seals,
//! then fills the seat. A pack that has no room for the next frame gives no more seats and is finished by whoever
//! fills its last one.

use std::sync::{Arc, Mutex};

use shudao_vault::frame::{Compression, Scratch};
use shudao_vault::id::ChunkId;
use shudao_vault::keys::KeyRing;
use shudao_vault::pack::{FinishedPack, FrameTicket, PackBuilder, PackKind};
use shudao_vault::{Error, Kind, Result};

use crate::ingest::lock;

/// One kind of packs: content or metadata.
pub(crate) struct Lane {
    kind: PackKind,
    ring: Arc<KeyRing>,
    bytes_target: usize,
    current: Mutex<Option<Arc<OpenPack>>>,
}

type OpenPack = Mutex<Filling>;

struct Filling {
    builder: Option<PackBuilder>,
    seats_empty: usize,
    closed: bool,
}

/// A frame's reserved place in a pack.
pub(crate) struct Seat {
    pack: Arc<OpenPack>,
    ticket: FrameTicket,
}

impl Lane {
    pub(crate) fn new(kind: PackKind, ring: Arc<KeyRing>, bytes_target: usize) -> Self {
        Self { kind, ring, bytes_target, current: Mutex::default() }
    }

    /// A seat for a frame of `plain_len` bytes in `chunks` chunks, and the pack that had no room for it, if its last
    /// seat was filled already.
    pub(crate) fn reserve(&self, plain_len: usize, chunks: usize) -> Result<(Seat, Option<FinishedPack>)> {
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
        let builder = PackBuilder::new(self.kind, self.bytes_target, &self.ring)?;
        let mut filling = Filling { builder: Some(builder), seats_empty: 0, closed: false };
        let ticket = filling.reserve(plain_len, chunks)?;
        let ticket = ticket.ok_or_else(|| Error::new(Kind::Bug, "an empty pack has no room for a frame"))?;
        let pack = Arc::new(Mutex::new(filling));
        *current = Some(Arc::clone(&pack));
        Ok((Seat { pack, ticket }, finished))
    }

    /// Ends the current pack; it is returned if all its seats are filled, which holds once all sealing has ended.
    pub(crate) fn close(&self) -> Result<Option<FinishedPack>> {
        let Some(pack) = lock(&self.current).take() else { return Ok(None) };
        let mut filling = lock(&pack);
        filling.closed = true;
        filling.finish_if_full()
    }
}

impl Seat {
    /// Seals a frame and puts it into its pack. Returns the pack if this was its last empty seat.
    pub(crate) fn fill(
        self,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
        compression: Compression,
        scratch: &mut Scratch,
    ) -> Result<Option<FinishedPack>> {
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

    fn finish_if_full(&mut self) -> Result<Option<FinishedPack>> {
        if !self.closed || self.seats_empty > 0 {
            return Ok(None);
        }
        self.builder.take().map(PackBuilder::finish).transpose()
    }
}

fn finished_twice() -> Error {
    Error::new(Kind::Bug, "a frame came to a pack that was finished")
}
