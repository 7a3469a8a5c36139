//! What a collection would do on one replica now. Pure: the log's state, what roots need, a listing and the time come in; a plan
//! comes out, to be shown or carried out.
//!
//! A plan is an intention. Each step of it is decided again, by the rules of `docs/format/log.md` section 7, on the state that its
//! entry follows. The listing is a hint: what it omits waits for the next collection, and what it makes up costs a
//! condemned name that nobody has.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::stock::{Stock, Stray};
use crate::id::{PackId, SessionId, SnapshotId, Timestamp};
use crate::index::PackUsage;
use crate::log::State;
use crate::log::duty::Needed;
use crate::log::rules::Rule;
use crate::log::state::{Session, SessionState};
use crate::name::Name;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The log's state.
    pub state: &'a State,
    /// What its roots need.
    pub needed: &'a Needed,
    /// Times of the log entries that [`wanted_times`] asks for, by their authors' clocks.
    pub times: &'a BTreeMap<u64, Timestamp>,
    /// Objects that a listing shows.
    pub stock: &'a Stock,
    /// How much of each pack snapshots reach; none where that is not known for all of them, and then nothing is compacted.
    pub usage: Option<&'a BTreeMap<PackId, PackUsage>>,
    /// The time.
    pub now: Timestamp,
}

/// Objects and their bytes, as far as a listing tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    /// Adds an object.
    pub fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// A key that nobody relies on any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The key.
    pub key: String,
    /// Its bytes; none if the listing does not show it.
    pub bytes: Option<u64>,
}

/// A pack that is worth being copied without its waste.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wasteful {
    /// What is in it.
    pub usage: PackUsage,
    /// Whether an owner vouched for it: what is and what is not never meet in one new pack.
    pub vouched: bool,
}

/// What a collection would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Snapshots whose needs cannot be read. While there are any nothing is called unneeded.
    pub blocked_by: Vec<SnapshotId>,
    /// Sessions without a sign of life for too long.
    pub fence: Vec<SessionId>,
    /// Keys to delete.
    pub delete: Vec<Doomed>,
    /// Sweeps of which no key is left after that.
    pub swept: Vec<u64>,
    /// Names condemned long enough ago, by these entries, and answered by everyone.
    pub sweep: Vec<(Name, u64)>,
    /// Their bytes.
    pub sweep_amount: Amount,
    /// Condemned names that grace still protects.
    pub in_grace: Amount,
    /// When the first of them may be swept.
    pub grace_ends: Option<Timestamp>,
    /// Condemned names that open sessions have not answered.
    pub unanswered: Amount,
    /// Those sessions.
    pub unanswered_by: BTreeSet<SessionId>,
    /// Names that nobody needs.
    pub condemn: Vec<Name>,
    /// Their bytes.
    pub condemn_amount: Amount,
    /// Strays that are left alone because an open session may own them.
    pub spared: Amount,
    /// Packs to compact, the most wasteful first.
    pub compact: Vec<Wasteful>,
    /// Objects that the listing shows.
    pub stored: Amount,
}

impl Plan {
    /// Bytes of the packs to compact, and how many of these will be copied.
    pub fn compact_bytes(&self) -> (u64, u64) {
        let total = self.compact.iter().map(|pack| pack.usage.pack.size).sum();
        (total, self.compact.iter().map(|pack| pack.usage.bytes_live).sum())
    }

    /// Bytes of the keys to delete.
    pub fn delete_bytes(&self) -> u64 {
        self.delete.iter().filter_map(|doomed| doomed.bytes).sum()
    }

    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        self.fence.is_empty()
            && self.delete.is_empty()
            && self.swept.is_empty()
            && self.sweep.is_empty()
            && self.condemn.is_empty()
            && self.compact.is_empty()
    }
}

/// The log entries whose times [`plan`] looks at: condemns, and the last answers of open sessions.
pub fn wanted_times(state: &State) -> BTreeSet<u64> {
    let answers = state.open_sessions().map(|(_, session)| session.answered);
    state.condemned().values().copied().chain(answers).collect()
}

/// Plans a collection.
pub fn plan(facts: &Facts<'_>, options: &Options) -> Plan {
    let mut plan = Plan { stored: facts.stock.amount(), ..Plan::default() };
    plan.fence = silent(facts, options);
    plan.blocked_by = facts.needed.unread().iter().copied().collect();
    if !plan.blocked_by.is_empty() {
        return plan;
    }
    plan_deletes(facts, &mut plan);
    plan_sweeps(facts, options, &mut plan);
    plan_condemns(facts, &mut plan);
    plan.compact = wasteful(facts, options);
    plan
}

/// Open sessions that have shown no sign of life for so long. A fence is safe at any time; waiting only spares
/// somebody who is slow.
fn silent(facts: &Facts<'_>, options: &Options) -> Vec<SessionId> {
    let is_silent = |id: &SessionId, session: &Session| {
        let answered = facts.times.get(&session.answered).copied();
        let signs = [Some(session.time), answered, facts.stock.sign_of_life(id)];
        let last = signs.into_iter().flatten().max().unwrap_or(session.time);
        facts.now.0.saturating_sub(last.0) >= options.dead_micros
    };
    let open = facts.state.open_sessions();
    open.filter(|(id, session)| is_silent(id, session)).map(|(id, _)| id).collect()
}

/// The sessions that stay open.
fn left_open<'a>(facts: &Facts<'a>, plan: &Plan) -> Vec<(SessionId, &'a Session)> {
    facts.state.open_sessions().filter(|(id, _)| !plan.fence.contains(id)).collect()
}

fn plan_deletes(facts: &Facts<'_>, plan: &mut Plan) {
    let mut unsafe_sweeps: BTreeSet<u64> = BTreeSet::new();
    let mut sweeps: BTreeSet<u64> = BTreeSet::new();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    for given_up in facts.state.given_up() {
        sweeps.insert(given_up.sweep);
        // A sweep of what is needed broke its author's duty: its bytes may be the only ones.
        if facts.needed.contains(&given_up.name) && facts.state.is_gone(&given_up.name) {
            unsafe_sweeps.insert(given_up.sweep);
        }
    }
    // Whether a key of the others is listed or not: it is deleted, and then the log says that it is gone.
    let safe = facts.state.given_up().filter(|given_up| !unsafe_sweeps.contains(&given_up.sweep));
    keys.extend(safe.map(|given_up| given_up.key));
    for (session, key) in facts.stock.session_files() {
        if facts.state.session(*session).is_some_and(|session| session.state != SessionState::Open) {
            keys.insert(key.to_owned());
        }
    }
    // Keys that were given up before and are there all the same: a late write brought them back.
    for object in facts.stock.objects() {
        let latest = facts.state.sweep_of(&object.name);
        let is_given_up = match (object.swept, latest) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(key), Some(latest)) => key < latest,
        };
        if is_given_up && !(facts.needed.contains(&object.name) && facts.state.is_gone(&object.name)) {
            keys.insert(object.name.key(object.swept));
        }
    }
    let bytes = |key: &str| facts.stock.bytes_at(key);
    plan.delete = keys.into_iter().map(|key| Doomed { bytes: bytes(&key), key }).collect();
    plan.swept = sweeps.difference(&unsafe_sweeps).copied().collect();
}

fn plan_sweeps(facts: &Facts<'_>, options: &Options, plan: &mut Plan) {
    let open = left_open(facts, plan);
    for (name, condemned) in facts.state.condemned() {
        if facts.needed.contains(name) {
            continue;
        }
        let bytes = facts.stock.bytes_of(name, facts.state.sweep_of(name)).unwrap_or(0);
        // An entry whose time is not known was just appended.
        let since = facts.times.get(condemned).copied().unwrap_or(facts.now);
        let ends = Timestamp(since.0.saturating_add(options.grace_micros));
        if ends > facts.now {
            plan.in_grace.add(bytes);
            plan.grace_ends = Some(plan.grace_ends.map_or(ends, |first| first.min(ends)));
            continue;
        }
        let left = |id: &SessionId| open.iter().any(|(open, _)| open == id);
        let waiting_for: Vec<SessionId> = facts.state.waiting_for(*condemned).filter(left).collect();
        if waiting_for.is_empty() {
            plan.sweep.push((*name, *condemned));
            plan.sweep_amount.add(bytes);
        } else {
            plan.unanswered.add(bytes);
            plan.unanswered_by.extend(waiting_for);
        }
    }
}

fn plan_condemns(facts: &Facts<'_>, plan: &mut Plan) {
    let open: Vec<Timestamp> = left_open(facts, plan).iter().map(|(_, session)| session.time).collect();
    for object in facts.stock.objects() {
        let name = object.name;
        let in_force = object.swept == facts.state.sweep_of(&name);
        if !in_force || facts.needed.contains(&name) || facts.state.condemned().contains_key(&name) {
            continue;
        }
        match facts.stock.stray(object, facts.state) {
            Stray::Committed => {}
            // The session would keep what it relies on; but one that crashed is better resumed with what it has.
            Stray::Since(since) if open.iter().any(|begun| since.is_none_or(|since| since >= *begun)) => {
                plan.spared.add(object.bytes);
                continue;
            }
            Stray::Since(_) => {}
        }
        if !Rule::StraysAreLogged.holds() {
            plan.delete.push(Doomed { key: name.key(object.swept), bytes: Some(object.bytes) });
        }
        plan.condemn.push(name);
        plan.condemn_amount.add(object.bytes);
    }
}

fn wasteful(facts: &Facts<'_>, options: &Options) -> Vec<Wasteful> {
    let Some((usage, percent)) = facts.usage.zip(options.waste_percent) else { return Vec::new() };
    let is_wasteful = |usage: &&PackUsage| {
        let name = Name::pack(usage.pack.id);
        let waste = usage.bytes.saturating_sub(usage.bytes_live);
        facts.needed.contains(&name)
            && !facts.state.condemned().contains_key(&name)
            && !facts.state.is_gone(&name)
            && waste > 0
            && waste.saturating_mul(100) >= usage.bytes.saturating_mul(u64::from(percent))
    };
    let mut packs: Vec<Wasteful> = usage
        .values()
        .filter(is_wasteful)
        .map(|usage| Wasteful { usage: *usage, vouched: facts.state.vouched(&usage.pack.id) })
        .collect();
    packs.sort_by_key(|pack| {
        (std::cmp::Reverse(pack.usage.bytes - pack.usage.bytes_live), pack.usage.pack.id)
    });
    packs
}
