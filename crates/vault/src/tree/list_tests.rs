//! Extent lists against models of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::samples::*;
use super::*;
use crate::entry::{Extent, Extents};

fn build_list(extents: &[Extent], nodes: &mut Nodes) -> (Extents, u64) {
    let mut builder = ExtentListBuilder::new(&KEY);
    for extent in extents {
        builder.push(*extent, nodes).unwrap();
    }
    assert_eq!(builder.count(), extents.len() as u64);
    let size = builder.length();
    (builder.finish(nodes).unwrap(), size)
}

fn placed(extents: &[Extent]) -> Vec<(u64, Extent)> {
    let mut offset = 0;
    let place = |extent: &Extent| {
        offset += extent.length();
        (offset - extent.length(), *extent)
    };
    extents.iter().map(place).collect()
}

fn read_list(nodes: &Nodes, list: &Extents, size: u64, from: u64) -> (Vec<(u64, Extent)>, Vec<ListNodeRef>) {
    let mut stream = ExtentStream::open(nodes, list, size).unwrap();
    stream.seek(from);
    let (mut read, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match block_on(stream.next()) {
            Ok(Some(extent)) => read.push(extent),
            Ok(None) => return (read, gaps),
            Err(error) => {
                assert!(is_loss(&error), "{error}");
                gaps.push(*stream.gap().unwrap());
            }
        }
    }
}

fn sample(count: u64) -> Vec<Extent> {
    let numbers = Numbers::new(count);
    (0..count).map(|_| extent(&numbers)).collect()
}

#[test]
fn lists_of_every_length_come_back() {
    for count in [0, 1, 15, 16, 17, 18, 300, 5000, 120_000] {
        let extents = sample(count);
        let mut nodes = Nodes::default();
        let (list, size) = build_list(&extents, &mut nodes);
        assert_eq!(matches!(list, Extents::Inline(_)), count <= 16);
        let (read, gaps) = read_list(&nodes, &list, size, 0);
        assert!(gaps.is_empty());
        assert!(read == placed(&extents), "{count} extents");
        assert!(nodes.nodes.values().all(|node| node.len() <= 64 << 10));
        if count > 10_000 {
            let average = nodes.nodes.values().map(Vec::len).sum::<usize>() / nodes.nodes.len();
            assert!((2500..7000).contains(&average), "{average}");
        }
    }
}

#[test]
fn a_list_that_repeats_one_digest_ends() {
    let boundary = Boundary(KEY);
    let hits = |digest: &Digest| boundary.ends_list_node(0, digest);
    let digests = (0u64..).map(|i| Digest::of(&i.to_le_bytes()));
    let (Some(hit), Some(miss)) = (digests.clone().find(hits), digests.clone().find(|digest| !hits(digest)))
    else {
        panic!("no digest found")
    };
    for digest in [hit, miss] {
        let extents = vec![Extent::Data { digest, length: 9 }; 20_000];
        let mut nodes = Nodes::default();
        let (list, size) = build_list(&extents, &mut nodes);
        assert!(read_list(&nodes, &list, size, 0).0 == placed(&extents));
    }
    let holes = vec![Extent::Hole { length: 1 }; 40_000];
    let mut nodes = Nodes::default();
    let (list, size) = build_list(&holes, &mut nodes);
    assert!(read_list(&nodes, &list, size, 0).0 == placed(&holes));
}

#[test]
fn a_lost_list_node_costs_its_own_bytes_and_one_error() {
    let extents = sample(30_000);
    let mut nodes = Nodes::default();
    let (list, size) = build_list(&extents, &mut nodes);
    let all: Vec<Digest> = nodes.nodes.keys().copied().collect();
    for lost in all.into_iter().step_by(11) {
        nodes.lost = BTreeSet::from([lost]);
        let (read, gaps) = read_list(&nodes, &list, size, 0);
        let [gap] = &gaps[..] else { panic!("{} gaps", gaps.len()) };
        let in_gap = |offset: u64| (gap.offset..gap.offset + gap.length).contains(&offset);
        let mut expected = placed(&extents);
        expected.retain(|(offset, _)| !in_gap(*offset));
        assert!(read == expected);
        assert_eq!(gap.extents as usize, extents.len() - expected.len());
    }
}

#[test]
fn a_list_that_contradicts_its_entry_is_damaged() {
    let extents = sample(500);
    let mut nodes = Nodes::default();
    let (list, size) = build_list(&extents, &mut nodes);
    let Extents::Listed { root, count } = list else { panic!("the list is short") };
    for (list, size) in [
        (Extents::Listed { root, count }, size + 1),
        (Extents::Listed { root, count: count - 1 }, size),
        (Extents::Listed { root: Digest::default(), count }, size),
    ] {
        let (read, gaps) = read_list(&nodes, &list, size, 0);
        assert_eq!((read.len(), gaps.len()), (0, 1));
    }
    let inline = Extents::Inline(vec![Extent::Hole { length: 5 }]);
    assert_eq!(ExtentStream::open(&nodes, &inline, 6).unwrap_err().kind(), Kind::Damaged);
}

#[derive(Default)]
struct Visitor {
    extents: Vec<(u64, Extent)>,
    nodes: Vec<ListNodeRef>,
    lost: usize,
}

impl ListVisitor for Visitor {
    fn enter(&mut self, node: &ListNodeRef) -> Walk {
        self.nodes.push(*node);
        Walk::Enter
    }

    fn extents(&mut self, extents: &[(u64, Extent)]) {
        self.extents.extend_from_slice(extents);
    }

    fn lost(&mut self, _: &ListNodeRef, _: Error) {
        self.lost += 1;
    }
}

#[test]
fn a_walk_sees_every_list_node_and_every_extent() {
    let extents = sample(3000);
    let mut nodes = Nodes::default();
    let (list, size) = build_list(&extents, &mut nodes);
    let mut visitor = Visitor::default();
    block_on(walk_list(&nodes, &list, size, &mut visitor)).unwrap();
    assert!(visitor.extents == placed(&extents));
    let seen: BTreeSet<_> = visitor.nodes.iter().map(|node| node.digest).collect();
    assert_eq!(seen, nodes.nodes.keys().copied().collect());
    nodes.lost = seen.into_iter().filter(|digest| visitor.nodes.last().unwrap().digest == *digest).collect();
    let mut visitor = Visitor::default();
    block_on(walk_list(&nodes, &list, size, &mut visitor)).unwrap();
    assert_eq!(visitor.lost, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn seek_goes_to_the_extent_that_holds_the_offset(count in 0u64..2000, from: prop::sample::Index) {
        let extents = sample(count);
        let mut nodes = Nodes::default();
        let (list, size) = build_list(&extents, &mut nodes);
        let from = from.index(size as usize + 2) as u64;
        let mut expected = placed(&extents);
        expected.retain(|(offset, extent)| offset + extent.length() > from);
        let (read, gaps) = read_list(&nodes, &list, size, from);
        prop_assert_eq!((read, gaps.len()), (expected, 0));
    }

    #[test]
    fn a_list_node_has_one_encoding_and_damage_never_panics(
        count in 17u64..400,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut nodes = Nodes::default();
        build_list(&sample(count), &mut nodes);
        for node in nodes.nodes.values() {
            prop_assert_eq!(&ListNode::decode(node).unwrap().encode().unwrap(), node);
            let mut damaged = node.clone();
            for (place, value) in &flips {
                let place = place.index(damaged.len());
                damaged[place] = *value;
            }
            if let Ok(decoded) = ListNode::decode(&damaged) {
                prop_assert_eq!(decoded.encode().unwrap(), damaged);
            }
        }
    }
}
