//! Writers that lie about what they stored, and what their word is worth to others.

use shudao_tests::content::{Noise, put};
use shudao_vault::frame::{Compression, Scratch};
use shudao_vault::id::{Digest, PackId, SegmentId, SnapshotId};
use shudao_vault::keys::Role;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::log::Config;
use shudao_vault::name::Name;
use shudao_vault::pack::{FinishedPack, PACK_BYTES_TARGET, PackBuilder, PackContents, PackKind};
use shudao_vault::segment::SegmentBuilder;
use shudao_vault::session::PackStore;
use shudao_vault::vault::Vault;
use shudao_verify::check::{CheckProgress, DataCheck, Selection, check_data};
use tempfile::TempDir;

use crate::place::{Place, back_up, now, restore_to, restores_exactly};

/// Names are every writer's own, so that a run always stores its tree; a small one is smaller than this.
const TREE_BYTES_MAX: u64 = 4096;

/// One chunk's worth of content that nobody guesses; below the chunker's smallest chunk, so a file of it is one.
fn secret_report() -> Vec<u8> {
    Noise::new(11).bytes(50_000)
}

fn tree_with(report: &[u8]) -> TempDir {
    let home = TempDir::new().unwrap();
    put(&home.path().join("report"), report);
    put(&home.path().join("note"), b"a note beside it");
    home
}

/// A pack that is well made but for one thing: under the name of `truth` it holds `lie`.
fn false_pack(liar: &Vault, truth: &[u8], lie: &[u8]) -> FinishedPack {
    let id = liar.ring().chunk_id(ChunkSpace::Content, &Digest::of(truth));
    let mut builder = PackBuilder::new(PackKind::Content, PACK_BYTES_TARGET, liar.ring()).unwrap();
    let ticket = builder.reserve(lie.len(), 1).unwrap().unwrap();
    let chunks = vec![(id, lie.len() as u32)];
    let frame = ticket.seal(lie, chunks, Compression::Fast, &mut Scratch::new()).unwrap();
    builder.append(frame).unwrap();
    builder.finish().unwrap()
}

/// Commits `segments` with a snapshot that looks like an honest one of the liar's own.
async fn commit_lie(liar: &mut Vault, honest: &SnapshotId, segments: Vec<SegmentId>) {
    let contents = liar.snapshot(honest).await.unwrap().contents;
    let source = liar.ring().source_id("the liar's");
    let session = liar.begin(source, now()).await.unwrap();
    liar.commit(session, contents, segments, now()).await.unwrap();
    liar.refresh().await.unwrap();
}

/// Stores a pack that lies and everything that makes others look at it.
async fn store_lie(liar: &mut Vault, truth: &[u8]) -> PackId {
    let home = tree_with(b"nothing of interest");
    let honest = back_up(liar, "the liar's", home.path()).await.snapshot.unwrap();
    let pack = false_pack(liar, truth, &Noise::new(12).bytes(truth.len()));
    let id = pack.pack().id;
    let objects = liar.replica().objects().clone();
    let ring = liar.ring().clone();
    let mut packs = PackStore::new(&objects, &ring);
    packs.putter().put_pack(&pack).await.unwrap();
    packs.acknowledged(pack).await.unwrap();
    let segments = packs.finish().await.unwrap();
    commit_lie(liar, &honest, segments).await;
    id
}

/// The packs in which the index knows the content.
async fn packs_of(vault: &mut Vault, content: &[u8]) -> Vec<PackId> {
    vault.refresh().await.unwrap();
    let places = vault.reader().places(ChunkSpace::Content, &Digest::of(content)).unwrap();
    places.iter().map(|place| place.pack).collect()
}

async fn read_all(vault: &mut Vault) -> DataCheck {
    vault.refresh().await.unwrap();
    check_data(vault, &Selection::All, &CheckProgress::default()).await.unwrap()
}

async fn restores(place: &mut Place, snapshot: &SnapshotId) {
    place.owner.refresh().await.unwrap();
    let home = TempDir::new().unwrap();
    restores_exactly(&place.owner, snapshot, &home.path().join("restored")).await;
}

async fn failed_paths(place: &mut Place, snapshot: &SnapshotId) -> Vec<String> {
    place.owner.refresh().await.unwrap();
    let home = TempDir::new().unwrap();
    let summary = restore_to(&place.owner, snapshot, &home.path().join("restored")).await.unwrap();
    summary.failed.iter().map(|problem| problem.path.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_harms_no_other_writers_snapshot() {
    let report = secret_report();
    let home = tree_with(&report);
    let mut place = Place::new().await;
    let mut liar = place.add(Role::Writer, "liar").await;
    let mut honest = place.add(Role::Writer, "honest").await;
    let false_pack = store_lie(&mut liar, &report).await;
    assert_eq!(packs_of(&mut honest, &report).await, [false_pack], "the lie is known to everyone");

    let summary = back_up(&mut honest, "letters", home.path()).await;
    assert!(summary.bytes_new >= report.len() as u64, "it stores its own: {}", summary.bytes_new);
    let packs = packs_of(&mut honest, &report).await;
    assert_eq!(packs.len(), 2);
    let contents = honest.snapshot(&summary.snapshot.unwrap()).await.unwrap().contents;
    assert!(contents.need.iter().all(|(pack, _)| *pack != false_pack), "it does not need the lie");
    restores(&mut place, &summary.snapshot.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_found_by_reading_and_the_next_backup_heals_what_relied_on_it() {
    let report = secret_report();
    let home = tree_with(&report);
    let mut place = Place::new().await;
    let mut liar = place.add(Role::Writer, "liar").await;
    let false_pack = store_lie(&mut liar, &report).await;
    // A writer believes its own segments: this is what a broken machine would do to itself.
    let hurt = back_up(&mut liar, "letters", home.path()).await;
    assert!(hurt.bytes_new < report.len() as u64);
    let hurt = hurt.snapshot.unwrap();
    assert_eq!(failed_paths(&mut place, &hurt).await, ["report"], "and nothing else is lost");

    let check = read_all(&mut place.owner).await;
    assert!(check.report.is_damaged());
    assert!(!check.good.contains(&false_pack));
    assert_eq!(check.bad.len(), 1, "{:?}", check.bad);
    let finding = check.report.findings.iter().find(|finding| finding.object.contains(&false_pack.to_hex()));
    assert!(finding.is_some(), "{:?}", check.report.findings);
    place.owner.vouch(&check.good, now()).await.unwrap();
    place.owner.declare_bad(&check.bad, now()).await.unwrap();

    let healed = back_up(&mut liar, "letters", home.path()).await;
    assert!(healed.bytes_new >= report.len() as u64, "what was found bad counts as absent");
    restores(&mut place, &healed.snapshot.unwrap()).await;
    restores(&mut place, &hurt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_deduplicates_against_another_only_after_the_owner_vouched() {
    let report = secret_report();
    let home = tree_with(&report);
    let mut place = Place::new().await;
    let mut first = place.add(Role::Writer, "first").await;
    let mut before = place.add(Role::Writer, "before").await;
    let mut after = place.add(Role::Writer, "after").await;
    back_up(&mut first, "letters", home.path()).await;
    back_up(&mut before, "copy before", home.path()).await;
    assert_eq!(packs_of(&mut before, &report).await.len(), 2, "an unvouched pack is not relied on");

    let check = read_all(&mut place.owner).await;
    assert!(!check.report.is_damaged(), "{:?}", check.report.findings);
    place.owner.vouch(&check.good, now()).await.unwrap();
    let copy = back_up(&mut after, "copy after", home.path()).await;
    assert_eq!(packs_of(&mut after, &report).await.len(), 2, "nothing was stored again");
    assert!(copy.bytes_new < TREE_BYTES_MAX, "{} bytes are more than a small tree", copy.bytes_new);
    let needs = after.snapshot(&copy.snapshot.unwrap()).await.unwrap().contents.need;
    let relied_on = packs_of(&mut after, &report).await;
    assert!(needs.iter().any(|(pack, _)| relied_on.contains(pack)), "it needs what it relies on");
    restores(&mut place, &copy.snapshot.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trusted_writers_another_writers_packs_are_relied_on_unvouched() {
    let report = secret_report();
    let home = tree_with(&report);
    let mut place = Place::with(Config { trust_writers: true, ..Config::default() }).await;
    let mut first = place.add(Role::Writer, "first").await;
    let mut second = place.add(Role::Writer, "second").await;
    back_up(&mut first, "letters", home.path()).await;
    let copy = back_up(&mut second, "copy", home.path()).await;
    assert!(copy.bytes_new < TREE_BYTES_MAX, "{} bytes are more than a small tree", copy.bytes_new);
    assert_eq!(packs_of(&mut second, &report).await.len(), 1);
    restores(&mut place, &copy.snapshot.unwrap()).await;
}

/// A segment of the liar's about a pack that is honest: it says that the frame holds `wanted`, which it does not.
async fn claim_falsely(liar: &mut Vault, pack: &PackId, wanted: &[u8]) -> SegmentId {
    let home = tree_with(b"nothing of interest");
    let honest = back_up(liar, "the liar's", home.path()).await.snapshot.unwrap();
    let objects = liar.replica().objects().clone();
    let ring = liar.ring().clone();
    let bytes = objects.read(&Name::pack(*pack)).await.unwrap();
    let (_, mut contents) = PackContents::read(&bytes, &ring).unwrap();
    let chunk = contents.directory.chunks.iter_mut().find(|chunk| chunk.length as usize == wanted.len());
    chunk.unwrap().id = ring.chunk_id(ChunkSpace::Content, &Digest::of(wanted));
    let mut builder = SegmentBuilder::new(&ring);
    assert!(builder.add_pack(contents).unwrap().is_none());
    let segment = builder.end_segment().unwrap().unwrap();
    let id = segment.id();
    objects.put(&Name::index(id), segment.bytes).await.unwrap();
    commit_lie(liar, &honest, vec![id]).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_claim_about_a_vouched_pack_harms_no_other_writer() {
    let report = secret_report();
    let mut place = Place::new().await;
    let mut first = place.add(Role::Writer, "first").await;
    let mut liar = place.add(Role::Writer, "liar").await;
    let mut honest = place.add(Role::Writer, "honest").await;
    let other_report = Noise::new(13).bytes(report.len());
    let innocent = tree_with(&other_report);
    back_up(&mut first, "letters", innocent.path()).await;
    let check = read_all(&mut place.owner).await;
    place.owner.vouch(&check.good, now()).await.unwrap();
    let vouched = packs_of(&mut liar, &other_report).await;
    let false_segment = claim_falsely(&mut liar, &vouched[0], &report).await;
    assert_eq!(packs_of(&mut honest, &report).await, vouched, "the claim is known to everyone");

    let home = tree_with(&report);
    let summary = back_up(&mut honest, "reports", home.path()).await;
    restores(&mut place, &summary.snapshot.unwrap()).await;
    let copy = back_up(&mut honest, "copy", innocent.path()).await;
    assert!(copy.bytes_new < TREE_BYTES_MAX, "the true claim still counts: {}", copy.bytes_new);
    restores(&mut place, &copy.snapshot.unwrap()).await;

    let check = read_all(&mut place.owner).await;
    assert!(check.report.is_damaged());
    assert!(!check.good.contains(&false_segment), "nobody vouches for it");
}
