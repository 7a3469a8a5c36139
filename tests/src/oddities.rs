//! A tree that holds every kind of file, name and attribute that a POSIX file system has.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev};

use crate::content::{Noise, prose, put, put_noise};
use crate::tool::{need_root, run};

/// What was planted, as far as a test must know it.
#[derive(Debug)]
pub struct Planted {
    /// The part that tools working with whole paths can walk, relative to the root.
    pub plain: &'static str,
    /// The part below which paths are longer than `PATH_MAX`.
    pub deep: &'static str,
    /// Files with holes, relative to the root.
    pub sparse: Vec<PathBuf>,
    /// Number of sockets, which no backup can hold.
    pub sockets: u64,
}

/// The name of every planted socket ends so.
pub const SOCKET_SUFFIX: &str = ".socket";

/// Fills `root`, which exists and is empty.
///
/// # Panics
/// Without root, or if anything cannot be made.
pub fn plant(root: &Path) -> Planted {
    need_root("planting devices, owners and capabilities");
    let plain = root.join("plain");
    for directory in ["contents", "links/other", "names", "modes", "attributes", "special", "times", "owners"]
    {
        std::fs::create_dir_all(plain.join(directory)).expect("create a directory");
    }
    contents(&plain.join("contents"));
    let sparse = sparse(&plain.join("contents"));
    links(&plain.join("links"));
    names(&plain.join("names"));
    attributes(&plain.join("attributes"));
    let sockets = special(&plain.join("special"));
    owners(&plain.join("owners"));
    modes(&plain.join("modes"));
    times(&plain.join("times"));
    deep(&root.join("deep"));
    let relative =
        |path: PathBuf| path.strip_prefix(root).map(Path::to_path_buf).expect("planted below the root");
    Planted { plain: "plain", deep: "deep", sparse: sparse.into_iter().map(relative).collect(), sockets }
}

fn contents(dir: &Path) {
    put(&dir.join("empty"), b"");
    put(&dir.join("one-byte"), b"x");
    put(&dir.join("text"), &prose(100_000));
    put_noise(&dir.join("large"), 12 << 20, 1);
    put_noise(&dir.join("large-again"), 12 << 20, 1);
    put(&dir.join("compressible"), &prose(8 << 20));
    put(&dir.join("written-zeros"), &vec![0; 1 << 20]);
    for number in 0..300 {
        put(&dir.join(format!("small-{number}")), format!("small file {number}").as_bytes());
    }
    std::fs::create_dir(dir.join("empty-directory")).expect("create a directory");
}

/// Holes before, between and after data, and nothing but a hole.
fn sparse(dir: &Path) -> Vec<PathBuf> {
    let make = |name: &str, size: u64, data: &[(u64, usize)]| {
        let path = dir.join(name);
        let file = File::create(&path).expect("create a sparse file");
        for (offset, len) in data {
            file.write_all_at(&Noise::new(*offset).bytes(*len), *offset).expect("write between holes");
        }
        file.set_len(size).expect("set a sparse file's length");
        path
    };
    vec![
        make("hole-only", 16 << 20, &[]),
        make("hole-first", 8 << 20, &[(7 << 20, 1 << 20)]),
        make("hole-last", 8 << 20, &[(0, 12_288)]),
        make("holes-between", 192 << 20, &[(0, 4096), (64 << 20, 2 << 20), (128 << 20, 65_536)]),
    ]
}

fn links(dir: &Path) {
    put(&dir.join("first"), b"three names, one file");
    for second in ["second", "other/third"] {
        std::fs::hard_link(dir.join("first"), dir.join(second)).expect("make a hard link");
    }
    put_noise(&dir.join("large"), 2 << 20, 2);
    std::fs::hard_link(dir.join("large"), dir.join("other/large")).expect("make a hard link");
    for (target, name) in [
        (&b"first"[..], "relative"),
        (b"../contents/text", "upwards"),
        (b"/etc/hostname", "absolute"),
        (b"nowhere/to/be/found", "dangling"),
        (b"itself", "itself"),
        (b"..", "directory"),
        (b"not utf-8 \xff\xfe\nsecond line", "strange"),
    ] {
        symlink(OsStr::from_bytes(target), dir.join(name)).expect("make a symbolic link");
    }
    symlink("long/".repeat(800), dir.join("long")).expect("make a long symbolic link");
    lchown(dir.join("dangling"), Some(1001), Some(1002)).expect("give a link away");
    set_mtime(&dir.join("dangling"), 1_000_000_000, 123_456_789);
}

fn names(dir: &Path) {
    let long = "n".repeat(255);
    for name in [
        &b"with space"[..],
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\rreturn",
        b"back\\slash",
        b"quote\"and'tick`",
        b"-n",
        b"--help",
        b"...",
        b"~",
        b"#hash",
        b"!negated",
        b"star*[and]?",
        b"semi;colon&$(echo)",
        b"\x01\x1b[31m\x7f",
        b"latin-1 \xe9\xe8",
        b"\xff\xfe\xfd",
        "政务云 蜀道".as_bytes(),
        "e\u{301} and \u{e9}".as_bytes(),
        "\u{202e}reversed".as_bytes(),
        long.as_bytes(),
    ] {
        put(&dir.join(OsStr::from_bytes(name)), name);
    }
    for name in [&b"directory\nwith newline"[..], b"directory \xff"] {
        let inner = dir.join(OsStr::from_bytes(name));
        std::fs::create_dir(&inner).expect("create a directory");
        put(&inner.join("inside"), b"inside");
    }
    // Component-wise order differs from that of the bytes here: `a`, `a/x`, `a-b`, `a.b`, `a0`.
    std::fs::create_dir(dir.join("a")).expect("create a directory");
    for name in ["a/x", "a-b", "a.b", "a0"] {
        put(&dir.join(name), name.as_bytes());
    }
}

fn attributes(dir: &Path) {
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("set {name} on {}: {error}", path.display()));
    };
    let file = dir.join("file");
    put(&file, b"with attributes");
    set(&file, "user.empty", b"");
    set(&file, "user.binary", b"\0\xff\n\x80");
    set(&file, "user.long", &Noise::new(3).bytes(1500));
    set(&file, "user.名", "值".as_bytes());
    let inner = dir.join("directory");
    std::fs::create_dir(&inner).expect("create a directory");
    set(&inner, "user.purpose", b"archive");

    let guarded = dir.join("guarded");
    put(&guarded, b"with an access list");
    run("setfacl", ["-m".as_ref(), "u:1001:rw,g:1002:r,m::rw".as_ref(), guarded.as_os_str()]);
    let inheriting = dir.join("inheriting");
    std::fs::create_dir(&inheriting).expect("create a directory");
    run("setfacl", ["-m".as_ref(), "u:1001:rwx,d:u:1001:rwx,d:g:1002:rx".as_ref(), inheriting.as_os_str()]);
    put(&inheriting.join("heir"), b"got its list from the directory");

    let capable = dir.join("capable");
    put(&capable, b"#!/bin/true\n");
    std::fs::set_permissions(&capable, Permissions::from_mode(0o755)).expect("set a mode");
    // Giving a file away clears its capabilities, so the owner comes first, here as in a restore.
    chown(&capable, Some(1001), Some(1002)).expect("give a file away");
    run("setcap", ["cap_net_bind_service,cap_net_raw+ep".as_ref(), capable.as_os_str()]);
}

fn special(dir: &Path) -> u64 {
    let node = |name: &str, kind: FileType, device: u64| {
        let path = dir.join(name);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device)
            .unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("large-numbers", FileType::CharacterDevice, makedev(4095, 1_048_575));
    node("block", FileType::BlockDevice, makedev(7, 200));
    for name in ["one", "two"] {
        let path = dir.join(format!("{name}{SOCKET_SUFFIX}"));
        // Dropping the listener leaves the file, which is what a stopped daemon leaves too.
        drop(UnixListener::bind(&path).expect("make a socket"));
    }
    2
}

fn owners(dir: &Path) {
    for (name, user, group) in
        [("ordinary", 1001, 1002), ("unknown", 1_234_567, 7_654_321), ("largest", 4_294_967_294, 1)]
    {
        let path = dir.join(name);
        put(&path, name.as_bytes());
        chown(&path, Some(user), Some(group)).expect("give a file away");
    }
    let inner = dir.join("directory");
    std::fs::create_dir(&inner).expect("create a directory");
    chown(&inner, Some(1001), Some(1002)).expect("give a directory away");
}

fn modes(dir: &Path) {
    for mode in [0o000, 0o200, 0o444, 0o777, 0o1644, 0o2755, 0o4755, 0o6711] {
        let path = dir.join(format!("file-{mode:04o}"));
        put(&path, b"mode");
        // As above: giving a file away clears setuid and setgid.
        chown(&path, Some(1001), Some(1002)).expect("give a file away");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set a mode");
    }
    for mode in [0o000, 0o111, 0o555, 0o1777, 0o2775] {
        let path = dir.join(format!("directory-{mode:04o}"));
        std::fs::create_dir(&path).expect("create a directory");
        put(&path.join("inside"), b"inside");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set a mode");
    }
}

fn times(dir: &Path) {
    let times = [
        ("epoch", 0, 0),
        ("before-1970", -86_400, 999_999_999),
        ("nanoseconds", 1_700_000_000, 1),
        ("after-2038", 4_000_000_000, 987_654_321),
    ];
    for (name, seconds, nanos) in times {
        put(&dir.join(name), name.as_bytes());
        set_mtime(&dir.join(name), seconds, nanos);
    }
    let inner = dir.join("old-directory");
    std::fs::create_dir(&inner).expect("create a directory");
    put(&inner.join("newer"), b"newer than the directory says");
    set_mtime(&inner, 946_684_800, 5);
}

/// Sets a path's modification time, a link's own.
///
/// # Panics
/// If it cannot be set.
pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|error| panic!("set the time of {}: {error}", path.display()));
}

/// Directories inside directories until the path is half as long again as `PATH_MAX`, each with a file.
fn deep(dir: &Path) {
    const LEVELS: usize = 30;
    std::fs::create_dir(dir).expect("create a directory");
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here: OwnedFd = rustix::fs::open(dir, flags, Mode::empty()).expect("open a directory");
    for level in 0..LEVELS {
        let name = format!("{level:02}-{}", "d".repeat(200));
        rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o755)).expect("create a deep directory");
        here = rustix::fs::openat(&here, &name, flags, Mode::empty()).expect("open a deep directory");
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&here, "file", create, Mode::from_raw_mode(0o644))
            .expect("create a deep file");
        rustix::io::write(&file, format!("level {level}").as_bytes()).expect("write a deep file");
    }
}
