//! Runs under which a replica fails that alone had what was known.

use super::*;

#[test]
fn when_the_only_holder_stops_answering_what_it_held_is_read_and_stored_once_more() {
    let server = S3Server::start();
    let spread = Spread::new(&[&server.replica("v")], server.env());
    let source = spread.place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("large"), 4 * MIB, 3);
    spread.one(1, &["backup"]).arg(&source).run().ok();
    put(&source.join("added"), b"added");
    // Its log and its lists can be read, so the run knows what is there; packs can be neither read nor put nor asked for.
    for method in ["GET", "HEAD", "PUT"] {
        server.plan(&Target { method, part: "/packs/" }, Fault::Unavailable, 100_000);
    }
    let run = spread.backup(&source).exits(3);
    assert_eq!(committed(&run), [true, false], "{run}");
    assert!(run.mentions("read and stored once more"), "{run}");
    let target = spread.place.path("from the first alone");
    spread.one(0, &["restore", "latest"]).arg("--to").arg(&target).run().ok();
    same_by_rsync(&source, &target, &[]);
    spread.one(0, &["check", "--read-data"]).run().ok();

    server.forgive();
    assert_eq!(committed(&spread.backup(&source).ok()), [true, true]);
    spread.each_restores(&source);
}
