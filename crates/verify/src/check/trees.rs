//! Checking structure: every tree readable, every chunk of every file in a listed and present pack, roots as signed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use shudao_vault::entry::{Entry, Extent, Extents, Node, TreePath, XattrValue};
use shudao_vault::id::{Digest, PackId, SnapshotId};
use shudao_vault::index::IndexedPack;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::name::Name;
use shudao_vault::pack::PackKind;
use shudao_vault::reader::Reader;
use shudao_vault::roots::RootHasher;
use shudao_vault::snapshot::Snapshot;
use shudao_vault::tree::{EntryStream, ExtentStream, Gap, NodeRef, NodeVisitor, Walk, walk_nodes};
use shudao_vault::vault::{Vault, chain};
use shudao_vault::{Error, Kind, Result};

use super::names::{Needs, check_objects, damage, lost_pack, stops};
use super::{CheckFinding, CheckProgress, CheckReport, Severity};

/// Findings of one snapshot beyond these are counted, not listed.
const FINDINGS_PER_SNAPSHOT_MAX: usize = 50;

/// Checks the structure of every visible snapshot. Needs a role that reads names: keeper or owner.
///
/// # Errors
/// [`Kind::Forbidden`] for another role, and whatever stops the check as a whole.
pub async fn check_structure(vault: &Vault, progress: &CheckProgress) -> Result<CheckReport> {
    if vault.ring().metadata.is_empty() {
        return Err(Error::new(Kind::Forbidden, "checking structure needs a keeper's or an owner's key"));
    }
    let mut report = CheckReport::default();
    let needs = check_objects(vault.replica(), &mut report).await?;
    let named: HashSet<String> = report.findings.iter().map(|finding| finding.object.clone()).collect();
    for problem in vault.problems().iter().filter(|problem| !named.contains(&problem.object)) {
        let consequence = "what only it holds cannot be used";
        report.findings.push(damage(problem.object.clone(), problem.what.clone(), consequence));
    }
    report.packs = needs.packs.len() as u64;
    check_presence(vault, &needs, &mut report).await?;
    let reader = Arc::new(vault.reader());
    let latest: BTreeSet<SnapshotId> =
        vault.sources().iter().filter_map(|source| vault.latest(source)).collect();
    for (id, listed) in &needs.lists {
        let snapshot = match vault.snapshot(id).await {
            Ok(snapshot) => snapshot,
            Err(error) if stops(&error) && error.kind() != Kind::Forbidden => return Err(error),
            // Named already when its object was checked.
            Err(_) => continue,
        };
        progress.current(&format!("snapshot {}", id.short()));
        let mut visitor = TreeCheck {
            id: *id,
            reader: &reader,
            listed,
            seen: HashSet::new(),
            findings: Vec::new(),
            lists: Vec::new(),
        };
        walk_nodes(
            Arc::clone(&reader),
            snapshot.contents.tree.digest,
            snapshot.contents.tree.level,
            &mut visitor,
        )
        .await?;
        let lists = std::mem::take(&mut visitor.lists);
        for (path, extents, size) in lists {
            visitor.check_list(&path, &extents, size).await?;
        }
        let mut findings = visitor.findings;
        if latest.contains(id) && findings.is_empty() {
            findings.extend(check_roots(&reader, &snapshot, *id).await?);
        }
        shorten(&mut findings, *id);
        report.findings.extend(findings);
    }
    Ok(report)
}

fn shorten(findings: &mut Vec<CheckFinding>, id: SnapshotId) {
    if findings.len() > FINDINGS_PER_SNAPSHOT_MAX {
        let more = findings.len() - FINDINGS_PER_SNAPSHOT_MAX;
        findings.truncate(FINDINGS_PER_SNAPSHOT_MAX);
        let problem = format!("{more} further findings of the same kinds are not listed");
        findings.push(damage(format!("snapshot {}", id.short()), problem, "see the findings above"));
    }
}

/// Every needed pack is there, with the length that the index says.
async fn check_presence(vault: &Vault, needs: &Needs, report: &mut CheckReport) -> Result<()> {
    let mut sizes = std::collections::HashMap::new();
    for indexed in vault.index().packs() {
        let IndexedPack { pack, .. } = indexed?;
        sizes.insert(pack.id, pack);
    }
    for (id, needers) in &needs.packs {
        report.counts.objects_present += 1;
        if sizes.get(id).is_some_and(|pack| pack.kind == PackKind::Metadata) {
            check_metadata_pack(vault, id, needers, report).await?;
            continue;
        }
        let found = vault.replica().objects().size(&Name::pack(*id)).await?;
        let problem = match (found, sizes.get(id)) {
            (None, _) => "is missing".to_owned(),
            (Some(_), None) => "is in no segment of the index".to_owned(),
            (Some(found), Some(pack)) if found != pack.size => {
                format!("has {found} bytes instead of {}", pack.size)
            }
            (Some(_), Some(_)) => continue,
        };
        report.findings.push(lost_pack(id, needers, &problem));
    }
    Ok(())
}

/// Metadata packs are small and hold the way to everything: they are read whole and held against their names.
async fn check_metadata_pack(
    vault: &Vault,
    id: &PackId,
    needers: &BTreeSet<SnapshotId>,
    report: &mut CheckReport,
) -> Result<()> {
    match vault.replica().objects().read(&Name::pack(*id)).await {
        Ok(bytes) => {
            report.counts.objects_read += 1;
            report.counts.bytes_read += bytes.len() as u64;
        }
        Err(error) if stops(&error) => return Err(error),
        Err(error) => report.findings.push(lost_pack(id, needers, &chain(&error))),
    }
    Ok(())
}

/// Streams the whole tree and compares its roots with those that the snapshot signs.
async fn check_roots(
    reader: &Arc<Reader>,
    snapshot: &Snapshot,
    id: SnapshotId,
) -> Result<Option<CheckFinding>> {
    let mut stream =
        EntryStream::open(Arc::clone(reader), snapshot.contents.tree.digest, snapshot.contents.tree.level);
    let mut hasher = RootHasher::new();
    while let Some(entry) = stream.next().await? {
        hasher.push(&entry.portable)?;
    }
    let roots = hasher.finish();
    let equal = roots.manifest == snapshot.contents.roots.manifest
        && roots.content == snapshot.contents.roots.content;
    Ok((!equal).then(|| {
        let problem = "its tree does not have the roots that it signs".to_owned();
        damage(format!("snapshot {}", id.short()), problem, "it proves nothing about the source")
    }))
}

struct TreeCheck<'a> {
    id: SnapshotId,
    reader: &'a Arc<Reader>,
    listed: &'a BTreeSet<PackId>,
    /// Nodes of this snapshot that were entered; each is checked against its need list once.
    seen: HashSet<Digest>,
    findings: Vec<CheckFinding>,
    lists: Vec<(TreePath, Extents, u64)>,
}

impl TreeCheck<'_> {
    fn check_chunk(&mut self, path: &TreePath, digest: &Digest) {
        let places = match self.reader.places(ChunkSpace::Content, digest) {
            Ok(places) => places,
            Err(error) => return self.lose(path, &chain(&error)),
        };
        if places.is_empty() {
            self.lose(path, &format!("chunk {} is in no pack that the index knows", digest.short()));
        } else if !places.iter().any(|place| self.listed.contains(&place.pack)) {
            self.findings.push(CheckFinding {
                object: format!("snapshot {} {path}", self.id.short()),
                problem: format!("chunk {} is in no pack of the snapshot's need list", digest.short()),
                consequence: "collection may free it although this snapshot needs it".to_owned(),
                severity: Severity::Damage,
            });
        }
    }

    fn lose(&mut self, path: &TreePath, problem: &str) {
        let object = format!("snapshot {} {path}", self.id.short());
        self.findings.push(damage(object, problem.to_owned(), "this file cannot be restored"));
    }

    fn check_entry(&mut self, entry: &Entry) {
        for xattr in &entry.portable.xattrs {
            if let XattrValue::Chunk { digest, .. } = &xattr.value {
                self.check_chunk(entry.path(), digest);
            }
        }
        let Node::File { size, .. } = entry.portable.node else { return };
        match &entry.local.extents {
            Extents::Inline(extents) => {
                for extent in extents {
                    if let Extent::Data { digest, .. } = extent {
                        self.check_chunk(entry.path(), digest);
                    }
                }
            }
            Extents::Listed { .. } => {
                self.lists.push((entry.path().clone(), entry.local.extents.clone(), size))
            }
        }
    }

    async fn check_list(&mut self, path: &TreePath, extents: &Extents, size: u64) -> Result<()> {
        let mut stream = match ExtentStream::open(Arc::clone(self.reader), extents, size) {
            Ok(stream) => stream,
            Err(error) => {
                self.lose(path, &chain(&error));
                return Ok(());
            }
        };
        loop {
            match stream.next().await {
                Ok(None) => return Ok(()),
                Ok(Some((_, Extent::Data { digest, .. }))) => self.check_chunk(path, &digest),
                Ok(Some((_, Extent::Hole { .. }))) => {}
                Err(error) if stops(&error) => return Err(error),
                Err(error) => self.lose(path, &chain(&error)),
            }
        }
    }
}

impl NodeVisitor for TreeCheck<'_> {
    fn enter(&mut self, node: &NodeRef) -> Walk {
        if self.seen.insert(node.digest) { Walk::Enter } else { Walk::Skip }
    }

    fn leaf(&mut self, _node: &NodeRef, entries: &[Entry]) {
        for entry in entries {
            self.check_entry(entry);
        }
    }

    fn lost(&mut self, gap: &Gap, error: Error) {
        let until = gap.until.as_ref().map_or_else(|| "the end".to_owned(), ToString::to_string);
        let object = format!("snapshot {} tree node {}", self.id.short(), gap.node.digest.short());
        let consequence = format!("everything from {} to {until} cannot be restored", gap.node.first);
        self.findings.push(damage(object, chain(&error), &consequence));
    }
}
