//! What is said of locks.

use serde::{Serialize, Serializer};
use shudao_vault::id::Timestamp;
use shudao_vault::store::lock::LockMode;

use super::collect::json_time_or_null;
use crate::cli::show::json_time;

/// What a pass over the locks of one replica does, or did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LockLine {
    /// The replica's address.
    pub(crate) replica: String,
    /// Who may lift the locks.
    #[serde(serialize_with = "mode_name")]
    pub(crate) mode: LockMode,
    /// Until when everything is locked.
    #[serde(serialize_with = "json_time")]
    pub(crate) until: Timestamp,
    /// When the next pass is due.
    #[serde(serialize_with = "json_time")]
    pub(crate) next_pass: Timestamp,
    /// Objects that are to be locked.
    pub(crate) objects: u64,
    /// Of these, locked now, or longer than before.
    pub(crate) extended: u64,
    /// Of these, locked long enough before.
    pub(crate) covered: u64,
    /// What could not be locked, each in a sentence.
    pub(crate) failed: Vec<String>,
}

/// How a replica's locks are.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LockState {
    /// Who may lift them.
    #[serde(serialize_with = "mode_name_or_null")]
    pub(crate) mode: Option<LockMode>,
    /// For how many days after its generation an object stays locked.
    pub(crate) keep_days: u32,
    /// Days of a generation.
    pub(crate) generation_days: u32,
    /// Objects looked at.
    pub(crate) looked: u64,
    /// Of these, not locked.
    pub(crate) unlocked: u64,
    /// Of these, locked for less than the kept time.
    pub(crate) short: u64,
    /// When the first lock of them runs out.
    #[serde(serialize_with = "json_time_or_null")]
    pub(crate) first_end: Option<Timestamp>,
    /// One of those that are not as they should be.
    pub(crate) example: Option<String>,
    /// What could not be looked at, each in a sentence.
    pub(crate) failed: Vec<String>,
}

impl LockState {
    /// How many objects are not locked as the settings want, or nobody knows.
    pub(crate) fn wanting(&self) -> u64 {
        self.unlocked + self.short + self.failed.len() as u64
    }
}

/// The mode's name in JSON and tables.
pub(crate) fn lock_mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    }
}

fn mode_name<S: Serializer>(mode: &LockMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(lock_mode_name(*mode))
}

fn mode_name_or_null<S: Serializer>(mode: &Option<LockMode>, serializer: S) -> Result<S::Ok, S::Error> {
    match mode {
        Some(mode) => mode_name(mode, serializer),
        None => serializer.serialize_none(),
    }
}
