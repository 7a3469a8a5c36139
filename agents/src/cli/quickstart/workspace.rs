//! The one directory in which everything of the tour lies.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cli::environment::Environment;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Problem};
use crate::cli::path::RawPath;
use crate::cli::secret::Password;

/// The directory of a tour, readable by its owner only.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The directory's absolute path.
    pub(super) root: String,
}

impl Workspace {
    /// Makes a new directory below `TMPDIR`, with a password file in it. Refused where it would lie inside `source`,
    /// which is copied into it.
    pub(super) fn create(environment: &Environment, source: &Path) -> Result<Self> {
        let above: PathBuf = environment.path("TMPDIR").unwrap_or_else(|| "/tmp".into());
        let above = above.canonicalize().map_err(|error| failed(&above, &error))?;
        if above.starts_with(source) {
            let problem = Problem::QuickInsideSource { dir: RawPath::from(above.as_path()).to_string() };
            return Err(Failure::usage(problem, Hint::SetVariable { variable: "TMPDIR" }));
        }
        let number = u32::from_le_bytes(shudao_vault::suite::random());
        let root = text(&above.join(format!("shudao-quickstart-{number:08x}")))?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&root)
            .map_err(|error| failed(Path::new(&root), &error))?;
        let work = Self { root };
        let path = work.at("password");
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{}", Password::generate().as_str()))
            .map_err(|error| failed(Path::new(&path), &error))?;
        Ok(work)
    }

    /// The path of `name` in the directory.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// `path` as it is named from within the directory.
    pub(super) fn relative(&self, path: &str) -> String {
        let below = path.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
        below.unwrap_or(path).to_owned()
    }

    /// Environment variables that every command of the tour gets.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SHUDAO_VAULT", self.at("vault")),
            ("SHUDAO_PASSWORD_FILE", self.at("password")),
            ("SHUDAO_CACHE_DIR", self.at("cache")),
            ("SHUDAO_STATE_DIR", self.at("state")),
        ]
    }

    /// Removes the directory and everything in it.
    pub(super) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.root).map_err(|error| failed(Path::new(&self.root), &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    let problem = Problem::QuickDirectory { path: RawPath::from(path).to_string() };
    Failure::new(Exit::Failed, problem, Hint::CheckDirectory {}).because(error)
}

/// The path as text without control characters; refused if it is none, because every command is printed for a person
/// to repeat.
pub(super) fn text(path: &Path) -> Result<String> {
    let typeable = path.to_str().filter(|text| !text.contains(char::is_control));
    typeable.map(str::to_owned).ok_or_else(|| {
        let problem = Problem::PathNotText { path: RawPath::from(path).to_string() };
        Failure::usage(problem, Hint::NameDirectory {})
    })
}

/// Size of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TreeSize {
    /// Regular files.
    pub(super) files: u64,
    /// Their logical size.
    pub(super) bytes: u64,
}

/// Counts a tree's files without following links; what cannot be read counts as nothing, for this is only told.
pub(super) fn measure(root: &Path) -> TreeSize {
    let mut size = TreeSize::default();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    size.files += 1;
                    size.bytes += metadata.len();
                }
                _ => {}
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_workspace_is_private_and_never_inside_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().canonicalize().unwrap();
        let environment = Environment::of(&[("TMPDIR", above.to_str().unwrap())]);
        let work = Workspace::create(&environment, Path::new("/usr")).unwrap();
        assert_eq!(std::fs::metadata(&work.root).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(work.at("password")).unwrap().len(), 24);
        work.remove().unwrap();
        assert!(!Path::new(&work.root).exists());
        assert_eq!(Workspace::create(&environment, &above).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn sizes_count_files_and_do_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), "abc").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("loop")).unwrap();
        assert_eq!(measure(dir.path()), TreeSize { files: 1, bytes: 3 });
        assert_eq!(measure(&dir.path().join("missing")), TreeSize::default());
    }
}
