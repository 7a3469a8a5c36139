use super::*;
use crate::collect::sample::{World, files, watch};
use crate::collect::{Options, Progress};
use crate::log::client::read_entry;
use crate::log::{Envelope, Op};
use crate::sample::open;
use crate::store::Store;
use crate::vault::Place;

/// Brings `to` level with `from`.
async fn level(world: &World, to: &Store) {
    let from = Replica::open(world.store.clone()).await.unwrap();
    let mut target = Replica::open(to.clone()).await.unwrap();
    let sources = Siblings::new([from.objects().clone()]);
    let clock = || world.now();
    let synced = sync(&from, &mut target, &sources, &clock, &SyncProgress::default()).await.unwrap();
    assert!(synced.failed.is_empty(), "{:?}", synced.failed);
}

/// All operations of a replica's log.
async fn operations(store: &Store) -> Vec<Op> {
    let replica = Replica::open(store.clone()).await.unwrap();
    let mut operations = Vec::new();
    for n in 1.. {
        let Ok(bytes) = read_entry(store, n).await else { break };
        operations.extend(Envelope::decode(&bytes, replica.vault_id()).unwrap().op().unwrap());
    }
    operations
}

/// The second replica has collected a segment that the first one still needs, because of another snapshot, and of whose commit
/// nobody will hear any more. Whoever dies behind the index entry must not leave a segment that is live and counts as gone.
#[tokio::test(start_paused = true)]
async fn a_segment_that_was_swept_is_kept_before_it_is_live_again() {
    let mut world = World::new().await;
    let second = Store::memory();
    let now = world.now();
    world.owner.add_replica(Place { store: second.clone(), name: "second" }, now).await.unwrap();
    let first = world.back_up(&files(&[("a", &[1, 2, 3, 4])])).await;
    level(&world, &second).await;
    let there = open(&second, "owner").await.unwrap().segments_live();

    open(&second, "owner").await.unwrap().forget(&[first], now).await.unwrap();
    let (clock, progress) = (|| now, Progress::default());
    let at_once = Options { grace_micros: 0, dead_micros: 0, ..Options::DEFAULT };
    let mut keeper = open(&second, "keeper").await.unwrap();
    keeper.collect(0, &at_once, watch(&clock, &progress, &|| Ok(()))).await.unwrap();
    let mut owner = open(&second, "owner").await.unwrap();
    owner.refresh().await.unwrap();
    assert!(there.iter().all(|segment| !owner.segments_live().contains(segment)), "it was collected");

    world.back_up(&files(&[("a", &[1, 2, 3, 4]), ("b", &[5])])).await;
    open(&world.store, "owner").await.unwrap().forget(&[first], now).await.unwrap();
    level(&world, &second).await;
    let operations = operations(&second).await;
    let first_with = |is_it: &dyn Fn(&Op) -> bool| operations.iter().position(is_it);
    let indexed = first_with(&|op| matches!(op, Op::Index { segments, .. } if segments.contains(&there[0])));
    let kept =
        first_with(&|op| matches!(op, Op::Keep { names, .. } if names.contains(&Name::index(there[0]))));
    assert!(kept.is_some() && kept < indexed, "kept in entry {kept:?}, live from entry {indexed:?} on");
}
