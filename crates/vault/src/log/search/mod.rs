//! The rules of collection, searched exhaustively in small bounds: every order of the steps of a writer with a parent, a
//! writer without, a keeper who condemns, sweeps, fences, compacts and whose deletions land late, an owner who forgets, and a
//! reader who pins. Packs have two frames.
//!
//! The state is the real one, and what it judges is judged by its real code; the store is a set of keys. After every step:
//! every root's chunks are present under keys in force (I1), no open session finds what it relies on swept (P1), a fenced
//! session is never visible (I3), a forgotten snapshot never returns (I4). Each rule turned off must break one of these.

mod identity;
mod world;

use std::collections::HashSet;

use world::{Fixed, Left, World};

use super::fold::tests::World as Log;
use super::rules::Rules;
use crate::keys::{Rights, Role};

/// What a search found.
struct Found {
    worlds: usize,
    violation: Option<(String, Vec<String>)>,
}

/// Searches every order of steps; stops at the first violation, with the steps that lead to it.
fn search(fixed: &mut Fixed, rules: Rules, left: Left) -> Found {
    let start = World::start(fixed, rules, left);
    let mut met = HashSet::from([start.fingerprint()]);
    let mut waiting = vec![(start, Vec::new())];
    while let Some((world, steps)) = waiting.pop() {
        for (step, next) in world.next(fixed) {
            if !met.insert(next.fingerprint()) {
                continue;
            }
            let mut path: Vec<String> = steps.clone();
            path.push(step);
            if let Some(violation) = next.violation() {
                return Found { worlds: met.len(), violation: Some((violation, path)) };
            }
            waiting.push((next, path));
        }
    }
    Found { worlds: met.len(), violation: None }
}

fn fixed() -> Fixed {
    Fixed::new(&Log::new())
}

const COLLECTING: Left =
    Left { condemns: 2, sweeps: 2, fences: 1, forgets: 1, compactions: 0, pins: 0, revivals: 0, writers: 2 };

#[track_caller]
fn holds(left: Left, worlds_min: usize) {
    let found = search(&mut fixed(), Rules::ALL, left);
    assert!(found.violation.is_none(), "{:#?}", found.violation);
    assert!(found.worlds >= worlds_min, "{} worlds", found.worlds);
}

#[track_caller]
fn breaks(rule: &str, mutant: impl FnOnce(&mut Rules, &mut Fixed), left: Left) {
    let (mut rules, mut fixed) = (Rules::ALL, fixed());
    mutant(&mut rules, &mut fixed);
    let found = search(&mut fixed, rules, left);
    assert!(found.violation.is_some(), "{rule} is off: {} worlds and nothing is lost", found.worlds);
}

#[test]
fn nothing_is_lost_when_two_writers_and_a_keeper_meet() {
    holds(COLLECTING, 1_000);
}

#[test]
fn nothing_is_lost_when_a_keeper_compacts() {
    holds(Left { compactions: 1, writers: 1, ..COLLECTING }, 1_000);
}

#[test]
fn nothing_is_lost_when_a_reader_pins_and_a_courier_carries() {
    holds(Left { fences: 0, pins: 1, revivals: 1, ..COLLECTING }, 1_000);
}

#[test]
fn each_rule_is_needed() {
    let reviving = Left { revivals: 1, ..COLLECTING };
    let pinning = Left { pins: 1, writers: 1, fences: 0, ..COLLECTING };
    let compacting = Left { compactions: 1, writers: 1, fences: 0, ..COLLECTING };
    breaks("what roots need", |rules, _| rules.roots_count = false, COLLECTING);
    breaks("sweeps wait", |rules, _| rules.sweep_waits = false, COLLECTING);
    let neither = |rules: &mut Rules, _: &mut Fixed| (rules.sweep_waits, rules.commit_looks) = (false, false);
    breaks("sweeps wait and commits look", neither, COLLECTING);
    breaks("keeps count", |rules, _| rules.keep_counts = false, COLLECTING);
    breaks("keys move", |rules, _| rules.keys_move = false, COLLECTING);
    breaks("losers decide again", |rules, _| rules.losers_decide_again = false, COLLECTING);
    breaks("a forget is final", |rules, _| rules.forget_is_final = false, reviving);
    breaks("pins count", |rules, _| rules.pins_count = false, pinning);
    breaks("strays are logged", |_, fixed| fixed.deletes_strays = true, COLLECTING);
    breaks("compactions serve once committed", |_, fixed| fixed.counts_early = true, compacting);
}

#[test]
fn every_kind_of_holder_takes_part() {
    // The search stands on the roles' presets: a keeper that could not sweep would make it pass for nothing.
    assert!(Rights::of_role(Role::Keeper).allow(Rights::SWEEP));
    assert!(!Rights::of_role(Role::Writer).allow(Rights::CONDEMN));
}
