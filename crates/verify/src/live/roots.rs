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

/// Below a directory of which only some names belong to the tree: those names, and which of what they hold does.
pub(super) type Branches = BTreeMap<CString, Named>;

/// A name on the way to a root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// This is a root: all of it belongs to the tree.
    Root,
    /// Only these names below it do.
    Above(Branches),
}

/// The directory that is the root of the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) path: PathBuf,
    /// `None` if all of it belongs to the tree.
    pub(super) branches: Option<Branches>,
}

impl Start {
    /// Resolves `roots` and decides what stands at the top of the tree.
    pub(super) fn find(roots: &[impl AsRef<Path>]) -> Result<Self, LiveError> {
        let mut resolved = Vec::with_capacity(roots.len());
        for root in roots {
            let path = root.as_ref();
            let fault = |cause| LiveError::OpenRoot { path: path.to_path_buf(), cause };
            resolved.push(path.canonicalize().map_err(fault)?);
        }
        match &resolved[..] {
            [] => Err(LiveError::NoRoot),
            [one] if one.is_dir() => Ok(Self { path: one.clone(), branches: None }),
            several => Ok(Self::above(several)),
        }
    }

    fn above(roots: &[PathBuf]) -> Self {
        let mut top = Named::Above(Branches::new());
        for root in roots {
            top.add(root.components().filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                Component::RootDir | Component::Prefix(_) | Component::CurDir | Component::ParentDir => None,
            }));
        }
        let branches = match top {
            Named::Root => None,
            Named::Above(branches) => Some(branches),
        };
        Self { path: PathBuf::from("/"), branches }
    }
}

impl Named {
    /// Adds the root that `way` leads to from here. A root swallows the roots inside it.
    fn add<'a>(&mut self, mut way: impl Iterator<Item = &'a OsStr>) {
        let mut here = self;
        loop {
            let Some(name) = way.next() else {
                *here = Self::Root;
                return;
            };
            match here {
                Self::Root => return,
                Self::Above(branches) => {
                    let name = CString::new(name.as_bytes()).expect("a path that was resolved holds no NUL");
                    here = branches.entry(name).or_insert_with(|| Self::Above(Branches::new()));
                }
            }
        }
    }
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

    #[test]
    fn several_roots_keep_their_full_paths_and_swallow_those_inside() {
        let name = |text: &str| CString::new(text).unwrap();
        let start = Start::above(&["/srv/b/c", "/srv/a", "/srv/b", "/etc"].map(PathBuf::from));
        let srv = Branches::from([(name("a"), Named::Root), (name("b"), Named::Root)]);
        let top = Branches::from([(name("srv"), Named::Above(srv)), (name("etc"), Named::Root)]);
        assert_eq!(start, Start { path: "/".into(), branches: Some(top) });
        assert_eq!(
            Start::above(&["/etc", "/"].map(PathBuf::from)),
            Start { path: "/".into(), branches: None }
        );
    }

    #[test]
    fn no_root_and_a_missing_root_are_refused() {
        assert!(matches!(Start::find(&[] as &[&str]), Err(LiveError::NoRoot)));
        assert!(matches!(Start::find(&["/there/is/no/such/path"]), Err(LiveError::OpenRoot { .. })));
    }
}
