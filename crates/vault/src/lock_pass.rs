//! The pass over the locks of a replica: everything that it needs is locked until the end of the generation and the kept
//! time on top. Once in each generation suffices; doing it again, or going on with one that was interrupted, costs two
//! requests for each object that is locked already. Needs no key.
//!
//! Dull: [`crate::store::lock::generation`] decides until when and in which order, [`crate::log::duty`] what is needed.

use futures_util::{StreamExt, stream};

use crate::error::Error;
use crate::id::Timestamp;
use crate::log::duty::Needed;
use crate::object::{VAULT_FILE, key_path, log_path};
use crate::replica::Replica;
use crate::store::lock::generation::{Generations, Locked};
use crate::store::lock::{LockMode, Retention};

/// Objects that are locked at the same time.
const LOCKS_MAX: usize = 16;

/// How a replica's objects are kept locked.
#[derive(Debug, Clone, Copy)]
pub struct LockRules {
    /// Who may lift a lock before its time.
    pub mode: LockMode,
    /// Until when objects are locked.
    pub generations: Generations,
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
    let mut locks = stream::iter(locks).buffered(LOCKS_MAX);
    while let Some(outcome) = locks.next().await {
        match outcome {
            Ok(true) => report.extended += 1,
            Ok(false) => report.covered += 1,
            Err(error) => report.failed.push(error),
        }
    }
    report
}

/// The keys of everything that stays.
fn keys(replica: &Replica, needed: &Needed) -> impl Iterator<Item = String> {
    let state = replica.state();
    let certificates = state
        .certificates()
        .filter_map(|(holder, _)| state.certificate_object(holder))
        .map(|id| key_path(&id));
    [VAULT_FILE.to_owned()]
        .into_iter()
        .chain(state.slots().map(|(_, object)| key_path(&object)))
        .chain(certificates)
        .chain((0..state.next()).map(log_path))
        .chain(needed.names().map(|name| replica.objects().key(name)))
}
