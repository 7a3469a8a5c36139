//! One read, many replicas: sealed objects on their way to each replica by itself.
//!
//! ```text
//!                               ┌─ queue ─▶ carrier ─▶ first replica
//! packs ─▶ take ─▶ segments ─▶ ─┤
//!                  (the same    └─ queue ─▶ carrier ─▶ second replica
//!                   for all)         │
//!                                    └─ spool: what a slower one cannot take yet
//! ```
//!
//! The fastest replica sets the pace: a pack keeps its place in the pipeline's memory until a replica that lacks nothing
//! has it. After that it lingers for the others in memory, then in the spool, and where that is full the others go without and are
//! *behind*; a copy from a sibling brings them level. A replica that does not answer is asked again and again as long as
//! another one works, and for [`FanoutOptions::patience`] after that.
//!
//! `schedule` decides; this module moves bytes.

mod schedule;
mod spool;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use shudao_vault::id::{ObjectId, PackId, SegmentId, SessionId};
use shudao_vault::keys::KeyRing;
use shudao_vault::name::{Area, Name};
use shudao_vault::objects::Objects;
use shudao_vault::pack::PackEnds;
use shudao_vault::resume::{PackMark, SharedShelf};
use shudao_vault::segment::{FinishedSegment, SegmentBuilder};
use shudao_vault::{Error, Kind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::budget::Shares;
use crate::ingest::lock;
use crate::lane::{Parcel, Receipt};
use schedule::{Number, Order, Schedule};
use spool::{Spool, SpoolFile};

/// The pause after a replica's first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How a run deals with replicas of different speed.
#[derive(Debug, Clone)]
pub struct FanoutOptions {
    /// A directory for spools; `None`: what does not fit into memory is lacking where it was not taken in time.
    pub spool: Option<PathBuf>,
    /// How long a replica may go without an answer when no other one is at work any more.
    pub patience: Duration,
}

impl Default for FanoutOptions {
    fn default() -> Self {
        Self { spool: None, patience: Duration::from_secs(90) }
    }
}

/// One replica's part of a run, for a display. Counters may be read at any time.
#[derive(Debug, Default)]
pub struct LaneProgress {
    /// The replica's address.
    pub address: String,
    /// Bytes that its store has acknowledged.
    pub bytes_stored: AtomicU64,
    /// Bytes handed over that it has not acknowledged.
    pub bytes_waiting: AtomicU64,
    /// Its store does not answer at the moment.
    pub is_failing: AtomicBool,
    /// It was given up in this run.
    pub is_given_up: AtomicBool,
}

/// The way to all replicas of one run.
pub(crate) struct Fanout {
    lanes: Vec<Lane>,
    schedule: Mutex<Schedule>,
    holds: Mutex<HashMap<Number, Hold>>,
    spool: Option<Spool>,
    patience: Duration,
    /// Objects on their way to one replica at the same time.
    uploads_max: usize,
    /// Objects that one replica has and another has not, in memory, beyond those on their way.
    lingering_max: usize,
    /// Tells what some replica has acknowledged.
    shelf: SharedShelf,
    /// Counts changes of the schedule, for those who wait for one.
    changes: watch::Sender<u64>,
}

struct Lane {
    objects: Objects,
    progress: Arc<LaneProgress>,
    health: Mutex<Health>,
}

/// Whether a replica answers.
#[derive(Debug, Clone, Copy)]
enum Health {
    Well,
    Failing { since: Instant, failures: u32 },
    GivenUp,
}

/// Where a piece's bytes are.
enum Hold {
    Memory { bytes: Bytes, arrival: Option<Arrival> },
    Spool(Arc<SpoolFile>),
}

/// What is to be done when a piece is safe.
enum Arrival {
    /// The pipeline gets its memory back, and checkpoints may name the pack.
    Pack(Receipt, PackMark),
    /// Checkpoints name the segment and no longer its packs.
    Segment(SegmentId, BTreeSet<PackId>),
}

impl Fanout {
    /// A way to each of these replicas. Without room for a spool there is none.
    pub(crate) fn new(
        objects: Vec<Objects>,
        session: SessionId,
        options: &FanoutOptions,
        shares: &Shares,
    ) -> Self {
        let is_alone = objects.len() == 1;
        let spool = options.spool.as_ref().filter(|_| !is_alone);
        let lane = |objects: Objects| {
            let address = objects.store().address().to_string();
            let progress = Arc::new(LaneProgress { address, ..LaneProgress::default() });
            Lane { objects, progress, health: Mutex::new(Health::Well) }
        };
        Self {
            schedule: Mutex::new(Schedule::new(objects.len())),
            lanes: objects.into_iter().map(lane).collect(),
            holds: Mutex::default(),
            spool: spool.and_then(|parent| Spool::open(parent, session).ok()),
            // A store alone has tried often enough by itself.
            patience: if is_alone { Duration::ZERO } else { options.patience },
            uploads_max: shares.uploads.count,
            lingering_max: shares.lingering.count,
            shelf: SharedShelf::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// The same, which tells on `shelf` what some replica has acknowledged.
    #[must_use]
    pub(crate) fn onto(mut self, shelf: &SharedShelf) -> Self {
        self.shelf = Arc::clone(shelf);
        self
    }

    /// How long a replica may go without an answer when nobody else is at work.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The segments handed over so far.
    pub(crate) fn segments(&self) -> BTreeSet<SegmentId> {
        let schedule = lock(&self.schedule);
        let segments = schedule.names().iter().filter(|(name, _)| name.area == Area::Index);
        segments.map(|(name, _)| name.id).collect()
    }

    /// The packs that a replica has acknowledged, of those handed over. Ask once [`Fanout::carry`] has ended.
    pub(crate) fn acknowledged(&self, lane: usize) -> BTreeSet<PackId> {
        let schedule = lock(&self.schedule);
        let lacking: BTreeSet<Name> = schedule.lacking(lane).map(|(name, _)| name).collect();
        let packs = schedule.names().iter().map(|(name, _)| *name).filter(|name| name.area == Area::Pack);
        packs.filter(|name| !lacking.contains(name)).map(|name| name.id).collect()
    }

    /// Each replica's counters.
    pub(crate) fn progress(&self) -> Vec<Arc<LaneProgress>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.progress)).collect()
    }

    fn hand_over(&self, name: Name, bytes: Bytes, order: Order, arrival: Arrival) {
        let size = bytes.len() as u64;
        {
            // The hold is there before a carrier can ask for it.
            let mut schedule = lock(&self.schedule);
            let number = schedule.hand_over(name, size, order);
            lock(&self.holds).insert(number, Hold::Memory { bytes, arrival: Some(arrival) });
        }
        for lane in &self.lanes {
            lane.progress.bytes_waiting.fetch_add(size, Ordering::Relaxed);
        }
        self.changed();
    }

    /// Nothing more comes.
    fn end(&self) {
        lock(&self.schedule).end();
        self.changed();
    }

    /// Gives every replica up: the run has failed.
    pub(crate) fn abandon(&self) {
        for lane in 0..self.lanes.len() {
            self.give_up(lane);
        }
    }

    /// Gives one replica up; what it has not acknowledged is lacking there.
    pub(crate) fn give_up(&self, lane: usize) {
        *lock(&self.lanes[lane].health) = Health::GivenUp;
        self.lanes[lane].progress.is_given_up.store(true, Ordering::Relaxed);
        lock(&self.schedule).close(lane);
        self.forget_unwanted();
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn forget_unwanted(&self) {
        let mut schedule = lock(&self.schedule);
        let unwanted = schedule.take_unwanted();
        let mut holds = lock(&self.holds);
        for number in unwanted {
            holds.remove(&number);
        }
    }

    /// Carries everything to one replica; returns when nothing more will come and all is acknowledged or lacking.
    ///
    /// # Errors
    /// Why the replica was given up.
    pub(crate) async fn carry(&self, lane: usize) -> Result<()> {
        let mut changes = self.changes.subscribe();
        let mut on_their_way = FuturesUnordered::new();
        loop {
            changes.mark_unchanged();
            if matches!(*lock(&self.lanes[lane].health), Health::GivenUp) {
                return Err(stopped());
            }
            while on_their_way.len() < self.uploads_max {
                let Some(number) = lock(&self.schedule).next(lane) else { break };
                on_their_way.push(self.carry_one(lane, number));
            }
            if on_their_way.is_empty() && lock(&self.schedule).is_drained(lane) {
                return Ok(());
            }
            tokio::select! {
                Some(carried) = on_their_way.next() => if let Err(error) = carried {
                    self.give_up(lane);
                    return Err(error);
                },
                changed = changes.changed() => drop(changed),
            }
        }
    }

    async fn carry_one(&self, lane: usize, number: Number) -> Result<()> {
        let (name, size) = lock(&self.schedule).names()[number as usize];
        let Some(bytes) = self.bytes_of(number).await else {
            lock(&self.schedule).lack(lane, number);
            self.changed();
            return Ok(());
        };
        let this = &self.lanes[lane];
        while let Err(error) = this.objects.put(&name, bytes.clone()).await {
            self.stumble(lane, error).await?;
        }
        this.progress.bytes_stored.fetch_add(size, Ordering::Relaxed);
        this.progress.bytes_waiting.fetch_sub(size, Ordering::Relaxed);
        self.recover(lane);
        // What a replica has that lacks other things sets no pace: its memory is given back when a complete one has it.
        let is_safe = lock(&self.schedule).acknowledge(lane, number);
        if is_safe {
            self.arrived(number);
        }
        self.forget_unwanted();
        self.make_way().await;
        self.changed();
        Ok(())
    }

    async fn bytes_of(&self, number: Number) -> Option<Bytes> {
        let file = {
            let holds = lock(&self.holds);
            match holds.get(&number)? {
                Hold::Memory { bytes, .. } => return Some(bytes.clone()),
                Hold::Spool(file) => Arc::clone(file),
            }
        };
        tokio::task::spawn_blocking(move || file.read()).await.ok()?
    }

    /// Takes note that a piece is safe.
    fn arrived(&self, number: Number) {
        let arrival = match lock(&self.holds).get_mut(&number) {
            Some(Hold::Memory { arrival, .. }) => arrival.take(),
            Some(Hold::Spool(_)) | None => None,
        };
        match arrival {
            Some(Arrival::Pack(receipt, mark)) => {
                lock(&self.shelf).packs.push(mark);
                receipt.sign();
            }
            Some(Arrival::Segment(id, packs)) => lock(&self.shelf).take_in(id, &packs),
            None => {}
        }
    }

    /// After a piece became safe: puts aside what is too much.
    async fn make_way(&self) {
        loop {
            let Some(number) = lock(&self.schedule).overflow(self.lingering_max) else { return };
            let (name, _) = lock(&self.schedule).names()[number as usize];
            if self.put_aside(number, name.id).await {
                continue;
            }
            if !lock(&self.schedule).drop_for_all(number) {
                return;
            }
            self.forget_unwanted();
            self.changed();
        }
    }

    async fn put_aside(&self, number: Number, id: ObjectId) -> bool {
        let bytes = match lock(&self.holds).get(&number) {
            Some(Hold::Memory { bytes, .. }) => bytes.clone(),
            Some(Hold::Spool(_)) | None => return true,
        };
        let Some(spool) = self.spool.clone() else { return false };
        let written = tokio::task::spawn_blocking(move || spool.put(id, &bytes)).await;
        let Ok(Some(file)) = written else { return false };
        if let Some(hold) = lock(&self.holds).get_mut(&number) {
            *hold = Hold::Spool(Arc::new(file));
        }
        true
    }

    /// Takes note that a replica answers.
    pub(crate) fn recover(&self, lane: usize) {
        let this = &self.lanes[lane];
        let mut health = lock(&this.health);
        if matches!(*health, Health::Failing { .. }) {
            *health = Health::Well;
            this.progress.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// After a failure of one replica: returns when it is time to try again.
    ///
    /// # Errors
    /// `error`, when it is time to give the replica up: trying again would not help, or it has not answered for too long
    /// and nobody else is at work meanwhile.
    pub(crate) async fn stumble(&self, lane: usize, error: Error) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        let this = &self.lanes[lane];
        let now = Instant::now();
        let (since, failures) = match *lock(&this.health) {
            Health::Well => (now, 1),
            Health::Failing { since, failures } => (since, failures + 1),
            Health::GivenUp => return Err(error),
        };
        // Patience begins when there is nobody else whose work would have to be waited for anyway.
        let others_work = self.is_anybody_else_at_work(lane);
        let since = if others_work { now } else { since };
        *lock(&this.health) = Health::Failing { since, failures };
        this.progress.is_failing.store(true, Ordering::Relaxed);
        if !others_work && now - since >= self.patience {
            return Err(error);
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn is_anybody_else_at_work(&self, lane: usize) -> bool {
        let schedule = lock(&self.schedule);
        let mut others = self.lanes.iter().enumerate().filter(|(other, _)| *other != lane);
        others.any(|(other, this)| matches!(*lock(&this.health), Health::Well) && !schedule.is_drained(other))
    }

    /// Returns when everything handed over so far is acknowledged by a replica that lacks nothing.
    ///
    /// # Errors
    /// When no replica is left that can have everything.
    async fn all_safe(&self) -> Result<()> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            {
                let schedule = lock(&self.schedule);
                if schedule.is_all_safe() {
                    return Ok(());
                }
                if !schedule.can_finish() {
                    return Err(stopped());
                }
            }
            if changes.changed().await.is_err() {
                return Err(stopped());
            }
        }
    }

    /// Whether some replica can have everything in the end: it was not given up and lacks nothing.
    pub(crate) fn can_finish(&self) -> bool {
        lock(&self.schedule).can_finish()
    }

    /// Bytes of everything handed over.
    pub(crate) fn bytes_handed_over(&self) -> u64 {
        lock(&self.schedule).names().iter().map(|(_, bytes)| bytes).sum()
    }

    /// What one replica lacks of everything handed over, in order, with its bytes.
    pub(crate) fn lacking(&self, lane: usize) -> Vec<(Name, u64)> {
        lock(&self.schedule).lacking(lane).collect()
    }
}

/// Takes finished packs, makes segments of them, and hands both to all replicas.
pub(crate) struct Intake<'a> {
    fanout: &'a Fanout,
    ring: &'a KeyRing,
    builder: SegmentBuilder<'a>,
    segments: Vec<SegmentId>,
}

impl<'a> Intake<'a> {
    /// An intake whose segments the ring's holder signs.
    pub(crate) fn new(fanout: &'a Fanout, ring: &'a KeyRing) -> Self {
        Self { fanout, ring, builder: SegmentBuilder::new(ring), segments: Vec::new() }
    }

    /// Hands a pack over, and a segment when enough have gathered.
    ///
    /// # Errors
    /// That no replica is left that can have everything; not why.
    pub(crate) fn take(&mut self, parcel: Parcel) -> Result<()> {
        if !self.fanout.can_finish() {
            return Err(stopped());
        }
        let (pack, receipt) = parcel.into_parts();
        let digest = PackEnds::of(&pack, self.ring.vault)?.digest();
        let arrival = Arrival::Pack(receipt, PackMark { pack: pack.pack(), digest });
        self.fanout.hand_over(Name::pack(pack.pack().id), pack.bytes, Order::Free, arrival);
        let segment = self.builder.add_pack(pack.contents)?;
        segment.into_iter().for_each(|segment| self.put(segment));
        Ok(())
    }

    fn put(&mut self, segment: FinishedSegment) {
        let id = segment.id();
        let packs = segment.segment.clear.packs.iter().map(|pack| pack.id).collect();
        let arrival = Arrival::Segment(id, packs);
        self.fanout.hand_over(Name::index(id), segment.bytes, Order::AfterAllBefore, arrival);
        self.segments.push(id);
    }

    /// Returns when everything handed over so far is acknowledged by at least one replica that lacks nothing, with the segments that speak
    /// of it. Returns all segments so far.
    ///
    /// # Errors
    /// As [`Intake::take`].
    pub(crate) async fn flush(&mut self) -> Result<&[SegmentId]> {
        let segment = self.builder.end_segment()?;
        segment.into_iter().for_each(|segment| self.put(segment));
        self.fanout.all_safe().await?;
        Ok(&self.segments)
    }

    /// Hands the last segment over, says that nothing more comes, and returns all segments.
    ///
    /// # Errors
    /// Those of making a segment.
    pub(crate) fn end(mut self) -> Result<Vec<SegmentId>> {
        let segment = self.builder.end_segment()?;
        segment.into_iter().for_each(|segment| self.put(segment));
        self.fanout.end();
        Ok(self.segments)
    }
}

const STOPPED: &str = "the run stopped after an earlier failure";

/// What everybody learns who is not the first to fail.
pub(crate) fn stopped() -> Error {
    Error::new(Kind::Unavailable, STOPPED)
}

/// Whether a failure is a consequence of another one.
pub(crate) fn is_consequence(error: &Error) -> bool {
    error.to_string() == STOPPED
}

#[cfg(test)]
mod tests;
