//! Holding live trees against snapshots, and vaults against themselves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_vault::entry::{Portable, TreePath};
use shudao_vault::id::to_hex;
use shudao_vault::keys::Role;
use shudao_vault::roots::RootHasher;
use shudao_vault::snapshot::{Snapshot, UnreadKind};
use shudao_vault::tree::EntryStream;
use shudao_verify::check::{
    self, CheckFinding, CheckProgress, CheckReport, Selection as PackSelection, Severity,
};
use shudao_verify::compare::{self, Blind, Comparison, DifferenceKind, FileKind, XattrChange};
use shudao_verify::live::{LiveError, LiveOptions, LiveTree, Skipped};
use tokio::runtime::Handle;

use super::snapshots::choose;
use super::{OpenVault, Sink, mirror, now, unfinished_below};
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::output::{PathWarning, WarningKind};
use crate::cli::path::RawPath;
use crate::cli::progress::Progress;
use crate::cli::report::{CheckSummary, Difference, DifferenceLine, Finding, VerifySummary};
use crate::cli::request::{CheckDepth, VerifyAgainst, VerifyRequest};
use crate::cli::show;

/// Holds a live tree against a snapshot, or without a vault against a root.
pub(crate) async fn verify(
    ctx: &Context,
    vault: Option<&OpenVault>,
    request: &VerifyRequest,
    sink: Sink<'_, DifferenceLine>,
    progress: &Progress,
) -> Result<VerifySummary> {
    warn_of_unfinished(ctx, &request.directory)?;
    match (&request.against, vault) {
        (VerifyAgainst::Root(root), _) => {
            let live = LiveTree::read(&[&request.directory], &LiveOptions::default()).map_err(unreadable)?;
            tokio::task::block_in_place(|| {
                compare_trees(ctx, std::iter::empty(), live, Expected::root(*root), sink, progress)
            })
        }
        (VerifyAgainst::Snapshot(choice), Some(vault)) => {
            let replicas = vault.totals().replicas;
            let vault = vault.opened()?.lock().await;
            let (id, snapshot) = choose(ctx, &vault, choice).await?;
            let live = live_tree(&request.directory, &snapshot)?;
            let reader = Arc::new(vault.reader_of(&id).await?);
            let tree = snapshot.contents.tree;
            let mut entries = EntryStream::open(reader, tree.digest, tree.level);
            let runtime = Handle::current();
            let expected = std::iter::from_fn(move || {
                runtime.block_on(entries.next()).map(|entry| entry.map(|entry| entry.portable)).transpose()
            });
            progress.bytes_total.store(snapshot.contents.counts.bytes, Ordering::Relaxed);
            progress.files_total.store(snapshot.contents.counts.files, Ordering::Relaxed);
            let mut summary = tokio::task::block_in_place(|| {
                compare_trees(ctx, expected, live, Expected::of(&snapshot), sink, progress)
            })?;
            summary.totals.snapshot = Some(id.to_hex());
            summary.totals.replicas = replicas;
            Ok(summary)
        }
        (VerifyAgainst::Snapshot(_), None) => {
            Err(Failure::usage(Problem::NoVaultNamed {}, Hint::NameVault {}))
        }
    }
}

/// What the live tree is held against.
struct Expected {
    manifest_root: [u8; 32],
    /// Whether there are entries to compare with, or only the root.
    has_entries: bool,
    unread: Vec<TreePath>,
}

impl Expected {
    fn root(manifest_root: [u8; 32]) -> Self {
        Self { manifest_root, has_entries: false, unread: Vec::new() }
    }

    fn of(snapshot: &Snapshot) -> Self {
        // A file that changed while it was read is in the snapshot and is compared; the others are not there.
        let unread =
            snapshot.contents.unread.items.iter().filter(|unread| unread.kind != UnreadKind::Changed);
        Self {
            manifest_root: snapshot.contents.roots.manifest,
            has_entries: true,
            unread: unread.filter_map(|unread| TreePath::new(unread.path.clone())).collect(),
        }
    }
}

/// The live tree under the rules that are sealed in the snapshot.
fn live_tree(directory: &Path, snapshot: &Snapshot) -> Result<LiveTree> {
    use std::os::unix::ffi::OsStrExt;
    let options = LiveOptions {
        excludes: snapshot.contents.excludes.clone(),
        one_file_system: snapshot.contents.one_file_system,
        threads: 0,
    };
    let paths = &snapshot.contents.paths;
    let read = if directory == Path::new("/") && paths.len() > 1 {
        let roots: Vec<&Path> =
            paths.iter().map(|path| Path::new(std::ffi::OsStr::from_bytes(path))).collect();
        LiveTree::read(&roots, &options)
    } else {
        LiveTree::read(&[directory], &options)
    };
    read.map_err(unreadable)
}

fn unreadable(error: LiveError) -> Failure {
    let failure = Failure::new(Exit::Usage, Problem::Engine { text: error.to_string() }, Hint::CheckTree {});
    match std::error::Error::source(&error) {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}

fn compare_trees(
    ctx: &Context,
    expected: impl Iterator<Item = shudao_vault::Result<Portable>>,
    live: LiveTree,
    against: Expected,
    sink: Sink<'_, DifferenceLine>,
    progress: &Progress,
) -> Result<VerifySummary> {
    let mut hasher = Some(RootHasher::new());
    let unread = against.unread.clone();
    let mut summary =
        VerifySummary { manifest_root_expected: to_hex(&against.manifest_root), ..VerifySummary::default() };
    let (mut files, mut bytes) = (0, 0);
    let on_live = |portable: &Portable| {
        if let shudao_vault::entry::Node::File { size, .. } = portable.node {
            files += 1;
            bytes += size;
            progress.files_done.fetch_add(1, Ordering::Relaxed);
            progress.bytes_done.fetch_add(size, Ordering::Relaxed);
        }
        progress.set_current(&portable.path.to_string());
        // What the backup did not read is no part of what the snapshot's root covers.
        if unread.iter().any(|unread| portable.path.is_within(unread)) {
            return Ok(());
        }
        hasher.as_mut().map_or(Ok(()), |hasher| hasher.push(portable))
    };
    let comparison = Comparison { unread: against.unread, ..Comparison::default() };
    let mut findings = compare::compare(expected, live, comparison, on_live);
    let mut last_path = None;
    for finding in findings.by_ref() {
        ctx.stop.check()?;
        match finding? {
            compare::Finding::Differs(difference) if against.has_entries => {
                if last_path.as_ref() != Some(&difference.path) {
                    last_path = Some(difference.path.clone());
                    summary.differences += 1;
                }
                sink(difference_line(difference))?;
            }
            compare::Finding::Differs(_) => {}
            compare::Finding::NotCompared { path, why } => match why {
                Blind::Skipped(Skipped::Excluded | Skipped::Socket | Skipped::OtherFileSystem) => {
                    summary.excluded += 1;
                }
                Blind::Skipped(Skipped::Loop) | Blind::NotInSnapshot => {}
                Blind::NotRead(why) => {
                    summary.totals.warnings.source_unreadable += 1;
                    sink(DifferenceLine {
                        path: RawPath::from(&path),
                        difference: Difference::Unreadable,
                        expected: None,
                        found: None,
                    })?;
                    ctx.output.path_warning(&PathWarning {
                        kind: WarningKind::SourceUnreadable,
                        path: RawPath::from(&path),
                        message: why.to_string(),
                    });
                }
            },
        }
    }
    drop(findings);
    summary.totals.files = files;
    summary.totals.bytes_read = bytes;
    if let Some(hasher) = hasher {
        summary.manifest_root_found = to_hex(&hasher.finish().manifest);
    }
    Ok(summary)
}

/// A difference as a line of output.
pub(super) fn difference_line(difference: compare::Difference) -> DifferenceLine {
    let word = |kind: FileKind| Some(kind.to_string());
    let link = |path: Option<TreePath>| {
        Some(path.map_or_else(|| "first of its group".to_owned(), |path| path.to_string()))
    };
    let (kind, expected, found) = match difference.kind {
        DifferenceKind::Missing(kind) => (Difference::Removed, word(kind), None),
        DifferenceKind::Extra(kind) => (Difference::Added, None, word(kind)),
        DifferenceKind::Type { expected, found } => (Difference::Type, word(expected), word(found)),
        DifferenceKind::Size { expected, found } => {
            (Difference::Content, Some(format!("{expected} bytes")), Some(format!("{found} bytes")))
        }
        DifferenceKind::Content { expected, found } => {
            (Difference::Content, Some(expected.to_hex()), Some(found.to_hex()))
        }
        DifferenceKind::Target { expected, found } => {
            (Difference::Content, Some(RawPath(expected).to_string()), Some(RawPath(found).to_string()))
        }
        DifferenceKind::Device { expected, found } => (
            Difference::Content,
            Some(format!("{}:{}", expected.0, expected.1)),
            Some(format!("{}:{}", found.0, found.1)),
        ),
        DifferenceKind::Mode { expected, found } => {
            (Difference::Mode, Some(format!("{expected:04o}")), Some(format!("{found:04o}")))
        }
        DifferenceKind::Owner { expected, found } => (
            Difference::Owner,
            Some(format!("{}:{}", expected.0, expected.1)),
            Some(format!("{}:{}", found.0, found.1)),
        ),
        DifferenceKind::Mtime { expected, found } => {
            (Difference::Mtime, Some(show::exact_file_time(expected)), Some(show::exact_file_time(found)))
        }
        DifferenceKind::Xattr { name, change } => {
            let name = RawPath(name).to_string();
            match change {
                XattrChange::Missing => (Difference::Xattrs, Some(name), None),
                XattrChange::Extra => (Difference::Xattrs, None, Some(name)),
                XattrChange::Value => (Difference::Xattrs, Some(name.clone()), Some(name)),
            }
        }
        DifferenceKind::Link { expected, found } => (Difference::Link, link(expected), link(found)),
    };
    DifferenceLine { path: RawPath::from(&difference.path), difference: kind, expected, found }
}

/// A file that a restore left half-changed must not pass unseen.
fn warn_of_unfinished(ctx: &Context, directory: &Path) -> Result<()> {
    for path in unfinished_below(ctx, directory)? {
        ctx.output.warning(&Notice::UnfinishedFile { path });
    }
    Ok(())
}

/// Tests the vault against itself.
pub(crate) async fn check(
    ctx: &Context,
    vault: &OpenVault,
    depth: CheckDepth,
    sink: Sink<'_, Finding>,
    progress: &Progress,
) -> Result<CheckSummary> {
    let counters = Arc::new(CheckProgress::default());
    let mirroring = {
        let counters = Arc::clone(&counters);
        mirror(progress, move |progress| {
            progress.files_done.store(counters.packs.load(Ordering::Relaxed), Ordering::Relaxed);
            progress.files_total.store(counters.packs_expected.load(Ordering::Relaxed), Ordering::Relaxed);
            progress.bytes_done.store(counters.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        })
    };
    let mut summary = CheckSummary::default();
    for (place, address) in vault.addresses().into_iter().enumerate() {
        let report = mirroring.until(check_one(ctx, vault, place, depth, &counters)).await?;
        let log_entries = vault.replicas().await[place].state().next();
        add_report(&mut summary, &report, address, sink)?;
        summary.log_entries += log_entries;
    }
    summary.packs_read = counters.packs.load(Ordering::Relaxed);
    Ok(summary)
}

/// Checks one replica by itself.
async fn check_one(
    ctx: &Context,
    vault: &OpenVault,
    place: usize,
    depth: CheckDepth,
    counters: &CheckProgress,
) -> Result<CheckReport> {
    let selection = match depth {
        CheckDepth::Names => return Ok(check::check_names(&vault.replicas().await[place], counters).await?),
        CheckDepth::Structure => {
            let alone = vault.opened()?.lock().await.alone(place).await?;
            return Ok(check::check_structure(&alone, counters).await?);
        }
        CheckDepth::ReadData => PackSelection::All,
        CheckDepth::Sample(percent) => PackSelection::Sample { percent, seed: shudao_vault::suite::random() },
    };
    let mut opened = vault.opened()?.lock().await;
    let mut alone = opened.alone(place).await?;
    let checked = check::check_data(&alone, &selection, counters).await?;
    ctx.stop.check()?;
    if alone.ring().role == Role::Owner {
        alone.vouch(&checked.good, now()).await?;
    }
    if !checked.bad.is_empty() {
        alone.declare_bad(&checked.bad, now()).await?;
    }
    opened.refresh().await?;
    vault.settle(ctx, &mut opened);
    Ok(checked.report)
}

/// Adds what was found in one replica.
fn add_report(
    summary: &mut CheckSummary,
    report: &CheckReport,
    replica: &str,
    sink: Sink<'_, Finding>,
) -> Result<()> {
    for finding in &report.findings {
        let CheckFinding { object, problem, consequence, severity } = finding;
        if *severity == Severity::Note {
            continue;
        }
        sink(Finding {
            replica: replica.to_owned(),
            object: object.clone(),
            problem: problem.clone(),
            consequence: consequence.clone(),
            mended: false,
        })?;
    }
    let standing =
        report.findings.iter().filter(|finding| finding.severity == Severity::Damage).count() as u64;
    summary.snapshots = summary.snapshots.max(report.counts.snapshots);
    summary.objects += report.counts.objects_present + report.counts.objects_read;
    summary.packs += report.packs;
    summary.findings += standing + report.count(Severity::Warning) as u64;
    summary.standing += standing;
    summary.totals.bytes_read += report.counts.bytes_read;
    if let Some(bound) = report.bound {
        let percent = bound.bad_fraction_below() * 100.0;
        // Of several replicas the weakest bound holds for each.
        summary.bad_percent_below =
            Some(summary.bad_percent_below.map_or(percent, |known| known.max(percent)));
        summary.confidence_percent = Some(bound.confidence().value() * 100.0);
    }
    Ok(())
}
