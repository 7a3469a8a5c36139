use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::segment::{SegmentChunk, SegmentClear, SegmentFrame};

const VAULT: VaultId = VaultId([7; 16]);

fn hash(domain: u8, n: u64) -> [u8; 32] {
    *blake3::hash(&[&[domain][..], &n.to_le_bytes()].concat()).as_bytes()
}

fn chunk_id(n: u64) -> ChunkId {
    ChunkId(hash(b'c', n))
}

/// Segment `n` with chunks of these names, in two packs of several frames; some names occur more than once.
fn segment(n: u64, chunks: &[ChunkId]) -> Segment {
    let mut packs: Vec<PackRef> = [PackKind::Content, PackKind::Metadata]
        .into_iter()
        .enumerate()
        .map(|(i, kind)| PackRef { id: PackId::of(&hash(b'p', 2 * n + i as u64)), kind, size: 1 << 24 })
        .collect();
    packs.sort_unstable();
    let frame = |i: u64| SegmentFrame {
        pack: (i >= 4) as u32,
        key: KeyId([n as u8; 16]),
        counter: i as u32,
        offset: 300 + 1000 * i,
        stored_length: 900,
        plain_length: 1 << 20,
        writer: WriterId([i as u8; 16]),
    };
    let place = |(i, id): (usize, &ChunkId)| SegmentChunk {
        id: *id,
        frame: (i % 7) as u32,
        offset: i as u32,
        length: 1 + i as u32 % 50,
    };
    let mut chunks: Vec<SegmentChunk> = chunks.iter().enumerate().map(place).collect();
    chunks.sort_unstable();
    let clear = SegmentClear { id: segment_id(n), author: WriterId([n as u8; 16]), packs };
    Segment { clear, frames: (0..7).map(frame).collect(), chunks }
}

fn segment_id(n: u64) -> SegmentId {
    SegmentId::of(&hash(b's', n))
}

/// What an index of exactly these segments must answer, sorted.
fn expected(segments: &[&Segment], id: &ChunkId, space: ChunkSpace) -> Vec<Location> {
    let mut found = Vec::new();
    for segment in segments {
        for chunk in segment.chunks.iter().filter(|chunk| chunk.id == *id) {
            let frame = &segment.frames[chunk.frame as usize];
            let pack = segment.clear.packs[frame.pack as usize];
            if pack.kind.space() == space {
                found.push(Location {
                    pack: pack.id,
                    pack_kind: pack.kind,
                    key: frame.key,
                    counter: frame.counter,
                    frame_offset: frame.offset,
                    stored_length: frame.stored_length,
                    frame_length: frame.plain_length,
                    offset: chunk.offset,
                    length: chunk.length,
                    writer: frame.writer,
                    author: segment.clear.author,
                    segment: segment.clear.id,
                });
            }
        }
    }
    found.sort_unstable();
    found
}

fn assert_answers(index: &Index, live: &[&Segment], names: impl IntoIterator<Item = u64>) {
    for n in names {
        for space in [ChunkSpace::Content, ChunkSpace::Metadata] {
            let mut found = index.lookup(&chunk_id(n), space).unwrap();
            found.sort_unstable();
            assert_eq!(found, expected(live, &chunk_id(n), space), "chunk {n}");
        }
    }
    assert_eq!(index.chunks(), live.iter().map(|segment| segment.chunks.len() as u64).sum::<u64>());
    let mut packs: Vec<_> = index.packs().map(|pack| pack.unwrap()).collect();
    let mut wanted: Vec<_> = live
        .iter()
        .flat_map(|segment| {
            segment.clear.packs.iter().map(|pack| IndexedPack {
                pack: *pack,
                author: segment.clear.author,
                segment: segment.clear.id,
            })
        })
        .collect();
    packs.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(packs, wanted);
}

fn names(range: std::ops::Range<u64>) -> Vec<ChunkId> {
    range.map(chunk_id).collect()
}

fn run_files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "run"))
        .collect();
    paths.sort();
    paths
}

#[derive(Debug, Clone)]
enum Step {
    Add { segment: u64, chunks: Vec<u64> },
    Commit,
    Reopen,
    Retain { dead: Vec<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..40, prop::collection::vec(0u64..400, 0..250))
            .prop_map(|(segment, chunks)| Step::Add { segment, chunks }),
        5 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        2 => prop::collection::vec(0u64..40, 0..6).prop_map(|dead| Step::Retain { dead }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_index_answers_as_a_map_would(steps in prop::collection::vec(step(), 1..60)) {
        let temp = TempDir::new().unwrap();
        let mut index = Index::open(temp.path(), VAULT).unwrap();
        let mut memory = Index::in_memory(VAULT);
        let mut store: BTreeMap<u64, Segment> = BTreeMap::new();
        let mut live: BTreeSet<u64> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Add { segment: n, chunks } => {
                    let chunks: Vec<_> = chunks.into_iter().map(chunk_id).collect();
                    let added = store.entry(n).or_insert_with(|| segment(n, &chunks));
                    live.insert(n);
                    index.add(added).unwrap();
                    memory.add(added).unwrap();
                }
                Step::Commit => {
                    index.commit().unwrap();
                    memory.commit().unwrap();
                    prop_assert!(run_files(temp.path()).len() <= RUNS_MAX);
                }
                Step::Reopen => {
                    drop(index);
                    index = Index::open(temp.path(), VAULT).unwrap();
                    index.retain(&live.iter().map(|n| segment_id(*n)).collect());
                }
                Step::Retain { dead } => {
                    live.retain(|n| !dead.contains(n));
                    let ids = live.iter().map(|n| segment_id(*n)).collect();
                    index.retain(&ids);
                    memory.retain(&ids);
                }
            }
            for n in &live {
                for each in [&mut index, &mut memory] {
                    if !each.missing(&[segment_id(*n)]).is_empty() {
                        each.add(&store[n]).unwrap();
                    }
                }
            }
        }
        let live: Vec<&Segment> = live.iter().map(|n| &store[n]).collect();
        assert_answers(&index, &live, 0..420);
        assert_answers(&memory, &live, 0..420);
    }

    #[test]
    fn a_damaged_cache_is_never_believed(
        damage in prop_oneof![
            (any::<prop::sample::Index>(), 1u8..).prop_map(|(position, flip)| (position, Some(flip))),
            any::<prop::sample::Index>().prop_map(|position| (position, None)),
        ],
    ) {
        let temp = TempDir::new().unwrap();
        let segments: Vec<Segment> = (0..3).map(|n| segment(n, &names(200 * n..200 * n + 300))).collect();
        let live: Vec<&Segment> = segments.iter().collect();
        let ids: Vec<SegmentId> = live.iter().map(|segment| segment.clear.id).collect();
        let mut index = Index::open(temp.path(), VAULT).unwrap();
        for segment in &segments {
            index.add(segment).unwrap();
        }
        index.commit().unwrap();
        drop(index);

        let path = run_files(temp.path()).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let position = damage.0.index(bytes.len());
        match damage.1 {
            Some(flip) => bytes[position] ^= flip,
            None => bytes.truncate(position),
        }
        fs::write(&path, bytes).unwrap();

        let mut index = Index::open(temp.path(), VAULT).unwrap();
        let mut refused = !index.missing(&ids).is_empty();
        for n in 0..800 {
            match index.lookup(&chunk_id(n), ChunkSpace::Content) {
                Ok(mut found) if !refused => {
                    found.sort_unstable();
                    prop_assert_eq!(found, expected(&live, &chunk_id(n), ChunkSpace::Content));
                }
                Ok(found) => prop_assert!(found.is_empty()),
                Err(error) => {
                    prop_assert_eq!(error.kind(), Kind::Damaged);
                    prop_assert!(!path.exists());
                    refused = true;
                    break;
                }
            }
        }
        if refused {
            prop_assert_eq!(index.missing(&ids).len(), 3);
            index.retain(&ids.iter().copied().collect());
            for segment in &segments {
                index.add(segment).unwrap();
            }
            index.commit().unwrap();
            drop(index);
            index = Index::open(temp.path(), VAULT).unwrap();
        }
        if index.packs().all(|pack| pack.is_ok()) {
            assert_answers(&index, &live, 0..800);
        }
    }
}

#[test]
fn large_segments_are_spilled_and_runs_stay_few() {
    let temp = TempDir::new().unwrap();
    let mut index = Index::open(temp.path(), VAULT).unwrap();
    let segments: Vec<Segment> = (0..11).map(|n| segment(n, &names(40_000 * n..40_000 * (n + 1)))).collect();
    for segment in &segments {
        index.add(segment).unwrap();
        assert!(index.batch.len() <= 65_536);
    }
    assert!(run_files(temp.path()).len() <= RUNS_MAX);
    index.commit().unwrap();
    let live: Vec<&Segment> = segments.iter().collect();
    assert_answers(&index, &live, (0..440_000).step_by(997));
    for n in 440_000..450_000 {
        assert!(index.lookup(&chunk_id(n), ChunkSpace::Content).unwrap().is_empty());
    }
    let bytes: u64 = run_files(temp.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 48 * 440_000, "{bytes}");
}

#[test]
fn dead_segments_are_left_out_when_their_run_is_rewritten() {
    let temp = TempDir::new().unwrap();
    let mut index = Index::open(temp.path(), VAULT).unwrap();
    let segments: Vec<Segment> = (0..4).map(|n| segment(n, &names(500 * n..500 * (n + 1)))).collect();
    for segment in &segments {
        index.add(segment).unwrap();
    }
    index.commit().unwrap();
    let size = || run_files(temp.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let before = size();
    let ids: Vec<SegmentId> = segments.iter().map(|segment| segment.clear.id).collect();

    index.retain(&ids[..2].iter().copied().collect());
    assert_answers(&index, &[&segments[0], &segments[1]], 0..2000);
    index.retain(&ids.iter().copied().collect());
    assert_answers(&index, &segments.iter().collect::<Vec<_>>(), 0..2000);

    index.retain(&ids[..2].iter().copied().collect());
    index.commit().unwrap();
    assert!(size() < before * 2 / 3, "{before} to {}", size());
    assert_answers(&index, &[&segments[0], &segments[1]], 0..2000);
    assert_eq!(index.missing(&ids), ids[2..]);

    index.retain(&BTreeSet::new());
    index.commit().unwrap();
    assert_eq!((run_files(temp.path()).len(), index.chunks()), (0, 0));
}

#[test]
fn names_with_a_common_prefix_over_many_pages_are_all_found() {
    let temp = TempDir::new().unwrap();
    let mut index = Index::open(temp.path(), VAULT).unwrap();
    let crafted = |n: u64| {
        let mut id = [9; 32];
        id[24..].copy_from_slice(&n.to_be_bytes());
        ChunkId(id)
    };
    let many: Vec<ChunkId> = (0..1000).map(crafted).chain(names(0..1000)).collect();
    let first = segment(1, &many);
    let same: Vec<ChunkId> = vec![crafted(5); 300];
    let second = segment(2, &same);
    index.add(&first).unwrap();
    index.add(&second).unwrap();
    index.commit().unwrap();
    for n in [0, 1, 5, 500, 999] {
        for space in [ChunkSpace::Content, ChunkSpace::Metadata] {
            let mut found = index.lookup(&crafted(n), space).unwrap();
            found.sort_unstable();
            assert_eq!(found, expected(&[&first, &second], &crafted(n), space));
        }
    }
    assert!(index.lookup(&crafted(1000), ChunkSpace::Content).unwrap().is_empty());
}

#[test]
fn a_directory_shared_by_two_indexes_serves_both() {
    let temp = TempDir::new().unwrap();
    let (one, two, both) = (segment(1, &names(0..300)), segment(2, &names(200..500)), [1, 2]);
    let mut first = Index::open(temp.path(), VAULT).unwrap();
    let mut second = Index::open(temp.path(), VAULT).unwrap();
    fs::write(temp.path().join("temporary-1-1"), b"being written by someone").unwrap();
    first.add(&one).unwrap();
    first.commit().unwrap();
    second.add(&one).unwrap();
    second.add(&two).unwrap();
    second.commit().unwrap();
    assert_answers(&first, &[&one], 0..500);
    assert_answers(&second, &[&one, &two], 0..500);
    assert_eq!(run_files(temp.path()).len(), 2);

    let third = Index::open(temp.path(), VAULT).unwrap();
    assert!(temp.path().join("temporary-1-1").exists(), "others are at work");
    assert!(third.missing(&both.map(segment_id)).is_empty());
    assert_answers(&third, &[&one, &two], 0..500);
    drop((first, second, third));
    let alone = Index::open(temp.path(), VAULT).unwrap();
    assert_answers(&alone, &[&one, &two], 0..500);
    assert_eq!(run_files(temp.path()).len(), 1, "the run that another covers is gone");
    assert!(!temp.path().join("temporary-1-1").exists());
}

#[test]
fn runs_of_another_vault_are_not_used() {
    let temp = TempDir::new().unwrap();
    let mut index = Index::open(temp.path(), VAULT).unwrap();
    index.add(&segment(1, &names(0..10))).unwrap();
    index.commit().unwrap();
    drop(index);
    let other = Index::open(temp.path(), VaultId([8; 16])).unwrap();
    assert_eq!(other.chunks(), 0);
    assert!(run_files(temp.path()).is_empty());
}

#[test]
fn several_threads_look_up_at_once() {
    let temp = TempDir::new().unwrap();
    let mut index = Index::open(temp.path(), VAULT).unwrap();
    let one = segment(1, &names(0..5000));
    index.add(&one).unwrap();
    index.commit().unwrap();
    let hits = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for start in 0..4u64 {
            let (index, hits) = (&index, &hits);
            scope.spawn(move || {
                for n in (start..5000).step_by(4) {
                    let spaces = [ChunkSpace::Content, ChunkSpace::Metadata];
                    let found = spaces.map(|space| index.lookup(&chunk_id(n), space).unwrap().len());
                    hits.fetch_add(found.iter().sum(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(hits.into_inner(), 5000);
}

#[test]
fn the_smallest_runs_are_merged_so_that_sizes_stay_apart() {
    for (sizes, start) in [
        (&[1; 9][..], 0),
        (&[100, 50, 20, 10, 5, 4, 3, 2, 1], 2),
        (&[640, 320, 160, 80, 40, 20, 10, 5, 2], 7),
        (&[1000, 8, 1, 1, 1, 1, 1, 1, 1], 2),
        (&[1000, 7, 1, 1, 1, 1, 1, 1, 1], 1),
        (&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1),
    ] {
        assert_eq!(merge_start(sizes), start, "{sizes:?}");
    }
}

#[test]
fn a_lost_directory_is_an_error_and_what_was_added_stays() {
    let temp = TempDir::new().unwrap();
    let directory = temp.path().join("cache");
    let mut index = Index::open(&directory, VAULT).unwrap();
    let one = segment(1, &names(0..100));
    index.add(&one).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(index.commit().unwrap_err().kind(), Kind::Unavailable);
    assert_answers(&index, &[&one], 0..100);
    fs::create_dir(&directory).unwrap();
    index.commit().unwrap();
    assert_answers(&index, &[&one], 0..100);
}
