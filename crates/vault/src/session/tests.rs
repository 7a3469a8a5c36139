use super::*;
use crate::Kind;
use crate::id::{Digest, SlotId};
use crate::keys::slot::Lock;
use crate::keys::{Role, Unlock};
use crate::log::Config;
use crate::needed::read_list;
use crate::roots::Roots;
use crate::snapshot::{Counts, TreeRoot, UnreadList};
use crate::store::Store;
use crate::suite::KdfCost;
use crate::vault::{CreateOptions, Vault};

const SOURCE: SourceId = SourceId([5; 16]);

fn lock(word: &str) -> Lock<'_> {
    Lock::Passphrase(word, KdfCost::new(8, 1, 1).unwrap())
}

async fn open(store: &Store, word: &str) -> Vault {
    let replica = Replica::open(store.clone()).await.unwrap();
    Vault::open(replica, &Unlock::Passphrase(word), None).await.unwrap()
}

/// A store with a vault, its owner, a writer, and the writer's slot.
async fn owned() -> (Store, Vault, Vault, SlotId) {
    let store = Store::memory();
    let options = CreateOptions {
        name: "here",
        config: Config::default(),
        ways_in: vec![("owner", lock("owner"))],
        now: Timestamp(1),
    };
    Vault::create(store.clone(), options).await.unwrap();
    let mut owner = open(&store, "owner").await;
    let added = owner.add_key(Role::Writer, "writer", lock("writer"), &[], Timestamp(2)).await.unwrap();
    let writer = open(&store, "writer").await;
    (store, owner, writer, added.slot)
}

fn contents(need: Vec<(PackId, u64)>) -> Contents {
    Contents {
        tree: TreeRoot { digest: Digest([1; 32]), level: 0 },
        roots: Roots { manifest: [2; 32], content: [3; 32] },
        source: "source".to_owned(),
        host: "host".to_owned(),
        paths: Vec::new(),
        tags: Vec::new(),
        excludes: Vec::new(),
        one_file_system: false,
        counts: Counts::default(),
        started: Timestamp(3),
        finished: Timestamp(4),
        unread: UnreadList::default(),
        need,
        program: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_commit_after_the_writers_key_was_removed_is_refused_and_nothing_is_visible() {
    let (store, mut owner, mut writer, slot) = owned().await;
    let session = writer.begin(SOURCE, Timestamp(3)).await.unwrap();
    owner.remove_key(slot, Timestamp(4)).await.unwrap();
    let refused = writer.commit(session, contents(Vec::new()), Vec::new(), Timestamp(5)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);
    assert!(open(&store, "owner").await.visible().is_empty());
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
