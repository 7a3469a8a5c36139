//! What the clients share, and what must always be true of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::damage::Damaged;
use crate::collect::{Options, Progress, Watch};
use crate::entry::Node;
use crate::id::{PackId, SessionId, SnapshotId, Timestamp};
use crate::keys::Role;
use crate::log::rules::{Rule, turn_off};
use crate::log::{Op, SessionState, Signer};
use crate::name::Name;
use crate::needed::NeedReader;
use crate::replica::Replica;
use crate::sample::{create, lock, open};
use crate::store::Store;
use crate::store::draw::Draw;
use crate::tree::EntryStream;
use crate::vault::Vault;

/// Files by name; the number stands for the content.
pub(super) type Files = BTreeMap<String, u64>;

/// Seconds between the moments at which many begin: four hours.
const FULL_HOUR: u64 = 4 * 3600;

/// When the simulated world begins, in microseconds.
const DAWN: i64 = 1_700_000_000_000_000;

/// Two replicas, what their writers meant, and observers on perfect lines.
pub(super) struct World {
    pub(super) stores: [Store; 2],
    pub(super) draw: Draw,
    start: Instant,
    /// By run, what its snapshot must hold.
    pub(super) meant: RefCell<BTreeMap<u64, Files>>,
    pub(super) runs: Cell<u64>,
    observers: RefCell<Option<Vec<(Vault, NeedReader)>>>,
    violation: RefCell<Option<String>>,
    /// Of each replica.
    damaged: [Damaged; 2],
    /// The rules that nobody obeys.
    off: Vec<Rule>,
}

impl World {
    pub(super) async fn new(seed: u64, off: &[Rule]) -> Rc<Self> {
        let stores = [Store::memory(), Store::memory()];
        let mut owner = create(&stores).await;
        owner.add_key(Role::Keeper, "keeper", lock("keeper"), &[], Timestamp(DAWN)).await.unwrap();
        let mut observers = Vec::new();
        for store in &stores {
            observers.push((open(store, "owner").await.unwrap(), NeedReader::default()));
        }
        Rc::new(Self {
            stores,
            draw: Draw::new(seed),
            start: Instant::now(),
            meant: RefCell::default(),
            runs: Cell::new(0),
            observers: RefCell::new(Some(observers)),
            violation: RefCell::default(),
            damaged: Default::default(),
            off: off.to_vec(),
        })
    }

    /// The true time.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(DAWN + self.start.elapsed().as_micros() as i64)
    }

    pub(super) fn violated(&self, what: String) {
        self.violation.borrow_mut().get_or_insert(what);
    }

    pub(super) fn is_violated(&self) -> bool {
        self.violation.borrow().is_some()
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    /// Looks whether everything is as it must be. Nobody else moves meanwhile.
    pub(super) async fn check(&self) {
        let Some(mut observers) = self.observers.take() else { return };
        for (place, (vault, needs)) in observers.iter_mut().enumerate() {
            let lifted = self.damaged[place].lift(&self.stores[place]);
            if let Err(violation) = self.check_replica(vault, needs).await {
                self.violated(format!("replica {place}: {violation}"));
            }
            self.damaged[place].lower(&self.stores[place], lifted);
        }
        self.observers.replace(Some(observers));
    }

    async fn check_replica(&self, vault: &mut Vault, needs: &mut NeedReader) -> Result<(), String> {
        vault.refresh().await.map_err(|error| format!("the log: {error}"))?;
        let replica = vault.replica();
        let state = replica.state();
        for (id, visible) in state.visible() {
            if state.forgotten().contains(id) {
                return Err(format!("I4: {} was forgotten and is visible", id.short()));
            }
            let session = state.session(visible.session).map(|session| session.state);
            if session != Some(SessionState::Committed(*id)) {
                return Err(format!("I3: {} is visible by a session that is {session:?}", id.short()));
            }
        }
        // What roots need is asked of the full rules, whatever rules the clients obey.
        let keys = self.off.iter().filter(|rule| **rule == Rule::KeysMove);
        turn_off(&keys.copied().collect::<Vec<_>>());
        let needed = needs.needed(replica, self.now()).await;
        turn_off(&self.off);
        let needed = needed.map_err(|error| error.to_string())?;
        if let Some(unread) = needed.unread().first() {
            return Err(format!("I1: the need list of {} is gone", unread.short()));
        }
        let spoken_of: BTreeSet<PackId> = needs.evidence().segments.values().flatten().copied().collect();
        if let Some(pack) = needed.packs().find(|pack| !spoken_of.contains(pack)) {
            return Err(format!("I1: {} is needed and no segment speaks of it", Name::pack(pack)));
        }
        for name in needed.names() {
            if replica.objects().size(name).await.map_err(|error| error.to_string())?.is_none() {
                return Err(format!("I1: {} is needed and not there", replica.objects().key(name)));
            }
        }
        Ok(())
    }

    /// Lets something rot on a replica.
    pub(super) async fn damage(&self, place: usize, draw: &Draw) {
        let Some(observers) = self.observers.take() else { return };
        let [replica, sibling] = [place, 1 - place].map(|place| observers[place].0.replica().clone());
        self.observers.replace(Some(observers));
        drop(self.damaged[place].add(&replica, &sibling, draw, self.now()).await);
    }

    async fn mend_damage(&self) -> Result<(), String> {
        let failed = |error: crate::Error| error.to_string();
        for place in 0..2 {
            let replica = Replica::open(self.stores[place].clone()).await.map_err(failed)?;
            let sibling = Replica::open(self.stores[1 - place].clone()).await.map_err(failed)?;
            self.damaged[place].end(&replica, &sibling, self.now()).await?;
        }
        Ok(())
    }

    /// Lets everything land, ends what is open, cleans up once, and looks at every byte.
    pub(super) async fn quiet_down(&self) {
        let (_, faults) = self.stores[0].with_faults(Default::default(), &Default::default());
        faults.settle().await;
        let (_, faults) = self.stores[1].with_faults(Default::default(), &Default::default());
        faults.settle().await;
        self.check().await;
        if let Err(violation) = self.mend_damage().await {
            self.violated(violation);
        }
        for store in &self.stores {
            if let Err(violation) = self.clean(store).await {
                self.violated(violation);
            }
        }
        self.check().await;
    }

    async fn clean(&self, store: &Store) -> Result<(), String> {
        let mut owner = open(store, "owner").await.map_err(|error| format!("open at the end: {error}"))?;
        let now = Timestamp(self.now().0 + 40 * 24 * 3600 * 1_000_000);
        let state = owner.replica().state();
        let sessions: Vec<SessionId> = state.open_sessions().map(|(id, _)| id).collect();
        let fences = sessions.into_iter().map(|session| Op::Fence { session });
        let unpins = state.pins().keys().map(|pin| Op::Unpin { pin: *pin });
        let ring = Arc::clone(owner.ring());
        let signer = Signer { key: &ring.signing, time: now };
        for op in fences.chain(unpins).collect::<Vec<_>>() {
            let appended = owner.replica_mut().append(signer, |_| Ok(Some(op.clone()))).await;
            appended.map_err(|error| format!("end {op:?}: {error}"))?;
        }
        let options = Options { grace_micros: 0, dead_micros: 0, waste_percent: Some(20) };
        let (clock, progress) = (|| now, Progress::default());
        let watch = Watch { clock: &clock, progress: &progress, planned: &|_| Ok(()), stop: &|| Ok(()) };
        // What is compacted in one collection is waste for the next.
        for _ in 0..2 {
            owner.collect(0, &options, watch).await.map_err(|error| format!("collect: {error}"))?;
        }
        self.only_what_is_needed(&owner, now).await?;
        for (id, _) in owner.visible() {
            self.restores(&owner, &id).await?;
        }
        Ok(())
    }

    /// P2.
    async fn only_what_is_needed(&self, owner: &Vault, now: Timestamp) -> Result<(), String> {
        let needed =
            NeedReader::default().needed(owner.replica(), now).await.map_err(|error| error.to_string())?;
        let needed: BTreeSet<String> =
            needed.names().map(|name| owner.replica().objects().key(name)).collect();
        let listed = owner.replica().store().list("").await.map_err(|error| error.to_string())?;
        let is_collected = |path: &str| Name::of_key(path).is_some() || path.starts_with("sessions/");
        let of_names = listed.into_iter().filter(|object| is_collected(&object.path));
        match of_names.map(|object| object.path).find(|path| !needed.contains(path)) {
            Some(stray) => Err(format!("P2: {stray} is needed by nobody and is still there")),
            None => Ok(()),
        }
    }

    /// Whether a snapshot holds what its writer meant.
    pub(super) async fn restores(&self, vault: &Vault, id: &SnapshotId) -> Result<(), String> {
        let failed = |error: crate::Error| {
            format!("snapshot {} cannot be restored: {}", id.short(), crate::vault::chain(&error))
        };
        let snapshot = vault.snapshot(id).await.map_err(failed)?;
        let run: u64 = snapshot.contents.tags[0].parse().map_err(|_| "no run".to_owned())?;
        let reader = Arc::new(vault.reader_of(id).await.map_err(failed)?);
        let tree = snapshot.contents.tree;
        let mut stream = EntryStream::open(reader, tree.digest, tree.level);
        let mut files = Files::new();
        while let Some(entry) = stream.next().await.map_err(failed)? {
            let path = entry.path().to_string();
            if let Node::Symlink { target } = entry.portable.node {
                let content = String::from_utf8_lossy(&target);
                let number = content.split(' ').next().and_then(|number| number.parse().ok());
                files.insert(path, number.ok_or("a strange entry")?);
            }
        }
        match self.meant.borrow().get(&run) {
            Some(meant) if *meant == files => Ok(()),
            _ => Err(format!("snapshot {} of run {run} holds other files than were stored", id.short())),
        }
    }

    /// Waits for a while that is drawn, up to `most`; often until a full hour, when others begin too.
    pub(super) async fn wait(&self, draw: &Draw, most: Duration) {
        tokio::time::sleep(most.mul_f64(draw.below(1000) as f64 / 1000.0)).await;
        if draw.below(2) == 0 {
            let past = self.start.elapsed().as_secs() % FULL_HOUR;
            tokio::time::sleep(Duration::from_secs(FULL_HOUR - past)).await;
        }
    }
}
