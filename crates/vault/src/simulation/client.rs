//! One client: what it does over and over, and how it dies.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Files, World};
use super::writer::Journal;
use crate::collect::{Options, Progress, Watch};
use crate::id::{PinId, SnapshotId, Timestamp};
use crate::keys::Unlock;
use crate::log::collection::PIN_MICROS_MAX;
use crate::log::{Op, Signer};
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::sample::open;
use crate::store::draw::Draw;
use crate::store::faults::{Fault, Faults, Plan, Request, SkewedClock};
use crate::store::{RetryPolicy, Store, StoreOptions};
use crate::suite::random;
use crate::sync::{SyncProgress, sync};
use crate::vault::{Vault, chain};
use crate::{Kind, Result};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    BackUp { source: u8 },
    Collect,
    Forget,
    Read,
    Carry,
    Repair,
}

impl Task {
    /// How often it is done.
    fn turns(self) -> u32 {
        match self {
            Self::BackUp { .. } => 8,
            Self::Collect | Self::Forget => 8,
            Self::Read => 3,
            Self::Repair => 4,
            Self::Carry => 7,
        }
    }

    /// The longest pause before it is done again.
    fn rest(self) -> Duration {
        match self {
            Self::BackUp { .. } | Self::Carry => 2 * DAY,
            Self::Collect | Self::Forget => DAY,
            Self::Read | Self::Repair => 4 * DAY,
        }
    }
}

pub(super) struct Client {
    pub(super) world: Rc<World>,
    task: Task,
    pub(super) draw: Draw,
    clock: SkewedClock,
    pub(super) views: [(Store, Faults); 2],
    /// What it holds open of each replica.
    vaults: [Option<Vault>; 2],
    pub(super) files: Files,
    pub(super) journal: Journal,
}

impl Client {
    pub(super) fn new(world: &Rc<World>, number: u64, task: Task) -> Self {
        let draw = Draw::new(world.draw.next() ^ number);
        let clock = SkewedClock::new(draw.next(), 50, HOUR);
        let views = views(world, &draw);
        let world = Rc::clone(world);
        let (files, journal) = (Files::new(), Journal::default());
        let vaults = [None, None];
        Self { world, task, draw, clock, views, vaults, files, journal }
    }

    /// Does its work a number of times; whenever it dies, another comes in its place.
    pub(super) async fn live(mut self) {
        for _ in 0..self.task.turns() {
            let world = Rc::clone(&self.world);
            world.wait(&self.draw, self.task.rest()).await;
            if world.is_violated() {
                return;
            }
            let faults = [self.views[0].1.clone(), self.views[1].1.clone()];
            self.prepare_fate();
            let outcome = tokio::select! {
                biased;
                outcome = self.work() => Some(outcome),
                () = death(faults) => None,
            };
            match outcome {
                Some(Err(error)) if chain(&error).contains("was collected while") => {
                    world.violated(format!("P1: {}", chain(&error)));
                }
                Some(Err(error)) if error.kind() == Kind::Bug => world.violated(format!("a fault: {error}")),
                Some(_) => {}
                None => {
                    self.views = views(&world, &self.draw);
                    self.vaults = [None, None];
                }
            }
            world.check().await;
        }
    }

    /// It may die with one of its next requests, or stand still for days.
    fn prepare_fate(&self) {
        for (_, faults) in &self.views {
            match self.draw.below(8) {
                0 | 1 => faults.kill_after(self.draw.below(120)),
                2 => faults.pause_for(6 * DAY),
                _ => {}
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.at(self.world.now())
    }

    async fn work(&mut self) -> Result<()> {
        match self.task {
            Task::Carry => return self.carry().await,
            Task::Repair => return self.repair().await,
            Task::BackUp { .. } | Task::Collect | Task::Forget | Task::Read => {}
        }
        let place = self.draw.below(2) as usize;
        let reopens = self.draw.below(6) == 0;
        let held = self.vaults[place].take().filter(|_| !reopens);
        let mut vault = match held {
            Some(vault) => vault,
            // Compactions happen on both replicas, where both can be opened.
            None if self.task == Task::Collect => {
                let stores = [place, 1 - place].map(|place| &self.views[place].0);
                open_both(stores, "keeper").await?
            }
            None => open(&self.views[place].0, "owner").await?,
        };
        vault.refresh().await?;
        let done = match self.task {
            Task::BackUp { source } => self.back_up(&mut vault, source).await,
            Task::Collect => self.collect(&mut vault).await,
            Task::Forget => self.forget(&mut vault).await,
            Task::Read => self.read(&mut vault).await,
            Task::Carry | Task::Repair => Ok(()),
        };
        self.vaults[place] = Some(vault);
        done
    }

    async fn collect(&mut self, vault: &mut Vault) -> Result<()> {
        let drawn = |hours: [i64; 4]| hours[self.draw.below(4) as usize] * 3600 * 1_000_000;
        let waste_percent = (self.draw.below(3) > 0).then_some(20);
        let options = Options {
            grace_micros: drawn([0, 1, 24, 72]),
            dead_micros: drawn([0, 24, 72, 240]),
            waste_percent,
        };
        let (now, progress) = (self.now(), Progress::default());
        let clock = || now;
        let watch = Watch { clock: &clock, progress: &progress, planned: &|_| Ok(()), stop: &|| Ok(()) };
        vault.collect(0, &options, watch).await.map(drop)
    }

    async fn forget(&mut self, vault: &mut Vault) -> Result<()> {
        for _ in 0..2 {
            let Some(id) = self.any_snapshot(vault) else { return Ok(()) };
            vault.forget(&[id], self.now()).await?;
        }
        Ok(())
    }

    fn any_snapshot(&self, vault: &Vault) -> Option<SnapshotId> {
        let visible = vault.visible();
        let drawn = self.draw.below(visible.len() as u64) as usize;
        visible.get(drawn).map(|(id, _)| *id)
    }

    /// Pins a snapshot, takes its time, and reads all of it.
    async fn read(&mut self, vault: &mut Vault) -> Result<()> {
        let Some(id) = self.any_snapshot(vault) else { return Ok(()) };
        let ring = Arc::clone(vault.ring());
        let (now, pin) = (self.now(), PinId(random()));
        let signer = Signer { key: &ring.signing, time: now };
        let expiry = Timestamp(now.0 + PIN_MICROS_MAX);
        let op = Op::Pin { pin, snapshot: id, expiry };
        vault.replica_mut().append(signer, |_| Ok(Some(op.clone()))).await?;
        self.world.wait(&self.draw, 5 * DAY).await;
        vault.refresh().await?;
        // That the bytes are there is for the world to check: on a bad line a reader may fail, but never read wrongly.
        let is_visible = vault.replica().state().visible().contains_key(&id);
        let read = if is_visible { self.world.restores(vault, &id).await } else { Ok(()) };
        if let Some(problem) = read.err().filter(|problem| problem.contains("holds other files")) {
            self.world.violated(problem);
        }
        vault.replica_mut().append(signer, |_| Ok(Some(Op::Unpin { pin }))).await.map(drop)
    }

    async fn carry(&mut self) -> Result<()> {
        let from = self.draw.below(2) as usize;
        let source = Replica::open(self.views[from].0.clone()).await?;
        let mut target = Replica::open(self.views[1 - from].0.clone()).await?;
        let siblings = Siblings::new([source.objects().clone()]);
        let (world, offset) = (self.world.now().0, self.draw.below(1000) as i64);
        let clock = move || Timestamp(world + offset);
        sync(&source, &mut target, &siblings, &clock, &SyncProgress::default()).await.map(drop)
    }
}

/// The vault on both replicas, or on the first one if the other one cannot be opened.
async fn open_both(stores: [&Store; 2], word: &str) -> Result<Vault> {
    let mut replicas = vec![Replica::open(stores[0].clone()).await?];
    replicas.extend(Replica::open(stores[1].clone()).await.ok());
    Vault::open_all(replicas, &Unlock::Passphrase(word), None).await
}

/// Fresh lines to both replicas.
fn views(world: &World, draw: &Draw) -> [(Store, Faults); 2] {
    [0, 1].map(|place| {
        let retry = RetryPolicy { attempts_max: 5, ..RetryPolicy::default() };
        let options = StoreOptions { retry, seed: draw.next(), ..StoreOptions::default() };
        let plan = Plan::rough(12).with(Request::Delete, Fault::Late, 250);
        world.stores[place].with_faults(plan, &options)
    })
}

/// Ends when the client is dead.
async fn death(faults: [Faults; 2]) {
    while !faults.iter().any(Faults::is_dead) {
        tokio::time::sleep(6 * HOUR).await;
    }
}
