//! Runs into several replicas of which one has collected what the others still have.

use std::fs;

use shudao_vault::collect;
use shudao_vault::id::Timestamp;

use super::replica_tests::{back_up_to, files, new_vaults, open_all};
use super::tests::open;
use super::*;

/// Collects on one store without grace and without compaction.
async fn collect_all(store: &shudao_vault::store::Store) {
    let mut vault = open(store, "owner").await;
    let options = collect::Options { grace_micros: 0, dead_micros: 0, waste_percent: None };
    let progress = collect::Progress::default();
    let watch = collect::Watch {
        clock: &|| Timestamp(20),
        progress: &progress,
        planned: &|_| Ok(()),
        stop: &|| Ok(()),
    };
    let outcome = vault.collect(0, &options, watch).await.unwrap();
    assert!(outcome.deleted.objects > 0 && outcome.left.is_idle(), "{outcome:?}");
}

#[tokio::test]
async fn a_replica_that_collected_a_pack_which_its_segments_still_name_gets_it_back() {
    let stores = new_vaults::<2>().await;
    let source = tempfile::tempdir().unwrap();
    for name in 0..600 {
        fs::write(source.path().join(format!("empty {name}")), "").unwrap();
    }
    let content = source.path().join("content");
    fs::write(&content, vec![7; 300_000]).unwrap();
    let first = back_up_to(&stores, source.path()).await.unwrap().snapshot.unwrap();
    fs::remove_file(&content).unwrap();
    // Most of the names are where the first run put them, so its segment stays.
    back_up_to(&stores, source.path()).await.unwrap();
    open(&stores[1], "owner").await.forget(&[first], Timestamp(5)).await.unwrap();
    let before = open(&stores[1], "owner").await.segments_live().len();
    collect_all(&stores[1]).await;
    assert_eq!(open(&stores[1], "owner").await.segments_live().len(), before);

    fs::write(&content, vec![7; 300_000]).unwrap();
    let third = back_up_to(&stores, source.path()).await.unwrap();
    assert!(third.replicas.iter().all(ReplicaOutcome::is_committed), "{:?}", third.replicas);
    assert!(third.bytes_new < 200_000, "the content is known where it was not collected");
    let third = third.snapshot.unwrap();
    assert_eq!(files(&stores[1], third).await, files(&stores[0], third).await);
    let vault = open_all(&stores).await;
    for replica in vault.replicas() {
        let needed =
            shudao_vault::needed::NeedReader::default().needed(replica, Timestamp(21)).await.unwrap();
        for name in needed.names() {
            assert!(replica.objects().size(name).await.unwrap().is_some(), "{name} is needed and not there");
        }
    }
}
