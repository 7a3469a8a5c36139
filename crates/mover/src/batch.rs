//! Which of the offered chunks are acknowledged by the store.
//!
//! Everything that is offered between two flushes is a batch. Each frame of it holds a share, which passes to the pack
//! that the frame is put into, and is settled when the store has acknowledged that pack. A share that is dropped before
//! is lost, and so is the batch: what it held may be nowhere.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::ingest::lock;

/// How often a waiting thread looks whether it should give up.
const LOOK: Duration = Duration::from_millis(100);

/// What was offered between two flushes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    shares: Mutex<Shares>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shares {
    /// Frames that have no place in a pack yet.
    frames: usize,
    /// Packs that are not acknowledged.
    packs: usize,
    lost: bool,
}

/// What a share stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Frame,
    Pack,
}

/// A frame or a pack on its way.
#[derive(Debug)]
pub(crate) struct Share {
    batch: Arc<Batch>,
    unit: Unit,
    settled: bool,
}

impl Batch {
    /// Waits until no share of this unit is left; false if one was lost, or `give_up` says so.
    pub(crate) fn wait(&self, unit: Unit, give_up: &dyn Fn() -> bool) -> bool {
        let mut shares = lock(&self.shares);
        loop {
            if shares.lost {
                return false;
            }
            if *shares.of(unit) == 0 {
                return true;
            }
            if give_up() {
                return false;
            }
            shares = self.changed.wait_timeout(shares, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shares {
    fn of(&mut self, unit: Unit) -> &mut usize {
        match unit {
            Unit::Frame => &mut self.frames,
            Unit::Pack => &mut self.packs,
        }
    }
}

impl Share {
    /// A frame's share in a batch.
    pub(crate) fn of_frame(batch: &Arc<Batch>) -> Self {
        Self::new(batch, Unit::Frame)
    }

    fn new(batch: &Arc<Batch>, unit: Unit) -> Self {
        *lock(&batch.shares).of(unit) += 1;
        Self { batch: Arc::clone(batch), unit, settled: false }
    }

    /// The share of the pack that takes this frame.
    pub(crate) fn into_pack(self) -> Self {
        // First the pack's, so that the batch never looks as if nothing were on its way.
        let pack = Self::new(&self.batch, Unit::Pack);
        self.settle();
        pack
    }

    /// Whether it is a share in this batch.
    pub(crate) fn is_in(&self, batch: &Arc<Batch>) -> bool {
        Arc::ptr_eq(&self.batch, batch)
    }

    /// Whether both are shares in one batch.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.is_in(&other.batch)
    }

    /// It has arrived.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = lock(&self.batch.shares);
        *shares.of(self.unit) -= 1;
        shares.lost |= !self.settled;
        self.batch.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;
    const AT_ONCE: &dyn Fn() -> bool = &|| true;

    #[test]
    fn a_batch_has_arrived_when_every_share_is_settled() {
        let batch = Arc::default();
        let frames = [Share::of_frame(&batch), Share::of_frame(&batch)];
        assert!(!batch.wait(Unit::Frame, AT_ONCE));
        let packs = frames.map(Share::into_pack);
        assert!(batch.wait(Unit::Frame, NEVER));
        assert!(!batch.wait(Unit::Pack, AT_ONCE));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| batch.wait(Unit::Pack, NEVER));
            packs.into_iter().for_each(Share::settle);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_share_that_is_dropped_loses_the_batch() {
        let batch = Arc::default();
        let (kept, dropped) = (Share::of_frame(&batch).into_pack(), Share::of_frame(&batch).into_pack());
        drop(dropped);
        kept.settle();
        assert!(!batch.wait(Unit::Pack, NEVER));
    }
}
