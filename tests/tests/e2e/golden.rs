//! The golden vaults: what an earlier build wrote, this one must read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use shudao_tests::client::Client;
use shudao_tests::tool::{need_root, run, source_dir};
use shudao_vault::id::from_hex;
use shudao_vault::object::FORMAT_VERSION;
use tempfile::TempDir;

/// A golden vault, copied to where it may be changed.
struct Golden {
    home: TempDir,
    expected: Value,
}

impl Golden {
    fn copy_of(folder: &Path) -> Self {
        let home = TempDir::new().unwrap();
        let vault = home.path().join("vault");
        run("cp", ["-r".as_ref(), folder.join("vault").as_os_str(), vault.as_os_str()]);
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        Self { home, expected: serde_json::from_str(&text).unwrap() }
    }

    fn person(&self, role: &str) -> Client {
        let replica = self.home.path().join("vault").into_os_string();
        let mut client = Client::new(self.home.path(), role, replica, Vec::new());
        client.password = text(&self.expected["passwords"][role]);
        client
    }

    fn snapshots(&self) -> &[Value] {
        self.expected["snapshots"].as_array().unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is a text")).to_owned()
}

fn folder_of(version: u8) -> PathBuf {
    source_dir().join("tests/golden").join(format!("v{version}"))
}

/// Copies of the golden vaults of every version so far.
fn all() -> Vec<Golden> {
    need_root("giving restored files to their owners");
    (0..=FORMAT_VERSION).map(|version| Golden::copy_of(&folder_of(version))).collect()
}

/// An entry as the folder has it.
fn reduced(row: &Value) -> Value {
    let kept = ["path", "path_hex", "kind", "size", "blake3"];
    kept.iter().filter_map(|key| Some((key.to_string(), row.get(*key)?.clone()))).collect()
}

/// Path and digest of the expected files; a path that is no text stands there in digits.
fn digests(snapshot: &Value) -> Vec<(PathBuf, String)> {
    let files = snapshot["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "file");
    let path = |entry: &Value| match entry.get("path_hex") {
        None => PathBuf::from(text(&entry["path"])),
        Some(digits) => {
            let digits = text(digits);
            let mut bytes = vec![0; digits.len() / 2];
            assert!(from_hex(&digits, &mut bytes));
            PathBuf::from(OsString::from_vec(bytes))
        }
    };
    files.map(|entry| (path(entry), text(&entry["blake3"]))).collect()
}

#[test]
fn every_format_version_has_a_golden_vault() {
    for version in 0..=FORMAT_VERSION {
        for part in ["vault/vault.json", "expected.json", "README.md"] {
            let path = folder_of(version).join(part);
            assert!(path.is_file(), "{} is missing: tests/golden/make.sh makes it", path.display());
        }
    }
}

#[test]
fn golden_vaults_are_clean_to_the_last_byte() {
    for golden in all() {
        let owner = golden.person("owner");
        let check = owner.run(["check", "--read-data", "--json"]).ok();
        assert_eq!(check.count("findings"), 0, "{check}");
        assert!(check.count("packs") > 3 && check.count("packs_read") == check.count("packs"), "{check}");
        owner.shudao(["check", "--names"]).keyless().run().ok();
    }
}

#[test]
fn golden_vaults_show_the_snapshots_holds_and_roots_that_they_had() {
    for golden in all() {
        let rows = golden.person("owner").snapshots();
        assert_eq!(rows.len(), golden.snapshots().len(), "what was forgotten stays so: {rows:#?}");
        assert!(rows.iter().all(|row| row["snapshot"] != golden.expected["forgotten"]));
        for expected in golden.snapshots() {
            let row = rows.iter().find(|row| row["snapshot"] == expected["snapshot"]).unwrap();
            for field in ["source", "held", "manifest_root"] {
                assert_eq!(row[field], expected[field], "{field} of {row}");
            }
            let listed = golden.person(&text(&expected["role"]));
            let listed = listed.run(["ls", &text(&expected["snapshot"]), "--json"]).ok().rows();
            let listed: Vec<Value> = listed.iter().map(reduced).collect();
            assert_eq!(Some(&listed), expected["entries"].as_array());
        }
    }
}

#[test]
fn golden_vaults_restore_to_the_digests_and_roots_that_they_had() {
    for golden in all() {
        let owner = golden.person("owner");
        for expected in golden.snapshots() {
            let (id, root) = (text(&expected["snapshot"]), text(&expected["manifest_root"]));
            let target = golden.home.path().join(&id);
            owner.restore(&id, &target).ok();
            let digests = digests(expected);
            assert!(digests.len() > 5);
            for (path, digest) in digests {
                let bytes = std::fs::read(target.join(&path)).unwrap();
                assert_eq!(blake3::hash(&bytes).to_hex().as_str(), digest, "{}", path.display());
            }
            owner.bare(["verify", "--root", &root]).keyless().arg(&target).run().ok();
            owner.shudao(["verify", &id]).arg(&target).run().ok();
        }
    }
}

#[test]
fn what_a_golden_vault_says_is_bad_is_healed_by_the_next_backup() {
    for golden in all() {
        let owner = golden.person("owner");
        let status = owner.run(["vault", "status", "--json"]).ok();
        let replica = status.rows().into_iter().find(|row| row["type"] == "replica").unwrap();
        assert_eq!(replica["bad_frames"], 1, "{status}");
        let newest = golden.snapshots().iter().rfind(|snapshot| snapshot["source"] == "archive").unwrap();
        let (newest, tree) = (text(&newest["snapshot"]), golden.home.path().join("tree"));
        owner.restore(&newest, &tree).ok();
        // Now the frame is bad indeed, and what lies in it is nowhere else.
        let bad = &golden.expected["bad"];
        let pack = golden.home.path().join("vault").join(text(&bad["pack"]));
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[usize::try_from(bad["offset"].as_u64().unwrap()).unwrap()] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
        owner.restore(&newest, &golden.home.path().join("lacking")).exits(1).says("many/noise");
        let backup = owner.shudao(["backup", "--json", "--rescan", "--source", "archive"]);
        let healed = backup.arg(&tree).run().ok().snapshot();
        for snapshot in [newest, healed] {
            let target = golden.home.path().join(&snapshot);
            owner.restore(&snapshot, &target).ok();
            shudao_tests::compare::same(&tree, &target);
        }
    }
}

#[test]
fn golden_vaults_take_new_backups_of_owner_and_writer() {
    for golden in all() {
        let source = golden.home.path().join("source");
        shudao_tests::content::plant_small(&source, 1);
        for role in ["owner", "writer"] {
            let snapshot = golden.person(role).backup_as(&format!("new of {role}"), &source).ok().snapshot();
            let target = golden.home.path().join(role);
            golden.person("owner").restore(&snapshot, &target).ok();
            shudao_tests::compare::same(&source, &target);
        }
    }
}
