use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn files(directory: &Path) -> Files {
    let files = Files { root: directory.join("root"), writing: Writing::default() };
    files.prepare().unwrap();
    files
}

fn temporaries(files: &Files) -> usize {
    std::fs::read_dir(files.root.join("tmp")).map_or(0, Iterator::count)
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    files.create("packs/00/kept", b"kept").unwrap();
    *files.writing.room.lock().unwrap() = Some(10);
    let error = files.create("packs/00/large", &[1; 11]).unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert_eq!(error.to_string(), "create packs/00/large: no space is left on the file system");
    assert_eq!(files.size("packs/00/large").unwrap(), None);
    assert_eq!(files.list("").unwrap().len(), 1);
    assert_eq!(temporaries(&files), 0);
    assert_eq!(files.read("packs/00/kept").unwrap(), b"kept"[..]);
    *files.writing.room.lock().unwrap() = None;
    assert_eq!(files.create("packs/00/large", &[1; 11]).unwrap(), Creation::New);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_write_that_stops_anywhere_shows_no_object(len in 1_usize..5000, cut in 0_usize..5000) {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        *files.writing.room.lock().unwrap() = Some(cut);
        let bytes = vec![7; len];
        let made = files.create("index/x", &bytes);
        if len <= cut {
            prop_assert_eq!(made.unwrap(), Creation::New);
            prop_assert_eq!(files.read("index/x").unwrap(), bytes);
        } else {
            prop_assert_eq!(made.unwrap_err().kind(), Kind::Full);
            prop_assert_eq!(files.read("index/x").unwrap_err().kind(), Kind::Missing);
            prop_assert!(files.list("").unwrap().is_empty());
        }
        prop_assert_eq!(temporaries(&files), 0);
    }
}

#[test]
fn readers_beside_a_writer_see_whole_objects_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..40 {
                files.create(&format!("packs/00/{n}"), &vec![n; 300_000]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            for object in files.list("packs/").unwrap() {
                assert_eq!(object.bytes, 300_000, "{}", object.path);
                let bytes = files.read(&object.path).unwrap();
                assert!(
                    bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == bytes[0]),
                    "{}",
                    object.path
                );
            }
        }
    });
}

#[test]
fn what_a_killed_run_left_is_no_object_and_goes_before_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let killed = files(directory.path());
    let left = killed.root.join("tmp/1-0");
    std::fs::create_dir(killed.root.join("tmp")).unwrap();
    std::fs::write(&left, b"half an obj").unwrap();
    let held = killed.root.join("tmp/1-1");
    let lock = File::create(&held).unwrap();
    lock.lock().unwrap();
    let next = files(directory.path());
    assert!(next.list("").unwrap().is_empty() && left.exists(), "a reader clears nothing away");
    next.create("packs/00/x", b"x").unwrap();
    assert!(!left.exists() && held.exists(), "what another run is writing stays");
    assert_eq!(next.list("").unwrap().len(), 1);
}

/// Many stores clear away while others write: nobody loses what it writes, and nothing is left.
#[test]
fn clearing_away_takes_nothing_from_whoever_writes() {
    let directory = tempfile::tempdir().unwrap();
    let root = &files(directory.path()).root;
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            scope.spawn(move || {
                for n in 0..50 {
                    let files = Files { root: root.clone(), writing: Writing::default() };
                    let path = format!("packs/00/{writer}-{n}");
                    assert_eq!(files.create(&path, &[writer; 4096]).unwrap(), Creation::New);
                    assert!(files.read(&path).unwrap() == [writer; 4096][..]);
                }
            });
        }
    });
    let files = Files { root: root.clone(), writing: Writing::default() };
    assert_eq!((files.list("").unwrap().len(), temporaries(&files)), (200, 0));
}

#[test]
fn a_hard_link_serves_where_a_rename_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let (temporary, target) = (directory.path().join("t"), directory.path().join("object"));
    std::fs::write(&temporary, b"mine").unwrap();
    assert_eq!(write::link(&temporary, &target).unwrap(), Creation::New);
    // The repetition of a link whose answer was lost finds its own.
    assert_eq!(write::link(&temporary, &target).unwrap(), Creation::New);
    std::fs::remove_file(&temporary).unwrap();
    std::fs::write(&temporary, b"another").unwrap();
    assert_eq!(write::link(&temporary, &target).unwrap(), Creation::Exists);
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
}

#[test]
fn objects_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    files.create("packs/00/x", b"x").unwrap();
    for (path, mode) in
        [("", 0o700), ("packs", 0o700), ("packs/00", 0o700), ("packs/00/x", 0o600), ("tmp", 0o700)]
    {
        let metadata = files.root.join(path).metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn the_root_is_made_but_not_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b");
    let files = Files { root: root.clone(), writing: Writing::default() };
    let error = files.prepare().unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("parent directory does not exist"), "{error}");
    std::fs::create_dir(directory.path().join("a")).unwrap();
    files.prepare().unwrap();
    files.prepare().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let files = Files { root: file, writing: Writing::default() };
    assert_eq!(files.prepare().unwrap_err().kind(), Kind::Input);
}

#[test]
fn without_a_root_there_is_no_vault() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files { root: directory.path().join("none"), writing: Writing::default() };
    let kinds = [
        files.read("x").unwrap_err().kind(),
        files.read_range("x", 0, 1).unwrap_err().kind(),
        files.size("x").unwrap_err().kind(),
        files.create("x", b"").unwrap_err().kind(),
        files.delete("x").unwrap_err().kind(),
        files.list("").unwrap_err().kind(),
    ];
    assert_eq!(kinds, [Kind::NoVault; 6]);
    assert!(!directory.path().join("none").exists());
}

#[test]
fn what_is_no_regular_file_is_never_read_or_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let outside = directory.path().join("outside");
    std::fs::write(&outside, b"secret").unwrap();
    std::os::unix::fs::symlink(&outside, files.root.join("link")).unwrap();
    std::fs::create_dir(files.root.join("directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        files.root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for path in ["link", "directory", "pipe"] {
        assert_eq!(files.read(path).unwrap_err().kind(), Kind::Damaged, "{path}");
        assert_eq!(files.size(path).unwrap_err().kind(), Kind::Damaged, "{path}");
        assert_eq!(files.create(path, b"x").unwrap_err().kind(), Kind::Damaged, "{path}");
    }
    assert_eq!(files.list("").unwrap(), []);
    assert_eq!(std::fs::read(&outside).unwrap(), b"secret");
}

#[test]
fn foreign_files_are_left_out_of_a_listing() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    files.create("log/1", b"1").unwrap();
    for name in [".hidden", "with space", "lost+found"] {
        std::fs::write(files.root.join(name), b"").unwrap();
    }
    let listed: Vec<_> = files.list("").unwrap().into_iter().map(|object| object.path).collect();
    assert_eq!(listed, ["log/1"]);
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    files.create("packs/00/x", b"x").unwrap();
    std::fs::remove_dir_all(files.root.join("packs")).unwrap();
    assert_eq!(files.create("packs/00/x", b"x").unwrap(), Creation::New);
}

#[test]
fn an_object_too_long_to_be_one_is_not_read_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    files.create("packs/00/x", b"x").unwrap();
    let file = File::options().write(true).open(files.root.join("packs/00/x")).unwrap();
    file.set_len(OBJECT_BYTES_MAX + 1).unwrap();
    assert_eq!(files.read("packs/00/x").unwrap_err().kind(), Kind::Damaged);
}
