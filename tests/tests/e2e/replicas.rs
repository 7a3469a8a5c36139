//! One vault in several places: each gets the same bytes, none waits for another, each can serve alone.

mod level;
mod meanwhile;

use std::path::{Path, PathBuf};

use shudao_tests::client::Client;
use shudao_tests::compare::same_by_rsync;
use shudao_tests::content::{plant_small, put, put_noise};
use shudao_tests::disk::SmallDisk;
use shudao_tests::fault::{Fault, Target};
use shudao_tests::invocation::Invocation;
use shudao_tests::moto::Moto;
use shudao_tests::output::Run;
use shudao_tests::s3::S3Server;
use shudao_tests::tool::run;
use shudao_tests::vaultbox::Vaultbox;

const MIB: u64 = 1 << 20;

/// A vault in several places.
struct Spread {
    place: Vaultbox,
    replicas: Vec<String>,
}

impl Spread {
    /// In a local directory, and in these places.
    fn new(others: &[&str], env: Vec<(String, String)>) -> Self {
        let mut place = Vaultbox::empty();
        place.owner.env = env;
        let mut replicas = vec![place.vault_dir().display().to_string()];
        replicas.extend(others.iter().map(ToString::to_string));
        place.owner.init_with_identity(&replicas);
        Self { place, replicas }
    }

    /// In two local directories.
    fn local() -> Self {
        let mut place = Vaultbox::empty();
        let second = place.path("second");
        let replicas = vec![place.vault_dir().display().to_string(), second.display().to_string()];
        place.owner.init_with_identity(&replicas);
        Self { place, replicas }
    }

    fn owner(&self) -> &Client {
        &self.place.owner
    }

    /// `shudao` on all replicas.
    fn all(&self, args: &[&str]) -> Invocation {
        self.replicas.iter().fold(self.owner().bare(args), |run, replica| run.args(["--vault", replica]))
    }

    /// `shudao` on one replica.
    fn one(&self, place: usize, args: &[&str]) -> Invocation {
        self.owner().bare(args).args(["--vault", &self.replicas[place]])
    }

    fn backup(&self, source: &Path) -> Run {
        self.all(&["backup", "--json", "--patience", "3s"]).arg(source).run()
    }

    /// Restores the latest snapshot from each replica alone and compares it with `source`.
    fn each_restores(&self, source: &Path) {
        for place in 0..self.replicas.len() {
            let target = self.place.path("restored");
            self.owner().clear_cache();
            self.one(place, &["restore", "latest"]).arg("--to").arg(&target).run().ok();
            same_by_rsync(source, &target, &[]);
            std::fs::remove_dir_all(&target).unwrap();
            self.one(place, &["check", "--read-data"]).run().ok();
        }
    }

    /// The immutable objects of a replica in a directory, with their bytes.
    fn objects(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut objects = Vec::new();
        for area in ["packs", "index", "snapshots", "keys"] {
            let list = run("find", [directory.join(area).as_os_str(), "-type".as_ref(), "f".as_ref()]);
            for path in String::from_utf8(list).unwrap().lines() {
                let bytes = std::fs::read(path).unwrap();
                objects.push((Path::new(path).strip_prefix(directory).unwrap().to_owned(), bytes));
            }
        }
        objects.sort();
        objects
    }
}

/// The `committed` of each replica in a run's summary.
fn committed(run: &Run) -> Vec<bool> {
    let summary = run.summary();
    let replicas = summary["replicas"].as_array().unwrap().clone();
    replicas.iter().map(|replica| replica["committed"] == true).collect()
}

#[test]
fn every_replica_gets_the_same_bytes_and_serves_alone() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("large"), 40 * MIB, 3);
    let first = spread.backup(&source).ok();
    assert_eq!(committed(&first), [true, true]);
    put(&source.join("added"), b"added");
    spread.backup(&source).ok();
    let (here, there) = (spread.place.vault_dir(), server.bucket_dir().join("v"));
    assert_eq!(Spread::objects(&here), Spread::objects(&there));
    spread.each_restores(&source);
    spread.all(&["verify", "latest"]).arg(&source).run().ok();
    spread.all(&["check", "--names"]).keyless().run().ok();
    assert_eq!(spread.all(&["snapshots", "--json"]).run().ok().rows().len(), 2);
}

#[test]
fn three_replicas_of_different_makes_are_one_vault() {
    let (server, moto) = (S3Server::start(), Moto::start());
    let spread = Spread::new(&[&server.replica("v"), &moto.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 2);
    assert_eq!(committed(&spread.backup(&source).ok()), [true; 3]);
    spread.each_restores(&source);
}

/// Backs up while the second replica refuses in some way; the first has the snapshot, the second is behind. Then it is well
/// again, and the next run brings it what it needs.
fn behind_then_level(fault: Fault, part: &'static str) {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    server.plan(&Target { method: "PUT", part }, fault, 10_000);
    let run = spread.backup(&source).exits(3).says("is behind by");
    assert_eq!(committed(&run), [true, false]);
    assert!(run.summary()["replicas"][1]["objects_behind"].as_u64().unwrap() >= 2, "{run}");
    assert_eq!(run.summary()["warnings"]["replica_behind"], 1);
    assert!(spread.one(1, &["snapshots", "--json"]).run().ok().rows().is_empty());
    server.forgive();
    assert_eq!(committed(&spread.backup(&source).ok()), [true, true]);
    spread.each_restores(&source);
}

#[test]
fn a_replica_that_stops_during_a_backup_is_behind_and_the_next_run_brings_it_level() {
    behind_then_level(Fault::HangUp, "/packs/");
}

#[test]
fn a_replica_whose_log_refuses_is_behind_and_the_next_run_brings_it_level() {
    behind_then_level(Fault::Unavailable, "/log/");
}

#[test]
fn a_replica_that_refuses_for_a_while_is_waited_for() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    server.plan(&Target { method: "PUT", part: "" }, Fault::Unavailable, 12);
    let run = spread.all(&["backup", "--json"]).arg(&source).run().ok();
    assert_eq!(committed(&run), [true, true]);
    assert_eq!(server.faults().left(), 0);
    spread.each_restores(&source);
}

#[test]
fn a_replica_that_is_full_is_behind_until_it_has_room() {
    let home = Vaultbox::empty();
    let disk = SmallDisk::mount(&home.path("small"), 24 * MIB);
    let spread = Spread::new(&[&disk.path().join("v").display().to_string()], Vec::new());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("large"), 80 * MIB, 4);
    let run = spread.backup(&source).exits(3).says("no space");
    assert_eq!(committed(&run), [true, false]);
    // Three packs of content, one of names, their segment, the need list and the snapshot.
    assert_eq!(run.summary()["replicas"][1]["objects_behind"], 7, "{run}");
    disk.grow(400 * MIB);
    assert_eq!(committed(&spread.backup(&source).ok()), [true, true]);
    spread.each_restores(&source);
}

#[test]
fn a_slow_replica_does_not_delay_the_others_and_gets_everything() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    for number in 0..6 {
        put_noise(&source.join(number.to_string()), 40 * MIB, number);
    }
    server.plan(
        &Target { method: "PUT", part: "/packs/" },
        Fault::Delay(std::time::Duration::from_secs(2)),
        100,
    );
    let mut running = spread.all(&["backup", "--json"]).arg(&source).start();
    let mut early = false;
    while running.is_running() {
        let seen = spread.one(0, &["snapshots", "--json"]).run().ok().rows();
        early |= !seen.is_empty() && running.is_running();
    }
    assert_eq!(committed(&running.wait().ok()), [true, true]);
    assert!(early, "the first replica commits before the slow one has everything");
    spread.each_restores(&source);
    let spool = spread.owner().machine.join("state/spool");
    assert_eq!(std::fs::read_dir(spool).map_or(0, Iterator::count), 0, "the spool is empty again");
}

#[test]
fn a_replica_that_is_gone_is_left_out_and_said() {
    let spread = Spread::local();
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    spread.backup(&source).ok();
    let (second, away) = (spread.place.path("second"), spread.place.path("away"));
    std::fs::rename(&second, &away).unwrap();
    spread.all(&["snapshots"]).run().ok().says("is left out");
    put(&source.join("added"), b"added");
    let run = spread.backup(&source).exits(3);
    assert_eq!(committed(&run), [true, false]);
    std::fs::rename(&away, &second).unwrap();
    spread.backup(&source).ok();
    spread.each_restores(&source);
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::remove_dir_all(spread.place.vault_dir()).unwrap();
    spread.all(&["snapshots"]).run().exits(10);
}

#[test]
fn a_replica_named_twice_or_of_another_vault_is_refused() {
    let spread = Spread::local();
    let other = Vaultbox::new();
    let link = spread.place.path("link");
    std::os::unix::fs::symlink(spread.place.vault_dir(), &link).unwrap();
    for second in [link, other.vault_dir()] {
        spread.one(0, &["snapshots"]).arg("--vault").arg(&second).run().exits(2);
    }
}

#[test]
fn a_replica_put_back_to_an_older_state_is_refused() {
    let spread = Spread::local();
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    spread.backup(&source).ok();
    let (second, old) = (spread.place.path("second"), spread.place.path("old"));
    run("cp", ["-a".as_ref(), second.as_os_str(), old.as_os_str()]);
    put(&source.join("added"), b"added");
    spread.backup(&source).ok();
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::rename(&old, &second).unwrap();
    spread.backup(&source).exits(11).says("went back");
    spread.all(&["snapshots", "--accept-rollback"]).run().ok();
    spread.backup(&source).ok();
    spread.each_restores(&source);
}

#[test]
fn a_restore_falls_over_in_the_middle() {
    let server = S3Server::start();
    let mut spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("large"), 100 * MIB, 8);
    spread.backup(&source).ok();
    // From now on the S3 server is asked first.
    spread.replicas.reverse();
    spread.owner().clear_cache();
    server.plan(&Target { method: "GET", part: "/packs/" }, Fault::HalfBody, 2);
    server.plan(&Target { method: "GET", part: "/packs/" }, Fault::HangUp, 10_000);
    let target = spread.place.path("restored");
    spread.all(&["restore", "latest"]).arg("--to").arg(&target).run().ok();
    same_by_rsync(&source, &target, &[]);
}

#[test]
fn what_an_owner_changes_is_changed_on_every_replica() {
    let spread = Spread::local();
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    spread.backup(&source).ok();
    spread.all(&["hold", "latest"]).run().ok();
    spread
        .all(&["vault", "key", "add", "--role", "writer"])
        .env("SHUDAO_NEW_PASSWORD", "another-long-password-of-a-writer")
        .run()
        .ok();
    for place in 0..2 {
        assert_eq!(spread.one(place, &["snapshots", "--json"]).run().ok().rows()[0]["held"], true);
        spread
            .one(place, &["backup"])
            .arg(&source)
            .keyless()
            .env("SHUDAO_PASSWORD", "another-long-password-of-a-writer")
            .run()
            .ok();
    }
}
