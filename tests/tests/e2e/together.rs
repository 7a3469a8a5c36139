//! Two writers' machines, an owner that forgets and a keeper that collects with hardly any grace, all at once on one vault, and killed again and
//! again: what a writer was told is committed, and nobody forgot, is there to the last byte.
//!
//! Seconds in a test run; `SHUDAO_TOGETHER_SECONDS=300 cargo nextest run … -E 'test(together::)'` for minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use shudao_tests::client::Client;
use shudao_tests::compare::same;
use shudao_tests::content::{Noise, plant_small, put, put_noise};
use shudao_tests::invocation::Invocation;
use shudao_tests::output::Run;
use shudao_tests::tool::run;
use shudao_tests::vaultbox::Vaultbox;

const WRITERS: [&str; 2] = ["east", "west"];
/// Of each three or so runs, one is killed within so many milliseconds.
const KILLED_WITHIN_MS: u64 = 2_500;

/// What became of the runs of one machine.
#[derive(Debug, Default)]
struct Tally {
    done: u32,
    killed: u32,
    fenced: u32,
}

/// Runs to the end, or kills it at a random moment: then there is no outcome.
fn at_risk(invocation: &Invocation, chance: &mut Noise) -> Option<Run> {
    if chance.below(3) > 0 {
        return Some(invocation.run());
    }
    let mut running = invocation.start();
    park_timeout(Duration::from_millis(chance.below(KILLED_WITHIN_MS)));
    // Dropped, it is killed; one that was faster has said how it ended.
    if running.is_running() { None } else { Some(running.wait()) }
}

/// Changes the source and backs it up, until the time is over. Returns what it was told is committed, with a copy of the source as
/// it was then.
fn write(
    client: &Client,
    source: &Path,
    (name, seed): (&str, u64),
    until: Instant,
) -> (BTreeMap<String, PathBuf>, Tally) {
    let (mut committed, mut tally) = (BTreeMap::new(), Tally::default());
    let mut chance = Noise::new(seed);
    for round in 0_u64.. {
        if Instant::now() > until && tally.done > 0 {
            break;
        }
        put_noise(&source.join(format!("noise {}", chance.below(4))), 1 << 20, chance.next_number());
        put(&source.join("round"), format!("{name} {round}").as_bytes());
        let backup = client.shudao(["backup", "--json", "--source", name]).arg(source);
        let Some(ended) = at_risk(&backup, &mut chance) else {
            tally.killed += 1;
            continue;
        };
        if ended.mentions("fenced") {
            ended.exits(11);
            tally.fenced += 1;
            continue;
        }
        let snapshot = ended.ok().snapshot();
        let copy = client.machine.join(format!("copy {round}"));
        run("cp", ["-a".as_ref(), source.as_os_str(), copy.as_os_str()]);
        committed.insert(snapshot, copy);
        tally.done += 1;
    }
    (committed, tally)
}

/// Forgets all but the two newest snapshots of each source, and collects. Returns what was forgotten.
fn collect(owner: &Client, keeper: &Client, until: Instant) -> (BTreeSet<String>, Tally) {
    let (mut forgotten, mut tally) = (BTreeSet::new(), Tally::default());
    let mut chance = Noise::new(77);
    while Instant::now() < until || tally.done == 0 {
        let forget = owner.run(["forget", "--keep-last", "2", "--yes", "--json"]).ok();
        let verdicts = forget.rows().into_iter().filter(|verdict| verdict["forget"] == true);
        forgotten.extend(verdicts.map(|verdict| verdict["snapshot"].as_str().unwrap().to_owned()));
        match at_risk(&keeper.shudao(["gc", "--yes", "--json", "--grace", "2s"]), &mut chance) {
            Some(ended) => {
                ended.ok();
                tally.done += 1;
            }
            None => tally.killed += 1,
        }
    }
    (forgotten, tally)
}

#[test]
fn writers_and_a_keeper_at_once_that_are_killed_lose_nothing() {
    let seconds = std::env::var("SHUDAO_TOGETHER_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(15));
    let place = Vaultbox::new();
    let keeper = place.with_role("keeper", "keeper");
    let writers = WRITERS.map(|name| (name, place.with_role(name, "writer"), place.dir(name)));
    let (mut committed, mut forgotten) = (BTreeMap::new(), BTreeSet::new());
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| collect(&place.owner, &keeper, until));
        let writing: Vec<_> = writers
            .iter()
            .zip(0..)
            .map(|((name, client, source), seed)| {
                plant_small(source, seed);
                scope.spawn(move || write(client, source, (name, seed), until))
            })
            .collect();
        for (writer, (name, ..)) in writing.into_iter().zip(&writers) {
            let (told, tally) = writer.join().unwrap();
            println!("{name}: {tally:?}");
            assert!(tally.done > 0, "{tally:?}");
            committed.extend(told);
        }
        let (dropped, tally) = collecting.join().unwrap();
        println!("keeper: {tally:?}, {} snapshots forgotten", dropped.len());
        assert!(tally.done > 0, "{tally:?}");
        forgotten.extend(dropped);
    });

    keeper.run(["gc", "--yes", "--grace", "0s"]).ok();
    let check = place.owner.run(["check", "--read-data", "--json"]).ok();
    assert_eq!(check.count("findings"), 0, "{check}");
    let visible: BTreeSet<String> =
        place.owner.snapshots().iter().map(|shown| shown["snapshot"].as_str().unwrap().to_owned()).collect();
    assert!(visible.is_disjoint(&forgotten), "what was forgotten stays so");
    let mut restored = 0;
    for (snapshot, copy) in committed.iter().filter(|(snapshot, _)| !forgotten.contains(*snapshot)) {
        assert!(
            visible.contains(snapshot),
            "{snapshot} was said to be committed, nobody forgot it, and it is gone"
        );
        let target = place.path("target");
        place.owner.restore(snapshot, &target).ok();
        same(copy, &target);
        std::fs::remove_dir_all(&target).unwrap();
        restored += 1;
    }
    assert!(restored >= 1, "{visible:?}");
}
