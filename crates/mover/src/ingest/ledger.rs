//! What a run has stored, and what it relies on. Pure.

use std::collections::{HashMap, HashSet};

use shudao_vault::id::{ChunkId, PackId};
use shudao_vault::need::NeedCounts;
use shudao_vault::pack::FinishedPack;

/// Whether an offer counts as a reference of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Counted,
    /// For a checkpoint: the snapshot will not need it.
    Uncounted,
}

/// A chunk in the table of this run. Half of its id tells it apart: ids are keyed hashes, so that nobody can aim at a
/// collision, and by chance two among 2^40 chunks agree with probability 2^-49.
type ShortId = [u8; ChunkId::LEN / 2];

/// The chunks that this run stores, 21 bytes a slot of the table. What the index knows is not here, but for the packs in which
/// it is relied on.
#[derive(Default)]
pub(super) struct Ledger {
    /// The number of the chunk's pack, or [`WAITING`].
    chunks: HashMap<ShortId, u32>,
    /// How often chunks were referred to whose pack is not finished.
    waiting: HashMap<ShortId, u64>,
    packs: Vec<PackId>,
    own: HashSet<PackId>,
    counts: NeedCounts,
    /// Packs of earlier sessions that are referred to, with the replicas that had them then.
    foreign: HashMap<PackId, Vec<usize>>,
}

/// In place of a pack's number: the pack is not finished.
const WAITING: u32 = u32::MAX;

impl Ledger {
    pub(super) fn new() -> Self {
        Self { counts: NeedCounts::new(), ..Self::default() }
    }

    /// Whether this run has taken the chunk.
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.chunks.contains_key(&short(id))
    }

    /// Refers to a chunk that this run has taken; false if it has not.
    pub(super) fn refer(&mut self, id: &ChunkId, offer: Offer) -> bool {
        let id = short(id);
        let Some(pack) = self.chunks.get(&id) else { return false };
        if offer == Offer::Uncounted {
            return true;
        }
        match self.packs.get(*pack as usize) {
            Some(pack) => self.counts.add(*pack),
            None => *self.waiting.entry(id).or_insert(0) += 1,
        }
        true
    }

    /// Refers to a chunk in a pack of an earlier session, which these replicas have.
    pub(super) fn rely_on(&mut self, pack: PackId, holders: Vec<usize>) {
        self.counts.add(pack);
        self.foreign.entry(pack).or_insert(holders);
    }

    /// Whether a pack of an earlier session is referred to.
    pub(super) fn relies_on(&self, pack: &PackId) -> bool {
        self.foreign.contains_key(pack)
    }

    /// The packs of earlier sessions that are referred to, with the replicas that had them.
    pub(super) fn foreign(&self) -> Vec<(PackId, Vec<usize>)> {
        self.foreign.iter().map(|(pack, holders)| (*pack, holders.clone())).collect()
    }

    /// Whether the run needs this pack, or may come to need it: its own ones, and what it refers to.
    pub(super) fn needs(&self, pack: &PackId) -> bool {
        self.own.contains(pack) || self.counts.contains(pack)
    }

    /// Takes a chunk that nobody has taken, and refers to it.
    pub(super) fn take(&mut self, id: &ChunkId, offer: Offer) {
        self.chunks.insert(short(id), WAITING);
        if offer == Offer::Counted {
            self.waiting.insert(short(id), 1);
        }
    }

    pub(super) fn packed(&mut self, pack: &FinishedPack) {
        let id = pack.pack().id;
        let number = self.packs.len() as u32;
        self.packs.push(id);
        self.own.insert(id);
        for chunk in &pack.contents.directory.chunks {
            self.chunks.insert(short(&chunk.id), number);
            for _ in 0..self.waiting.remove(&short(&chunk.id)).unwrap_or(0) {
                self.counts.add(id);
            }
        }
    }

    /// How many chunks were taken that are in no pack yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// References per pack.
    pub(super) fn counts(&self) -> &NeedCounts {
        &self.counts
    }

    /// Forgets all references, and nothing of what was stored.
    pub(super) fn begin_again(&mut self) {
        self.counts = NeedCounts::new();
        self.waiting.clear();
        self.foreign.clear();
    }
}

fn short(id: &ChunkId) -> ShortId {
    let mut short = [0; ChunkId::LEN / 2];
    short.copy_from_slice(&id.0[..ChunkId::LEN / 2]);
    short
}
