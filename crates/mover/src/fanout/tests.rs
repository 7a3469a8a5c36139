//! Whole ways to stores in memory that pause and refuse, on a clock that runs when nobody does anything else.

use std::time::Duration;

use futures_util::future::join;
use shudao_vault::id::{PackId, SessionId};
use shudao_vault::store::faults::{Faults, Plan};
use shudao_vault::store::{RetryPolicy, Store, StoreOptions};

use super::*;

const PIECES: u64 = 20;

fn shares() -> Shares {
    Shares::of_run(crate::budget::Demand { processors: 2, replicas: 2, chunk_bytes_max: 1 << 20 })
}

/// Two replicas, of which the second can be made to misbehave.
struct Bench {
    stores: [Store; 2],
    faults: Faults,
    fanout: Fanout,
    began: Instant,
}

fn bench(options: &FanoutOptions) -> Bench {
    let first = Store::memory();
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let second = Store::memory();
    let (view, faults) =
        second.with_faults(Plan::default(), &StoreOptions { retry: once, ..StoreOptions::default() });
    let objects = vec![Objects::new(first.clone()), Objects::new(view)];
    let fanout = Fanout::new(objects, SessionId([1; 16]), options, &shares());
    Bench { stores: [first, second], faults, fanout, began: Instant::now() }
}

/// Hands a piece over that may go out at any time and whose arrival means nothing.
fn offer(fanout: &Fanout, bytes: Bytes) {
    let id = PackId::of(&bytes);
    fanout.hand_over(Name::pack(id), bytes, Order::Free, Arrival::Segment(id, BTreeSet::new()));
}

fn options(spool: Option<PathBuf>) -> FanoutOptions {
    FanoutOptions { spool, ..FanoutOptions::default() }
}

impl Bench {
    fn hand_over(&self, pieces: std::ops::Range<u64>) {
        for n in pieces {
            let bytes = Bytes::from(n.to_le_bytes().to_vec());
            offer(&self.fanout, bytes);
        }
    }

    /// Carries everything; how each way ended, and after how long.
    async fn carry(&self) -> [(Result<()>, Duration); 2] {
        let timed = async |lane| {
            let carried = self.fanout.carry(lane).await;
            (carried, self.began.elapsed())
        };
        let (first, second) = join(timed(0), timed(1)).await;
        [first, second]
    }

    async fn stored(&self) -> [usize; 2] {
        let count = async |store: &Store| store.list("packs/").await.unwrap().len();
        [count(&self.stores[0]).await, count(&self.stores[1]).await]
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_refuses_for_a_minute_gets_everything_and_delays_nobody() {
    let home = tempfile::tempdir().unwrap();
    let bench = bench(&options(Some(home.path().to_owned())));
    bench.faults.refuse_for(Duration::from_secs(60));
    bench.hand_over(0..4);
    bench.fanout.end();
    let [first, second] = bench.carry().await;
    first.0.unwrap();
    second.0.unwrap();
    assert!(first.1 < Duration::from_secs(1), "{:?}", first.1);
    assert!(second.1 >= Duration::from_secs(60) && second.1 < Duration::from_secs(75), "{:?}", second.1);
    assert_eq!(bench.stored().await, [4, 4]);
    assert_eq!(bench.fanout.lacking(1).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_never_answers_is_given_up_after_the_patience_and_lacks_everything() {
    let bench = bench(&options(None));
    bench.faults.refuse_for(Duration::from_secs(3600));
    bench.hand_over(0..PIECES);
    bench.fanout.end();
    let [first, second] = bench.carry().await;
    first.0.unwrap();
    assert_eq!(second.0.unwrap_err().kind(), Kind::Unavailable);
    assert!(second.1 >= Duration::from_secs(90) && second.1 < Duration::from_secs(110), "{:?}", second.1);
    assert_eq!(bench.stored().await, [PIECES as usize, 0]);
    assert_eq!(bench.fanout.lacking(1).len(), PIECES as usize);
}

#[tokio::test(start_paused = true)]
async fn as_long_as_another_replica_is_at_work_one_that_refuses_is_asked_again() {
    let bench = bench(&options(None));
    bench.faults.refuse_for(Duration::from_secs(1000));
    bench.hand_over(0..2);
    let work = async {
        tokio::time::sleep(Duration::from_secs(990)).await;
        bench.fanout.end();
    };
    let ([first, second], ()) = join(bench.carry(), work).await;
    first.0.unwrap();
    second.0.unwrap();
    assert_eq!(bench.stored().await, [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn without_a_spool_a_slow_replica_goes_without_what_memory_does_not_hold() {
    let bench = bench(&options(None));
    bench.faults.pause_for(Duration::from_secs(600));
    bench.hand_over(0..PIECES);
    bench.fanout.end();
    let [first, second] = bench.carry().await;
    first.0.unwrap();
    second.0.unwrap();
    assert!(first.1 < Duration::from_secs(1), "{:?}", first.1);
    let [all, held] = bench.stored().await;
    assert_eq!(all, PIECES as usize);
    let (lingering, uploads) = (shares().lingering.count, shares().uploads.count);
    assert!((lingering..=lingering + uploads).contains(&held), "{held}");
    assert_eq!(bench.fanout.lacking(1).len(), PIECES as usize - held);
    assert_eq!(lock(&bench.fanout.holds).len(), 0, "nothing is kept that nobody wants");
}

#[tokio::test(start_paused = true)]
async fn with_a_spool_a_slow_replica_gets_everything_and_the_spool_is_left_empty() {
    let home = tempfile::tempdir().unwrap();
    let bench = bench(&options(Some(home.path().to_owned())));
    bench.faults.pause_for(Duration::from_secs(600));
    bench.hand_over(0..PIECES);
    bench.fanout.end();
    let [first, second] = bench.carry().await;
    first.0.unwrap();
    second.0.unwrap();
    assert!(first.1 < Duration::from_secs(1), "{:?}", first.1);
    assert_eq!(bench.stored().await, [PIECES as usize; 2]);
    assert_eq!(bench.fanout.lacking(1).len(), 0);
    drop(bench);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_has_is_safe_though_the_other_refuses() {
    let bench = bench(&options(None));
    bench.faults.refuse_for(Duration::from_secs(3600));
    bench.hand_over(0..3);
    let safe = async {
        bench.fanout.all_safe().await.unwrap();
        let waited = bench.began.elapsed();
        bench.fanout.end();
        waited
    };
    let (_, waited) = join(bench.carry(), safe).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_abandoned_ends_at_once_and_says_that_something_else_was_the_cause() {
    let bench = bench(&options(None));
    bench.faults.pause_for(Duration::from_secs(600));
    bench.hand_over(0..3);
    let abandon = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.fanout.abandon();
    };
    let ([first, second], ()) = join(bench.carry(), abandon).await;
    assert!(is_consequence(&first.0.unwrap_err()) && is_consequence(&second.0.unwrap_err()));
    assert!(second.1 < Duration::from_secs(6), "{:?}", second.1);
    assert!(!bench.fanout.can_finish());
}

#[tokio::test(start_paused = true)]
async fn one_replica_alone_is_not_waited_for_beyond_what_its_store_does() {
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let (store, faults) = Store::memory()
        .with_faults(Plan::default(), &StoreOptions { retry: once, ..StoreOptions::default() });
    faults.refuse_for(Duration::from_secs(3600));
    let fanout = Fanout::new(vec![Objects::new(store)], SessionId([1; 16]), &options(None), &shares());
    let bytes = Bytes::from_static(b"piece");
    offer(&fanout, bytes);
    let began = Instant::now();
    assert_eq!(fanout.carry(0).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!fanout.can_finish());
}
