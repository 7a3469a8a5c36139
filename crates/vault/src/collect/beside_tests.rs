//! Compaction on several replicas at once.

use std::time::Duration;

use super::sample::{Files, HOUR, World, files, watch};
use super::*;
use crate::id::SnapshotId;
use crate::keys::Unlock;
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::store::faults::{Faults, Plan};
use crate::store::{RetryPolicy, Store, StoreOptions};
use crate::sync::{SyncProgress, sync};
use crate::vault::{Place, Vault};

const AT_ONCE: Options = Options { grace_micros: 0, dead_micros: 0, ..Options::DEFAULT };

/// A vault of which a second replica shows the same, with waste in its packs; and the snapshot that stands.
struct Spread {
    world: World,
    second: Store,
    stands: (SnapshotId, Files),
}

impl Spread {
    async fn new() -> Self {
        let mut world = World::new().await;
        let second = Store::memory();
        let now = world.now();
        world.owner.add_replica(Place { store: second.clone(), name: "second" }, now).await.unwrap();
        let first = world.back_up(&files(&[("a", &[1, 2, 3, 4, 5, 6, 7, 8]), ("x", &[9, 10])])).await;
        let long: Vec<u64> = (100..140).collect();
        let two = files(&[("a", &[1, 5]), ("long", &long), ("x", &[10])]);
        let id = world.back_up(&two).await;
        let spread = Self { world, second, stands: (id, two) };
        spread.sync().await;
        let mut owner = open(&spread.world, &spread.second, "owner").await;
        owner.forget(&[first], now).await.unwrap();
        spread
    }

    /// Brings the second replica level with the first one.
    async fn sync(&self) {
        let from = Replica::open(self.world.store.clone()).await.unwrap();
        let mut target = Replica::open(self.second.clone()).await.unwrap();
        let sources = Siblings::new([from.objects().clone()]);
        let clock = || self.world.now();
        let synced = sync(&from, &mut target, &sources, &clock, &SyncProgress::default()).await.unwrap();
        assert!(synced.failed.is_empty(), "{:?}", synced.failed);
    }

    /// Collects by a vault that sees the second replica through `second`.
    async fn collect(&self, second: &Store, place: usize) -> Result<Outcome> {
        let mut keeper = open(&self.world, second, "keeper").await;
        self.world.pass(1);
        let clock = || self.world.now();
        keeper.collect(place, &AT_ONCE, watch(&clock, &Progress::default(), &|| Ok(()))).await
    }

    fn faulty(&self) -> (Store, Faults) {
        let retry = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        self.second.with_faults(Plan::default(), &StoreOptions { retry, ..StoreOptions::default() })
    }

    /// Each replica alone gives what stands.
    async fn restores(&mut self) {
        let first = self.world.store.clone();
        for store in [self.second.clone(), first] {
            self.world.store = store;
            assert_eq!(self.world.restore(&self.stands.0).await, self.stands.1);
        }
    }

    /// What each replica holds, apart from lists that only one of them builds on.
    async fn packs(&mut self) -> [Vec<String>; 2] {
        let mut both = [Vec::new(), Vec::new()];
        for (packs, store) in both.iter_mut().zip([&self.world.store, &self.second]) {
            let listed = store.list("packs/").await.unwrap();
            packs.extend(listed.into_iter().map(|object| object.path));
            packs.sort_unstable();
        }
        both
    }
}

async fn open(world: &World, second: &Store, word: &str) -> Vault {
    let first = Replica::open(world.store.clone()).await.unwrap();
    let second = Replica::open(second.clone()).await.unwrap();
    Vault::open_all(vec![first, second], &Unlock::Passphrase(word), None).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_replica_gets_the_same_packs_and_gives_up_the_old_ones_by_itself() {
    let mut spread = Spread::new().await;
    let before = spread.packs().await;
    let done = spread.collect(&spread.second, 0).await.unwrap();
    assert!(done.made.objects > 0 && done.problems.is_empty(), "{done:?}");
    let [first, second] = spread.packs().await;
    assert!(first.iter().all(|pack| second.contains(pack)), "what was made is on both");
    assert!(before[1].iter().all(|pack| second.contains(pack)), "the other one's turn has not come");
    let other = spread.collect(&spread.second, 1).await.unwrap();
    assert_eq!((other.made.objects, other.problems.len()), (0, 0), "nothing is copied twice: {other:?}");
    let [first, second] = spread.packs().await;
    assert_eq!(first, second);
    assert!(before[0].iter().any(|pack| !first.contains(pack)));
    spread.restores().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_refuses_or_is_slow_is_named_and_left_as_it_is() {
    for refuses in [true, false] {
        let mut spread = Spread::new().await;
        let before = spread.packs().await;
        let (line, faults) = spread.faulty();
        let mut keeper = open(&spread.world, &line, "keeper").await;
        keeper.refresh().await.unwrap();
        if refuses {
            faults.refuse_for(Duration::from_secs(100 * 24 * 3600));
        } else {
            let (delay_permille, delay_max) = (1000, Duration::from_secs(1000));
            faults.set_plan(Plan { delay_permille, delay_max, ..Plan::default() });
        }
        let clock = || spread.world.now();
        let begun = tokio::time::Instant::now();
        let progress = Progress::default();
        let done = keeper.collect(0, &AT_ONCE, watch(&clock, &progress, &|| Ok(()))).await.unwrap();
        let waited = begun.elapsed();
        if refuses {
            assert!(waited < Duration::from_secs(60), "{waited:?}");
        }
        assert!(done.made.objects > 0, "{done:?}");
        assert_eq!(done.problems.len(), 1, "{:?}", done.problems);
        assert!(done.problems[0].contains("not compacted at"), "{:?}", done.problems);
        drop(keeper);
        assert_eq!(spread.packs().await[1], before[1]);
        // It comes back: it makes no copies of its own, which would have no sibling.
        let later = spread.collect(&spread.second, 1).await.unwrap();
        assert_eq!((later.made.objects, later.problems.len()), (0, 1), "{later:?}");
        assert!(later.problems[0].contains("`shudao vault replica sync` brings that"), "{later:?}");
        spread.restores().await;
        spread.sync().await;
        spread.world.clock.fetch_add(100 * HOUR, std::sync::atomic::Ordering::Relaxed);
        for place in [0, 1] {
            let last = spread.collect(&spread.second, place).await.unwrap();
            assert!(last.problems.is_empty(), "{last:?}");
        }
        let [first, second] = spread.packs().await;
        assert_eq!(first, second);
        spread.restores().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_in_the_middle_lets_the_others_finish() {
    // Each request of the second replica's in turn is the first that never ends.
    let mut finished = 0;
    for survived in 0..16 {
        let mut spread = Spread::new().await;
        let (line, faults) = spread.faulty();
        let mut keeper = open(&spread.world, &line, "keeper").await;
        keeper.refresh().await.unwrap();
        faults.kill_after(survived + 2);
        let clock = || spread.world.now();
        let progress = Progress::default();
        // Opening the log anew may be what never ends: then nothing has begun.
        let collect = keeper.collect(0, &AT_ONCE, watch(&clock, &progress, &|| Ok(())));
        let done = tokio::time::timeout(Duration::from_secs(3600), collect).await;
        drop(keeper);
        if let Ok(done) = done {
            assert!(done.unwrap().made.objects > 0);
            finished += 1;
        }
        spread.restores().await;
        spread.collect(&spread.second, 1).await.unwrap();
        spread.collect(&spread.second, 0).await.unwrap();
        spread.restores().await;
    }
    assert!(finished > 6, "{finished}");
}
