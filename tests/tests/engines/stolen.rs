//! What somebody with a stolen writer's key, or with no key but access to the store, can do to a vault, and what ends it.

use shudao_tests::content::{Noise, put};
use shudao_vault::Kind;
use shudao_vault::collect::{Options, Outcome, Progress, Watch};
use shudao_vault::id::{NeedListId, PinId, SessionId, SnapshotId, Timestamp};
use shudao_vault::keys::Role;
use shudao_vault::log::{Body, CommitStatement, Op, Signer, Statement};
use shudao_vault::name::Name;
use shudao_vault::replica::Replica;
use shudao_vault::suite::SigningKey;
use shudao_vault::vault::Vault;
use tempfile::TempDir;

use crate::place::{Place, back_up, now, restores_exactly};

const HOUR: i64 = 3600 * 1_000_000;

/// A vault with one snapshot that stands and the waste of one that was forgotten, and a thief with a writer's key.
struct Looted {
    place: Place,
    thief: Vault,
    source: TempDir,
    stands: SnapshotId,
}

impl Looted {
    async fn new() -> Self {
        let source = TempDir::new().unwrap();
        let mut place = Place::new().await;
        let thief = place.add(Role::Writer, "thief").await;
        put(&source.path().join("report"), &Noise::new(1).bytes(60_000));
        let first = back_up(&mut place.owner, "letters", source.path()).await.snapshot.unwrap();
        put(&source.path().join("report"), &Noise::new(2).bytes(60_000));
        let stands = back_up(&mut place.owner, "letters", source.path()).await.snapshot.unwrap();
        place.owner.forget(&[first], now()).await.unwrap();
        Self { place, thief, source, stands }
    }

    /// Collects at `time` with so much grace.
    async fn collect(&mut self, time: Timestamp, grace_micros: i64) -> Outcome {
        let progress = Progress::default();
        let options = Options { grace_micros, dead_micros: grace_micros, waste_percent: None };
        let watch = Watch { clock: &|| time, progress: &progress, planned: &|_| Ok(()), stop: &|| Ok(()) };
        self.place.owner.collect(0, &options, watch).await.unwrap()
    }

    /// Fails unless what stood stands, and a backup works as ever.
    async fn is_whole(&mut self) {
        self.place.owner.refresh().await.unwrap();
        let home = TempDir::new().unwrap();
        restores_exactly(&self.place.owner, &self.stands, &home.path().join("restored")).await;
        let source = self.source.path().to_owned();
        let next = back_up(&mut self.place.owner, "letters", &source).await.snapshot.unwrap();
        restores_exactly(&self.place.owner, &next, &home.path().join("again")).await;
    }

    /// Takes the thief's key away.
    async fn remove_thief(&mut self) {
        self.place.owner.refresh().await.unwrap();
        let keys = self.place.owner.replica().keys().await.unwrap();
        let slot = keys.iter().find(|key| key.role == Role::Writer).unwrap().slot;
        self.place.owner.remove_key(slot, now()).await.unwrap();
    }
}

fn after(time: Timestamp, hours: i64) -> Timestamp {
    Timestamp(time.0 + hours * HOUR)
}

/// Appends what the holder of `key` says at `time`.
async fn say(replica: &mut Replica, key: &SigningKey, time: Timestamp, op: Op) -> shudao_vault::Result<()> {
    replica.append(Signer { key, time }, |_| Ok(Some(op.clone()))).await.map(drop)
}

async fn say_as(thief: &mut Vault, time: Timestamp, op: Op) -> shudao_vault::Result<()> {
    let ring = std::sync::Arc::clone(thief.ring());
    say(thief.replica_mut(), &ring.signing, time, op).await
}

fn begin(thief: &Vault, number: u8) -> Op {
    let source = thief.ring().source_id("the thief's");
    Op::Begin { session: SessionId([number; 16]), source, parent: None }
}

/// Commits a snapshot of a source, of which neither the object nor the need list exists.
async fn commit_nothing(thief: &mut Vault, source: &str, sequence: u64) -> SnapshotId {
    let ring = std::sync::Arc::clone(thief.ring());
    let (session, source) = (SessionId([1; 16]), ring.source_id(source));
    say_as(thief, now(), Op::Begin { session, source, parent: None }).await.unwrap();
    let snapshot = SnapshotId::of(b"there is none");
    let need_list = NeedListId::of(b"nor one of these");
    let commit = CommitStatement { snapshot, source, sequence, need_list, segments: Vec::new() };
    let body = Body::Commit(commit);
    let statement = Statement { author: ring.writer_id(), time: now(), serial: 0, body };
    let statement = statement.sign(ring.vault, &ring.signing).unwrap();
    say_as(thief, now(), Op::Commit { session, statement }).await.unwrap();
    snapshot
}

/// Everything that is condemned, kept for this session.
fn keep_all(replica: &Replica, session: SessionId) -> Op {
    Op::Keep { session, names: replica.state().condemned().keys().copied().collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_writers_key_drops_condemns_pins_and_closes_nothing_of_others() {
    let mut looted = Looted::new().await;
    let other = SessionId([9; 16]);
    let source = looted.place.owner.ring().source_id("letters");
    let theirs = Op::Begin { session: other, source, parent: Some(looted.stands) };
    say_as(&mut looted.place.owner, now(), theirs).await.unwrap();
    looted.collect(now(), HOUR).await;
    let names: Vec<Name> = looted.place.owner.replica().state().condemned().keys().copied().collect();
    assert!(!names.is_empty());
    let stands = looted.stands;
    for op in [
        Op::Forget { snapshots: vec![stands] },
        Op::Condemn { names: vec![Name::snapshot(stands)] },
        Op::Sweep { names },
        Op::Fence { session: other },
        Op::Pin { pin: PinId([1; 16]), snapshot: stands, expiry: after(now(), 1) },
    ] {
        let shown = format!("{op:?}");
        let refused = say_as(&mut looted.thief, now(), op).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Forbidden, "{shown}: {refused}");
    }
    let kept = say_as(&mut looted.thief, now(), Op::Seen { session: other }).await.unwrap_err();
    assert_eq!(kept.kind(), Kind::Conflict, "another's session: {kept}");
    looted.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sessions_holds_collection_up_for_grace_and_no_longer() {
    let mut looted = Looted::new().await;
    let start = now();
    for number in 0..100 {
        let op = begin(&looted.thief, number);
        say_as(&mut looted.thief, start, op).await.unwrap();
    }
    looted.is_whole().await;
    looted.collect(start, HOUR).await;
    let blocked = looted.collect(after(start, 0), HOUR).await;
    assert_eq!((blocked.fenced, blocked.swept.objects), (0, 0));
    let freed = looted.collect(after(start, 2), HOUR).await;
    assert_eq!(freed.fenced, 100);
    assert!(freed.deleted.objects > 0, "{freed:?}");
    looted.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_need_list_is_missing_blocks_collection_until_it_is_forgotten() {
    let mut looted = Looted::new().await;
    let lie = commit_nothing(&mut looted.thief, "the thief's", 1).await;
    let blocked = looted.collect(now(), 0).await;
    assert_eq!(blocked.left.blocked_by, [lie]);
    assert_eq!((blocked.condemned.objects, blocked.deleted.objects), (0, 0));
    looted.is_whole().await;
    looted.place.owner.forget(&[lie], now()).await.unwrap();
    let freed = looted.collect(now(), 0).await;
    assert!(freed.left.blocked_by.is_empty() && freed.deleted.objects > 0, "{freed:?}");
    looted.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_that_keeps_everything_blocks_collection_until_its_key_is_removed() {
    let mut looted = Looted::new().await;
    let start = now();
    let op = begin(&looted.thief, 1);
    say_as(&mut looted.thief, start, op).await.unwrap();
    for hours in [1, 3, 5] {
        let time = after(start, hours);
        let outcome = looted.collect(time, 3 * HOUR).await;
        assert_eq!((outcome.fenced, outcome.swept.objects), (0, 0), "{outcome:?}");
        looted.thief.refresh().await.unwrap();
        let op = keep_all(looted.thief.replica(), SessionId([1; 16]));
        say_as(&mut looted.thief, time, op).await.unwrap();
    }
    looted.remove_thief().await;
    looted.collect(after(start, 6), 3 * HOUR).await;
    let freed = looted.collect(after(start, 10), 3 * HOUR).await;
    assert!(freed.deleted.objects > 0, "{freed:?}");
    looted.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_without_any_key_hold_collection_up_until_a_keeper_fences_them() {
    let mut looted = Looted::new().await;
    let start = now();
    let mut stranger = Replica::open(looted.place.store().clone()).await.unwrap();
    let mut keys = Vec::new();
    for number in 0..50 {
        let key = SigningKey::generate();
        let op = Op::Courier { session: SessionId([number; 16]), key: key.verify_key() };
        say(&mut stranger, &key, start, op).await.unwrap();
        keys.push(key);
    }
    let forget = Op::Forget { snapshots: vec![looted.stands] };
    assert_eq!(say(&mut stranger, &keys[0], start, forget).await.unwrap_err().kind(), Kind::Forbidden);
    for hours in [1, 3] {
        let time = after(start, hours);
        let outcome = looted.collect(time, 4 * HOUR).await;
        assert_eq!(outcome.swept.objects, 0, "{outcome:?}");
        stranger.catch_up().await.unwrap();
        let op = keep_all(&stranger, SessionId([7; 16]));
        say(&mut stranger, &keys[7], time, op).await.unwrap();
    }
    looted.is_whole().await;
    let freed = looted.collect(after(start, 4), 0).await;
    assert!(freed.fenced == 50 && freed.deleted.objects > 0, "{freed:?}");
    assert_eq!(looted.place.owner.replica().state().open_sessions().count(), 0);
    looted.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_anothers_source_stops_no_backup_and_gives_way_when_it_is_forgotten() {
    let mut looted = Looted::new().await;
    let lie = commit_nothing(&mut looted.thief, "letters", u64::MAX).await;
    looted.place.owner.refresh().await.unwrap();
    let source = looted.place.owner.ring().source_id("letters");
    assert_eq!(looted.place.owner.latest(&source), Some(lie), "a thief can pose as the latest");
    looted.is_whole().await;
    assert_ne!(looted.place.owner.latest(&source), Some(lie), "until the next backup");
    looted.place.owner.forget(&[lie], now()).await.unwrap();
    looted.is_whole().await;
}
