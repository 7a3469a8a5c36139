use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::Encoder;

const VAULT: VaultId = VaultId([7; 16]);

fn pack(n: u16) -> PackId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    ObjectId(id)
}

fn packs(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<PackId> {
    numbers.into_iter().map(pack).collect()
}

fn id_of(list: &NeedList) -> NeedListId {
    NeedListId::of(&list.encode(VAULT))
}

proptest! {
    #[test]
    fn chains_of_lists_resolve_to_what_was_listed(
        steps in prop::collection::vec(prop::collection::vec((any::<bool>(), 0u16..300), 0..6), 1..80),
    ) {
        let mut wanted = packs(0..100);
        let mut chain: Vec<(NeedListId, NeedList)> = Vec::new();
        let mut listed = BTreeSet::new();
        for step in steps {
            for (add, number) in step {
                if add { wanted.insert(pack(number)); } else { wanted.remove(&pack(number)); }
            }
            let base = chain.last().map(|(id, list)| NeedBase { id: *id, depth: list.depth(), packs: &listed });
            let list = NeedList::plan_next(base, &wanted);
            prop_assert_eq!(&NeedList::decode(&list.encode(VAULT), VAULT).unwrap(), &list);
            if list.base().is_none() {
                chain.clear();
            }
            chain.push((id_of(&list), list));
            prop_assert!(chain.len() <= 32);
            listed = NeedList::resolve(&chain).unwrap();
            prop_assert_eq!(&listed, &wanted);
        }
    }

    #[test]
    fn any_list_bytes_decode_to_their_one_form_or_fail(
        junk in prop::collection::vec(any::<u8>(), 0..200),
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut out = object::start(ObjectKind::NeedList, VAULT);
        out.raw(&junk);
        let base = packs([1, 2, 3, 4, 5]);
        let base = NeedBase { id: NeedListId::default(), depth: 3, packs: &base };
        let mut patched = NeedList::plan_next(Some(base), &packs([2, 3, 4, 5, 9])).encode(VAULT);
        for (position, byte) in patches {
            let position = position.index(patched.len());
            patched[position] = byte;
        }
        for bytes in [out.finish(), patched] {
            if let Ok(list) = NeedList::decode(&bytes, VAULT) {
                prop_assert_eq!(list.encode(VAULT), bytes);
            }
        }
    }
}

#[test]
fn every_thirty_second_list_is_full_and_so_is_one_that_changes_more_than_it_lists() {
    let mut wanted = packs(0..1000);
    let mut list = NeedList::plan_next(None, &wanted);
    for n in 1..100u16 {
        let parent = wanted.clone();
        wanted.insert(pack(1000 + n));
        let base = NeedBase { id: id_of(&list), depth: list.depth(), packs: &parent };
        list = NeedList::plan_next(Some(base), &wanted);
        assert_eq!(u16::from(list.depth()), n % 32);
        assert_eq!(list.encode(VAULT).len() < 200, n % 32 != 0);
    }
    let base = NeedBase { id: id_of(&list), depth: 0, packs: &wanted };
    assert_eq!(NeedList::plan_next(Some(base), &packs(2000..2010)).depth(), 0);
    assert_eq!(NeedList::plan_next(Some(base), &BTreeSet::new()).depth(), 0);
}

#[test]
fn lists_that_do_not_belong_together_do_not_resolve() {
    let (first, second) = (packs(0..50), packs(1..52));
    let full = NeedList::plan_next(None, &first);
    let base = NeedBase { id: id_of(&full), depth: 0, packs: &first };
    let change = NeedList::plan_next(Some(base), &second);
    let (full, change) = ((id_of(&full), full), (id_of(&change), change));
    let other = NeedList::plan_next(None, &packs(7..60));
    let other = (id_of(&other), other);
    assert_eq!(NeedList::resolve(&[full.clone(), change.clone()]).unwrap(), second);
    for chain in
        [vec![], vec![change.clone()], vec![other.clone(), change.clone()], vec![full.clone(), other]]
    {
        assert!(NeedList::resolve(&chain).is_err(), "{chain:?}");
    }
    assert!(NeedList::resolve(&[full.clone(), change.clone(), change.clone()]).is_err());
    assert!(change.1.apply(packs(7..60)).is_err());
}

#[test]
fn counts_read_from_a_snapshot_subtract_only_under_a_complete_index() {
    let mut counts = NeedCounts::new();
    counts.add(pack(1));
    counts.add(pack(2));
    let mut out = Encoder::new();
    counts.encode(&mut out);
    let bytes = out.finish();
    let mut read = NeedCounts::decode(&mut Decoder::new(&bytes, "counts")).unwrap();
    read.remove(&[pack(1)]);
    assert_eq!(read.packs(), packs([1, 2]), "not checked yet");
    assert!(!read.trust_index([pack(1), pack(9)]));
    read.remove(&[pack(1)]);
    assert_eq!(read.packs(), packs([1, 2]), "pack 2 may hold the chunk too");
    assert!(read.trust_index([pack(2), pack(1), pack(9)]));
    read.remove(&[pack(1), pack(1), pack(9)]);
    assert_eq!(read.iter().collect::<Vec<_>>(), [(pack(2), 1)]);
    read.remove(&[pack(7)]);
    read.remove(&[]);
    assert_eq!(read.packs(), packs([2]));
}

#[derive(Debug, Clone)]
enum Step {
    /// A chunk gets one more place.
    Store { chunk: u8, pack: u16 },
    /// The snapshot refers to a chunk at one of its places.
    Refer { chunk: u8, place: prop::sample::Index },
    /// The snapshot drops one of its references.
    Drop { reference: prop::sample::Index },
    /// The next snapshot begins with what this one recorded.
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u8..20, 0u16..12).prop_map(|(chunk, pack)| Step::Store { chunk, pack }),
        4 => (0u8..20, any::<prop::sample::Index>()).prop_map(|(chunk, place)| Step::Refer { chunk, place }),
        3 => any::<prop::sample::Index>().prop_map(|reference| Step::Drop { reference }),
        1 => Just(Step::Commit),
    ]
}

proptest! {
    #[test]
    fn what_is_needed_stays_listed_whatever_the_history(steps in prop::collection::vec(step(), 1..300)) {
        let mut places: BTreeMap<u8, Vec<PackId>> = BTreeMap::new();
        // What the format does not record: which pack each reference was credited to.
        let mut references: Vec<(u8, PackId)> = Vec::new();
        let mut counts = NeedCounts::new();
        for step in steps {
            match step {
                Step::Store { chunk, pack: number } => places.entry(chunk).or_default().push(pack(number)),
                Step::Refer { chunk, place } => {
                    if let Some(places) = places.get(&chunk) {
                        let chosen = places[place.index(places.len())];
                        references.push((chunk, chosen));
                        counts.add(chosen);
                    }
                }
                Step::Drop { reference } if !references.is_empty() => {
                    let (chunk, _) = references.swap_remove(reference.index(references.len()));
                    counts.remove(&places[&chunk]);
                }
                Step::Drop { .. } => {}
                Step::Commit => {
                    let mut out = Encoder::new();
                    counts.encode(&mut out);
                    let bytes = out.finish();
                    counts = NeedCounts::decode(&mut Decoder::new(&bytes, "counts")).unwrap();
                    prop_assert!(counts.trust_index(places.values().flatten().copied()));
                }
            }
            let listed = counts.packs();
            let needed: BTreeSet<PackId> = references.iter().map(|(_, pack)| *pack).collect();
            prop_assert!(listed.is_superset(&needed));
            if places.values().all(|places| places.iter().collect::<BTreeSet<_>>().len() == 1) {
                prop_assert_eq!(listed, needed, "without duplicates the list is exact");
            }
        }
    }
}
