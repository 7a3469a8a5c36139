//! Which files of the copy are changed, and how: one of each kind of change, as far as there are files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::step::quoted;

/// A file that can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it is; text without control characters, so that a person can type it.
    pub(super) path: String,
    /// Its permission bits.
    pub(super) mode: u32,
}

/// Kinds of change that need a file each.
const FILES_CHANGED: usize = 5;

/// The first few files below `root`, by name, that their owner may write in directories that their owner may write.
pub(super) fn candidates(root: &Path) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        let writable = std::fs::metadata(&dir).is_ok_and(|metadata| metadata.mode() & 0o300 == 0o300);
        let mut entries: Vec<_> = std::fs::read_dir(&dir).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut dirs = Vec::new();
        for entry in entries {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let typeable = path.to_str().filter(|text| !text.contains(char::is_control)).map(str::to_owned);
            if metadata.is_dir() {
                dirs.push(path);
                continue;
            }
            let changeable = metadata.is_file() && metadata.mode() & 0o200 != 0 && writable;
            if let (true, Some(path)) = (changeable, typeable) {
                found.push(Candidate { path, mode: metadata.mode() & 0o7777 });
            }
            if found.len() == FILES_CHANGED {
                return found;
            }
        }
        pending.extend(dirs.into_iter().rev());
    }
    found
}

/// Shell lines that change the copy at `root`.
pub(super) fn plan(root: &str, files: &[Candidate]) -> Vec<String> {
    let mut lines = vec![format!("echo 'a new file' > {}", quoted(&format!("{root}/new-file")))];
    let changes: [fn(&Candidate) -> String; FILES_CHANGED] = [
        |file| format!("echo 'one more line' >> {}", quoted(&file.path)),
        |file| format!("rm {}", quoted(&file.path)),
        |file| format!("touch {}", quoted(&file.path)),
        |file| format!("mv {} {}", quoted(&file.path), quoted(&format!("{}.renamed", file.path))),
        |file| format!("chmod {} {}", if file.mode == 0o600 { "644" } else { "600" }, quoted(&file.path)),
    ];
    lines.extend(files.iter().zip(changes).map(|(file, change)| change(file)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_of_each_kind_as_far_as_files_reach() {
        let file = |name: &str, mode| Candidate { path: format!("/d/{name}"), mode };
        let files =
            [file("a", 0o644), file("b", 0o644), file("c", 0o644), file("d e", 0o644), file("f", 0o600)];
        assert_eq!(
            plan("/d", &files),
            [
                "echo 'a new file' > /d/new-file",
                "echo 'one more line' >> /d/a",
                "rm /d/b",
                "touch /d/c",
                "mv '/d/d e' '/d/d e.renamed'",
                "chmod 644 /d/f",
            ]
        );
        assert_eq!(plan("/d", &[]).len(), 1);
    }

    #[test]
    fn candidates_come_by_name_and_can_be_typed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("b")).unwrap();
        for name in ["b/z", "c", "a", "new\nline"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let found: Vec<_> = candidates(root).into_iter().map(|c| c.path).collect();
        let expected = ["a", "c", "b/z"].map(|name| root.join(name).to_str().unwrap().to_owned());
        assert_eq!(found, expected);
    }
}
