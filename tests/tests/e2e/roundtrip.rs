//! A tree goes in, comes back identical, and others' tools say so.

use shudao_tests::compare::{b3sums, same, same_oddities};
use shudao_tests::content::{plant_small, put, put_many};
use shudao_tests::invocation::NOBODY;
use shudao_tests::oddities::plant;
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn a_tree_with_every_oddity_comes_back_identical() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    let planted = plant(&source);
    let backup = place.owner.backup(&source).ok();
    assert_eq!(backup.count("sockets_skipped"), planted.sockets);
    place.owner.restore("latest", &target).ok();
    same_oddities(&source, &target, &planted);
    place
        .owner
        .run(["verify", "latest"].map(std::ffi::OsStr::new).into_iter().chain([source.as_os_str()]))
        .ok();
    place
        .owner
        .run(["verify", "latest"].map(std::ffi::OsStr::new).into_iter().chain([target.as_os_str()]))
        .ok();
    place.owner.run(["check", "--read-data"]).ok();
}

#[test]
fn a_second_restore_in_place_writes_only_what_differs_and_brings_oddities_back() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    let planted = plant(&source);
    place.owner.backup(&source).ok();
    place.owner.restore("latest", &target).ok();
    let untouched = inode(&target.join("plain/contents/text"));
    put(&target.join("plain/contents/one-byte"), b"y");
    std::fs::remove_file(target.join("plain/links/second")).unwrap();
    std::fs::remove_file(target.join("plain/special/fifo")).unwrap();
    put(&target.join("plain/extra"), b"not in the snapshot");
    place.owner.shudao(["restore", "latest", "--in-place", "--to"]).arg(&target).run().ok();
    assert!(target.join("plain/extra").exists(), "without --delete nothing is removed");
    let delete = place.owner.shudao(["restore", "latest", "--in-place", "--delete", "--to"]).arg(&target);
    delete.run().exits(2).says("extra");
    assert!(target.join("plain/extra").exists(), "without --yes nothing is removed");
    delete.arg("--yes").run().ok();
    same_oddities(&source, &target, &planted);
    assert_eq!(inode(&target.join("plain/contents/text")), untouched, "an equal file is not written again");
}

fn inode(path: &std::path::Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap())
}

#[test]
fn digests_of_ls_are_those_of_b3sum() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant(&source);
    place.owner.backup(&source.join("plain")).ok();
    let shown = place.owner.run(["ls", "latest", "--json"]).ok().digests();
    let sums = b3sums(&source.join("plain"));
    assert!(sums.len() > 300, "{} files were summed", sums.len());
    for (path, sum) in sums {
        assert_eq!(shown.get(&path), Some(&sum), "{path}");
    }
}

#[test]
fn cat_prints_a_files_bytes() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let bytes = place.owner.run(["cat", "latest", "image.bin"]).ok().stdout;
    assert!(bytes == std::fs::read(source.join("image.bin")).unwrap());
    place.owner.run(["cat", "latest", "no/such/file"]).exits(1).says("no/such/file");
}

#[test]
fn several_paths_keep_their_full_paths_below_the_target() {
    let place = Vaultbox::new();
    let (one, two, target) = (place.dir("one"), place.dir("two"), place.path("target"));
    plant_small(&one, 1);
    plant_small(&two, 2);
    place.owner.shudao(["backup", "--source", "both"]).arg(&one).arg(&two).run().ok();
    place.owner.restore("latest", &target).ok();
    for source in [one, two] {
        same(&source, &target.join(source.strip_prefix("/").unwrap()));
    }
}

#[test]
fn include_and_exclude_choose_what_is_restored() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let restore =
        place.owner.shudao(["restore", "latest", "--include", "letters/**", "--exclude", "note-1*", "--to"]);
    restore.arg(&target).run().ok();
    assert!(target.join("letters/2026/long.txt").exists());
    assert!(target.join("letters/2026/note-2").exists());
    assert!(!target.join("letters/2026/note-12").exists());
    assert!(!target.join("readme.txt").exists());
}

#[test]
fn an_ordinary_user_restores_content_and_is_told_what_could_not_be_set() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    std::os::unix::fs::chown(source.join("readme.txt"), Some(1001), Some(1002)).unwrap();
    place.owner.backup(&source).ok();
    let (room, vault) = (place.dir("room"), place.vault_dir());
    open_to_everyone(&vault);
    let target = room.join("target");
    let restore =
        place.owner.shudao(["restore", "latest", "--json", "--to"]).arg(&target).as_nobody(&room).run();
    let restore = restore.exits(3);
    assert!(restore.warnings("metadata_not_set") > 0);
    assert!(restore.mentions("readme.txt"), "{restore}");
    let bytes = |root: &std::path::Path| std::fs::read(root.join("letters/2026/long.txt")).unwrap();
    assert!(bytes(&source) == bytes(&target));
    let owner = std::os::unix::fs::MetadataExt::uid(&target.join("readme.txt").metadata().unwrap());
    assert_eq!(owner, NOBODY);
}

#[test]
fn an_ordinary_user_is_told_what_could_not_be_read_and_the_rest_is_stored() {
    let place = Vaultbox::new();
    let (source, room) = (place.dir("source"), place.dir("room"));
    plant_small(&source, 1);
    put_many(&source.join("closed"), 3, 10);
    for path in ["closed", "readme.txt"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(source.join(path), mode).unwrap();
    }
    open_to_everyone(&place.vault_dir());
    let backup = place.owner.shudao(["backup", "--json"]).arg(&source).as_nobody(&room).run().exits(3);
    assert_eq!(backup.warnings("source_unreadable"), 2);
    let paths = place.owner.run(["ls", "latest", "--json"]).ok().paths();
    assert!(paths.contains(&"letters/2026/long.txt".to_owned()), "{paths:?}");
    assert!(!paths.contains(&"readme.txt".to_owned()), "{paths:?}");
}

fn open_to_everyone(path: &std::path::Path) {
    shudao_tests::tool::run("chmod", ["-R".as_ref(), "a+rwX".as_ref(), path.as_os_str()]);
}
