//! Verify, check, hold, forget.

use std::path::Path;

use shudao_tests::content::{plant_small, put};
use shudao_tests::oddities::set_mtime;
use shudao_tests::tool::run;
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn every_kind_of_difference_is_named_by_path_and_kind_and_exits_4() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    set_mtime(&source.join("readme.txt"), 1_700_000_000, 5);
    place.owner.backup(&source).ok();
    let pristine = place.path("pristine");
    place.owner.restore("latest", &pristine).ok();

    type Change = fn(&Path);
    let changes: [(&str, &str, Change); 8] = [
        ("image.bin", "content", |root| {
            let time = std::fs::metadata(root.join("image.bin")).unwrap().modified().unwrap();
            let file = std::fs::File::options().write(true).open(root.join("image.bin")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"!", 1_000_000).unwrap();
            file.set_modified(time).unwrap();
        }),
        ("readme.txt", "mode", |root| {
            drop(run("chmod", ["0600".as_ref(), root.join("readme.txt").as_os_str()]))
        }),
        ("readme.txt", "owner", |root| {
            drop(run("chown", ["77:78".as_ref(), root.join("readme.txt").as_os_str()]))
        }),
        ("readme.txt", "mtime", |root| set_mtime(&root.join("readme.txt"), 1_700_000_000, 6)),
        ("readme.txt", "xattrs", |root| {
            run(
                "setfattr",
                ["-n", "user.new", "-v", "x"]
                    .map(std::ffi::OsStr::new)
                    .into_iter()
                    .chain([root.join("readme.txt").as_os_str()]),
            );
        }),
        ("link", "type", |root| {
            std::fs::remove_file(root.join("link")).unwrap();
            std::fs::create_dir(root.join("link")).unwrap();
        }),
        ("letters/2026/note-7", "removed", |root| {
            std::fs::remove_file(root.join("letters/2026/note-7")).unwrap()
        }),
        ("letters/2026/extra", "added", |root| put(&root.join("letters/2026/extra"), b"")),
    ];
    for (path, kind, change) in changes {
        let tree = place.path(&format!("tree-{kind}"));
        run("cp", ["-a".as_ref(), pristine.as_os_str(), tree.as_os_str()]);
        place.owner.shudao(["verify", "latest"]).arg(&tree).run().ok();
        change(&tree);
        let verify = place.owner.shudao(["verify", "latest", "--json"]).arg(&tree).run().exits(4);
        let found = verify.rows().iter().any(|row| row["path"] == path && row["difference"] == kind);
        assert!(found, "{path} {kind}: {verify}");
        place.owner.shudao(["verify", "latest"]).arg(&tree).run().exits(4).says(path);
    }
}

#[test]
fn a_manifest_root_alone_proves_a_tree_without_vault_or_key() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let root = place.owner.backup(&source).ok().summary()["manifest_root"].as_str().unwrap().to_owned();
    let verify = place.owner.bare(["verify", "--root", &root]).keyless().arg(&source);
    verify.run().ok();
    put(&source.join("readme.txt"), b"changed");
    verify.run().exits(4);
}

#[test]
fn check_states_what_it_read_and_what_a_sample_proves() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let structure = place.owner.run(["check", "--json"]).ok();
    assert_eq!((structure.count("findings"), structure.count("packs_read")), (0, 0), "{structure}");
    place.owner.run(["check", "--names"]).ok();
    let keyless = place.owner.shudao(["check", "--names"]).keyless().run();
    keyless.ok();
    let data = place.owner.run(["check", "--read-data", "--json"]).ok();
    assert_eq!(data.count("packs_read"), data.count("packs"), "{data}");
    let sample = place.owner.run(["check", "--sample", "50%", "--json"]).ok();
    assert!(sample.summary()["bad_percent_below"].is_number(), "{sample}");
    assert!(sample.summary()["confidence_percent"].is_number(), "{sample}");
}

#[test]
fn forget_by_rules_drops_what_no_rule_keeps() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let mut snapshots = Vec::new();
    for generation in 0..4 {
        put(&source.join("generation"), format!("{generation}").as_bytes());
        snapshots.push(place.owner.backup(&source).ok().snapshot());
    }
    place.owner.run(["hold", &snapshots[0]]).ok();
    let left = || -> Vec<String> {
        let rows = place.owner.snapshots();
        rows.iter().map(|row| row["snapshot"].as_str().unwrap().to_owned()).collect()
    };
    place.owner.run(["forget", "--policy"]).exits(2).says("retention");
    place.owner.run(["forget", "--keep-last", "2"]).exits(2).says(&snapshots[1][..8]).says("--yes");
    let plan = place.owner.run(["forget", "--keep-last", "2", "--dry-run", "--json"]).ok();
    assert_eq!((plan.count("planned"), plan.count("forgotten")), (1, 0), "{plan}");
    assert_eq!(left(), snapshots);
    let done = place.owner.run(["forget", "--keep-last", "2", "--yes", "--json"]).ok();
    assert_eq!((done.count("planned"), done.count("forgotten")), (1, 1), "{done}");
    let stays = vec![snapshots[0].clone(), snapshots[2].clone(), snapshots[3].clone()];
    assert_eq!(left(), stays);
    place.owner.run(["forget", "--keep-last", "2", "--yes"]).ok();
    place.owner.run(["forget", "--keep-tag", "none", "--source", "another", "--yes"]).ok();
    assert_eq!(left(), stays);
    place.owner.run(["forget", "--keep-tag", "none", "--yes"]).ok();
    assert_eq!(
        left(),
        vec![snapshots[0].clone(), snapshots[3].clone()],
        "the newest stays whatever the rules say"
    );
}

#[test]
fn forget_shows_its_plan_needs_yes_and_spares_what_is_held() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let mut snapshots = Vec::new();
    for generation in 0..3 {
        put(&source.join("generation"), format!("{generation}").as_bytes());
        snapshots.push(place.owner.backup(&source).ok().snapshot());
    }
    place.owner.run(["hold", &snapshots[0]]).ok();
    place.owner.run(["forget", &snapshots[0], "--yes"]).exits(2).says("held");
    place.owner.run(["forget", &snapshots[1]]).exits(2).says(&snapshots[1][..8]).says("--yes");
    assert_eq!(place.owner.snapshots().len(), 3);
    place.owner.run(["forget", &snapshots[1], "--yes"]).ok();
    let left: Vec<_> =
        place.owner.snapshots().iter().map(|row| row["snapshot"].as_str().unwrap().to_owned()).collect();
    assert!(left.contains(&snapshots[0]) && left.contains(&snapshots[2]) && left.len() == 2, "{left:?}");
    place.owner.run(["hold", &snapshots[0], "--release"]).ok();
    place.owner.run(["forget", &snapshots[0], "--yes"]).ok();
    place.owner.restore("latest", &place.path("target")).ok();
    shudao_tests::compare::same(&source, &place.path("target"));
    place.owner.run(["check", "--read-data"]).ok();
}
