//! Replicas that were away, brought level by a courier without keys.

use std::fs;

use shudao_vault::id::Timestamp;
use shudao_vault::keys::slot::Lock;
use shudao_vault::keys::{Role, Unlock};
use shudao_vault::name::Name;
use shudao_vault::replica::Replica;
use shudao_vault::replicas::Siblings;
use shudao_vault::store::Store;
use shudao_vault::suite::KdfCost;
use shudao_vault::sync::{Behind, SyncProgress, Synced, behind, sync};
use shudao_vault::vault::{Place, Vault};
use shudao_vault::{Kind, Result};

use super::replica_tests::{back_up_to, files, new_vaults, objects, open_all, source};
use super::tests::open;
use super::*;

async fn bring(from: &Store, to: &Store) -> Result<Synced> {
    let from = Replica::open(from.clone()).await?;
    let mut to = Replica::open(to.clone()).await?;
    let sources = Siblings::new([from.objects().clone()]);
    sync(&from, &mut to, &sources, &|| Timestamp(9), &SyncProgress::default()).await
}

async fn how_far_behind(stores: &[Store], place: usize) -> Behind {
    let mut replicas = Vec::new();
    for store in stores {
        replicas.push(Replica::open(store.clone()).await.unwrap());
    }
    behind(&replicas, place, Timestamp(9)).await.unwrap()
}

fn visible(vault: &Vault) -> Vec<SnapshotId> {
    let mut ids: Vec<_> = vault.visible().into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

/// Two stores, of which the first has three snapshots that reuse each other's packs, the oldest forgotten, the newest
/// held; and a writer's key.
async fn one_ahead() -> ([Store; 2], tempfile::TempDir) {
    let stores = new_vaults::<2>().await;
    let source = source(4);
    let mut made = Vec::new();
    for round in 0..3 {
        fs::write(source.path().join(format!("round {round}")), format!("{round}")).unwrap();
        made.extend(back_up_to(&stores[..1], source.path()).await.unwrap().snapshot);
    }
    let mut ahead = open(&stores[0], "owner").await;
    ahead.forget(&made[..1], Timestamp(5)).await.unwrap();
    ahead.hold(made[2], Timestamp(6)).await.unwrap();
    let lock = Lock::Passphrase("writer", KdfCost::new(8, 1, 1).unwrap());
    ahead.add_key(Role::Writer, "writer", lock, &[], Timestamp(7)).await.unwrap();
    (stores, source)
}

/// The second store shows what the first shows, and serves alone.
async fn is_level(stores: &[Store; 2]) {
    let (ahead, level) = (open(&stores[0], "owner").await, open(&stores[1], "writer").await);
    assert_eq!(visible(&level), visible(&ahead));
    assert_eq!(visible(&level).len(), 2);
    for id in visible(&ahead) {
        assert_eq!(level.is_held(&id), ahead.is_held(&id));
        assert_eq!(files(&stores[1], id).await, files(&stores[0], id).await);
    }
    assert_eq!(how_far_behind(stores, 1).await, Behind::default());
}

#[tokio::test]
async fn a_courier_brings_everything_that_counts_and_nothing_twice() {
    let (stores, _source) = one_ahead().await;
    let before = how_far_behind(&stores, 1).await;
    let synced = bring(&stores[0], &stores[1]).await.unwrap();
    assert_eq!((synced.failed.len(), synced.snapshots.len()), (0, 2));
    assert_eq!(before.snapshots, 2);
    // A segment speaks of a pack that only the forgotten snapshot needed: it comes along, and is not counted before.
    assert_eq!(before.objects + 1, synced.copied.objects);
    assert!(before.bytes < synced.copied.bytes);
    is_level(&stores).await;
    let next = Replica::open(stores[1].clone()).await.unwrap().state().next();
    let again = bring(&stores[0], &stores[1]).await.unwrap();
    assert_eq!((again.copied.objects, again.snapshots.len(), again.statements), (0, 0, 0));
    let replica = Replica::open(stores[1].clone()).await.unwrap();
    assert_eq!(replica.state().next(), next, "nothing is appended where nothing is new");
    assert_eq!(replica.state().open_sessions().count(), 0);
    assert!(replica.void_entries().is_empty());
}

#[tokio::test]
async fn the_segments_of_a_forgotten_snapshot_come_along_where_its_packs_are_needed() {
    let (stores, _source) = one_ahead().await;
    bring(&stores[0], &stores[1]).await.unwrap();
    let vault = open(&stores[1], "owner").await;
    assert!(vault.problems().is_empty());
    let listed: std::collections::BTreeSet<_> =
        vault.index().packs().map(|pack| pack.unwrap().pack.id).collect();
    for (_, visible) in vault.visible() {
        let list = vault.siblings().need_list(vault.ring().vault, visible.need_list).await.unwrap();
        assert!(list.packs.is_subset(&listed));
    }
}

#[tokio::test]
async fn a_courier_that_finds_no_room_at_any_step_goes_on_where_it_was() {
    let mut steps = 0;
    loop {
        let (stores, _source) = one_ahead().await;
        stores[1].set_room(Some(steps));
        let Err(error) = bring(&stores[0], &stores[1]).await else { break };
        assert_eq!(error.kind(), Kind::Full);
        stores[1].set_room(None);
        bring(&stores[0], &stores[1]).await.unwrap();
        is_level(&stores).await;
        steps += 4;
    }
    assert!(steps > 12, "{steps}");
}

#[tokio::test]
async fn what_the_target_has_forgotten_does_not_come_back() {
    let (stores, source) = one_ahead().await;
    bring(&stores[0], &stores[1]).await.unwrap();
    let mut level = open(&stores[1], "owner").await;
    let gone = visible(&level).into_iter().find(|id| !level.is_held(id)).unwrap();
    level.forget(&[gone], Timestamp(10)).await.unwrap();
    let synced = bring(&stores[0], &stores[1]).await.unwrap();
    assert!(synced.snapshots.is_empty());
    assert!(!visible(&open(&stores[1], "owner").await).contains(&gone));
    // Nor does a run bring it, which shows its own.
    back_up_to(&stores, source.path()).await.unwrap();
    assert!(!visible(&open(&stores[1], "owner").await).contains(&gone));
}

#[tokio::test]
async fn what_a_writer_stored_before_its_key_was_removed_is_carried_and_its_key_ends_there_too() {
    let stores = new_vaults::<2>().await;
    let source = source(2);
    let mut owner = open(&stores[0], "owner").await;
    let lock = Lock::Passphrase("writer", KdfCost::new(8, 1, 1).unwrap());
    let added = owner.add_key(Role::Writer, "writer", lock, &[], Timestamp(2)).await.unwrap();
    let spill = tempfile::tempdir().unwrap();
    let mut writer = open(&stores[0], "writer").await;
    let options = super::tests::options(source.path(), &spill);
    let done = backup(&mut writer, options, &Arc::default(), &|| Timestamp(3)).await.unwrap();
    owner.remove_key(added.slot, Timestamp(4)).await.unwrap();
    let synced = bring(&stores[0], &stores[1]).await.unwrap();
    assert_eq!((synced.snapshots.len(), synced.failed.len()), (1, 0));
    assert_eq!(files(&stores[1], done.snapshot.unwrap()).await.len(), 2);
    let replica = Replica::open(stores[1].clone()).await.unwrap();
    assert!(Vault::open(replica, &Unlock::Passphrase("writer"), None).await.is_err());
}

#[tokio::test]
async fn an_object_that_the_source_lost_costs_what_needs_it_and_nothing_else() {
    let (stores, source) = one_ahead().await;
    let before = objects(&stores[0]).await;
    fs::write(source.path().join("late"), vec![7; 100_000]).unwrap();
    back_up_to(&stores[..1], source.path()).await.unwrap();
    let late = objects(&stores[0])
        .await
        .into_iter()
        .find(|path| path.starts_with("packs/") && !before.contains(path));
    stores[0].delete(&late.unwrap()).await.unwrap();
    let synced = bring(&stores[0], &stores[1]).await.unwrap();
    assert_eq!((synced.snapshots.len(), synced.failed.len()), (2, 1));
    assert!(synced.failed[0].why.contains("missing"), "{:?}", synced.failed);
}

#[tokio::test]
async fn snapshots_whose_packs_no_readable_segment_speaks_of_wait_until_one_does() {
    let (stores, source) = one_ahead().await;
    let before = objects(&stores[0]).await;
    fs::write(source.path().join("late"), vec![7; 100_000]).unwrap();
    let late = back_up_to(&stores[..1], source.path()).await.unwrap().snapshot.unwrap();
    let replica = Replica::open(stores[0].clone()).await.unwrap();
    let segments = replica.state().segments_live().to_vec();
    let path = objects(&stores[0]).await.into_iter().find(|path| {
        !before.contains(path) && segments.iter().any(|id| Name::index(*id).plain_key() == *path)
    });
    let path = path.unwrap();
    let whole = stores[0].read(&path).await.unwrap();
    stores[0].delete(&path).await.unwrap();
    let synced = bring(&stores[0], &stores[1]).await.unwrap();
    assert_eq!((synced.snapshots.len(), synced.failed.len()), (2, 1));
    assert!(synced.failed[0].why.contains("no segment that can be read speaks of"), "{:?}", synced.failed);
    assert!(!visible(&open(&stores[1], "owner").await).contains(&late));

    stores[0].create(&path, whole).await.unwrap();
    assert_eq!(bring(&stores[0], &stores[1]).await.unwrap().snapshots, [late]);
    assert_eq!(files(&stores[1], late).await, files(&stores[0], late).await);
}

#[tokio::test]
async fn a_replica_is_added_later_and_struck_out_again() {
    let [store] = new_vaults::<1>().await;
    let source = source(3);
    let first = back_up_to(std::slice::from_ref(&store), source.path()).await.unwrap().snapshot.unwrap();
    let mut owner = open(&store, "owner").await;
    let fresh = Store::memory();
    owner.add_replica(Place { store: fresh.clone(), name: "far" }, Timestamp(4)).await.unwrap();
    let taken = owner.add_replica(Place { store: Store::memory(), name: "far" }, Timestamp(4)).await;
    assert_eq!(taken.err().map(|error| error.kind()), Some(Kind::Input));
    bring(&store, &fresh).await.unwrap();
    assert_eq!(files(&fresh, first).await.len(), 3);
    let both = open_all(&[store.clone(), fresh.clone()]).await;
    assert_eq!(both.config().replicas.len(), 2);
    let names: Vec<_> = both.replicas().iter().map(|replica| replica.state().replica_name()).collect();
    assert_eq!(names, ["a", "far"]);
    let mut both = both;
    both.remove_replica("far", Timestamp(5)).await.unwrap();
    assert_eq!(both.remove_replica("far", Timestamp(5)).await.unwrap_err().kind(), Kind::Input);
    assert_eq!(open(&store, "owner").await.config().replicas.len(), 1);
    let done = back_up_to(&[store, fresh], source.path()).await.unwrap();
    assert!(done.replicas.iter().all(ReplicaOutcome::is_committed));
}
