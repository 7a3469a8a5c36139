//! Bringing replicas level without keys, adding and removing them, and mending one from another.

use std::path::{Path, PathBuf};

use shudao_tests::content::{Noise, plant_small, put, put_noise};
use shudao_tests::s3::S3Server;
use shudao_tests::tool::run;

use super::{MIB, Spread};

/// Three backups into the first replica alone, the oldest forgotten, the newest held.
fn ahead(spread: &Spread, source: &Path) {
    plant_small(source, 1);
    for round in 0..3 {
        put(&source.join("round"), format!("{round}").as_bytes());
        spread.one(0, &["backup"]).arg(source).run().ok();
    }
    let oldest = spread.one(0, &["snapshots", "--json"]).run().ok().rows()[0]["snapshot"].clone();
    spread.one(0, &["forget", "--yes"]).arg(oldest.as_str().unwrap()).run().ok();
    spread.one(0, &["hold", "latest"]).run().ok();
}

#[test]
fn a_replica_that_was_away_is_brought_level_without_a_key() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    ahead(&spread, &source);
    let list = spread.all(&["vault", "replica", "list", "--json"]).without("SHUDAO_PASSWORD").run().ok();
    assert_eq!(list.rows()[0]["objects_behind"], 0);
    assert_eq!(list.rows()[1]["snapshots_behind"], 2);
    assert!(list.rows()[1]["objects_behind"].as_u64().unwrap() > 4, "{list}");

    let synced = spread.all(&["vault", "replica", "sync", "--json"]).without("SHUDAO_PASSWORD").run().ok();
    assert_eq!(synced.summary()["snapshots_carried"], 2, "{synced}");
    let list = spread.all(&["vault", "replica", "list", "--json"]).run().ok();
    assert!(list.rows().iter().all(|replica| replica["objects_behind"] == 0), "{list}");
    let snapshots = |place| spread.one(place, &["snapshots", "--json"]).run().ok().rows();
    assert_eq!(snapshots(0), snapshots(1));
    spread.each_restores(&source);

    let again = spread.all(&["vault", "replica", "sync", "--json"]).without("SHUDAO_PASSWORD").run().ok();
    assert_eq!((&again.summary()["objects"], &again.summary()["snapshots_carried"]), (&0.into(), &0.into()));
    put(&source.join("round"), b"last");
    spread.backup(&source).ok();
    spread.each_restores(&source);
}

#[test]
fn sync_goes_one_way_where_two_are_named() {
    let spread = Spread::local();
    let source = spread.place.dir("source");
    ahead(&spread, &source);
    let sync = |from: usize, to: usize| {
        spread
            .owner()
            .bare(["vault", "replica", "sync", "--json", &spread.replicas[from], &spread.replicas[to]])
            .without("SHUDAO_PASSWORD")
            .run()
            .ok()
    };
    assert_eq!(sync(1, 0).summary()["snapshots_carried"], 0);
    assert_eq!(sync(0, 1).summary()["snapshots_carried"], 2);
    spread.each_restores(&source);
    spread.one(0, &["vault", "replica", "sync"]).run().exits(2);
}

#[test]
fn a_replica_is_added_later_and_struck_out_again() {
    let mut spread = Spread::local();
    let source = spread.place.dir("source");
    ahead(&spread, &source);
    let third = spread.place.path("third").display().to_string();
    spread.all(&["vault", "replica", "add", "--name", "far"]).arg(&third).run().ok();
    spread.replicas.push(third);
    spread.all(&["vault", "replica", "sync"]).run().ok();
    let list = spread.all(&["vault", "replica", "list", "--json"]).run().ok();
    assert_eq!(list.rows()[2]["name"], "far");
    spread.each_restores(&source);

    spread.all(&["vault", "replica", "remove", "nobody"]).run().exits(2);
    spread.all(&["vault", "replica", "remove", "far"]).run().ok();
    spread.replicas.pop();
    let list = spread.all(&["vault", "replica", "list", "--json"]).run().ok();
    assert_eq!(list.summary()["elsewhere"], serde_json::json!([]), "{list}");
    spread.each_restores(&source);
}

/// Deletes, truncates or flips a bit of every so many-th object of a replica in a directory; returns which.
fn damage(replica: &Path, every: usize) -> Vec<PathBuf> {
    let mut damaged = Vec::new();
    for (number, (object, mut bytes)) in Spread::objects(replica).into_iter().enumerate() {
        if number % every != 0 {
            continue;
        }
        let path = replica.join(&object);
        run("chmod", ["u+w".as_ref(), path.as_os_str()]);
        let middle = bytes.len() / 2;
        match damaged.len() % 3 {
            0 => bytes.truncate(middle),
            1 => bytes[middle] ^= 1,
            _ => {
                std::fs::remove_file(&path).unwrap();
                damaged.push(object);
                continue;
            }
        }
        std::fs::write(&path, bytes).unwrap();
        damaged.push(object);
    }
    damaged
}

#[test]
fn a_damaged_replica_is_mended_from_its_sibling_and_the_proof_is_a_clean_check() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    let mut noise = Noise::new(5);
    for round in 0..4 {
        put(&source.join(format!("text {round}")), &noise.bytes(100_000));
        put_noise(&source.join("large"), 20 * MIB, round);
        spread.backup(&source).ok();
    }
    let here = spread.place.vault_dir();
    let whole = Spread::objects(&here);
    let damaged = damage(&here, 3);
    assert!(damaged.len() >= 7, "{damaged:?}");
    spread.one(0, &["check", "--read-data"]).run().exits(4);
    // Everything can still be had: each object from whichever replica has it whole.
    spread.owner().clear_cache();
    spread.all(&["restore", "latest"]).arg("--to").arg(spread.place.path("restored")).run().ok();
    std::fs::remove_dir_all(spread.place.path("restored")).unwrap();

    let repair = spread.all(&["check", "--read-data", "--repair", "--json"]).run().ok();
    assert_eq!(repair.summary()["standing"], 0, "{repair}");
    let mended: Vec<_> = repair.rows().iter().filter(|row| row["mended"] == true).cloned().collect();
    assert!(mended.len() >= damaged.len(), "{repair}");
    assert!(Spread::objects(&here) == whole, "every object is again as it was");
    spread.each_restores(&source);
}

#[test]
fn without_keys_and_one_way_round_too_damage_is_mended_and_what_nobody_has_stands() {
    let spread = Spread::local();
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    spread.backup(&source).ok();
    let (here, there) = (spread.place.vault_dir(), spread.place.path("second"));
    let whole = Spread::objects(&there);
    damage(&there, 2);
    spread.all(&["check", "--names", "--repair"]).without("SHUDAO_PASSWORD").run().ok().says("mended");
    assert!(Spread::objects(&there) == whole);

    let pack = whole.iter().find(|(path, _)| path.starts_with("packs")).unwrap().0.clone();
    for replica in [&here, &there] {
        std::fs::remove_file(replica.join(&pack)).unwrap();
    }
    let stands = spread.all(&["check", "--names", "--repair"]).without("SHUDAO_PASSWORD").run().exits(4);
    assert!(stands.mentions("could not be mended"), "{stands}");
    spread.one(0, &["check", "--repair"]).run().exits(2);
}
