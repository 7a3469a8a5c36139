//! References per pack, so that a snapshot's need list follows from its parent's in O(change).
//!
//! Each reference to a chunk is credited to one pack that holds it, but which one is recorded nowhere: that would cost
//! 32 bytes a reference. So when a reference is dropped, the chunk is looked up again, and its places are the
//! candidates.
//!
//! *Invariant:* a pack's count is at least the number of standing references that were credited to it. Adding keeps
//! it. Subtracting keeps it because it happens only if exactly one candidate has a positive count, and that one must
//! be the credited pack: it is among the candidates (the index answers for every counted pack, which
//! [`NeedCounts::trust_index`] checks) and its count is positive (by the invariant). Where two candidates have positive
//! counts, guessing could take the last reference away from the wrong one, and a pack that is still needed would fall
//! off the list; so nothing is subtracted, and a pack may stay listed for too long. That costs space until the
//! references are next counted in full, and never data. Places that a lying writer invents only add candidates, which
//! makes subtracting rarer.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ObjectId, PackId};

/// References per pack of one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeedCounts {
    counts: BTreeMap<PackId, u64>,
    index_is_complete: bool,
}

impl NeedCounts {
    /// The counts of an empty snapshot. There is nothing that an index could fail to answer for.
    pub fn new() -> Self {
        Self { counts: BTreeMap::new(), index_is_complete: true }
    }

    /// Credits one reference to `pack`.
    pub fn add(&mut self, pack: PackId) {
        let count = self.counts.entry(pack).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Whether any reference is credited to `pack`.
    pub fn contains(&self, pack: &PackId) -> bool {
        self.counts.contains_key(pack)
    }

    /// Says which packs the index answers for in full: those named by readable segments of trusted authors. Decoded
    /// counts subtract nothing before this has found every counted pack; returns whether it has.
    pub fn trust_index(&mut self, indexed: impl IntoIterator<Item = PackId>) -> bool {
        let mut unknown: BTreeSet<PackId> = self.counts.keys().copied().collect();
        for pack in indexed {
            unknown.remove(&pack);
        }
        self.index_is_complete = unknown.is_empty();
        self.index_is_complete
    }

    /// Drops a reference to a chunk. `candidates` are the packs of **all** places that the index knows for it, in any
    /// order, repeated or not.
    pub fn remove(&mut self, candidates: &[PackId]) {
        if !self.index_is_complete {
            return;
        }
        let mut counted: Option<PackId> = None;
        for pack in candidates {
            if counted == Some(*pack) || !self.counts.contains_key(pack) {
                continue;
            }
            if counted.is_some() {
                return;
            }
            counted = Some(*pack);
        }
        let Some(pack) = counted else { return };
        if let Some(count) = self.counts.get_mut(&pack) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&pack);
            }
        }
    }

    /// The packs to list: those with a positive count.
    pub fn packs(&self) -> BTreeSet<PackId> {
        self.counts.keys().copied().collect()
    }

    /// Packs and their counts, ascending by id; no count is zero.
    pub fn iter(&self) -> impl Iterator<Item = (PackId, u64)> + '_ {
        self.counts.iter().map(|(pack, count)| (*pack, *count))
    }

    /// Appends the counts to a snapshot's sealed part.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.counts.len() as u64);
        for (pack, count) in &self.counts {
            out.raw(&pack.0).varint(*count);
        }
    }

    /// Reads the counts of a snapshot. They subtract nothing before [`NeedCounts::trust_index`].
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for _ in 0..input.count(PackId::LEN + 1)? {
            let (pack, count) = (ObjectId(input.array()?), input.varint()?);
            if count == 0 || counts.last_key_value().is_some_and(|(last, _)| *last >= pack) {
                return Err(input.error("its packs are not in order, or one is counted zero times"));
            }
            counts.insert(pack, count);
        }
        Ok(Self { counts, index_is_complete: false })
    }
}
