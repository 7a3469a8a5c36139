//! One suite of behaviours that every backend must show.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use proptest::prelude::*;

use super::faults::{Fault, Plan, Request};
use super::*;

fn local_options() -> StoreOptions {
    let retry =
        RetryPolicy { attempts_max: 2, pause_first: Default::default(), pause_max: Default::default() };
    StoreOptions { retry, ..StoreOptions::default() }
}

async fn local(directory: &std::path::Path) -> Store {
    let address = Address::parse(directory.join("store").to_str().unwrap()).unwrap();
    let store = Store::open(&address, &local_options()).await.unwrap();
    store.prepare().await.unwrap();
    store
}

async fn conformance(store: &Store) {
    store.prepare().await.unwrap();
    objects_are_created_once_and_read_back(store).await;
    ranges_are_exact_or_damaged(store).await;
    put_is_idempotent_and_notices_another_size(store).await;
    deletion_of_what_is_absent_is_success(store).await;
    listings_are_sorted_recursive_and_below_the_prefix(store).await;
    names_that_are_not_ours_are_refused(store).await;
    many_creations_of_one_name_have_one_winner(store).await;
    assert_eq!(store.probe().await.unwrap(), Capabilities { create_if_absent: true });
    assert_eq!(store.list("probe/").await.unwrap(), []);
}

async fn objects_are_created_once_and_read_back(store: &Store) {
    let (path, bytes) = ("packs/ab/abcd~1042", Bytes::from_static(b"first"));
    assert_eq!(store.size(path).await.unwrap(), None);
    assert_eq!(store.read(path).await.unwrap_err().kind(), Kind::Missing);
    assert_eq!(store.create(path, bytes.clone()).await.unwrap(), Creation::New);
    assert_eq!(store.create(path, Bytes::from_static(b"second")).await.unwrap(), Creation::Exists);
    assert_eq!(store.read(path).await.unwrap(), bytes);
    assert_eq!(store.size(path).await.unwrap(), Some(5));
    assert_eq!(store.create("empty", Bytes::new()).await.unwrap(), Creation::New);
    assert_eq!(store.read("empty").await.unwrap(), Bytes::new());
    assert_eq!(store.size("empty").await.unwrap(), Some(0));
    // An object below an object's name is absent, whether or not the store has directories.
    assert_eq!(store.read("empty/below").await.unwrap_err().kind(), Kind::Missing);
    store.delete("empty").await.unwrap();
    store.delete(path).await.unwrap();
}

async fn ranges_are_exact_or_damaged(store: &Store) {
    let path = "index/range";
    store.create(path, Bytes::from_static(b"0123456789")).await.unwrap();
    let table: [(u64, u64, Option<&[u8]>); 8] = [
        (0, 10, Some(b"0123456789")),
        (3, 4, Some(b"3456")),
        (9, 1, Some(b"9")),
        (10, 0, Some(b"")),
        (9, 2, None),
        (10, 1, None),
        (100, 1, None),
        (u64::MAX, 2, None),
    ];
    for (offset, len, expected) in table {
        match (store.read_range(path, offset, len).await, expected) {
            (Ok(bytes), Some(expected)) => assert_eq!(bytes, expected, "{offset}+{len}"),
            (Err(error), None) => {
                assert_eq!(error.kind(), Kind::Damaged, "{offset}+{len}: {error}");
                assert!(error.to_string().contains(path), "{error}");
            }
            (got, _) => panic!("{offset}+{len}: {got:?}"),
        }
    }
    assert_eq!(store.read_range("index/none", 0, 1).await.unwrap_err().kind(), Kind::Missing);
    store.delete(path).await.unwrap();
}

async fn put_is_idempotent_and_notices_another_size(store: &Store) {
    let path = "snapshots/put";
    store.put(path, Bytes::from_static(b"content")).await.unwrap();
    store.put(path, Bytes::from_static(b"content")).await.unwrap();
    let error = store.put(path, Bytes::from_static(b"longer content")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains(path), "{error}");
    store.delete(path).await.unwrap();
}

async fn deletion_of_what_is_absent_is_success(store: &Store) {
    store.delete("keys/none").await.unwrap();
    store.create("keys/one", Bytes::from_static(b"1")).await.unwrap();
    store.delete("keys/one").await.unwrap();
    store.delete("keys/one").await.unwrap();
    store.delete("keys/one/below").await.unwrap();
    assert_eq!(store.size("keys/one").await.unwrap(), None);
    assert_eq!(store.create("keys/one", Bytes::from_static(b"2")).await.unwrap(), Creation::New);
    store.delete("keys/one").await.unwrap();
}

async fn listings_are_sorted_recursive_and_below_the_prefix(store: &Store) {
    assert_eq!(store.list("").await.unwrap(), []);
    let paths = ["log/10", "log/2", "packs/00/b", "packs/00/a", "packs/01/c", "packs-other", "vault.json"];
    for path in paths {
        store.create(path, Bytes::from(path)).await.unwrap();
    }
    let all = store.list("").await.unwrap();
    let mut sorted = paths.to_vec();
    sorted.sort_unstable();
    assert_eq!(all.iter().map(|object| object.path.as_str()).collect::<Vec<_>>(), sorted);
    assert!(all.iter().all(|object| object.bytes == object.path.len() as u64));
    let packs = store.list("packs/").await.unwrap();
    let packs: Vec<_> = packs.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(packs, ["packs/00/a", "packs/00/b", "packs/01/c"]);
    assert_eq!(store.list("nothing/here/").await.unwrap(), []);
    for path in paths {
        store.delete(path).await.unwrap();
    }
}

async fn names_that_are_not_ours_are_refused(store: &Store) {
    for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "tmp/x", "a/"] {
        assert_eq!(store.create(path, Bytes::new()).await.unwrap_err().kind(), Kind::Bug, "{path:?}");
        assert_eq!(store.read(path).await.unwrap_err().kind(), Kind::Bug, "{path:?}");
        assert_eq!(store.delete(path).await.unwrap_err().kind(), Kind::Bug, "{path:?}");
    }
    assert_eq!(store.list("packs").await.unwrap_err().kind(), Kind::Bug);
}

async fn many_creations_of_one_name_have_one_winner(store: &Store) {
    let tasks = (0..32_u8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            // Large enough that a torn object could be seen.
            let bytes = Bytes::from(vec![n; 100_000]);
            (n, store.create("log/race", bytes).await.unwrap())
        })
    });
    let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(|outcome| outcome.unwrap()).collect();
    let winners: Vec<u8> =
        outcomes.iter().filter(|(_, creation)| *creation == Creation::New).map(|(n, _)| *n).collect();
    let [winner] = winners[..] else { panic!("{winners:?} won") };
    assert_eq!(store.read("log/race").await.unwrap(), vec![winner; 100_000]);
    store.delete("log/race").await.unwrap();
}

#[tokio::test]
async fn memory_conforms() {
    conformance(&Store::memory()).await;
}

/// Lost requests, lost answers, delays and short outages are the store's own to hide.
#[tokio::test(start_paused = true)]
async fn memory_behind_a_bad_line_conforms() {
    let mut injected = 0;
    for seed in 0..30 {
        let mut plan = Plan {
            delay_permille: 300,
            delay_max: Duration::from_secs(3),
            outage_permille: 3,
            outage_max: Duration::from_secs(3),
            ..Plan::default()
        };
        for request in [Request::Read, Request::Size, Request::Create, Request::Delete, Request::List] {
            plan = plan.with(request, Fault::LostRequest, 100);
        }
        for request in [Request::Create, Request::Delete] {
            plan = plan.with(request, Fault::LostAnswer, 100);
        }
        let (store, faults) =
            Store::memory().with_faults(plan, &StoreOptions { seed, ..StoreOptions::default() });
        conformance(&store).await;
        injected += faults.injected();
    }
    assert!(injected > 300, "{injected}");
}

#[tokio::test]
async fn a_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance(&local(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_conforms_on_many_threads() {
    let directory = tempfile::tempdir().unwrap();
    conformance(&local(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_of_one_directory_have_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [local(directory.path()).await, local(directory.path()).await];
    for n in 0..50 {
        let path = format!("log/{n}");
        let creations =
            join_all(stores.iter().map(|store| store.create(&path, Bytes::from_static(b"x")))).await;
        let new =
            creations.into_iter().filter(|creation| *creation.as_ref().unwrap() == Creation::New).count();
        assert_eq!(new, 1, "{path}");
    }
}

#[tokio::test]
async fn usage_counts_requests_and_bytes() {
    let store = Store::memory();
    store.create("a", Bytes::from_static(b"12345")).await.unwrap();
    store.create("a", Bytes::from_static(b"12345")).await.unwrap();
    store.clone().read("a").await.unwrap();
    store.read_range("a", 1, 2).await.unwrap();
    store.size("a").await.unwrap();
    store.list("").await.unwrap();
    store.delete("a").await.unwrap();
    let expected = Usage {
        reads: 2,
        bytes_read: 7,
        writes: 2,
        bytes_written: 5,
        sizes: 1,
        lists: 1,
        deletes: 1,
        locks: 0,
        retries: 0,
    };
    assert_eq!(store.usage(), expected);
}

#[tokio::test]
async fn an_object_longer_than_any_of_a_vault_is_refused_before_it_is_sent() {
    let store = Store::memory();
    assert_eq!(store.read_range("a", 0, OBJECT_BYTES_MAX + 1).await.unwrap_err().kind(), Kind::Bug);
    assert_eq!(store.usage(), Usage::default());
}

#[tokio::test]
async fn a_limited_store_still_moves_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::parse(directory.path().to_str().unwrap()).unwrap();
    let options = StoreOptions { bandwidth_bytes_per_second: Some(64 << 20), ..local_options() };
    let store = Store::open(&address, &options).await.unwrap();
    let bytes = Bytes::from(vec![7; 1 << 20]);
    store.put("packs/00/limited", bytes.clone()).await.unwrap();
    assert_eq!(store.read("packs/00/limited").await.unwrap(), bytes);
}

#[derive(Debug, Clone)]
enum Act {
    Create(u8, Vec<u8>),
    Delete(u8),
    Read(u8),
    List,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..4_u8;
    let act = prop_oneof![
        (name.clone(), proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(name, bytes)| Act::Create(name, bytes)),
        name.clone().prop_map(Act::Delete),
        name.prop_map(Act::Read),
        Just(Act::List),
    ];
    proptest::collection::vec(act, 0..30)
}

/// What the caller sees of one act.
async fn perform(store: &Store, act: &Act) -> String {
    let path = |name: &u8| format!("packs/{name}/x");
    match act {
        Act::Create(name, bytes) => {
            format!("{:?}", store.create(&path(name), Bytes::from(bytes.clone())).await.unwrap())
        }
        Act::Delete(name) => format!("{:?}", store.delete(&path(name)).await.unwrap()),
        Act::Read(name) => format!("{:?}", store.read(&path(name)).await.map_err(|error| error.kind())),
        Act::List => {
            let listed = store.list("packs/").await.unwrap().into_iter();
            format!("{:?}", listed.map(|object| (object.path, object.bytes)).collect::<Vec<_>>())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_directory_and_memory_answer_every_history_alike(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let (local, memory) = (local(directory.path()).await, Store::memory());
            for act in &acts {
                assert_eq!(perform(&local, act).await, perform(&memory, act).await, "{act:?}");
            }
        });
    }
}

#[test]
fn a_store_can_be_shared_between_threads_and_tasks() {
    fn shareable<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sendable<T: Send>(_: T) {}
    let store = Store::memory();
    shareable(&store);
    let (path, _keep) = ("x", Arc::new(()));
    sendable(store.read(path));
    sendable(store.create(path, Bytes::new()));
    sendable(store.put(path, Bytes::new()));
    sendable(store.list(""));
    sendable(store.probe());
}
