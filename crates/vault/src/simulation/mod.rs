//! Seeded simulation: many clients, two replicas, and everything that goes wrong.
//!
//! The real code of log, session, resume, collection, compaction, courier and repair runs on stores in memory whose lines
//! lose, repeat, delay and garble, on a clock that passes only while everybody waits. Two clients back up under one key, with
//! checkpoints, and take up what an interrupted run left, on its own host or on another; two collect and compact (on
//! both replicas, where both can be opened), one forgets, one pins and reads, one carries between the replicas, and one
//! mends from the other replica what rots. Any of them may die with any request, or stand still for days. After every step of
//! anybody:
//!
//! - each root has every object that it needs, under its key in force (I1, I2);
//! - no session that is open finds what it relies on swept (P1);
//! - a fenced session is never visible (I3), a forgotten snapshot never returns (I4);
//!
//! and at the end, when all is quiet, a repair makes whole what had rotted, one cleanup leaves nothing but what is
//! needed (P2), and every snapshot holds exactly what its writer put into it. What rots may be missing until then; nothing else
//! may. The mover's pipeline, which fills several replicas from one reading, is not part of it.
//!
//! Rules that are turned off ([`crate::log::rules`]) make this fail, each of them. Some are kept twice, by the log and by whoever
//! appends: those are turned off in both places. `log/search` shows the same of the rules alone, in every order of steps.
//!
//! `SHUDAO_SIMULATION_SEEDS=100000 cargo test --release -p shudao-vault --lib simulation::nothing` runs more, and
//! `SHUDAO_SIMULATION_SEEDS=2000..3000` these; `SHUDAO_SIMULATION_SEED=n` replays one.

mod client;
mod damage;
mod world;
mod writer;

use std::ops::Range;
use std::time::Duration;

use client::{Client, Task};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use world::World;

use crate::log::rules::{self, Rule};

/// Seeds in a test run, in all.
const SEEDS: u64 = 2_000;
/// Tests that share them, so that processors do too.
const SHARES: u64 = 8;
/// A mutant that loses nothing within so many seeds was not noticed.
const MUTANT_SEEDS: u64 = 400;

/// The seeds that are asked for: `from..to`, or so many.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("SHUDAO_SIMULATION_SEEDS") else { return 0..SEEDS };
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    from.parse().unwrap()..to.parse().unwrap()
}

/// One life of the vault; what went wrong, if anything did.
fn simulate(seed: u64, off: &[Rule]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    crate::suite::seeded::set(seed);
    rules::turn_off(off);
    rules::forget_copied();
    runtime.unwrap().block_on(async {
        let world = World::new(seed, off).await;
        let tasks = [
            Task::BackUp { source: 0 },
            Task::BackUp { source: 1 },
            Task::Collect,
            Task::Collect,
            Task::Forget,
            Task::Read,
            Task::Carry,
            Task::Repair,
        ];
        let clients = tasks.into_iter().zip(1..).map(|(task, number)| {
            let client = Client::new(&world, number, task);
            async move { client.live().await }
        });
        let lives = clients.collect::<FuturesUnordered<_>>().collect::<Vec<_>>();
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
        assert_eq!(simulate(seed, &[]), None, "seed {seed}");
        return;
    }
    for seed in seeds().filter(|seed| seed % SHARES == number) {
        let violation = simulate(seed, &[]);
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
fn is_noticed(off: &[Rule]) {
    let noticed = (0..MUTANT_SEEDS).find_map(|seed| simulate(seed, off));
    assert!(noticed.is_some(), "nothing is lost in {MUTANT_SEEDS} lives");
}

#[test]
fn without_reading_again_before_deciding_something_is_lost() {
    is_noticed(&[Rule::PrefixesDecide]);
}

#[test]
fn without_new_keys_something_is_lost() {
    is_noticed(&[Rule::KeysMove]);
}

#[test]
fn without_logging_strays_something_is_lost() {
    is_noticed(&[Rule::StraysAreLogged]);
}

#[test]
fn without_pins_something_is_lost() {
    is_noticed(&[Rule::PinsCount]);
}

#[test]
fn without_keeping_and_without_roots_something_is_lost() {
    is_noticed(&[Rule::KeepsCount, Rule::RootsCount]);
}

#[test]
fn without_looking_at_sweeps_and_without_waiting_for_answers_something_is_lost() {
    is_noticed(&[Rule::CommitsLook, Rule::SweepsWait]);
}

#[test]
fn without_an_end_to_forgetting_something_returns() {
    is_noticed(&[Rule::ForgetsAreFinal]);
}

#[test]
fn without_waiting_for_a_compactions_commit_something_is_lost() {
    is_noticed(&[Rule::CopiesWait]);
}
