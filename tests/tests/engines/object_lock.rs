//! Object lock and older versions, against a server that has both.

use std::time::Duration;

use bytes::Bytes;
use shudao_tests::content::plant_small;
use shudao_tests::moto::Moto;
use shudao_tests::s3::S3Server;
use shudao_tests::tool::source_dir;
use shudao_vault::Kind;
use shudao_vault::id::{ObjectId, Timestamp};
use shudao_vault::lock_pass::{LockRules, lock_pass};
use shudao_vault::log::Config;
use shudao_vault::name::Name;
use shudao_vault::needed::NeedReader;
use shudao_vault::objects::Objects;
use shudao_vault::store::lock::generation::Generations;
use shudao_vault::store::lock::{LockMode, LockSupport, Retention};
use shudao_vault::store::{Address, Creation, RetryPolicy, Store, StoreOptions};

use crate::place::{Place, back_up, now, open_as_owner};

const RIGHT: Bytes = Bytes::from_static(b"what was acknowledged");

async fn open(address: &str, env: Vec<(String, String)>) -> Store {
    let retry = RetryPolicy { attempts_max: 2, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
    let options = StoreOptions { credentials: env.into_iter().collect(), retry, ..StoreOptions::default() };
    Store::open(&Address::parse(address).unwrap(), &options).await.unwrap()
}

async fn vault_in(server: &Moto) -> Store {
    open(&server.replica("a vault/+1"), server.env()).await
}

/// The path of an object of [`vault_in`], as a URL has it.
fn target(path: &str) -> String {
    format!("/a%20vault/%2B1/{path}")
}

fn until(mode: LockMode, year: i64) -> Retention {
    Retention { mode, until: Timestamp((year - 1970) * 365 * 24 * 3600 * 1_000_000) }
}

/// The ids of an object's versions, as the server lists them.
fn version_ids(server: &Moto) -> Vec<String> {
    let listing = server.request("GET", "?versions", "", "");
    let ids = listing.split("<VersionId>").skip(1);
    ids.map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

#[test]
fn a_bucket_says_whether_it_has_object_lock() {
    let (locking, plain, simple) = (Moto::with_object_lock(), Moto::start(), S3Server::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(vault_in(&locking).await.lock_support().await.unwrap(), LockSupport::Ready);
        let simple = open(&simple.replica("v"), simple.env()).await;
        let table = [(vault_in(&plain).await, "made without object lock"), (simple, "server does not know")];
        for (store, part) in table {
            let LockSupport::Missing(why) = store.lock_support().await.unwrap() else { panic!("{part}") };
            assert!(why.contains(part), "{why}");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_extended_and_never_shortened_and_the_server_keeps_it() {
    let server = Moto::with_object_lock();
    let store = vault_in(&server).await;
    let path = "packs/00/x";
    assert_eq!(store.locked_until(path).await.unwrap_err().kind(), Kind::Missing);
    store.put(path, RIGHT).await.unwrap();
    assert_eq!(store.locked_until(path).await.unwrap(), None);
    let steps = [
        (until(LockMode::Governance, 2100), until(LockMode::Governance, 2100)),
        (until(LockMode::Governance, 2090), until(LockMode::Governance, 2100)),
        (until(LockMode::Governance, 2110), until(LockMode::Governance, 2110)),
        (until(LockMode::Compliance, 2090), until(LockMode::Compliance, 2110)),
        (until(LockMode::Governance, 2120), until(LockMode::Compliance, 2120)),
    ];
    for (wanted, expected) in steps {
        let before = store.locked_until(path).await.unwrap();
        assert_eq!(store.lock_until(path, wanted).await.unwrap(), before != Some(expected));
        assert_eq!(store.locked_until(path).await.unwrap(), Some(expected), "{wanted:?}");
    }
    let [id] = &version_ids(&server)[..] else { panic!("one version") };
    let delete =
        |path: &str, id: &str| server.request("DELETE", &format!("{}?versionId={id}", target(path)), "", "");
    assert!(delete(path, id).contains("AccessDenied"), "the server keeps what is locked");
    store.put("packs/00/unlocked", RIGHT).await.unwrap();
    let ids = version_ids(&server);
    let other = ids.iter().find(|other| *other != id).unwrap();
    assert!(delete("packs/00/unlocked", other).contains(" 204 "), "and nothing else");
    assert_eq!(store.read(path).await.unwrap(), RIGHT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_set_again_costs_no_write() {
    let server = Moto::with_object_lock();
    let store = vault_in(&server).await;
    store.put("packs/00/x", RIGHT).await.unwrap();
    let wanted = until(LockMode::Governance, 2100);
    store.lock_until("packs/00/x", wanted).await.unwrap();
    let before = store.usage().locks;
    store.lock_until("packs/00/x", wanted).await.unwrap();
    assert_eq!(store.usage().locks, before + 1, "it only looks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_hidden_under_garbage_is_read_and_locked_all_the_same() {
    let server = Moto::with_object_lock();
    let store = vault_in(&server).await;
    let objects = Objects::new(store.clone());
    let name = Name::pack(ObjectId::of(&RIGHT));
    let path = objects.key(&name);
    objects.put(&name, RIGHT).await.unwrap();
    for garbage in ["garbage", "more garbage"] {
        let answer = server.request("PUT", &target(&path), "", garbage);
        assert!(answer.contains(" 200 "), "{answer}");
    }
    assert_eq!(store.read(&path).await.unwrap(), "more garbage");
    assert_eq!(objects.read(&name).await.unwrap(), RIGHT);
    assert_eq!(store.read_older(&path, |_| false).await.unwrap(), None);
    let wanted = until(LockMode::Governance, 2100);
    store.lock_until(&path, wanted).await.unwrap();
    let ids = version_ids(&server);
    assert_eq!(ids.len(), 3);
    for id in ids {
        let answer = server.request("HEAD", &format!("{}?versionId={id}", target(&path)), "", "");
        assert!(answer.to_lowercase().contains("x-amz-object-lock-mode: governance"), "{answer}");
    }
    // An object of whose name this one is the beginning is another object.
    store.create(&format!("{path}~12"), Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(store.locked_until(&path).await.unwrap(), Some(wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_under_a_deletion_is_read_and_put_back() {
    let server = Moto::with_object_lock();
    let store = vault_in(&server).await;
    let objects = Objects::new(store.clone());
    let name = Name::pack(ObjectId::of(&RIGHT));
    let path = objects.key(&name);
    objects.put(&name, RIGHT).await.unwrap();
    store.lock_until(&path, until(LockMode::Compliance, 2100)).await.unwrap();
    // What a thief with the right to delete can still do: the versions stay.
    store.delete(&path).await.unwrap();
    assert_eq!(store.read(&path).await.unwrap_err().kind(), Kind::Missing);
    let found = objects.read(&name).await.unwrap();
    assert_eq!(found, RIGHT);
    assert_eq!(store.create(&path, found).await.unwrap(), Creation::New);
    assert_eq!(store.read(&path).await.unwrap(), RIGHT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_locks_all_that_a_replica_needs_and_the_next_one_finds_it_done() {
    let server = Moto::with_object_lock();
    let place = Place::at(vault_in(&server).await, Config::default()).await;
    let directory = tempfile::tempdir().unwrap();
    plant_small(directory.path(), 1);
    let mut vault = open_as_owner(place.store()).await.unwrap();
    back_up(&mut vault, "source", directory.path()).await;
    let stray = "packs/00/stray";
    place.store().create(stray, RIGHT).await.unwrap();
    let month = Duration::from_secs(30 * 24 * 3600);
    let rules = LockRules {
        mode: LockMode::Governance,
        generations: Generations::new(month, Generations::LENGTH),
        since: Timestamp(0),
    };
    let time = now();
    let needed = NeedReader::default().needed(vault.replica(), time).await.unwrap();
    let first = lock_pass(vault.replica(), &needed, rules, time).await;
    assert!(first.failed.is_empty(), "{:?}", first.failed);
    for object in place.store().list("").await.unwrap() {
        let lock = place.store().locked_until(&object.path).await.unwrap();
        let expected = Retention { mode: LockMode::Governance, until: rules.generations.until(time) };
        assert_eq!(lock, (object.path != stray).then_some(expected), "{}", object.path);
    }
    let again = lock_pass(vault.replica(), &needed, rules, time).await;
    assert_eq!((again.extended, again.covered), (0, first.extended));
    let later = lock_pass(vault.replica(), &needed, rules, first.next_pass).await;
    assert_eq!((later.extended, later.covered), (first.extended, 0));
}

#[test]
fn every_line_of_the_policies_that_we_ship_is_explained() {
    let text = std::fs::read_to_string(source_dir().join("docs/object-lock.md")).unwrap();
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    for (n, part) in text.split("```").enumerate() {
        match part.strip_prefix("json\n") {
            Some(json) if n % 2 == 1 => blocks.push(serde_json::from_str::<serde_json::Value>(json).unwrap()),
            _ => prose.push_str(part),
        }
    }
    assert_eq!(blocks.len(), 4);
    for block in &blocks {
        let (list, name) = if block["Rules"].is_array() { ("Rules", "ID") } else { ("Statement", "Sid") };
        for line in block[list].as_array().unwrap() {
            let name = line[name].as_str().unwrap();
            assert!(prose.contains(&format!("| `{name}` |")), "{name} is not explained");
        }
    }
}
