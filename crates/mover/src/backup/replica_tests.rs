//! Runs into several replicas in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shudao_vault::entry::{Extent, Node};
use shudao_vault::id::Timestamp;
use shudao_vault::keys::Unlock;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::replica::Replica;
use shudao_vault::store::Store;
use shudao_vault::tree::{EntryStream, ExtentStream};
use shudao_vault::vault::{Place, Vault};
use shudao_vault::{Error, Kind};

use super::tests::{Ballast, create_options, open, options, stop_when};
use super::*;

/// Stores with one vault.
pub(super) async fn new_vaults<const COUNT: usize>() -> [Store; COUNT] {
    let stores = [(); COUNT].map(|()| Store::memory());
    let places = stores.iter().zip(["a", "b", "c"]).map(|(store, name)| Place { store: store.clone(), name });
    Vault::create_on(places.collect(), create_options(Vec::new())).await.unwrap();
    stores
}

pub(super) async fn open_all(stores: &[Store]) -> Vault {
    let mut replicas = Vec::new();
    for store in stores {
        replicas.push(Replica::open(store.clone()).await.unwrap());
    }
    Vault::open_all(replicas, &Unlock::Passphrase("owner"), None).await.unwrap()
}

pub(super) async fn back_up_to(stores: &[Store], root: &Path) -> Result<BackupSummary, BackupError> {
    let spill = tempfile::tempdir().unwrap();
    let mut vault = open_all(stores).await;
    backup(&mut vault, options(root, &spill), &Arc::default(), &|| Timestamp(2)).await
}

/// The immutable objects of a store.
pub(super) async fn objects(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for area in ["packs/", "index/", "snapshots/"] {
        all.extend(store.list(area).await.unwrap().into_iter().map(|object| object.path));
    }
    all
}

/// Every file of a snapshot, as a replica alone gives it.
pub(super) async fn files(store: &Store, snapshot: SnapshotId) -> BTreeMap<String, Vec<u8>> {
    files_of(&open(store, "owner").await, snapshot).await
}

async fn files_of(vault: &Vault, snapshot: SnapshotId) -> BTreeMap<String, Vec<u8>> {
    let tree = vault.snapshot(&snapshot).await.unwrap().contents.tree;
    let reader = Arc::new(vault.reader_of(&snapshot).await.unwrap());
    let mut entries = EntryStream::open(Arc::clone(&reader), tree.digest, tree.level);
    let mut files = BTreeMap::new();
    while let Some(entry) = entries.next().await.unwrap() {
        let Node::File { size, .. } = entry.portable.node else { continue };
        let mut bytes = Vec::new();
        let mut extents = ExtentStream::open(Arc::clone(&reader), &entry.local.extents, size).unwrap();
        while let Some((_, extent)) = extents.next().await.unwrap() {
            match extent {
                Extent::Data { digest, .. } => {
                    bytes.extend(reader.chunk(ChunkSpace::Content, &digest).await.unwrap());
                }
                Extent::Hole { length } => bytes.resize(bytes.len() + length as usize, 0),
            }
        }
        files.insert(entry.path().to_string(), bytes);
    }
    files
}

pub(super) fn source(files: u32) -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; 300_000];
    for name in 0..files {
        blake3::Hasher::new().update(&name.to_le_bytes()).finalize_xof().fill(&mut bytes);
        fs::write(source.path().join(name.to_string()), &bytes).unwrap();
    }
    source
}

#[tokio::test]
async fn every_replica_gets_the_same_bytes_and_serves_alone() {
    let stores = new_vaults::<3>().await;
    let source = source(5);
    let done = back_up_to(&stores, source.path()).await.unwrap();
    assert!(done.replicas.len() == 3 && done.replicas.iter().all(ReplicaOutcome::is_committed));
    let expected = objects(&stores[0]).await;
    assert_eq!(expected.len(), 5, "two packs, a segment, a need list, a snapshot");
    for store in &stores {
        assert_eq!(objects(store).await, expected);
        let files = files(store, done.snapshot.unwrap()).await;
        assert_eq!(files.len(), 5);
        for (name, bytes) in files {
            assert_eq!(bytes, fs::read(source.path().join(name)).unwrap());
        }
    }
}

#[tokio::test]
async fn a_replica_that_fills_up_at_any_step_is_behind_and_the_next_run_brings_it_what_it_needs() {
    let source = source(3);
    for full in 0..2 {
        let mut steps = 0;
        loop {
            let stores = new_vaults::<2>().await;
            stores[full].set_room(Some(steps));
            let first = back_up_to(&stores, source.path()).await.unwrap();
            let outcome = &first.replicas[full];
            assert!(first.replicas[1 - full].is_committed());
            if outcome.is_committed() {
                break;
            }
            assert_eq!(outcome.failure.as_ref().map(Error::kind), Some(Kind::Full));
            assert!(outcome.objects_behind >= 2);
            assert!(open(&stores[full], "owner").await.visible().is_empty());
            assert_eq!(files(&stores[1 - full], first.snapshot.unwrap()).await.len(), 3);

            stores[full].set_room(None);
            let second = back_up_to(&stores, source.path()).await.unwrap();
            assert_eq!(second.parent, first.snapshot);
            assert!(second.bytes_new < 10_000, "only names are new");
            for store in &stores {
                assert_eq!(files(store, second.snapshot.unwrap()).await.len(), 3);
            }
            steps += 1;
        }
        assert_eq!(steps, 7, "begin, two packs, segment, need list, snapshot, commit");
    }
}

#[tokio::test]
async fn what_only_one_replica_holds_is_known_and_copied_before_the_others_commit() {
    let stores = new_vaults::<2>().await;
    let source = source(3);
    back_up_to(&stores[..1], source.path()).await.unwrap();
    fs::write(source.path().join("new"), "new").unwrap();
    back_up_to(&stores[..1], source.path()).await.unwrap();
    for _ in 0..2 {
        let done = back_up_to(&stores, source.path()).await.unwrap();
        assert!(done.replicas.iter().all(ReplicaOutcome::is_committed));
        assert!(done.bytes_new < 10_000, "only names are new");
        let alone = files(&stores[1], done.snapshot.unwrap()).await;
        assert_eq!(alone, files(&stores[0], done.snapshot.unwrap()).await);
        assert_eq!(alone.len(), 4);
    }
}

#[tokio::test]
async fn with_every_replica_full_the_run_fails_with_that_cause() {
    let stores = new_vaults::<2>().await;
    for (place, store) in stores.iter().enumerate() {
        store.set_room(Some(2 + place as u64));
    }
    let error = back_up_to(&stores, source(3).path()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Vault(cause) if cause.kind() == Kind::Full), "{error:?}");
}

#[tokio::test]
async fn a_replica_named_twice_or_of_another_vault_is_refused() {
    let [one, _] = new_vaults::<2>().await;
    let [other] = new_vaults::<1>().await;
    for second in [one.clone(), other] {
        let replicas = vec![Replica::open(one.clone()).await.unwrap(), Replica::open(second).await.unwrap()];
        let refused = Vault::open_all(replicas, &Unlock::Passphrase("owner"), None).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::Input));
    }
}

#[tokio::test]
async fn what_one_replica_lost_is_read_from_another() {
    let stores = new_vaults::<2>().await;
    let source = source(4);
    let done = back_up_to(&stores, source.path()).await.unwrap();
    let kept = objects(&stores[0]).await;
    for (number, path) in kept.iter().enumerate() {
        stores[number % 2].delete(path).await.unwrap();
    }
    let files = files_of(&open_all(&stores).await, done.snapshot.unwrap()).await;
    assert_eq!(files.len(), 4);
    for (name, bytes) in files {
        assert_eq!(bytes, fs::read(source.path().join(name)).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_is_gone_on_with_on_every_replica_and_each_serves_alone() {
    let source = source(40);
    for (full, same_host) in [(0, true), (1, false)] {
        let stores = new_vaults::<2>().await;
        let hosts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let run = async |host: &tempfile::TempDir, progress: &Arc<BackupProgress>| {
            let spill = tempfile::tempdir().unwrap();
            let mut options = options(source.path(), &spill);
            if let BackupSource::Tree(scan) = &mut options.source {
                scan.clock_ahead_seconds = 3600;
            }
            let state = Some(host.path().to_owned());
            options.resume =
                ResumeOptions { state, checkpoint_every: Duration::ZERO, ..ResumeOptions::default() };
            let mut vault = open_all(&stores).await;
            backup(&mut vault, options, progress, &|| Timestamp(2)).await
        };
        // This one stays behind soon after the beginning.
        stores[full].set_room(Some(3));
        let ballast = Ballast::put(source.path());
        let progress = Arc::new(BackupProgress::default());
        let watching = stop_when(&progress, |progress| progress.checkpoints.load(Ordering::Relaxed) >= 2);
        let stopped = run(&hosts[0], &progress).await;
        assert!(matches!(stopped, Err(BackupError::Interrupted)), "{full}: {stopped:?}");
        watching.join().unwrap();
        ballast.remove();
        stores[full].set_room(None);
        let done = run(&hosts[usize::from(!same_host)], &Arc::default()).await.unwrap();
        let committed = done.replicas.iter().filter(|replica| replica.is_committed()).count();
        assert_eq!(committed, 2, "{full}: {:?}", done.replicas);
        assert!(done.resumed.is_some_and(|resumed| resumed.bytes_stored > 0), "{full}: {:?}", done.resumed);
        for store in &stores {
            let files = files(store, done.snapshot.unwrap()).await;
            assert_eq!(files.len(), 40);
            for (name, bytes) in files {
                assert_eq!(bytes, fs::read(source.path().join(name)).unwrap());
            }
        }
    }
}
