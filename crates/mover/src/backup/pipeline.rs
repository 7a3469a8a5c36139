//! The pipeline's threads, and the packs that come out of them.

use std::sync::Arc;

use shudao_vault::tree::TreeSummary;
use shudao_vault::{Error, Kind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::run::Stage;
use super::{BackupError, BackupSource, BackupSummary};
use crate::lane::Parcel;

/// What the threads come to.
pub(super) type Worked = Result<(TreeSummary, BackupSummary), BackupError>;

/// One pass over the source, at work.
pub(super) struct Pipeline {
    stage: Arc<Stage>,
    /// Read again in another pass; none if it can be read only once.
    again: Option<BackupSource>,
    packs: mpsc::Receiver<Parcel>,
    work: JoinHandle<Worked>,
}

impl Pipeline {
    /// Starts the threads.
    pub(super) fn start(stage: Stage, source: BackupSource) -> Self {
        let again = match &source {
            BackupSource::Tree(options) => Some(BackupSource::Tree(options.clone())),
            BackupSource::Command { .. } => None,
        };
        let stage = Arc::new(stage);
        let (packs, work) = run(&stage, source);
        Self { stage, again, packs, work }
    }

    /// Whether the source can be passed over once more.
    pub(super) fn can_begin_again(&self) -> bool {
        self.again.is_some()
    }

    /// Passes over the source once more; what was stored is known. Call it when the threads were joined.
    pub(super) fn begin_again(&mut self) {
        if let Some(BackupSource::Tree(options)) = &self.again {
            self.stage.begin_again();
            (self.packs, self.work) = run(&self.stage, BackupSource::Tree(options.clone()));
        }
    }

    /// The next pack; none when the threads have made all of them.
    pub(super) async fn next(&mut self) -> Option<Parcel> {
        self.packs.recv().await
    }

    /// Takes no more packs: the threads end.
    pub(super) fn close(&mut self) {
        self.packs.close();
    }

    /// Waits for the threads.
    pub(super) async fn join(&mut self) -> Worked {
        match (&mut self.work).await {
            Ok(worked) => worked,
            Err(panic) => Err(Error::new(Kind::Bug, format!("the backup's threads failed: {panic}")).into()),
        }
    }

    /// Ends the threads, whose packs nobody takes any more.
    pub(super) async fn interrupted<T>(self) -> Result<T, BackupError> {
        let Self { packs, mut work, .. } = self;
        drop(packs);
        if !work.is_finished() {
            drop((&mut work).await);
        }
        Err(BackupError::Interrupted)
    }
}

fn run(stage: &Arc<Stage>, source: BackupSource) -> (mpsc::Receiver<Parcel>, JoinHandle<Worked>) {
    let (sender, packs) = mpsc::channel(1);
    (packs, Stage::start(stage, source, sender))
}
