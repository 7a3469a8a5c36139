//! The binary under test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::tool::profile_dir;

/// The built binary.
///
/// # Panics
/// If it is missing or older than a source file it is made of.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = profile_dir().join("shudao");
        let built = modified(&path).unwrap_or_else(|| {
            panic!("{} is not there: run ./test, or `cargo build --workspace` first", path.display())
        });
        let newer = sources(&path.with_extension("d"))
            .into_iter()
            .find(|source| modified(source).is_some_and(|time| time > built));
        if let Some(newer) = newer {
            panic!(
                "{} is older than {}: run ./test, or `cargo build --workspace` first",
                path.display(),
                newer.display()
            );
        }
        path
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// The files that cargo's dependency file lists: `binary: source source ...`, spaces in names escaped.
fn sources(dependency_file: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(dependency_file).unwrap_or_default();
    let list = text.split_once(": ").map(|(_, list)| list.replace("\\ ", "\0")).unwrap_or_default();
    list.split_whitespace().map(|path| PathBuf::from(path.replace('\0', " "))).collect()
}
