//! What was asked for: the paths of the command line, as a tree of names to go through and to take.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A name to go through, or to take with all that is below it. Paths given twice, or inside each other, meet here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Take everything at and below this name.
    pub(super) whole: bool,
    /// Names that the command line names below this one.
    pub(super) below: BTreeMap<Vec<u8>, Wanted>,
}

/// Where the walk starts, and what it takes from there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The directory that becomes the snapshot's root.
    pub(super) base: PathBuf,
    /// What is taken from it.
    pub(super) wanted: Wanted,
}

impl Wanted {
    fn whole() -> Self {
        Self { whole: true, below: BTreeMap::new() }
    }

    fn add(&mut self, path: &Path) {
        let mut wanted = self;
        for component in path.components() {
            if let Component::Normal(name) = component {
                wanted = wanted.below.entry(name.as_bytes().to_vec()).or_default();
            }
        }
        wanted.whole = true;
    }
}

/// One path that is a directory becomes the snapshot's root itself. One path that is not is a file below its
/// directory. Several paths keep their full paths below `/`.
///
/// The paths are absolute and without `..`; `is_directory` says whether a single one is a directory.
pub(super) fn plan_start(paths: &[PathBuf], is_directory: impl FnOnce(&Path) -> bool) -> Start {
    if let [path] = paths {
        if is_directory(path) {
            return Start { base: path.clone(), wanted: Wanted::whole() };
        }
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let mut wanted = Wanted::default();
            wanted.add(Path::new(name));
            return Start { base: parent.to_owned(), wanted };
        }
    }
    let mut wanted = Wanted::default();
    for path in paths {
        wanted.add(path);
    }
    Start { base: PathBuf::from("/"), wanted }
}

/// The path made absolute and without `.` and `..`. Symbolic links in it stay, unless it climbs by `..`, which may
/// mean something else behind a link: then the system resolves it.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.components().any(|component| component == Component::ParentDir) {
        return std::fs::canonicalize(path);
    }
    let absolute = std::path::absolute(path)?;
    // A trailing slash is no part of a name.
    let bytes = absolute.into_os_string().into_vec();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    Ok(PathBuf::from(OsStr::from_bytes(&bytes[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(paths: &[&str], is_directory: bool) -> Start {
        plan_start(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), |_| is_directory)
    }

    fn show(wanted: &Wanted) -> String {
        let mark = if wanted.whole { "*" } else { "" };
        let below: Vec<_> = wanted
            .below
            .iter()
            .map(|(name, wanted)| format!("{}{}", String::from_utf8_lossy(name), show(wanted)))
            .collect();
        if below.is_empty() { mark.to_owned() } else { format!("{mark}({})", below.join(" ")) }
    }

    #[test]
    fn one_directory_is_the_root_and_several_paths_keep_theirs() {
        for (paths, is_directory, base, wanted) in [
            (&["/home/x"][..], true, "/home/x", "*"),
            (&["/home/x"], false, "/home", "(x*)"),
            (&["/"], true, "/", "*"),
            (&["/home/x", "/etc"], true, "/", "(etc* home(x*))"),
            (&["/home/x", "/home/x"], true, "/", "(home(x*))"),
            (&["/home/x/y", "/home/x"], true, "/", "(home(x*(y*)))"),
            (&["/", "/etc"], true, "/", "*(etc*)"),
        ] {
            let start = start(paths, is_directory);
            assert_eq!(
                (start.base.to_str().unwrap(), show(&start.wanted).as_str()),
                (base, wanted),
                "{paths:?}"
            );
        }
    }

    #[test]
    fn paths_are_made_absolute_without_losing_links() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("/a/./b//")).unwrap(), PathBuf::from("/a/b"));
        assert_eq!(absolute(Path::new("/")).unwrap(), PathBuf::from("/"));
        assert_eq!(absolute(Path::new("x")).unwrap(), here.join("x"));
        assert_eq!(absolute(Path::new("/proc/..")).unwrap(), PathBuf::from("/"));
    }
}
