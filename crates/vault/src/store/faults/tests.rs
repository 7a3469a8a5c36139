//! Each fault as a client sees it, and what the store's own contract makes of it.

use std::collections::BTreeSet;

use super::super::{Creation, RetryPolicy, Usage};
use super::*;
use bytes::Bytes;

const ENTRY: Bytes = Bytes::from_static(b"an entry with its nonce");
const OTHER: Bytes = Bytes::from_static(b"another client's entry.");

fn seeded(seed: u64) -> StoreOptions {
    StoreOptions { seed, ..StoreOptions::default() }
}

/// Options of a client that asks once.
fn once() -> StoreOptions {
    StoreOptions { retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() }, ..seeded(1) }
}

fn view(storage: &Store) -> (Store, Faults) {
    storage.with_faults(Plan::default(), &seeded(1))
}

fn paths(listed: &[super::super::Listed]) -> Vec<&str> {
    listed.iter().map(|object| object.path.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn without_a_plan_a_view_shows_its_storage_as_it_is() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::New);
    assert_eq!(storage.read("log/1").await.unwrap(), ENTRY);
    assert_eq!(store.inside().unwrap().objects().len(), 1);
    assert_eq!(faults.injected(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_before_the_effect_leaves_nothing() {
    let storage = Store::memory();
    let (store, faults) = storage.with_faults(Plan::default(), &once());
    faults.once(Request::Create, "log/1", Fault::LostRequest);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(storage.size("log/1").await.unwrap(), None);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::New);
    assert_eq!(faults.injected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_answer_was_lost_is_found_to_be_ones_own() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    faults.once(Request::Create, "log/1", Fault::LostAnswer);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::New);
    assert_eq!(store.usage().retries, 1);
    faults.once(Request::Create, "packs/00/x", Fault::LostAnswer);
    store.put("packs/00/x", ENTRY).await.unwrap();
    assert_eq!(storage.read("packs/00/x").await.unwrap(), ENTRY);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_never_arrived_is_told_from_anothers_that_did() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    storage.create("log/1", OTHER).await.unwrap();
    faults.once(Request::Create, "log/1", Fault::LostRequest);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::Exists);
    assert_eq!(storage.read("log/1").await.unwrap(), OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_deletion_lands_after_its_sender_has_gone_on() {
    let storage = Store::memory();
    let (store, faults) =
        storage.with_faults(Plan { late_requests_max: u64::MAX, ..Plan::default() }, &seeded(1));
    storage.create("packs/00/x", ENTRY).await.unwrap();
    faults.once(Request::Delete, "packs/00/x", Fault::Late);
    store.delete("packs/00/x").await.unwrap();
    assert_eq!(store.create("packs/00/x", ENTRY).await.unwrap(), Creation::New);
    faults.settle().await;
    assert_eq!(storage.size("packs/00/x").await.unwrap(), None, "the late deletion took the new object");
}

#[tokio::test(start_paused = true)]
async fn a_late_request_lands_by_itself_after_further_ones_of_any_client() {
    let storage = Store::memory();
    let plan = Plan { late_requests_max: 10, ..Plan::default() };
    let (store, faults) = storage.with_faults(plan, &once());
    let (other, _) = view(&storage);
    faults.once(Request::Create, "log/1", Fault::Late);
    assert_eq!(store.create("log/1", ENTRY).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(storage.size("log/1").await.unwrap(), None);
    for _ in 0..12 {
        other.size("vault.json").await.unwrap();
    }
    assert_eq!(storage.read("log/1").await.unwrap(), ENTRY);
}

#[tokio::test(start_paused = true)]
async fn a_late_creation_never_replaces_what_came_before_it() {
    let storage = Store::memory();
    let plan = Plan { late_requests_max: u64::MAX, ..Plan::default() };
    let (store, faults) = storage.with_faults(plan, &once());
    faults.once(Request::Create, "log/1", Fault::Late);
    store.create("log/1", ENTRY).await.unwrap_err();
    storage.create("log/1", OTHER).await.unwrap();
    faults.settle().await;
    assert_eq!(storage.read("log/1").await.unwrap(), OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_stale_listing_shows_what_is_gone_and_lacks_what_is_new() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    for path in ["packs/00/a", "packs/00/b"] {
        store.create(path, ENTRY).await.unwrap();
    }
    let before = paths(&store.list("packs/").await.unwrap()).join(" ");
    store.delete("packs/00/a").await.unwrap();
    store.create("packs/00/c", ENTRY).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        faults.once(Request::List, "packs/", Fault::Stale);
        seen.insert(paths(&store.list("packs/").await.unwrap()).join(" "));
    }
    assert!(seen.contains(&before), "{seen:?}");
    assert_eq!(paths(&store.list("packs/").await.unwrap()), ["packs/00/b", "packs/00/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_partial_listing_lacks_a_stretch_and_invents_nothing() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    faults.once(Request::List, "", Fault::Partial);
    assert_eq!(store.list("").await.unwrap(), []);
    let names: Vec<String> = (0..9).map(|n| format!("log/{n}")).collect();
    for name in &names {
        store.create(name, ENTRY).await.unwrap();
    }
    for _ in 0..50 {
        faults.once(Request::List, "log/", Fault::Partial);
        let listed = store.list("log/").await.unwrap();
        assert!(listed.len() < names.len());
        assert!(listed.iter().all(|object| names.contains(&object.path)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_ends_early_is_damage_for_a_range_and_too_few_bytes_for_an_object() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    store.create("index/x", ENTRY).await.unwrap();
    for _ in 0..20 {
        faults.once(Request::Read, "index/x", Fault::Cut);
        let cut = store.read("index/x").await.unwrap();
        assert!(cut.len() < ENTRY.len() && ENTRY.starts_with(&cut));
        faults.once(Request::Read, "index/x", Fault::Cut);
        let error = store.read_range("index/x", 3, 10).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
    }
    assert_eq!(store.read_range("index/x", 3, 10).await.unwrap(), ENTRY.slice(3..13));
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_read_once_and_stored_never() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    store.create("index/x", ENTRY).await.unwrap();
    let wrong_bits = |bytes: &Bytes, right: &Bytes| -> u32 {
        bytes.iter().zip(right).map(|(a, b)| (a ^ b).count_ones()).sum()
    };
    faults.once(Request::Read, "index/x", Fault::Flipped);
    assert_eq!(wrong_bits(&store.read("index/x").await.unwrap(), &ENTRY), 1);
    faults.once(Request::Read, "index/x", Fault::Flipped);
    let range = store.read_range("index/x", 2, 5).await.unwrap();
    assert_eq!(wrong_bits(&range, &ENTRY.slice(2..7)), 1);
    assert_eq!(store.read("index/x").await.unwrap(), ENTRY);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_for_a_while_is_asked_until_it_answers() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    let start = Instant::now();
    faults.refuse_for(Duration::from_secs(10));
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::New);
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(storage.size("log/1").await.unwrap(), Some(ENTRY.len() as u64));
    faults.refuse_for(Duration::from_secs(3600));
    assert_eq!(store.read("log/1").await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_the_runtimes_time_and_no_longer_than_planned() {
    let plan = Plan { delay_permille: 1000, delay_max: Duration::from_secs(5), ..Plan::default() };
    let (store, _) = Store::memory().with_faults(plan, &seeded(1));
    let start = Instant::now();
    for n in 0..10 {
        store.create(&format!("log/{n}"), ENTRY).await.unwrap();
    }
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_secs(1) && elapsed <= Duration::from_secs(100), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stands_still_goes_on_afterwards() {
    let storage = Store::memory();
    let (store, faults) = view(&storage);
    let a_week = Duration::from_secs(7 * 24 * 3600);
    faults.pause_for(a_week);
    let start = Instant::now();
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::New);
    assert!(start.elapsed() >= a_week);
}

#[tokio::test(start_paused = true)]
async fn a_storage_without_room_is_full_until_something_is_deleted() {
    let storage = Store::memory();
    let (store, _) = view(&storage);
    storage.inside().unwrap().set_bytes_max(Some(ENTRY.len() as u64));
    store.create("log/1", ENTRY).await.unwrap();
    assert_eq!(store.create("log/2", ENTRY).await.unwrap_err().kind(), Kind::Full);
    store.delete("log/1").await.unwrap();
    assert_eq!(store.create("log/2", ENTRY).await.unwrap(), Creation::New);
}

#[tokio::test(start_paused = true)]
async fn a_storage_without_create_if_absent_tells_two_clients_that_they_won() {
    for (condition, stays) in [(Condition::LastWins, OTHER), (Condition::FirstWins, ENTRY)] {
        let storage = Store::memory();
        let plan = Plan { condition, ..Plan::default() };
        for bytes in [ENTRY, OTHER] {
            let (store, _) = storage.with_faults(plan.clone(), &seeded(1));
            store.assume(super::super::Capabilities { create_if_absent: true });
            assert_eq!(store.create("log/1", bytes).await.unwrap(), Creation::New, "{condition:?}");
        }
        assert_eq!(storage.read("log/1").await.unwrap(), stays, "{condition:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_before_the_write_is_no_condition() {
    let storage = Store::memory();
    let plan = Plan { condition: Condition::Racy, ..Plan::default() };
    let (store, _) = storage.with_faults(plan, &seeded(1));
    let (one, other) = tokio::join!(store.create("log/1", ENTRY), store.create("log/1", OTHER));
    assert_eq!((one.unwrap(), other.unwrap()), (Creation::New, Creation::New));
    assert_eq!(store.create("log/1", ENTRY).await.unwrap(), Creation::Exists);
}

#[tokio::test(start_paused = true)]
async fn the_probe_finds_out_what_a_storage_makes_of_the_condition() {
    for (condition, expected) in [
        (Condition::Kept, true),
        (Condition::LastWins, false),
        (Condition::FirstWins, false),
        (Condition::Racy, false),
    ] {
        let plan = Plan { condition, ..Plan::default() };
        let (store, _) = Store::memory().with_faults(plan, &seeded(1));
        assert_eq!(store.probe().await.unwrap().create_if_absent, expected, "{condition:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_clients_requests_never_end() {
    let storage = Store::memory();
    storage.create("log/0", ENTRY).await.unwrap();
    let (store, faults) = view(&storage);
    faults.kill_after(1);
    store.read("log/0").await.unwrap();
    assert!(!faults.is_dead());
    let a_day = Duration::from_secs(24 * 3600);
    assert!(tokio::time::timeout(a_day, store.read("log/0")).await.is_err());
    assert!(faults.is_dead());
    assert!(tokio::time::timeout(a_day, store.create("log/1", ENTRY)).await.is_err());
    assert!(tokio::time::timeout(a_day, store.list("")).await.is_err());
    assert_eq!(storage.read("log/0").await.unwrap(), ENTRY, "others live on");
}

/// Whether a creation of a client that dies while it is on its way happened.
async fn happened_at_death(seed: u64) -> bool {
    let storage = Store::memory();
    let plan = Plan { delay_permille: 1000, delay_max: Duration::from_secs(5), ..Plan::default() };
    let (store, faults) = storage.with_faults(plan, &seeded(seed));
    let client = tokio::spawn(async move { store.create("log/1", ENTRY).await });
    tokio::task::yield_now().await;
    faults.kill();
    assert!(tokio::time::timeout(Duration::from_secs(60), client).await.is_err());
    faults.settle().await;
    storage.size("log/1").await.unwrap().is_some()
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_the_client_died_may_or_may_not_have_happened() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..20 {
        let happened = happened_at_death(seed).await;
        assert_eq!(happened_at_death(seed).await, happened, "seed {seed}");
        outcomes.insert(happened);
    }
    assert_eq!(outcomes.len(), 2);
}

/// What a client of a rough storage sees, told in one text.
async fn history(seed: u64) -> (String, Usage) {
    let storage = Store::memory();
    let options = StoreOptions { retry: once().retry, ..seeded(seed) };
    let (store, faults) = storage.with_faults(Plan::rough(100), &options);
    let mut told = String::new();
    for n in 0..100 {
        let path = format!("log/{}", n % 10);
        let step = match n % 4 {
            0 => format!("{:?}", store.create(&path, ENTRY).await.map_err(|error| error.to_string())),
            1 => format!("{:?}", store.read(&path).await.map_err(|error| error.to_string())),
            2 => format!("{:?}", store.delete(&path).await.map_err(|error| error.to_string())),
            _ => format!("{:?}", store.list("").await.map_err(|error| error.to_string())),
        };
        told.push_str(&step);
        told.push('\n');
    }
    told.push_str(&format!("{faults:?} {:?}", storage.inside().unwrap().objects()));
    (told, store.usage())
}

#[tokio::test(start_paused = true)]
async fn one_seed_and_one_order_of_calls_give_the_same_faults() {
    let first = history(1).await;
    assert_eq!(history(1).await, first);
    assert_ne!(history(2).await.0, first.0);
    assert!(first.0.contains("planned fault"), "{}", first.0);
}

#[tokio::test(start_paused = true)]
async fn a_view_of_a_view_has_the_faults_of_both() {
    let storage = Store::memory();
    let (below, faults_below) = storage.with_faults(Plan::default(), &once());
    let (above, faults_above) = below.with_faults(Plan::default(), &once());
    faults_below.once(Request::Size, "a", Fault::LostRequest);
    assert!(above.size("a").await.is_err());
    faults_above.once(Request::Size, "a", Fault::LostRequest);
    assert!(above.size("a").await.is_err());
    assert_eq!(above.size("a").await.unwrap(), None);
}

#[test]
fn a_view_can_be_used_by_tasks_of_many_threads() {
    fn sendable<T: Send>(_: T) {}
    let (store, faults) = Store::memory().with_faults(Plan::default(), &once());
    sendable(store.create("a", ENTRY));
    sendable(store.delete("a"));
    sendable(faults.settle());
}

#[test]
fn rates_add_up_and_what_cannot_happen_is_never_planned() {
    let plan = Plan::default().with(Request::Read, Fault::Cut, 10).with(Request::Read, Fault::Flipped, 20);
    for (drawn, expected) in
        [(0, Some(Fault::Cut)), (9, Some(Fault::Cut)), (10, Some(Fault::Flipped)), (30, None), (999, None)]
    {
        assert_eq!(plan.fault(Request::Read, drawn), expected, "{drawn}");
        assert_eq!(plan.fault(Request::Size, drawn), None);
    }
    let rough = Plan::rough(100);
    let planned: BTreeSet<String> =
        (0..WHOLE).filter_map(|drawn| Some(format!("{:?}", rough.fault(Request::List, drawn)?))).collect();
    assert_eq!(planned, ["LostRequest", "Partial", "Stale"].map(str::to_owned).into());
}
