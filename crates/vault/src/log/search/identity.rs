//! What makes two searched worlds the same.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::state::{SessionState, State};
use super::world::{COMPACT, Doing, FIRST, Left, World, name};

impl World {
    /// The world's identity: log numbers by rank, so that orders without a difference fall together. Ids differ in their
    /// first byte.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let rank = self.ranks();
        let mut out = Vec::with_capacity(256);
        let Left { condemns, sweeps, fences, forgets, compactions, pins, revivals, .. } = self.left;
        out.extend([
            condemns,
            sweeps,
            fences,
            forgets,
            compactions,
            pins,
            revivals,
            self.compacting.number(),
        ]);
        for writer in &self.writers {
            out.extend([writer.doing.number(), rank[&writer.since]]);
        }
        for state in self.states() {
            print_state(state, &rank, &mut out);
        }
        for keys in [&self.store, &self.late] {
            out.push(200);
            for (name, sweep) in keys {
                out.extend([name.id.0[0], sweep.map_or(255, |n| rank[&n])]);
            }
        }
        *blake3::hash(&out).as_bytes()
    }

    fn states(&self) -> impl Iterator<Item = &Rc<State>> {
        let known = self.writers.iter().map(|writer| &writer.known);
        known.chain([&self.head, &self.compacted, &self.keeper])
    }

    fn ranks(&self) -> BTreeMap<u64, u8> {
        let mut numbers: BTreeSet<u64> = self.writers.iter().map(|writer| writer.since).collect();
        for state in self.states() {
            numbers.extend(state.condemned().values().chain(state.swept().values()));
            for session in state.sessions.values() {
                numbers.extend([session.begun, session.answered]);
                numbers.extend(session.kept.values());
            }
        }
        numbers.extend(self.store.iter().chain(&self.late).filter_map(|(_, sweep)| *sweep));
        numbers.into_iter().zip(0..).collect()
    }
}
impl Doing {
    fn number(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Looking => 1,
            Self::Done => 2,
            Self::Putting(pack) => 10 + pack,
            Self::Relying(pack) => 20 + pack,
        }
    }
}

fn print_state(state: &State, rank: &BTreeMap<u64, u8>, out: &mut Vec<u8>) {
    for (name, n) in state.condemned() {
        out.extend([201, name.id.0[0], rank[n]]);
    }
    for (name, n) in state.swept() {
        out.extend([202, name.id.0[0], rank[n], u8::from(state.is_gone(name))]);
    }
    for (id, one) in &state.sessions {
        let parent = one.parent.map_or(255, |parent| parent.0[0]);
        let is_open = u8::from(one.state == SessionState::Open);
        out.extend([203, id.0[0], is_open, parent, rank[&one.begun], rank[&one.answered]]);
        for (name, n) in &one.kept {
            out.extend([204, name.id.0[0], rank[n]]);
        }
    }
    for id in state.visible().keys() {
        out.extend([205, id.0[0]]);
        out.extend(state.serving(id, name(FIRST).id).iter().map(|pack| pack.0[0]));
    }
    out.extend(state.forgotten().iter().flat_map(|id| [206, id.0[0]]));
    out.extend([207, state.pins().len() as u8, u8::from(state.is_compacted(&name(COMPACT).id))]);
}
