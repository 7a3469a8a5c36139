//! Holding live trees against snapshots, and vaults against themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_vault::entry::{Portable, TreePath};
use shudao_vault::id::to_hex;
use shudao_vault::keys::Role;
use shudao_vault::reader::Reader;
use shudao_vault::replicas::Siblings;
use shudao_vault::roots::RootHasher;
use shudao_vault::snapshot::{Snapshot, UnreadKind};
use shudao_vault::tree::EntryStream;
use shudao_vault::vault::{Vault, chain};
use shudao_verify::check::{
    self, CheckFinding, CheckProgress, CheckReport, DataCheck, Repair, Selection as PackSelection, Severity,
};
use shudao_verify::compare::{self, Blind, Comparison, DifferenceKind, FileKind, XattrChange};
use shudao_verify::live::{LiveError, LiveOptions, LiveTree, Skipped};
use tokio::runtime::Handle;

use super::pin::while_pinned;
use super::snapshots::choose;
use super::{OpenVault, Sink, mirror, now, unfinished_below};
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::output::{PathWarning, WarningKind};
use crate::cli::path::{RawPath, escaped};
use crate::cli::progress::Progress;
use crate::cli::report::{CheckSummary, Difference, DifferenceLine, Finding, LockState, VerifySummary};
use crate::cli::request::{CheckDepth, CheckRequest, VerifyAgainst, VerifyRequest};
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
            let opened = vault.opened()?.lock().await;
            let (id, snapshot) = choose(ctx, &opened, choice).await?;
            let live = live_tree(&request.directory, &snapshot)?;
            let reader = Arc::new(opened.reader_of(&id).await?);
            progress.bytes_total.store(snapshot.contents.counts.bytes, Ordering::Relaxed);
            progress.files_total.store(snapshot.contents.counts.files, Ordering::Relaxed);
            let comparing = async { compare_with(ctx, (&snapshot, reader), live, sink, progress) };
            let mut summary = while_pinned(ctx, (&opened, &vault.addresses()), vec![id], comparing).await?;
            summary.totals.snapshot = Some(id.to_hex());
            summary.totals.replicas = vault.totals().replicas;
            Ok(summary)
        }
        (VerifyAgainst::Snapshot(_), None) => {
            Err(Failure::usage(Problem::NoVaultNamed {}, Hint::NameVault {}))
        }
    }
}

/// Holds a live tree against the entries of a snapshot.
fn compare_with(
    ctx: &Context,
    (snapshot, reader): (&Snapshot, Arc<Reader>),
    live: LiveTree,
    sink: Sink<'_, DifferenceLine>,
    progress: &Progress,
) -> Result<VerifySummary> {
    let tree = snapshot.contents.tree;
    let mut entries = EntryStream::open(reader, tree.digest, tree.level);
    let runtime = Handle::current();
    let expected = std::iter::from_fn(move || {
        runtime.block_on(entries.next()).map(|entry| entry.map(|entry| entry.portable)).transpose()
    });
    tokio::task::block_in_place(|| compare_trees(ctx, expected, live, Expected::of(snapshot), sink, progress))
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
        if ctx.stop.is_requested() {
            return Err(shudao_vault::Error::new(shudao_vault::Kind::Unavailable, "interrupted"));
        }
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
        // Also what the stop itself made of a finding.
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

/// Tests the vault against itself, each replica alone.
pub(crate) async fn check(
    ctx: &Context,
    vault: &OpenVault,
    request: CheckRequest,
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
        let check = ReplicaCheck { ctx, vault, place, counters: &counters };
        let (report, mended) = mirroring.until(check.run(request)).await?;
        let log_entries = vault.replicas().await[place].state().next();
        for finding in mended {
            summary.findings += 1;
            summary.mended += 1;
            sink(Finding { mended: true, ..line(&finding, address) })?;
        }
        add_report(&mut summary, &report, address, sink)?;
        summary.log_entries += log_entries;
        let locks = ctx.stop.or(super::lock_review(vault, place)).await??;
        summary.totals.warnings.unlocked += locks.as_ref().map_or(0, LockState::wanting);
        super::warn_of_locks(ctx, address, locks.as_ref());
    }
    summary.packs_read = counters.packs.load(Ordering::Relaxed);
    Ok(summary)
}

/// The check of one replica by itself.
struct ReplicaCheck<'a> {
    ctx: &'a Context,
    vault: &'a OpenVault,
    place: usize,
    counters: &'a CheckProgress,
}

impl ReplicaCheck<'_> {
    /// The last report, and what an earlier one found and was mended since.
    async fn run(&self, request: CheckRequest) -> Result<(CheckReport, Vec<CheckFinding>)> {
        let stop = &self.ctx.stop;
        let mut checked = stop.or(self.once(request.depth)).await??;
        // A sample drawn anew would look elsewhere; what was mended has been read back.
        let depth = match request.depth {
            CheckDepth::Sample(_) => CheckDepth::Structure,
            depth => depth,
        };
        let (mut mended, mut replaced) = (Vec::new(), BTreeSet::new());
        // What is mended lets the next check see further: a need list names packs.
        while request.repair && checked.report.is_damaged() {
            let known = replaced.len();
            replaced.extend(self.repair(&checked.report).await);
            if replaced.len() == known {
                break;
            }
            let again = stop.or(self.once(depth)).await??;
            let stands = |finding: &CheckFinding| {
                again.report.findings.iter().any(|standing| standing.object == finding.object)
            };
            let before = checked.report.findings.into_iter();
            mended.extend(before.filter(|finding| finding.severity == Severity::Damage && !stands(finding)));
            checked = again;
        }
        Ok((self.declare(checked).await?, mended))
    }

    async fn once(&self, depth: CheckDepth) -> Result<DataCheck> {
        let selection = match depth {
            CheckDepth::Names => {
                let replicas = self.vault.replicas().await;
                let report = check::check_names(&replicas[self.place], self.counters).await?;
                return Ok(DataCheck { report, ..DataCheck::default() });
            }
            CheckDepth::Structure => {
                let alone = self.alone().await?;
                let report = check::check_structure(&alone, self.counters).await?;
                return Ok(DataCheck { report, ..DataCheck::default() });
            }
            CheckDepth::ReadData => PackSelection::All,
            CheckDepth::Sample(percent) => {
                PackSelection::Sample { percent, seed: shudao_vault::suite::random() }
            }
        };
        let alone = self.alone().await?;
        // A key that cannot read content is refused at once.
        let visible = alone.visible().into_iter().filter(|_| alone.ring().reads_content());
        let snapshots = visible.map(|(id, _)| id).collect();
        let address = self.vault.addresses()[self.place];
        let checking = async {
            tokio::select! {
                checked = check::check_data(&alone, &selection, self.counters) => Ok(checked?),
                () = self.ctx.stop.requested() => Err(Failure::interrupted()),
            }
        };
        while_pinned(self.ctx, (&alone, &[address]), snapshots, checking).await
    }

    async fn alone(&self) -> Result<Vault> {
        Ok(self.vault.opened()?.lock().await.alone(self.place).await?)
    }

    /// Vouches for what was read and found good, and declares bad what is not.
    async fn declare(&self, checked: DataCheck) -> Result<CheckReport> {
        if checked.good.is_empty() && checked.bad.is_empty() {
            return Ok(checked.report);
        }
        self.ctx.stop.check()?;
        let mut alone = self.alone().await?;
        if alone.ring().role == Role::Owner {
            alone.vouch(&checked.good, now()).await?;
        }
        if !checked.bad.is_empty() {
            alone.declare_bad(&checked.bad, now()).await?;
        }
        let mut opened = self.vault.opened()?.lock().await;
        opened.refresh().await?;
        self.vault.settle(self.ctx, &mut opened).await;
        Ok(checked.report)
    }

    /// Replaces what is damaged, as far as a sibling has it; returns the objects that are whole now.
    async fn repair(&self, report: &CheckReport) -> Vec<String> {
        let replicas = self.vault.replicas().await;
        let siblings = Siblings::new(replicas.iter().map(|replica| replica.objects().clone()));
        let repairs =
            check::repair(&replicas[self.place], &siblings.except(self.place), &report.findings).await;
        let mut whole = Vec::new();
        for Repair { object, outcome } in repairs {
            match outcome {
                Ok(()) => whole.push(object),
                Err(error) => {
                    let (object, why) = (escaped(&object), escaped(&chain(&error)));
                    self.ctx.output.warning(&Notice::NotMended { object, why });
                }
            }
        }
        whole
    }
}

fn line(finding: &CheckFinding, replica: &str) -> Finding {
    Finding {
        replica: replica.to_owned(),
        object: finding.object.clone(),
        problem: finding.problem.clone(),
        consequence: finding.consequence.clone(),
        mended: false,
    }
}

/// Adds what was found in one replica.
fn add_report(
    summary: &mut CheckSummary,
    report: &CheckReport,
    replica: &str,
    sink: Sink<'_, Finding>,
) -> Result<()> {
    for finding in report.findings.iter().filter(|finding| finding.severity != Severity::Note) {
        sink(line(finding, replica))?;
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
