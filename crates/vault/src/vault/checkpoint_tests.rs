//! A long log is opened by a checkpoint, and says what it says.

use super::*;
use crate::keys::Unlock;
use crate::keys::slot::Lock;
use crate::log::checkpoint::{ENTRIES_BETWEEN, checkpoint_path};
use crate::store::Store;
use crate::suite::KdfCost;

const NOW: Timestamp = Timestamp(7);

async fn open(store: &Store, word: &str) -> Vault {
    let replica = Replica::open(store.clone()).await.unwrap();
    Vault::open(replica, &Unlock::Passphrase(word), None).await.unwrap()
}

/// A vault of an owner and a keeper whose log has so many entries.
async fn with_log(entries: u64) -> Store {
    let (store, cost) = (Store::memory(), KdfCost::new(8, 1, 1).unwrap());
    let ways_in = vec![("owner", Lock::Passphrase("owner", cost))];
    let options = CreateOptions { name: "a", config: Config::default(), ways_in, now: Timestamp(1) };
    Vault::create(store.clone(), options).await.unwrap();
    let mut owner = open(&store, "owner").await;
    owner.add_key(Role::Keeper, "keeper", Lock::Passphrase("keeper", cost), &[], NOW).await.unwrap();
    hold(&mut owner, entries).await;
    store
}

/// Holds until the log has so many entries.
async fn hold(vault: &mut Vault, entries: u64) {
    while vault.replica().state().next() < entries {
        let id = vault.replica().state().next();
        vault.hold(SnapshotId::of(&id.to_le_bytes()), NOW).await.unwrap();
    }
}

#[tokio::test]
async fn an_owner_puts_a_checkpoint_every_256_entries_and_others_open_by_it() {
    let store = with_log(ENTRIES_BETWEEN - 1).await;
    let mut owner = open(&store, "owner").await;
    assert_eq!(owner.checkpoint_logs().await, 0, "it is not worth one yet");
    hold(&mut owner, ENTRIES_BETWEEN + 2).await;
    assert_eq!(open(&store, "keeper").await.checkpoint_logs().await, 0, "nobody would believe a keeper's");
    assert_eq!((owner.checkpoint_logs().await, owner.checkpoint_logs().await), (1, 0));
    hold(&mut owner, ENTRIES_BETWEEN + 5).await;
    let before = store.usage().reads;
    let by_checkpoint = Replica::open(store.clone()).await.unwrap();
    // vault.json, the checkpoint, its entry, three entries, and the one that is absent.
    assert_eq!(store.usage().reads - before, 7);
    assert_eq!(by_checkpoint.checkpointed(), ENTRIES_BETWEEN + 2);
    let from_birth = Replica::open_from_birth(store.clone()).await.unwrap();
    assert!(by_checkpoint.state().says_the_same(from_birth.state()));
    let mut again = open(&store, "owner").await;
    assert_eq!(again.checkpoint_logs().await, 0, "the last one is near");
    hold(&mut again, 2 * ENTRIES_BETWEEN + 2).await;
    assert_eq!(again.checkpoint_logs().await, 1);
    assert_eq!(open(&store, "keeper").await.replica().checkpointed(), 2 * ENTRIES_BETWEEN + 2);
}

#[tokio::test]
async fn a_collection_deletes_superseded_checkpoints() {
    let store = with_log(ENTRIES_BETWEEN).await;
    let mut owner = open(&store, "owner").await;
    owner.checkpoint_logs().await;
    hold(&mut owner, 2 * ENTRIES_BETWEEN).await;
    owner.checkpoint_logs().await;
    assert_eq!(store.list("checkpoint/").await.unwrap().len(), 2);
    let mut keeper = open(&store, "keeper").await;
    let progress = collect::Progress::default();
    let watch =
        collect::Watch { clock: &|| NOW, progress: &progress, planned: &|_| Ok(()), stop: &|| Ok(()) };
    keeper.collect(0, &collect::Options::DEFAULT, watch).await.unwrap();
    let left = store.list("checkpoint/").await.unwrap();
    let paths: Vec<&str> = left.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(paths, [checkpoint_path(2 * ENTRIES_BETWEEN - 1)]);
}
