//! The run of a restore: entries in, batches out, directories last.

mod links;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use shudao_vault::Kind;
use shudao_vault::entry::{Entry, Node, Portable, TreePath, Xattr, XattrValue};
use shudao_vault::fetch::Frames;
use shudao_vault::id::Digest;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::reader::Reader;
use shudao_vault::tree::{EntryStream, ExtentStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::batch::{Batch, Link, Part, Writing, Written, part_of};
use super::compare::{Existing, has_extent, look};
use super::mark::Mark;
use super::metadata::{XattrBytes, metadata_is, set_metadata};
use super::target::{Place, Target};
use super::write::{FileInWork, Manner};
use super::write_back::WriteBack;
use super::{PathProblem, RestoreError, RestoreOptions, RestoreProgress, RestoreSummary};
use crate::ingest::lock;

/// Batches whose frames are fetched ahead of the one that is written next.
const BATCHES_AHEAD: usize = 1;
/// Entries whose existing counterparts are looked at together.
const GROUP_ENTRIES: usize = 256;

/// Restores the tree with this root. Blocks: call it on a thread that may block, not on a runtime's worker.
///
/// # Errors
/// Only what stops the whole run; everything about one path is in the summary.
pub fn restore(
    reader: &Arc<Reader>,
    root: (Digest, u8),
    options: &RestoreOptions,
    progress: &RestoreProgress,
    runtime: &Handle,
) -> Result<RestoreSummary, RestoreError> {
    let at = |cause| target_error(&options.to, cause);
    let mut target = Target::open(&options.to).map_err(at)?;
    if !options.in_place && !target.is_empty().map_err(at)? {
        return Err(RestoreError::NotEmpty { to: options.to.clone() });
    }
    let mut run = Run {
        reader,
        options,
        progress,
        runtime,
        write_back: WriteBack::of(target.root()),
        target: &mut target,
        summary: RestoreSummary::default(),
        ancestors: Vec::new(),
        group: Vec::new(),
        batch: Batch::default(),
        fetching: VecDeque::new(),
        writing: None,
        directories: Vec::new(),
        aliases: HashMap::new(),
        failed: HashSet::new(),
        orphans: Vec::new(),
        is_torn: false,
    };
    let mut entries = EntryStream::open(Arc::clone(reader), root.0, root.1);
    loop {
        if progress.stop.load(Ordering::Relaxed) {
            return Err(RestoreError::Interrupted);
        }
        match runtime.block_on(entries.next()) {
            Ok(Some(entry)) => run.take(entry)?,
            Ok(None) => break,
            // A lost node is reported with the paths it held, and the stream goes on after it; nothing else is passed over.
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => {
                let from = entries.gap().map_or_else(TreePath::root, |gap| gap.node.first.clone());
                run.is_torn = true;
                run.lost(&from, &shudao_vault::vault::chain(&error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    run.flush_group()?;
    // Writing may show links that must become files of their own, which are one more batch.
    while !run.batch.is_empty() || !run.fetching.is_empty() || run.writing.is_some() {
        run.seal_batch()?;
        run.write_next()?;
        run.plan_orphans()?;
    }
    run.finish_directories();
    run.write_back.finish().map_err(at)?;
    Ok(run.summary)
}

struct Run<'a> {
    reader: &'a Arc<Reader>,
    options: &'a RestoreOptions,
    progress: &'a RestoreProgress,
    runtime: &'a Handle,
    target: &'a mut Target,
    write_back: WriteBack,
    summary: RestoreSummary,
    /// Directories on the way to the current path that are made only if something below them is wanted.
    ancestors: Vec<Entry>,
    group: Vec<(Entry, Place)>,
    batch: Batch,
    fetching: VecDeque<(Batch, JoinHandle<Frames>)>,
    writing: Option<Writing>,
    /// Directories made, whose metadata is set at the end, deepest last.
    directories: Vec<Portable>,
    /// Where the first restored member of a hard-link group is, if the group's first member was filtered out or lost.
    aliases: HashMap<TreePath, TreePath>,
    /// Paths that were not restored: nothing may be linked to what stands there.
    failed: HashSet<TreePath>,
    /// Links that found nothing right to link to, and are planned again.
    orphans: Vec<Link>,
    /// A part of the tree was lost, and directories' entries may have been with it.
    is_torn: bool,
}

impl Run<'_> {
    fn take(&mut self, entry: Entry) -> Result<(), RestoreError> {
        let is_directory = entry.portable.node == Node::Directory;
        while self.ancestors.last().is_some_and(|last| !entry.path().is_within(last.path())) {
            self.ancestors.pop();
        }
        let wanted = self.options.filter.wants(entry.path(), is_directory);
        if is_directory && !wanted {
            if !self.options.filter.drops(entry.path(), true) {
                self.ancestors.push(entry);
            }
            return Ok(());
        }
        if !wanted {
            return Ok(());
        }
        for directory in std::mem::take(&mut self.ancestors) {
            self.make_directory(directory)?;
        }
        if is_directory {
            return self.make_directory(entry);
        }
        match self.place_of(entry.path()) {
            Ok(place) => self.group.push((entry, place)),
            Err(cause) => self.lost(entry.path(), &format!("open its directory: {cause}")),
        }
        if self.group.len() >= GROUP_ENTRIES { self.flush_group() } else { Ok(()) }
    }

    /// The place of a path. Where a lost part of the tree may have held its directory's entry, the directory is made.
    fn place_of(&mut self, path: &TreePath) -> io::Result<Place> {
        match self.target.place(path) {
            Err(error) if self.is_torn && error.kind() == io::ErrorKind::NotFound => {
                let mut missing: Vec<TreePath> =
                    std::iter::successors(path.parent(), TreePath::parent).collect();
                while let Some(directory) = missing.pop() {
                    self.target.place(&directory)?.make_directory()?;
                }
                self.target.place(path)
            }
            result => result,
        }
    }

    fn make_directory(&mut self, entry: Entry) -> Result<(), RestoreError> {
        let in_place = self.options.in_place;
        let made = self.place_of(entry.path()).and_then(|place| {
            if in_place && look(&place, &entry)? == Existing::Different {
                place.unlink()?;
            }
            place.make_directory()
        });
        if let Err(cause) = made {
            self.check_full(&cause)?;
            self.lost(entry.path(), &format!("make the directory: {cause}"));
            return Ok(());
        }
        self.summary.directories += 1;
        self.directories.push(entry.portable);
        Ok(())
    }

    fn flush_group(&mut self) -> Result<(), RestoreError> {
        self.plan_orphans()?;
        let group = std::mem::take(&mut self.group);
        let existing: Vec<io::Result<Existing>> = if self.options.in_place {
            group.par_iter().map(|(entry, place)| look(place, entry)).collect()
        } else {
            group.iter().map(|_| Ok(Existing::Absent)).collect()
        };
        for ((entry, place), existing) in group.into_iter().zip(existing) {
            match existing {
                Ok(existing) => self.plan(entry, place, existing)?,
                Err(cause) => self.lost(entry.path(), &format!("look at what stands there: {cause}")),
            }
        }
        Ok(())
    }

    fn plan(&mut self, entry: Entry, place: Place, mut existing: Existing) -> Result<(), RestoreError> {
        if existing == Existing::DirectoryInTheWay {
            if place.remove_directory().is_err() {
                let what = "a directory stands in its place; remove it, or restore with --delete";
                self.lost(entry.path(), what);
                return Ok(());
            }
            existing = Existing::Absent;
        }
        match self.first_name(&entry) {
            Some(first) => self.plan_link(entry, place, existing, first),
            None => self.plan_whole(entry, place, existing),
        }
    }

    fn plan_whole(&mut self, entry: Entry, place: Place, existing: Existing) -> Result<(), RestoreError> {
        let xattrs = match self.xattrs(&entry.portable.xattrs) {
            Ok(xattrs) => xattrs,
            Err(error) => {
                self.lost(
                    entry.path(),
                    &format!("extended attributes: {}", shudao_vault::vault::chain(&error)),
                );
                return Ok(());
            }
        };
        if existing == Existing::Same {
            self.keep(&entry, &place, &xattrs);
            return Ok(());
        }
        match &entry.portable.node {
            Node::File { .. } => self.plan_file(entry, place, xattrs, existing),
            _ => self.make_special(&entry, &place, &xattrs, existing),
        }
    }

    /// The mark that an earlier run left for this path, which goes when the file is whole.
    fn old_mark(&self, path: &TreePath) -> Option<Mark> {
        let marks = self.options.marks.as_ref().filter(|_| self.options.in_place)?;
        Mark::find(marks, &self.options.to, path).ok().flatten()
    }

    fn keep(&mut self, entry: &Entry, place: &Place, xattrs: &XattrBytes) {
        if !metadata_is(place, &entry.portable, xattrs) {
            for not_set in set_metadata(place, &entry.portable, xattrs) {
                self.not_set(entry.path(), format!("{}: {}", not_set.what, not_set.cause));
            }
        }
        if let Some(Err(cause)) = self.old_mark(entry.path()).map(Mark::remove) {
            self.not_set(entry.path(), format!("remove the mark of an interrupted restore: {cause}"));
        }
        if matches!(entry.portable.node, Node::File { .. }) {
            self.summary.files += 1;
            self.summary.files_unchanged += 1;
        }
        self.summary.bytes += entry.size();
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(entry.size(), Ordering::Relaxed);
    }

    fn make_special(
        &mut self,
        entry: &Entry,
        place: &Place,
        xattrs: &XattrBytes,
        existing: Existing,
    ) -> Result<(), RestoreError> {
        let replaced = if existing == Existing::Different { place.unlink() } else { Ok(()) };
        match replaced.and_then(|()| place.make_special(&entry.portable)) {
            Ok(()) => {
                for not_set in set_metadata(place, &entry.portable, xattrs) {
                    self.not_set(entry.path(), format!("{}: {}", not_set.what, not_set.cause));
                }
            }
            Err(cause)
                if is_device(&entry.portable.node) && cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                self.not_set(entry.path(), format!("the device was not made: {cause}"));
            }
            Err(cause) => {
                self.check_full(&cause)?;
                self.lost(entry.path(), &format!("make it: {cause}"));
            }
        }
        Ok(())
    }

    fn plan_file(
        &mut self,
        entry: Entry,
        place: Place,
        xattrs: XattrBytes,
        existing: Existing,
    ) -> Result<(), RestoreError> {
        let manner = if existing == Existing::Patchable { Manner::Patched } else { Manner::Renamed };
        let old = (manner == Manner::Patched)
            .then(|| place.open(rustix::fs::OFlags::RDONLY).map(std::fs::File::from));
        let old = old.transpose().unwrap_or(None);
        *lock(&self.progress.current) = entry.path().to_string();
        let path = entry.path().clone();
        let mut stream = match ExtentStream::open(Arc::clone(self.reader), &entry.local.extents, entry.size())
        {
            Ok(stream) => stream,
            Err(error) => {
                self.lost(&path, &format!("its extent list: {}", shudao_vault::vault::chain(&error)));
                return Ok(());
            }
        };
        let mut in_work = FileInWork::new(entry, place.clone(), xattrs, manner);
        in_work.mark = self.old_mark(&path);
        if let (Manner::Patched, Some(marks)) = (manner, &self.options.marks) {
            let mark = Mark::write(marks, &self.options.to, &path);
            in_work.mark = Some(mark.map_err(|cause| RestoreError::Target { to: marks.clone(), cause })?);
        }
        let file = Arc::new(Mutex::new(Some(in_work)));
        self.batch.begin(&file, &place);
        loop {
            let next = self.runtime.block_on(stream.next());
            let part = match next {
                Ok(None) => break,
                Ok(Some((offset, extent))) => {
                    let kept = old.as_ref().is_some_and(|file| has_extent(file, offset, &extent));
                    if kept { Ok(Part::Kept(extent.length())) } else { part_of(&extent, self.reader) }
                }
                Err(error) => Err(error),
            };
            match part {
                Ok(part) => self.batch.push(part),
                Err(error) => {
                    // What was planned of it is dropped unfinished, so nothing of it becomes visible.
                    lock(&file).take();
                    self.batch.works.pop();
                    self.lost(&path, &format!("its extent list: {}", shudao_vault::vault::chain(&error)));
                    return Ok(());
                }
            }
            if self.batch.is_full() {
                self.seal_batch()?;
                self.batch.begin(&file, &place);
            }
        }
        if let Some(work) = self.batch.works.last_mut() {
            work.ends = true;
        }
        self.seal_if_full()
    }

    fn seal_if_full(&mut self) -> Result<(), RestoreError> {
        if self.batch.is_full() { self.seal_batch() } else { Ok(()) }
    }

    fn seal_batch(&mut self) -> Result<(), RestoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let fetch = batch.fetch(self.reader, self.runtime);
        self.fetching.push_back((batch, fetch));
        if self.fetching.len() > BATCHES_AHEAD { self.write_next() } else { Ok(()) }
    }

    /// Waits for the batch that is being written, and begins with the next one.
    fn write_next(&mut self) -> Result<(), RestoreError> {
        if let Some(writing) = self.writing.take() {
            let (written, links) = writing.wait();
            self.account(written)?;
            self.make_links(links)?;
        }
        let Some((batch, fetch)) = self.fetching.pop_front() else { return Ok(()) };
        let frames = self.runtime.block_on(fetch).unwrap_or_default();
        let writing = Writing::start(batch, frames, self.reader, self.runtime);
        self.writing = Some(writing.map_err(|cause| target_error(&self.options.to, cause))?);
        Ok(())
    }

    fn account(&mut self, written: Written) -> Result<(), RestoreError> {
        self.summary.files += written.files;
        self.summary.bytes += written.bytes;
        self.summary.bytes_written += written.bytes_written;
        self.failed.extend(written.failed.iter().map(|problem| problem.path.clone()));
        self.summary.failed.extend(written.failed);
        self.summary.metadata_not_set.extend(written.not_set);
        self.progress.files.fetch_add(written.files, Ordering::Relaxed);
        self.progress.bytes.fetch_add(written.bytes, Ordering::Relaxed);
        if written.is_full {
            return Err(RestoreError::Full { to: self.options.to.clone() });
        }
        let started = self.write_back.wrote(written.bytes_written);
        started.map_err(|cause| target_error(&self.options.to, cause))
    }

    /// Sets directories' metadata, deepest first, so that nothing written below changes their times again and a
    /// directory that we may not enter afterwards is done last.
    fn finish_directories(&mut self) {
        for portable in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = &portable.path;
            let xattrs = match self.xattrs(&portable.xattrs) {
                Ok(xattrs) => xattrs,
                Err(error) => {
                    let what = format!("extended attributes: {}", shudao_vault::vault::chain(&error));
                    self.not_set(path, what);
                    XattrBytes::new()
                }
            };
            match self.target.place(path) {
                Ok(place) if metadata_is(&place, &portable, &xattrs) => {}
                Ok(place) => {
                    for not_set in set_metadata(&place, &portable, &xattrs) {
                        self.not_set(path, format!("{}: {}", not_set.what, not_set.cause));
                    }
                }
                Err(cause) => self.not_set(path, format!("metadata: {cause}")),
            }
        }
    }

    fn xattrs(&self, xattrs: &[Xattr]) -> shudao_vault::Result<XattrBytes> {
        let mut values = XattrBytes::new();
        for xattr in xattrs {
            let value = match &xattr.value {
                XattrValue::Inline(value) => value.clone(),
                XattrValue::Chunk { digest, .. } => {
                    self.runtime.block_on(self.reader.chunk(ChunkSpace::Content, digest))?.to_vec()
                }
            };
            values.push((xattr.name.clone(), value));
        }
        Ok(values)
    }

    fn check_full(&self, cause: &io::Error) -> Result<(), RestoreError> {
        if is_full(cause) { Err(RestoreError::Full { to: self.options.to.clone() }) } else { Ok(()) }
    }

    fn lost(&mut self, path: &TreePath, what: &str) {
        self.failed.insert(path.clone());
        self.summary.failed.push(PathProblem { path: path.clone(), what: what.to_owned() });
    }

    fn not_set(&mut self, path: &TreePath, what: String) {
        self.summary.metadata_not_set.push(PathProblem { path: path.clone(), what });
    }
}

fn is_device(node: &Node) -> bool {
    matches!(node, Node::CharDevice { .. } | Node::BlockDevice { .. })
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn target_error(to: &Path, cause: io::Error) -> RestoreError {
    let to = to.to_owned();
    if is_full(&cause) { RestoreError::Full { to } } else { RestoreError::Target { to, cause } }
}
