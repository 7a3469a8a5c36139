//! The second backup reads what changed and nothing else, and misses nothing.

use shudao_tests::clock::settle;
use shudao_tests::compare::same;
use shudao_tests::content::{plant_small, put, put_noise};
use shudao_tests::oddities::set_mtime;
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn an_unchanged_tree_is_not_read_again_and_rescan_reads_it() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    settle();
    let first = place.owner.backup(&source).ok();
    let second = place.owner.backup(&source).ok();
    assert!(first.count("bytes_read") > 3 << 20);
    assert_eq!(second.count("bytes_read"), 0, "{second}");
    assert_eq!(second.count("files_unmodified"), first.count("files"));
    assert!(second.count("bytes_added") < 64 << 10, "{second}");
    assert_eq!(second.summary()["parent"].as_str(), Some(&*first.snapshot()));
    assert_eq!(second.summary()["manifest_root"], first.summary()["manifest_root"]);
    let rescan = place.owner.shudao(["backup", "--json", "--rescan"]).arg(&source).run().ok();
    assert_eq!(rescan.count("bytes_read"), first.count("bytes_read"));
    assert!(rescan.count("bytes_added") < 64 << 10, "{rescan}");
}

#[test]
fn only_what_changed_is_read_and_every_generation_restores() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("growing"), 8 << 20, 7);
    settle();
    let first = place.owner.backup(&source).ok().snapshot();
    let before = place.path("before");
    shudao_tests::tool::run("cp", ["-a".as_ref(), source.as_os_str(), before.as_os_str()]);

    let mut bytes = std::fs::read(source.join("growing")).unwrap();
    bytes.splice(1_000_000..1_000_000, *b"inserted");
    put(&source.join("growing"), &bytes);
    std::fs::remove_file(source.join("letters/2026/note-3")).unwrap();
    std::fs::rename(source.join("letters/2026/note-4"), source.join("letters/moved")).unwrap();
    put(&source.join("new"), b"new");
    let second = place.owner.backup(&source).ok();
    assert!(second.count("bytes_read") < (8 << 20) + 100_000, "{second}");
    assert!(second.count("bytes_added") < 4 << 20, "an insertion moves few chunks: {second}");

    let diff = place.owner.shudao(["diff", "--json"]).arg(&first).arg(second.snapshot()).run().ok().paths();
    for path in ["growing", "letters/2026/note-3", "letters/2026/note-4", "letters/moved", "new"] {
        assert!(diff.contains(&path.to_owned()), "{path} in {diff:?}");
    }
    assert!(!diff.contains(&"image.bin".to_owned()), "{diff:?}");
    for (snapshot, tree) in [(first, &before), (second.snapshot(), &source)] {
        let target = place.path(&format!("target-{}", &snapshot[..8]));
        place.owner.restore(&snapshot, &target).ok();
        same(tree, &target);
    }
}

#[test]
fn a_file_rewritten_with_the_same_size_and_time_around_the_scan_is_caught() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    let file = source.join("file");
    let write = |generation: u32| {
        put(&file, format!("generation {generation:08}").as_bytes());
        set_mtime(&file, 1_700_000_000, 0);
    };
    // Whatever tick the scan falls into, the file was rewritten within it or just before or after.
    for round in 0..5 {
        write(2 * round);
        place.owner.backup(&source).ok();
        write(2 * round + 1);
        place.owner.backup(&source).ok();
        let stored = place.owner.run(["cat", "latest", "file"]).ok().text();
        assert_eq!(stored, format!("generation {:08}", 2 * round + 1));
    }
}

#[test]
fn a_file_rewritten_all_the_time_is_stored_marked_and_read_again() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    let file = source.join("busy");
    put_noise(&file, 8 << 20, 1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut generation = 0u8;
            let busy = std::fs::File::options().write(true).open(&file).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                generation = generation.wrapping_add(1);
                std::os::unix::fs::FileExt::write_all_at(&busy, &[generation; 4096], 4 << 20).unwrap();
            }
        });
        let backup = place.owner.backup(&source);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(backup.exits(3).warnings("changed_while_read"), 1);
    });
    let backup = place.owner.backup(&source).ok();
    assert!(
        backup.count("bytes_read") >= 8 << 20,
        "what changed while it was read is never reused: {backup}"
    );
    let target = place.path("target");
    place.owner.restore("latest", &target).ok();
    same(&source, &target);
}

#[test]
fn sources_have_chains_of_their_own() {
    let place = Vaultbox::new();
    let (one, two) = (place.dir("one"), place.dir("two"));
    plant_small(&one, 1);
    plant_small(&two, 2);
    let first = place.owner.backup_as("one", &one).ok();
    let other = place.owner.backup_as("two", &two).ok();
    assert!(other.summary()["parent"].is_null(), "{other}");
    let second = place.owner.backup_as("one", &one).ok();
    assert_eq!(second.summary()["parent"].as_str(), Some(&*first.snapshot()));
    place.owner.run(["ls", "latest"]).exits(2).says("one").says("two");
    place.owner.run(["ls", "latest", "--source", "two"]).ok();
    let shown = place.owner.run(["snapshots", "--json", "--source", "one"]).ok().rows();
    assert_eq!(shown.len(), 2, "{shown:?}");
}
