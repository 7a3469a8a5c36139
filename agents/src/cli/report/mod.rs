//! What comes out of the engines. Field names here are the JSON of `docs/json.md`; ids are lower-case hexadecimal.

mod collect;
mod locks;
pub(crate) mod tree;

use serde::Serialize;
use shudao_vault::id::Timestamp;
use shudao_vault::retention::Reason;

pub(crate) use collect::{CollectPlan, CollectSummary, Quantity};
pub(crate) use locks::{LockLine, LockState, lock_mode_name};
pub(crate) use tree::{Difference, DifferenceLine, LsLine, PathField};

use super::show::json_time;

/// What every summary says, whatever the command.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Totals {
    /// Files gone through.
    pub(crate) files: u64,
    /// Bytes read from the source, the live tree or the vault's content.
    pub(crate) bytes_read: u64,
    /// Bytes stored on the first replica.
    pub(crate) bytes_added: u64,
    /// The snapshot that was made or used.
    pub(crate) snapshot: Option<String>,
    /// Each replica that took part.
    pub(crate) replicas: Vec<ReplicaState>,
    /// What did not go as it should.
    pub(crate) warnings: Warnings,
}

/// One replica at the end of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReplicaState {
    /// Its address as it was named.
    pub(crate) address: String,
    /// Its name in the vault's settings; its address where it could not be opened.
    pub(crate) name: String,
    /// What the run did there is committed.
    pub(crate) committed: bool,
    /// Objects that it lacks.
    pub(crate) objects_behind: u64,
}

/// Counters of what did not go as it should; any of them makes exit code 3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Warnings {
    /// Paths that could not be read.
    pub(crate) source_unreadable: u64,
    /// Files that changed while they were read.
    pub(crate) changed_while_read: u64,
    /// Paths whose owner, mode, times or attributes could not all be set.
    pub(crate) metadata_not_set: u64,
    /// Replicas that lack objects.
    pub(crate) replica_behind: u64,
    /// Objects that are not locked as the settings want.
    pub(crate) unlocked: u64,
}

impl Warnings {
    /// Whether anything did not go as it should.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// A vault was made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InitReport {
    /// The vault's id.
    pub(crate) vault: String,
    /// The first replica's id.
    pub(crate) replica: String,
    /// Every replica's id, in the order in which they were named.
    pub(crate) replica_ids: Vec<String>,
    /// The second way in, if one was wanted. Never part of the JSON.
    #[serde(skip)]
    pub(crate) recovery_kit: Option<zeroize::Zeroizing<String>>,
}

/// What a vault is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VaultInfo {
    /// The vault's id.
    pub(crate) vault: String,
    /// Fingerprint of the key that its owner signs with, as the recovery kit shows it.
    pub(crate) owner_key: String,
    /// Version of its format.
    pub(crate) format_version: u8,
    /// Its cryptographic suite.
    pub(crate) suite: String,
    /// When it was made, by its first log entry.
    #[serde(serialize_with = "json_time")]
    pub(crate) created: Timestamp,
    /// Writers deduplicate against each other's packs.
    pub(crate) trusts_writers: bool,
    /// Destroying its keys would erase it: no password slot stands in a replica.
    pub(crate) erasable: bool,
    /// Key slots that stand.
    pub(crate) keys: u64,
    /// Snapshots that are visible.
    pub(crate) snapshots: u64,
    /// Required features.
    pub(crate) features: Vec<String>,
    /// The one client that may write, if one is named.
    pub(crate) single_writer: Option<String>,
}

/// Who alone may write to a vault, and who would after a take-over.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Takeover {
    /// Who is named now, if anybody is.
    pub(crate) before: Option<String>,
    /// This client.
    pub(crate) client: String,
}

/// How a vault is. Replicas and sources are objects of their own in the JSON.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct VaultStatus {
    /// Its replicas.
    #[serde(skip)]
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// Its sources and their newest snapshots.
    #[serde(skip)]
    pub(crate) sources: Vec<SourceStatus>,
    /// Restores that were interrupted while files were being changed in place, by target directory.
    pub(crate) unfinished_restores: Vec<String>,
}

/// How one replica is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReplicaStatus {
    /// Its address as it was named.
    pub(crate) address: String,
    /// Its name in the vault's settings.
    pub(crate) name: String,
    /// Its id.
    pub(crate) replica: String,
    /// Entries of its log.
    pub(crate) log_entries: u64,
    /// Snapshots visible there.
    pub(crate) snapshots: u64,
    /// Of these, held ones.
    pub(crate) held: u64,
    /// Sessions that began and neither committed nor were fenced.
    pub(crate) open_sessions: u64,
    /// Frames known to be bad.
    pub(crate) bad_frames: u64,
    /// Snapshots that another named replica shows and it neither shows nor has forgotten.
    pub(crate) snapshots_behind: u64,
    /// Objects that it lacks for them.
    pub(crate) objects_behind: u64,
    /// Their bytes.
    pub(crate) bytes_behind: u64,
    /// How its locks are, where locks are settled and were looked at.
    pub(crate) locks: Option<LockState>,
}

/// A replica was brought level with another.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SyncLine {
    /// The address of the one that it came from.
    pub(crate) from: String,
    /// The address of the one that was brought level.
    pub(crate) to: String,
    /// Ids of the snapshots that it shows now.
    pub(crate) snapshots: Vec<String>,
    /// Keys, settings, holds and the like that were carried.
    pub(crate) statements: u64,
    /// Objects copied.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What could not be brought, each with its reason.
    pub(crate) failed: Vec<SyncFailure>,
}

/// Something that could not be brought to a replica.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SyncFailure {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// One source's newest snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SourceStatus {
    /// The source's name.
    pub(crate) source: String,
    /// Its snapshots.
    pub(crate) snapshots: u64,
    /// The newest.
    pub(crate) latest: String,
    /// Its time.
    #[serde(serialize_with = "json_time")]
    pub(crate) latest_time: Timestamp,
}

/// A key slot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeyLine {
    /// Its id.
    pub(crate) key: String,
    /// `owner`, `writer` or `keeper`.
    pub(crate) role: String,
    /// `password`, `recipient`, `shares` or `recovery`.
    pub(crate) slot: String,
    /// When it was added.
    #[serde(serialize_with = "json_time")]
    pub(crate) added: Timestamp,
    /// This run was opened with it.
    pub(crate) current: bool,
    /// Id of the holder's signing key; the same in all slots of one holder.
    pub(crate) holder: String,
}

/// A key was added.
#[derive(Debug, Clone)]
pub(crate) struct KeyAdded {
    /// The new slot.
    pub(crate) key: KeyLine,
    /// The shares' texts, if shares were wanted.
    pub(crate) shares: Vec<zeroize::Zeroizing<String>>,
}

/// Keys were rotated.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeyRotated {
    /// The new generation of the read and the metadata key.
    pub(crate) generation: u32,
}

/// A snapshot was stored.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct BackupSummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// The source's name.
    pub(crate) source: String,
    /// The snapshot that it was compared with.
    pub(crate) parent: Option<String>,
    /// Directories.
    pub(crate) directories: u64,
    /// Files that the parent lacks.
    pub(crate) files_new: u64,
    /// Files that differ from the parent's.
    pub(crate) files_changed: u64,
    /// Files that are as in the parent.
    pub(crate) files_unmodified: u64,
    /// Paths of the parent that are gone.
    pub(crate) paths_removed: u64,
    /// Sockets, which no snapshot holds.
    pub(crate) sockets_skipped: u64,
    /// Logical size of everything in the snapshot.
    pub(crate) bytes_total: u64,
    /// Bytes read that the vault did not know.
    pub(crate) bytes_new: u64,
    /// Digest of everything portable; equal trees have equal roots.
    pub(crate) manifest_root: String,
    /// Nothing was stored.
    pub(crate) dry_run: bool,
    /// What was taken up from an interrupted session.
    pub(crate) resumed: Option<ResumedSession>,
}

/// What a backup need not do because an interrupted session had done it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ResumedSession {
    /// That session.
    pub(crate) session: String,
    /// Files not read again, or not from their start.
    pub(crate) files: u64,
    /// Their bytes that were not read again.
    pub(crate) bytes: u64,
    /// Stored bytes that were not uploaded again.
    pub(crate) bytes_stored: u64,
}

/// One snapshot in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotLine {
    /// Its id.
    pub(crate) snapshot: String,
    /// The one before it of the same source.
    pub(crate) parent: Option<String>,
    /// The source's name.
    pub(crate) source: String,
    /// The parent's sequence plus one.
    pub(crate) sequence: u64,
    /// When it was taken, by its writer's clock.
    #[serde(serialize_with = "json_time")]
    pub(crate) time: Timestamp,
    /// The host's name.
    pub(crate) host: String,
    /// What was backed up.
    pub(crate) paths: Vec<PathField>,
    /// Words to find it by.
    pub(crate) tags: Vec<String>,
    /// Files in it.
    pub(crate) files: u64,
    /// Logical size.
    pub(crate) bytes: u64,
    /// It is held.
    pub(crate) held: bool,
    /// Not everything of the source is in it.
    pub(crate) partial: bool,
    /// Id of the key that wrote it.
    pub(crate) writer: String,
    /// Digest of everything portable.
    pub(crate) manifest_root: String,
}

/// Two snapshots were compared.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct DiffSummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// The first snapshot.
    pub(crate) from: String,
    /// The second.
    pub(crate) to: String,
    /// Paths only in the second.
    pub(crate) added: u64,
    /// Paths only in the first.
    pub(crate) removed: u64,
    /// Paths in both whose content or type differs.
    pub(crate) changed: u64,
    /// Paths in both of which only other things differ.
    pub(crate) metadata_changed: u64,
}

/// A snapshot was written back.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RestoreSummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// Bytes written to the target.
    pub(crate) bytes_written: u64,
    /// Files that were right already.
    pub(crate) files_unchanged: u64,
    /// Paths deleted because the snapshot lacks them.
    pub(crate) deleted: u64,
}

/// A live tree was held against a snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct VerifySummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// Paths that differ.
    pub(crate) differences: u64,
    /// Paths that the snapshot's own rules leave out.
    pub(crate) excluded: u64,
    /// The manifest root that was promised.
    pub(crate) manifest_root_expected: String,
    /// The manifest root of the live tree.
    pub(crate) manifest_root_found: String,
}

impl VerifySummary {
    /// Whether the live tree is what was promised.
    pub(crate) fn is_equal(&self) -> bool {
        self.differences == 0 && self.manifest_root_expected == self.manifest_root_found
    }
}

/// One thing wrong in a vault.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// The replica's address.
    pub(crate) replica: String,
    /// The object's place in the replica.
    pub(crate) object: String,
    /// What is wrong with it.
    pub(crate) problem: String,
    /// What cannot be had because of it.
    pub(crate) consequence: String,
    /// It was mended.
    pub(crate) mended: bool,
}

/// A vault was tested against itself.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct CheckSummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// Log entries whose chain and signatures were checked.
    pub(crate) log_entries: u64,
    /// Snapshots whose needs were checked.
    pub(crate) snapshots: u64,
    /// Objects whose presence was checked.
    pub(crate) objects: u64,
    /// Packs that were read in full.
    pub(crate) packs_read: u64,
    /// Packs that there are.
    pub(crate) packs: u64,
    /// Things wrong that were found.
    pub(crate) findings: u64,
    /// Of these, still wrong.
    pub(crate) standing: u64,
    /// Of these, mended.
    pub(crate) mended: u64,
    /// With a sample: below this percentage of packs is bad, with the confidence beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bad_percent_below: Option<f64>,
    /// Confidence of that bound in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence_percent: Option<f64>,
}

/// What `forget` would do.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForgetPlan {
    /// Snapshots that would be dropped.
    pub(crate) forget: Vec<SnapshotLine>,
    /// Snapshots that were named but are held.
    pub(crate) held: Vec<SnapshotLine>,
}

/// What the rules say of one snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    /// The snapshot.
    #[serde(flatten)]
    pub(crate) snapshot: SnapshotLine,
    /// It is to be forgotten.
    pub(crate) forget: bool,
    /// Why it stays.
    #[serde(rename = "reasons", serialize_with = "reason_names")]
    pub(crate) why: Vec<Reason>,
}

fn reason_names<S: serde::Serializer>(reasons: &[Reason], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(reasons.iter().map(|reason| match reason {
        Reason::Tag(tag) => format!("tag:{tag}"),
        other => other.name().to_owned(),
    }))
}

/// A group of a survey's files.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SurveyGroup {
    /// What the group has in common: a kind, a class of sizes, an age.
    pub(crate) name: String,
    /// Paths in it.
    pub(crate) count: u64,
    /// Their logical size.
    pub(crate) bytes: u64,
}

/// A source was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SurveyReport {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// Directories.
    pub(crate) directories: u64,
    /// Logical size.
    pub(crate) bytes_total: u64,
    /// Size on disk, holes left out.
    pub(crate) bytes_allocated: u64,
    /// By kind of file.
    pub(crate) kinds: Vec<SurveyGroup>,
    /// By size.
    pub(crate) sizes: Vec<SurveyGroup>,
    /// By time since the last modification.
    pub(crate) ages: Vec<SurveyGroup>,
    /// Bytes modified in the last day.
    pub(crate) churn_bytes_per_day: u64,
    /// Bytes that the estimate read.
    pub(crate) bytes_sampled: u64,
    /// Bytes of the sample over its distinct bytes.
    pub(crate) dedup_ratio: f64,
    /// Distinct bytes of the sample over their compressed size.
    pub(crate) compression_ratio: f64,
    /// Bytes a second at which the sample was read.
    pub(crate) read_bytes_per_second: u64,
    /// Forecast size in the vault.
    pub(crate) forecast_bytes_stored: u64,
    /// Forecast time of the first backup.
    pub(crate) forecast_first_seconds: f64,
    /// Forecast time of a daily one.
    pub(crate) forecast_daily_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_summary_has_a_field_twice() {
        fn fields(value: &impl Serialize) -> Vec<String> {
            serde_json::to_value(value).unwrap().as_object().unwrap().keys().cloned().collect()
        }
        let common = fields(&Totals::default());
        let own = [
            fields(&VaultStatus::default()),
            fields(&BackupSummary::default()),
            fields(&DiffSummary::default()),
            fields(&RestoreSummary::default()),
            fields(&VerifySummary::default()),
            fields(&CheckSummary::default()),
            fields(&SurveyReport::default()),
        ];
        for field in own.iter().flatten() {
            assert!(!common.contains(field) && field != "seconds", "{field}");
        }
    }
}
