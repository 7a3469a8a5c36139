//! Pins: a reader that takes long asks that what it reads stays, even if it is forgotten meanwhile.
//!
//! ```text
//! pin on each replica that shows the snapshot ─▶ read; each day a new pin, then the old one ends ─▶ unpin
//! ```
//!
//! A pin never stands in a reader's way: where it cannot be made, because the key has not the right, or the replica cannot be
//! written or does not answer, the reader says so and goes on under the protection of grace alone. One that nobody ends,
//! because its reader was killed, expires. A snapshot that is forgotten cannot be pinned again, so pins are made for as long
//! as they may be and renewed early.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::id::{PinId, SnapshotId, Timestamp};
use crate::keys::{KeyRing, Rights};
use crate::log::collection::PIN_MICROS_MAX;
use crate::log::{Op, Signer, State};
use crate::replica::Replica;
use crate::suite::random;
use crate::vault::Vault;

/// How often pins are renewed: once a day.
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long pinning on one replica may take: a reader does not wait for a store that hangs.
const PINNING_MAX: Duration = Duration::from_secs(30);

/// Pins on some snapshots, on each replica by itself.
pub struct Pins {
    ring: Arc<KeyRing>,
    snapshots: Vec<SnapshotId>,
    members: Vec<Member>,
}

struct Member {
    replica: Replica,
    /// Also of those of which it is not known whether they came to stand.
    pins: BTreeMap<PinId, SnapshotId>,
    failure: Option<Error>,
}

/// Pins that are renewed until they are released. Dropped, they are released in the background.
pub struct Held {
    end: oneshot::Sender<()>,
    tending: JoinHandle<()>,
}

impl Pins {
    /// Pins `snapshots` on every replica of the vault that shows them. Never fails: see [`Pins::unprotected`].
    pub async fn on(vault: &Vault, snapshots: Vec<SnapshotId>, now: Timestamp) -> Self {
        let member =
            |replica: &Replica| Member { replica: replica.clone(), pins: BTreeMap::new(), failure: None };
        let members = vault.replicas().iter().map(member).collect();
        let mut pins = Self { ring: Arc::clone(vault.ring()), snapshots, members };
        pins.renew(now).await;
        pins
    }

    /// The replicas, by their places, on which not everything that they show is pinned, and why.
    pub fn unprotected(&self) -> impl Iterator<Item = (usize, &Error)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(place, member)| Some((place, member.failure.as_ref()?)))
    }

    /// Pins everything once more, and ends the pins that stood before.
    async fn renew(&mut self, now: Timestamp) {
        let Self { ring, snapshots, members } = self;
        let ring: &KeyRing = ring;
        let renewing = members.iter_mut().map(|member| async {
            let renewed = tokio::time::timeout(PINNING_MAX, member.renew(ring, now, snapshots)).await;
            let silent = |_| Error::new(Kind::Unavailable, "the store takes too long to answer");
            member.failure = renewed.map_err(silent).and_then(|renewed| renewed).err();
        });
        join_all(renewing).await;
    }

    /// Ends all pins. What cannot be ended expires.
    async fn release(mut self, now: Timestamp) {
        let signer = Signer { key: &self.ring.signing, time: now };
        let releasing = self.members.iter_mut().map(|member| {
            let pins: Vec<PinId> = member.pins.keys().copied().collect();
            tokio::time::timeout(PINNING_MAX, async move { member.unpin(signer, &pins).await })
        });
        join_all(releasing).await;
    }

    /// Renews the pins by `clock` until they are released.
    pub fn hold(mut self, clock: impl Fn() -> Timestamp + Send + 'static) -> Held {
        let (end, mut ended) = oneshot::channel();
        let tending = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut ended => break,
                    () = tokio::time::sleep(RENEW_EVERY) => self.renew(clock()).await,
                }
            }
            self.release(clock()).await;
        });
        Held { end, tending }
    }
}

impl Member {
    async fn renew(&mut self, ring: &KeyRing, now: Timestamp, snapshots: &[SnapshotId]) -> Result<()> {
        let signer = Signer { key: &ring.signing, time: now };
        if !self.replica.state().rights(ring.writer_id()).is_some_and(|rights| rights.allow(Rights::PIN)) {
            return Err(Error::new(Kind::Forbidden, "this key has no right to pin a snapshot"));
        }
        for snapshot in snapshots {
            let old: Vec<PinId> =
                self.pins.iter().filter(|(_, pinned)| *pinned == snapshot).map(|(pin, _)| *pin).collect();
            let pin = PinId(random());
            let expiry = Timestamp(now.0.saturating_add(PIN_MICROS_MAX));
            // Noted before it is asked for, so that it is ended whatever the answer is.
            self.pins.insert(pin, *snapshot);
            let is_visible = |state: &State| state.visible().contains_key(snapshot);
            let op = Op::Pin { pin, snapshot: *snapshot, expiry };
            let pinned =
                self.replica.append(signer, |state| Ok(is_visible(state).then(|| op.clone()))).await?;
            if pinned.is_some() {
                self.unpin(signer, &old).await?;
            }
        }
        Ok(())
    }

    async fn unpin(&mut self, signer: Signer<'_>, pins: &[PinId]) -> Result<()> {
        for pin in pins {
            let op = Op::Unpin { pin: *pin };
            let stands = |state: &State| state.pins().contains_key(pin);
            self.replica.append(signer, |state| Ok(stands(state).then(|| op.clone()))).await?;
            self.pins.remove(pin);
        }
        Ok(())
    }
}

impl Held {
    /// Ends the pins, as far as the replicas answer.
    pub async fn release(self) {
        drop(self.end);
        // A panic in there left pins that expire.
        drop(self.tending.await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Options;
    use crate::collect::sample::{World, files};
    use crate::keys::Role;
    use crate::keys::slot::Lock;
    use crate::name::Name;
    use crate::sample::open;
    use crate::store::faults::{Fault, Plan, Request};
    use crate::store::{RetryPolicy, StoreOptions};
    use crate::suite::KdfCost;

    const COLLECT: Options = Options { grace_micros: 0, dead_micros: 0, waste_percent: None };

    /// The pins that stand.
    fn standing(world: &World) -> Vec<(PinId, Timestamp)> {
        world.owner.replica().state().pins().iter().map(|(id, pin)| (*id, pin.expiry)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_stays_after_a_forget_until_the_reader_is_done() {
        let mut world = World::new().await;
        let id = world.back_up(&files(&[("a", &[1, 2, 3])])).await;
        let name = Name::snapshot(id);
        let held = Pins::on(&world.owner, vec![id], world.now()).await;
        assert_eq!(held.unprotected().count(), 0);
        let now = world.now();
        let held = held.hold(move || now);
        world.owner.forget(&[id], world.now()).await.unwrap();
        for _ in 0..3 {
            world.pass(48);
            world.collect(&COLLECT).await.unwrap();
        }
        assert!(world.owner.replica().objects().size(&name).await.unwrap().is_some());
        held.release().await;
        world.owner.refresh().await.unwrap();
        assert_eq!(standing(&world), []);
        for _ in 0..3 {
            world.pass(48);
            world.collect(&COLLECT).await.unwrap();
        }
        assert!(world.owner.replica().objects().size(&name).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_reader_has_one_pin_whose_end_moves_until_the_snapshot_is_forgotten() {
        let mut world = World::new().await;
        let id = world.back_up(&files(&[("a", &[1])])).await;
        let (start, began) = (world.now(), tokio::time::Instant::now());
        let now = move || Timestamp(start.0 + i64::try_from(began.elapsed().as_micros()).unwrap());
        let held = Pins::on(&world.owner, vec![id], start).await.hold(now);
        let mut last = Timestamp(0);
        for day in 0..20 {
            world.owner.refresh().await.unwrap();
            if day == 10 {
                world.owner.forget(&[id], world.now()).await.unwrap();
            }
            let pins = standing(&world);
            assert_eq!(pins.len(), 1, "day {day}");
            assert_eq!(pins[0].1 > last, day <= 10, "day {day}");
            last = pins[0].1;
            tokio::time::sleep(RENEW_EVERY + Duration::from_secs(1)).await;
        }
        held.release().await;
        world.owner.refresh().await.unwrap();
        assert_eq!(standing(&world), []);
    }

    #[tokio::test]
    async fn a_writer_pins_nothing_and_is_told_why() {
        let mut world = World::new().await;
        let id = world.back_up(&files(&[("a", &[1])])).await;
        let lock = Lock::Passphrase("writer", KdfCost::new(8, 1, 1).unwrap());
        world.owner.add_key(Role::Writer, "writer", lock, &[], world.now()).await.unwrap();
        let writer = open(&world.store, "writer").await.unwrap();
        let before = writer.replica().state().next();
        let pins = Pins::on(&writer, vec![id], world.now()).await;
        let kinds: Vec<Kind> = pins.unprotected().map(|(_, error)| error.kind()).collect();
        assert_eq!(kinds, [Kind::Forbidden]);
        world.owner.refresh().await.unwrap();
        assert_eq!(world.owner.replica().state().next(), before);
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_leaves_the_reader_unprotected_and_one_whose_answers_are_lost_is_unpinned()
     {
        let mut world = World::new().await;
        let id = world.back_up(&files(&[("a", &[1])])).await;
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        let options = StoreOptions { retry: once, ..StoreOptions::default() };
        for (fault, is_protected) in [(Fault::LostRequest, false), (Fault::LostAnswer, true)] {
            let (view, faults) = world.store.with_faults(Plan::default(), &options);
            let reader = open(&view, "owner").await.unwrap();
            faults.set_plan(Plan::default().with(Request::Create, fault, 1000));
            let pins = Pins::on(&reader, vec![id], world.now()).await;
            assert_eq!(pins.unprotected().count() == 0, is_protected, "{fault:?}");
            world.owner.refresh().await.unwrap();
            assert_eq!(standing(&world).len(), usize::from(is_protected), "{fault:?}");
            let now = world.now();
            pins.hold(move || now).release().await;
            world.owner.refresh().await.unwrap();
            assert_eq!(standing(&world), [], "{fault:?}");
        }
    }
}
