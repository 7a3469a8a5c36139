//! Adding a generation of keys, beside whoever changes keys at the same time: rules in `docs/format/keys.md` section 6.

use std::sync::Arc;

use super::Vault;
use super::keys::{Heard, ROUNDS_MAX, changed_meanwhile, put_slot};
use super::open::{self, OpenedSlot};
use crate::error::{Error, Kind, Result};
use crate::id::{SlotId, Timestamp, WriterId};
use crate::keys::{KeyRing, KeySlot};
use crate::log::State;
use crate::object::key_path;

impl Vault {
    /// Adds a generation of the read and the metadata key and seals it into every slot that stands, without knowing
    /// what opens them. Returns the generation. Owner only. Of several at the same time one is done, and the others refuse.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if another owner rotates, or has rotated since this handle was opened: nothing was changed then.
    /// [`Kind::Damaged`] or [`Kind::Missing`] if a slot cannot be read: remove it first.
    pub async fn rotate_keys(&mut self, now: Timestamp) -> Result<u32> {
        self.must_own("rotate keys")?;
        let mut ring = KeyRing::clone(&self.ring);
        ring.rotate()?;
        self.claim_rotation(&ring, now).await?;
        let generation = ring.read_public.0;
        self.ring = Arc::new(ring);
        self.seal_the_rest(now).await?;
        Ok(generation)
    }

    /// Seals the new generation into the slot that opened this handle, on a prefix on which no other rotation has begun.
    /// From then on no other one can begin.
    async fn claim_rotation(&mut self, ring: &KeyRing, now: Timestamp) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.hear().await?;
            let heard = Heard::on(&self.replicas);
            let slots = self.read_slots().await?;
            for (slot, _) in &slots {
                self.must_be_of_this_rotation(slot)?;
            }
            let own = slots.iter().find(|(slot, _)| slot.id == self.opened.slot);
            let Some((own, _)) = own else { return Err(changed_meanwhile()) };
            let sealed = self.reseal(own, ring)?;
            let still = |state: &State| heard.must_cover(state);
            match put_slot(&mut self.replicas, ring, &sealed, (now, &still)).await {
                Ok(outcomes) => {
                    self.settle(outcomes)?;
                    self.opened = self.latest_of(sealed.id);
                    return Ok(());
                }
                Err(_) if heard.is_outdated() => {}
                Err(error) => return Err(error),
            }
        }
        Err(changed_meanwhile())
    }

    /// Seals the newest generation into every slot that lacks it, until none does: also into those that were added
    /// meanwhile by who had not heard of the rotation.
    async fn seal_the_rest(&mut self, now: Timestamp) -> Result<()> {
        let ring = Arc::clone(&self.ring);
        for _ in 0..ROUNDS_MAX {
            self.hear().await?;
            let mut waiting = self.read_slots().await?;
            waiting.retain(|(slot, _)| slot.reads.0 < ring.read_public.0);
            if waiting.is_empty() {
                return Ok(());
            }
            // The owner's slots first: were we stopped in between, the new generation should be in as many hands as can be.
            waiting.sort_by_key(|(slot, _)| slot.role.number());
            for (slot, as_read) in waiting {
                let still = move |state: &State| as_read.must_stand(state);
                let sealed = self.reseal(&slot, &ring)?;
                match put_slot(&mut self.replicas, &ring, &sealed, (now, &still)).await {
                    Ok(outcomes) => self.settle(outcomes)?,
                    // It was removed meanwhile, and counts no more.
                    Err(error) if error.kind() == Kind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(changed_meanwhile())
    }

    /// Every slot that counts, and the statement by which it did when it was read.
    async fn read_slots(&self) -> Result<Vec<(KeySlot, OpenedSlot)>> {
        let mut slots = Vec::new();
        for (slot, (serial, object)) in open::slots(&self.replicas) {
            let bytes = open::read_key(&self.replicas, &key_path(&object), &object).await?;
            let read = KeySlot::decode(&bytes, self.replica().file())?;
            slots.push((read, OpenedSlot { slot, serial }));
        }
        Ok(slots)
    }

    /// [`Kind::Conflict`] for a slot in which another rotation has been.
    fn must_be_of_this_rotation(&self, slot: &KeySlot) -> Result<()> {
        let (generation, public) = &self.ring.read_public;
        let told = |what: &str| {
            let message =
                format!("rotate keys: key {} ({}) {what}; nothing was changed", slot.id, slot.label);
            Err(Error::new(Kind::Conflict, message))
        };
        if slot.reads.0 > *generation {
            return told(
                "has a later generation: another owner has rotated, or was interrupted while rotating. Give the command again; if \
                 it is refused again, open the vault with that key to finish the rotation",
            );
        }
        if slot.reads.0 == *generation && slot.reads.1 != *public {
            return told(
                "has another key of the same generation: two owners rotated on replicas that had not heard of each other. \
                 Sealing it anew would lose what only it can open; keep both keys",
            );
        }
        Ok(())
    }

    fn reseal(&self, slot: &KeySlot, ring: &KeyRing) -> Result<KeySlot> {
        let mut certified = self.replicas.iter().flat_map(|replica| replica.state().certificates());
        let certificate = certified.find(|(holder, _)| *holder == slot.holder);
        let predecessors: Vec<WriterId> =
            certificate.map(|(_, found)| found.predecessors.clone()).unwrap_or_default();
        slot.reseal(ring, self.replica().file(), &predecessors)
    }

    /// The slot with the serial of the latest statement on it.
    fn latest_of(&self, slot: SlotId) -> OpenedSlot {
        let serials = self.replicas.iter().map(|replica| replica.state().key_serial(&slot.0));
        OpenedSlot { slot, serial: serials.max().unwrap_or(0) }
    }
}
