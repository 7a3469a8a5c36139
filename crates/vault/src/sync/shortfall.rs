//! What a snapshot needs that a replica does not hold. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::id::{PackId, SegmentId};
use crate::index::Index;

/// What must be brought to a replica before it may commit a snapshot, beyond what the snapshot's own session stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shortfall {
    /// Packs that no segment of that replica's log speaks of; they may be there all the same.
    pub packs: BTreeSet<PackId>,
    /// Segments that speak of them; the commit names these too, so that the replica can be read alone.
    pub segments: BTreeSet<SegmentId>,
    /// Further packs that these segments speak of. The snapshot can do without them.
    pub mentioned: BTreeSet<PackId>,
}

impl Shortfall {
    /// What of `needs` a replica with these segments, which stay live, lacks, by the index of all replicas. A pack that no segment
    /// speaks of belongs to the session that asks, or to nobody.
    ///
    /// # Errors
    /// The index's.
    pub fn plan(needs: &BTreeSet<PackId>, live: &[SegmentId], index: &Index) -> Result<Self> {
        let live: BTreeSet<&SegmentId> = live.iter().collect();
        let mut here: BTreeSet<PackId> = BTreeSet::new();
        let mut elsewhere: BTreeMap<SegmentId, Vec<PackId>> = BTreeMap::new();
        for spoken_of in index.segment_packs() {
            let (segment, pack) = spoken_of?;
            if live.contains(&segment) {
                here.insert(pack);
            } else {
                elsewhere.entry(segment).or_default().push(pack);
            }
        }
        let mut shortfall = Self::default();
        for (segment, packs) in elsewhere {
            let is_needed = |pack: &PackId| needs.contains(pack) && !here.contains(pack);
            if !packs.iter().any(is_needed) {
                continue;
            }
            shortfall.segments.insert(segment);
            for pack in packs {
                let list =
                    if needs.contains(&pack) { &mut shortfall.packs } else { &mut shortfall.mentioned };
                list.insert(pack);
            }
        }
        Ok(shortfall)
    }

    /// Whether nothing is lacking.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::PackKind;
    use crate::pack::sample::{owner, pack};
    use crate::segment::SegmentBuilder;

    #[test]
    fn a_replica_lacks_the_needed_packs_that_only_segments_of_others_speak_of() {
        let ring = owner();
        let packs = [b"a", b"b", b"c", b"d"].map(|text| pack(&ring, PackKind::Content, &[&[&text[..]]]));
        let mut index = Index::in_memory(ring.vault);
        let segments: Vec<SegmentId> = packs
            .chunks(2)
            .map(|packs| {
                let mut builder = SegmentBuilder::new(&ring);
                for pack in packs {
                    builder.add_pack(pack.contents.clone()).unwrap();
                }
                let segment = builder.end_segment().unwrap().unwrap();
                index.add(&segment.segment).unwrap();
                segment.id()
            })
            .collect();
        let [a, b, c, d] = packs.map(|pack| pack.pack().id);
        let foreign = PackId::of(b"of this session");
        let plan = |needs: &[PackId], live: &[SegmentId]| {
            Shortfall::plan(&needs.iter().copied().collect(), live, &index).unwrap()
        };
        assert!(plan(&[a, b, c, foreign], &segments).is_empty());
        assert!(plan(&[a, b, foreign], &segments[..1]).is_empty());
        let lacking = plan(&[a, c, foreign], &segments[..1]);
        let expected = Shortfall { packs: [c].into(), segments: [segments[1]].into(), mentioned: [d].into() };
        assert_eq!(lacking, expected);
        assert_eq!(plan(&[a, c], &[]).packs, [a, c].into());
    }
}
