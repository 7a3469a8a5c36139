//! Runs under which what they took for stored is condemned, collected or cut off.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use shudao_vault::Kind;
use shudao_vault::id::{SessionId, Timestamp};
use shudao_vault::keys::Unlock;
use shudao_vault::log::{Op, Signer};
use shudao_vault::name::{Area, Name};
use shudao_vault::replica::Replica;
use shudao_vault::store::faults::Plan;
use shudao_vault::store::{RetryPolicy, Store, StoreOptions};
use shudao_vault::vault::Vault;

use super::replica_tests::{files, new_vaults, open_all};
use super::tests::{open, options};
use super::*;

const CONTENT_BYTES: usize = 5 << 20;

/// A file of bytes that chunking cuts, and a pipe that holds a command up until it is opened.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        let mut bytes = vec![0; CONTENT_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        fs::write(bench.path("content"), bytes).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, bench.path("gate"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A run that stores what `cat` makes of these files.
    fn cat(&self, source_name: &str, files: &[&str]) -> BackupOptions {
        let spill = tempfile::tempdir().unwrap();
        let words = ["cat".into()].into_iter().chain(files.iter().map(|name| self.path(name).into()));
        let source = BackupSource::Command { name: b"output".to_vec(), words: words.collect() };
        let source_name = source_name.to_owned();
        BackupOptions { source, source_name, ..options(self.directory.path(), &spill) }
    }

    /// Lets the command go on.
    async fn open_gate(&self) {
        let gate = self.path("gate");
        tokio::task::spawn_blocking(move || fs::write(gate, "").unwrap()).await.unwrap();
    }
}

/// The packs and segments of a snapshot of another source, which is forgotten.
async fn waste(stores: &[Store], bench: &Bench) -> Vec<Name> {
    let mut vault = open_all(stores).await;
    let run = bench.cat("other", &["content"]);
    let done = backup(&mut vault, run, &Arc::default(), &|| Timestamp(2)).await.unwrap();
    let id = done.snapshot.unwrap();
    let mut vault = open_all(stores).await;
    let packs = vault.snapshot(&id).await.unwrap().contents.need;
    let segments = vault.find_visible(&id).unwrap().segments.clone();
    vault.forget(&[id], Timestamp(3)).await.unwrap();
    let packs = packs.into_iter().map(|(pack, _)| Name::pack(pack));
    packs.chain(segments.into_iter().map(Name::index)).collect()
}

async fn append(keeper: &mut Vault, op: Op) -> shudao_vault::Result<Option<u64>> {
    let (replicas, ring) = keeper.replicas_mut();
    replicas[0].append(Signer { key: &ring.signing, time: Timestamp(4) }, |_| Ok(Some(op.clone()))).await
}

/// The session that is open; waits for it to begin.
async fn session(keeper: &mut Vault) -> SessionId {
    loop {
        keeper.refresh().await.unwrap();
        if let Some((id, _)) = keeper.replica().state().open_sessions().next() {
            return id;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets time pass until the session has answered what was condemned.
async fn answer(keeper: &mut Vault, session: SessionId) {
    keeper.refresh().await.unwrap();
    while keeper.replica().state().awaits_answer(session) {
        tokio::time::advance(Duration::from_secs(61)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        keeper.refresh().await.unwrap();
    }
}

async fn content_is(store: &Store, snapshot: SnapshotId, bench: &Bench) {
    let restored = files(store, snapshot).await;
    let expected = fs::read(bench.path("content")).unwrap();
    assert!(restored == BTreeMap::from([("output".to_owned(), expected)]), "other bytes than were stored");
}

#[tokio::test(start_paused = true)]
async fn what_is_swept_while_a_run_goes_on_is_stored_anew() {
    let stores = new_vaults::<1>().await;
    let bench = Bench::new();
    let waste = waste(&stores, &bench).await;
    let mut keeper = open(&stores[0], "owner").await;
    let mut vault = open_all(&stores).await;
    let progress = Arc::default();
    let run = backup(&mut vault, bench.cat("source", &["gate", "content"]), &progress, &|| Timestamp(5));
    let collecting = async {
        let session = session(&mut keeper).await;
        append(&mut keeper, Op::Condemn { names: waste.clone() }).await.unwrap();
        answer(&mut keeper, session).await;
        append(&mut keeper, Op::Sweep { names: waste.clone() }).await.unwrap().unwrap();
        for name in &waste {
            stores[0].delete(&name.plain_key()).await.unwrap();
        }
        bench.open_gate().await;
    };
    let (done, ()) = futures_util::future::join(run, collecting).await;
    let done = done.unwrap();
    assert!(done.bytes_new >= CONTENT_BYTES as u64, "only {} bytes are new", done.bytes_new);
    content_is(&stores[0], done.snapshot.unwrap(), &bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_run_relies_on_already_is_kept_with_the_segments_that_speak_of_it() {
    let stores = new_vaults::<1>().await;
    let bench = Bench::new();
    let waste = waste(&stores, &bench).await;
    let mut keeper = open(&stores[0], "owner").await;
    let mut vault = open_all(&stores).await;
    let progress = Arc::<BackupProgress>::default();
    let run = backup(&mut vault, bench.cat("source", &["content", "gate"]), &progress, &|| Timestamp(5));
    let collecting = async {
        let session = session(&mut keeper).await;
        while progress.stored.bytes_known.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        append(&mut keeper, Op::Condemn { names: waste.clone() }).await.unwrap();
        answer(&mut keeper, session).await;
        let condemned = keeper.replica().state().condemned().clone();
        assert_eq!(condemned.len(), 1, "the names of the forgotten snapshot are nobody's");
        assert!(condemned.keys().all(|name| name.area == Area::Pack));
        let swept = append(&mut keeper, Op::Sweep { names: waste.clone() }).await;
        assert!(swept.is_err(), "what is kept is not swept");
        bench.open_gate().await;
    };
    let (done, ()) = futures_util::future::join(run, collecting).await;
    let done = done.unwrap();
    assert!(done.bytes_new < 100_000, "{} bytes are new", done.bytes_new);
    content_is(&stores[0], done.snapshot.unwrap(), &bench).await;
}

/// A run of `source` into two stores of which only the second has what is known; `fail` is called once the run has begun
/// on the first.
async fn run_beside_the_only_holder(
    stores: &[Store; 2],
    run: BackupOptions,
    fail: impl Fn(&shudao_vault::store::faults::Faults) + Sync,
) -> Result<BackupSummary, BackupError> {
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let store_options = StoreOptions { retry: once, ..StoreOptions::default() };
    let (view, faults) = stores[1].with_faults(Plan::default(), &store_options);
    let replicas = vec![Replica::open(stores[0].clone()).await.unwrap(), Replica::open(view).await.unwrap()];
    let mut vault = Vault::open_all(replicas, &Unlock::Passphrase("owner"), None).await.unwrap();
    let asked = AtomicU32::new(0);
    let clock = || {
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            fail(&faults);
        }
        Timestamp(5)
    };
    backup(&mut vault, run, &Arc::default(), &clock).await
}

/// A tree with the bench's content, backed up to the second store alone.
async fn known_to_the_second(stores: &[Store; 2], bench: &Bench) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::copy(bench.path("content"), tree.path().join("output")).unwrap();
    let spill = tempfile::tempdir().unwrap();
    let mut vault = open_all(&stores[1..]).await;
    backup(&mut vault, options(tree.path(), &spill), &Arc::default(), &|| Timestamp(2)).await.unwrap();
    tree
}

#[tokio::test(start_paused = true)]
async fn when_the_only_holder_fails_what_it_held_is_stored_anew_for_the_others() {
    let stores = new_vaults::<2>().await;
    let bench = Bench::new();
    let tree = known_to_the_second(&stores, &bench).await;
    let spill = tempfile::tempdir().unwrap();
    let done = run_beside_the_only_holder(&stores, options(tree.path(), &spill), |faults| {
        faults.refuse_for(Duration::from_secs(1 << 30));
    });
    let done = done.await.unwrap();
    assert!(done.replicas[0].is_committed() && !done.replicas[1].is_committed(), "{:?}", done.replicas);
    assert_eq!(done.notes.len(), 1, "{:?}", done.notes);
    assert!(done.bytes_new >= CONTENT_BYTES as u64);
    assert_eq!(done.counts.files, 1);
    content_is(&stores[0], done.snapshot.unwrap(), &bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_full_replica_holds_is_copied_from_it_and_not_read_again() {
    let stores = new_vaults::<2>().await;
    let bench = Bench::new();
    let tree = known_to_the_second(&stores, &bench).await;
    let spill = tempfile::tempdir().unwrap();
    let done =
        run_beside_the_only_holder(&stores, options(tree.path(), &spill), |_| stores[1].set_room(Some(1)));
    let done = done.await.unwrap();
    assert!(done.replicas[0].is_committed(), "{:?}", done.replicas);
    assert_eq!(done.replicas[1].failure.as_ref().map(shudao_vault::Error::kind), Some(Kind::Full));
    assert_eq!(done.notes.len(), 0, "{:?}", done.notes);
    content_is(&stores[0], done.snapshot.unwrap(), &bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_cannot_be_run_again_so_what_is_lost_under_it_fails_the_run_by_name() {
    let stores = new_vaults::<2>().await;
    let bench = Bench::new();
    let mut alone = open_all(&stores[1..]).await;
    let run = bench.cat("source", &["content"]);
    backup(&mut alone, run, &Arc::default(), &|| Timestamp(2)).await.unwrap();
    let run = run_beside_the_only_holder(&stores, bench.cat("source", &["content"]), |faults| {
        faults.refuse_for(Duration::from_secs(1 << 30));
    });
    let error = run.await.unwrap_err();
    assert!(matches!(&error, BackupError::Vault(cause) if cause.kind() == Kind::Conflict), "{error:?}");
    assert!(error.to_string().contains("on no replica any more"), "{error}");
    let (mut vault, progress) = (open_all(&stores[..1]).await, Arc::default());
    let again = backup(&mut vault, bench.cat("source", &["content"]), &progress, &|| Timestamp(6));
    content_is(&stores[0], again.await.unwrap().snapshot.unwrap(), &bench).await;
}

#[tokio::test]
async fn a_pack_that_a_segment_names_and_that_is_nowhere_counts_as_absent_from_the_beginning() {
    let stores = new_vaults::<1>().await;
    let bench = Bench::new();
    for name in waste(&stores, &bench).await.iter().filter(|name| name.area == Area::Pack) {
        stores[0].delete(&name.plain_key()).await.unwrap();
    }
    for round in 0..2 {
        let mut vault = open_all(&stores).await;
        let run = bench.cat("source", &["content"]);
        let done = backup(&mut vault, run, &Arc::default(), &|| Timestamp(5)).await.unwrap();
        assert_eq!(done.bytes_new >= CONTENT_BYTES as u64, round == 0, "round {round}: {}", done.bytes_new);
        content_is(&stores[0], done.snapshot.unwrap(), &bench).await;
    }
}

#[tokio::test]
async fn a_pack_that_only_one_of_those_that_name_it_has_is_copied_to_the_other() {
    let stores = new_vaults::<2>().await;
    let bench = Bench::new();
    for name in waste(&stores, &bench).await.iter().filter(|name| name.area == Area::Pack) {
        stores[0].delete(&name.plain_key()).await.unwrap();
    }
    let mut vault = open_all(&stores).await;
    let run = bench.cat("source", &["content"]);
    let done = backup(&mut vault, run, &Arc::default(), &|| Timestamp(5)).await.unwrap();
    assert!(done.replicas.iter().all(ReplicaOutcome::is_committed), "{:?}", done.replicas);
    assert!(done.bytes_new < 100_000, "{} bytes are new", done.bytes_new);
    for store in &stores {
        content_is(store, done.snapshot.unwrap(), &bench).await;
    }
}

#[tokio::test]
async fn a_commit_does_not_ask_for_packs_that_its_own_run_put() {
    let bench = Bench::new();
    let mut asked = Vec::new();
    for files in [&["content"][..], &["content", "content", "content"]] {
        let [store] = new_vaults::<1>().await;
        let mut vault = open_all(std::slice::from_ref(&store)).await;
        let before = store.usage().sizes;
        let run = bench.cat("source", files);
        backup(&mut vault, run, &Arc::default(), &|| Timestamp(5)).await.unwrap();
        asked.push(store.usage().sizes - before);
    }
    assert_eq!(asked, [0, 0]);
}
