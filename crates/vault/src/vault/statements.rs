//! What an owner or keeper says of the vault, on every replica that is opened.

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
        let outcomes = publish(&mut self.replicas, &self.ring, now, body).await;
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

/// Signs a statement with the next serial, where its kind has one, and appends the same bytes on each replica. Returns
/// how that ended on each.
pub(super) async fn publish<'a>(
    replicas: impl IntoIterator<Item = &'a mut Replica>,
    ring: &KeyRing,
    now: Timestamp,
    body: Body,
) -> Vec<Result<()>> {
    let has_serial = !matches!(body, Body::Commit(_) | Body::Vouch(_) | Body::Bad(_));
    let replicas: Vec<&mut Replica> = replicas.into_iter().collect();
    let above = replicas.iter().map(|replica| replica.state().next_serial()).max().unwrap_or(1);
    let sign = |state: &State| {
        let serial = if has_serial { above.max(state.next_serial()) } else { 0 };
        let statement = Statement { author: ring.writer_id(), time: now, serial, body: body.clone() };
        statement.sign(ring.vault, &ring.signing)
    };
    let mut signed: Option<SignedStatement> = None;
    let mut outcomes = Vec::new();
    for replica in replicas {
        let mut tried = None;
        let signer = Signer { key: &ring.signing, time: now };
        let appended = replica
            .append(signer, |state| {
                let statement = match &signed {
                    Some(statement) => statement.clone(),
                    None => sign(state)?,
                };
                tried = Some(statement.clone());
                Ok(Some(Op::Publish { statement }))
            })
            .await;
        if appended.is_ok() {
            signed = signed.or(tried);
        }
        outcomes.push(appended.map(drop));
    }
    outcomes
}
