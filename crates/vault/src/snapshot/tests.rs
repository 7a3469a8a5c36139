//! Snapshots of two writers, an owner and a keeper.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::Digest;
use crate::keys::Role;
use crate::keys::ring::{index_key, tree_key};
use crate::suite::{Secret, SigningKey, generate_read_pair};

const VAULT: VaultId = VaultId([9; 16]);

fn ring(role: Role, seed: u8) -> KeyRing {
    let signing = SigningKey::from_seed(Secret([seed; 32]));
    let metadata = Secret([1; 32]);
    let writer = signing.verify_key().writer_id();
    let reads_all = role != Role::Writer;
    let own = ((writer, 1), tree_key(&metadata, writer));
    KeyRing {
        vault: VAULT,
        role,
        signing,
        chunk_id: Secret([2; 32]),
        gear: None,
        boundary: None,
        read_public: (1, generate_read_pair().0),
        read_secrets: BTreeMap::new(),
        trees: if reads_all { BTreeMap::new() } else { BTreeMap::from([own]) },
        index: BTreeMap::from([(1, index_key(&metadata))]),
        metadata: if reads_all { BTreeMap::from([(1, metadata)]) } else { BTreeMap::new() },
        predecessors: Vec::new(),
    }
}

fn known(rings: &[&KeyRing]) -> impl Fn(WriterId) -> Option<VerifyKey> + use<> {
    let keys: BTreeMap<_, _> =
        rings.iter().map(|ring| (ring.writer_id(), ring.signing.verify_key())).collect();
    move |author| keys.get(&author).copied()
}

fn draft() -> Draft {
    let mut unread = UnreadList::default();
    for kind in [UnreadKind::Unreadable, UnreadKind::Vanished, UnreadKind::Changed] {
        unread.add(Unread { path: b"a\xff/b".to_vec(), kind, message: "permission denied".into() });
    }
    Draft {
        sequence: 4,
        parent: Some(ObjectId([5; 32])),
        time: Timestamp(-7),
        contents: Contents {
            tree: TreeRoot { digest: Digest([6; 32]), level: 2 },
            roots: Roots { manifest: [7; 32], content: [8; 32] },
            source: "host:/srv".into(),
            host: "host".into(),
            paths: vec![b"/srv".to_vec(), b"/\xff".to_vec()],
            tags: vec!["daily".into()],
            excludes: vec!["*.tmp".into()],
            one_file_system: true,
            counts: Counts { files: 300, bytes: 1 << 50, ..Counts::default() },
            started: Timestamp(1),
            finished: Timestamp(2),
            unread,
            need: vec![(ObjectId([1; 32]), 3), (ObjectId([2; 32]), 1 << 40)],
            program: "shudao 0.1.0".into(),
        },
    }
}

#[test]
fn a_snapshot_opens_for_its_author_owner_and_keeper_but_not_for_another_writer() {
    let author = ring(Role::Writer, 1);
    let (owner, keeper, other) = (ring(Role::Owner, 2), ring(Role::Keeper, 3), ring(Role::Writer, 4));
    let keys = known(&[&author, &owner]);
    let bytes = draft().seal(&author).unwrap();
    for reader in [&author, &owner, &keeper] {
        let snapshot = Snapshot::decode(&bytes, reader, &keys).unwrap();
        assert_eq!(snapshot.contents, draft().contents);
        assert_eq!(snapshot.outer.author, author.writer_id());
        assert!(snapshot.outer.commits_to(&snapshot.salt, &snapshot.contents.roots));
    }
    assert_eq!(Snapshot::decode(&bytes, &other, &keys).unwrap_err().kind(), Kind::Forbidden);
    let outer = SnapshotOuter::verify(&bytes, VAULT, &keys).unwrap();
    assert_eq!((outer.sequence, outer.time, outer.parent), (4, Timestamp(-7), Some(ObjectId([5; 32]))));
    assert_eq!(outer.id, ObjectId::of(&bytes));
    assert_eq!(outer.source, other.source_id("host:/srv"));
}

#[test]
fn equal_snapshots_have_different_commitments() {
    let author = ring(Role::Writer, 1);
    let outer = |bytes: Vec<u8>| SnapshotOuter::decode(&bytes, VAULT).unwrap();
    let (a, b) = (outer(draft().seal(&author).unwrap()), outer(draft().seal(&author).unwrap()));
    assert_ne!(a.commitment, b.commitment);
    assert_eq!(a.tree_root, b.tree_root);
}

#[test]
fn a_snapshot_by_an_unknown_key_is_damaged() {
    let author = ring(Role::Writer, 1);
    let bytes = draft().seal(&author).unwrap();
    let wrong_key = SigningKey::from_seed(Secret([7; 32])).verify_key();
    let nobody = |_: WriterId| None;
    let impostor = |_: WriterId| Some(wrong_key);
    assert_eq!(SnapshotOuter::verify(&bytes, VAULT, nobody).unwrap_err().kind(), Kind::Damaged);
    assert_eq!(SnapshotOuter::verify(&bytes, VAULT, impostor).unwrap_err().kind(), Kind::Damaged);
    assert_eq!(Snapshot::decode(&bytes, &author, impostor).unwrap_err().kind(), Kind::Damaged);
}

/// What a dishonest author can do: sign an object whose parts contradict each other.
fn resign(mut bytes: Vec<u8>, author: &KeyRing, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    bytes.truncate(bytes.len() - SIGNATURE_BYTES);
    change(&mut bytes);
    let signature = author.signing.sign(SIGNATURE_DOMAIN, &bytes);
    bytes.extend_from_slice(&signature.0);
    bytes
}

#[test]
fn an_author_who_contradicts_himself_is_refused() {
    let (author, owner) = (ring(Role::Writer, 1), ring(Role::Owner, 2));
    let keys = known(&[&author]);
    let bytes = draft().seal(&author).unwrap();
    let source = object::HEADER_BYTES;
    let tree_root = source + 16 + 8 + 33 + 8;
    let places = [("source", source), ("tree root", tree_root), ("commitment", tree_root + 32)];
    for (what, place) in places {
        let lie = resign(bytes.clone(), &author, |bytes| bytes[place] ^= 1);
        SnapshotOuter::verify(&lie, VAULT, &keys).unwrap();
        assert_eq!(Snapshot::decode(&lie, &owner, &keys).unwrap_err().kind(), Kind::Damaged, "{what}");
    }
}

#[test]
fn no_byte_of_a_snapshot_can_be_changed_or_cut_off() {
    let author = ring(Role::Writer, 1);
    let keys = known(&[&author]);
    let bytes = draft().seal(&author).unwrap();
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1;
        assert!(SnapshotOuter::verify(&bad, VAULT, &keys).is_err(), "{i}");
        assert!(SnapshotOuter::decode(&bytes[..i], VAULT).is_err(), "{i}");
    }
}

type Spoil<'a> = &'a dyn Fn(&mut Draft);

#[test]
fn contents_that_break_a_rule_are_not_sealed() {
    let author = ring(Role::Writer, 1);
    let cases: [(&str, Spoil); 6] = [
        ("sequence", &|d| d.sequence = 0),
        ("level", &|d| d.contents.tree.level = 64),
        ("order of packs", &|d| d.contents.need.reverse()),
        ("pack not needed", &|d| d.contents.need[0].1 = 0),
        ("total of unread paths", &|d| d.contents.unread.total = 2),
        ("long host", &|d| d.contents.host = "h".repeat(4097)),
    ];
    for (what, spoil) in cases {
        let mut bad = draft();
        spoil(&mut bad);
        assert_eq!(bad.seal(&author).unwrap_err().kind(), Kind::Bug, "{what}");
    }
}

#[test]
fn unread_paths_beyond_the_limit_are_counted_only() {
    let mut list = UnreadList::default();
    for _ in 0..UNREAD_MAX + 5 {
        list.add(Unread { path: Vec::new(), kind: UnreadKind::Vanished, message: String::new() });
    }
    assert_eq!((list.items.len(), list.total), (UNREAD_MAX, UNREAD_MAX as u64 + 5));
}

proptest! {
    #[test]
    fn sealed_contents_have_one_encoding_and_damage_never_panics(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut: prop::sample::Index,
    ) {
        let mut bytes = draft().contents.encode(&[3; 32]).unwrap();
        prop_assert!(Contents::decode(&bytes[..cut.index(bytes.len())]).is_err());
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok((contents, salt)) = Contents::decode(&bytes) {
            prop_assert_eq!(contents.encode(&salt).unwrap(), bytes);
        }
    }
}
