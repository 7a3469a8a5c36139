//! The seam to the engines in the other crates: the only file of the command line that calls them.
//!
//! Each function takes a request, calls the engine and turns its result into a report. None prints; paths that went
//! wrong are handed to [`super::output::Output::path_warning`].

#![allow(clippy::unused_async, reason = "the engines behind these functions are asynchronous")]

use super::context::Context;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Problem};
use super::path::RawPath;
use super::progress::Progress;
use super::report::{
    BackupSummary, CheckSummary, DiffSummary, DifferenceLine, Finding, ForgetPlan, InitReport, KeyAdded,
    KeyLine, KeyRotated, LsLine, RestoreSummary, SnapshotLine, SurveyReport, Totals, VaultInfo, VaultStatus,
    VerifySummary,
};
use super::request::{
    Access, BackupRequest, CheckDepth, InitRequest, KeyAddRequest, RestoreRequest, Selection, SnapshotChoice,
    SurveyRequest, VerifyRequest,
};

/// Whether a key is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The credential is read or asked for once it is known that a vault is there.
    WithKey,
    /// Nobody is asked for anything.
    WithoutKey,
}

/// An open vault.
pub(crate) struct OpenVault {}

/// Takes lines as they are found; an error ends the walk.
pub(crate) type Sink<'a, T> = &'a mut dyn FnMut(T) -> Result<()>;

fn not_built<T>(what: &'static str) -> Result<T> {
    Err(Failure::new(Exit::Failed, Problem::NotBuilt { what }, Hint::UseNewerShudao {}))
}

/// Opens the vault; with a key, [`Context::credential`] gives what opens it.
pub(crate) async fn open(_ctx: &Context, _access: &Access, _opening: Opening) -> Result<OpenVault> {
    not_built("open a vault")
}

/// Makes a vault.
pub(crate) async fn init(_ctx: &Context, _request: InitRequest) -> Result<InitReport> {
    not_built("vault init")
}

/// What the vault is.
pub(crate) async fn info(_ctx: &Context, _vault: &OpenVault) -> Result<VaultInfo> {
    not_built("vault info")
}

/// How the vault is.
pub(crate) async fn status(_ctx: &Context, _vault: &OpenVault) -> Result<VaultStatus> {
    not_built("vault status")
}

/// The key slots that stand.
pub(crate) async fn key_list(_ctx: &Context, _vault: &OpenVault) -> Result<Vec<KeyLine>> {
    not_built("vault key list")
}

/// Adds a key slot.
pub(crate) async fn key_add(_ctx: &Context, _vault: &OpenVault, _request: KeyAddRequest) -> Result<KeyAdded> {
    not_built("vault key add")
}

/// The one key slot whose id begins with `prefix`.
pub(crate) async fn key_find(_ctx: &Context, _vault: &OpenVault, _prefix: &str) -> Result<KeyLine> {
    not_built("vault key remove")
}

/// Removes the key slot with this id.
pub(crate) async fn key_remove(_ctx: &Context, _vault: &OpenVault, _key: &str) -> Result<()> {
    not_built("vault key remove")
}

/// Adds a generation of the read and metadata keys.
pub(crate) async fn key_rotate(_ctx: &Context, _vault: &OpenVault) -> Result<KeyRotated> {
    not_built("vault key rotate")
}

/// Stores a snapshot.
pub(crate) async fn backup(
    _ctx: &Context,
    _vault: &OpenVault,
    _request: BackupRequest,
    _progress: &Progress,
) -> Result<BackupSummary> {
    not_built("backup")
}

/// The selected snapshots, oldest first.
pub(crate) async fn snapshots(
    _ctx: &Context,
    _vault: &OpenVault,
    _selection: &Selection,
) -> Result<Vec<SnapshotLine>> {
    not_built("snapshots")
}

/// Lists a snapshot, or the entry at `path` and everything below it, in path order. Returns the snapshot's id.
pub(crate) async fn ls(
    _ctx: &Context,
    _vault: &OpenVault,
    _snapshot: &SnapshotChoice,
    _path: &[u8],
    _sink: Sink<'_, LsLine>,
) -> Result<String> {
    not_built("ls")
}

/// Compares two snapshots.
pub(crate) async fn diff(
    _ctx: &Context,
    _vault: &OpenVault,
    _snapshots: [&SnapshotChoice; 2],
    _sink: Sink<'_, DifferenceLine>,
) -> Result<DiffSummary> {
    not_built("diff")
}

/// Hands out a file's bytes in order; each piece has been checked.
pub(crate) async fn cat(
    _ctx: &Context,
    _vault: &OpenVault,
    _snapshot: &SnapshotChoice,
    _path: &[u8],
    _sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Totals> {
    not_built("cat")
}

/// The paths in the target that the snapshot lacks.
pub(crate) async fn plan_deletions(
    _ctx: &Context,
    _vault: &OpenVault,
    _request: &RestoreRequest,
) -> Result<Vec<RawPath>> {
    not_built("restore --delete")
}

/// Writes a snapshot back and deletes exactly the planned paths.
pub(crate) async fn restore(
    _ctx: &Context,
    _vault: &OpenVault,
    _request: RestoreRequest,
    _deletions: &[RawPath],
    _progress: &Progress,
) -> Result<RestoreSummary> {
    not_built("restore")
}

/// Holds a live tree against a snapshot, or without a vault against a root.
pub(crate) async fn verify(
    _ctx: &Context,
    _vault: Option<&OpenVault>,
    _request: &VerifyRequest,
    _sink: Sink<'_, DifferenceLine>,
    _progress: &Progress,
) -> Result<VerifySummary> {
    not_built("verify")
}

/// Tests the vault against itself.
pub(crate) async fn check(
    _ctx: &Context,
    _vault: &OpenVault,
    _depth: CheckDepth,
    _sink: Sink<'_, Finding>,
    _progress: &Progress,
) -> Result<CheckSummary> {
    not_built("check")
}

/// Whether a hold is laid or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldChange {
    /// It is laid.
    Hold,
    /// It is lifted.
    Release,
}

/// Lays or lifts a hold; returns the snapshot.
pub(crate) async fn hold(
    _ctx: &Context,
    _vault: &OpenVault,
    _snapshot: &SnapshotChoice,
    _change: HoldChange,
) -> Result<SnapshotLine> {
    not_built("hold")
}

/// What forgetting these snapshots would do.
pub(crate) async fn plan_forget(
    _ctx: &Context,
    _vault: &OpenVault,
    _snapshots: &[SnapshotChoice],
) -> Result<ForgetPlan> {
    not_built("forget")
}

/// Forgets exactly the planned snapshots.
pub(crate) async fn forget(_ctx: &Context, _vault: &OpenVault, _plan: &ForgetPlan) -> Result<Totals> {
    not_built("forget")
}

/// Measures a source.
pub(crate) async fn survey(
    _ctx: &Context,
    _request: SurveyRequest,
    _progress: &Progress,
) -> Result<SurveyReport> {
    not_built("survey")
}
