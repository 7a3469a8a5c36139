//! What one run of `shudao` said, and assertions on it.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The arguments, for messages.
    pub shown: String,
    /// Exit code; 128 plus the signal's number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Run {
    /// Takes over a finished process.
    ///
    /// # Panics
    /// If it panicked: no input may bring the program to that.
    pub fn new(shown: String, output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let run = Self { shown, code, stdout: output.stdout, stderr: output.stderr };
        assert!(code != 101 && !run.stderr_text().contains("panicked at"), "the program panicked: {run}");
        run
    }

    /// Fails unless the exit code is `code`.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}: {self}");
        self
    }

    /// Fails unless the run did all it was asked to.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Fails unless standard error or standard output contains `words`, in any case.
    ///
    /// # Panics
    /// If neither does.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.mentions(words), "expected it to say {words:?}: {self}");
        self
    }

    /// Whether standard error or standard output contains `words`, in any case.
    pub fn mentions(&self, words: &str) -> bool {
        let wanted = words.to_lowercase();
        self.text().to_lowercase().contains(&wanted) || self.stderr_text().to_lowercase().contains(&wanted)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The objects of a `--json` run, one a line.
    ///
    /// # Panics
    /// If a line is no JSON object.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("JSON is UTF-8: {self}"));
        let parse = |line: &str| match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => value,
            _ => panic!("not a JSON object: {line:?}: {self}"),
        };
        text.lines().map(parse).collect()
    }

    /// The objects of a `--json` run without the summary.
    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        self.json().into_iter().filter(|object| object["type"] != "summary").collect()
    }

    /// The summary, which is the last object of a `--json` run.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.json().pop().unwrap_or_else(|| panic!("no output: {self}"));
        assert!(last["type"] == "summary", "the last line is a summary: {self}");
        last
    }

    /// A number of the summary.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        let summary = self.summary();
        summary[field].as_u64().unwrap_or_else(|| panic!("summary.{field} is a number: {self}"))
    }

    /// The snapshot that a `backup --json` made.
    ///
    /// # Panics
    /// If the summary names none.
    #[track_caller]
    pub fn snapshot(&self) -> String {
        let summary = self.summary();
        let id = summary["snapshot"].as_str().unwrap_or_else(|| panic!("summary.snapshot is an id: {self}"));
        assert!(id.len() >= 8, "a snapshot's id is longer: {self}");
        id.to_owned()
    }

    /// Path to BLAKE3, in hexadecimal digits, of every file that `ls --json` shows.
    #[track_caller]
    pub fn digests(&self) -> BTreeMap<String, String> {
        let digest =
            |row: &Value| Some((row["path"].as_str()?.to_owned(), row["blake3"].as_str()?.to_owned()));
        self.rows().iter().filter_map(digest).collect()
    }

    /// The paths that `ls --json`, `diff --json` or `verify --json` shows, as far as they are text, sorted.
    #[track_caller]
    pub fn paths(&self) -> Vec<String> {
        let shown = |row: &Value| {
            ["entry", "difference"]
                .contains(&row["type"].as_str()?)
                .then(|| row["path"].as_str().map(str::to_owned))?
        };
        let mut paths: Vec<String> = self.rows().iter().filter_map(shown).collect();
        paths.sort();
        paths
    }

    /// What the summary's counter of warnings of this kind says.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn warnings(&self, kind: &str) -> u64 {
        let summary = self.summary();
        summary["warnings"][kind]
            .as_u64()
            .unwrap_or_else(|| panic!("summary.warnings.{kind} is a number: {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (self.text(), self.stderr_text());
        write!(
            f,
            "`{}` exited {}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.code,
            shorten(&out),
            shorten(&err)
        )
    }
}

/// The beginning and the end of a long text.
fn shorten(text: &str) -> String {
    const PART_CHARS_MAX: usize = 4000;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 2 * PART_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = chars[..PART_CHARS_MAX].iter().collect();
    let tail: String = chars[chars.len() - PART_CHARS_MAX..].iter().collect();
    format!("{head}\n[...]\n{tail}")
}
