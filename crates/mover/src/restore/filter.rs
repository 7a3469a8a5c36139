//! Which paths of a snapshot are restored.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use shudao_vault::entry::TreePath;

use super::RestoreError;

/// Include and exclude patterns in the form of gitignore, relative to the snapshot's root.
pub struct Filter {
    include: Option<Gitignore>,
    exclude: Gitignore,
}

impl Filter {
    /// A filter of these patterns; without include patterns everything is included.
    ///
    /// # Errors
    /// Names the first pattern that is not one.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, RestoreError> {
        let include = if include.is_empty() { None } else { Some(compile(include)?) };
        Ok(Self { include, exclude: compile(exclude)? })
    }

    /// Whether `path` is to be restored for its own sake (and not only because something below it is).
    pub fn wants(&self, path: &TreePath, is_directory: bool) -> bool {
        let included = self
            .include
            .as_ref()
            .is_none_or(|patterns| !path.is_root() && matches(patterns, path, is_directory));
        included && !self.drops(path, is_directory)
    }

    /// Whether `path`, and so all below it, is excluded.
    pub fn drops(&self, path: &TreePath, is_directory: bool) -> bool {
        !path.is_root() && matches(&self.exclude, path, is_directory)
    }
}

fn compile(patterns: &[String]) -> Result<Gitignore, RestoreError> {
    let mut builder = GitignoreBuilder::new("");
    // A bracket that is never closed is a mistake to be told, as it is for a backup.
    builder.allow_unclosed_class(false);
    for pattern in patterns {
        builder
            .add_line(None, pattern)
            .map_err(|cause| RestoreError::Pattern { pattern: pattern.clone(), cause: Box::new(cause) })?;
    }
    builder.build().map_err(|cause| RestoreError::Pattern { pattern: String::new(), cause: Box::new(cause) })
}

fn matches(patterns: &Gitignore, path: &TreePath, is_directory: bool) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
    patterns.matched_path_or_any_parents(path, is_directory).is_ignore()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], path: &str, wanted: bool) {
        let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filter = Filter::new(&list(include), &list(exclude)).unwrap();
        assert_eq!(
            filter.wants(&TreePath::new(path).unwrap(), false),
            wanted,
            "{include:?} {exclude:?} {path}"
        );
    }

    #[test]
    fn patterns_choose_as_gitignore_does() {
        check(&[], &[], "a/b", true);
        check(&["a"], &[], "a/b", true);
        check(&["/a/b"], &[], "a/b", true);
        check(&["/b"], &[], "a/b", false);
        check(&["*.txt"], &[], "a/b.txt", true);
        check(&[], &["*.txt"], "a/b.txt", false);
        check(&["a"], &["a/b"], "a/b", false);
        check(&["a"], &["a/*", "!a/c"], "a/c", true);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        assert!(Filter::new(&["[z-a]".to_owned()], &[]).is_err());
    }
}
