//! A run's packs on their way into snapshots: each replica by itself, one commit on each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use shudao_vault::id::{SegmentId, Timestamp};
use shudao_vault::keys::KeyRing;
use shudao_vault::roots::Roots;
use shudao_vault::snapshot::{Contents, Counts, TreeRoot, UNREAD_MAX, Unread, UnreadKind, UnreadList};
use shudao_vault::tree::TreeSummary;
use shudao_vault::vault::Vault;
use shudao_vault::{Error, Kind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::course::{self, Closing};
use super::run::{Sealed, Stage};
use super::take_up::Begun;
use super::{
    BackupError, BackupOptions, BackupProgress, BackupSource, BackupSummary, ProblemKind, ReplicaOutcome,
};
use crate::fanout::{Fanout, Intake, is_consequence};
use crate::ingest::lock;
use crate::lane::Parcel;

/// How often it is looked whether a stop was asked for, while packs are under way.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// How long packs under way may still take after that.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a run needs from its beginning to its end.
pub(super) struct Run<'a> {
    pub(super) options: BackupOptions,
    pub(super) progress: &'a Arc<BackupProgress>,
    pub(super) clock: &'a (dyn Fn() -> Timestamp + Sync),
    pub(super) started: Timestamp,
}

/// The pipeline's threads.
pub(super) type Work = JoinHandle<Result<(TreeSummary, BackupSummary), BackupError>>;

impl Run<'_> {
    /// Reads everything and stores nothing.
    pub(super) async fn count(self, stage: Stage) -> Result<BackupSummary, BackupError> {
        let (packs, mut waiting) = mpsc::channel(1);
        let mut work = stage.start(self.options.source, packs);
        let worked = tokio::select! {
            worked = async { while waiting.recv().await.is_some() {} join(&mut work).await } => Some(worked),
            () = stopped(self.progress) => None,
        };
        let Some(worked) = worked else { return interrupted(waiting, work).await };
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
        let objects = replicas.iter().map(|replica| replica.objects().clone()).collect();
        let fanout = Fanout::new(objects, session.id, &self.options.fanout).onto(&begun.shelf);
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
            ingest: &kept.ingest,
            closing: closed,
            clock: self.clock,
        };
        let (packs, mut waiting) = mpsc::channel(1);
        let source = std::mem::replace(&mut self.options.source, nothing());
        let mut work = stage.start(source, packs);
        let progress = self.progress;
        let feeding = async {
            let fed = feed(&fanout, &ring, &mut waiting, &mut work).await;
            let fed = match fed {
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
            return interrupted(waiting, work).await;
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

/// Hands packs over as they come; returns when the pipeline has ended and each is acknowledged by some replica. An error
/// is `None` when no replica is left that can have everything: then theirs are the causes.
async fn feed(
    fanout: &Fanout,
    ring: &KeyRing,
    waiting: &mut mpsc::Receiver<Parcel>,
    work: &mut Work,
) -> Result<Fed, Option<BackupError>> {
    let mut intake = Intake::new(fanout, ring);
    let mut taken = Ok(());
    while let Some(parcel) = waiting.recv().await {
        taken = intake.take(parcel);
        if taken.is_err() {
            // The pipeline ends when nobody takes what it makes.
            waiting.close();
            break;
        }
    }
    let worked = join(work).await;
    let cause = |error: BackupError| fanout.can_finish().then_some(error);
    taken.map_err(|error| cause(error.into()))?;
    let (tree, summary) = worked.map_err(cause)?;
    intake.flush().await.map_err(|error| cause(error.into()))?;
    let segments = intake.end().map_err(|error| Some(error.into()))?;
    Ok((tree, summary, segments))
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

/// Waits for the pipeline's threads.
async fn join(work: &mut Work) -> Result<(TreeSummary, BackupSummary), BackupError> {
    match work.await {
        Ok(worked) => worked,
        Err(panic) => Err(Error::new(Kind::Bug, format!("the backup's threads failed: {panic}")).into()),
    }
}

/// Ends the pipeline, whose packs nobody takes any more.
async fn interrupted<T>(waiting: mpsc::Receiver<Parcel>, mut work: Work) -> Result<T, BackupError> {
    drop(waiting);
    if !work.is_finished() {
        drop(join(&mut work).await);
    }
    Err(BackupError::Interrupted)
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
