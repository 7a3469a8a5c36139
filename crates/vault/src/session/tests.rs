use std::sync::Arc;

use super::*;
use crate::Kind;
use crate::id::{Digest, SlotId};
use crate::keys::Role;
use crate::needed::read_list;
use crate::sample::{self, create, lock, open};
use crate::snapshot::TreeRoot;
use crate::store::Store;
use crate::vault::Vault;

const SOURCE: SourceId = SourceId([5; 16]);

/// A store with a vault, its owner, a writer, and the writer's slot.
async fn owned() -> (Store, Vault, Vault, SlotId) {
    let store = Store::memory();
    let mut owner = create(std::slice::from_ref(&store)).await;
    let added = owner.add_key(Role::Writer, "writer", lock("writer"), &[], Timestamp(2)).await.unwrap();
    let writer = open(&store, "writer").await.unwrap();
    (store, owner, writer, added.slot)
}

fn contents(need: Vec<(PackId, u64)>) -> Contents {
    sample::contents(TreeRoot { digest: Digest([1; 32]), level: 0 }, need, Timestamp(4))
}

#[tokio::test]
async fn a_commit_after_the_writers_key_was_removed_is_refused_and_nothing_is_visible() {
    let (store, mut owner, mut writer, slot) = owned().await;
    let session = writer.begin(SOURCE, Timestamp(3)).await.unwrap();
    owner.remove_key(slot, Timestamp(4)).await.unwrap();
    let refused = writer.commit(session, contents(Vec::new()), Vec::new(), Timestamp(5)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);
    assert!(open(&store, "owner").await.unwrap().visible().is_empty());
    assert_eq!(writer.begin(SOURCE, Timestamp(6)).await.unwrap_err().kind(), Kind::Forbidden);
}

#[tokio::test]
async fn each_snapshot_lists_exactly_its_packs_whatever_its_parent_lists() {
    let (_store, _, mut writer, _) = owned().await;
    let pack = |n: u8| PackId::of(&[n]);
    for n in [1, 2, 3, 4, 9] {
        let bytes = Bytes::from(vec![n]);
        writer.replica().objects().put(&Name::pack(pack(n)), bytes).await.unwrap();
    }
    for (sequence, packs) in [(1, vec![1, 2]), (2, vec![2, 3, 4]), (3, vec![]), (4, vec![9])] {
        let session = writer.begin(SOURCE, Timestamp(3)).await.unwrap();
        assert_eq!(session.sequence, sequence);
        let wanted: BTreeSet<PackId> = packs.into_iter().map(pack).collect();
        let need = wanted.iter().map(|pack| (*pack, 1)).collect();
        let id = writer.commit(session, contents(need), Vec::new(), Timestamp(4)).await.unwrap();
        let list = writer.replica().state().visible()[&id].need_list;
        let listed =
            read_list(writer.replica().objects(), writer.replica().vault_id(), list).await.unwrap().packs;
        assert_eq!(listed, wanted);
    }
}

#[tokio::test]
async fn a_key_whose_slot_was_damaged_can_still_be_removed() {
    let (store, mut owner, _, slot) = owned().await;
    let object = owner.replica().state().slots().find(|(id, _)| *id == slot).unwrap().1;
    store.delete(&crate::object::key_path(&object)).await.unwrap();
    owner.remove_key(slot, Timestamp(5)).await.unwrap();
    assert!(owner.replica().state().slots().all(|(id, _)| id != slot));
}

#[tokio::test]
async fn a_commit_that_keeps_a_pack_keeps_the_segments_that_may_speak_of_it() {
    let (_store, mut owner, mut writer, _) = owned().await;
    let pack = PackId::of(&[1]);
    writer.replica().objects().put(&Name::pack(pack), Bytes::from_static(&[1])).await.unwrap();
    let keeper = Arc::clone(owner.ring());
    let names = vec![Name::pack(pack), Name::index(ObjectId([7; 32]))];
    let condemn = Op::Condemn { names };
    let by_keeper = Signer { key: &keeper.signing, time: Timestamp(4) };

    let session = writer.begin(SOURCE, Timestamp(3)).await.unwrap();
    owner.replica_mut().append(by_keeper, |_| Ok(Some(condemn.clone()))).await.unwrap();
    let need = contents(vec![(pack, 1)]);
    writer.commit(session, need, Vec::new(), Timestamp(6)).await.unwrap();
    assert_eq!(writer.replica().state().condemned().len(), 0);
}
