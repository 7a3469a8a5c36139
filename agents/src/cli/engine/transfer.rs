//! Backing up and restoring.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_mover::backup::{
    self as mover, BackupError, BackupOptions, BackupProgress, BackupSource, ProblemKind, ResumeOptions,
    SourceLock,
};
use shudao_mover::fanout::{FanoutOptions, LaneProgress};
use shudao_mover::restore::{
    self as restoring, Filter, PathProblem, RestoreError, RestoreOptions, RestoreProgress, Scope,
};
use shudao_mover::source::{ExcludesBuilder, ScanOptions};
use shudao_vault::entry::TreePath;
use shudao_vault::frame::Compression;
use shudao_vault::id::{SnapshotId, to_hex};
use shudao_vault::snapshot::Snapshot;
use shudao_vault::vault::Vault;
use tokio::runtime::Handle;

use super::pin::while_pinned;
use super::snapshots::choose;
use super::{OpenVault, engine_failure, marks, mirror, must_read_content, now};
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::output::{PathWarning, WarningKind};
use crate::cli::path::RawPath;
use crate::cli::progress::{Progress, ReplicaSample};
use crate::cli::report::{BackupSummary, RestoreSummary, ResumedSession};
use crate::cli::request::{self, BackupInput, BackupRequest, RestoreRequest};

/// Stores a snapshot.
pub(crate) async fn backup(
    ctx: &Context,
    vault: &OpenVault,
    request: BackupRequest,
    progress: &Progress,
) -> Result<BackupSummary> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let source_name = request.source.clone().unwrap_or_else(|| default_source(&host, &request.input));
    let options = BackupOptions {
        source: source(&request, &vault.access.cache_dir)?,
        source_name: source_name.clone(),
        host,
        tags: request.tags,
        excludes: request.patterns,
        rescan: request.rescan,
        compression: match request.compression {
            request::Compression::Fast => Compression::Fast,
            request::Compression::Default => Compression::Default,
            request::Compression::Max => Compression::Max,
        },
        dry_run: request.dry_run,
        program: concat!("shudao ", env!("CARGO_PKG_VERSION")).to_owned(),
        resume: ResumeOptions { state: Some(vault.access.state_dir.clone()), ..ResumeOptions::default() },
        fanout: FanoutOptions {
            spool: Some(vault.access.state_dir.join("spool")),
            patience: request.patience,
        },
    };
    let counters = Arc::new(BackupProgress { stop: ctx.stop.flag(), ..BackupProgress::default() });
    let mut opened = vault.opened()?.lock().await;
    if !options.dry_run {
        vault.must_write(opened.replicas()).await?;
    }
    let source_id = opened.ring().source_id(&source_name);
    let lock = SourceLock::take(&vault.access.state_dir, &opened.ring().vault, &source_id);
    let _lock = lock.map_err(backup_failure)?;
    let shown = Arc::clone(&counters);
    let mirroring = mirror(progress, move |progress| copy(&shown, progress));
    let done = mirroring.until(mover::backup(&mut opened, options, &counters, &now)).await;
    vault.settle(ctx, &mut opened).await;
    let done = done.map_err(backup_failure)?;
    for note in &done.notes {
        ctx.output.warning(&Notice::Plain { text: note.clone() });
    }
    for problem in &done.problems {
        let kind = match problem.kind {
            ProblemKind::Changed => WarningKind::ChangedWhileRead,
            ProblemKind::Unreadable | ProblemKind::Vanished | ProblemKind::Unstorable => {
                WarningKind::SourceUnreadable
            }
        };
        let (path, message) = (RawPath::from(&problem.path), problem.what.clone());
        ctx.output.path_warning(&PathWarning { kind, path, message });
    }
    let mut summary = summary(source_name, &done, request.dry_run);
    vault.report_replicas(ctx, &done.replicas, &mut summary.totals);
    Ok(summary)
}

fn summary(source: String, done: &mover::BackupSummary, dry_run: bool) -> BackupSummary {
    let mut summary = BackupSummary {
        source,
        parent: done.parent.map(|parent| parent.to_hex()),
        directories: done.counts.directories,
        files_new: done.counts.files_new,
        files_changed: done.counts.files_changed,
        files_unmodified: done.counts.files_unmodified,
        paths_removed: done.counts.removed,
        sockets_skipped: done.counts.sockets,
        bytes_total: done.bytes_total,
        bytes_new: done.bytes_new,
        manifest_root: to_hex(&done.manifest_root),
        dry_run,
        resumed: done.resumed.map(|resumed| ResumedSession {
            session: resumed.session.to_hex(),
            files: resumed.files,
            bytes: resumed.bytes,
            bytes_stored: resumed.bytes_stored,
        }),
        ..BackupSummary::default()
    };
    summary.totals.files = done.counts.files;
    summary.totals.bytes_read = done.bytes_read;
    summary.totals.bytes_added = done.bytes_added;
    summary.totals.snapshot = done.snapshot.map(|snapshot| snapshot.to_hex());
    summary.totals.warnings.source_unreadable = done.unreadable;
    summary.totals.warnings.changed_while_read = done.torn;
    summary
}

fn copy(counters: &BackupProgress, progress: &Progress) {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    progress.files_done.store(get(&counters.files), Ordering::Relaxed);
    progress.bytes_done.store(get(&counters.bytes), Ordering::Relaxed);
    progress.bytes_new.store(get(&counters.stored.bytes_new), Ordering::Relaxed);
    progress.bytes_stored.store(get(&counters.stored.bytes_packed), Ordering::Relaxed);
    progress.bytes_total.store(get(&counters.bytes_estimated), Ordering::Relaxed);
    if let Ok(current) = counters.current.lock() {
        progress.set_current(&current);
    }
    if let Ok(replicas) = counters.replicas.lock() {
        let line = |lane: &Arc<LaneProgress>| ReplicaSample {
            address: lane.address.clone(),
            bytes_stored: get(&lane.bytes_stored),
            bytes_waiting: get(&lane.bytes_waiting),
            is_failing: lane.is_failing.load(Ordering::Relaxed),
            is_given_up: lane.is_given_up.load(Ordering::Relaxed),
        };
        progress.set_replicas(replicas.iter().map(line).collect());
    }
}

/// `host:path`, of several paths all.
fn default_source(host: &str, input: &BackupInput) -> String {
    match input {
        BackupInput::Command { name, .. } => format!("{host}:{name}"),
        BackupInput::Paths(paths) => {
            let absolute = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            // Escaped, so that two names that are no text never become one source.
            let name = |path: &PathBuf| RawPath::from(absolute(path).as_path()).to_string();
            let paths: Vec<String> = paths.iter().map(name).collect();
            format!("{host}:{}", paths.join(","))
        }
    }
}

fn source(request: &BackupRequest, cache_dir: &Path) -> Result<BackupSource> {
    let roots = match &request.input {
        BackupInput::Command { name, argv } => {
            let (name, words): (Vec<u8>, Vec<OsString>) = (name.clone().into_bytes(), argv.clone());
            return Ok(BackupSource::Command { name, words });
        }
        BackupInput::Paths(paths) => paths.clone(),
    };
    let mut excludes = ExcludesBuilder::default();
    let bad_pattern = |error: shudao_mover::source::ExcludeError| {
        Failure::usage(Problem::Engine { text: error.to_string() }, Hint::SeeHelp {})
    };
    for pattern in &request.patterns {
        excludes.pattern(pattern).map_err(bad_pattern)?;
    }
    let spill = cache_dir.join("spill");
    let made = std::fs::create_dir_all(&spill);
    made.map_err(|error| {
        let problem = Problem::Engine { text: format!("make {}", spill.display()) };
        Failure::new(Exit::Failed, problem, Hint::CheckDirectory {}).because(&error)
    })?;
    Ok(BackupSource::Tree(ScanOptions {
        roots,
        excludes: excludes.build().map_err(bad_pattern)?,
        one_file_system: request.one_file_system,
        spill_directory: spill,
        ..ScanOptions::default()
    }))
}

fn backup_failure(error: BackupError) -> Failure {
    let (exit, hint) = match error {
        BackupError::Vault(error) => return error.into(),
        BackupError::Interrupted => {
            let words = std::env::args_os();
            return Failure::interrupted().with_hint(Hint::ResumeWith { command: command_line(words) });
        }
        BackupError::Source(_) => (Exit::Failed, Hint::CheckFile {}),
        BackupError::State(_) => (Exit::Failed, Hint::CheckDirectory {}),
        BackupError::Command(_) | BackupError::Output(_) => (Exit::Failed, Hint::CheckCommand {}),
        BackupError::Busy => (Exit::Conflict, Hint::WaitForOtherRun {}),
    };
    engine_failure(&error, exit, hint)
}

/// A command as it can be given to a shell again.
fn command_line(words: impl Iterator<Item = OsString>) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    let quoted = |word: OsString| match word.to_string_lossy() {
        word if !word.is_empty() && word.bytes().all(is_plain) => word.into_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// The paths in the target that the snapshot lacks.
pub(crate) async fn plan_deletions(
    ctx: &Context,
    vault: &OpenVault,
    request: &RestoreRequest,
) -> Result<Vec<RawPath>> {
    let vault = vault.opened()?.lock().await;
    let (id, snapshot) = choose(ctx, &vault, &request.snapshot).await?;
    let scope = scope(request, &snapshot)?;
    let reader = Arc::new(vault.reader_of(&id).await?);
    let tree = snapshot.contents.tree;
    let (target, runtime) = (request.target.clone(), Handle::current());
    let planned = tokio::task::spawn_blocking(move || {
        restoring::plan_extras(&reader, (tree.digest, tree.level), &target, &scope, &runtime)
    });
    let plan = planned.await.map_err(|_| restore_bug())?.map_err(restore_failure)?;
    for problem in &plan.unseen {
        warn(ctx, WarningKind::NotRestored, problem);
    }
    Ok(plan.extras.iter().map(RawPath::from).collect())
}

/// What the snapshot and the request speak of: nothing else is ever deleted.
fn scope(request: &RestoreRequest, snapshot: &Snapshot) -> Result<Scope> {
    Scope::new(&snapshot.contents, filter(request)?).map_err(restore_failure)
}

fn filter(request: &RestoreRequest) -> Result<Filter> {
    Filter::new(&request.include, &request.exclude).map_err(restore_failure)
}

/// Writes a snapshot back and deletes exactly the planned paths.
pub(crate) async fn restore(
    ctx: &Context,
    vault: &OpenVault,
    request: RestoreRequest,
    deletions: &[RawPath],
    progress: &Progress,
) -> Result<RestoreSummary> {
    let opened = vault.opened()?.lock().await;
    let chosen = choose(ctx, &opened, &request.snapshot).await?;
    must_read_content(&opened)?;
    let read = (&*opened, &*vault.addresses());
    let restoring = restore_chosen(ctx, (vault, &opened), &chosen, &request, (deletions, progress));
    while_pinned(ctx, read, vec![chosen.0], restoring).await
}

async fn restore_chosen(
    ctx: &Context,
    (vault, opened): (&OpenVault, &Vault),
    (id, snapshot): &(SnapshotId, Snapshot),
    request: &RestoreRequest,
    (deletions, progress): (&[RawPath], &Progress),
) -> Result<RestoreSummary> {
    let mut summary = RestoreSummary::default();
    let mut problems = delete(request, snapshot, deletions, &mut summary).await?;
    let counters = Arc::new(RestoreProgress { stop: ctx.stop.flag(), ..RestoreProgress::default() });
    progress.bytes_total.store(snapshot.contents.counts.bytes, Ordering::Relaxed);
    progress.files_total.store(snapshot.contents.counts.files, Ordering::Relaxed);
    let options = RestoreOptions {
        to: request.target.clone(),
        filter: filter(request)?,
        in_place: request.in_place,
        marks: Some(marks(&vault.access.state_dir)),
    };
    let reader = Arc::new(opened.reader_of(id).await?);
    let (tree, runtime) = (snapshot.contents.tree, Handle::current());
    let shown = Arc::clone(&counters);
    let mirroring = mirror(progress, |progress| {
        progress.files_done.store(shown.files.load(Ordering::Relaxed), Ordering::Relaxed);
        progress.bytes_done.store(shown.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Ok(current) = shown.current.lock() {
            progress.set_current(&current);
        }
    });
    let working = tokio::task::spawn_blocking(move || {
        restoring::restore(&reader, (tree.digest, tree.level), &options, &counters, &runtime)
    });
    let done = mirroring.until(working).await.map_err(|_| restore_bug())?.map_err(restore_failure)?;
    problems.extend(done.failed);
    for problem in &done.metadata_not_set {
        warn(ctx, WarningKind::MetadataNotSet, problem);
    }
    summary.totals.files = done.files;
    summary.totals.bytes_read = done.bytes;
    summary.totals.snapshot = Some(id.to_hex());
    summary.totals.replicas = vault.totals().replicas;
    summary.totals.warnings.metadata_not_set = done.metadata_not_set.len() as u64;
    summary.bytes_written = done.bytes_written;
    summary.files_unchanged = done.files_unchanged;
    if problems.is_empty() {
        return Ok(summary);
    }
    for problem in &problems {
        warn(ctx, WarningKind::NotRestored, problem);
    }
    ctx.summary(&summary.totals, &summary)?;
    let count = crate::cli::show::count(problems.len() as u64);
    Err(Failure::new(Exit::Failed, Problem::NotEverythingRestored { count }, Hint::RunCheck {}))
}

async fn delete(
    request: &RestoreRequest,
    snapshot: &Snapshot,
    deletions: &[RawPath],
    summary: &mut RestoreSummary,
) -> Result<Vec<PathProblem>> {
    if deletions.is_empty() {
        return Ok(Vec::new());
    }
    let scope = scope(request, snapshot)?;
    let extras: Vec<TreePath> = deletions.iter().filter_map(|path| TreePath::new(path.0.clone())).collect();
    let (to, planned) = (request.target.clone(), extras.len() as u64);
    let removed = tokio::task::spawn_blocking(move || restoring::remove_extras(&to, &extras, &scope));
    let failed = removed.await.map_err(|_| restore_bug())?.map_err(restore_failure)?;
    summary.deleted = planned - failed.len() as u64;
    Ok(failed)
}

fn warn(ctx: &Context, kind: WarningKind, problem: &PathProblem) {
    let (path, message) = (RawPath::from(&problem.path), problem.what.clone());
    ctx.output.path_warning(&PathWarning { kind, path, message });
}

fn restore_bug() -> Failure {
    shudao_vault::Error::new(shudao_vault::Kind::Bug, "the restore's threads failed").into()
}

fn restore_failure(error: RestoreError) -> Failure {
    let (exit, hint) = match error {
        RestoreError::Vault(error) => return error.into(),
        RestoreError::Interrupted => return Failure::interrupted(),
        RestoreError::Pattern { .. } => (Exit::Usage, Hint::SeeHelp {}),
        RestoreError::NotEmpty { .. } => (Exit::Usage, Hint::UseEmptyOrInPlace {}),
        RestoreError::UnreadUnknown { .. } => (Exit::Failed, Hint::RestoreWithoutDelete {}),
        RestoreError::Target { .. } => (Exit::Failed, Hint::CheckDirectory {}),
        RestoreError::Full { .. } => (Exit::Failed, Hint::MakeRoomAndResume {}),
    };
    engine_failure(&error, exit, hint)
}
