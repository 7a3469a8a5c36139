//! Seeded simulation: many clients, two replicas, and everything that goes wrong.
//!
//! The real code of log, session, collection, compaction and courier runs on stores in memory whose lines lose, repeat,
//! delay and garble, on a clock that passes only while everybody waits. Two clients back up under one key, two collect
//! and compact (on both replicas at once, where both can be opened), one forgets and pins, one reads, one carries between the replicas; any of them may die with any request, or
//! stand still for days. After every step of anybody:
//!
//! - each root has every object that it needs, under its key in force (I1, I2);
//! - no session that is open finds what it relies on swept (P1);
//! - a fenced session is never visible (I3), a forgotten snapshot never returns (I4);
//!
//! and at the end, when all is quiet, one cleanup leaves nothing but what is needed (P2), and every snapshot holds
//! exactly what its writer put into it. Rules that are turned off make this fail; those that the
//! actors obey by themselves too, or that these lives seldom put to the test, are shown to be needed by the search in
//! `log`.
//!
//! `SHUDAO_SIMULATION_SEEDS=100000 cargo nextest run --workspace --cargo-profile release -E 'test(simulation)'` runs
//! more; `SHUDAO_SIMULATION_SEED=n` replays one.

mod client;
mod world;

use std::time::Duration;

use client::{Client, Task};
use world::World;

use crate::log::rules::Rules;

/// Seeds in a test run, in all.
const SEEDS: u64 = 2_000;
/// Tests that share them, so that processors do too.
const SHARES: u64 = 8;
/// A mutant that loses nothing within so many seeds was not noticed.
const MUTANT_SEEDS: u64 = 400;

fn seeds() -> u64 {
    let given = std::env::var("SHUDAO_SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(SEEDS)
}

/// One life of the vault; what went wrong, if anything did.
fn simulate(seed: u64, rules: Rules) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    crate::suite::seeded::set(seed);
    rules.set();
    runtime.unwrap().block_on(async {
        let world = World::new(seed).await;
        let tasks = [
            Task::BackUp { source: 0 },
            Task::BackUp { source: 1 },
            Task::Collect,
            Task::Collect,
            Task::Forget,
            Task::Read,
            Task::Carry,
        ];
        let clients = tasks.into_iter().zip(1..).map(|(task, number)| {
            let client = Client::new(&world, number, task);
            async move { client.live().await }
        });
        let lives = futures_util::future::join_all(clients);
        // Whatever hangs for good is a fault too.
        if tokio::time::timeout(Duration::from_secs(400 * 24 * 3600), lives).await.is_err() {
            world.violated("somebody never ends".to_owned());
        }
        if !world.is_violated() {
            world.quiet_down().await;
        }
        world.violation()
    })
}

fn share(number: u64) {
    if let Some(seed) = std::env::var("SHUDAO_SIMULATION_SEED").ok().and_then(|text| text.parse().ok()) {
        assert_eq!(simulate(seed, Rules::ALL), None, "seed {seed}");
        return;
    }
    for seed in (0..seeds()).filter(|seed| seed % SHARES == number) {
        let violation = simulate(seed, Rules::ALL);
        assert_eq!(violation, None, "replay it with SHUDAO_SIMULATION_SEED={seed}");
    }
}

macro_rules! shares {
    ($($name:ident $number:literal)*) => { $(#[test] fn $name() { share($number); })* };
}

shares! {
    nothing_is_lost_0 0 nothing_is_lost_1 1 nothing_is_lost_2 2 nothing_is_lost_3 3
    nothing_is_lost_4 4 nothing_is_lost_5 5 nothing_is_lost_6 6 nothing_is_lost_7 7
}

#[track_caller]
fn is_noticed(change: impl Fn(&mut Rules)) {
    let mut rules = Rules::ALL;
    change(&mut rules);
    let noticed = (0..MUTANT_SEEDS).find_map(|seed| simulate(seed, rules));
    assert!(noticed.is_some(), "nothing is lost in {MUTANT_SEEDS} lives");
}

#[test]
fn without_reading_again_before_deciding_something_is_lost() {
    is_noticed(|rules| rules.losers_decide_again = false);
}

#[test]
fn without_new_keys_something_is_lost() {
    is_noticed(|rules| rules.keys_move = false);
}

#[test]
fn without_logging_strays_something_is_lost() {
    is_noticed(|rules| rules.strays_are_logged = false);
}

#[test]
fn without_pins_something_is_lost() {
    is_noticed(|rules| rules.pins_count = false);
}

#[test]
fn without_keeping_and_without_roots_something_is_lost() {
    is_noticed(|rules| (rules.keep_counts, rules.roots_count) = (false, false));
}
