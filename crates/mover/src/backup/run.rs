//! The run of a backup: begin, the pipeline's threads; what they make is for `deliver`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use shudao_vault::id::{SnapshotId, Timestamp};
use shudao_vault::pack::PACK_BYTES_TARGET;
use shudao_vault::reader::Reader;
use shudao_vault::session::Session;
use shudao_vault::suite::Secret;
use shudao_vault::tree::{EntryStream, TreeBuilder, TreeSummary};
use shudao_vault::vault::Vault;
use shudao_vault::{Error, Kind};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::assemble::Assembler;
use super::content::ContentWriter;
use super::deliver::{Run, Work};
use super::pump::{Outcome, Pump, ReadJob, problem_of};
use super::{BackupError, BackupOptions, BackupProgress, BackupSource, BackupSummary};
use crate::chunker::{Chunker, GearTable, Profile};
use crate::ingest::{Ingest, IngestContext};
use crate::lane::Parcel;
use crate::source::{self, Found, FoundNode, Piece, ScanOptions, UnreadKind as Unreadable, scan};

/// Slots between pump and assembler, and so also files opened or waiting.
const SLOTS_MAX: usize = 512;
/// Bytes read from a file at a time.
const READ_BYTES: usize = 1 << 20;
/// How often a file that changes under our eyes is read before it is stored as read.
const READS_MAX: usize = 3;

/// Backs up a source. `clock` gives the time to sign.
///
/// # Errors
/// Whatever ends the run without a snapshot on any replica; problems at single paths, and replicas that lack the snapshot,
/// are in the summary.
pub async fn backup(
    vault: &mut Vault,
    options: BackupOptions,
    progress: &Arc<BackupProgress>,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<BackupSummary, BackupError> {
    let started = clock();
    let source = vault.ring().source_id(&options.source_name);
    let store = vault.replica().store().clone();
    let bytes_before = store.usage().bytes_written;
    let session = if options.dry_run {
        None
    } else {
        let (replicas, ring) = vault.replicas_mut();
        Some(Session::begin(replicas, ring, source, started).await?)
    };
    // Another run may have committed since the vault was opened: the parent must be found in the index.
    vault.refresh().await?;
    let parent = match &session {
        Some((session, _)) => session.parent,
        None => vault.latest(&source),
    };
    let stage = Stage::prepare(vault, &options, parent, progress).await?;
    let run = Run { options, progress, clock, started };
    let mut summary = match session {
        Some((session, first)) => run.store(vault, stage, &session, first).await?,
        None => run.count(stage).await?,
    };
    summary.parent = parent;
    summary.bytes_added = store.usage().bytes_written - bytes_before;
    Ok(summary)
}

/// What the snapshot keeps of the run besides the tree.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) ingest: Arc<Ingest>,
    pub(super) paths: Vec<Vec<u8>>,
    pub(super) one_file_system: bool,
}

/// Everything the pipeline's threads share.
pub(super) struct Stage {
    pub(super) ingest: Sealed,
    queue: crate::ingest::SealQueue,
    reader: Arc<Reader>,
    boundary: Secret,
    gear: GearTable,
    profile: Profile,
    parent: Option<(shudao_vault::id::Digest, u8)>,
    rescan: bool,
    progress: Arc<BackupProgress>,
}

impl Stage {
    async fn prepare(
        vault: &Vault,
        options: &BackupOptions,
        parent: Option<SnapshotId>,
        progress: &Arc<BackupProgress>,
    ) -> Result<Self, BackupError> {
        let ring = vault.ring();
        let lacks = || Error::new(Kind::Forbidden, "this key's role cannot back up");
        let boundary = ring.boundary.clone().ok_or_else(lacks)?;
        let gear = GearTable::derive(&ring.gear.clone().ok_or_else(lacks)?.0);
        let config = vault.config();
        let profile = Profile::in_force(&config.profiles).map_err(|error| {
            Error::new(Kind::Unsupported, "cut by the vault's chunker profile").because(error)
        })?;
        let parent = match parent {
            // A parent that cannot be opened costs reading everything again, and nothing else.
            Some(parent) => vault.snapshot(&parent).await.ok(),
            None => None,
        };
        // What another writer says of a file is not believed unread, though the owner could read it.
        let trusted = vault.trusted_writers();
        let parent = parent.filter(|parent| config.trust_writers || trusted.contains(&parent.outer.author));
        if let Some(parent) = &parent {
            progress.bytes_estimated.store(parent.contents.counts.bytes, Ordering::Relaxed);
        }
        let context = IngestContext {
            ring: Arc::clone(ring),
            index: Arc::clone(vault.index()),
            reliance: vault.reliance(),
            compression: options.compression,
            pack_bytes_target: PACK_BYTES_TARGET,
            dry_run: options.dry_run,
        };
        let (ingest, queue) = Ingest::new(context, Arc::clone(&progress.stored));
        let (paths, one_file_system) = match &options.source {
            BackupSource::Tree(scan) => (paths_of(scan), scan.one_file_system),
            BackupSource::Command { .. } => (Vec::new(), false),
        };
        Ok(Self {
            ingest: Sealed { ingest: Arc::new(ingest), paths, one_file_system },
            queue,
            reader: Arc::new(vault.reader()),
            boundary,
            gear,
            profile,
            parent: parent.map(|parent| (parent.contents.tree.digest, parent.contents.tree.level)),
            rescan: options.rescan,
            progress: Arc::clone(progress),
        })
    }

    /// Starts the threads; packs come out of the other end of `packs`.
    pub(super) fn start(self, source: BackupSource, packs: mpsc::Sender<Parcel>) -> Work {
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || self.run(source, &packs, &runtime))
    }

    /// Runs the threads; returns when the last pack has been handed over.
    fn run(
        self,
        source: BackupSource,
        packs: &mpsc::Sender<Parcel>,
        runtime: &Handle,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        let ingest = Arc::clone(&self.ingest.ingest);
        let built = self.run_threads(source, packs, runtime);
        let built = built.and_then(|built| Ok(ingest.flush(packs).map(|()| built)?));
        // What the threads returned may only be that something else had failed: the first failure is the cause.
        match ingest.take_failure() {
            Some(cause) => Err(cause.into()),
            None => built,
        }
    }

    fn run_threads(
        &self,
        source: BackupSource,
        packs: &mpsc::Sender<Parcel>,
        runtime: &Handle,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        let threads = thread::available_parallelism().map_or(2, usize::from).clamp(1, 16);
        let ingest = &self.ingest.ingest;
        thread::scope(|scope| {
            let sealers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| ingest.seal_until_closed(&self.queue, packs))).collect();
            let built = match source {
                BackupSource::Tree(options) => self.tree(options, threads, runtime),
                BackupSource::Command { name, words } => super::stream::store(&self.parts(), name, &words),
            };
            // Closing lets the sealers end; it must happen whatever became of the tree.
            let closed = if built.is_ok() { ingest.close() } else { ingest.abandon() };
            for sealer in sealers {
                // A panic was recorded as a failure by the sealer's own end.
                drop(sealer.join());
            }
            let built = built?;
            closed?;
            Ok(built)
        })
    }

    fn parts(&self) -> super::stream::Parts<'_> {
        super::stream::Parts {
            ingest: &self.ingest.ingest,
            progress: &self.progress,
            boundary: &self.boundary,
            chunker: Chunker::new(&self.profile, &self.gear),
        }
    }

    fn tree(
        &self,
        options: ScanOptions,
        threads: usize,
        runtime: &Handle,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        let (jobs, todo) = bounded::<ReadJob>(2 * threads);
        let (slots, arriving) = bounded(SLOTS_MAX);
        let scan = scan(options)?;
        let ingest = &*self.ingest.ingest;
        let parent =
            self.parent.map(|(root, level)| EntryStream::open(Arc::clone(&self.reader), root, level));
        thread::scope(|scope| {
            for _ in 0..threads {
                let todo = todo.clone();
                scope.spawn(move || self.read_jobs(&todo));
            }
            drop(todo);
            let pump = Pump {
                ingest,
                reader: &self.reader,
                boundary: &self.boundary,
                parent,
                rescan: self.rescan,
                progress: &self.progress,
                runtime,
                jobs,
                slots,
                removed: 0,
            };
            let pumping = scope.spawn(move || pump.run(scan));
            let assembler = Assembler::new(ingest, &self.progress, TreeBuilder::new(&self.boundary));
            let chunker = Chunker::new(&self.profile, &self.gear);
            let built = assembler.run(&arriving, |found| self.read(found, &chunker, &mut Vec::new()));
            drop(arriving);
            match pumping.join() {
                Ok(pumped) => {
                    let removed = pumped?;
                    let (tree, mut summary) = built?;
                    summary.counts.removed = removed;
                    Ok((tree, summary))
                }
                Err(_) => Err(Error::new(Kind::Bug, "scanning failed by a panic").into()),
            }
        })
    }

    /// Body of a reading thread.
    fn read_jobs(&self, todo: &Receiver<ReadJob>) {
        let chunker = Chunker::new(&self.profile, &self.gear);
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(job) = todo.recv() {
            match self.read(&job.found, &chunker, &mut buffer) {
                // The assembler is gone only after it recorded why.
                Ok(outcome) => drop(job.outcome.send(outcome)),
                Err(BackupError::Vault(error)) => self.ingest.ingest.fail(error),
                Err(_) => {}
            }
        }
    }

    /// Reads a file, again if it changed meanwhile. What was found may be older than what is read: it is then looked at
    /// again, so that the entry's times belong to the bytes.
    fn read(
        &self,
        found: &Arc<Found>,
        chunker: &Chunker,
        buffer: &mut Vec<u8>,
    ) -> Result<Outcome, BackupError> {
        buffer.resize(READ_BYTES, 0);
        let mut found = Arc::clone(found);
        for attempt in 1..=READS_MAX {
            let mut writer = ContentWriter::new(&self.ingest.ingest, chunker, &self.boundary);
            let is_last = attempt == READS_MAX;
            let stable = match self.read_once(&found, &mut writer, buffer, is_last)? {
                Ok(stable) => stable,
                Err(unread) if unread.kind == Unreadable::Replaced && !is_last => false,
                Err(unread) => return Ok(unreadable(&found, &unread)),
            };
            if stable || is_last {
                return Ok(Outcome::Content { found, content: writer.finish()?, torn: !stable });
            }
            found = match found.look_again() {
                Ok(again) if matches!(again.node, FoundNode::File { .. }) => Arc::new(again),
                Ok(_) => {
                    let what = io::Error::other("something that is no file took its place while it was read");
                    let unread = source::Unread { kind: Unreadable::Replaced, error: what };
                    return Ok(unreadable(&found, &unread));
                }
                Err(unread) => return Ok(unreadable(&found, &unread)),
            };
        }
        Err(Error::new(Kind::Bug, "a file was read more often than allowed").into())
    }

    /// Reads a file once. The inner result is whether it is still what was found, or why it could not be read. A file
    /// that is not what was found when it is opened need not be read, because it will be found again; the last time
    /// it is read all the same, so that a file that never rests is stored as it was read.
    fn read_once(
        &self,
        found: &Found,
        writer: &mut ContentWriter<'_>,
        buffer: &mut [u8],
        is_last: bool,
    ) -> Result<Result<bool, source::Unread>, BackupError> {
        let mut file = match found.open() {
            Ok(file) => file,
            Err(unread) => return Ok(Err(unread)),
        };
        if file.fingerprint() != found.fingerprint() && !is_last {
            return Ok(Ok(false));
        }
        loop {
            if self.progress.stop.load(Ordering::Relaxed) {
                return Err(BackupError::Interrupted);
            }
            match file.next_piece(buffer) {
                Ok(Piece::End) => break,
                Ok(Piece::Shrunk) => return Ok(Ok(false)),
                Ok(Piece::Data(length)) => {
                    self.progress.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
                    writer.data(&buffer[..length])?;
                }
                Ok(Piece::Hole(length)) => writer.hole(length)?,
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(file.fingerprint_now().map(|now| now == found.fingerprint()).map_err(source::Unread::from))
    }
}

fn unreadable(found: &Found, unread: &source::Unread) -> Outcome {
    Outcome::Problem(problem_of(found.path.clone(), unread.kind, &unread.error))
}

/// The paths as the snapshot has them: absolute, so that they mean the same wherever they are read.
fn paths_of(scan: &ScanOptions) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let absolute = |root: &std::path::PathBuf| source::absolute(root).unwrap_or_else(|_| root.clone());
    scan.roots.iter().map(|root| absolute(root).as_os_str().as_bytes().to_vec()).collect()
}
