//! Where reading starts, and what is left out by rule.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use shudao_vault::entry::TreePath;

use super::{LiveError, LiveOptions};

/// What is left out.
pub(super) struct Rules {
    excludes: Gitignore,
    pub(super) one_file_system: bool,
}

impl Rules {
    pub(super) fn new(options: &LiveOptions) -> Result<Self, LiveError> {
        // The empty root makes patterns relative to the tree's own root.
        let mut builder = GitignoreBuilder::new("");
        for pattern in &options.excludes {
            let fault = |cause| LiveError::Exclude { pattern: pattern.clone(), cause };
            builder.add_line(None, pattern).map_err(fault)?;
        }
        let fault = |cause| LiveError::Exclude { pattern: options.excludes.join("\n"), cause };
        Ok(Self { excludes: builder.build().map_err(fault)?, one_file_system: options.one_file_system })
    }

    /// Whether a pattern leaves `path` out. What lies below an excluded directory is never asked for.
    pub(super) fn is_excluded(&self, path: &TreePath, is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        self.excludes.matched(path, is_directory).is_ignore()
    }
}

/// How much of a directory belongs to the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// All of it, but for what the rules leave out.
    pub(super) whole: bool,
    /// These names in any case, whatever the rules say: roots, and what leads to them.
    pub(super) below: BTreeMap<CString, Wanted>,
}

/// The directory that is the root of the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) path: PathBuf,
    pub(super) wanted: Wanted,
}

impl Start {
    /// Looks at `roots` and decides what stands at the top of the tree.
    pub(super) fn find(roots: &[impl AsRef<Path>]) -> Result<Self, LiveError> {
        let mut paths = Vec::with_capacity(roots.len());
        for root in roots {
            let path = root.as_ref();
            let fault = |cause| LiveError::OpenRoot { path: path.to_path_buf(), cause };
            // That it exists is checked here, so that a mistyped root is no empty tree.
            std::fs::metadata(path).map_err(fault)?;
            paths.push(absolute(path).map_err(fault)?);
        }
        match &paths[..] {
            [] => Err(LiveError::NoRoot),
            [one] if one.is_dir() => Ok(Self { path: one.clone(), wanted: Wanted::all() }),
            [one] => Ok(Self::above(one.parent().unwrap_or(one), &paths)),
            several => Ok(Self::above(Path::new("/"), several)),
        }
    }

    /// Only `roots` below `top`.
    fn above(top: &Path, roots: &[PathBuf]) -> Self {
        let mut wanted = Wanted::default();
        for root in roots {
            wanted.add(root.strip_prefix(top).unwrap_or(root));
        }
        Self { path: top.to_path_buf(), wanted }
    }
}

impl Wanted {
    /// A directory that belongs to the tree with all it holds.
    pub(super) fn all() -> Self {
        Self { whole: true, below: BTreeMap::new() }
    }

    fn add(&mut self, path: &Path) {
        let mut here = self;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let name = CString::new(name.as_bytes()).expect("a path that exists holds no NUL");
                here = here.below.entry(name).or_default();
            }
        }
        here.whole = true;
    }
}

/// The path from `/` on. Symbolic links in it are kept, since they are part of how the operator names the place; only
/// the system knows what `..` behind a link means.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    if path.components().any(|component| component == Component::ParentDir) {
        return path.canonicalize();
    }
    Ok(std::path::absolute(path)?.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &[u8], is_directory: bool) -> bool {
        let excludes = patterns.iter().map(ToString::to_string).collect();
        let rules = Rules::new(&LiveOptions { excludes, ..LiveOptions::default() }).unwrap();
        rules.is_excluded(&TreePath::new(path).unwrap(), is_directory)
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (patterns, path, is_directory, expected) in [
            (&["*.log"][..], &b"a/b.log"[..], false, true),
            (&["/a.log"], b"a.log", false, true),
            (&["/a.log"], b"b/a.log", false, false),
            (&["cache/"], b"x/cache", true, true),
            (&["cache/"], b"x/cache", false, false),
            (&["*.log", "!keep.log"], b"keep.log", false, false),
            (&["a/**/z"], b"a/b/c/z", false, true),
            (&["# remark", ""], b"# remark", false, false),
            (&["*.log"], b".hidden", false, false),
            (&["蜀"], "蜀".as_bytes(), false, true),
            (&["*.bak"], b"\xff.bak", false, true),
            (&["*"], b"line\nbreak", false, true),
        ] {
            assert_eq!(excluded(patterns, path, is_directory), expected, "{patterns:?} {path:?}");
        }
    }

    fn show(wanted: &Wanted) -> String {
        let below: Vec<_> = wanted
            .below
            .iter()
            .map(|(name, wanted)| name.to_str().unwrap().to_owned() + &show(wanted))
            .collect();
        let mark = if wanted.whole { "*" } else { "" };
        if below.is_empty() { mark.into() } else { format!("{mark}({})", below.join(" ")) }
    }

    #[test]
    fn several_roots_keep_their_full_paths() {
        for (top, roots, expected) in [
            ("/", &["/srv/b/c", "/srv/a", "/etc"][..], "(etc* srv(a* b(c*)))"),
            ("/", &["/srv/b", "/srv/b/c"], "(srv(b*(c*)))"),
            ("/", &["/", "/etc"], "*(etc*)"),
            ("/srv", &["/srv/file"], "(file*)"),
        ] {
            let roots: Vec<_> = roots.iter().map(PathBuf::from).collect();
            assert_eq!(show(&Start::above(Path::new(top), &roots).wanted), expected, "{roots:?}");
        }
    }

    #[test]
    fn paths_are_made_absolute_without_following_links() {
        let here = std::env::current_dir().unwrap();
        for (path, expected) in
            [("/a/./b//", "/a/b".into()), ("x/", here.join("x")), ("/proc/..", "/".into())]
        {
            assert_eq!(absolute(Path::new(path)).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn no_root_and_a_missing_root_are_refused() {
        assert!(matches!(Start::find(&[] as &[&str]), Err(LiveError::NoRoot)));
        assert!(matches!(Start::find(&["/there/is/no/such/path"]), Err(LiveError::OpenRoot { .. })));
    }
}
