//! Random trees and random edits over ten generations: each snapshot is what the tree was, and stays so.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};
use shudao_tests::clock::settle;
use shudao_tests::content::{Noise, put};
use shudao_vault::id::SnapshotId;
use tempfile::TempDir;

use crate::place::{Place, back_up, has_root_of, restores_exactly};

const GENERATIONS: usize = 10;
const EDITS_MAX: usize = 12;

/// Names that sort around the separator, and some that tools stumble over.
const NAMES: [&str; 9] = ["a", "a.b", "a0", "b", "c", "d", "new\nline", "名", "-n"];

/// A place in the tree: one to three names, by number.
type Spot = Vec<usize>;

/// One change of the tree. Whatever stands in the way of what is to be made goes first, so types change too.
#[derive(Debug, Clone)]
enum Edit {
    Write {
        at: Spot,
        bytes: usize,
        seed: u64,
    },
    Append {
        pick: usize,
        bytes: usize,
    },
    Truncate {
        pick: usize,
        percent: u64,
    },
    /// Other bytes of the same number, under the same times as far as they can be set.
    Rewrite {
        pick: usize,
        seed: u64,
    },
    Sparse {
        at: Spot,
        pieces: Vec<(u64, usize)>,
        bytes: u64,
    },
    Punch {
        pick: usize,
        seed: u64,
    },
    Directory {
        at: Spot,
    },
    Symlink {
        at: Spot,
        target: usize,
    },
    HardLink {
        pick: usize,
        at: Spot,
    },
    Rename {
        pick: usize,
        at: Spot,
    },
    Chmod {
        pick: usize,
        mode: u32,
    },
    Delete {
        pick: usize,
    },
}

fn spot() -> impl Strategy<Value = Spot> {
    prop::collection::vec(0..NAMES.len(), 1..4)
}

/// Mostly small; some of several chunks.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..3_000usize, 1 => 60_000..70_000usize, 1 => 200_000..900_000usize]
}

fn edit() -> impl Strategy<Value = Edit> {
    let pick = any::<usize>();
    let pieces = prop::collection::vec((0..3_000_000u64, 1..20_000usize), 0..4);
    prop_oneof![
        4 => (spot(), size(), any::<u64>()).prop_map(|(at, bytes, seed)| Edit::Write { at, bytes, seed }),
        2 => (pick, 1..100_000usize).prop_map(|(pick, bytes)| Edit::Append { pick, bytes }),
        2 => (pick, 0..100u64).prop_map(|(pick, percent)| Edit::Truncate { pick, percent }),
        2 => (pick, any::<u64>()).prop_map(|(pick, seed)| Edit::Rewrite { pick, seed }),
        1 => (spot(), pieces, 0..4_000_000u64)
            .prop_map(|(at, pieces, bytes)| Edit::Sparse { at, pieces, bytes }),
        1 => (pick, any::<u64>()).prop_map(|(pick, seed)| Edit::Punch { pick, seed }),
        2 => spot().prop_map(|at| Edit::Directory { at }),
        2 => (spot(), 0..NAMES.len()).prop_map(|(at, target)| Edit::Symlink { at, target }),
        2 => (pick, spot()).prop_map(|(pick, at)| Edit::HardLink { pick, at }),
        2 => (pick, spot()).prop_map(|(pick, at)| Edit::Rename { pick, at }),
        1 => (pick, 0..0o10000u32).prop_map(|(pick, mode)| Edit::Chmod { pick, mode }),
        1 => pick.prop_map(|pick| Edit::Delete { pick }),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 1..=EDITS_MAX)
}

/// Everything below `root`, parents first, in an order that does not hang on the file system.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut names: Vec<PathBuf> = root.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let is_directory = path.symlink_metadata().unwrap().is_dir();
        found.push(path.clone());
        if is_directory {
            found.extend(walk(&path));
        }
    }
    found
}

fn pick_of(all: Vec<PathBuf>, pick: usize) -> Option<PathBuf> {
    if all.is_empty() { None } else { Some(all[pick % all.len()].clone()) }
}

/// One of the regular files.
fn file(root: &Path, pick: usize) -> Option<PathBuf> {
    let files = walk(root).into_iter().filter(|path| path.symlink_metadata().unwrap().is_file());
    pick_of(files.collect(), pick)
}

fn anything(root: &Path, pick: usize) -> Option<PathBuf> {
    pick_of(walk(root), pick)
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// The path of a spot, whose parents are directories and which nothing occupies.
fn clear(root: &Path, at: &Spot) -> PathBuf {
    let mut path = root.to_owned();
    let (name, parents) = at.split_last().unwrap();
    for parent in parents {
        path.push(NAMES[*parent]);
        if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove(&path);
            std::fs::create_dir(&path).unwrap();
        }
    }
    path.push(NAMES[*name]);
    remove(&path);
    path
}

fn writable(path: &Path) -> std::fs::File {
    std::fs::File::options().write(true).open(path).unwrap()
}

/// Whether `to` is `from` or lies in or above it: such a move would remove what it moves.
fn entangled(root: &Path, from: &Path, at: &Spot) -> bool {
    let to = at.iter().fold(root.to_owned(), |path, name| path.join(NAMES[*name]));
    to.starts_with(from) || from.starts_with(&to)
        // A parent that is no directory is removed on the way, and with it perhaps what is to be moved.
        || to.ancestors().any(|above| above == from)
}

fn apply(root: &Path, edit: &Edit) {
    match edit {
        Edit::Write { at, bytes, seed } => put(&clear(root, at), &Noise::new(*seed).bytes(*bytes)),
        Edit::Append { pick, bytes } => {
            if let Some(path) = file(root, *pick) {
                let end = path.metadata().unwrap().len();
                writable(&path).write_all_at(&Noise::new(end).bytes(*bytes), end).unwrap();
            }
        }
        Edit::Truncate { pick, percent } => {
            if let Some(path) = file(root, *pick) {
                let size = path.metadata().unwrap().len();
                writable(&path).set_len(size * percent / 100).unwrap();
            }
        }
        Edit::Rewrite { pick, seed } => {
            if let Some(path) = file(root, *pick) {
                let before = path.metadata().unwrap();
                let bytes = Noise::new(*seed).bytes((before.size() as usize).min(10_000));
                let file = writable(&path);
                file.write_all_at(&bytes, 0).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
            }
        }
        Edit::Sparse { at, pieces, bytes } => {
            let path = clear(root, at);
            put(&path, b"");
            let file = writable(&path);
            file.set_len(*bytes).unwrap();
            for (offset, bytes) in pieces {
                file.write_all_at(&Noise::new(*offset).bytes(*bytes), *offset).unwrap();
            }
        }
        Edit::Punch { pick, seed } => {
            if let Some(path) = file(root, *pick) {
                let size = path.metadata().unwrap().len();
                // Beyond the end: a hole between, where the file system has any.
                writable(&path).write_all_at(&Noise::new(*seed).bytes(100), size + 1_000_000).unwrap();
            }
        }
        Edit::Directory { at } => std::fs::create_dir(clear(root, at)).unwrap(),
        Edit::Symlink { at, target } => symlink(NAMES[*target], clear(root, at)).unwrap(),
        Edit::HardLink { pick, at } => {
            if let Some(path) = file(root, *pick).filter(|path| !entangled(root, path, at)) {
                std::fs::hard_link(path, clear(root, at)).unwrap();
            }
        }
        Edit::Rename { pick, at } => {
            if let Some(path) = anything(root, *pick).filter(|path| !entangled(root, path, at)) {
                std::fs::rename(path, clear(root, at)).unwrap();
            }
        }
        Edit::Chmod { pick, mode } => {
            if let Some(path) = anything(root, *pick).filter(|path| !path.is_symlink()) {
                std::fs::set_permissions(path, PermissionsExt::from_mode(*mode)).unwrap();
            }
        }
        Edit::Delete { pick } => {
            if let Some(path) = anything(root, *pick) {
                remove(&path);
            }
        }
    }
}

/// A tree that changes, its vault, and every snapshot so far.
struct History {
    home: TempDir,
    place: Place,
    snapshots: Vec<SnapshotId>,
    files_reused: u64,
}

impl History {
    async fn new() -> Self {
        let home = TempDir::new().unwrap();
        std::fs::create_dir(home.path().join("tree")).unwrap();
        Self { home, place: Place::new().await, snapshots: Vec::new(), files_reused: 0 }
    }

    fn tree(&self) -> PathBuf {
        self.home.path().join("tree")
    }

    fn change(&self, edits: &[Edit]) {
        edits.iter().for_each(|edit| apply(&self.tree(), edit));
    }

    async fn back_up(&mut self) {
        let tree = self.tree();
        let summary = back_up(&mut self.place.owner, "tree", &tree).await;
        has_root_of(&summary, &tree);
        assert_eq!(summary.parent.as_ref(), self.snapshots.last());
        self.files_reused += summary.counts.files_unmodified;
        self.snapshots.push(summary.snapshot.unwrap());
    }

    async fn restore(&self, generation: usize) {
        let to = self.home.path().join("restored");
        restores_exactly(&self.place.owner, &self.snapshots[generation], &to).await;
        std::fs::remove_dir_all(to).unwrap();
    }

    async fn restore_all(&self) {
        for generation in 0..self.snapshots.len() {
            self.restore(generation).await;
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_of_ten_generations_restores_exactly_when_made_and_at_the_end(
        generations in prop::collection::vec(edits(), GENERATIONS)
    ) {
        block_on(async {
            let mut history = History::new().await;
            for (generation, edits) in generations.iter().enumerate() {
                history.change(edits);
                history.back_up().await;
                history.restore(generation).await;
            }
            history.restore_all().await;
        });
    }
}

/// Files written just now are read again whatever they look like, so the histories above reuse nothing. Here every
/// change settles first; many trees share the wait.
#[test]
fn what_is_reused_unread_is_what_a_reading_would_have_found() {
    const TREES: usize = 8;
    const CHANGES: usize = 3;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[22; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut draw = |count| prop::collection::vec(edit(), count).new_tree(&mut runner).unwrap().current();
    block_on(async {
        let mut histories = Vec::new();
        for _ in 0..TREES {
            let history = History::new().await;
            history.change(&draw(6 * EDITS_MAX));
            histories.push(history);
        }
        for _ in 0..CHANGES {
            tokio::task::spawn_blocking(settle).await.unwrap();
            for history in &mut histories {
                history.back_up().await;
                history.change(&draw(3));
            }
        }
        for history in &mut histories {
            history.back_up().await;
            history.restore_all().await;
        }
        let reused: u64 = histories.iter().map(|history| history.files_reused).sum();
        assert!(reused > 100, "the point is reuse: {reused} files");
    });
}
