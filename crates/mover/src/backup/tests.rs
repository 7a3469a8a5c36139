//! Whole runs into a store in memory, and the assembler on slots made by hand.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use shudao_vault::keys::slot::Lock;
use shudao_vault::keys::{Role, Unlock};
use shudao_vault::log::Config;
use shudao_vault::replica::Replica;
use shudao_vault::store::Store;
use shudao_vault::suite::KdfCost;
use shudao_vault::tree::EntryStream;
use shudao_vault::vault::{CreateOptions, Vault};
use shudao_vault::{Kind, entry::Entry, id::Timestamp};

use super::*;
use crate::chunker::{FINE_FILE_BYTES_MIN, Profile};

mod resume;

fn word(word: &str) -> Lock<'_> {
    Lock::Passphrase(word, KdfCost::new(8, 1, 1).unwrap())
}

pub(super) fn create_options(profiles: Vec<shudao_vault::log::ChunkerProfile>) -> CreateOptions<'static> {
    CreateOptions {
        name: "here",
        config: Config { profiles, ..Config::default() },
        ways_in: vec![("owner", word("owner"))],
        now: Timestamp(1),
    }
}

async fn new_vault(profiles: Vec<shudao_vault::log::ChunkerProfile>) -> Store {
    let store = Store::memory();
    Vault::create(store.clone(), create_options(profiles)).await.unwrap();
    store
}

pub(super) async fn open(store: &Store, word: &str) -> Vault {
    let replica = Replica::open(store.clone()).await.unwrap();
    Vault::open(replica, &Unlock::Passphrase(word), None).await.unwrap()
}

pub(super) fn options(root: &Path, spill: &tempfile::TempDir) -> BackupOptions {
    let scan = ScanOptions {
        roots: vec![root.to_owned()],
        spill_directory: spill.path().to_owned(),
        ..ScanOptions::default()
    };
    BackupOptions {
        source: BackupSource::Tree(scan),
        source_name: "source".to_owned(),
        host: "host".to_owned(),
        tags: Vec::new(),
        excludes: Vec::new(),
        rescan: false,
        compression: Compression::Fast,
        dry_run: false,
        program: "test".to_owned(),
        fanout: FanoutOptions::default(),
        resume: ResumeOptions::default(),
    }
}

/// Files at the end of a source that take long to read and hold nothing, so that a run can be stopped before its end however
/// slow the one is who stops it.
pub(super) struct Ballast(std::path::PathBuf);

impl Ballast {
    pub(super) fn put(root: &Path) -> Self {
        let directory = root.join("zz ballast");
        fs::create_dir(&directory).unwrap();
        for number in 0..1000 {
            fs::File::create(directory.join(number.to_string())).unwrap().set_len(64 << 20).unwrap();
        }
        Self(directory)
    }

    pub(super) fn remove(self) {
        fs::remove_dir_all(self.0).unwrap();
    }
}

/// Stops a run, as a signal does, once `enough` says so.
pub(super) fn stop_when(
    progress: &Arc<BackupProgress>,
    enough: impl Fn(&BackupProgress) -> bool + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let progress = Arc::clone(progress);
    std::thread::spawn(move || {
        while !enough(&progress) {
            std::thread::yield_now();
        }
        progress.stop.store(true, Ordering::Relaxed);
    })
}

async fn back_up_as(store: &Store, who: &str, root: &Path) -> Result<BackupSummary, BackupError> {
    let spill = tempfile::tempdir().unwrap();
    let mut vault = open(store, who).await;
    backup(&mut vault, options(root, &spill), &Arc::default(), &|| Timestamp(2)).await
}

async fn back_up(store: &Store, root: &Path) -> Result<BackupSummary, BackupError> {
    back_up_as(store, "owner", root).await
}

async fn entries(store: &Store, snapshot: SnapshotId) -> Vec<Entry> {
    let vault = open(store, "owner").await;
    let tree = vault.snapshot(&snapshot).await.unwrap().contents.tree;
    let mut stream = EntryStream::open(vault.reader(), tree.digest, tree.level);
    let mut entries = Vec::new();
    while let Some(entry) = stream.next().await.unwrap() {
        entries.push(entry);
    }
    entries
}

/// A directory of files that nobody has changed for long.
fn settled() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/source"))
}

#[tokio::test]
async fn a_store_that_fills_up_at_any_step_leaves_nothing_visible_and_the_next_run_succeeds() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let mut steps = 0;
    loop {
        let store = new_vault(Vec::new()).await;
        store.set_room(Some(steps));
        let Err(error) = back_up(&store, source.path()).await else { break };
        assert!(matches!(&error, BackupError::Vault(cause) if cause.kind() == Kind::Full), "{error:?}");
        assert!(open(&store, "owner").await.visible().is_empty());
        store.set_room(None);
        let done = back_up(&store, source.path()).await.unwrap();
        assert_eq!(entries(&store, done.snapshot.unwrap()).await.len(), 2);
        steps += 1;
    }
    assert_eq!(steps, 7, "begin, two packs, segment, need list, snapshot, commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fills_up_under_load_stops_the_run_with_its_cause() {
    let source = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; 3 << 20];
    for name in 0..50_u32 {
        blake3::Hasher::new().update(&name.to_le_bytes()).finalize_xof().fill(&mut bytes);
        fs::write(source.path().join(name.to_string()), &bytes).unwrap();
    }
    let store = new_vault(Vec::new()).await;
    store.set_room(Some(2));
    let error = back_up(&store, source.path()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Vault(cause) if cause.kind() == Kind::Full), "{error:?}");
}

#[tokio::test]
async fn bytes_added_are_the_bytes_of_the_new_objects() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let store = new_vault(Vec::new()).await;
    let size = async || store.list("").await.unwrap().iter().map(|object| object.bytes).sum::<u64>();
    let before = size().await;
    let done = back_up(&store, source.path()).await.unwrap();
    assert_eq!(done.bytes_added, size().await - before);
}

#[tokio::test]
async fn what_is_unchanged_is_not_read_again_and_tells_the_same() {
    let store = new_vault(Vec::new()).await;
    let first = back_up(&store, settled()).await.unwrap();
    assert!(first.bytes_read > 0);
    let second = back_up(&store, settled()).await.unwrap();
    assert_eq!((second.bytes_read, second.bytes_new), (0, 0));
    assert_eq!(second.counts.files_unmodified, second.counts.files);
    assert_eq!(second.manifest_root, first.manifest_root);
    let vault = open(&store, "owner").await;
    let need = async |id: SnapshotId| vault.snapshot(&id).await.unwrap().contents.need;
    assert_eq!(need(second.snapshot.unwrap()).await, need(first.snapshot.unwrap()).await);
}

#[tokio::test]
async fn a_file_rewritten_in_the_tick_of_the_scan_with_the_same_size_and_time_is_caught() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("file");
    fs::write(&path, "before").unwrap();
    let store = new_vault(Vec::new()).await;
    let first = back_up(&store, source.path()).await.unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "after.").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let second = back_up(&store, source.path()).await.unwrap();
    assert_eq!(second.bytes_read, 6);
    assert_ne!(second.content_root, first.content_root);
}

#[tokio::test]
async fn another_writers_word_on_a_file_is_not_taken_unread() {
    let store = new_vault(Vec::new()).await;
    let mut owner = open(&store, "owner").await;
    owner.add_key(Role::Writer, "writer", word("writer"), &[], Timestamp(2)).await.unwrap();
    let first = back_up_as(&store, "writer", settled()).await.unwrap();
    let again = back_up_as(&store, "writer", settled()).await.unwrap();
    assert_eq!(again.bytes_read, 0);
    let second = back_up(&store, settled()).await.unwrap();
    assert_eq!(second.parent, again.snapshot);
    assert_eq!(second.bytes_read, first.bytes_read);
}

#[tokio::test]
async fn files_are_cut_by_the_profile_of_the_settings_and_say_so() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), vec![7; 10_000]).unwrap();
    let profile = shudao_vault::log::ChunkerProfile { number: 9, min: 64, average: 1024, max: 2048 };
    let store = new_vault(vec![profile]).await;
    let done = back_up(&store, source.path()).await.unwrap();
    let entries = entries(&store, done.snapshot.unwrap()).await;
    assert_eq!(entries[1].local.profile, 9);
    assert!(matches!(&entries[1].local.extents, shudao_vault::entry::Extents::Inline(all) if all.len() >= 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_compresses_is_cut_finely_so_that_a_change_stores_little() {
    let source = tempfile::tempdir().unwrap();
    let mut noise = vec![0; FINE_FILE_BYTES_MIN as usize / 2];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut dump: Vec<u8> = noise.iter().flat_map(|byte| [b'a' + (byte >> 4), b'a' + (byte & 15)]).collect();
    fs::write(source.path().join("dump"), &dump).unwrap();
    fs::write(source.path().join("media"), [&noise[..], &noise].concat()).unwrap();
    fs::write(source.path().join("small"), &dump[1..]).unwrap();
    let store = new_vault(Vec::new()).await;
    let done = back_up(&store, source.path()).await.unwrap();
    let entries = entries(&store, done.snapshot.unwrap()).await;
    let profiles: Vec<u8> = entries[1..].iter().map(|entry| entry.local.profile).collect();
    assert_eq!(profiles, [Profile::FINE, Profile::COARSE, Profile::COARSE].map(|profile| profile.number()));
    let middle = dump.len() / 2;
    dump[middle] ^= 1;
    fs::write(source.path().join("dump"), &dump).unwrap();
    let again = back_up(&store, source.path()).await.unwrap();
    assert!((1..=Profile::FINE.max()).contains(&(again.bytes_new as u32)), "{}", again.bytes_new);
}

#[test]
fn a_file_that_never_rests_is_stored_as_it_was_read() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("file");
    fs::write(&path, vec![1; 100_000]).unwrap();
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    let done = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                file.write_all(b"x").unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let summary = runtime.block_on(async {
            let store = new_vault(Vec::new()).await;
            back_up(&store, source.path()).await
        });
        done.store(true, Ordering::Relaxed);
        summary.unwrap()
    });
    assert_eq!(summary.counts.files, 1);
    assert!(summary.bytes_total >= 100_000, "only {} bytes are stored", summary.bytes_total);
}
