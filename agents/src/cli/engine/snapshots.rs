//! Finding snapshots, and reading what they hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use shudao_vault::entry::{Entry, Extent, Node, TreePath};
use shudao_vault::id::SnapshotId;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::log::Visible;
use shudao_vault::snapshot::Snapshot;
use shudao_vault::tree::{Change, EntryStream, ExtentStream, diff as diff_trees, lookup};
use shudao_vault::vault::{Vault, chain};
use shudao_vault::{Error, Kind};
use shudao_verify::compare::{Aspects, differences};

use super::proof::difference_line;
use super::{OpenVault, Sink};
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::parse::SnapshotName;
use crate::cli::path::{RawPath, escaped};
use crate::cli::report::{DiffSummary, Difference, DifferenceLine, LsLine, PathField, SnapshotLine, Totals};
use crate::cli::request::{Selection, SnapshotChoice};

/// The selected snapshots, oldest first. Those whose names this key may not read are left out.
pub(crate) async fn snapshots(
    ctx: &Context,
    vault: &OpenVault,
    selection: &Selection,
) -> Result<Vec<SnapshotLine>> {
    let vault = vault.opened()?.lock().await;
    let mut lines = Vec::new();
    for (id, visible, snapshot) in select(ctx, &vault, selection).await? {
        lines.push(line_of(&vault, id, &visible, &snapshot));
    }
    Ok(lines)
}

/// Opens the selected snapshots in the log's order.
pub(super) async fn select(
    ctx: &Context,
    vault: &Vault,
    selection: &Selection,
) -> Result<Vec<(SnapshotId, Visible, Snapshot)>> {
    let source = selection.source.as_ref().map(|name| vault.ring().source_id(name));
    let mut selected = Vec::new();
    for (id, visible) in vault.visible() {
        if source.is_some_and(|source| source != visible.source) {
            continue;
        }
        match vault.snapshot(&id).await {
            Ok(snapshot) if selection.tags.iter().all(|tag| snapshot.contents.tags.contains(tag)) => {
                selected.push((id, visible, snapshot));
            }
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Forbidden => {}
            Err(error) if matches!(error.kind(), Kind::Damaged | Kind::Missing) => {
                ctx.output.warning(&Notice::Plain { text: escaped(&chain(&error)) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(selected)
}

pub(super) fn line_of(vault: &Vault, id: SnapshotId, visible: &Visible, snapshot: &Snapshot) -> SnapshotLine {
    let contents = &snapshot.contents;
    let path = |bytes: &Vec<u8>| PathField { path: RawPath(bytes.clone()) };
    SnapshotLine {
        snapshot: id.to_hex(),
        parent: snapshot.outer.parent.map(|parent| parent.to_hex()),
        source: contents.source.clone(),
        sequence: visible.sequence,
        time: visible.time,
        host: contents.host.clone(),
        paths: contents.paths.iter().map(path).collect(),
        tags: contents.tags.clone(),
        files: contents.counts.files,
        bytes: contents.counts.bytes,
        held: vault.is_held(&id),
        partial: contents.unread.total > 0,
        writer: visible.author.to_hex(),
        manifest_root: shudao_vault::id::to_hex(&contents.roots.manifest),
    }
}

/// The chosen snapshot, opened.
pub(super) async fn choose(
    ctx: &Context,
    vault: &Vault,
    choice: &SnapshotChoice,
) -> Result<(SnapshotId, Snapshot)> {
    let id = match &choice.name {
        SnapshotName::Prefix(prefix) => {
            vault.resolve(prefix).map_err(|error| Failure::from(error).with_hint(Hint::ListSnapshots {}))?
        }
        SnapshotName::Latest => latest(ctx, vault, &choice.selection).await?,
    };
    Ok((id, vault.snapshot(&id).await?))
}

async fn latest(ctx: &Context, vault: &Vault, selection: &Selection) -> Result<SnapshotId> {
    let selected = select(ctx, vault, selection).await?;
    let sources: BTreeSet<&String> =
        selected.iter().map(|(_, _, snapshot)| &snapshot.contents.source).collect();
    if sources.len() > 1 {
        let sources: Vec<String> = sources.into_iter().map(|source| escaped(source)).collect();
        let problem = Problem::SeveralSources { sources: sources.join(", ") };
        return Err(Failure::usage(problem, Hint::NameSource {}));
    }
    let newest = selected.iter().max_by_key(|(id, visible, _)| (visible.sequence, visible.time, *id));
    newest.map(|(id, _, _)| *id).ok_or_else(|| Failure::usage(Problem::NoSnapshot {}, Hint::ListSnapshots {}))
}

/// Lists a snapshot, or the entry at `path` and everything below it, in path order. Returns the snapshot's id.
pub(crate) async fn ls(
    ctx: &Context,
    vault: &OpenVault,
    snapshot: &SnapshotChoice,
    path: &[u8],
    sink: Sink<'_, LsLine>,
) -> Result<String> {
    let vault = vault.opened()?.lock().await;
    let (id, snapshot) = choose(ctx, &vault, snapshot).await?;
    let path = tree_path(path)?;
    let tree = snapshot.contents.tree;
    let mut entries = EntryStream::open(Arc::new(vault.reader_of(&id).await?), tree.digest, tree.level);
    entries.seek(&path);
    let (mut listed, mut lost) = (false, None);
    loop {
        ctx.stop.check()?;
        match entries.next().await {
            Ok(Some(entry)) if entry.path().is_within(&path) => {
                listed = true;
                sink(LsLine::from(&entry))?;
            }
            Ok(_) => break,
            Err(error) if matches!(error.kind(), Kind::Damaged | Kind::Missing) => {
                ctx.output.warning(&Notice::Plain { text: escaped(&chain(&error)) });
                lost = lost.or(Some(error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match lost {
        Some(error) => Err(error.into()),
        None if listed => Ok(id.to_hex()),
        None => Err(no_such_path(&path, id)),
    }
}

/// Compares two snapshots.
pub(crate) async fn diff(
    ctx: &Context,
    vault: &OpenVault,
    snapshots: [&SnapshotChoice; 2],
    sink: Sink<'_, DifferenceLine>,
) -> Result<DiffSummary> {
    let replicas = vault.totals().replicas;
    let vault = vault.opened()?.lock().await;
    let (from, before) = choose(ctx, &vault, snapshots[0]).await?;
    let (to, after) = choose(ctx, &vault, snapshots[1]).await?;
    let root = |snapshot: &Snapshot| (snapshot.contents.tree.digest, snapshot.contents.tree.level);
    let mut changes = diff_trees(Arc::new(vault.reader()), root(&before), root(&after));
    let mut summary = DiffSummary { from: from.to_hex(), to: to.to_hex(), ..DiffSummary::default() };
    summary.totals.snapshot = Some(to.to_hex());
    summary.totals.replicas = replicas;
    while let Some(change) = changes.next().await? {
        ctx.stop.check()?;
        summary.totals.files += 1;
        match change {
            Change::Added(entry) => {
                summary.added += 1;
                sink(alone(&entry, Difference::Added))?;
            }
            Change::Removed(entry) => {
                summary.removed += 1;
                sink(alone(&entry, Difference::Removed))?;
            }
            Change::Changed { before, after } => {
                let lines: Vec<_> = differences(&before.portable, &after.portable, Aspects::MANIFEST)
                    .into_iter()
                    .map(difference_line)
                    .collect();
                let is_content =
                    |line: &DifferenceLine| matches!(line.difference, Difference::Content | Difference::Type);
                if lines.iter().any(is_content) {
                    summary.changed += 1;
                } else if !lines.is_empty() {
                    summary.metadata_changed += 1;
                }
                for line in lines {
                    sink(line)?;
                }
            }
        }
    }
    Ok(summary)
}

fn alone(entry: &Entry, difference: Difference) -> DifferenceLine {
    DifferenceLine { path: RawPath::from(entry.path()), difference, expected: None, found: None }
}

/// Hands out a file's bytes in order; each piece has been checked.
pub(crate) async fn cat(
    ctx: &Context,
    vault: &OpenVault,
    snapshot: &SnapshotChoice,
    path: &[u8],
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Totals> {
    let totals = vault.totals();
    let vault = vault.opened()?.lock().await;
    let (id, snapshot) = choose(ctx, &vault, snapshot).await?;
    super::must_read_content(&vault)?;
    let path = tree_path(path)?;
    let reader = Arc::new(vault.reader_of(&id).await?);
    let tree = snapshot.contents.tree;
    let entry = lookup(Arc::clone(&reader), tree.digest, tree.level, &path).await?;
    let entry = entry.ok_or_else(|| no_such_path(&path, id))?;
    let Node::File { size, digest } = entry.portable.node else {
        return Err(Failure::usage(Problem::NotAFile { path: path.to_string() }, Hint::ListSnapshots {}));
    };
    let mut extents = ExtentStream::open(Arc::clone(&reader), &entry.local.extents, size)?;
    let mut hasher = blake3::Hasher::new();
    let zeros = [0; 64 << 10];
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        sink(bytes)
    };
    while let Some((_, extent)) = extents.next().await? {
        ctx.stop.check()?;
        match extent {
            Extent::Data { digest, .. } => put(&reader.chunk(ChunkSpace::Content, &digest).await?)?,
            Extent::Hole { mut length } => {
                while length > 0 {
                    let count = length.min(zeros.len() as u64);
                    put(&zeros[..count as usize])?;
                    length -= count;
                }
            }
        }
    }
    if *hasher.finalize().as_bytes() != digest.0 {
        return Err(Error::damaged("what was handed out has another digest than the file's").into());
    }
    Ok(Totals { files: 1, bytes_read: size, snapshot: Some(id.to_hex()), ..totals })
}

fn tree_path(path: &[u8]) -> Result<TreePath> {
    TreePath::new(path).ok_or_else(|| {
        let path = RawPath(path.to_vec()).to_string();
        Failure::usage(Problem::NoSuchPath { path, snapshot: String::new() }, Hint::SeeHelp {})
    })
}

fn no_such_path(path: &TreePath, id: SnapshotId) -> Failure {
    let problem = Problem::NoSuchPath { path: path.to_string(), snapshot: id.short() };
    Failure::new(Exit::Failed, problem, Hint::ListSnapshots {})
}
