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
use super::rules::{Rule, turn_off};
use crate::keys::{Rights, Role};

/// What a search found.
struct Found {
    worlds: usize,
    violation: Option<(String, Vec<String>)>,
}

/// Searches every order of steps with these rules turned off; stops at the first violation, with the steps that lead to it.
fn search(off: &[Rule], left: Left) -> Found {
    turn_off(off);
    let log = Log::new();
    let mut fixed = Fixed::new(&log);
    let start = World::start(&fixed, log.state, left);
    let mut met = HashSet::from([start.fingerprint()]);
    let mut waiting = vec![(start, Vec::new())];
    while let Some((world, steps)) = waiting.pop() {
        for (step, next) in world.next(&mut fixed) {
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

const COLLECTING: Left =
    Left { condemns: 2, sweeps: 2, fences: 1, forgets: 1, compactions: 0, pins: 0, revivals: 0, writers: 2 };

#[track_caller]
fn holds(left: Left, worlds_min: usize) {
    let found = search(&[], left);
    assert!(found.violation.is_none(), "{:#?}", found.violation);
    assert!(found.worlds >= worlds_min, "{} worlds", found.worlds);
}

#[track_caller]
fn breaks(off: &[Rule], left: Left) {
    let found = search(off, left);
    assert!(found.violation.is_some(), "{off:?} off: {} worlds and nothing is lost", found.worlds);
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
    breaks(&[Rule::RootsCount], COLLECTING);
    breaks(&[Rule::SweepsWait], COLLECTING);
    breaks(&[Rule::SweepsWait, Rule::CommitsLook], COLLECTING);
    breaks(&[Rule::KeepsCount], COLLECTING);
    breaks(&[Rule::KeysMove], COLLECTING);
    breaks(&[Rule::PrefixesDecide], COLLECTING);
    breaks(&[Rule::StraysAreLogged], COLLECTING);
    breaks(&[Rule::ForgetsAreFinal], reviving);
    breaks(&[Rule::PinsCount], pinning);
    breaks(&[Rule::CopiesWait], compacting);
}

#[test]
fn every_kind_of_holder_takes_part() {
    // The search stands on the roles' presets: a keeper that could not sweep would make it pass for nothing.
    assert!(Rights::of_role(Role::Keeper).allow(Rights::SWEEP));
    assert!(!Rights::of_role(Role::Writer).allow(Rights::CONDEMN));
}
