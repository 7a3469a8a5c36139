//! Exclude patterns, written as in a `.gitignore`, matched against the path below the snapshot's root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use shudao_vault::entry::TreePath;

/// Which paths are left out. The last pattern that matches a path decides; `!pattern` takes it in again, but not
/// below a directory that is left out, since that is never entered.
#[derive(Debug, Clone)]
pub struct Excludes {
    patterns: Gitignore,
    lines: Vec<String>,
}

impl Default for Excludes {
    /// Leaves nothing out.
    fn default() -> Self {
        Self { patterns: Gitignore::empty(), lines: Vec::new() }
    }
}

/// Why patterns are refused.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// A pattern that means nothing.
    #[error("{place}: the exclude pattern {pattern:?} is not valid: {reason}")]
    Pattern {
        /// Where it stands: file and line, or the command line.
        place: String,
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line that is not UTF-8.
    #[error("{place}: the line is not UTF-8; write `?` for the bytes that are not")]
    NotText {
        /// File and line.
        place: String,
    },
    /// A file of patterns that cannot be read.
    #[error("read the exclude patterns in {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Collects patterns in the order in which they count.
#[derive(Debug)]
pub struct ExcludesBuilder {
    patterns: GitignoreBuilder,
    lines: Vec<String>,
}

impl Default for ExcludesBuilder {
    fn default() -> Self {
        let mut patterns = GitignoreBuilder::new("");
        // A bracket that is never closed is a mistake to be told, not a bracket in a name.
        patterns.allow_unclosed_class(false);
        Self { patterns, lines: Vec::new() }
    }
}

impl ExcludesBuilder {
    /// Adds a pattern from the command line.
    pub fn pattern(&mut self, pattern: &str) -> Result<&mut Self, ExcludeError> {
        self.line(pattern, || "--exclude".to_owned())
    }

    /// Adds the patterns of a file: one a line, `#` starts a comment, empty lines say nothing.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self, ExcludeError> {
        let text =
            std::fs::read(path).map_err(|source| ExcludeError::File { path: path.to_owned(), source })?;
        self.lines(&text, path)
    }

    fn lines(&mut self, text: &[u8], path: &Path) -> Result<&mut Self, ExcludeError> {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let place = || format!("{}, line {}", path.display(), index + 1);
            let line = std::str::from_utf8(line).map_err(|_| ExcludeError::NotText { place: place() })?;
            self.line(line.strip_suffix('\r').unwrap_or(line), place)?;
        }
        Ok(self)
    }

    fn line(&mut self, line: &str, place: impl FnOnce() -> String) -> Result<&mut Self, ExcludeError> {
        match self.patterns.add_line(None, line) {
            Ok(_) => {
                if !line.trim().is_empty() && !line.starts_with('#') {
                    self.lines.push(line.to_owned());
                }
                Ok(self)
            }
            Err(error) => Err(ExcludeError::Pattern {
                place: place(),
                pattern: line.to_owned(),
                reason: match error {
                    ignore::Error::Glob { err, .. } => err,
                    other => other.to_string(),
                },
            }),
        }
    }

    /// The patterns, ready to match.
    pub fn build(self) -> Result<Excludes, ExcludeError> {
        let patterns = self.patterns.build().map_err(|error| ExcludeError::Pattern {
            place: "all exclude patterns together".to_owned(),
            pattern: String::new(),
            reason: error.to_string(),
        })?;
        Ok(Excludes { patterns, lines: self.lines })
    }
}

impl Excludes {
    /// Whether this path is left out by a pattern of its own; the root never is. What stands above it is not asked:
    /// an excluded directory is not entered, so nothing below it is ever judged.
    pub fn excludes(&self, path: &TreePath, is_directory: bool) -> bool {
        if path.is_root() {
            return false;
        }
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        self.patterns.matched(path, is_directory).is_ignore()
    }

    /// The patterns that count, in order, as they were written: for the snapshot to remember.
    pub fn patterns(&self) -> &[String] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str]) -> Excludes {
        let mut builder = ExcludesBuilder::default();
        for pattern in patterns {
            builder.pattern(pattern).unwrap();
        }
        builder.build().unwrap()
    }

    fn path(bytes: &[u8]) -> TreePath {
        TreePath::new(bytes).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        for (patterns, target, is_directory, excluded) in [
            (&["*.o"][..], &b"a/b.o"[..], false, true),
            (&["*.o"], b"a/b.of", false, false),
            (&["*.o"], b".o", false, true),
            (&["/build"], b"build", true, true),
            (&["/build"], b"a/build", true, false),
            (&["build/"], b"a/build", true, true),
            (&["build/"], b"a/build", false, false),
            (&["a/*/c"], b"a/b/c", false, true),
            (&["a/*/c"], b"a/b/b/c", false, false),
            (&["a/**/c"], b"a/b/b/c", false, true),
            (&["*.o", "!keep.o"], b"x/keep.o", false, false),
            (&["!keep.o", "*.o"], b"x/keep.o", false, true),
            (&["# no", ""], b"# no", false, false),
            (&["\\#yes"], b"#yes", false, true),
            (&["cache"], b"\xff/cache", true, true),
            (&["*.tmp"], b"\xffnot\nutf.tmp", false, true),
            (&["x?y"], b"x\xffy", false, true),
            (&[], b"anything", false, false),
            (&["*"], b"", true, false),
        ] {
            let found = excludes(patterns).excludes(&path(target), is_directory);
            assert_eq!(found, excluded, "{patterns:?} {target:?}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_file_and_line() {
        let file = Path::new("/etc/patterns");
        let fails = |text: &[u8]| ExcludesBuilder::default().lines(text, file).unwrap_err().to_string();
        assert_eq!(
            fails(b"ok\n\n[oops\n"),
            "/etc/patterns, line 3: the exclude pattern \"[oops\" is not valid: unclosed character class; missing ']'"
        );
        assert_eq!(
            fails(b"\xff"),
            "/etc/patterns, line 1: the line is not UTF-8; write `?` for the bytes that are not"
        );
        let error = ExcludesBuilder::default().pattern("{a,b").unwrap_err().to_string();
        assert!(error.starts_with("--exclude: the exclude pattern \"{a,b\""), "{error}");
        let missing = ExcludesBuilder::default().file(Path::new("/nonexistent/x")).unwrap_err();
        assert_eq!(missing.to_string(), "read the exclude patterns in /nonexistent/x");
    }

    #[test]
    fn files_from_other_editors_are_understood_and_patterns_remembered() {
        let mut builder = ExcludesBuilder::default();
        builder.lines("\u{feff}*.bak\r\n# note\r\n\r\nold/".as_bytes(), Path::new("x")).unwrap();
        let excludes = builder.build().unwrap();
        assert!(excludes.excludes(&path(b"a.bak"), false));
        assert_eq!(excludes.patterns(), ["*.bak", "old/"]);
    }
}
