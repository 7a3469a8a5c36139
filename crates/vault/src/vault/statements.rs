//! What an owner or keeper says of the vault, on every replica that is opened.

use std::borrow::{Borrow, BorrowMut};

use super::Vault;
use crate::error::{Error, Kind, Result};
use crate::id::{KeyId, ObjectId, SnapshotId, Timestamp};
use crate::keys::KeyRing;
use crate::log::{self, Body, Op, SignedStatement, Signer, State, Statement};
use crate::replica::Replica;

impl Vault {
    /// Drops snapshots for good on every replica; held ones are refused.
    pub async fn forget(&mut self, snapshots: &[SnapshotId], now: Timestamp) -> Result<()> {
        if let Some(held) = snapshots.iter().find(|id| self.is_held(id)) {
            let message = format!("snapshot {} is held; release it first", held.short());
            return Err(Error::new(Kind::Input, message));
        }
        let mut outcomes = Vec::new();
        for replica in &mut self.replicas {
            outcomes.push(forget_on(replica, &self.ring, snapshots, now).await);
        }
        self.settle(outcomes)
    }

    /// Holds a snapshot against being forgotten. Owner only.
    pub async fn hold(&mut self, snapshot: SnapshotId, now: Timestamp) -> Result<()> {
        self.publish(now, Body::Hold(snapshot)).await
    }

    /// Undoes [`Vault::hold`]. Owner only.
    pub async fn release(&mut self, snapshot: SnapshotId, now: Timestamp) -> Result<()> {
        self.publish(now, Body::Release(snapshot)).await
    }

    /// Declares packs read and found good, and segments whose every claim was found true, so that every writer may
    /// deduplicate against what these segments say of these packs. Owner only.
    pub async fn vouch(&mut self, objects: &[ObjectId], now: Timestamp) -> Result<()> {
        let is_known =
            |object: &ObjectId| self.replicas.iter().all(|replica| replica.state().vouched(object));
        let fresh: Vec<_> = objects.iter().filter(|object| !is_known(object)).copied().collect();
        for part in log::parts(&fresh) {
            self.publish(now, Body::Vouch(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Declares frames bad, so that the next backup stores their chunks again. Owner and keepers.
    pub async fn declare_bad(&mut self, frames: &[(KeyId, u64)], now: Timestamp) -> Result<()> {
        let is_known =
            |(key, n): &(KeyId, u64)| self.replicas.iter().all(|replica| replica.state().bad(key, *n));
        let fresh: Vec<_> = frames.iter().filter(|frame| !is_known(frame)).copied().collect();
        for part in log::parts(&fresh) {
            self.publish(now, Body::Bad(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Says this on every replica; those that do not take it are lagging.
    pub(super) async fn publish(&mut self, now: Timestamp, body: Body) -> Result<()> {
        let outcomes = publish(&mut self.replicas, &self.ring, now, Saying::of(body)).await?;
        self.settle(outcomes)
    }
}

async fn forget_on(
    replica: &mut Replica,
    ring: &KeyRing,
    snapshots: &[SnapshotId],
    now: Timestamp,
) -> Result<()> {
    for part in log::parts(snapshots) {
        let signer = Signer { key: &ring.signing, time: now };
        replica.append(signer, |_| Ok(Some(Op::Forget { snapshots: part.to_vec() }))).await?;
    }
    Ok(())
}

/// What is to be said, and what must still be so on the prefix that it follows.
pub(super) struct Saying<'a> {
    pub(super) body: Body,
    /// Judged again whenever somebody else was first.
    pub(super) still: &'a (dyn Fn(&State) -> Result<()> + Sync),
}

impl Saying<'_> {
    /// Says this whatever was said before.
    pub(super) fn of(body: Body) -> Self {
        Self { body, still: &|_| Ok(()) }
    }
}

/// The places of these replicas in the order in which everybody's changes come to them: by replica id. The first one that
/// answers is where changes that are made at the same time are put in order.
pub(super) fn in_order<R: Borrow<Replica>>(replicas: &[R]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..replicas.len()).collect();
    order.sort_by_key(|place| replicas[*place].borrow().state().replica());
    order
}

/// Signs a statement with the next serial, where its kind has one, and appends the same bytes on each replica, in the order
/// of [`in_order`]. Returns how that ended on each. A replica where a later statement on the same subject stands needs none.
///
/// # Errors
/// Those of `still`, which is asked until it was appended somewhere; the others are told. One where a key was changed of
/// which nothing was heard when that was decided does not take it: who changed it had not reached the first replica.
pub(super) async fn publish<R: BorrowMut<Replica>>(
    replicas: &mut [R],
    ring: &KeyRing,
    now: Timestamp,
    saying: Saying<'_>,
) -> Result<Vec<Result<()>>> {
    let Saying { body, still } = saying;
    let has_serial = !matches!(body, Body::Commit(_) | Body::Vouch(_) | Body::Bad(_));
    let above = replicas.iter().map(|replica| replica.borrow().state().next_serial()).max().unwrap_or(1);
    let sign = |state: &State| {
        let serial = if has_serial { above.max(state.next_serial()) } else { 0 };
        Statement { author: ring.writer_id(), time: now, serial, body: body.clone() }
    };
    let standing = |state: &State| match &body {
        Body::Key { subject, .. } => state.key_serial(subject),
        _ => 0,
    };
    let mut heard = replicas.iter().map(|replica| standing(replica.borrow().state())).max().unwrap_or(0);
    let mut said: Option<(Statement, SignedStatement)> = None;
    let mut outcomes: Vec<Result<()>> = replicas.iter().map(|_| Ok(())).collect();
    for place in in_order(replicas) {
        let (mut tried, mut is_refused) = (None, false);
        let signer = Signer { key: &ring.signing, time: now };
        let decide = |state: &State| {
            let (statement, signed) = match &said {
                Some(said) => said.clone(),
                None => {
                    let statement = sign(state);
                    let signed = statement.sign(ring.vault, &ring.signing)?;
                    (statement, signed)
                }
            };
            let standing = standing(state);
            if said.is_some() {
                if !state.is_news(&statement) {
                    return Ok(None);
                }
                if standing > heard {
                    return Err(unheard());
                }
            } else {
                still(state).inspect_err(|_| is_refused = true)?;
            }
            tried = Some((statement, signed.clone(), standing));
            Ok(Some(Op::Publish { statement: signed }))
        };
        let appended = replicas[place].borrow_mut().append(signer, decide).await;
        match appended {
            Err(error) if is_refused && said.is_none() => return Err(error),
            appended => {
                if let (Ok(_), Some((statement, signed, standing))) = (&appended, tried) {
                    heard = heard.max(standing);
                    said = said.or(Some((statement, signed)));
                }
                outcomes[place] = appended.map(drop);
            }
        }
    }
    Ok(outcomes)
}

fn unheard() -> Error {
    let message = "another owner changed this key here without having reached the other replicas; see `vault key list` of each";
    Error::new(Kind::Conflict, message)
}
