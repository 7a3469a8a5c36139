//! Runs that are cut off, and the runs after them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shudao_vault::entry::{Extents, Node, TreePath};
use shudao_vault::id::{Digest, SessionId};
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::resume::Checkpoint;
use shudao_vault::tree::ExtentStream;

use super::*;

/// Files of this size and more are told of while they are read.
const LARGE_BYTES: u64 = 1 << 20;
/// What may be read of a file a second time, for its hash.
const HASH_BYTES: u64 = 64 << 10;

/// A source, and hosts that back it up into one store.
struct Scene {
    source: tempfile::TempDir,
    store: Store,
}

/// One host's state directory.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

fn bytes_of(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("resume test").update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Scene {
    /// Directories of small files around two large ones, one of them with a hole.
    async fn new() -> Self {
        let source = tempfile::tempdir().unwrap();
        for number in 0..60 {
            let directory = source.path().join(["a", "c", "e"][number % 3]);
            fs::create_dir_all(&directory).unwrap();
            let name = format!("file {number}");
            fs::write(directory.join(&name), bytes_of(&name, 20_000 + 3_000 * number)).unwrap();
        }
        fs::write(source.path().join("b large"), bytes_of("b", 14 << 20)).unwrap();
        let mut sparse = fs::File::create(source.path().join("d sparse")).unwrap();
        sparse.write_all(&bytes_of("d", 3_000_000)).unwrap();
        std::io::Seek::seek(&mut sparse, std::io::SeekFrom::Start(9 << 20)).unwrap();
        sparse.write_all(&bytes_of("e", 4_000_000)).unwrap();
        fs::hard_link(source.path().join("a/file 0"), source.path().join("z link")).unwrap();
        Self { source, store: new_vault(Vec::new()).await }
    }

    fn options(&self, state: Option<PathBuf>, every: Duration) -> BackupOptions {
        let scan = ScanOptions {
            roots: vec![self.source.path().to_owned()],
            clock_ahead_seconds: 3600,
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
            resume: ResumeOptions { state, checkpoint_every: every, file_bytes_min: LARGE_BYTES },
        }
    }

    async fn run_as(
        &self,
        who: &str,
        host: &Host,
        progress: &Arc<BackupProgress>,
    ) -> Result<BackupSummary, BackupError> {
        let mut vault = open(&self.store, who).await;
        let options = self.options(Some(host.0.path().to_owned()), Duration::ZERO);
        backup(&mut vault, options, progress, &|| Timestamp(2)).await
    }

    async fn run(&self, host: &Host) -> BackupSummary {
        self.run_as("owner", host, &Arc::default()).await.unwrap()
    }

    /// A run that is stopped as by a signal once `enough` says so.
    async fn interrupt(
        &self,
        who: &str,
        host: &Host,
        enough: impl Fn(&BackupProgress) -> bool + Send + 'static,
    ) {
        let ballast = Ballast::put(self.source.path());
        let progress = Arc::new(BackupProgress::default());
        let watching = stop_when(&progress, enough);
        let ended = self.run_as(who, host, &progress).await;
        assert!(matches!(ended, Err(BackupError::Interrupted)), "{ended:?}");
        watching.join().unwrap();
        ballast.remove();
    }

    /// The digest of every file, read back chunk by chunk.
    async fn read_back(&self, snapshot: SnapshotId) -> BTreeMap<TreePath, Digest> {
        let vault = open(&self.store, "owner").await;
        let reader = Arc::new(vault.reader());
        let mut files = BTreeMap::new();
        for entry in entries(&self.store, snapshot).await {
            let Node::File { size, digest } = entry.portable.node else { continue };
            let mut extents = ExtentStream::open(Arc::clone(&reader), &entry.local.extents, size).unwrap();
            let mut hasher = blake3::Hasher::new();
            while let Some((_, extent)) = extents.next().await.unwrap() {
                match extent {
                    shudao_vault::entry::Extent::Data { digest, .. } => {
                        hasher.update(&reader.chunk(ChunkSpace::Content, &digest).await.unwrap());
                    }
                    shudao_vault::entry::Extent::Hole { length } => {
                        hasher.update(&vec![0; length as usize]);
                    }
                }
            }
            assert_eq!(*hasher.finalize().as_bytes(), digest.0, "{}", entry.path());
            files.insert(entry.path().clone(), digest);
        }
        files
    }

    fn live(&self) -> BTreeMap<TreePath, Digest> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.source.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.source.path()).unwrap().to_str().unwrap();
                    files.insert(TreePath::new(name).unwrap(), Digest::of(&fs::read(&path).unwrap()));
                }
            }
        }
        files
    }

    /// What the newest checkpoint of the open session says, and that session.
    async fn checkpoint(&self, who: &str) -> Option<(SessionId, Checkpoint)> {
        let vault = open(&self.store, who).await;
        let source = vault.ring().source_id("source");
        for id in vault.interrupted(&source) {
            if let Some(checkpoint) = vault.checkpoint_of(id).await.unwrap().checkpoint {
                return Some((id, checkpoint));
            }
        }
        None
    }

    /// Bytes of files that this checkpoint covers.
    async fn covered(&self, checkpoint: &Checkpoint) -> u64 {
        let mut vault = open(&self.store, "owner").await;
        let source = vault.ring().source_id("a look");
        let session = vault.begin(source, Timestamp(2)).await.unwrap();
        vault.adopt((&session, 0), checkpoint.shelf.clone(), Vec::new(), Timestamp(2)).await.unwrap();
        let mut covered = BTreeMap::new();
        for tree in &checkpoint.trees {
            let mut stream = EntryStream::open(vault.reader(), tree.root, tree.level);
            while let Some(entry) = stream.next().await.unwrap() {
                let data = data_bytes(&entry.local.extents, entry.size(), &vault).await;
                if entry.portable.first_link.is_none() {
                    covered.insert(entry.path().clone(), data);
                }
            }
        }
        for file in &checkpoint.files {
            let data = data_bytes(&file.extents, file.offset, &vault).await;
            covered.entry(file.path.clone()).or_insert(data.saturating_sub(HASH_BYTES));
        }
        covered.values().sum()
    }

    fn content_bytes(&self, listed: &[shudao_vault::store::Listed]) -> u64 {
        listed.iter().filter(|object| object.path.starts_with("packs/")).map(|object| object.bytes).sum()
    }

    async fn stored(&self) -> u64 {
        self.content_bytes(&self.store.list("").await.unwrap())
    }
}

async fn data_bytes(extents: &Extents, size: u64, vault: &Vault) -> u64 {
    let mut stream = ExtentStream::open(vault.reader(), extents, size).unwrap();
    let mut data = 0;
    while let Some((_, extent)) = stream.next().await.unwrap() {
        if matches!(extent, shudao_vault::entry::Extent::Data { .. }) {
            data += extent.length();
        }
    }
    data
}

/// Whether the snapshot counts as many references as one of an undisturbed run, which reads everything, in the same vault.
async fn counts_what_it_needs(scene: &Scene, snapshot: SnapshotId) -> bool {
    let mut vault = open(&scene.store, "owner").await;
    let options = BackupOptions {
        source_name: "undisturbed".to_owned(),
        ..scene.options(None, Duration::from_secs(3600))
    };
    let undisturbed = backup(&mut vault, options, &Arc::default(), &|| Timestamp(2)).await.unwrap();
    let mut references = Vec::new();
    for id in [snapshot, undisturbed.snapshot.unwrap()] {
        let need = vault.snapshot(&id).await.unwrap().contents.need;
        references.push(need.iter().map(|(_, count)| *count).sum::<u64>());
    }
    references[0] == references[1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_anywhere_is_gone_on_with_and_nothing_covered_is_read_or_stored_again() {
    let undisturbed = Scene::new().await;
    let mut vault = open(&undisturbed.store, "owner").await;
    let options = undisturbed.options(None, Duration::from_secs(3600));
    let whole = backup(&mut vault, options, &Arc::default(), &|| Timestamp(2)).await.unwrap();
    let stored = undisturbed.stored().await;
    let mut covered_once = 0;
    for room in [1, 3, 6, 9, 14, 20, 30, 45] {
        for same_host in [true, false] {
            let scene = Scene::new().await;
            let first = Host::new();
            scene.store.set_room(Some(room));
            if scene.run_as("owner", &first, &Arc::default()).await.is_ok() {
                continue;
            }
            scene.store.set_room(None);
            let stored_at_death = scene.stored().await;
            let checkpoint = scene.checkpoint("owner").await;
            let covered = match &checkpoint {
                Some((_, checkpoint)) => scene.covered(checkpoint).await,
                None => 0,
            };
            covered_once = covered_once.max(covered);
            let done = scene.run(&if same_host { first } else { Host::new() }).await;
            let what = format!("room {room}, same host {same_host}, covered {covered}, {:?}", done.resumed);
            assert_eq!(done.content_root, whole.content_root, "{what}");
            assert!(done.bytes_read <= whole.bytes_read - covered, "{what}: read {}", done.bytes_read);
            assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live(), "{what}");
            // Another host knows nothing of packs that no checkpoint tells of.
            let adopted = done.resumed.map_or(0, |resumed| resumed.bytes_stored);
            let lost = if same_host { 0 } else { stored_at_death - adopted };
            let stored_now = scene.stored().await;
            assert!(stored_now * 10 <= (stored + lost) * 11, "{what}: stored {stored_now} where {stored} do");
            assert!(counts_what_it_needs(&scene, done.snapshot.unwrap()).await, "{what}");
            if let Some((session, _)) = checkpoint {
                assert_eq!(done.resumed.map(|resumed| resumed.session), Some(session), "{what}");
            }
        }
    }
    assert!(covered_once > 0, "no checkpoint covered anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_tells_how_far_it_is_and_another_host_goes_on_inside_a_large_file() {
    let scene = Scene::new().await;
    scene
        .interrupt("owner", &Host::new(), |progress| progress.bytes_read.load(Ordering::Relaxed) > 6 << 20)
        .await;
    let (session, checkpoint) = scene.checkpoint("owner").await.unwrap();
    let covered = scene.covered(&checkpoint).await;
    assert!(covered > 0 && !checkpoint.files.is_empty(), "{checkpoint:?}");
    let done = scene.run(&Host::new()).await;
    let total: u64 = 14 * (1 << 20) + 7_000_000 + (0..60).map(|number| 20_000 + 3_000 * number).sum::<u64>();
    assert!(done.bytes_read <= total - covered, "read {} of {total}, covered {covered}", done.bytes_read);
    let resumed = done.resumed.unwrap();
    assert_eq!(resumed.session, session);
    assert!(resumed.files > 0 && resumed.bytes > 0 && resumed.bytes_stored > 0, "{resumed:?}");
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

/// Stops a run when it has read something and made this many checkpoints.
async fn interrupted_after(scene: &Scene, who: &str, host: &Host, checkpoints: u64) {
    let enough = move |progress: &BackupProgress| {
        progress.checkpoints.load(Ordering::Relaxed) >= checkpoints
            && progress.bytes_read.load(Ordering::Relaxed) > 2 << 20
    };
    scene.interrupt(who, host, enough).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_began_a_session_goes_on_under_it_and_another_begins_its_own() {
    let scene = Scene::new().await;
    let host = Host::new();
    let open_sessions = async || open(&scene.store, "owner").await.replica().state().open_sessions().count();
    interrupted_after(&scene, "owner", &host, 1).await;
    interrupted_after(&scene, "owner", &host, 1).await;
    assert_eq!(open_sessions().await, 1);
    interrupted_after(&scene, "owner", &Host::new(), 0).await;
    assert_eq!(open_sessions().await, 2);
    let done = scene.run(&host).await;
    assert_eq!(open_sessions().await, 1, "the session of the other host is left to a keeper");
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
    // What was interrupted before the newest snapshot is no one's any more.
    assert_eq!(scene.checkpoint("owner").await, None);
    let again = scene.run(&host).await;
    assert_eq!((again.bytes_read, again.resumed), (0, None));
    assert!(!host.0.path().join("journal").read_dir().unwrap().any(|_| true), "the journal is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_goes_on_twice_keeps_what_the_first_run_had_read() {
    let scene = Scene::new().await;
    interrupted_after(&scene, "owner", &Host::new(), 2).await;
    let (_, first) = scene.checkpoint("owner").await.unwrap();
    let covered = scene.covered(&first).await;
    // The second run, elsewhere, is stopped as soon as it can be, before it has come as far.
    let enough = |progress: &BackupProgress| progress.checkpoints.load(Ordering::Relaxed) >= 1;
    scene.interrupt("owner", &Host::new(), enough).await;
    let (_, second) = scene.checkpoint("owner").await.unwrap();
    assert!(scene.covered(&second).await >= covered);
    let done = scene.run(&Host::new()).await;
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_since_it_was_read_is_read_again() {
    let scene = Scene::new().await;
    let host = Host::new();
    interrupted_after(&scene, "owner", &host, 2).await;
    fs::write(scene.source.path().join("a/file 0"), "changed").unwrap();
    let mut large = fs::File::options().write(true).open(scene.source.path().join("b large")).unwrap();
    large.write_all(b"other bytes at the start").unwrap();
    let done = scene.run(&host).await;
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_checkpoints_are_passed_over_and_told_of() {
    let scene = Scene::new().await;
    interrupted_after(&scene, "owner", &Host::new(), 3).await;
    let listed = scene.store.list("sessions/").await.unwrap();
    for object in &listed {
        let mut bytes = scene.store.read(&object.path).await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        scene.store.delete(&object.path).await.unwrap();
        scene.store.put(&object.path, bytes.into()).await.unwrap();
    }
    assert_eq!(scene.checkpoint("owner").await, None);
    let done = scene.run(&Host::new()).await;
    assert_eq!(done.resumed, None);
    assert!(done.notes.iter().any(|note| note.starts_with("sessions/")), "{:?}", done.notes);
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_checkpoint_names_and_is_gone_is_stored_again() {
    for prefix in ["packs/", "index/"] {
        let scene = Scene::new().await;
        let host = Host::new();
        interrupted_after(&scene, "owner", &host, 2).await;
        let gone = scene.store.list(prefix).await.unwrap();
        for object in gone.iter().step_by(2) {
            scene.store.delete(&object.path).await.unwrap();
        }
        let done = scene.run(&host).await;
        assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live(), "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_named_successor_takes_up_another_writers_session() {
    let scene = Scene::new().await;
    let mut owner = open(&scene.store, "owner").await;
    let added = owner.add_key(Role::Writer, "first", word("first"), &[], Timestamp(2)).await.unwrap();
    let first = added.holder;
    owner.add_key(Role::Writer, "next", word("next"), &[first], Timestamp(2)).await.unwrap();
    owner.add_key(Role::Writer, "other", word("other"), &[], Timestamp(2)).await.unwrap();
    interrupted_after(&scene, "first", &Host::new(), 2).await;
    for stranger in ["other", "owner"] {
        assert_eq!(scene.checkpoint(stranger).await, None, "{stranger}");
    }
    let done = scene.run_as("next", &Host::new(), &Arc::default()).await.unwrap();
    assert!(done.resumed.is_some_and(|resumed| resumed.bytes > 0), "{:?}", done.resumed);
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_closed_meanwhile_is_not_gone_on_with() {
    let scene = Scene::new().await;
    let mut owner = open(&scene.store, "owner").await;
    let writer = owner.add_key(Role::Writer, "writer", word("writer"), &[], Timestamp(2)).await.unwrap();
    let host = Host::new();
    interrupted_after(&scene, "writer", &host, 1).await;
    owner.refresh().await.unwrap();
    owner.remove_key(writer.slot, Timestamp(3)).await.unwrap();
    let done = scene.run_as("owner", &host, &Arc::default()).await.unwrap();
    assert_eq!(scene.read_back(done.snapshot.unwrap()).await, scene.live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reference_is_counted_for_what_only_checkpoints_needed() {
    let scene = Scene::new().await;
    let host = Host::new();
    interrupted_after(&scene, "owner", &host, 1).await;
    let done = scene.run(&host).await;
    assert!(!scene.store.list("sessions/").await.unwrap().is_empty());
    assert!(counts_what_it_needs(&scene, done.snapshot.unwrap()).await);
}
