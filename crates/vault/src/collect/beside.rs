//! The other replicas of a collection's vault, on which its compactions happen at the same time: the same sealed bytes, one
//! signed statement, and on each an entry of its own, after which that replica's old packs serve nobody there.
//!
//! None of them holds up another. One that fails, or is a minute later with a step than the replica that is collected, is left
//! out from then on and named. It does not make copies of its own of what others have compacted: `vault replica sync` brings theirs.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::error::Result;
use crate::id::{SessionId, Timestamp};
use crate::keys::KeyRing;
use crate::log::state::SessionState;
use crate::log::{Op, Signer, State};
use crate::replica::Replica;
use crate::vault::chain;

/// So much later than the replica that is collected may another one be with a step.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other replicas, as far as they take part.
pub(super) struct Beside<'a> {
    peers: Vec<Peer<'a>>,
    left_out: Vec<String>,
}

struct Peer<'a> {
    replica: &'a mut Replica,
    /// How the step under way ended; none while it has not.
    outcome: Option<Result<()>>,
}

impl<'a> Beside<'a> {
    /// These replicas, all of which take part.
    pub(super) fn new(replicas: impl Iterator<Item = &'a mut Replica>) -> Self {
        let peers = replicas.map(|replica| Peer { replica, outcome: None }).collect();
        Self { peers, left_out: Vec::new() }
    }

    /// Those that take part.
    pub(super) fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.peers.iter().map(|peer| &*peer.replica)
    }

    /// Does `each` on every one that takes part while `own` is done, and returns what came of `own`. Whoever fails or is late
    /// is left out from then on.
    pub(super) async fn run<T>(
        &mut self,
        own: impl Future<Output = T>,
        each: impl AsyncFn(&mut Replica) -> Result<()>,
    ) -> T {
        if self.peers.is_empty() {
            return own.await;
        }
        let done = {
            let each = &each;
            let steps = self.peers.iter_mut().map(|peer| async move {
                peer.outcome = None;
                peer.outcome = Some(each(peer.replica).await);
            });
            let (mut own, mut steps) = (std::pin::pin!(own), std::pin::pin!(join_all(steps)));
            tokio::select! {
                biased;
                done = &mut own => {
                    // Whoever has not done it by then has no outcome.
                    drop(timeout(PATIENCE, &mut steps).await);
                    done
                }
                _ = &mut steps => own.await,
            }
        };
        let (left_out, peers): (Vec<_>, Vec<_>) = std::mem::take(&mut self.peers)
            .into_iter()
            .partition(|peer| !matches!(peer.outcome, Some(Ok(()))));
        self.peers = peers;
        self.left_out.extend(left_out.into_iter().map(|peer| {
            let why = match peer.outcome {
                Some(Err(error)) => chain(&error),
                Some(Ok(())) | None => format!("it took {} s longer than the others", PATIENCE.as_secs()),
            };
            let address = peer.replica.store().address();
            format!("not compacted at {address}: {why}; `shudao vault replica sync` brings it level")
        }));
        done
    }

    /// Ends the session wherever it is open, so that no sweep waits for it.
    pub(super) async fn leave(&mut self, ring: &KeyRing, session: SessionId, now: Timestamp) {
        let leave = async |replica: &mut Replica| {
            let signer = Signer { key: &ring.signing, time: now };
            let is_open = |state: &State| {
                state.session(session).is_some_and(|session| session.state == SessionState::Open)
            };
            let fence = |state: &State| Ok(is_open(state).then_some(Op::Fence { session }));
            replica.append(signer, fence).await.map(drop)
        };
        self.run(async {}, leave).await;
    }

    /// Who was left out since this was last asked, each with the reason in a sentence.
    pub(super) fn take_left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }
}
