use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::sample::{Files, HOUR, World, files, watch};
use super::*;
use crate::id::{ObjectId, SnapshotId};
use crate::name::{Area, Name};
use crate::sample::{lock, open};
use crate::{Error, Kind};

const NO_COMPACTION: Options = Options { waste_percent: None, ..Options::DEFAULT };
const AT_ONCE: Options = Options { grace_micros: 0, dead_micros: 0, ..Options::DEFAULT };

async fn forget(world: &mut World, snapshots: &[SnapshotId]) {
    let now = world.now();
    world.owner.refresh().await.unwrap();
    world.owner.forget(snapshots, now).await.unwrap();
}

/// Nothing is left to be done, nothing that a root needs is missing, and nothing else is there.
async fn is_clean(world: &mut World) {
    let left = world.plan(&Options::DEFAULT).await.left;
    assert!(left.is_idle(), "{left:?}");
    let mut needs = crate::needed::NeedReader::default();
    let now = world.now();
    let needed = needs.needed(world.keeper.replica(), now).await.unwrap();
    let objects = world.keeper.replica().objects();
    let keys: BTreeSet<String> = needed.names().map(|name| objects.key(name)).collect();
    assert_eq!(world.objects().await, keys);
}

#[tokio::test]
async fn what_a_forgotten_snapshot_alone_needed_goes_after_grace_and_not_before() {
    let mut world = World::new().await;
    let (one, two) = (files(&[("a", &[1, 2, 3, 4]), ("b", &[5, 6])]), files(&[("b", &[5, 6, 7])]));
    let first = world.back_up(&one).await;
    let second = world.back_up(&two).await;
    is_clean(&mut world).await;
    let before = world.objects().await;
    forget(&mut world, &[first]).await;

    let plan = world.plan(&NO_COMPACTION).await;
    // The pack of content at least; where the boundary key lets both trees share a node, their pack of nodes stays.
    assert!(plan.left.condemn_amount.objects > 0 && plan.left.condemn_amount.bytes > 3 * 4200);
    assert_eq!(world.objects().await, before, "a plan changes nothing");
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!(done.condemned, plan.left.condemn_amount);
    assert_eq!((done.swept.objects, done.deleted.objects), (0, 0));
    assert_eq!(done.left.in_grace, done.condemned);
    assert_eq!(done.left.grace_ends, Some(Timestamp(world.now().0 + 72 * HOUR)));

    world.pass(71);
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!((done.condemned.objects, done.swept.objects, world.objects().await), (0, 0, before.clone()));
    world.pass(1);
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!(done.swept, plan.left.condemn_amount);
    assert_eq!(done.deleted, plan.left.condemn_amount);
    assert_eq!(before.len() as u64 - done.deleted.objects, world.objects().await.len() as u64);
    assert_eq!(world.restore(&second).await, two);
    assert_eq!(world.keeper.replica().state().given_up().count(), 0);
}

#[tokio::test]
async fn waste_inside_packs_goes_by_copying_what_is_needed() {
    let mut world = World::new().await;
    let one = files(&[("a", &[1, 2, 3, 4, 5, 6, 7, 8]), ("x", &[9, 10])]);
    let first = world.back_up(&one).await;
    let long: Vec<u64> = (100..140).collect();
    let two = files(&[("a", &[1, 5]), ("long", &long), ("x", &[10])]);
    let second = world.back_up(&two).await;
    world.owner.refresh().await.unwrap();
    forget(&mut world, &[first]).await;
    let done = world.collect(&AT_ONCE).await.unwrap();
    assert!(done.replaced.objects > 0 && done.made.bytes < done.replaced.bytes, "{done:?}");
    assert_eq!(done.problems, Vec::<String>::new());
    is_clean(&mut world).await;
    assert_eq!(world.restore(&second).await, two);
    let again = world.collect(&AT_ONCE).await.unwrap();
    assert_eq!((again.replaced.objects, again.condemned.objects, again.deleted.objects), (0, 0, 0));
    // The next backup finds what it needs in the copies.
    let packs =
        |objects: BTreeSet<String>| objects.into_iter().filter(|key| key.starts_with("packs/")).count();
    let before = packs(world.objects().await);
    let third = world.back_up(&two).await;
    assert_eq!(packs(world.objects().await), before);
    forget(&mut world, &[second]).await;
    world.collect(&AT_ONCE).await.unwrap();
    assert_eq!(world.restore(&third).await, two);
    is_clean(&mut world).await;
}

#[tokio::test]
async fn copies_are_copied_again() {
    let mut world = World::new().await;
    let mut kept: Vec<u64> = (0..32).collect();
    let mut last = world.back_up(&files(&[("a", &kept)])).await;
    while kept.len() > 1 {
        let parity = kept[1] % 2;
        kept.retain(|number| number % 2 == parity || number % 5 == 0);
        kept.pop();
        let next = world.back_up(&files(&[("a", &kept)])).await;
        forget(&mut world, &[last]).await;
        world.collect(&AT_ONCE).await.unwrap();
        assert_eq!(world.restore(&next).await, files(&[("a", &kept)]));
        is_clean(&mut world).await;
        last = next;
    }
}

#[tokio::test]
async fn a_session_that_relies_on_a_condemned_pack_keeps_it() {
    let mut world = World::new().await;
    let given = files(&[("a", &[1, 2, 3])]);
    let first = world.back_up(&given).await;
    let session = world.begin().await;
    forget(&mut world, &[first]).await;
    let done = world.collect(&AT_ONCE).await.unwrap();
    assert_eq!(done.fenced, 1, "without grace every open session is taken for dead");
    let error = world.store_and_commit(session, &given).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);

    let second = world.back_up(&given).await;
    let session = world.begin().await;
    forget(&mut world, &[second]).await;
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!(done.condemned.objects, 0, "the session's parent is a root");
    let third = world.store_and_commit(session, &given).await.unwrap();
    assert_eq!(world.restore(&third).await, given);
}

#[tokio::test]
async fn what_only_a_condemned_segment_speaks_of_is_stored_again() {
    let mut world = World::new().await;
    let given = files(&[("a", &[1])]);
    world.back_up(&given).await;
    let packs = |objects: BTreeSet<String>| objects.iter().filter(|key| key.starts_with("packs/")).count();
    let before = packs(world.objects().await);
    let ring = std::sync::Arc::clone(world.owner.ring());
    let signer = crate::log::Signer { key: &ring.signing, time: world.now() };
    let segments = world.owner.replica().state().segments_live();
    let op = crate::log::Op::Condemn { names: segments.iter().map(|id| Name::index(*id)).collect() };
    world.owner.replica_mut().append(signer, |_| Ok(Some(op.clone()))).await.unwrap();
    world.back_up(&given).await;
    assert_eq!(packs(world.objects().await), 2 * before);
}

#[tokio::test]
async fn a_sweep_waits_for_a_live_session_until_it_answers() {
    let mut world = World::new().await;
    let first = world.back_up(&files(&[("a", &[1])])).await;
    world.back_up(&files(&[("a", &[2])])).await;
    let session = world.begin().await;
    forget(&mut world, &[first]).await;
    assert!(world.collect(&NO_COMPACTION).await.unwrap().condemned.objects > 0);
    // It writes checkpoints, so it is no more dead than it has answered.
    world.pass(80);
    let stock = |world: &World| {
        let mut stock = stock::Stock::default();
        stock.add_session_file(session.id, "sessions/x".to_owned(), 1, Some(world.now()));
        stock
    };
    let needed =
        crate::needed::NeedReader::default().needed(world.keeper.replica(), world.now()).await.unwrap();
    let decide = |world: &World| {
        let (state, times) = (world.keeper.replica().state(), BTreeMap::from([(0, Timestamp(0))]));
        let times =
            plan::wanted_times(state).into_iter().map(|n| (n, Timestamp(1000 * HOUR))).chain(times).collect();
        let facts = plan::Facts {
            state,
            needed: &needed,
            times: &times,
            stock: &stock(world),
            usage: None,
            now: world.now(),
        };
        plan::plan(&facts, &Options::DEFAULT)
    };
    let waiting = decide(&world);
    assert_eq!((waiting.fence.len(), waiting.sweep.len()), (0, 0));
    assert_eq!(waiting.unanswered_by, [session.id].into());
    let ring = std::sync::Arc::clone(world.owner.ring());
    let signer = crate::log::Signer { key: &ring.signing, time: world.now() };
    session.attend(world.owner.replica_mut(), signer, |_| Vec::new()).await.unwrap();
    world.keeper.refresh().await.unwrap();
    let answered = decide(&world);
    assert_eq!((answered.fence.len(), answered.unanswered.objects), (0, 0));
    assert!(!answered.sweep.is_empty());
}

#[tokio::test]
async fn a_stray_older_than_every_open_session_is_waste() {
    let mut world = World::new().await;
    world.back_up(&files(&[("a", &[1])])).await;
    world.pass(100);
    world.begin().await;
    world.keeper.refresh().await.unwrap();
    let needed =
        crate::needed::NeedReader::default().needed(world.keeper.replica(), world.now()).await.unwrap();
    for (age_hours, is_condemned) in [(0, false), (50, true)] {
        let modified = Some(Timestamp(world.now().0 - age_hours * HOUR));
        let name = Name::pack(ObjectId::of(b"stray"));
        let stock = stock::Stock::new([stock::Stored { name, swept: None, bytes: 9, modified }]);
        let state = world.keeper.replica().state();
        let facts = plan::Facts {
            state,
            needed: &needed,
            times: &BTreeMap::new(),
            stock: &stock,
            usage: None,
            now: world.now(),
        };
        let plan = plan::plan(&facts, &Options::DEFAULT);
        assert_eq!(
            (plan.condemn.len(), plan.spared.objects),
            (usize::from(is_condemned), u64::from(!is_condemned))
        );
    }
}

#[tokio::test]
async fn checkpoints_of_closed_sessions_are_deleted() {
    let mut world = World::new().await;
    let session = world.begin().await;
    let key = format!("sessions/{}/0", session.id.to_hex());
    world.store.put(&key, Bytes::from_static(b"checkpoint")).await.unwrap();
    world.collect(&Options::DEFAULT).await.unwrap();
    assert!(world.store.size(&key).await.unwrap().is_some());
    world.store_and_commit(session, &files(&[("a", &[1])])).await.unwrap();
    let done = world.collect(&Options::DEFAULT).await.unwrap();
    assert_eq!((done.deleted.objects, world.store.size(&key).await.unwrap()), (1, None));
}

#[tokio::test]
async fn strays_of_an_open_session_wait_until_it_is_taken_for_dead() {
    let mut world = World::new().await;
    let stays = world.back_up(&files(&[("a", &[1])])).await;
    let stray = Bytes::from_static(b"uploaded before a crash");
    let name = Name::pack(ObjectId::of(&stray));
    world.begin().await;
    world.keeper.replica().objects().put(&name, stray).await.unwrap();
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!((done.fenced, done.condemned.objects, done.left.spared.objects), (0, 0, 1));
    world.pass(72);
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!((done.fenced, done.condemned.objects), (1, 1));
    world.pass(72);
    let done = world.collect(&NO_COMPACTION).await.unwrap();
    assert_eq!(done.deleted, Amount { objects: 1, bytes: 23 });
    is_clean(&mut world).await;
    assert_eq!(world.restore(&stays).await, files(&[("a", &[1])]));
}

#[tokio::test]
async fn a_late_write_under_a_key_that_was_given_up_is_deleted_again() {
    let mut world = World::new().await;
    let first = world.back_up(&files(&[("a", &[1])])).await;
    world.back_up(&files(&[("a", &[2])])).await;
    let before = world.objects().await;
    forget(&mut world, &[first]).await;
    world.collect(&AT_ONCE).await.unwrap();
    let gone = before.difference(&world.objects().await).next().unwrap().clone();
    world.store.put(&gone, Bytes::from_static(b"late")).await.unwrap();
    let done = world.collect(&Options::DEFAULT).await.unwrap();
    assert_eq!(done.deleted, Amount { objects: 1, bytes: 4 });
    is_clean(&mut world).await;
}

#[tokio::test]
async fn while_a_need_list_cannot_be_read_nothing_is_called_unneeded() {
    let mut world = World::new().await;
    let first = world.back_up(&files(&[("a", &[1])])).await;
    let second = world.back_up(&files(&[("b", &[2])])).await;
    let list = world.owner.replica().state().visible()[&second].need_list;
    world.store.delete(&Name::index(list).plain_key()).await.unwrap();
    forget(&mut world, &[first]).await;
    let before = world.objects().await;
    let done = world.collect(&AT_ONCE).await.unwrap();
    assert_eq!(done.left.blocked_by, [second]);
    assert_eq!((done.condemned.objects, done.replaced.objects), (0, 0));
    assert_eq!(world.objects().await, before);
    forget(&mut world, &[second]).await;
    world.collect(&AT_ONCE).await.unwrap();
    is_clean(&mut world).await;
    assert_eq!(world.objects().await.len(), 0);
}

#[tokio::test]
async fn where_a_tree_cannot_be_read_nothing_is_compacted() {
    let mut world = World::new().await;
    let first = world.back_up(&files(&[("a", &[1, 2, 3, 4, 5, 6])])).await;
    let second = world.back_up(&files(&[("a", &[1])])).await;
    forget(&mut world, &[first]).await;
    let snapshot = world.owner.snapshot(&second).await.unwrap();
    let root =
        world.owner.ring().chunk_id(crate::keys::ring::ChunkSpace::Metadata, &snapshot.contents.tree.digest);
    let place = world.owner.index().lookup(&root, crate::keys::ring::ChunkSpace::Metadata).unwrap()[0];
    world.store.delete(&Name::pack(place.pack).plain_key()).await.unwrap();
    let done = world.collect(&AT_ONCE).await.unwrap();
    assert_eq!(done.replaced.objects, 0);
    assert!(done.problems[0].contains("nothing is compacted"), "{:?}", done.problems);
}

#[tokio::test]
async fn a_damaged_pack_is_never_copied_from() {
    let mut world = World::new().await;
    let first = world.back_up(&files(&[("a", &[1, 2, 3, 4])])).await;
    let second = world.back_up(&files(&[("a", &[1])])).await;
    forget(&mut world, &[first]).await;
    let wasteful = world.plan(&AT_ONCE).await.left.compact;
    let content =
        wasteful.iter().find(|pack| pack.usage.pack.kind == crate::pack::PackKind::Content).unwrap();
    let key = Name::pack(content.usage.pack.id).plain_key();
    let mut bytes = world.store.read(&key).await.unwrap().to_vec();
    bytes[500] ^= 1;
    world.store.delete(&key).await.unwrap();
    world.store.put(&key, Bytes::from(bytes)).await.unwrap();
    let done = world.collect(&AT_ONCE).await.unwrap();
    assert!(done.problems.iter().any(|problem| problem.contains("not compacted")), "{:?}", done.problems);
    assert!(world.objects().await.contains(&key));
    assert!(world.keeper.visible().iter().any(|(id, _)| *id == second));
}

#[tokio::test]
async fn a_writer_may_not_collect() {
    let mut world = World::new().await;
    let lock = lock("writer");
    world.owner.add_key(crate::keys::Role::Writer, "writer", lock, &[], Timestamp(3)).await.unwrap();
    let mut writer = open(&world.store, "writer").await.unwrap();
    let refused =
        writer.plan_collection(0, &AT_ONCE, watch(&|| Timestamp(5), &Progress::default(), &|| Ok(()))).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);
}

/// A history: what each backup holds of 40 chunks, and which snapshots stand after each.
#[derive(Debug, Clone)]
enum Step {
    BackUp(BTreeSet<u64>),
    Forget(prop::sample::Index),
    Abandon,
    Collect { grace: i64, stops_after: u64 },
    Wait(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::btree_set(0u64..40, 1..20).prop_map(Step::BackUp),
        3 => any::<prop::sample::Index>().prop_map(Step::Forget),
        1 => Just(Step::Abandon),
        4 => (prop_oneof![Just(0), Just(5)], prop_oneof![Just(u64::MAX), 0u64..12])
            .prop_map(|(grace, stops_after)| Step::Collect { grace, stops_after }),
        2 => (1i64..8).prop_map(Step::Wait),
    ]
}

async fn play(steps: &[Step]) {
    let mut world = World::new().await;
    let mut standing: BTreeMap<SnapshotId, Files> = BTreeMap::new();
    for step in steps {
        match step {
            Step::BackUp(chunks) => {
                let chunks: Vec<u64> = chunks.iter().copied().collect();
                let (some, others) = chunks.split_at(chunks.len() / 2);
                let given = files(&[("file", some), ("x", others)]);
                standing.insert(world.back_up(&given).await, given);
            }
            Step::Forget(index) if !standing.is_empty() => {
                let id = *index.get(&standing.keys().copied().collect::<Vec<_>>());
                forget(&mut world, &[id]).await;
                standing.remove(&id);
            }
            Step::Forget(_) => {}
            Step::Abandon => {
                world.begin().await;
            }
            Step::Wait(hours) => world.pass(*hours),
            Step::Collect { grace, stops_after } => {
                let options = Options {
                    grace_micros: grace * HOUR,
                    dead_micros: grace * HOUR,
                    waste_percent: Some(20),
                };
                let asked = AtomicU64::new(0);
                let stop = || match asked.fetch_add(1, Ordering::Relaxed) {
                    n if n >= *stops_after => Err(Error::new(Kind::Unavailable, "stopped")),
                    _ => Ok(()),
                };
                let now = world.now();
                drop(world.keeper.collect(0, &options, watch(&|| now, &Progress::default(), &stop)).await);
            }
        }
        for (id, given) in &standing {
            assert_eq!(world.restore(id).await, *given);
        }
    }
    // Fenced, unpinned and quiet: cleaning up removes every unneeded object and breaks nothing. What one collection compacts
    // may leave another pack wasteful, so it is done until it comes to rest, which it must.
    world.pass(1);
    for _ in 0..3 {
        world.collect(&AT_ONCE).await.unwrap();
    }
    is_clean(&mut world).await;
    for (id, given) in &standing {
        assert_eq!(world.restore(id).await, *given);
    }
    if standing.is_empty() {
        assert!(
            world
                .objects()
                .await
                .iter()
                .all(|key| Name::of_key(key).is_none_or(|(name, _)| name.area == Area::Index))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_every_standing_snapshot_restores(steps in prop::collection::vec(any_step(), 1..14)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(play(&steps));
    }
}
