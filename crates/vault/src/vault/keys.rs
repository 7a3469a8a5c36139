//! Adding, listing, removing and rotating keys.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;

use super::open::OpenedSlot;
use super::statements::{Saying, publish};
use super::{Vault, open};
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, SlotId, Timestamp, WriterId};
use crate::keys::slot::{Lock, Method, NewSlot};
use crate::keys::{Certificate, KeyRing, KeySlot, Role, Share};
use crate::lock_pass::lock_one;
use crate::log::statement::Subject;
use crate::log::{Body, KeyPresence, State};
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

/// Stores a slot and publishes it on each replica while `still` holds: the object first, so that no log names what is not
/// there. Returns how that ended on each.
pub(super) async fn add_slot(
    replicas: &mut [Replica],
    owner: &KeyRing,
    new: NewHolder<'_>,
    (now, still): (Timestamp, Still<'_>),
) -> Result<(KeyAdded, Vec<Result<()>>)> {
    let holder = new.ring.writer_id();
    let request = NewSlot { ring: new.ring, label: new.label, lock: new.lock, created: now };
    let (slot, shares) = KeySlot::create(owner, replicas[0].file(), &request)?;
    let outcomes = put_slot(replicas, owner, &slot, (now, still)).await?;
    Ok((KeyAdded { slot: slot.id, holder, shares }, outcomes))
}

/// What must be so on the prefix that a change of keys follows.
pub(super) type Still<'a> = &'a (dyn Fn(&State) -> Result<()> + Sync);

/// Stores a slot and publishes that it counts; see [`publish`].
pub(super) async fn put_slot(
    replicas: &mut [Replica],
    owner: &KeyRing,
    slot: &KeySlot,
    when: (Timestamp, Still<'_>),
) -> Result<Vec<Result<()>>> {
    let bytes = slot.sign(replicas[0].file(), &owner.signing);
    let presence = KeyPresence::Slot(ObjectId::of(&bytes));
    publish_key(replicas, owner, when, (slot.id.0, presence, Bytes::from(bytes))).await
}

/// Stores a key's object and publishes that it counts, on each replica whose store takes the object.
async fn publish_key(
    replicas: &mut [Replica],
    owner: &KeyRing,
    (now, still): (Timestamp, Still<'_>),
    (subject, presence, bytes): (Subject, KeyPresence, Bytes),
) -> Result<Vec<Result<()>>> {
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
    let mut stored: Vec<&mut Replica> = stored.map(|(replica, _)| replica).collect();
    let saying = Saying { body: Body::Key { subject, presence }, still };
    let published = publish(&mut stored, owner, now, saying).await?;
    for (outcome, published) in outcomes.iter_mut().filter(|stored| stored.is_ok()).zip(published) {
        *outcome = published;
    }
    Ok(outcomes)
}

/// What has been heard of keys on all opened replicas: a change that was decided by it is decided again where a log says
/// more.
pub(super) struct Heard {
    serials: BTreeMap<Subject, u64>,
    is_outdated: AtomicBool,
}

impl Heard {
    pub(super) fn on(replicas: &[Replica]) -> Self {
        let mut serials = BTreeMap::new();
        for (subject, serial) in replicas.iter().flat_map(|replica| replica.state().key_serials()) {
            let known = serials.entry(subject).or_insert(serial);
            *known = serial.max(*known);
        }
        Self { serials, is_outdated: AtomicBool::new(false) }
    }

    /// [`Kind::Conflict`] if this state says something later of any key.
    pub(super) fn must_cover(&self, state: &State) -> Result<()> {
        let is_known = |(subject, serial)| self.serials.get(&subject).is_some_and(|known| serial <= *known);
        if state.key_serials().all(is_known) {
            return Ok(());
        }
        self.is_outdated.store(true, Ordering::Relaxed);
        Err(changed_meanwhile())
    }

    /// Whether a state was met that says something later.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }
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
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the keys were rotated, or the one that opened this handle removed, since it was opened: then
    /// what is added would lack the newest generation.
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
        let opened = self.opened;
        let still = move |state: &State| opened.must_stand(state);
        let ring = owner.issue(role, predecessors)?;
        if role != Role::Owner {
            let mut certificate = Certificate::new(ring.signing.verify_key(), role, label, now);
            certificate.predecessors = predecessors.to_vec();
            certificate.predecessors.sort_unstable();
            let bytes = certificate.sign(owner.vault, &owner.signing)?;
            let presence = KeyPresence::Certificate(bytes.clone());
            let key = (certificate.holder().0, presence, Bytes::from(bytes));
            let outcomes = publish_key(&mut self.replicas, &owner, (now, &still), key).await?;
            self.settle(outcomes)?;
        }
        let new = NewHolder { ring: &ring, label, lock };
        let (added, outcomes) = add_slot(&mut self.replicas, &owner, new, (now, &still)).await?;
        self.settle(outcomes)?;
        Ok(added)
    }

    /// Removes a slot; with a writer's or keeper's last slot its certificate goes too, which ends what its key may do.
    /// The owner's last slot stays, however many owners remove theirs at the same time.
    pub async fn remove_key(&mut self, slot: SlotId, now: Timestamp) -> Result<()> {
        self.must_own("remove keys")?;
        for _ in 0..ROUNDS_MAX {
            self.hear().await?;
            let heard = Heard::on(&self.replicas);
            let body = self.removal(slot).await?;
            let still = |state: &State| heard.must_cover(state);
            let ends_here = matches!(&body, Body::Key { subject, .. } if *subject == slot.0);
            let saying = Saying { body, still: &still };
            match publish(&mut self.replicas, &self.ring, now, saying).await {
                Ok(outcomes) => self.settle(outcomes)?,
                Err(_) if heard.is_outdated() => continue,
                Err(error) => return Err(error),
            }
            if ends_here {
                return Ok(());
            }
            let body = Body::Key { subject: slot.0, presence: KeyPresence::Removed };
            return self.publish(now, body).await;
        }
        Err(changed_meanwhile())
    }

    /// The first thing to say so that this slot goes: that its holder does, if it is a writer's or keeper's last one, or
    /// else that the slot does.
    async fn removal(&self, slot: SlotId) -> Result<Body> {
        let gone = |subject| Body::Key { subject, presence: KeyPresence::Removed };
        let standing = open::slots(&self.replicas);
        if !standing.contains_key(&slot) {
            return Err(Error::new(Kind::Input, format!("no key slot {slot} stands")));
        }
        let mut keys = Vec::new();
        for (_, object) in standing.values() {
            match open::read_key(&self.replicas, &key_path(object), object).await {
                Ok(bytes) => keys.extend(KeySlot::decode(&bytes, self.replica().file())),
                Err(error) if error.is_retryable() => return Err(error),
                Err(_) => {}
            }
        }
        // A slot whose object is damaged or gone opens nothing, and while it stands keys cannot be rotated. Whose it was nobody
        // can say, so no certificate goes with it; the slot that opened this handle is another one.
        let Some(removed) = keys.iter().find(|key| key.id == slot) else { return Ok(gone(slot.0)) };
        let is_last = keys.iter().filter(|key| key.holder == removed.holder).count() == 1;
        match (is_last, removed.role) {
            (false, _) => Ok(gone(slot.0)),
            (true, Role::Owner) => Err(Error::new(
                Kind::Input,
                "this is the owner's last way in; add another before removing it",
            )),
            (true, Role::Writer | Role::Keeper) => Ok(gone(removed.holder.0)),
        }
    }

    /// Reads what the logs say now; a replica that does not answer stays as it was, as long as another one answers.
    pub(super) async fn hear(&mut self) -> Result<()> {
        let caught_up = join_all(self.replicas.iter_mut().map(Replica::catch_up)).await;
        if caught_up.iter().all(Result::is_err) {
            caught_up.into_iter().collect::<Result<()>>()?;
        }
        Ok(())
    }
}

impl OpenedSlot {
    /// [`Kind::Conflict`] if this slot was sealed anew or removed since it opened the vault.
    pub(super) fn must_stand(&self, state: &State) -> Result<()> {
        if state.key_serial(&self.slot.0) <= self.serial {
            return Ok(());
        }
        let message = format!(
            "key {} was rotated or removed by another owner since it opened the vault; nothing was changed: give the \
             command again",
            self.slot
        );
        Err(Error::new(Kind::Conflict, message))
    }
}

/// A change of keys gives up after deciding this often.
pub(super) const ROUNDS_MAX: usize = 100;

pub(super) fn changed_meanwhile() -> Error {
    let message =
        "other owners changed the keys at the same time; see `vault key list`, then give the command again";
    Error::new(Kind::Conflict, message)
}
