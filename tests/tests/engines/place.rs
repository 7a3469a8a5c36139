//! A vault in memory, the people who have keys to it, and what they do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shudao_mover::backup::{BackupError, BackupOptions, BackupSource, BackupSummary, backup};
use shudao_mover::restore::{Filter, RestoreError, RestoreOptions, RestoreProgress, RestoreSummary, restore};
use shudao_mover::source::ScanOptions;
use shudao_vault::Result;
use shudao_vault::entry::Portable;
use shudao_vault::frame::Compression;
use shudao_vault::id::{SnapshotId, Timestamp, to_hex};
use shudao_vault::keys::Role;
use shudao_vault::keys::slot::{Lock, Unlock};
use shudao_vault::log::Config;
use shudao_vault::replica::Replica;
use shudao_vault::roots::{RootHasher, Roots};
use shudao_vault::store::Store;
use shudao_vault::suite::KdfCost;
use shudao_vault::tree::EntryStream;
use shudao_vault::vault::{CreateOptions, Vault};
use shudao_verify::compare::{Comparison, Finding, compare};
use shudao_verify::live::{LiveOptions, LiveTree};
use tokio::runtime::Handle;

const OWNER: &str = "the owner's passphrase";

static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000_000);

/// A time after every one it gave before.
pub(crate) fn now() -> Timestamp {
    Timestamp(NOW.fetch_add(1_000_000, Ordering::Relaxed))
}

/// Lets days pass for whoever asks [`now`].
pub(crate) fn days_pass(days: i64) {
    NOW.fetch_add(days * 24 * 3600 * 1_000_000, Ordering::Relaxed);
}

/// A vault in memory, and its owner.
pub(crate) struct Place {
    store: Store,
    pub(crate) owner: Vault,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::at(Store::memory(), config).await
    }

    /// The same in another store.
    pub(crate) async fn at(store: Store, config: Config) -> Self {
        let ways_in = vec![("owner", Lock::Passphrase(OWNER, cost()))];
        let options = CreateOptions { name: "first", config, ways_in, now: now() };
        Vault::create(store.clone(), options).await.unwrap();
        let owner = open(&store, OWNER).await;
        Self { store, owner }
    }

    /// Someone with a key of their own.
    pub(crate) async fn add(&mut self, role: Role, name: &str) -> Vault {
        self.owner.refresh().await.unwrap();
        self.owner.add_key(role, name, Lock::Passphrase(name, cost()), &[], now()).await.unwrap();
        open(&self.store, name).await
    }

    /// The storage, as it is.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

/// The owner's vault at `store`.
pub(crate) async fn open_as_owner(store: &Store) -> Result<Vault> {
    let replica = Replica::open(store.clone()).await?;
    Vault::open(replica, &Unlock::Passphrase(OWNER), None).await
}

/// As little as Argon2 can cost: nobody guesses here.
fn cost() -> KdfCost {
    KdfCost::new(8, 1, 1).unwrap()
}

async fn open(store: &Store, passphrase: &str) -> Vault {
    let replica = Replica::open(store.clone()).await.unwrap();
    Vault::open(replica, &Unlock::Passphrase(passphrase), None).await.unwrap()
}

/// Backs up `root` as `source`, knowing all that the vault holds. Nothing of the source may be lost on the way.
pub(crate) async fn back_up(vault: &mut Vault, source: &str, root: &Path) -> BackupSummary {
    vault.refresh().await.unwrap();
    let summary = try_to_back_up(vault, source, root).await.unwrap();
    assert_eq!((summary.unreadable, summary.torn), (0, 0), "{:?}", summary.problems);
    vault.refresh().await.unwrap();
    summary
}

/// Backs up `root` as `source`, knowing what `vault` has read of the log.
pub(crate) async fn try_to_back_up(
    vault: &mut Vault,
    source: &str,
    root: &Path,
) -> std::result::Result<BackupSummary, BackupError> {
    let scan = ScanOptions { roots: vec![root.to_owned()], ..ScanOptions::default() };
    let options = BackupOptions {
        source: BackupSource::Tree(scan),
        source_name: source.to_owned(),
        host: "host".to_owned(),
        tags: Vec::new(),
        excludes: Vec::new(),
        rescan: false,
        compression: Compression::Fast,
        dry_run: false,
        program: "shudao-tests".to_owned(),
        resume: Default::default(),
        fanout: shudao_mover::fanout::FanoutOptions::default(),
    };
    backup(vault, options, &Arc::default(), &now).await
}

/// Restores a snapshot into `to`, which is made.
pub(crate) async fn restore_to(
    vault: &Vault,
    snapshot: &SnapshotId,
    to: &Path,
) -> std::result::Result<RestoreSummary, RestoreError> {
    let tree = vault.snapshot(snapshot).await?.contents.tree;
    let reader = Arc::new(vault.reader());
    let filter = Filter::new(&[], &[])?;
    let options = RestoreOptions { to: to.to_owned(), filter, in_place: false, marks: None };
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        restore(&reader, (tree.digest, tree.level), &options, &RestoreProgress::default(), &runtime)
    })
    .await
    .unwrap()
}

/// Restores a snapshot into `to` and fails unless all of it is there, to the last attribute.
pub(crate) async fn restores_exactly(vault: &Vault, snapshot: &SnapshotId, to: &Path) {
    let summary = restore_to(vault, snapshot, to).await.unwrap();
    assert!(summary.failed.is_empty(), "{:?}", summary.failed);
    assert!(summary.metadata_not_set.is_empty(), "{:?}", summary.metadata_not_set);
    is_equal_to(vault, snapshot, to).await;
}

/// Fails unless `directory` is what the snapshot says, entry by entry and by its roots.
pub(crate) async fn is_equal_to(vault: &Vault, snapshot: &SnapshotId, directory: &Path) {
    let expected: Vec<Result<Portable>> = entries(vault, snapshot).await.into_iter().map(Ok).collect();
    let roots = vault.snapshot(snapshot).await.unwrap().contents.roots;
    let directory = directory.to_owned();
    let live = tokio::task::spawn_blocking(move || {
        let live = LiveTree::read(&[&directory], &LiveOptions::default()).unwrap();
        let mut hasher = RootHasher::new();
        let mut comparison = compare(expected, live, Comparison::default(), |portable| hasher.push(portable));
        let findings: Vec<Finding> = comparison.by_ref().map(|finding| finding.unwrap()).collect();
        let counts = comparison.counts();
        drop(comparison);
        assert!(findings.is_empty(), "{}: {findings:#?}", directory.display());
        assert!(counts.is_equal() && counts.is_complete(), "{counts:?}");
        hasher.finish()
    });
    assert_eq!(live.await.unwrap(), roots);
}

/// The entries of a snapshot as it is stored.
pub(crate) async fn entries(vault: &Vault, snapshot: &SnapshotId) -> Vec<Portable> {
    let tree = vault.snapshot(snapshot).await.unwrap().contents.tree;
    let mut stream = EntryStream::open(vault.reader(), tree.digest, tree.level);
    let mut entries = Vec::new();
    while let Some(entry) = stream.next().await.unwrap() {
        entries.push(entry.portable);
    }
    entries
}

/// The roots of a live tree, by the verifier's own reader.
pub(crate) fn live_roots(directory: &Path) -> Roots {
    let mut hasher = RootHasher::new();
    for found in LiveTree::read(&[directory], &LiveOptions::default()).unwrap() {
        match found {
            shudao_verify::live::Live::Entry(portable) => hasher.push(&portable).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    hasher.finish()
}

/// Fails unless the backup's manifest root is that of `directory` as it is now.
pub(crate) fn has_root_of(summary: &BackupSummary, directory: &Path) {
    let live = live_roots(directory);
    assert_eq!(to_hex(&summary.manifest_root), to_hex(&live.manifest), "{}", directory.display());
    assert_eq!(to_hex(&summary.content_root), to_hex(&live.content), "{}", directory.display());
}
