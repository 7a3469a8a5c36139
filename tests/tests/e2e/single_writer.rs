//! Stores that cannot create objects only if they are absent: one client writes, others are refused until they take over.

use shudao_tests::content::{plant_small, put};
use shudao_tests::s3::S3Server;
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn on_a_store_without_create_if_absent_one_client_writes_until_another_takes_over() {
    let server = S3Server::start();
    server.ignore_conditions();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let info = place.owner.run(["vault", "info", "--json"]).ok();
    assert!(info.summary()["single_writer"].is_string(), "{info}");

    let other = place.other_machine("other");
    other.backup_as("x", &source).exits(11).says("takeover");
    other.run(["gc", "--yes"]).exits(11).says("takeover");
    other.run(["hold", "latest"]).exits(11).says("takeover");
    other.run(["vault", "key", "rotate"]).exits(11).says("takeover");
    // Reading is nobody's privilege.
    let target = place.path("target");
    other.restore("latest", &target).ok();
    shudao_tests::compare::same(&source, &target);
    assert_eq!(other.snapshots().len(), 1);

    other.run(["vault", "takeover"]).exits(2).says("--yes").says("overwrites");
    place.owner.run(["hold", "latest"]).ok();
    other.run(["vault", "takeover", "--yes"]).ok();
    put(&source.join("added"), b"added");
    other.backup_as("x", &source).ok();
    place.owner.backup(&source).exits(11).says("takeover");
    place.owner.run(["gc", "--yes"]).exits(11).says("takeover");
    assert_eq!(place.owner.snapshots().len(), 2);
    other.run(["check", "--read-data"]).ok();
}

#[test]
fn a_store_that_lost_create_if_absent_is_noticed_by_the_next_client_that_writes() {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    server.ignore_conditions();
    let newer = place.other_machine("newer");
    newer.backup_as("x", &source).exits(11).says("takeover");
    newer.run(["vault", "takeover", "--yes"]).ok();
    newer.backup_as("x", &source).ok();
    place.owner.backup(&source).exits(11).says("takeover");
}

#[test]
fn only_an_owner_takes_over() {
    let place = Vaultbox::new();
    let keeper = place.with_role("keeper", "keeper");
    keeper.run(["vault", "takeover", "--yes"]).exits(12);
    place.owner.run(["vault", "takeover", "--yes"]).ok();
    keeper.run(["gc", "--yes"]).exits(11).says("takeover");
}
