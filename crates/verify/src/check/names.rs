//! Checking without keys: every object hashes to its name, the log holds together, and nothing that is needed is absent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shudao_vault::id::{ObjectId, PackId, SegmentId, SnapshotId};
use shudao_vault::log::checkpoint::checkpoint_path;
use shudao_vault::log::{Reason, Visible};
use shudao_vault::name::Name;
use shudao_vault::needed::read_list_naming;
use shudao_vault::object::{key_path, log_path};
use shudao_vault::objects::read_hashed;
use shudao_vault::replica::Replica;
use shudao_vault::segment::SegmentClear;
use shudao_vault::snapshot::SnapshotOuter;
use shudao_vault::vault::chain;
use shudao_vault::{Kind, Result};

use super::{CheckFinding, CheckProgress, CheckReport, Severity};

/// Packs read at the same time; each is held in memory whole.
const PACKS_IN_FLIGHT_MAX: usize = 3;

/// What the visible snapshots rely on, and who relies on it.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Packs by id with the snapshots that list them.
    pub(crate) packs: BTreeMap<PackId, BTreeSet<SnapshotId>>,
    /// Packs listed by each snapshot; absent where the list could not be read.
    pub(crate) lists: BTreeMap<SnapshotId, BTreeSet<PackId>>,
}

/// Checks a replica without any key. Reads every byte of everything needed.
///
/// # Errors
/// Only what stops the check, such as a store that does not answer. Damage is in the report.
pub async fn check_names(replica: &Replica, progress: &CheckProgress) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let needs = check_objects(replica, &mut report).await?;
    report.packs = needs.packs.len() as u64;
    progress.packs_total(report.packs);
    let mut packs = stream::iter(needs.packs.iter())
        .map(|(id, needers)| async move { (id, needers, replica.objects().read(&Name::pack(*id)).await) })
        .buffered(PACKS_IN_FLIGHT_MAX);
    while let Some((id, needers, read)) = packs.next().await {
        match read {
            Ok(bytes) => {
                report.counts.objects_read += 1;
                report.counts.bytes_read += bytes.len() as u64;
                progress.pack_done(bytes.len() as u64);
            }
            Err(error) if stops(&error) => return Err(error),
            Err(error) => report.findings.push(lost_pack(id, needers, &chain(&error))),
        }
    }
    drop(packs);
    note_spare_packs(replica, &needs, &mut report).await;
    Ok(report)
}

/// Checks everything but packs: the log, keys, segments, snapshots and need lists. Says what snapshots need.
pub(crate) async fn check_objects(replica: &Replica, report: &mut CheckReport) -> Result<Needs> {
    check_log(replica, report).await;
    check_keys(replica, report).await?;
    check_segments(replica, report).await?;
    check_snapshots(replica, report).await
}

/// Entries without effect, and entries that a listing shows beyond a gap. That the chain holds is known: the replica would
/// not have opened otherwise.
async fn check_log(replica: &Replica, report: &mut CheckReport) {
    let whole;
    let read = match replica.checkpointed() {
        0 => replica,
        // Nobody's word is taken for what the log says.
        _ => {
            whole = reread(replica, report).await;
            whole.as_ref().unwrap_or(replica)
        }
    };
    for void in read.void_entries() {
        let severity = match void.reason {
            Reason::Garbage(_) => Severity::Damage,
            Reason::Forbidden { .. } => Severity::Warning,
            // Two clients met, and one of them was late: that is what the rules are for.
            Reason::Rule(_) => Severity::Note,
        };
        report.findings.push(CheckFinding {
            object: log_path(void.n),
            problem: format!("log entry {} has no effect: {}", void.n, void.reason),
            consequence: "what it says, or said before it was damaged, is ignored by everyone".to_owned(),
            severity,
        });
    }
    let listed = replica.store().list("log/").await.unwrap_or_default();
    let listed = listed.iter().filter_map(|object| object.path.strip_prefix("log/")?.parse::<u64>().ok());
    let beyond: BTreeSet<u64> = listed.filter(|n| *n > replica.state().next()).collect();
    // Others append while this looks, and so may a pin of the check itself: what a listing shows is no gap before the number
    // itself was asked for.
    for n in replica.state().next()..beyond.last().copied().unwrap_or_default() {
        if beyond.contains(&n) || !matches!(replica.store().size(&log_path(n)).await, Ok(None)) {
            continue;
        }
        let later = beyond.range(n..).next().copied().unwrap_or_default();
        let problem = format!("is missing, although log/{later} is there");
        report.findings.push(damage(log_path(n), problem, "nothing that was logged after it is visible"));
        break;
    }
}

/// The replica with every entry of its log read, held against what was taken from a checkpoint.
async fn reread(replica: &Replica, report: &mut CheckReport) -> Option<Replica> {
    let finding = |problem: String, consequence: &str| {
        let object = checkpoint_path(replica.checkpointed().saturating_sub(1));
        damage(object, problem, consequence)
    };
    match Replica::open_from_birth(replica.store().clone()).await {
        Ok(whole) => {
            // Whatever was appended meanwhile, both have the older one's entries.
            if whole.state().next() == replica.state().next() && !whole.state().says_the_same(replica.state())
            {
                let problem = "it is signed by the owner and says something else than the log".to_owned();
                report.findings.push(finding(
                    problem,
                    "delete it: clients that open the vault by it see what is not so",
                ));
            }
            Some(whole)
        }
        Err(error) => {
            let problem = format!("entries below it cannot be read: {}", chain(&error));
            report.findings.push(finding(problem, "without this checkpoint the replica could not be opened"));
            None
        }
    }
}

/// Whether an error speaks of the store as a whole rather than of one object.
pub(crate) fn stops(error: &shudao_vault::Error) -> bool {
    !matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Unsupported)
}

/// A needed pack that is missing or damaged.
pub(crate) fn lost_pack(id: &PackId, needers: &BTreeSet<SnapshotId>, problem: &str) -> CheckFinding {
    let named: Vec<_> = needers.iter().take(5).map(|id| id.short()).collect();
    let more = needers.len().saturating_sub(named.len());
    let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
    CheckFinding {
        object: Name::pack(*id).plain_key(),
        problem: problem.to_owned(),
        consequence: format!("snapshots {}{and_more} cannot be restored in full", named.join(", ")),
        severity: Severity::Damage,
    }
}

async fn check_keys(replica: &Replica, report: &mut CheckReport) -> Result<()> {
    let state = replica.state();
    let certificates = state.certificates().filter_map(|(holder, _)| state.certificate_object(holder));
    let objects: Vec<ObjectId> = state.slots().map(|(_, object)| object).chain(certificates).collect();
    for id in objects {
        let consequence = "whoever uses this key cannot open the vault with it";
        let path = key_path(&id);
        let read = read_hashed(replica.store(), &path, &id).await;
        read_or_report(read, &path, consequence, report)?;
    }
    Ok(())
}

async fn check_segments(replica: &Replica, report: &mut CheckReport) -> Result<()> {
    let state = replica.state();
    let segments: Vec<SegmentId> = state.segments_live().to_vec();
    for id in segments {
        let consequence = "chunks that only this segment names cannot be found until the index is rebuilt";
        let name = Name::index(id);
        let path = name.plain_key();
        let read = replica.objects().read(&name).await;
        let Some(bytes) = read_or_report(read, &path, consequence, report)? else { continue };
        if let Err(error) =
            SegmentClear::decode(&bytes, replica.vault_id(), &|writer| state.verify_key(writer))
        {
            report.findings.push(damage(path, chain(&error), consequence));
        }
    }
    Ok(())
}

/// Checks snapshots and their need lists, and says what they need.
pub(crate) async fn check_snapshots(replica: &Replica, report: &mut CheckReport) -> Result<Needs> {
    let mut needs = Needs::default();
    let visible: Vec<(SnapshotId, Visible)> =
        replica.state().visible().iter().map(|(id, visible)| (*id, visible.clone())).collect();
    for (id, visible) in visible {
        report.counts.snapshots += 1;
        let name = Name::snapshot(id);
        let path = name.plain_key();
        let consequence = format!("snapshot {} cannot be restored", id.short());
        let read = replica.objects().read(&name).await;
        if let Some(bytes) = read_or_report(read, &path, &consequence, report)? {
            let verify_key = |writer| replica.state().verify_key(writer);
            if let Err(error) = SnapshotOuter::verify(&bytes, replica.vault_id(), verify_key) {
                report.findings.push(damage(path, chain(&error), &consequence));
            }
        }
        match read_list_naming(replica.objects(), replica.vault_id(), visible.need_list).await {
            Ok(list) => {
                let packs = replica.state().serving_all(&id, &list.packs);
                report.counts.objects_read += 1;
                for pack in &packs {
                    needs.packs.entry(*pack).or_default().insert(id);
                }
                needs.lists.insert(id, packs);
            }
            Err(lost) if stops(&lost.error) => return Err(lost.error),
            // Perhaps the list of a snapshot that is forgotten: nothing else would name it, and it is to be mended.
            Err(lost) => {
                let consequence =
                    format!("what snapshot {} needs is unknown, which blocks collection", id.short());
                let path = Name::index(lost.id).plain_key();
                report.findings.push(damage(path, chain(&lost.error), &consequence));
            }
        }
    }
    Ok(needs)
}

fn read_or_report(
    read: Result<Bytes>,
    path: &str,
    consequence: &str,
    report: &mut CheckReport,
) -> Result<Option<Bytes>> {
    match read {
        Ok(bytes) => {
            report.counts.objects_read += 1;
            report.counts.bytes_read += bytes.len() as u64;
            Ok(Some(bytes))
        }
        Err(error) if stops(&error) => Err(error),
        Err(error) => {
            report.findings.push(damage(path.to_owned(), chain(&error), consequence));
            Ok(None)
        }
    }
}

pub(crate) fn damage(object: String, problem: String, consequence: &str) -> CheckFinding {
    CheckFinding { object, problem, consequence: consequence.to_owned(), severity: Severity::Damage }
}

/// A list is a hint: what it shows beyond the needed packs is worth a note, never more.
async fn note_spare_packs(replica: &Replica, needs: &Needs, report: &mut CheckReport) {
    let Ok(listed) = replica.store().list("packs/").await else { return };
    let spare: Vec<_> = listed
        .iter()
        .filter(|object| {
            let name = Name::of_key(&object.path).map(|(name, _)| name);
            let in_force = name.filter(|name| replica.objects().key(name) == object.path);
            in_force.is_none_or(|name| !needs.packs.contains_key(&name.id))
        })
        .collect();
    let Some(first) = spare.first() else { return };
    let bytes: u64 = spare.iter().map(|object| object.bytes).sum();
    report.findings.push(CheckFinding {
        object: first.path.clone(),
        problem: format!("{} packs ({bytes} bytes) are needed by no snapshot", spare.len()),
        consequence: "a run under way may own them, otherwise the next collection frees them".to_owned(),
        severity: Severity::Note,
    });
}
