//! Owners who change settings and keys at the same time: each seed is another interleaving of their requests.

use std::time::Duration;

use super::*;
use crate::keys::Unlock;
use crate::keys::slot::Lock;
use crate::store::faults::Plan;
use crate::store::{Store, StoreOptions};
use crate::suite::KdfCost;

const SEEDS: u64 = 30;
const NOW: Timestamp = Timestamp(7);

/// Two stores that hold one vault, with two ways in for owners.
struct World {
    seed: u64,
    stores: [Store; 2],
}

fn cost() -> KdfCost {
    KdfCost::new(8, 1, 1).unwrap()
}

impl World {
    async fn new(seed: u64) -> Self {
        let stores = [Store::memory(), Store::memory()];
        let place = |(store, name): (&Store, &'static str)| Place { store: store.clone(), name };
        let places = stores.iter().zip(["a", "b"]).map(place).collect();
        let ways_in = ["one", "two"].map(|word| (word, Lock::Passphrase(word, cost()))).into();
        let options = CreateOptions { name: "a", config: Config::default(), ways_in, now: Timestamp(1) };
        Vault::create_on(places, options).await.unwrap();
        Self { seed, stores }
    }

    /// A client whose requests take their time, each another one, and that names the replicas in this order.
    async fn client(&self, word: &str, order: [usize; 2]) -> Vault {
        let plan = Plan { delay_permille: 1000, delay_max: Duration::from_millis(20), ..Plan::default() };
        let mut seed = self.seed * 1000 + word.len() as u64 + u64::from(word.as_bytes()[0]);
        let mut replicas = Vec::new();
        for place in order {
            seed += 17;
            let options = StoreOptions { seed, ..StoreOptions::default() };
            let (store, _) = self.stores[place].with_faults(plan.clone(), &options);
            replicas.push(Replica::open(store).await.unwrap());
        }
        Vault::open_all(replicas, &Unlock::Passphrase(word), None).await.unwrap()
    }

    async fn clients(&self) -> (Vault, Vault) {
        (self.client("one", [0, 1]).await, self.client("two", [1, 0]).await)
    }

    /// What everybody sees afterwards, with this password.
    async fn open(&self, word: &str) -> Result<Vault> {
        let mut replicas = Vec::new();
        for store in &self.stores {
            replicas.push(Replica::open(store.clone()).await.unwrap());
        }
        Vault::open_all(replicas, &Unlock::Passphrase(word), None).await
    }

    /// The replicas that both logs name; they must agree.
    async fn names(&self) -> Vec<String> {
        let vault = self.open("one").await.unwrap();
        let configs: Vec<&Config> = vault.replicas().iter().map(|replica| replica.state().config()).collect();
        assert_eq!(configs[0], configs[1], "seed {}", self.seed);
        let mut names: Vec<String> = configs[0].replicas.iter().map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The generation and the read key that a password opens, alike on each replica alone.
    async fn reads(&self, word: &str) -> (u32, crate::suite::ReadPublic) {
        let both = self.open(word).await.unwrap();
        for store in &self.stores {
            let replica = Replica::open(store.clone()).await.unwrap();
            let alone = Vault::open(replica, &Unlock::Passphrase(word), None).await.unwrap();
            assert_eq!(alone.ring().read_public, both.ring().read_public, "seed {}", self.seed);
        }
        both.ring().read_public.clone()
    }
}

/// Begins so much later that each seed meets the other client at another of its steps.
async fn later<T>(seed: u64, change: impl Future<Output = T>) -> T {
    tokio::time::sleep(Duration::from_millis(seed * 12)).await;
    change.await
}

fn lagging(vault: &mut Vault) -> Vec<String> {
    vault.take_lagging().iter().map(|lagging| chain(&lagging.error)).collect()
}

fn place(name: &str) -> Place<'_> {
    Place { store: Store::memory(), name }
}

#[tokio::test(start_paused = true)]
async fn of_owners_who_add_and_remove_replicas_at_once_each_ones_change_stands() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let (first, second) =
            futures_util::join!(one.add_replica(place("c"), NOW), two.add_replica(place("d"), NOW));
        first.unwrap();
        second.unwrap();
        assert_eq!(lagging(&mut one).len() + lagging(&mut two).len(), 0, "seed {seed}");
        assert_eq!(world.names().await, ["a", "b", "c", "d"], "seed {seed}");
        let (added, removed) =
            futures_util::join!(one.add_replica(place("e"), NOW), later(seed, two.remove_replica("d", NOW)));
        added.unwrap();
        removed.unwrap();
        assert_eq!(world.names().await, ["a", "b", "c", "e"], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_name_goes_to_one_of_those_who_want_it_and_the_other_leaves_nothing() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let (mine, theirs) = (Store::memory(), Store::memory());
        let want = |store: &Store| Place { store: store.clone(), name: "c" };
        let (first, second) =
            futures_util::join!(one.add_replica(want(&mine), NOW), two.add_replica(want(&theirs), NOW));
        let outcomes = [(first, mine), (second, theirs)];
        assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count(), 1, "seed {seed}");
        for (outcome, store) in outcomes {
            if let Err(error) = outcome {
                assert_eq!(error.kind(), Kind::Input, "seed {seed}");
                assert_eq!(store.list("").await.unwrap(), [], "seed {seed}");
            }
        }
        assert_eq!(world.names().await, ["a", "b", "c"], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_replica_stays_in_the_settings_whoever_removes_the_others() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let (first, second) = futures_util::join!(one.remove_replica("a", NOW), two.remove_replica("b", NOW));
        assert_ne!(first.is_ok(), second.is_ok(), "seed {seed}");
        assert_eq!(world.names().await.len(), 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_rotations_at_once_one_is_done_and_the_other_refuses_and_says_what_to_do() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let (first, second) = futures_util::join!(one.rotate_keys(NOW), two.rotate_keys(NOW));
        assert_ne!(first.is_ok(), second.is_ok(), "seed {seed}: {first:?} {second:?}");
        let error = first.and(second).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains("the command again"), "{error}");
        let reads = world.reads("one").await;
        assert_eq!(reads.0, 2);
        assert_eq!(reads, world.reads("two").await, "seed {seed}");
        assert_eq!(lagging(&mut one).len() + lagging(&mut two).len(), 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_added_beside_a_rotation_opens_the_new_generation_or_is_refused() {
    let (mut added, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let add = two.add_key(Role::Owner, "new", Lock::Passphrase("three", cost()), &[], NOW);
        let (rotated, outcome) = futures_util::join!(one.rotate_keys(NOW), later(seed, add));
        rotated.unwrap();
        assert_eq!(world.reads("one").await.0, 2);
        match outcome {
            Ok(_) => {
                added += 1;
                assert_eq!(world.reads("three").await, world.reads("one").await, "seed {seed}");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), Kind::Conflict, "seed {seed}");
                assert_eq!(world.open("three").await.err().map(|error| error.kind()), Some(Kind::WrongKey));
            }
        }
    }
    assert!(added > 0 && refused > 0, "the interleavings differ: {added} added, {refused} refused");
}

#[tokio::test(start_paused = true)]
async fn a_key_removed_beside_a_rotation_stays_removed() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let lock = Lock::Passphrase("writer", cost());
        let writer = one.add_key(Role::Writer, "writer", lock, &[], NOW).await.unwrap();
        let (rotated, removed) =
            futures_util::join!(one.rotate_keys(NOW), later(seed, two.remove_key(writer.slot, NOW)));
        rotated.unwrap();
        removed.unwrap();
        for store in &world.stores {
            let replica = Replica::open(store.clone()).await.unwrap();
            assert!(replica.state().slots().all(|(slot, _)| slot != writer.slot), "seed {seed}");
            assert!(!replica.state().stands(writer.holder), "seed {seed}");
        }
        assert_eq!(world.reads("one").await, world.reads("two").await, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn owners_who_remove_each_others_key_leave_one() {
    for seed in 0..SEEDS {
        let world = World::new(seed).await;
        let (mut one, mut two) = world.clients().await;
        let (slot_one, slot_two) = (one.opened_slot(), two.opened_slot());
        let (first, second) =
            futures_util::join!(one.remove_key(slot_two, NOW), two.remove_key(slot_one, NOW));
        assert_ne!(first.is_ok(), second.is_ok(), "seed {seed}: {first:?} {second:?}");
        assert_eq!(first.and(second).unwrap_err().kind(), Kind::Input, "seed {seed}");
        let left = [world.open("one").await.is_ok(), world.open("two").await.is_ok()];
        assert_eq!(left.iter().filter(|opens| **opens).count(), 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_rotation_is_finished_by_the_one_who_has_the_generation_and_by_nobody_else() {
    let world = World::new(1).await;
    let [first, second] = &world.stores;
    let options = StoreOptions::default();
    for requests in 0..60 {
        let mut dying = Vec::new();
        let mut switches = Vec::new();
        for store in [first, second] {
            let (store, faults) = store.with_faults(Plan::default(), &options);
            dying.push(Replica::open(store).await.unwrap());
            switches.push(faults);
        }
        let mut one = Vault::open_all(dying, &Unlock::Passphrase("one"), None).await.unwrap();
        switches.iter().for_each(|faults| faults.kill_after(requests));
        // A dead client's requests never end.
        drop(tokio::time::timeout(Duration::from_secs(3600), one.rotate_keys(NOW)).await);
        drop(one);
        let mut mine = world.open("one").await.unwrap();
        let mut theirs = world.open("two").await.unwrap();
        let (before, other) = (mine.ring().read_public.0, theirs.ring().read_public.0);
        assert!(other <= before);
        if other < before {
            let refused = theirs.rotate_keys(NOW).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Conflict);
            assert!(refused.to_string().contains("finish the rotation"), "{refused}");
        }
        mine.rotate_keys(NOW).await.unwrap();
        // Whatever was sealed to a generation that once stood can be opened with every key again.
        let generations = |vault: &Vault| vault.ring().read_secrets.keys().copied().collect::<Vec<_>>();
        let after = [world.open("one").await.unwrap(), world.open("two").await.unwrap()];
        assert_eq!(generations(&after[0]), generations(&after[1]));
        assert_eq!(after[0].ring().read_public, after[1].ring().read_public);
        assert_eq!(generations(&after[0]), (1..=before + 1).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn keys_of_one_generation_that_never_met_are_not_sealed_over() {
    let world = World::new(1).await;
    // Each owner reaches one replica only: where both are heard, each password's key is the other one's.
    for (store, word) in world.stores.iter().zip(["one", "two"]) {
        let replica = Replica::open(store.clone()).await.unwrap();
        let mut alone = Vault::open(replica, &Unlock::Passphrase(word), None).await.unwrap();
        alone.rotate_keys(NOW).await.unwrap();
    }
    let before: Vec<_> = world.stores.iter().map(|store| store.inside().unwrap().objects()).collect();
    for word in ["one", "two"] {
        let mut both = world.open(word).await.unwrap();
        let refused = both.rotate_keys(NOW).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict);
        assert!(refused.to_string().contains("another key of the same generation"), "{refused}");
    }
    let after: Vec<_> = world.stores.iter().map(|store| store.inside().unwrap().objects()).collect();
    assert_eq!(before, after, "nothing was sealed anew");
}

#[tokio::test]
async fn settings_that_were_changed_on_replicas_apart_are_one_again_after_the_next_change() {
    let world = World::new(1).await;
    for (store, name) in world.stores.iter().zip(["c", "d"]) {
        let replica = Replica::open(store.clone()).await.unwrap();
        let mut alone = Vault::open(replica, &Unlock::Passphrase("one"), None).await.unwrap();
        alone.add_replica(place(name), NOW).await.unwrap();
    }
    let mut both = world.open("one").await.unwrap();
    both.add_replica(place("e"), NOW).await.unwrap();
    assert_eq!(world.names().await, ["a", "b", "c", "d", "e"]);
}
