//! As an ordinary user, who may not give files away: each test plants a source as root and runs itself once more, in a process of
//! its own, as somebody else.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};

use super::*;

/// In the process of the ordinary user, the directory that root made.
const ROOM: &str = "SHUDAO_TEST_ORDINARY_USER";
const NOBODY: u32 = 65534;
/// A capability: to bind low ports.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// In the test's own process: plants a source as root, runs the test as an ordinary user and gives nothing. In that
/// user's process: gives the source.
fn as_ordinary_user(test: &str, plant: impl FnOnce(&Path)) -> Option<PathBuf> {
    if let Some(room) = std::env::var_os(ROOM) {
        return Some(PathBuf::from(room).join("source"));
    }
    assert!(rustix::process::geteuid().is_root(), "run this as root, who can make what others cannot");
    let room = tempfile::tempdir().unwrap();
    let (program, temporary) = (room.path().join("test"), room.path().join("tmp"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for directory in [room.path().join("source"), temporary.clone()] {
        fs::create_dir(directory).unwrap();
    }
    plant(&room.path().join("source"));
    chown(&temporary, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()])
        .arg(&program)
        .args([&format!("restore::tests::ordinary::{test}"), "--exact"])
        .env(ROOM, room.path())
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    None
}

/// Backs up root's source and restores it, all as an ordinary user.
async fn there_and_back(source: &Path, prepare: impl FnOnce(&Path)) -> (Bench, RestoreSummary) {
    let mut bench = Bench::new().await;
    let snapshot = bench.backup_of(&[source], &[], false).await;
    fs::create_dir(bench.target()).unwrap();
    prepare(&bench.target());
    let summary = bench.restore(&snapshot, false).await;
    assert!(summary.failed.is_empty(), "{:?}", summary.failed);
    (bench, summary)
}

fn plant_file(root: &Path, path: &str, mode: u32) {
    write(root, path, path);
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// What could not be set at a path.
fn not_set(summary: &RestoreSummary, path: &str) -> Vec<String> {
    let here = summary.metadata_not_set.iter().filter(|problem| problem.path.to_string() == path);
    here.map(|problem| problem.what.clone()).collect()
}

fn is_told(told: &[String], words: &str) -> bool {
    told.iter().any(|what| what.contains(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_never_runs_with_the_rights_of_whoever_restored_it() {
    let planted = as_ordinary_user("a_program_never_runs_with_the_rights_of_whoever_restored_it", |source| {
        for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755), ("both", 0o6711), ("plain", 0o755)] {
            plant_file(source, name, mode | 0o444);
        }
        plant_file(source, "capable", 0o755);
        setxattr(source.join("capable"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    });
    let Some(source) = planted else { return };
    let (bench, summary) = there_and_back(&source, |_| {}).await;
    for (name, mode) in [("setuid", 0o755), ("setgid", 0o755), ("both", 0o755), ("plain", 0o755)] {
        assert_eq!(mode_of(&bench.target().join(name)), mode, "{name}");
        let told = not_set(&summary, name);
        assert!(is_told(&told, "owner"), "{name}: {told:?}");
        assert_eq!(is_told(&told, "setuid and setgid"), name != "plain", "{name}: {told:?}");
        assert_eq!(fs::read(bench.target().join(name)).unwrap(), name.as_bytes());
    }
    assert!(is_told(&not_set(&summary, "capable"), "security.capability"));
    let mut names = [0; 256];
    assert_eq!(listxattr(bench.target().join("capable"), &mut names).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_set_on_what_may_only_be_read() {
    let planted = as_ordinary_user("attributes_are_set_on_what_may_only_be_read", |source| {
        plant_file(source, "read-only", 0o444);
        fs::create_dir(source.join("directory")).unwrap();
        for name in ["read-only", "directory"] {
            setxattr(source.join(name), "user.note", b"kept", XattrFlags::empty()).unwrap();
        }
        plant_file(source, "directory/inside", 0o444);
        fs::set_permissions(source.join("directory"), fs::Permissions::from_mode(0o555)).unwrap();
    });
    let Some(source) = planted else { return };
    let (bench, summary) = there_and_back(&source, |_| {}).await;
    for (name, mode) in [("read-only", 0o444), ("directory", 0o555)] {
        let path = bench.target().join(name);
        let mut value = [0; 16];
        let length = getxattr(&path, "user.note", &mut value).unwrap();
        assert_eq!((&value[..length], mode_of(&path)), (&b"kept"[..], mode), "{name}");
        let told = not_set(&summary, name);
        assert!(told.iter().all(|what| what.contains("owner")), "nothing but the owner: {told:?}");
        assert!(!told.is_empty());
    }
    // Whoever cleans up must be able to.
    fs::set_permissions(bench.target().join("directory"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_acl_of_the_target_does_not_leak_into_what_is_restored() {
    // Owner rwx, user 1001 rwx, group r-x, mask rwx, others ---.
    const ACL: [[u8; 8]; 5] = [
        [1, 0, 7, 0, 255, 255, 255, 255],
        [2, 0, 7, 0, 0xe9, 3, 0, 0],
        [4, 0, 5, 0, 255, 255, 255, 255],
        [16, 0, 7, 0, 255, 255, 255, 255],
        [32, 0, 0, 0, 255, 255, 255, 255],
    ];
    let planted =
        as_ordinary_user("a_default_acl_of_the_target_does_not_leak_into_what_is_restored", |source| {
            plant_file(source, "file", 0o644);
            plant_file(source, "directory/deep/file", 0o640 | 0o004);
            fs::set_permissions(source.join("directory"), fs::Permissions::from_mode(0o751 | 0o004)).unwrap();
        });
    let Some(source) = planted else { return };
    let (bench, _) = there_and_back(&source, |target| {
        let acl = [&[2, 0, 0, 0][..], &ACL.concat()].concat();
        setxattr(target, "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
        fs::write(target.join("probe"), "").unwrap();
        let mut names = [0; 256];
        assert!(listxattr(target.join("probe"), &mut names).unwrap() > 0, "others would inherit it");
        fs::remove_file(target.join("probe")).unwrap();
    })
    .await;
    for path in ["file", "directory", "directory/deep", "directory/deep/file"] {
        let (restored, mut names) = (bench.target().join(path), [0; 256]);
        assert_eq!(listxattr(&restored, &mut names).unwrap(), 0, "{path}");
        assert_eq!(mode_of(&restored), mode_of(&source.join(path)), "{path}");
    }
}
