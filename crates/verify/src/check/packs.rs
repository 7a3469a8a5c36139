//! Checking content: every frame of every chosen pack opened, every chunk held against its name, every segment's claims
//! held against what the packs really hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use shudao_vault::frame::{FrameName, PlainLength, Scratch, open_frame};
use shudao_vault::id::{ChunkId, Digest, KeyId, ObjectId, PackId, SegmentId, WriterId};
use shudao_vault::keys::KeyRing;
use shudao_vault::name::Name;
use shudao_vault::pack::{PackContents, PackKind};
use shudao_vault::segment::Segment;
use shudao_vault::vault::{Vault, chain};
use shudao_vault::{Error, Kind, Result};

use super::names::{check_snapshots, damage, lost_pack, stops};
use super::trees::check_structure;
use super::{CheckProgress, CheckReport};
use crate::sampling::{CleanSample, Confidence, choose, count_for_percent};

/// Packs read and opened at the same time; each is held in memory whole.
const PACKS_IN_FLIGHT_MAX: usize = 2;

/// Which packs to read.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// All that a visible snapshot needs, and all that a segment names.
    All,
    /// A random sample.
    Sample {
        /// Share of the packs, above 0 and at most 100.
        percent: f64,
        /// Decides which.
        seed: [u8; 32],
    },
}

/// What reading data showed, besides the report.
#[derive(Debug, Default)]
pub struct DataCheck {
    /// Everything found.
    pub report: CheckReport,
    /// Content packs of which every byte is right, and segments that say nothing but the truth about packs that were
    /// all read and found right: to be vouched for.
    pub good: Vec<ObjectId>,
    /// Frames that are not what they are said to be: to be declared bad.
    pub bad: Vec<(KeyId, u64)>,
}

/// Checks structure, then reads the chosen packs. Needs an owner's key.
///
/// # Errors
/// [`Kind::Forbidden`] for another role, and whatever stops the check as a whole.
pub async fn check_data(vault: &Vault, selection: &Selection, progress: &CheckProgress) -> Result<DataCheck> {
    if !vault.ring().reads_content() {
        return Err(Error::new(Kind::Forbidden, "reading data needs an owner's key"));
    }
    let mut check = DataCheck { report: check_structure(vault, progress).await?, ..DataCheck::default() };
    let needs = check_snapshots(vault.replica(), &mut CheckReport::default()).await?;
    let claims = Claims::load(vault).await?;
    let state = vault.replica().state();
    // A segment may still speak of a pack that was collected: nobody relies on that, and nothing is lost.
    let is_there = |id: &&PackId| needs.packs.contains_key(*id) || !state.is_gone(&Name::pack(**id));
    let all: BTreeSet<PackId> =
        claims.packs.keys().chain(needs.packs.keys()).filter(is_there).copied().collect();
    let all: Vec<PackId> = all.into_iter().collect();
    let chosen = choose_packs(&all, selection);
    check.report.packs = all.len() as u64;
    progress.packs_total(chosen.len() as u64);
    let missing_before: BTreeSet<String> =
        check.report.findings.iter().map(|finding| finding.object.clone()).collect();
    let mut opened = stream::iter(chosen.iter().copied())
        .map(|id| open_pack(vault, id, claims.packs.get(&id).cloned()))
        .buffered(PACKS_IN_FLIGHT_MAX);
    let mut right = BTreeSet::new();
    while let Some(outcome) = opened.next().await {
        let outcome = outcome?;
        progress.pack_done(outcome.bytes);
        check.report.counts.objects_read += u64::from(outcome.bytes > 0);
        check.report.counts.bytes_read += outcome.bytes;
        check.report.counts.frames_read += outcome.frames;
        if outcome.problems.is_empty() {
            right.insert(outcome.id);
            if outcome.kind == Some(PackKind::Content) {
                check.good.push(outcome.id);
            }
        }
        check.bad.extend(outcome.bad);
        for problem in outcome.problems {
            let none = BTreeSet::new();
            let needers = needs.packs.get(&outcome.id).unwrap_or(&none);
            let finding = if needers.is_empty() {
                damage(
                    Name::pack(outcome.id).plain_key(),
                    problem,
                    "no visible snapshot needs it; new ones will not rely on it",
                )
            } else {
                lost_pack(&outcome.id, needers, &problem)
            };
            if !missing_before.contains(&finding.object) {
                check.report.findings.push(finding);
            }
        }
    }
    drop(opened);
    check.good.extend(claims.segments_about(&right));
    if let Selection::Sample { .. } = selection {
        let clean = CleanSample::of(all.len() as u64, chosen.len() as u64, Confidence::DEFAULT);
        check.report.bound = (!check.report.is_damaged()).then_some(clean);
    }
    Ok(check)
}

fn choose_packs(all: &[PackId], selection: &Selection) -> Vec<PackId> {
    match selection {
        Selection::All => all.to_vec(),
        Selection::Sample { percent, seed } => {
            let count = count_for_percent(all.len() as u64, *percent);
            let chosen = choose(seed, all.len() as u64, count);
            chosen.into_iter().filter_map(|position| all.get(position as usize).copied()).collect()
        }
    }
}

/// A chunk as a segment claims it, down to the bytes that a reader would fetch for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Claim {
    chunk: ChunkId,
    offset: u32,
    length: u32,
    key: KeyId,
    counter: u32,
    frame_offset: u64,
    stored_length: u32,
    plain_length: u32,
    writer: WriterId,
}

impl Claim {
    /// The frame as the log names it.
    fn frame(&self) -> (KeyId, u64) {
        (self.key, u64::from(self.counter))
    }
}

/// What all live segments say of each pack.
#[derive(Debug, Default)]
struct Claims {
    segments: Vec<(SegmentId, Vec<PackId>)>,
    packs: BTreeMap<PackId, Arc<Vec<Claim>>>,
}

impl Claims {
    async fn load(vault: &Vault) -> Result<Self> {
        let state = vault.replica().state();
        let live: Vec<SegmentId> = state.segments_live().to_vec();
        let mut packs: HashMap<PackId, Vec<Claim>> = HashMap::new();
        let mut segments = Vec::new();
        for id in live {
            let bytes = match vault.replica().objects().read(&Name::index(id)).await {
                Ok(bytes) => bytes,
                Err(error) if stops(&error) => return Err(error),
                // Reported with the structure.
                Err(_) => continue,
            };
            let Ok(segment) = Segment::decode(&bytes, vault.ring(), &|writer| state.verify_key(writer))
            else {
                continue;
            };
            for pack in &segment.clear.packs {
                packs.entry(pack.id).or_default();
            }
            segments.push((id, segment.clear.packs.iter().map(|pack| pack.id).collect()));
            for chunk in &segment.chunks {
                let frame = &segment.frames[chunk.frame as usize];
                let pack = segment.clear.packs[frame.pack as usize].id;
                let claim = Claim {
                    chunk: chunk.id,
                    offset: chunk.offset,
                    length: chunk.length,
                    key: frame.key,
                    counter: frame.counter,
                    frame_offset: frame.offset,
                    stored_length: frame.stored_length,
                    plain_length: frame.plain_length,
                    writer: frame.writer,
                };
                packs.entry(pack).or_default().push(claim);
            }
        }
        let packs = packs.into_iter().map(|(id, claims)| (id, Arc::new(claims))).collect();
        Ok(Self { segments, packs })
    }

    /// The segments that speak of no pack but these, of which every claim was found true.
    fn segments_about(&self, right: &BTreeSet<PackId>) -> impl Iterator<Item = SegmentId> {
        let about = |packs: &[PackId]| packs.iter().all(|pack| right.contains(pack));
        self.segments.iter().filter(move |(_, packs)| about(packs)).map(|(id, _)| *id)
    }
}

/// What one pack came to.
struct PackOutcome {
    id: PackId,
    kind: Option<PackKind>,
    bytes: u64,
    frames: u64,
    problems: Vec<String>,
    bad: Vec<(KeyId, u64)>,
}

async fn open_pack(vault: &Vault, id: PackId, claims: Option<Arc<Vec<Claim>>>) -> Result<PackOutcome> {
    let mut outcome =
        PackOutcome { id, kind: None, bytes: 0, frames: 0, problems: Vec::new(), bad: Vec::new() };
    let bytes = match vault.replica().objects().read(&Name::pack(id)).await {
        Ok(bytes) => bytes,
        Err(error) if stops(&error) => return Err(error),
        Err(error) => {
            outcome.problems.push(chain(&error));
            return Ok(outcome);
        }
    };
    outcome.bytes = bytes.len() as u64;
    let ring = Arc::clone(vault.ring());
    let checked = tokio::task::spawn_blocking(move || {
        open_frames(&bytes, &ring, &claims.unwrap_or_default(), &mut outcome);
        outcome
    });
    checked.await.map_err(|_| Error::new(Kind::Bug, format!("checking pack {id} panicked")))
}

fn open_frames(bytes: &[u8], ring: &KeyRing, claims: &[Claim], outcome: &mut PackOutcome) {
    let (header, contents) = match PackContents::read(bytes, ring) {
        Ok(read) => read,
        Err(error) => return outcome.problems.push(chain(&error)),
    };
    outcome.kind = Some(header.kind);
    let keys: Vec<_> = header.keys.iter().map(|key| ring.unwrap(key)).collect();
    let mut scratch = Scratch::new();
    let mut real = std::collections::HashSet::new();
    for (ordinal, frame) in contents.directory.frames.iter().enumerate() {
        outcome.frames += 1;
        let name = (contents.keys[frame.key as usize], u64::from(frame.counter));
        let sealed = &bytes[frame.offset as usize..][..frame.stored_length as usize];
        let plain = keys[frame.key as usize].as_ref().map_err(|error| chain(error)).and_then(|key| {
            let frame_name = FrameName { key, purpose: header.kind.purpose(), counter: frame.counter };
            open_frame(frame_name, sealed, PlainLength::Exactly(frame.plain_length), &mut scratch)
                .map_err(|error| chain(&error))
        });
        let plain = match plain {
            Ok(plain) => plain,
            Err(problem) => {
                outcome.problems.push(format!("frame at byte {}: {problem}", frame.offset));
                outcome.bad.push(name);
                continue;
            }
        };
        for chunk in contents.directory.chunks_of(ordinal as u32) {
            let chunk_bytes = &plain[chunk.offset as usize..][..chunk.length as usize];
            let id = ring.chunk_id(header.kind.space(), &Digest::of(chunk_bytes));
            if id == chunk.id {
                real.insert(Claim {
                    chunk: id,
                    offset: chunk.offset,
                    length: chunk.length,
                    key: name.0,
                    counter: frame.counter,
                    frame_offset: frame.offset,
                    stored_length: frame.stored_length,
                    plain_length: frame.plain_length,
                    writer: frame.writer,
                });
            } else {
                outcome
                    .problems
                    .push(format!("frame at byte {}: a chunk has other bytes than its name", frame.offset));
                outcome.bad.push(name);
            }
        }
    }
    for claim in claims.iter().filter(|claim| !real.contains(*claim)) {
        if !outcome.bad.contains(&claim.frame()) {
            outcome
                .problems
                .push(format!("a segment says that it holds chunk {}, which is not so", claim.chunk.short()));
            outcome.bad.push(claim.frame());
        }
    }
    outcome.bad.sort_unstable();
    outcome.bad.dedup();
}
