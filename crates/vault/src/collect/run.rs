//! Carrying out a collection. Dull: [`super::plan`] decides; here each step is judged again on the state that its entry follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::beside::Beside;
use super::plan::{Doomed, Facts, plan, wanted_times};
use super::reach::{Reached, Walker};
use super::stock::{Stock, Stored};
use super::{Options, Outcome, Plan, Progress, Watch};
use crate::error::{Error, Kind, Result};
use crate::id::{PackId, SessionId, SnapshotId, Timestamp};
use crate::index::{Index, Marks, PackUsage};
use crate::keys::{KeyRing, Rights};
use crate::log::duty::Needed;
use crate::log::rules::Rule;
use crate::log::state::SessionState;
use crate::log::{self, Envelope, Op, Signer, State};
use crate::name::Name;
use crate::needed::NeedReader;
use crate::object::log_path;
use crate::reader::Reader;
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::snapshot::Snapshot;
use crate::vault::chain;

/// Where immutable, content-named objects lie.
const AREAS: [&str; 3] = ["packs/", "index/", "snapshots/"];
const SESSIONS: &str = "sessions/";
/// Requests at the same time.
const REQUESTS_MAX: usize = 8;
/// What one round makes possible, the next one does: condemn, sweep, delete. More are needed only while others work too.
const ROUNDS_MAX: usize = 8;

/// Collects on one replica.
pub struct Collector<'a> {
    pub(super) replica: &'a mut Replica,
    /// Where compactions happen too.
    pub(super) beside: Beside<'a>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) watch: Watch<'a>,
    pub(super) outcome: Outcome,
    needs: NeedReader,
    needed: Option<Arc<Needed>>,
    times: BTreeMap<u64, Timestamp>,
}

/// What snapshots reach, where all of it could be read.
pub(super) struct Reach<'i> {
    pub(super) marks: Marks<'i>,
    pub(super) usage: BTreeMap<PackId, PackUsage>,
    /// The snapshots that were walked.
    pub(super) walked: BTreeSet<SnapshotId>,
}

impl<'a> Collector<'a> {
    /// A collector with the keys of a keeper or an owner.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for another role.
    pub fn new(replica: &'a mut Replica, ring: Arc<KeyRing>, watch: Watch<'a>) -> Result<Self> {
        let rights = replica.state().rights(ring.writer_id());
        if !rights.is_some_and(|rights| rights.allow(Rights::SWEEP) && rights.allow(Rights::CONDEMN)) {
            return Err(Error::new(Kind::Forbidden, "collecting needs a keeper's or an owner's key"));
        }
        Ok(Self {
            replica,
            beside: Beside::new(std::iter::empty()),
            ring,
            watch,
            outcome: Outcome::default(),
            needs: NeedReader::default(),
            needed: None,
            times: BTreeMap::new(),
        })
    }

    /// The same, whose compactions happen on these other replicas of the vault too.
    #[must_use]
    pub fn beside(mut self, others: impl Iterator<Item = &'a mut Replica>) -> Self {
        self.beside = Beside::new(others);
        self
    }

    /// What a collection would do now.
    ///
    /// # Errors
    /// The store's; [`Kind::Damaged`] if log or index are.
    pub async fn plan(mut self, index: &Arc<Index>, options: &Options) -> Result<Outcome> {
        let mut stock = self.take_stock().await?;
        let reach = self.reach(index, options).await?;
        let left = self.decide(&mut stock, reach.as_ref(), options).await?;
        Ok(Outcome { left, ..self.outcome })
    }

    /// Collects: round after round, until there is nothing left that could be done now.
    ///
    /// # Errors
    /// As [`Collector::plan`]; [`Kind::NotTheWriter`] before anything is done; [`Kind::Unavailable`] and its like leave done
    /// what was done.
    pub async fn run(mut self, index: &Arc<Index>, options: &Options) -> Result<Outcome> {
        self.replica.must_be_writer()?;
        let stop = self.watch.stop;
        let mut stock = self.take_stock().await?;
        let mut reach = self.reach(index, options).await?;
        for round in 0..ROUNDS_MAX {
            let plan = self.decide(&mut stock, reach.as_ref(), options).await?;
            if round == 0 {
                let problems = self.outcome.problems.clone();
                (self.watch.planned)(&Outcome { left: plan.clone(), problems, ..Outcome::default() })?;
            }
            if plan.is_idle() {
                break;
            }
            for session in &plan.fence {
                self.fence(*session).await?;
            }
            stop()?;
            self.delete(&plan, &mut stock).await?;
            stop()?;
            self.sweep(&plan, &stock).await?;
            self.condemn(&plan, &stock).await?;
            stop()?;
            if let Some(reach) = reach.take().filter(|_| !plan.compact.is_empty()) {
                self.compact(&plan.compact, &reach, &mut stock).await?;
            }
        }
        // Nothing relies on a checkpoint: no plan names them, and what cannot be deleted stays.
        drop(log::checkpoint::clear(self.replica.store(), self.replica.file()).await);
        self.outcome.left = self.decide(&mut stock, reach.as_ref(), options).await?;
        Ok(self.outcome)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.watch.clock)()
    }

    async fn take_stock(&self) -> Result<Stock> {
        let store = self.replica.store();
        let mut objects = Vec::new();
        for area in AREAS {
            objects.extend(store.list(area).await?.into_iter().filter_map(|listed| {
                let (name, swept) = Name::of_key(&listed.path)?;
                Some(Stored { name, swept, bytes: listed.bytes, modified: listed.modified })
            }));
        }
        let mut stock = Stock::new(objects);
        for listed in store.list(SESSIONS).await? {
            let session = listed.path.strip_prefix(SESSIONS).and_then(|rest| rest.split('/').next());
            if let Some(Ok(session)) = session.map(str::parse::<SessionId>) {
                stock.add_session_file(session, listed.path, listed.bytes, listed.modified);
            }
        }
        Ok(stock)
    }

    async fn decide(
        &mut self,
        stock: &mut Stock,
        reach: Option<&Reach<'_>>,
        options: &Options,
    ) -> Result<Plan> {
        self.replica.catch_up().await?;
        let now = self.now();
        let needed = self.needed(now).await?;
        *stock =
            std::mem::take(stock).with_committed(self.needs.evidence().segments.values().flatten().copied());
        self.read_times().await?;
        let facts = Facts {
            state: self.replica.state(),
            needed: &needed,
            times: &self.times,
            stock,
            usage: reach.map(|reach| &reach.usage),
            now,
        };
        Ok(plan(&facts, options))
    }

    /// What roots need on the state that the next entry follows.
    async fn needed(&mut self, now: Timestamp) -> Result<Arc<Needed>> {
        let known = self.needed.take().filter(|_| !Rule::PrefixesDecide.holds());
        let needed = match known {
            Some(known) => known,
            None => Arc::new(self.needs.needed(self.replica, now).await?),
        };
        self.needed = Some(Arc::clone(&needed));
        Ok(needed)
    }

    /// Reads the times of the entries that a plan looks at.
    async fn read_times(&mut self) -> Result<()> {
        let wanted = wanted_times(self.replica.state());
        self.times.retain(|n, _| wanted.contains(n));
        for n in wanted {
            if !self.times.contains_key(&n) {
                let bytes = self.replica.store().read(&log_path(n)).await?;
                let time = Envelope::decode(&bytes, self.replica.vault_id())?.time;
                self.times.insert(n, time);
            }
        }
        Ok(())
    }

    /// Walks the trees of all roots, the other replicas' included: what they reach is copied too; none where nothing is to
    /// be compacted, or not everything could be read.
    async fn reach<'i>(&mut self, index: &'i Arc<Index>, options: &Options) -> Result<Option<Reach<'i>>> {
        if options.waste_percent.is_none() {
            return Ok(None);
        }
        let ring = Arc::clone(&self.ring);
        let replicas = || std::iter::once(&*self.replica).chain(self.beside.replicas());
        let bad = replicas().flat_map(|replica| replica.state().all_bad()).copied().collect();
        let siblings = Siblings::new(replicas().map(|replica| replica.objects().clone()));
        let now = self.now();
        let roots: BTreeSet<SnapshotId> =
            replicas().flat_map(|replica| replica.state().roots(now).into_keys()).collect();
        let reader = Reader::new(siblings.clone(), Arc::clone(&ring), Arc::clone(index)).last(bad);
        let mut walker = Walker::new(Arc::new(reader), ring, Marks::new(index));
        for id in &roots {
            (self.watch.stop)()?;
            let opened = self.snapshot(id, &siblings).await;
            let walked = match opened {
                Ok(snapshot) => walker.walk(snapshot.contents.tree).await,
                Err(error) => Err(error),
            };
            match walked {
                Ok(()) => {}
                Err(error) if is_of_one_object(&error) => {
                    self.outcome.problems.push(format!("nothing is compacted: {}", chain(&error)));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let (marks, reached) = walker.finish()?;
        Progress::add(&self.watch.progress.nodes, reached.nodes);
        if !reached.is_complete() {
            self.outcome.problems.push(told(&reached));
            return Ok(None);
        }
        let usage = marks.usage()?;
        Ok(Some(Reach { marks, usage, walked: roots }))
    }

    async fn snapshot(&self, id: &SnapshotId, siblings: &Siblings) -> Result<Snapshot> {
        let bytes = siblings.read(&Name::snapshot(*id)).await?;
        let replicas = || std::iter::once(&*self.replica).chain(self.beside.replicas());
        Snapshot::decode(&bytes, &self.ring, |writer| {
            replicas().find_map(|replica| replica.state().verify_key(writer))
        })
        .map_err(|error| error.context(format!("open snapshot {}", id.short())))
    }

    async fn fence(&mut self, session: SessionId) -> Result<()> {
        let ring = Arc::clone(&self.ring);
        let signer = Signer { key: &ring.signing, time: self.now() };
        let is_open =
            |state: &State| state.session(session).is_some_and(|session| session.state == SessionState::Open);
        let wanted = |state: &State| Ok(is_open(state).then_some(Op::Fence { session }));
        if self.replica.append(signer, wanted).await?.is_some() {
            self.outcome.fenced += 1;
        }
        Ok(())
    }

    /// Deletes keys; where all keys of a sweep are gone, notes it. A key that cannot be deleted now stays for the next time.
    async fn delete(&mut self, plan: &Plan, stock: &mut Stock) -> Result<()> {
        let store = self.replica.store().clone();
        let deletes = plan.delete.iter().map(|doomed| {
            let store = store.clone();
            async move { (doomed, store.delete(&doomed.key).await) }
        });
        let mut deletes = stream::iter(deletes.collect::<Vec<_>>()).buffer_unordered(REQUESTS_MAX);
        let mut gone = BTreeSet::new();
        let mut failure: Option<Error> = None;
        while let Some((Doomed { key, bytes }, deleted)) = deletes.next().await {
            (self.watch.stop)()?;
            match deleted {
                Ok(()) => {
                    if let Some(bytes) = bytes {
                        self.outcome.deleted.add(*bytes);
                    }
                    Progress::add(&self.watch.progress.deleted, 1);
                    gone.insert(key.clone());
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        drop(deletes);
        stock.remove(&gone);
        if let Some(error) = failure {
            return Err(error.context("delete collected objects"));
        }
        for sweep in plan.swept.clone() {
            let signer_key = Arc::clone(&self.ring);
            let signer = Signer { key: &signer_key.signing, time: self.now() };
            let is_open = |state: &State| state.given_up().any(|given_up| given_up.sweep == sweep);
            self.replica.append(signer, |state| Ok(is_open(state).then_some(Op::Swept { sweep }))).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self, plan: &Plan, stock: &Stock) -> Result<()> {
        let condemned: BTreeMap<Name, u64> = plan.sweep.iter().copied().collect();
        let names: Vec<Name> = condemned.keys().copied().collect();
        let still = |state: &State, name: &Name| {
            let by = condemned.get(name).copied();
            let answered = |by: u64| state.waiting_for(by).next().is_none();
            by.is_some_and(|by| state.condemned().get(name) == Some(&by) && answered(by))
        };
        // The bytes are looked up under the keys that are about to be given up.
        let before: BTreeMap<Name, u64> =
            names.iter().filter_map(|name| Some((*name, self.bytes(stock, name)?))).collect();
        let swept = self.append_names(&names, |names| Op::Sweep { names }, still).await?;
        for name in swept {
            self.outcome.swept.add(before.get(&name).copied().unwrap_or(0));
        }
        Ok(())
    }

    async fn condemn(&mut self, plan: &Plan, stock: &Stock) -> Result<()> {
        let still = |state: &State, name: &Name| !state.condemned().contains_key(name);
        let condemned = self.append_names(&plan.condemn, |names| Op::Condemn { names }, still).await?;
        for name in condemned {
            let bytes = self.bytes(stock, &name).unwrap_or(0);
            self.outcome.condemned.add(bytes);
        }
        Ok(())
    }

    fn bytes(&self, stock: &Stock, name: &Name) -> Option<u64> {
        stock.bytes_of(name, self.replica.state().sweep_of(name))
    }

    /// Appends entries over these names, each judged on the state that it follows: no root needs a name, and `still` says
    /// that the plan holds for it. Returns the names that were appended.
    async fn append_names(
        &mut self,
        names: &[Name],
        op: impl Fn(Vec<Name>) -> Op,
        still: impl Fn(&State, &Name) -> bool,
    ) -> Result<Vec<Name>> {
        let ring = Arc::clone(&self.ring);
        let mut appended = Vec::new();
        for part in log::parts(names) {
            loop {
                self.replica.catch_up().await?;
                let now = self.now();
                let needed = self.needed(now).await?;
                let state = self.replica.state();
                let fit: Vec<Name> = part
                    .iter()
                    .filter(|name| !needed.contains(name) && still(state, name))
                    .copied()
                    .collect();
                if fit.is_empty() {
                    break;
                }
                needed.permits(&fit)?;
                let signer = Signer { key: &ring.signing, time: now };
                if self.replica.append_here(signer, op(fit.clone())).await?.is_some() {
                    appended.extend(fit);
                    break;
                }
            }
        }
        Ok(appended)
    }
}

/// Whether an error is about one object and not about the store.
pub(super) fn is_of_one_object(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Forbidden | Kind::Unsupported)
}

fn told(reached: &Reached) -> String {
    let losses = reached.losses.join("; ");
    format!("nothing is compacted, because {} tree nodes cannot be read: {losses}", reached.nodes_lost)
}
