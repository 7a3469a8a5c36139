//! What the clients share, and what must always be true of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::collect::{Options, Progress, Watch};
use crate::entry::Node;
use crate::id::{SessionId, SnapshotId, Timestamp};
use crate::keys::slot::Lock;
use crate::keys::{Role, Unlock};
use crate::log::{Config, Op, SessionState, Signer};
use crate::name::Name;
use crate::needed::NeedReader;
use crate::replica::Replica;
use crate::store::Store;
use crate::store::draw::Draw;
use crate::suite::KdfCost;
use crate::tree::EntryStream;
use crate::vault::{CreateOptions, Place, Vault};

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
}

pub(super) fn lock(word: &str) -> Lock<'_> {
    Lock::Passphrase(word, KdfCost::new(8, 1, 1).unwrap())
}

/// The vault on both replicas, or on the first one if the other one cannot be opened.
pub(super) async fn open_both(stores: [&Store; 2], word: &str) -> crate::Result<Vault> {
    let mut replicas = vec![Replica::open(stores[0].clone()).await?];
    replicas.extend(Replica::open(stores[1].clone()).await.ok());
    Vault::open_all(replicas, &Unlock::Passphrase(word), None).await
}

pub(super) async fn open(store: &Store, word: &str) -> crate::Result<Vault> {
    Vault::open(Replica::open(store.clone()).await?, &Unlock::Passphrase(word), None).await
}

impl World {
    pub(super) async fn new(seed: u64) -> Rc<Self> {
        let stores = [Store::memory(), Store::memory()];
        let options = CreateOptions {
            name: "",
            config: Config::default(),
            ways_in: vec![("owner", lock("owner"))],
            now: Timestamp(DAWN),
        };
        let places = stores.iter().zip(["first", "second"]);
        let places = places.map(|(store, name)| Place { store: store.clone(), name }).collect();
        let replicas = Vault::create_on(places, options).await.unwrap();
        let mut owner = Vault::open_all(replicas, &Unlock::Passphrase("owner"), None).await.unwrap();
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
        for (number, (vault, needs)) in observers.iter_mut().enumerate() {
            if let Err(violation) = self.check_replica(vault, needs).await {
                self.violated(format!("replica {number}: {violation}"));
            }
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
        let mut judge = state.clone();
        judge.rules = crate::log::rules::Rules::ALL;
        judge.rules.keys_move = state.rules.keys_move;
        let needed = needs.needed_of(replica, &judge, self.now()).await.map_err(|error| error.to_string())?;
        if let Some(unread) = needed.unread().first() {
            return Err(format!("I1: the need list of {} is gone", unread.short()));
        }
        for name in needed.names() {
            if replica.objects().size(name).await.map_err(|error| error.to_string())?.is_none() {
                return Err(format!("I1: {} is needed and not there", replica.objects().key(name)));
            }
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
        let options = Options { grace_micros: 0, waste_percent: Some(20) };
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
        let of_names = listed.into_iter().filter(|object| Name::of_key(&object.path).is_some());
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
