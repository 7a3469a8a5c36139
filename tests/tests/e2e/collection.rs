//! Collection: what no snapshot needs goes, and nothing else.

use std::path::Path;

use shudao_tests::content::{plant_small, put, put_noise};
use shudao_tests::vaultbox::Vaultbox;

/// Three generations of a source that shares some content, of which the first two are forgotten. Returns the place.
fn with_waste(source: &str) -> Vaultbox {
    let place = Vaultbox::new();
    let source = place.dir(source);
    plant_small(&source, 1);
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
        place.owner.backup(&source).ok();
    }
    place
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
