//! A run's packs on their way into snapshots: each replica by itself, one commit on each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use shudao_vault::id::{SegmentId, Timestamp};
use shudao_vault::objects::Objects;
use shudao_vault::roots::Roots;
use shudao_vault::snapshot::{Contents, Counts, TreeRoot, UNREAD_MAX, Unread, UnreadKind, UnreadList};
use shudao_vault::tree::TreeSummary;
use shudao_vault::vault::Vault;
use shudao_vault::{Error, Kind};
use tokio::sync::watch;

use super::course::{self, Closing};
use super::pipeline::Pipeline;
use super::run::{Sealed, Stage};
use super::settle;
use super::take_up::Begun;
use super::{
    BackupError, BackupOptions, BackupProgress, BackupSource, BackupSummary, ProblemKind, ReplicaOutcome,
};
use crate::fanout::{Fanout, Intake, is_consequence};
use crate::ingest::lock;

/// How often it is looked whether a stop was asked for, while packs are under way.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// How long packs under way may still take after that.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often a source is passed over at most, because something was lost each time.
const PASSES_MAX: u32 = 3;

/// What a run needs from its beginning to its end.
pub(super) struct Run<'a> {
    pub(super) options: BackupOptions,
    pub(super) progress: &'a Arc<BackupProgress>,
    pub(super) clock: &'a (dyn Fn() -> Timestamp + Sync),
    pub(super) started: Timestamp,
}

impl Run<'_> {
    /// Reads everything and stores nothing.
    pub(super) async fn count(self, stage: Stage) -> Result<BackupSummary, BackupError> {
        let mut pipeline = Pipeline::start(stage, self.options.source);
        let worked = tokio::select! {
            worked = async { while pipeline.next().await.is_some() {} pipeline.join().await } => Some(worked),
            () = stopped(self.progress) => None,
        };
        let Some(worked) = worked else { return pipeline.interrupted().await };
        let (tree, mut summary) = worked?;
        complete(&mut summary, &tree, self.progress);
        Ok(summary)
    }

    /// Reads everything, stores it on each replica, and commits there.
    pub(super) async fn store(
        mut self,
        vault: &mut Vault,
        stage: Stage,
        begun: &Begun,
    ) -> Result<BackupSummary, BackupError> {
        let session = &begun.session;
        let (ring, siblings, index) =
            (Arc::clone(vault.ring()), vault.siblings().clone(), Arc::clone(vault.index()));
        // What was adopted is in the index and in no log: each replica finds out what it lacks of it, and names it.
        let segments = [vault.segments_live(), begun.adopted.clone()].concat();
        let (replicas, _) = vault.replicas_mut();
        let objects: Vec<Objects> = replicas.iter().map(|replica| replica.objects().clone()).collect();
        let fanout =
            Fanout::new(objects.clone(), session.id, &self.options.fanout, &stage.shares).onto(&begun.shelf);
        *lock(&self.progress.replicas) = fanout.progress();
        let (closing, closed) = watch::channel(None);
        let kept = stage.ingest.clone();
        let shared = course::Shared {
            session,
            first: begun.first,
            ring: &ring,
            siblings: &siblings,
            index: &index,
            segments: &segments,
            fanout: &fanout,
            objects: &objects,
            ingest: &kept.ingest,
            closing: closed,
            clock: self.clock,
        };
        let source = std::mem::replace(&mut self.options.source, nothing());
        let mut pipeline = Pipeline::start(stage, source);
        let progress = self.progress;
        let feeding = async {
            let fed = match feed(&shared, &mut pipeline, progress).await {
                Ok(fed) => self.seal(fed, kept.clone(), &shared, &closing).await,
                Err(error) => Err(error),
            };
            if fed.is_err() {
                fanout.abandon();
            }
            fed
        };
        let courses = replicas.iter_mut().enumerate();
        let courses = join_all(courses.map(|(place, replica)| course::run(&shared, place, replica)));
        let ended = tokio::select! {
            ended = futures_util::future::join(feeding, courses) => Some(ended),
            () = stopped(progress) => None,
        };
        let Some((fed, mut outcomes)) = ended else {
            // The pipeline's threads may wait for what is held here, or for its arrival.
            fanout.abandon();
            return pipeline.interrupted().await;
        };
        course::measure(&fanout, &mut outcomes);
        conclude(fed, outcomes)
    }

    /// Seals the snapshot for the replicas to commit.
    async fn seal(
        &mut self,
        (tree, mut summary, segments): Fed,
        stage: Sealed,
        shared: &course::Shared<'_>,
        closing: &watch::Sender<Option<Arc<Closing>>>,
    ) -> Result<BackupSummary, Option<BackupError>> {
        complete(&mut summary, &tree, self.progress);
        summary.bytes_added = shared.fanout.bytes_handed_over();
        let options = &mut self.options;
        let contents = Contents {
            tree: TreeRoot { digest: tree.root, level: tree.level },
            roots: Roots { manifest: tree.manifest_root, content: tree.content_root },
            source: std::mem::take(&mut options.source_name),
            host: std::mem::take(&mut options.host),
            paths: stage.paths,
            tags: std::mem::take(&mut options.tags),
            excludes: std::mem::take(&mut options.excludes),
            one_file_system: stage.one_file_system,
            counts: snapshot_counts(&summary),
            started: self.started,
            finished: (self.clock)(),
            unread: unread_list(&summary),
            need: stage.ingest.counts().iter().collect(),
            program: std::mem::take(&mut options.program),
        };
        let sealed = shared.session.seal(shared.siblings, shared.ring, contents, (self.clock)()).await;
        let sealed = sealed.map_err(|error| Some(error.into()))?;
        summary.snapshot = Some(sealed.snapshot);
        closing.send_replace(Some(Arc::new(Closing { sealed, segments })));
        Ok(summary)
    }
}

/// What the pipeline came to when everything it stored is safe on some replica.
type Fed = (TreeSummary, BackupSummary, Vec<SegmentId>);

/// Hands packs over as they come; returns when the pipeline has ended, each is acknowledged by some replica, and nothing is lost
/// that the snapshot relies on. An error is `None` when no replica is left that can have everything: then theirs are the
/// causes.
async fn feed(
    shared: &course::Shared<'_>,
    pipeline: &mut Pipeline,
    progress: &BackupProgress,
) -> Result<Fed, Option<BackupError>> {
    let fanout = shared.fanout;
    let mut intake = Intake::new(fanout, shared.ring);
    let (mut passes, mut notes) = (1, Vec::new());
    let (tree, mut summary) = loop {
        let passed = pass(fanout, &mut intake, pipeline).await?;
        let lost = settle::lost(shared).await;
        let Some(first) = lost.first() else { break passed };
        let count = lost.len();
        if passes == PASSES_MAX || !pipeline.can_begin_again() {
            let message = format!(
                "{count} packs that this run took for stored are on no replica any more, the first is {first}; run it \
                 again: it will store anew what they held"
            );
            return Err(Some(Error::new(Kind::Conflict, message).into()));
        }
        notes.push(format!(
            "{count} packs that were known when the run began were lost meanwhile, the first is {first}; what they held was \
             read and stored once more"
        ));
        shared.ingest.renounce(&lost);
        progress.begin_again();
        pipeline.begin_again();
        passes += 1;
    };
    summary.notes.append(&mut notes);
    let segments = intake.end().map_err(|error| Some(error.into()))?;
    Ok((tree, summary, segments))
}

/// One pass of the pipeline over the source.
async fn pass(
    fanout: &Fanout,
    intake: &mut Intake<'_>,
    pipeline: &mut Pipeline,
) -> Result<(TreeSummary, BackupSummary), Option<BackupError>> {
    let mut taken = Ok(());
    while let Some(parcel) = pipeline.next().await {
        taken = intake.take(parcel);
        if taken.is_err() {
            // The pipeline ends when nobody takes what it makes.
            pipeline.close();
            break;
        }
    }
    let worked = pipeline.join().await;
    let cause = |error: BackupError| fanout.can_finish().then_some(error);
    taken.map_err(|error| cause(error.into()))?;
    let worked = worked.map_err(cause)?;
    intake.flush().await.map_err(|error| cause(error.into()))?;
    Ok(worked)
}

/// One replica's commit is success. Without any, the first replica's failure is the cause.
fn conclude(
    fed: Result<BackupSummary, Option<BackupError>>,
    mut outcomes: Vec<ReplicaOutcome>,
) -> Result<BackupSummary, BackupError> {
    let failure = |outcomes: &mut Vec<ReplicaOutcome>| {
        let mut failures: Vec<_> = outcomes.iter_mut().filter_map(|outcome| outcome.failure.take()).collect();
        failures.sort_by_key(is_consequence);
        failures
            .into_iter()
            .next()
            .unwrap_or_else(|| Error::new(Kind::Bug, "a run failed without a cause"))
            .into()
    };
    match fed {
        Ok(summary) if outcomes.iter().any(ReplicaOutcome::is_committed) => {
            Ok(BackupSummary { replicas: outcomes, ..summary })
        }
        Ok(_) | Err(None) => Err(failure(&mut outcomes)),
        Err(Some(error)) => Err(error),
    }
}

/// Adds to the summary what the tree and the counters say.
fn complete(summary: &mut BackupSummary, tree: &TreeSummary, progress: &BackupProgress) {
    summary.bytes_read = progress.bytes_read.load(Ordering::Relaxed);
    summary.bytes_new = progress.stored.bytes_new.load(Ordering::Relaxed);
    summary.manifest_root = tree.manifest_root;
    summary.content_root = tree.content_root;
}

/// Stands where a source was that has been handed to the pipeline.
fn nothing() -> BackupSource {
    BackupSource::Command { name: Vec::new(), words: Vec::new() }
}

/// Ends when a stop was asked for and the packs under way had time to arrive.
async fn stopped(progress: &BackupProgress) {
    while !progress.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(STOP_LOOK).await;
    }
    tokio::time::sleep(STOP_GRACE).await;
}

fn snapshot_counts(summary: &BackupSummary) -> Counts {
    Counts {
        files: summary.counts.files,
        directories: summary.counts.directories,
        symlinks: summary.counts.symlinks,
        others: summary.counts.others,
        sockets_skipped: summary.counts.sockets,
        excluded: summary.counts.excluded,
        bytes: summary.bytes_total,
        bytes_read: summary.bytes_read,
        bytes_added: summary.bytes_added,
    }
}

fn unread_list(summary: &BackupSummary) -> UnreadList {
    let items = summary.problems.iter().take(UNREAD_MAX).map(|problem| Unread {
        path: problem.path.as_bytes().to_vec(),
        kind: match problem.kind {
            ProblemKind::Unreadable => UnreadKind::Unreadable,
            ProblemKind::Vanished => UnreadKind::Vanished,
            ProblemKind::Changed => UnreadKind::Changed,
            ProblemKind::Unstorable => UnreadKind::Unstorable,
        },
        message: problem.what.clone(),
    });
    UnreadList { total: summary.unreadable + summary.torn, items: items.collect() }
}
