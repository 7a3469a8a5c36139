//! One client: what it does over and over, and how it dies.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Files, World, open, open_both};
use crate::collect::sample::{contents, entry};
use crate::collect::{Options, Progress, Watch};
use crate::entry::{Extents, Node};
use crate::frame::{Compression, Scratch};
use crate::id::{Digest, PackId, PinId, SnapshotId, SourceId, Timestamp};
use crate::log::collection::PIN_MICROS_MAX;
use crate::log::{Op, Signer, State};
use crate::name::Name;
use crate::pack::{PackBuilder, PackKind};
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::session::PackStore;
use crate::snapshot::TreeRoot;
use crate::store::draw::Draw;
use crate::store::faults::{Fault, Faults, Plan, Request, SkewedClock};
use crate::store::{RetryPolicy, Store, StoreOptions};
use crate::suite::random;
use crate::sync::{SyncProgress, sync};
use crate::tree::{NodeSink, TreeBuilder};
use crate::vault::{Vault, chain};
use crate::{Error, Kind, Result};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Frames in a pack.
const FRAMES: usize = 2;
/// Groups of neighbouring files that change together, and the contents that a group may have: few, so that what was
/// forgotten comes back again and again.
const GROUPS: u64 = 4;
const CONTENTS: u64 = 3;
/// Files in a group: enough for leaves of a tree that differ.
const GROUP_FILES: u64 = 16;

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    BackUp { source: u8 },
    Collect,
    Forget,
    Read,
    Carry,
}

impl Task {
    /// How often it is done.
    fn turns(self) -> u32 {
        match self {
            Self::BackUp { .. } => 8,
            Self::Collect | Self::Forget => 10,
            Self::Read => 3,
            Self::Carry => 7,
        }
    }

    /// The longest pause before it is done again.
    fn rest(self) -> Duration {
        match self {
            Self::BackUp { .. } | Self::Carry => 2 * DAY,
            Self::Collect | Self::Forget => DAY,
            Self::Read => 4 * DAY,
        }
    }
}

pub(super) struct Client {
    world: Rc<World>,
    task: Task,
    draw: Draw,
    clock: SkewedClock,
    views: [(Store, Faults); 2],
    /// What it holds open, and of which replica.
    vault: Option<(usize, Vault)>,
    files: Files,
}

#[derive(Default)]
struct Nodes(BTreeMap<Digest, Vec<u8>>);

impl NodeSink for Nodes {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.insert(digest, node);
        Ok(())
    }
}

impl Client {
    pub(super) fn new(world: &Rc<World>, number: u64, task: Task) -> Self {
        let draw = Draw::new(world.draw.next() ^ number);
        let clock = SkewedClock::new(draw.next(), 50, HOUR);
        let views = views(world, &draw);
        Self { world: Rc::clone(world), task, draw, clock, views, vault: None, files: Files::new() }
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
                    self.vault = None;
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

    fn now(&self) -> Timestamp {
        self.clock.at(self.world.now())
    }

    async fn work(&mut self) -> Result<()> {
        if self.task == Task::Carry {
            return self.carry().await;
        }
        let place = self.draw.below(2) as usize;
        let reopens = self.draw.below(3) == 0;
        let held = self.vault.take().filter(|(at, _)| *at == place && !reopens);
        let mut vault = match held {
            Some((_, vault)) => vault,
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
            Task::Carry => Ok(()),
        };
        self.vault = Some((place, vault));
        done
    }

    async fn back_up(&mut self, vault: &mut Vault, source: u8) -> Result<()> {
        self.change_files();
        let run = self.world.runs.get();
        self.world.runs.set(run + 1);
        self.world.meant.borrow_mut().insert(run, self.files.clone());
        let session = vault.begin(SourceId([source; 16]), self.now()).await?;
        vault.refresh().await?;
        let mut nodes = Nodes::default();
        let tree = self.tree(vault, &mut nodes)?;
        let (ring, objects) = (Arc::clone(vault.ring()), vault.replica().objects().clone());
        let reliance = vault.reliance();
        let mut need: BTreeMap<PackId, u64> = BTreeMap::new();
        let mut packs = PackStore::new(&objects, &ring);
        let kind = PackKind::Metadata;
        let mut fresh = Vec::new();
        for (digest, bytes) in &nodes.0 {
            let id = ring.chunk_id(kind.space(), digest);
            let places = vault.index().lookup(&id, kind.space())?;
            match places.iter().filter(|place| reliance.allows(place)).map(|place| place.pack).min() {
                Some(pack) => *need.entry(pack).or_default() += 1,
                None => fresh.push((id, bytes)),
            }
        }
        for part in fresh.chunks(FRAMES) {
            let mut builder = PackBuilder::new(kind, 1 << 20, &ring)?;
            for (id, bytes) in part {
                let lacks = || Error::new(Kind::Bug, "an empty pack has no room");
                let ticket = builder.reserve(bytes.len(), 1)?.ok_or_else(lacks)?;
                let chunk = vec![(*id, bytes.len() as u32)];
                builder.append(ticket.seal(bytes, chunk, Compression::Fast, &mut Scratch::new())?)?;
            }
            let pack = builder.finish()?;
            *need.entry(pack.pack().id).or_default() += part.len() as u64;
            self.world.wait(&self.draw, HOUR).await;
            packs.putter().put_pack(&pack).await?;
            packs.acknowledged(pack).await?;
        }
        let segments = packs.finish().await?;
        self.world.wait(&self.draw, DAY).await;
        if self.draw.below(2) == 0 {
            let signer = Signer { key: &ring.signing, time: self.now() };
            let relies = |name: &&Name| need.contains_key(&name.id) || segments.contains(&name.id);
            let relied = |state: &State| state.condemned().keys().filter(relies).copied().collect();
            session.attend(vault.replica_mut(), signer, relied).await?;
            self.world.wait(&self.draw, DAY).await;
        }
        let mut contents = contents(tree, need.into_iter().collect(), self.now());
        contents.tags = vec![run.to_string()];
        let now = self.now();
        vault.commit(session, contents, segments, now).await.map(drop)
    }

    fn change_files(&mut self) {
        let changes = if self.files.is_empty() { GROUPS } else { 1 };
        for _ in 0..changes {
            let (group, content) = (self.draw.below(GROUPS), self.draw.below(CONTENTS));
            for file in 0..GROUP_FILES {
                self.files.insert(format!("g{group}f{file:02}"), content);
            }
        }
    }

    /// A tree whose leaves are the whole content: long links.
    fn tree(&self, vault: &Vault, nodes: &mut Nodes) -> Result<TreeRoot> {
        let boundary = vault.ring().boundary.clone();
        let boundary = boundary.ok_or_else(|| Error::new(Kind::Bug, "the owner has every key"))?;
        let mut tree = TreeBuilder::new(&boundary);
        tree.push(&entry("", Node::Directory, Vec::new(), Extents::default()), nodes)?;
        for (path, number) in &self.files {
            let target = format!("{number} {}", "x".repeat(150)).into_bytes();
            tree.push(&entry(path, Node::Symlink { target }, Vec::new(), Extents::default()), nodes)?;
        }
        let summary = tree.finish(nodes)?;
        Ok(TreeRoot { digest: summary.root, level: summary.level })
    }

    async fn collect(&mut self, vault: &mut Vault) -> Result<()> {
        let hours = [0, 1, 24, 72][self.draw.below(4) as usize];
        let waste_percent = (self.draw.below(3) > 0).then_some(20);
        let options = Options { grace_micros: hours * 3600 * 1_000_000, waste_percent };
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
        tokio::time::sleep(HOUR).await;
    }
}
