//! Adding, listing, removing and rotating keys.

use bytes::Bytes;

use super::Vault;
use super::statements::publish;
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, SlotId, Timestamp, WriterId};
use crate::keys::slot::{Lock, Method, NewSlot};
use crate::keys::{Certificate, KeyRing, KeySlot, Role, Share};
use crate::lock_pass::lock_one;
use crate::log::statement::Subject;
use crate::log::{Body, KeyPresence};
use crate::object::key_path;
use crate::objects::read_hashed;
use crate::replica::Replica;

/// A ring and the way in that it gets.
pub(super) struct NewHolder<'a> {
    pub(super) ring: &'a KeyRing,
    pub(super) label: &'a str,
    pub(super) lock: Lock<'a>,
}

/// A key slot that stands.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    /// The slot.
    pub slot: SlotId,
    /// Whose keys it opens.
    pub holder: WriterId,
    /// The role.
    pub role: Role,
    /// For people.
    pub label: String,
    /// How it opens.
    pub method: Method,
    /// When it was made, by its maker's clock.
    pub created: Timestamp,
}

/// A key that was added.
#[derive(Debug)]
pub struct KeyAdded {
    /// The slot.
    pub slot: SlotId,
    /// Whose keys it opens.
    pub holder: WriterId,
    /// Shares, if it is locked with shares. They exist nowhere else.
    pub shares: Vec<Share>,
}

/// Stores a slot and publishes it on each replica: the object first, so that no log names what is not there. Returns how
/// that ended on each.
pub(super) async fn add_slot(
    replicas: &mut [Replica],
    owner: &KeyRing,
    new: NewHolder<'_>,
    now: Timestamp,
) -> Result<(KeyAdded, Vec<Result<()>>)> {
    let holder = new.ring.writer_id();
    let request = NewSlot { ring: new.ring, label: new.label, lock: new.lock, created: now };
    let (slot, shares) = KeySlot::create(owner, replicas[0].file(), &request)?;
    let outcomes = put_slot(replicas, owner, &slot, now).await;
    Ok((KeyAdded { slot: slot.id, holder, shares }, outcomes))
}

async fn put_slot(
    replicas: &mut [Replica],
    owner: &KeyRing,
    slot: &KeySlot,
    now: Timestamp,
) -> Vec<Result<()>> {
    let bytes = slot.sign(replicas[0].file(), &owner.signing);
    let presence = KeyPresence::Slot(ObjectId::of(&bytes));
    publish_key(replicas, owner, now, (slot.id.0, presence, Bytes::from(bytes))).await
}

/// Stores a key's object and publishes that it counts, on each replica whose store takes the object.
async fn publish_key(
    replicas: &mut [Replica],
    owner: &KeyRing,
    now: Timestamp,
    (subject, presence, bytes): (Subject, KeyPresence, Bytes),
) -> Vec<Result<()>> {
    let path = key_path(&ObjectId::of(&bytes));
    let mut outcomes = Vec::new();
    for replica in replicas.iter() {
        let stored = match replica.store().put(&path, bytes.clone()).await {
            Ok(()) => lock_one(replica, &path, now).await,
            failed => failed,
        };
        outcomes.push(stored);
    }
    let stored = replicas.iter_mut().zip(&outcomes).filter(|(_, stored)| stored.is_ok());
    let stored: Vec<&mut Replica> = stored.map(|(replica, _)| replica).collect();
    let published = publish(stored, owner, now, Body::Key { subject, presence }).await;
    for (outcome, published) in outcomes.iter_mut().filter(|stored| stored.is_ok()).zip(published) {
        *outcome = published;
    }
    outcomes
}

impl Replica {
    /// The key slots that stand, oldest first; needs no key. One that cannot be read is left out: `check --names` tells.
    pub async fn keys(&self) -> Result<Vec<KeyFacts>> {
        let mut keys = Vec::new();
        for (_, object) in self.state().slots() {
            let slot = match read_hashed(self.store(), &key_path(&object), &object).await {
                Ok(bytes) => KeySlot::decode(&bytes, self.file()),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => Err(error),
            };
            if let Ok(slot) = slot {
                keys.push(KeyFacts {
                    slot: slot.id,
                    holder: slot.holder,
                    role: slot.role,
                    label: slot.label,
                    method: slot.method,
                    created: slot.created,
                });
            }
        }
        keys.sort_by_key(|key| (key.created, key.slot));
        Ok(keys)
    }
}

impl Vault {
    /// Adds a way in: for owners another slot of the same keys, for writers and keepers fresh, certified keys. Owner only.
    pub async fn add_key(
        &mut self,
        role: Role,
        label: &str,
        lock: Lock<'_>,
        predecessors: &[WriterId],
        now: Timestamp,
    ) -> Result<KeyAdded> {
        self.must_own("add keys")?;
        let owner = std::sync::Arc::clone(&self.ring);
        let ring = owner.issue(role, predecessors)?;
        if role != Role::Owner {
            let mut certificate = Certificate::new(ring.signing.verify_key(), role, label, now);
            certificate.predecessors = predecessors.to_vec();
            certificate.predecessors.sort_unstable();
            let bytes = certificate.sign(owner.vault, &owner.signing)?;
            let presence = KeyPresence::Certificate(bytes.clone());
            let key = (certificate.holder().0, presence, Bytes::from(bytes));
            let outcomes = publish_key(&mut self.replicas, &owner, now, key).await;
            self.settle(outcomes)?;
        }
        let new = NewHolder { ring: &ring, label, lock };
        let (added, outcomes) = add_slot(&mut self.replicas, &owner, new, now).await?;
        self.settle(outcomes)?;
        Ok(added)
    }

    /// Removes a slot; with a writer's or keeper's last slot its certificate goes too, which ends what its key may do.
    /// The owner's last slot stays.
    pub async fn remove_key(&mut self, slot: SlotId, now: Timestamp) -> Result<()> {
        self.must_own("remove keys")?;
        let keys = self.replica().keys().await?;
        let Some(removed) = keys.iter().find(|key| key.slot == slot) else {
            if self.replica().state().slots().all(|(standing, _)| standing != slot) {
                return Err(Error::new(Kind::Input, format!("no key slot {slot} stands")));
            }
            // Its object is damaged or gone: it opens nothing, and while it stands keys cannot be rotated. Whose it was
            // nobody can say, so no certificate goes with it; the slot that opened this handle is another one.
            let body = Body::Key { subject: slot.0, presence: KeyPresence::Removed };
            return self.publish(now, body).await;
        };
        let is_last = keys.iter().filter(|key| key.holder == removed.holder).count() == 1;
        if is_last && removed.role == Role::Owner {
            return Err(Error::new(
                Kind::Input,
                "this is the owner's last way in; add another before removing it",
            ));
        }
        if is_last {
            let body = Body::Key { subject: removed.holder.0, presence: KeyPresence::Removed };
            self.publish(now, body).await?;
        }
        let body = Body::Key { subject: slot.0, presence: KeyPresence::Removed };
        self.publish(now, body).await
    }

    /// Adds a generation of the read and the metadata key and seals it into every slot that stands, without knowing
    /// what opens them. Returns the generation. Owner only.
    pub async fn rotate_keys(&mut self, now: Timestamp) -> Result<u32> {
        self.must_own("rotate keys")?;
        let mut ring = KeyRing::clone(&self.ring);
        ring.rotate()?;
        let slots: Vec<ObjectId> = self.replica().state().slots().map(|(_, object)| object).collect();
        let mut resealed = Vec::new();
        for object in slots {
            let bytes = read_hashed(self.replica().store(), &key_path(&object), &object).await?;
            let slot = KeySlot::decode(&bytes, self.replica().file())?;
            let certificates = self.replica().state().certificates();
            let certificate = certificates.into_iter().find(|(holder, _)| *holder == slot.holder);
            let predecessors = certificate.map(|(_, found)| found.predecessors.clone()).unwrap_or_default();
            resealed.push(slot.reseal(&ring, self.replica().file(), &predecessors)?);
        }
        // The owner's slots first: were we stopped in between, the new generation must not be lost.
        resealed.sort_by_key(|slot| slot.role != Role::Owner);
        for slot in &resealed {
            let outcomes = put_slot(&mut self.replicas, &ring, slot, now).await;
            self.settle(outcomes)?;
        }
        let generation = ring.read_public.0;
        self.ring = std::sync::Arc::new(ring);
        Ok(generation)
    }
}
