//! A vault whose settings want its objects locked: nothing is committed that could be deleted before its time.

use shudao_tests::content::{plant_small, put};
use shudao_tests::moto::Moto;
use shudao_vault::Kind;
use shudao_vault::id::Timestamp;
use shudao_vault::keys::Role;
use shudao_vault::keys::slot::Lock;
use shudao_vault::lock_pass::{lock_pass, review, review_sample};
use shudao_vault::log::{Config, LockSettings};
use shudao_vault::needed::NeedReader;
use shudao_vault::replica::Replica;
use shudao_vault::store::lock::LockMode;
use shudao_vault::store::{Address, RetryPolicy, Store, StoreOptions};
use shudao_vault::suite::KdfCost;
use shudao_vault::sync::{SyncProgress, sync};
use shudao_vault::vault;
use std::time::Duration;
use tempfile::TempDir;

use crate::place::{Place, back_up, days_pass, now, open_as_owner, try_to_back_up};

const GENERATION_DAYS: i64 = 10;

async fn bucket(server: &Moto) -> Store {
    let retry = RetryPolicy { attempts_max: 2, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
    let options =
        StoreOptions { credentials: server.env().into_iter().collect(), retry, ..StoreOptions::default() };
    Store::open(&Address::parse(&server.replica("v")).unwrap(), &options).await.unwrap()
}

fn monthly() -> Option<LockSettings> {
    let generation_days = GENERATION_DAYS.try_into().unwrap();
    Some(LockSettings { mode: LockMode::Governance, keep_days: 30, generation_days, since: now() })
}

fn source() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    plant_small(directory.path(), 1);
    directory
}

/// A vault in a bucket, of which it is settled that it is kept locked.
async fn locked(server: &Moto) -> Place {
    let mut place = Place::at(bucket(server).await, Config::default()).await;
    place.owner.set_locks(monthly(), now()).await.unwrap();
    place
}

/// Which of the objects that the newest snapshot relies on, and of those that open the vault, are not locked long enough.
async fn wanting(replica: &Replica, at: Timestamp) -> Vec<String> {
    let review = review_sample(replica, replica.lock_rules().unwrap(), at).await;
    assert!(review.failed.is_empty(), "{:?}", review.failed);
    let found = review.unlocked.into_iter().chain(review.short);
    found.filter(|key| !key.starts_with("log/")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_snapshot_relies_on_is_locked_when_it_becomes_visible() {
    let server = Moto::with_object_lock();
    let mut place = locked(&server).await;
    let directory = source();
    back_up(&mut place.owner, "source", directory.path()).await;
    assert_eq!(wanting(place.owner.replica(), now()).await, Vec::<String>::new());
    // In the same generation what the parent locked is not asked for again; in the next one it is locked anew.
    let mut costs = Vec::new();
    for (generation, days) in [("same", 0), ("next", GENERATION_DAYS)] {
        days_pass(days);
        put(&directory.path().join(generation), generation.as_bytes());
        let before = place.store().usage().locks;
        back_up(&mut place.owner, "source", directory.path()).await;
        costs.push(place.store().usage().locks - before);
        assert_eq!(wanting(place.owner.replica(), now()).await, Vec::<String>::new(), "{generation}");
    }
    assert!(costs[0] < costs[1], "{costs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_committed_while_the_store_refuses_locks() {
    let server = Moto::with_object_lock();
    let mut place = locked(&server).await;
    let directory = source();
    // The ways in are locked, so the run begins; its packs cannot be.
    let needed = NeedReader::default().needed(place.owner.replica(), now()).await.unwrap();
    let rules = place.owner.replica().lock_rules().unwrap();
    assert!(lock_pass(place.owner.replica(), &needed, rules, now()).await.failed.is_empty());
    server.refuse_locks();
    let refused = try_to_back_up(&mut place.owner, "source", directory.path()).await.unwrap_err();
    let shown = vault::chain(&refused);
    assert!(shown.contains("the vault's settings want it locked"), "{shown}");
    let mut seen = open_as_owner(place.store()).await.unwrap();
    assert!(seen.visible().is_empty());
    server.allow_locks();
    back_up(&mut seen, "source", directory.path()).await;
    assert_eq!(wanting(seen.replica(), now()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_learns_before_it_reads_anything_that_it_cannot_lock() {
    let server = Moto::with_object_lock();
    let mut place = locked(&server).await;
    let entries = place.owner.replica().state().next();
    server.refuse_locks();
    let nowhere = std::path::Path::new("/nowhere");
    let refused = try_to_back_up(&mut place.owner, "source", nowhere).await.unwrap_err();
    assert!(vault::chain(&refused).contains("vault.json"), "{refused}");
    assert_eq!(open_as_owner(place.store()).await.unwrap().replica().state().next(), entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_settled_only_where_all_opened_replicas_can_lock_and_by_the_owner() {
    let (locking, plain) = (Moto::with_object_lock(), Moto::start());
    let mut place = Place::at(bucket(&plain).await, Config::default()).await;
    let refused = place.owner.set_locks(monthly(), now()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unlocked);
    assert!(refused.to_string().contains("made without object lock"), "{refused}");
    assert!(place.owner.config().locks.is_empty());
    let mut place = Place::at(bucket(&locking).await, Config::default()).await;
    let mut keeper = place.add(Role::Keeper, "keeper").await;
    assert_eq!(keeper.set_locks(monthly(), now()).await.unwrap_err().kind(), Kind::Forbidden);
    let never = monthly().map(|settings| LockSettings { keep_days: 0, ..settings });
    assert_eq!(place.owner.set_locks(never, now()).await.unwrap_err().kind(), Kind::Input);
    place.owner.set_locks(monthly(), now()).await.unwrap();
    assert!(place.owner.replica().lock_rules().is_some());
    place.owner.set_locks(None, now()).await.unwrap();
    assert!(place.owner.replica().lock_rules().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_locked_before_the_log_names_it() {
    let server = Moto::with_object_lock();
    let mut place = locked(&server).await;
    server.refuse_locks();
    let cost = KdfCost::new(8, 1, 1).unwrap();
    let added =
        place.owner.add_key(Role::Owner, "b", Lock::Passphrase("b", cost), &[], now()).await.unwrap_err();
    assert_eq!(added.kind(), Kind::Unlocked);
    assert_eq!(place.owner.replica().keys().await.unwrap().len(), 1);
    server.allow_locks();
    place.owner.add_key(Role::Owner, "b", Lock::Passphrase("b", cost), &[], now()).await.unwrap();
    let rules = place.owner.replica().lock_rules().unwrap();
    let review = review_sample(place.owner.replica(), rules, now()).await;
    assert_eq!(review.unlocked.iter().filter(|key| key.starts_with("keys/")).count(), 1, "the first one's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_courier_brings_is_locked_at_the_target() {
    let server = Moto::with_object_lock();
    let mut place = Place::new().await;
    let directory = source();
    let target = bucket(&server).await;
    place.owner.add_replica(vault::Place { store: target.clone(), name: "target" }, now()).await.unwrap();
    let bring = async |from: &Replica| {
        let mut to = Replica::open(target.clone()).await.unwrap();
        let sources = shudao_vault::replicas::Siblings::new([from.objects().clone()]);
        let synced = sync(from, &mut to, &sources, &now, &SyncProgress::default()).await.unwrap();
        assert!(synced.failed.is_empty(), "{:?}", synced.failed);
        to
    };
    bring(place.owner.replica()).await;
    open_as_owner(&target).await.unwrap().set_locks(monthly(), now()).await.unwrap();
    back_up(&mut place.owner, "source", directory.path()).await;
    let to = bring(place.owner.replica()).await;
    assert_eq!(to.state().visible().len(), 1);
    let rules = to.lock_rules().unwrap();
    let review = review_sample(&to, rules, now()).await;
    let outside =
        |key: &&String| !["packs/", "index/", "snapshots/"].iter().any(|area| key.starts_with(area));
    assert!(review.unlocked.iter().all(|key| outside(&key)), "{:?}", review.unlocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_locked_and_what_runs_out_soon_is_seen() {
    let server = Moto::with_object_lock();
    let mut place = locked(&server).await;
    let directory = source();
    back_up(&mut place.owner, "source", directory.path()).await;
    let rules = place.owner.replica().lock_rules().unwrap();
    let needed = NeedReader::default().needed(place.owner.replica(), now()).await.unwrap();
    assert!(lock_pass(place.owner.replica(), &needed, rules, now()).await.failed.is_empty());
    let look = async |at| review(place.owner.replica(), &needed, rules, at).await;
    let first = look(now()).await;
    assert_eq!((first.unlocked.len(), first.short.len()), (0, 0));
    assert_eq!(first.first_end, Some(rules.wanted(now()).until));
    // A second version of one object, which nobody locked.
    let pack = place.store().list("packs/").await.unwrap().remove(0).path;
    let answer = server.request("PUT", &format!("/v/{pack}"), "", "garbage");
    assert!(answer.contains(" 200 "), "{answer}");
    assert_eq!(look(now()).await.unlocked, [pack]);
    // No pass was made in the next generation: everything holds for less than the kept time.
    days_pass(GENERATION_DAYS);
    let late = look(now()).await;
    assert_eq!(late.short.len() + late.unlocked.len(), late.looked);
    assert!(lock_pass(place.owner.replica(), &needed, rules, now()).await.failed.is_empty());
    let mended = look(now()).await;
    assert_eq!((mended.unlocked.len(), mended.short.len()), (0, 0));
}
