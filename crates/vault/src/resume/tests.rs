use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::entry::{Extent, Extents, FileTime, TreePath};
use crate::id::{Digest, ObjectId, SessionId, VaultId};
use crate::keys::{KeyRing, Role};
use crate::object::session_path;
use crate::pack::{PackKind, PackRef};
use crate::store::Store;
use crate::{Error, Kind};

const SESSION: SessionId = SessionId([4; 16]);

fn ring() -> KeyRing {
    KeyRing::create(VaultId([1; 16]))
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn file(path: &str, offset: u64) -> PartialFile {
    let blocks = (offset - 1) / HASH_BLOCK_BYTES;
    let subtrees = (0..blocks.count_ones()).map(|bit| [bit as u8; 32]).collect();
    PartialFile {
        path: TreePath::new(path).unwrap(),
        size: offset + 10,
        mtime: FileTime { seconds: -5, nanos: 999_999_999 },
        ctime: FileTime { seconds: 5, nanos: 0 },
        inode: u64::MAX,
        profile: 1,
        offset,
        extents: Extents::Inline(vec![Extent::Hole { length: offset }]),
        hash: HashState::of_blocks(blocks, subtrees),
    }
}

fn sample() -> Checkpoint {
    let mark = |byte| PackMark {
        pack: PackRef { id: ObjectId([byte; 32]), kind: PackKind::Metadata, size: 1 << 20 },
        digest: digest(byte),
    };
    let tree = |byte, last: &str| PartialTree {
        root: digest(byte),
        level: byte,
        last: TreePath::new(last).unwrap(),
    };
    let listed = Extents::Listed { root: digest(9), count: 17 };
    Checkpoint {
        shelf: Shelf { segments: vec![ObjectId([7; 32]), ObjectId([6; 32])], packs: vec![mark(1), mark(2)] },
        trees: vec![tree(0, ""), tree(3, "a/b")],
        files: vec![file("a", 1), file("a/c", 1 << 40), PartialFile { extents: listed, ..file("b", 70_000) }],
    }
}

#[test]
fn a_checkpoint_is_opened_by_its_author_at_its_own_place_only() {
    let ring = ring();
    let (place, own) = (Place { session: SESSION, k: 3 }, ring.signing.verify_key());
    let bytes = sample().seal(place, &ring).unwrap();
    assert_eq!(Checkpoint::open(&bytes, place, &ring, &own).unwrap(), sample());
    for other in [Place { k: 4, ..place }, Place { session: SessionId([5; 16]), ..place }] {
        assert_eq!(Checkpoint::open(&bytes, other, &ring, &own).unwrap_err().kind(), Kind::Damaged);
    }
    let writer = ring.issue(Role::Writer, &[]).unwrap();
    let stranger = writer.signing.verify_key();
    assert_eq!(Checkpoint::open(&bytes, place, &ring, &stranger).unwrap_err().kind(), Kind::Damaged);
    // A keeper of the vault's names reads a writer's, another writer does not.
    let bytes = sample().seal(place, &writer).unwrap();
    assert_eq!(Checkpoint::open(&bytes, place, &ring, &stranger).unwrap(), sample());
    let other = ring.issue(Role::Writer, &[]).unwrap();
    assert_eq!(Checkpoint::open(&bytes, place, &other, &stranger).unwrap_err().kind(), Kind::Forbidden);
    let successor = ring.issue(Role::Writer, &[writer.writer_id()]).unwrap();
    assert_eq!(Checkpoint::open(&bytes, place, &successor, &stranger).unwrap(), sample());
}

#[test]
fn every_flipped_byte_is_noticed() {
    let ring = ring();
    let place = Place { session: SESSION, k: 0 };
    let bytes = sample().seal(place, &ring).unwrap();
    for index in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[index] ^= 1;
        assert!(Checkpoint::open(&bad, place, &ring, &ring.signing.verify_key()).is_err(), "{index}");
    }
}

#[test]
fn what_breaks_a_rule_is_refused() {
    type Breakage = fn(&mut Checkpoint);
    let breakages: [(&str, Breakage); 10] = [
        ("trees out of order", |it| it.trees.reverse()),
        ("files out of order", |it| it.files.reverse()),
        ("a file twice", |it| it.files.push(file("b", 5))),
        ("too many trees", |it| {
            let more = (0..9).map(|n| PartialTree {
                last: TreePath::new(format!("z{n}")).unwrap(),
                ..it.trees[0].clone()
            });
            it.trees = more.collect();
        }),
        ("nothing stored", |it| it.files[0] = PartialFile { offset: 0, ..it.files[0].clone() }),
        ("beyond the end", |it| it.files[1].size = it.files[1].offset - 1),
        ("extents of another length", |it| it.files[0].extents = Extents::Inline(Vec::new())),
        ("few extents in a list", |it| it.files[2].extents = Extents::Listed { root: digest(1), count: 16 }),
        ("hashed to the offset", |it| {
            it.files[0] = PartialFile { hash: HashState::of_blocks(1, vec![[0; 32]]), ..file("a", 65_536) };
        }),
        ("impossible time", |it| it.files[0].mtime.nanos = 1_000_000_000),
    ];
    let place = Place { session: SESSION, k: 0 };
    for (what, breakage) in breakages {
        let mut checkpoint = sample();
        breakage(&mut checkpoint);
        assert!(Checkpoint::decode(&checkpoint.encode()).is_err(), "{what}");
        assert_eq!(checkpoint.seal(place, &ring()).unwrap_err().kind(), Kind::Bug, "{what}");
    }
}

proptest! {
    #[test]
    fn whatever_is_decoded_has_this_one_spelling(mut bytes in Just(sample().encode()), at: prop::sample::Index, byte: u8) {
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(checkpoint) = Checkpoint::decode(&bytes) {
            prop_assert_eq!(checkpoint.encode(), bytes);
        }
    }
}

async fn store_with(checkpoints: u64, ring: &KeyRing) -> Store {
    let store = Store::memory();
    for k in 0..checkpoints {
        let placed = put(&store, Place { session: SESSION, k }, ring, &numbered(k)).await.unwrap();
        assert_eq!(placed.k, k);
    }
    store
}

fn numbered(k: u64) -> Checkpoint {
    let segments = (0..k).map(|number| ObjectId([number as u8; 32])).collect();
    Checkpoint { shelf: Shelf { segments, packs: Vec::new() }, ..Checkpoint::default() }
}

#[tokio::test]
async fn the_last_of_any_number_is_found() {
    let ring = ring();
    let own = ring.signing.verify_key();
    for count in [0, 1, 2, 3, 4, 5, 8, 9, 23] {
        let store = store_with(count, &ring).await;
        let found = find(&store, SESSION, &ring, &own).await.unwrap();
        assert_eq!(found.next, count);
        assert_eq!(found.checkpoint, count.checked_sub(1).map(numbered));
        assert_eq!(found.problems, []);
    }
}

#[tokio::test]
async fn damaged_ones_are_passed_over_for_the_ones_before_them() {
    let ring = ring();
    let store = store_with(5, &ring).await;
    for k in [3, 4] {
        let path = session_path(SESSION, k);
        store.delete(&path).await.unwrap();
        store.put(&path, Bytes::from_static(b"garbage")).await.unwrap();
    }
    let found = find(&store, SESSION, &ring, &ring.signing.verify_key()).await.unwrap();
    assert_eq!((found.next, found.checkpoint), (5, Some(numbered(2))));
    assert_eq!(found.problems.len(), 2);
}

#[tokio::test]
async fn a_place_that_is_taken_is_passed_over() -> Result<(), Error> {
    let ring = ring();
    let store = store_with(2, &ring).await;
    let placed = put(&store, Place { session: SESSION, k: 0 }, &ring, &numbered(9)).await?;
    assert_eq!(placed, Place { session: SESSION, k: 2 });
    let found = find(&store, SESSION, &ring, &ring.signing.verify_key()).await?;
    assert_eq!(found.checkpoint, Some(numbered(9)));
    Ok(())
}
