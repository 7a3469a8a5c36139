//! The main job over the S3 protocol, on two servers, one of which misbehaves on request.

use std::time::Duration;

use shudao_tests::compare::{same_by_rsync, same_oddities};
use shudao_tests::content::{plant_small, put, put_noise};
use shudao_tests::fault::{Fault, Target};
use shudao_tests::moto::Moto;
use shudao_tests::oddities::plant;
use shudao_tests::s3::{S3Server, SECRET_KEY, credentials};
use shudao_tests::vaultbox::Vaultbox;

/// Backs up every oddity twice, restores, verifies, checks: as over a local directory.
fn main_job(place: &Vaultbox) {
    let (source, target) = (place.dir("source"), place.path("target"));
    let planted = plant(&source);
    place.owner.backup(&source).ok();
    put(&source.join("plain/added"), b"added");
    let second = place.owner.backup(&source).ok();
    assert_eq!(second.summary()["replicas"][0]["committed"], true, "{second}");
    let elsewhere = place.other_machine("elsewhere");
    elsewhere.restore("latest", &target).ok();
    same_oddities(&source, &target, &planted);
    elsewhere.shudao(["verify", "latest"]).arg(&target).run().ok();
    elsewhere.run(["check", "--read-data"]).ok();
    elsewhere.run(["check", "--names"]).ok();
}

#[test]
fn the_main_job_works_on_a_server_that_checks_signatures_and_checksums() {
    let server = S3Server::start();
    main_job(&Vaultbox::at(server.replica("first"), server.env()));
    let log = server.faults().requests();
    assert!(log.iter().any(|request| request.starts_with("PUT ") && request.contains("/first/log/")));
}

#[test]
fn the_main_job_works_on_a_server_of_another_make() {
    let server = Moto::start();
    main_job(&Vaultbox::at(server.replica("second"), server.env()));
}

#[test]
fn two_vaults_in_one_bucket_do_not_meet() {
    let server = S3Server::start();
    let one = Vaultbox::at(server.replica("one"), server.env());
    let two = Vaultbox::at(server.replica("one-more"), server.env());
    let source = one.dir("source");
    plant_small(&source, 1);
    one.owner.backup(&source).ok();
    assert!(two.owner.snapshots().is_empty());
    assert_eq!(one.owner.snapshots().len(), 1);
}

#[test]
fn a_wrong_secret_is_refused_and_neither_is_shown() {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let mut stranger = place.other_machine("stranger");
    stranger.env = credentials("some-other-secret-of-the-same-kind");
    let run = stranger.run(["snapshots"]).exits(1);
    assert!(!run.mentions("some-other-secret") && !run.mentions(SECRET_KEY), "{run}");
}

#[test]
fn an_absent_vault_and_an_absent_server_are_told_apart() {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("there"), server.env());
    let mut other = place.other_machine("other");
    other.replica = server.replica("nowhere").into();
    other.run(["snapshots"]).exits(10);
    let replica = server.replica("there");
    drop(server);
    other.replica = replica.into();
    other.run(["snapshots"]).exits(1).says("127.0.0.1");
}

/// Runs the main job while a kind of request fails in a way for a while; all must come out right.
fn survives(faults: &[(&'static str, &'static str, Fault, usize)]) {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let (source, target) = (place.dir("source"), place.path("target"));
    plant_small(&source, 1);
    put_noise(&source.join("large"), 40 << 20, 9);
    for (method, part, fault, count) in faults {
        server.plan(&Target { method, part }, *fault, *count);
    }
    place.owner.backup(&source).ok();
    place.owner.clear_cache();
    place.owner.restore("latest", &target).ok();
    same_by_rsync(&source, &target, &[]);
    place.owner.run(["check", "--read-data"]).ok();
    assert_eq!(place.owner.snapshots().len(), 1);
    assert_eq!(server.faults().left(), 0, "every planned fault was met");
}

#[test]
fn uploads_that_are_refused_for_a_while_are_made_again() {
    survives(&[
        ("PUT", "/packs/", Fault::Unavailable, 3),
        ("PUT", "/log/", Fault::Unavailable, 2),
        ("GET", "", Fault::Unavailable, 3),
    ]);
}

#[test]
fn uploads_whose_answer_is_lost_count_once() {
    survives(&[
        ("PUT", "/packs/", Fault::LostAnswer, 2),
        ("PUT", "/log/", Fault::LostAnswer, 2),
        ("PUT", "/snapshots/", Fault::LostAnswer, 1),
    ]);
}

#[test]
fn broken_connections_are_made_again() {
    survives(&[
        ("PUT", "/packs/", Fault::HangUp, 2),
        ("PUT", "/log/", Fault::HangUp, 1),
        ("GET", "", Fault::HangUp, 2),
    ]);
}

#[test]
fn downloads_that_break_off_or_change_a_bit_are_read_again() {
    survives(&[("GET", "/packs/", Fault::HalfBody, 2), ("GET", "/packs/", Fault::FlippedBit, 2)]);
}

#[test]
fn a_slow_server_is_waited_for() {
    survives(&[
        ("PUT", "/packs/", Fault::Delay(Duration::from_secs(3)), 2),
        ("GET", "", Fault::Delay(Duration::from_secs(1)), 3),
    ]);
}

#[test]
fn a_server_that_stays_away_ends_the_run_with_an_error_and_no_snapshot() {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let source = place.dir("source");
    plant_small(&source, 1);
    server.plan(&Target { method: "PUT", part: "/packs/" }, Fault::Unavailable, 10_000);
    place.owner.backup(&source).exits(1);
    assert!(place.owner.snapshots().is_empty());
}
