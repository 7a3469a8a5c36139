//! What collection would do and did.

use std::ops::AddAssign;

use serde::{Serialize, Serializer};
use shudao_vault::collect::{Amount, Plan};
use shudao_vault::id::Timestamp;

use super::Totals;
use crate::cli::show::json_time;

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Quantity {
    /// How many.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Self {
        Self { objects: amount.objects, bytes: amount.bytes }
    }
}

/// What a collection would do now.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct CollectPlan {
    /// There is nothing to do now.
    pub(crate) idle: bool,
    /// What is stored.
    pub(crate) stored: Quantity,
    /// Backups that are taken for dead.
    pub(crate) fence: u64,
    /// To be deleted.
    pub(crate) delete: Quantity,
    /// To be given up; deleted right after.
    pub(crate) sweep: Quantity,
    /// To be condemned.
    pub(crate) condemn: Quantity,
    /// Packs to be compacted.
    pub(crate) compact: Quantity,
    /// Bytes of them that will be copied.
    pub(crate) copied_bytes: u64,
    /// Condemned and still in grace.
    pub(crate) in_grace: Quantity,
    /// When the first of these may go.
    #[serde(serialize_with = "json_time_or_null")]
    pub(crate) grace_ends: Option<Timestamp>,
    /// Condemned, and not answered by every backup under way.
    pub(crate) unanswered: Quantity,
    /// How many backups these wait for.
    pub(crate) unanswered_sessions: u64,
    /// Left alone because a backup under way may own them.
    pub(crate) spared: Quantity,
    /// Snapshots whose needs cannot be read.
    pub(crate) blocked_by: Vec<String>,
}

impl From<&Plan> for CollectPlan {
    fn from(plan: &Plan) -> Self {
        let (compact_bytes, copied_bytes) = plan.compact_bytes();
        Self {
            idle: plan.is_idle(),
            stored: plan.stored.into(),
            fence: plan.fence.len() as u64,
            delete: Quantity { objects: plan.delete.len() as u64, bytes: plan.delete_bytes() },
            sweep: plan.sweep_amount.into(),
            condemn: plan.condemn_amount.into(),
            compact: Quantity { objects: plan.compact.len() as u64, bytes: compact_bytes },
            copied_bytes,
            in_grace: plan.in_grace.into(),
            grace_ends: plan.grace_ends,
            unanswered: plan.unanswered.into(),
            unanswered_sessions: plan.unanswered_by.len() as u64,
            spared: plan.spared.into(),
            blocked_by: plan.blocked_by.iter().map(|id| id.to_hex()).collect(),
        }
    }
}

impl CollectPlan {
    /// Adds what is to be done on another replica.
    fn add(&mut self, other: Self) {
        self.idle &= other.idle;
        self.stored += other.stored;
        self.fence += other.fence;
        self.delete += other.delete;
        self.sweep += other.sweep;
        self.condemn += other.condemn;
        self.compact += other.compact;
        self.copied_bytes += other.copied_bytes;
        self.in_grace += other.in_grace;
        self.grace_ends = self.grace_ends.into_iter().chain(other.grace_ends).min();
        self.unanswered += other.unanswered;
        self.unanswered_sessions += other.unanswered_sessions;
        self.spared += other.spared;
        self.blocked_by.extend(other.blocked_by);
    }
}

impl CollectSummary {
    /// Adds what was done on another replica.
    pub(crate) fn add(&mut self, other: Self) {
        self.fenced += other.fenced;
        self.condemned += other.condemned;
        self.swept += other.swept;
        self.deleted += other.deleted;
        self.replaced += other.replaced;
        self.made += other.made;
        self.problems.extend(other.problems);
        self.left.add(other.left);
    }
}

/// What a collection did.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct CollectSummary {
    /// What every summary says.
    #[serde(skip)]
    pub(crate) totals: Totals,
    /// Backups that were taken for dead.
    pub(crate) fenced: u64,
    /// Condemned now.
    pub(crate) condemned: Quantity,
    /// Given up now.
    pub(crate) swept: Quantity,
    /// Deleted now.
    pub(crate) deleted: Quantity,
    /// Packs that were compacted.
    pub(crate) replaced: Quantity,
    /// Packs that hold what was needed of them.
    pub(crate) made: Quantity,
    /// What stood in the way.
    pub(crate) problems: Vec<String>,
    /// What is left.
    pub(crate) left: CollectPlan,
}

pub(super) fn json_time_or_null<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => json_time(time, serializer),
        None => serializer.serialize_none(),
    }
}
