//! The run of a backup: begin, the pipeline's threads; what they make is for `deliver`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use shudao_vault::id::Timestamp;
use shudao_vault::pack::PACK_BYTES_TARGET;
use shudao_vault::reader::Reader;
use shudao_vault::resume::PartialTree;
use shudao_vault::suite::Secret;
use shudao_vault::tree::{TreeBuilder, TreeSummary};
use shudao_vault::vault::Vault;
use shudao_vault::{Error, Kind};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::assemble::Assembler;
use super::beside::Beside;
use super::checkpoint::{Checkpointer, Log};
use super::deliver::Run;
use super::pipeline::Worked;
use super::pump::{Pump, ReadJob, Slot, SlotSender, slots_waiting, walk};
use super::read::FileReader;
use super::reuse::Reuse;
use super::take_up::{self, Begun};
use super::unfinished::Unfinished;
use super::{BackupError, BackupOptions, BackupProgress, BackupSource, BackupSummary};
use crate::budget::{Demand, Shares};
use crate::chunker::{Chunkers, GearTable, Profiles};
use crate::ingest::{Ingest, IngestContext, SealQueue, lock};
use crate::lane::Parcel;
use crate::presence::Presence;
use crate::source::{self, ScanOptions, scan};

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
    let begun = match options.dry_run {
        true => None,
        false => Some(take_up::begin(vault, &options.resume, source, started).await?),
    };
    if begun.is_none() {
        vault.refresh().await?;
    }
    let stage = Stage::prepare(vault, &options, begun.as_ref(), progress).await?;
    let parent = begun.as_ref().map_or_else(|| vault.latest(&source), |begun| begun.session.parent);
    let run = Run { options, progress, clock, started };
    let mut summary = match begun {
        Some(begun) => {
            let mut summary = run.store(vault, stage, &begun).await?;
            begun.tell(progress, &mut summary);
            summary
        }
        None => run.count(stage).await?,
    };
    summary.parent = parent;
    summary.bytes_added = store.usage().bytes_written - bytes_before;
    Ok(summary)
}

/// Vectors of walked paths that wait for the pump.
const SCANNED_AHEAD: usize = 2;

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
    queue: Mutex<SealQueue>,
    /// How much may be in memory, and how many threads work.
    pub(super) shares: Shares,
    reader: Arc<Reader>,
    boundary: Secret,
    chunkers: Chunkers,
    parent: Option<(shudao_vault::id::Digest, u8)>,
    rescan: bool,
    /// Trees of interrupted sessions, by ascending last path.
    earlier: Vec<PartialTree>,
    unfinished: Unfinished,
    checkpoints: Option<Log>,
    progress: Arc<BackupProgress>,
}

impl Stage {
    async fn prepare(
        vault: &Vault,
        options: &BackupOptions,
        begun: Option<&Begun>,
        progress: &Arc<BackupProgress>,
    ) -> Result<Self, BackupError> {
        let ring = vault.ring();
        let lacks = || Error::new(Kind::Forbidden, "this key's role cannot back up");
        let boundary = ring.boundary.clone().ok_or_else(lacks)?;
        let gear = GearTable::derive(&ring.gear.clone().ok_or_else(lacks)?.0);
        let config = vault.config();
        let profiles = Profiles::in_force(&config.profiles).map_err(|error| {
            Error::new(Kind::Unsupported, "cut by the vault's chunker profiles").because(error)
        })?;
        let parent = match begun {
            Some(begun) => begun.session.parent,
            None => vault.latest(&ring.source_id(&options.source_name)),
        };
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
        let adopted = begun.map(|begun| begun.adopted.clone()).unwrap_or_default();
        // A dry run relies on nothing.
        let presence = match begun {
            Some(begun) => Some(presence(vault, begun).await),
            None => None,
        };
        let shares = Shares::of_run(Demand {
            processors: thread::available_parallelism().map_or(2, usize::from),
            replicas: vault.replicas().len(),
            chunk_bytes_max: profiles.chunk_bytes_max(),
        });
        let context = IngestContext {
            ring: Arc::clone(ring),
            index: Arc::clone(vault.index()),
            reliance: vault.reliance().and(adopted),
            presence,
            compression: options.compression,
            pack_bytes_target: PACK_BYTES_TARGET,
            shares,
            dry_run: options.dry_run,
            journal: begun.and_then(|begun| begun.journal.clone()),
        };
        let (ingest, queue) = Ingest::new(context, Arc::clone(&progress.stored));
        let (paths, one_file_system) = match &options.source {
            BackupSource::Tree(scan) => (paths_of(scan), scan.one_file_system),
            BackupSource::Command { .. } => (Vec::new(), false),
        };
        let earlier = begun.map(|begun| begun.earlier.clone()).unwrap_or_default();
        Ok(Self {
            ingest: Sealed { ingest: Arc::new(ingest), paths, one_file_system },
            queue: Mutex::new(queue),
            shares,
            reader: Arc::new(vault.reader().caching(shares.opened_frames.bytes())),
            boundary,
            chunkers: Chunkers::new(&profiles, &gear),
            parent: parent.map(|parent| (parent.contents.tree.digest, parent.contents.tree.level)),
            rescan: options.rescan,
            earlier: earlier.trees,
            unfinished: Unfinished::new(options.resume.file_bytes_min, earlier.files),
            checkpoints: begun.map(|begun| begun.log(vault, &options.resume)),
            progress: Arc::clone(progress),
        })
    }

    /// Starts the threads; packs come out of the other end of `packs`.
    pub(super) fn start(
        this: &Arc<Self>,
        source: BackupSource,
        packs: mpsc::Sender<Parcel>,
    ) -> JoinHandle<Worked> {
        let (this, runtime) = (Arc::clone(this), Handle::current());
        tokio::task::spawn_blocking(move || this.run(source, &packs, &runtime))
    }

    /// Prepares another pass.
    pub(super) fn begin_again(&self) {
        *lock(&self.queue) = self.ingest.ingest.begin_again();
    }

    /// Runs the threads; returns when the last pack has been handed over.
    fn run(
        &self,
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
        let (ingest, queue) = (&self.ingest.ingest, lock(&self.queue).clone());
        thread::scope(|scope| {
            let sealers: Vec<_> = (0..self.shares.sealers.count)
                .map(|_| scope.spawn(|| ingest.seal_until_closed(&queue, packs)))
                .collect();
            let built = match source {
                BackupSource::Tree(options) => self.tree(options, &Ends { packs, runtime }),
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
            chunkers: &self.chunkers,
        }
    }

    fn tree(
        &self,
        mut options: ScanOptions,
        ends: &Ends<'_>,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        let threads = self.shares.readers.count;
        options.names_bytes_max = options.names_bytes_max.min(self.shares.names.bytes());
        let (jobs, todo) = bounded::<ReadJob>(2 * threads);
        // So many files are opened or wait.
        let (slots, arriving) = bounded(slots_waiting(self.shares.slots.count));
        let scan = scan(options)?;
        let ingest = &*self.ingest.ingest;
        let assembler = Assembler::new(ingest, &self.progress, TreeBuilder::new(&self.boundary));
        let checkpointing = self.checkpointer(&assembler, ends);
        let ((end, ending), done) = (bounded::<()>(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..threads {
                let todo = todo.clone();
                scope.spawn(move || self.file_reader(ends).run(&todo));
            }
            drop(todo);
            let pump = self.pump(ends, jobs, slots);
            let (ahead, walked) = bounded(SCANNED_AHEAD);
            let walking = scope.spawn(move || walk(scan, &ahead));
            let pumping = scope.spawn(move || pump.run(&walked));
            let done = &done;
            let checkpointing =
                checkpointing.map(|checkpointer| scope.spawn(move || checkpointer.run(&ending, done)));
            let reader = self.file_reader(ends);
            let built = assembler.run(&arriving, |found| reader.read(found));
            drop(arriving);
            let pumped = pumping.join();
            // A walk that panicked is what the pump complains of.
            drop(walking.join());
            done.store(!self.progress.stop.load(Ordering::Relaxed), Ordering::Relaxed);
            drop(end);
            if checkpointing.is_some_and(|thread| thread.join().is_err()) {
                return Err(Error::new(Kind::Bug, "making checkpoints failed by a panic").into());
            }
            match pumped {
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

    fn pump<'a>(&'a self, ends: &Ends<'a>, jobs: Sender<ReadJob>, slots: Sender<Vec<Slot>>) -> Pump<'a> {
        let beside = |root| Beside::new(&self.reader, root, ends.runtime);
        Pump {
            reuse: self.reuse(ends),
            parent: beside(self.parent),
            earlier: self.earlier.iter().map(|tree| beside(Some((tree.root, tree.level)))).collect(),
            rescan: self.rescan,
            progress: &self.progress,
            jobs,
            slots: SlotSender::new(slots),
        }
    }

    fn file_reader<'a>(&'a self, ends: &Ends<'a>) -> FileReader<'a> {
        FileReader {
            reuse: self.reuse(ends),
            chunkers: &self.chunkers,
            progress: &self.progress,
            unfinished: &self.unfinished,
            rescan: self.rescan,
        }
    }

    fn reuse<'a>(&'a self, ends: &Ends<'a>) -> Reuse<'a> {
        Reuse {
            ingest: &self.ingest.ingest,
            reader: &self.reader,
            boundary: &self.boundary,
            runtime: ends.runtime,
        }
    }

    fn checkpointer<'a>(&'a self, assembler: &Assembler<'a>, ends: &Ends<'a>) -> Option<Checkpointer<'a>> {
        self.checkpoints.as_ref().map(|log| Checkpointer {
            log,
            place: log.place,
            ingest: &self.ingest.ingest,
            tree: assembler.tree(),
            unfinished: &self.unfinished,
            progress: &self.progress,
            packs: ends.packs,
            runtime: ends.runtime,
        })
    }
}

/// What need not be looked for is what serves the parent.
async fn presence(vault: &Vault, begun: &Begun) -> Presence {
    let served = match &begun.session.parent {
        Some(parent) => vault.served(parent).await,
        None => vec![BTreeSet::new(); vault.replicas().len()],
    };
    let objects = vault.replicas().iter().map(|replica| replica.objects().clone());
    Presence::new(objects.zip(served), Handle::current())
}

/// Where packs go, and what drives the store.
#[derive(Clone, Copy)]
struct Ends<'a> {
    packs: &'a mpsc::Sender<Parcel>,
    runtime: &'a Handle,
}

/// The paths as the snapshot has them: absolute, so that they mean the same wherever they are read.
fn paths_of(scan: &ScanOptions) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let absolute = |root: &std::path::PathBuf| source::absolute(root).unwrap_or_else(|_| root.clone());
    scan.roots.iter().map(|root| absolute(root).as_os_str().as_bytes().to_vec()).collect()
}
