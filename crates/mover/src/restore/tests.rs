//! A restore on real trees, out of a vault in memory.

mod extras;
mod in_place;
mod ordinary;
mod whole;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use shudao_vault::entry::TreePath;
use shudao_vault::frame::Compression;
use shudao_vault::id::{ReplicaId, SnapshotId, Timestamp};
use shudao_vault::keys::slot::{Lock, Unlock};
use shudao_vault::log::Config;
use shudao_vault::replica::Replica;
use shudao_vault::snapshot::Snapshot;
use shudao_vault::store::Store;
use shudao_vault::suite::{ReadSecret, generate_read_pair};
use shudao_vault::vault::{CreateOptions, Vault};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::backup::{BackupOptions, BackupProgress, BackupSource, backup};
use crate::source::{ExcludesBuilder, ScanOptions};

/// A vault in memory, a source and a target.
pub(super) struct Bench {
    place: TempDir,
    pub(super) vault: Vault,
    secret: ReadSecret,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let (public, secret) = generate_read_pair();
        let options = CreateOptions {
            name: "test",
            config: Config::default(),
            ways_in: vec![("owner", Lock::Recipient(&public))],
            now: Timestamp(1),
        };
        let replica = Vault::create(Store::memory(), options).await.unwrap();
        assert_ne!(replica.state().replica(), Some(ReplicaId::default()));
        let vault = Vault::open(replica, &Unlock::Identity(&secret), None).await.unwrap();
        let bench = Self { place: tempfile::tempdir().unwrap(), vault, secret };
        fs::create_dir(bench.source()).unwrap();
        bench
    }

    pub(super) fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    pub(super) fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    pub(super) fn marks(&self) -> PathBuf {
        self.place.path().join("marks")
    }

    /// Opens the vault anew, without anything cached.
    pub(super) async fn reopen(&mut self) {
        let replica = Replica::open(self.vault.replica().store().clone()).await.unwrap();
        self.vault = Vault::open(replica, &Unlock::Identity(&self.secret), None).await.unwrap();
    }

    /// Backs up the source.
    pub(super) async fn backup(&mut self) -> Snapshot {
        let root = self.source();
        self.backup_of(&[&root], &[], false).await
    }

    pub(super) async fn backup_of(
        &mut self,
        roots: &[&Path],
        patterns: &[&str],
        one_file_system: bool,
    ) -> Snapshot {
        let mut excludes = ExcludesBuilder::default();
        for pattern in patterns {
            excludes.pattern(pattern).unwrap();
        }
        let scan = ScanOptions {
            roots: roots.iter().map(PathBuf::from).collect(),
            excludes: excludes.build().unwrap(),
            one_file_system,
            ..ScanOptions::default()
        };
        let options = BackupOptions {
            source: BackupSource::Tree(scan),
            source_name: "test".to_owned(),
            host: String::new(),
            tags: Vec::new(),
            excludes: patterns.iter().map(ToString::to_string).collect(),
            rescan: true,
            compression: Compression::Stored,
            dry_run: false,
            program: String::new(),
            resume: Default::default(),
            fanout: crate::fanout::FanoutOptions::default(),
        };
        let progress = Arc::new(BackupProgress::default());
        let summary = backup(&mut self.vault, options, &progress, &|| Timestamp(2)).await.unwrap();
        let id: SnapshotId = summary.snapshot.unwrap();
        self.vault.refresh().await.unwrap();
        self.vault.snapshot(&id).await.unwrap()
    }

    pub(super) async fn restore(&self, snapshot: &Snapshot, in_place: bool) -> RestoreSummary {
        self.restore_with(snapshot, in_place, &[], &[]).await.unwrap()
    }

    pub(super) async fn restore_with(
        &self,
        snapshot: &Snapshot,
        in_place: bool,
        include: &[&str],
        exclude: &[&str],
    ) -> Result<RestoreSummary, RestoreError> {
        let options = RestoreOptions {
            to: self.target(),
            filter: filter(include, exclude),
            in_place,
            marks: Some(self.marks()),
        };
        let (reader, tree) = (Arc::new(self.vault.reader()), snapshot.contents.tree);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            restore(&reader, (tree.digest, tree.level), &options, &RestoreProgress::default(), &runtime)
        })
        .await
        .unwrap()
    }

    /// The extras in the target, planned for the filter of these patterns.
    pub(super) async fn extras(&self, snapshot: &Snapshot, include: &[&str], exclude: &[&str]) -> ExtrasPlan {
        let scope = Scope::new(&snapshot.contents, filter(include, exclude)).unwrap();
        let (reader, tree) = (Arc::new(self.vault.reader()), snapshot.contents.tree);
        let (to, runtime) = (self.target(), Handle::current());
        tokio::task::spawn_blocking(move || {
            plan_extras(&reader, (tree.digest, tree.level), &to, &scope, &runtime).unwrap()
        })
        .await
        .unwrap()
    }
}

pub(super) fn filter(include: &[&str], exclude: &[&str]) -> Filter {
    let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    Filter::new(&list(include), &list(exclude)).unwrap()
}

/// Writes `content` at `path`, making directories.
pub(super) fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, content).unwrap();
}

pub(super) fn paths(problems: &[PathProblem]) -> Vec<String> {
    problems.iter().map(|problem| problem.path.to_string()).collect()
}

pub(super) fn names(paths: &[TreePath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

pub(super) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Every restore must leave none of these behind.
pub(super) fn part_files(root: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            count += part_files(&entry.path());
        }
        count += usize::from(entry.file_name().to_string_lossy().ends_with(".part"));
    }
    count
}

/// Makes the packs with content that were stored since the last call unreadable.
pub(super) async fn lose_content(bench: &Bench, kept: &[String]) {
    for object in bench.vault.replica().store().list("packs/").await.unwrap() {
        if !kept.contains(&object.path) {
            let kind = bench.vault.replica().store().read(&object.path).await.unwrap()[6];
            if kind == 1 {
                bench.vault.replica().store().delete(&object.path).await.unwrap();
            }
        }
    }
}

pub(super) async fn packs(bench: &Bench) -> Vec<String> {
    let listed = bench.vault.replica().store().list("packs/").await.unwrap();
    listed.into_iter().map(|object| object.path).collect()
}
