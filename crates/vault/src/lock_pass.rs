//! Keeping locked what a replica needs, where the vault's settings want that of the replica.
//!
//! | who | locks what | when |
//! |---|---|---|
//! | [`prove`] | what opens the vault | before a session begins: who may not lock learns it before hours of upload |
//! | `Locking` | what a commit relies on, the snapshot last | before the entry that ends a session is appended |
//! | [`lock_pass`] | everything that is needed | once in each generation: `gc`, `vault lock` |
//! | [`review`] | nothing: it looks | `vault status`, `check` |
//!
//! Each object is locked until the end of the generation and the kept time on top; doing it again, or going on with what was
//! interrupted, costs two requests for each object that is locked already. No key of the vault is needed.
//!
//! Dull: [`crate::store::lock::generation`] decides until when and in which order, [`crate::log::duty`] what is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;
use crate::log::duty::Needed;
use crate::log::{LockSettings, State, Visible};
use crate::name::Name;
use crate::needed::read_list;
use crate::object::{VAULT_FILE, key_path, log_path};
use crate::replica::Replica;
use crate::store::lock::generation::{Generations, Locked};
use crate::store::lock::{LockMode, LockSupport, Retention};

/// Objects that are locked, or looked at, at the same time.
const LOCKS_MAX: usize = 16;
/// Of the packs of a snapshot, so many are looked at for a sample.
const SAMPLE_PACKS: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a replica's objects are kept locked.
#[derive(Debug, Clone, Copy)]
pub struct LockRules {
    /// Who may lift a lock before its time.
    pub mode: LockMode,
    /// Until when objects are locked.
    pub generations: Generations,
    /// Since when commits lock what they rely on.
    pub since: Timestamp,
}

/// What a pass did.
#[derive(Debug)]
pub struct LockReport {
    /// Until when everything is locked that did not fail.
    pub until: Timestamp,
    /// Objects whose lock was set or made longer.
    pub extended: usize,
    /// Objects that were locked long enough.
    pub covered: usize,
    /// What could not be locked, each with its object's key in the message.
    pub failed: Vec<Error>,
    /// When the next pass has something to do.
    pub next_pass: Timestamp,
}

/// How a replica's locks are, as far as they were looked at.
#[derive(Debug, Default)]
pub struct LockReview {
    /// Objects looked at.
    pub looked: usize,
    /// Keys of those that are not locked, or by a weaker mode.
    pub unlocked: Vec<String>,
    /// Keys of those whose lock runs out before the kept time has passed.
    pub short: Vec<String>,
    /// When the first lock of those looked at runs out.
    pub first_end: Option<Timestamp>,
    /// What could not be looked at, each with its object's key in the message.
    pub failed: Vec<Error>,
}

impl LockRules {
    /// What the settings say.
    pub fn of(settings: &LockSettings) -> Self {
        let generations = Generations::new(DAY * settings.keep_days, DAY * settings.generation_days);
        Self { mode: settings.mode, generations, since: settings.since }
    }

    /// The lock that an object gets at `now`.
    pub fn wanted(&self, now: Timestamp) -> Retention {
        Retention { mode: self.mode, until: self.generations.until(now) }
    }

    /// Whether what a commit of the time `committed` locked is locked long enough for another one at `now`.
    fn holds_for(&self, committed: Timestamp, now: Timestamp) -> bool {
        committed >= self.since && self.generations.until(committed) >= self.generations.until(now)
    }
}

impl Replica {
    /// How the settings want this replica's objects to be locked; none if they do not.
    pub fn lock_rules(&self) -> Option<LockRules> {
        let replica = self.state().replica()?;
        self.state().config().lock_of(replica).map(LockRules::of)
    }
}

/// Makes sure that a session may end here: the bucket has object lock, and what opens the vault is locked. Succeeds at once
/// where no locks are wanted.
///
/// # Errors
/// [`Kind::Unlocked`] where it cannot be done; the store's.
pub async fn prove(replica: &Replica, now: Timestamp) -> Result<()> {
    let Some(rules) = replica.lock_rules() else { return Ok(()) };
    must_have_locks(replica).await?;
    lock_paths(replica, &rules, ways_in(replica), now).await
}

/// Makes sure that the store can lock objects.
///
/// # Errors
/// [`Kind::Unlocked`] saying why it cannot; the store's.
pub async fn must_have_locks(replica: &Replica) -> Result<()> {
    match replica.store().lock_support().await {
        Ok(LockSupport::Missing(why)) => {
            let address = replica.store().address();
            Err(Error::new(Kind::Unlocked, format!("lock objects at {address}: {why}")))
        }
        // Who may not ask finds out by locking.
        Err(error) if error.kind() != Kind::Denied => Err(error),
        Ok(LockSupport::Ready) | Err(_) => Ok(()),
    }
}

/// What a session has locked of what its end relies on.
#[derive(Debug, Default)]
pub(crate) struct Locking {
    done: BTreeSet<String>,
}

impl Locking {
    /// Takes for locked what the commit of `parent`, visible here, locked in the same generation: a commit is not appended before.
    pub(crate) async fn after(replica: &Replica, parent: Option<&Visible>, now: Timestamp) -> Self {
        let Some((rules, parent)) = replica.lock_rules().zip(parent) else { return Self::default() };
        if !rules.holds_for(parent.time, now) {
            return Self::default();
        }
        let list = read_list(replica.objects(), replica.vault_id(), parent.need_list).await;
        // What cannot be read is locked once more.
        let Ok(list) = list else { return Self::default() };
        let packs = list.packs.iter().map(|pack| Name::pack(*pack));
        let names = packs.chain(list.chain.iter().map(|id| Name::index(*id)));
        Self { done: names.map(|name| replica.objects().key(&name)).collect() }
    }

    /// Locks those of `names` that were not locked before, the snapshot last; false if there were none, or no locks are wanted
    /// here.
    ///
    /// # Errors
    /// As [`prove`].
    pub(crate) async fn lock<'a>(
        &mut self,
        replica: &Replica,
        names: impl Iterator<Item = &'a Name>,
        now: Timestamp,
    ) -> Result<bool> {
        let Some(rules) = replica.lock_rules() else { return Ok(false) };
        let keys = names.map(|name| replica.objects().key(name));
        let mut due: Vec<String> = keys.filter(|key| !self.done.contains(key)).collect();
        if due.is_empty() {
            return Ok(false);
        }
        due.sort_unstable_by_key(|key| key.starts_with("snapshots/"));
        lock_paths(replica, &rules, due.clone(), now).await?;
        self.done.extend(due);
        Ok(true)
    }
}

/// Locks one object that is about to be relied on; does nothing where no locks are wanted.
///
/// # Errors
/// As [`prove`].
pub(crate) async fn lock_one(replica: &Replica, path: &str, now: Timestamp) -> Result<()> {
    let Some(rules) = replica.lock_rules() else { return Ok(()) };
    lock_paths(replica, &rules, vec![path.to_owned()], now).await
}

/// Locks all of these, in this order; the first failure ends it.
async fn lock_paths(replica: &Replica, rules: &LockRules, paths: Vec<String>, now: Timestamp) -> Result<()> {
    let (store, wanted) = (replica.store(), rules.wanted(now));
    let locks = paths.iter().map(|path| store.lock_until(path, wanted));
    let mut locks = stream::iter(locks.collect::<Vec<_>>()).buffered(LOCKS_MAX);
    while let Some(locked) = locks.next().await {
        locked.map_err(|error| match error.kind() {
            Kind::Denied | Kind::Unsupported => {
                let message = format!("the vault's settings want it locked, and it cannot be: {error}");
                Error::new(Kind::Unlocked, message).because(error)
            }
            _ => error,
        })?;
    }
    Ok(())
}

/// Locks what `needed` names on `replica`, and what everything else hangs on: the vault's description, key slots,
/// certificates and the log. An object that fails is reported and the rest goes on.
pub async fn lock_pass(replica: &Replica, needed: &Needed, rules: LockRules, now: Timestamp) -> LockReport {
    let objects = keys(replica, needed).map(|path| Locked { path, until: None });
    let plan = rules.generations.plan(objects, now);
    let wanted = Retention { mode: rules.mode, until: plan.until };
    let mut report = LockReport {
        until: plan.until,
        extended: 0,
        covered: 0,
        failed: Vec::new(),
        next_pass: plan.next_pass,
    };
    let store = replica.store();
    let locks = plan.extend.iter().map(|path| store.lock_until(path, wanted));
    // In order, so that what opens the vault is locked before anything else is begun.
    let mut locks = stream::iter(locks.collect::<Vec<_>>()).buffered(LOCKS_MAX);
    while let Some(outcome) = locks.next().await {
        match outcome {
            Ok(true) => report.extended += 1,
            Ok(false) => report.covered += 1,
            Err(error) => report.failed.push(error),
        }
    }
    report
}

/// How many objects a pass goes over.
pub fn pass_objects(replica: &Replica, needed: &Needed) -> usize {
    keys(replica, needed).count()
}

/// Looks at the locks of everything that a pass would lock.
pub async fn review(replica: &Replica, needed: &Needed, rules: LockRules, now: Timestamp) -> LockReview {
    look_at(replica, keys(replica, needed).collect(), rules, now).await
}

/// Looks at a part that tells soon: what opens the vault, the newest log entry, and of each source's newest snapshot
/// its objects and at most 64 of its packs.
pub async fn review_sample(replica: &Replica, rules: LockRules, now: Timestamp) -> LockReview {
    let state = replica.state();
    let mut paths = ways_in(replica);
    paths.extend(state.next().checked_sub(1).map(log_path));
    let sources: BTreeSet<_> = state.visible().values().map(|visible| visible.source).collect();
    let mut failed = Vec::new();
    for (id, visible) in sources.into_iter().filter_map(|source| state.latest(source)) {
        paths.push(replica.objects().key(&Name::snapshot(id)));
        match read_list(replica.objects(), replica.vault_id(), visible.need_list).await {
            Ok(list) => {
                let packs = state.serving_all(&id, &list.packs);
                let step = packs.len().div_ceil(SAMPLE_PACKS).max(1);
                let names = packs.into_iter().step_by(step).map(Name::pack);
                let names = names.chain(list.chain.into_iter().map(Name::index));
                paths.extend(names.map(|name| replica.objects().key(&name)));
            }
            Err(error) => failed.push(error),
        }
    }
    let mut review = look_at(replica, paths, rules, now).await;
    review.failed.extend(failed);
    review
}

async fn look_at(replica: &Replica, paths: Vec<String>, rules: LockRules, now: Timestamp) -> LockReview {
    let store = replica.store();
    let looks = paths.into_iter().map(|path| async move { (store.locked_until(&path).await, path) });
    let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(LOCKS_MAX);
    let mut review = LockReview::default();
    while let Some((lock, path)) = looks.next().await {
        review.looked += 1;
        match lock {
            Ok(Some(lock)) if lock.mode >= rules.mode => {
                review.first_end = review.first_end.into_iter().chain([lock.until]).min();
                if !rules.generations.is_kept(lock.until, now) {
                    review.short.push(path);
                }
            }
            Ok(_) => review.unlocked.push(path),
            Err(error) => review.failed.push(error),
        }
    }
    review.unlocked.sort_unstable();
    review.short.sort_unstable();
    review
}

/// The keys of everything that stays.
fn keys(replica: &Replica, needed: &Needed) -> impl Iterator<Item = String> {
    ways_in(replica)
        .into_iter()
        .chain((0..replica.state().next()).map(log_path))
        .chain(needed.names().map(|name| replica.objects().key(name)))
}

/// What opens the vault: its description, key slots and certificates.
fn ways_in(replica: &Replica) -> Vec<String> {
    let state: &State = replica.state();
    let certificates = state
        .certificates()
        .filter_map(|(holder, _)| state.certificate_object(holder))
        .map(|id| key_path(&id));
    let slots = state.slots().map(|(_, object)| key_path(&object));
    [VAULT_FILE.to_owned()].into_iter().chain(slots).chain(certificates).collect()
}
