//! Collection: what no snapshot needs goes, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use shudao_tests::content::{plant_small, put, put_noise};
use shudao_tests::fault::{Fault, Target};
use shudao_tests::s3::S3Server;
use shudao_tests::vaultbox::Vaultbox;

/// Three generations of a source that shares some content, of which the first two are forgotten. Returns the place.
fn with_waste(source: &str) -> Vaultbox {
    let place = Vaultbox::new();
    let source = place.dir(source);
    three_generations(&source, || drop(place.owner.backup(&source).ok()));
    place
}

fn three_generations(source: &Path, back_up: impl Fn()) {
    plant_small(source, 1);
    for generation in 0..3u64 {
        // Of the first generation's packs more than half is waste, whatever frames its chunks share with others.
        let replaced = if generation == 0 { 10 << 20 } else { 3 << 20 };
        put_noise(&source.join("replaced"), replaced, 100 + generation);
        for part in 0..4 {
            let name = format!("part{part}");
            if generation == 0 {
                put_noise(&source.join(name), 1 << 20, 10 * part);
            }
        }
        back_up();
    }
}

/// The names of all files below a directory.
fn names_below(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap().is_dir() {
            true => names_below(&entry.path()),
            false => [entry.file_name().into_string().unwrap()].into(),
        })
        .collect()
}

#[test]
fn all_replicas_are_compacted_alike_and_one_that_refuses_is_named_and_holds_up_no_other() {
    let server = S3Server::start();
    let mut place = Vaultbox::empty();
    place.owner.env = server.env();
    let replicas = [place.vault_dir().display().to_string(), server.replica("v")];
    let on_all = |args: &[&str]| {
        replicas.iter().fold(place.owner.bare(args), |run, replica| run.args(["--vault", replica]))
    };
    place.owner.bare(["vault", "init", "--no-recovery-kit"]).args(&replicas).run().ok();
    let source = place.dir("source");
    three_generations(&source, || drop(on_all(&["backup"]).arg(&source).run().ok()));
    on_all(&["forget", "--keep-last", "1", "--yes"]).run().ok();
    let packs = || [place.vault_dir().join("packs"), server.file("v/packs")].map(|path| names_below(&path));
    let before = packs();
    let collect = || on_all(&["gc", "--yes", "--grace", "0s", "--json"]).run();

    server.plan(&Target { method: "PUT", part: "/packs/" }, Fault::Unavailable, 10_000);
    let partly = collect().exits(3);
    assert!(partly.summary()["replaced"]["objects"].as_u64().unwrap() > 0, "{partly}");
    assert!(partly.summary()["problems"].to_string().contains("not compacted at s3://"), "{partly}");
    let between = packs();
    assert!(between[0] != before[0] && between[0].difference(&before[0]).next().is_some());
    assert!(between[1].is_subset(&before[1]), "nothing was made there");
    server.forgive();

    let later = collect().exits(3);
    assert!(later.summary()["problems"].to_string().contains("shudao vault replica sync"), "{later}");
    assert!(packs()[1].is_subset(&before[1]), "it makes no copies that only it has");
    on_all(&["vault", "replica", "sync"]).run().ok();
    collect().ok();
    let [first, second] = packs();
    assert_eq!(first, second);
    for (n, replica) in replicas.iter().enumerate() {
        let target = place.path(&format!("target {n}"));
        let restore = place.owner.bare(["restore", "latest", "--vault", replica, "--to"]);
        restore.arg(&target).run().ok();
        shudao_tests::compare::same(&source, &target);
        place.owner.bare(["check", "--read-data", "--vault", replica]).run().ok();
    }
}

fn stored_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => stored_bytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

#[test]
fn what_is_forgotten_is_freed_and_what_stands_restores() {
    let place = with_waste("source");
    place.owner.run(["gc", "--dry-run"]).ok();
    place.owner.run(["forget", "--keep-last", "1", "--yes"]).ok();
    let before = stored_bytes(&place.vault_dir());
    let plan = place.owner.run(["gc", "--dry-run", "--json"]).ok();
    assert_eq!(plan.summary()["left"]["idle"], false, "{plan}");
    assert!(plan.summary()["left"]["condemn"]["bytes"].as_u64().unwrap() > 2 << 20, "{plan}");
    assert!(plan.summary()["left"]["compact"]["objects"].as_u64().unwrap() > 0, "{plan}");
    place.owner.run(["gc"]).exits(2).says("--yes");
    assert_eq!(stored_bytes(&place.vault_dir()), before, "a plan changes nothing");

    let first = place.owner.run(["gc", "--yes", "--json"]).ok();
    assert_eq!(first.summary()["deleted"]["objects"], 0, "grace protects what was just condemned: {first}");
    assert!(first.summary()["left"]["grace_ends"].is_string(), "{first}");
    let second = place.owner.run(["gc", "--yes", "--grace", "0s", "--json"]).ok();
    assert!(second.summary()["deleted"]["bytes"].as_u64().unwrap() > 6 << 20, "{second}");
    assert!(stored_bytes(&place.vault_dir()) + (6 << 20) < before);
    let idle = place.owner.run(["gc", "--dry-run", "--json"]).ok();
    assert_eq!(idle.summary()["left"]["idle"], true, "{idle}");

    place.owner.restore("latest", &place.path("target")).ok();
    shudao_tests::compare::same(&place.path("source"), &place.path("target"));
    let checked = place.owner.run(["check", "--read-data", "--json"]).ok();
    assert_eq!(checked.count("findings"), 0, "{checked}");
}

#[test]
fn a_keeper_collects_and_the_next_backup_goes_on() {
    let place = with_waste("source");
    place.owner.run(["forget", "--keep-last", "1", "--yes"]).ok();
    let (keeper, writer) = (place.with_role("keeper", "keeper"), place.with_role("writer", "writer"));
    writer.run(["gc", "--dry-run"]).exits(12);
    let done = keeper.run(["gc", "--yes", "--grace", "0s", "--json"]).ok();
    assert!(done.summary()["replaced"]["objects"].as_u64().unwrap() > 0, "{done}");
    let source = place.path("source");
    put(&source.join("added"), b"added");
    let next = place.owner.backup(&source).ok();
    assert!(next.count("bytes_added") < 256 << 10, "what was copied is known: {next}");
    keeper.run(["gc", "--yes", "--grace", "0s"]).ok();
    place.owner.restore("latest", &place.path("target")).ok();
    shudao_tests::compare::same(&source, &place.path("target"));
    keeper.run(["check"]).ok();
}

#[test]
fn a_snapshot_that_is_lost_blocks_collection_until_it_is_forgotten_by_its_id() {
    let place = with_waste("source");
    let snapshots = place.owner.snapshots();
    let id = |number: usize| snapshots[number]["snapshot"].as_str().unwrap().to_owned();
    let (stands, lost) = (id(1), id(2));
    let index = place.vault_dir().join("index");
    let lists: Vec<_> = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path()).collect();
    std::fs::remove_file(place.vault_dir().join("snapshots").join(&lost)).unwrap();
    // Of lists and segments all are taken away and put back but the one that only the newest snapshot needs.
    for list in lists {
        let bytes = std::fs::read(&list).unwrap();
        std::fs::remove_file(&list).unwrap();
        let plan = place.owner.run(["gc", "--dry-run", "--json"]);
        if plan.summary()["left"]["blocked_by"] == serde_json::json!([lost]) {
            break;
        }
        std::fs::write(&list, bytes).unwrap();
    }
    place.owner.run(["forget", &id(0), "--yes"]).ok();
    let blocked = place.owner.run(["gc", "--yes", "--grace", "0s", "--json"]).exits(3);
    assert_eq!(blocked.summary()["left"]["blocked_by"], serde_json::json!([lost]), "{blocked}");
    assert_eq!(blocked.summary()["deleted"]["objects"], 0, "{blocked}");
    place.owner.run(["forget", lost.as_str(), "--yes"]).ok().says("missing");
    let freed = place.owner.run(["gc", "--yes", "--grace", "0s", "--json"]).ok();
    assert!(freed.summary()["deleted"]["bytes"].as_u64().unwrap() > 6 << 20, "{freed}");
    place.owner.restore(&stands, &place.path("target")).ok();
    place.owner.shudao(["verify", &stands]).arg(place.path("target")).run().ok();
}
