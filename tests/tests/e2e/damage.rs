//! The damage matrix: each kind of object, each kind of damage, each operation.
//!
//! Whatever is damaged: no operation panics, none succeeds with wrong data, each failure names the object, `check`
//! finds it, and what does not need the object is still restored.

use std::path::{Path, PathBuf};

use shudao_tests::client::Client;
use shudao_tests::compare::same_by_rsync;
use shudao_tests::content::plant_small;
use shudao_tests::output::Run;
use shudao_tests::tool::run;
use shudao_tests::vaultbox::Vaultbox;

/// The byte of an object's header that says its kind.
const KIND_AT: usize = 6;

/// What the damage does to the vault as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Snapshots that do not need the object restore in full.
    Own,
    /// Everything restores, if need be by another way.
    Nothing,
    /// The vault may refuse to be opened.
    Vault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Truncate,
    Flip,
    Delete,
}

impl Damage {
    const ALL: [Self; 3] = [Self::Truncate, Self::Flip, Self::Delete];

    fn apply(self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Truncate => bytes.truncate(middle),
            Self::Flip => bytes[middle] ^= 0x10,
            Self::Delete => return std::fs::remove_file(path).unwrap(),
        }
        run("chmod", ["u+w".as_ref(), path.as_os_str()]);
        std::fs::write(path, bytes).unwrap();
    }
}

/// A vault with two sources of two writers, of which each needs objects of its own.
struct Prepared {
    place: Vaultbox,
    one: PathBuf,
    two: PathBuf,
}

fn prepare() -> Prepared {
    let place = Vaultbox::new();
    let (one, two) = (place.dir("one"), place.dir("two"));
    plant_small(&one, 1);
    plant_small(&two, 2);
    let writer = place.with_role("writer", "writer");
    writer.backup_as("one", &one).ok();
    place.owner.backup_as("two", &two).ok();
    place.owner.run(["check", "--read-data"]).ok();
    Prepared { place, one, two }
}

/// Every object of the vault whose header announces `kind`, relative to the vault.
fn objects(vault: &Path, kind: u8) -> Vec<PathBuf> {
    let list = run(
        "find",
        [vault.as_os_str(), "-type".as_ref(), "f".as_ref(), "-printf".as_ref(), "%P\\n".as_ref()],
    );
    let list = String::from_utf8(list).unwrap();
    let mut paths: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
    paths.sort();
    paths.retain(|path| {
        let bytes = std::fs::read(vault.join(path)).unwrap();
        bytes.starts_with(b"SHUDAO") && bytes.get(KIND_AT) == Some(&kind)
    });
    assert!(!paths.is_empty(), "the vault has an object of kind {kind}");
    paths
}

/// Whether a run names an object: by its path, by the beginning of its id, or a log entry by its number.
fn names(run: &Run, object: &Path) -> bool {
    let name = object.file_name().unwrap().to_str().unwrap();
    let entry = object.starts_with("log")
        && (run.mentions(&format!("log entry {name}")) || run.mentions(&format!("entry {name}")));
    entry || run.mentions(object.to_str().unwrap()) || (name.len() > 8 && run.mentions(&name[..8]))
}

/// The kind of a content pack in an object's header.
const CONTENT_PACK: u8 = 1;

/// Damages each object of a kind in each way, and looks at each operation.
fn matrix(kind: u8, reach: Reach) {
    let prepared = prepare();
    let objects = objects(&prepared.place.vault_dir(), kind);
    for (number, object) in objects.iter().enumerate() {
        // Of many objects alike, the first and the last meet every damage, each other one meets one.
        let every = objects.len() <= 4 || number == 0 || number + 1 == objects.len();
        let damages = if every { &Damage::ALL[..] } else { &Damage::ALL[number % 3..][..1] };
        for damage in damages {
            one_case(&prepared, object, *damage, (kind, reach));
        }
    }
}

fn one_case(prepared: &Prepared, object: &Path, damage: Damage, (kind, reach): (u8, Reach)) {
    let place = &prepared.place;
    let vault = place.vault_dir();
    // The client goes back with the vault: a restore adds to the log, and what was seen is remembered.
    let kept =
        [(vault.as_path(), place.path("whole")), (place.owner.machine.as_path(), place.path("machine"))];
    for (now, then) in &kept {
        run("cp", ["-a".as_ref(), now.as_os_str(), then.as_os_str()]);
    }
    damage.apply(&vault.join(object));
    place.owner.clear_cache();
    let case = format!("{damage:?} of {}", object.display());

    let check = place.owner.run(["check"]);
    let keyless = place.owner.shudao(["check", "--names"]).keyless().run();
    let may_refuse = reach == Reach::Vault && [1, 10, 11, 12].contains(&check.code);
    // Plain check reads no content: what only content can show is for the checks that read it.
    let is_content_flip = kind == CONTENT_PACK && damage == Damage::Flip;
    if is_content_flip {
        let data = place.owner.run(["check", "--read-data"]);
        assert!(
            data.code == 4 && names(&data, object),
            "{case}: check --read-data must find and name it: {data}"
        );
    }
    assert!(check.code == 4 || may_refuse || is_content_flip, "{case}: plain check must find it: {check}");
    assert!([1, 4, 10, 11].contains(&keyless.code), "{case}: check --names must find it: {keyless}");
    assert!(names(&keyless, object), "{case}: check --names must name it: {keyless}");
    if check.code == 4 {
        assert!(names(&check, object), "{case}: check must name it: {check}");
    }
    let restored = [("one", &prepared.one), ("two", &prepared.two)].map(|(source, tree)| {
        list(place, source, &case, object);
        restore(place, source, tree, &case, object)
    });
    match reach {
        Reach::Own => assert!(restored.contains(&true), "{case}: a snapshot that does not need it restores"),
        Reach::Nothing => assert_eq!(restored, [true, true], "{case}: every snapshot restores"),
        Reach::Vault => {}
    }
    for (now, then) in &kept {
        std::fs::remove_dir_all(now).unwrap();
        std::fs::rename(then, now).unwrap();
    }
}

/// `ls` shows all names, or fails and says why.
fn list(place: &Vaultbox, source: &str, case: &str, object: &Path) {
    let ls = place.owner.run(["ls", "latest", "--source", source, "--json"]);
    if ls.code == 0 {
        assert!(ls.paths().iter().any(|path| path == "letters/2026/note-19"), "{case}: ls is complete: {ls}");
    } else {
        assert!(names(&ls, object), "{case}: ls names what it misses: {ls}");
    }
}

/// Whether a restore succeeds, with exactly the right tree. One that fails says why, and leaves no wrong file.
fn restore(place: &Vaultbox, source: &str, tree: &Path, case: &str, object: &Path) -> bool {
    let target = place.path("target");
    let restore = place.owner.shudao(["restore", "latest", "--source", source, "--to"]).arg(&target).run();
    if restore.code == 0 {
        same_by_rsync(tree, &target, &[]);
    } else {
        assert!(names(&restore, object), "{case}: restore names what it misses: {restore}");
        no_wrong_file(tree, &target, case);
    }
    let _ = std::fs::remove_dir_all(&target);
    restore.code == 0
}

/// Each file in `target` has the content of its original.
fn no_wrong_file(tree: &Path, target: &Path, case: &str) {
    if !target.exists() {
        return;
    }
    let originals = shudao_tests::compare::b3sums(tree);
    for (path, sum) in shudao_tests::compare::b3sums(target) {
        assert_eq!(originals.get(&path), Some(&sum), "{case}: {path} was left with wrong content");
    }
}

#[test]
fn content_packs() {
    matrix(CONTENT_PACK, Reach::Own);
}

#[test]
fn metadata_packs() {
    matrix(2, Reach::Own);
}

#[test]
fn segments() {
    // Readers look into the packs' own directories where the index is silent.
    matrix(3, Reach::Nothing);
}

#[test]
fn need_lists() {
    matrix(4, Reach::Own);
}

#[test]
fn snapshots() {
    matrix(5, Reach::Own);
}

#[test]
fn key_slots() {
    matrix(6, Reach::Vault);
}

#[test]
fn certificates() {
    matrix(7, Reach::Vault);
}

#[test]
fn log_entries() {
    matrix(8, Reach::Vault);
}

#[test]
fn the_vault_file() {
    let prepared = prepare();
    for damage in Damage::ALL {
        one_case(&prepared, Path::new("vault.json"), damage, (0, Reach::Vault));
    }
}

/// Everything a client may do with a vault whose description or key was replaced must be refused.
fn refused_everywhere(client: &Client, source: &Path, target: &Path) {
    for args in [&["snapshots"][..], &["ls", "latest"], &["check"]] {
        let run = client.run(args);
        assert!(![0, 3].contains(&run.code), "{run}");
    }
    let backup = client.backup(source);
    assert!(![0, 3].contains(&backup.code), "nothing is sealed to somebody else's key: {backup}");
    let restore = client.restore("latest", target);
    assert!(![0, 3].contains(&restore.code), "{restore}");
}

#[test]
fn a_replaced_vault_file_or_key_slot_is_refused() {
    let (mine, theirs) = (Vaultbox::empty(), Vaultbox::empty());
    mine.owner.init();
    let source = mine.dir("source");
    plant_small(&source, 1);
    mine.owner.backup(&source).ok();
    // Whoever may write to the store makes a vault with the same password, and puts its parts in place of ours.
    let mut forger = theirs.owner.clone();
    forger.password.clone_from(&mine.owner.password);
    forger.init();
    let forged = theirs.vault_dir();
    let whole = mine.path("whole");
    run("cp", ["-a".as_ref(), mine.vault_dir().as_os_str(), whole.as_os_str()]);
    for parts in [&["vault.json"][..], &["keys"], &["vault.json", "keys"], &["vault.json", "keys", "log"]] {
        for part in parts {
            let place = mine.vault_dir().join(part);
            run("rm", ["-rf".as_ref(), place.as_os_str()]);
            run("cp", ["-a".as_ref(), forged.join(part).as_os_str(), place.as_os_str()]);
        }
        refused_everywhere(&mine.owner, &source, &mine.path("target"));
        std::fs::remove_dir_all(mine.vault_dir()).unwrap();
        run("cp", ["-a".as_ref(), whole.as_os_str(), mine.vault_dir().as_os_str()]);
        mine.owner.run(["check"]).ok();
    }
}

#[test]
fn a_vault_that_went_back_in_time_is_refused_until_told_otherwise() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let old = place.path("old");
    run("cp", ["-a".as_ref(), place.vault_dir().as_os_str(), old.as_os_str()]);
    place.owner.backup(&source).ok();
    std::fs::remove_dir_all(place.vault_dir()).unwrap();
    std::fs::rename(&old, place.vault_dir()).unwrap();
    let back = place.owner.run(["snapshots"]);
    assert!(![0, 3].contains(&back.code) && back.mentions("--accept-rollback"), "{back}");
    place.owner.run(["snapshots", "--accept-rollback"]).ok();
    place.other_machine("new").run(["snapshots"]).ok();
}

#[test]
fn a_spoilt_cache_is_rebuilt() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let cache = place.owner.machine.join("cache");
    let files =
        run("find", [cache.as_os_str(), "-type".as_ref(), "f".as_ref(), "-size".as_ref(), "+0".as_ref()]);
    for file in String::from_utf8(files).unwrap().lines() {
        for damage in Damage::ALL {
            if Path::new(file).metadata().is_ok_and(|metadata| metadata.len() > 0) {
                damage.apply(Path::new(file));
            }
            let target = place.path("target");
            place.owner.restore("latest", &target).ok();
            same_by_rsync(&source, &target, &[]);
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
    place.owner.backup(&source).ok();
    place.owner.run(["check", "--read-data"]).ok();
}
