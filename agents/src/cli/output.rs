//! Stdout and stderr. Data goes to stdout: text for people, or with `--json` one object a line. The rest goes to stderr.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Lang, Notice, Problem};
use super::path::RawPath;

/// The version that stands in every JSON object; fields may be added without raising it.
const JSON_VERSION: u32 = 1;

/// How much is printed, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputOptions {
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// Errors and warnings only.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// The language of messages.
    pub(crate) lang: Lang,
    /// Stdout is taken by a file's content, so JSON goes to stderr.
    pub(crate) json_on_stderr: bool,
}

/// The process's stdout and stderr. Clones share them.
#[derive(Clone)]
pub(crate) struct Output {
    options: OutputOptions,
    shared: Arc<Shared>,
}

struct Shared {
    stdout: Mutex<BufWriter<io::Stdout>>,
    stdout_is_terminal: bool,
    bars: MultiProgress,
    bars_shown: bool,
}

/// One object a line: the envelope that every JSON object has.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    version: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// What a JSON object of type `error` says.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u8,
    kind: &'a str,
    message: String,
    causes: &'a [String],
    hint: String,
}

/// Something about one path that did not go as it should; the run goes on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PathWarning {
    /// Which of the summary's counters it went into.
    pub(crate) kind: WarningKind,
    #[serde(flatten)]
    pub(crate) path: RawPath,
    /// What happened, by the operating system's words where they are its own.
    pub(crate) message: String,
}

/// The counters of `summary.warnings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WarningKind {
    /// A path of the source could not be read.
    SourceUnreadable,
    /// A file changed while it was read; stored as read.
    ChangedWhileRead,
    /// An owner, mode, time or attribute could not be set.
    MetadataNotSet,
    /// A path could not be restored.
    NotRestored,
}

impl Output {
    /// Output to the process's stdout and stderr.
    pub(crate) fn new(options: OutputOptions) -> Self {
        let bars_shown = !options.json && !options.quiet && io::stderr().is_terminal();
        let target = if bars_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let shared = Shared {
            stdout: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())),
            stdout_is_terminal: io::stdout().is_terminal(),
            bars: MultiProgress::with_draw_target(target),
            bars_shown,
        };
        Self { options, shared: Arc::new(shared) }
    }

    /// The language of messages.
    pub(crate) fn lang(&self) -> Lang {
        self.options.lang
    }

    /// Whether data is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.options.json
    }

    /// Whether only errors and warnings are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.options.quiet
    }

    /// Where progress bars are drawn, if they are.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        self.shared.bars_shown.then_some(&self.shared.bars)
    }

    /// Whether progress is wanted as lines: no bars, but asked to say more.
    pub(crate) fn wants_progress_lines(&self) -> bool {
        !self.shared.bars_shown && !self.options.json && self.options.verbosity > 0
    }

    /// Writes a line of data for people; nothing under `--json`.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        if self.options.json { Ok(()) } else { self.write(&[text.as_bytes(), b"\n"]) }
    }

    /// Writes several lines of data for people.
    pub(crate) fn lines<'a>(&self, lines: impl IntoIterator<Item = &'a String>) -> Result<()> {
        lines.into_iter().try_for_each(|line| self.line(line))
    }

    /// Writes a sentence about what was done, on stdout, unless quiet or under `--json`.
    pub(crate) fn say(&self, notice: &Notice) -> Result<()> {
        if self.options.quiet { Ok(()) } else { self.line(&notice.text(self.options.lang)) }
    }

    /// Writes a JSON object of type `kind`; nothing without `--json`.
    pub(crate) fn object<T: Serialize>(&self, kind: &str, body: &T) -> Result<()> {
        if !self.options.json {
            return Ok(());
        }
        let mut line = encode(kind, body);
        line.push(b'\n');
        if self.options.json_on_stderr {
            io::stderr().write_all(&line).map_err(|error| write_failed(&error))
        } else {
            self.write(&[&line])
        }
    }

    /// Writes raw bytes of data, whatever the form of output.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        self.write(&[bytes])
    }

    /// Tells people something on stderr, unless quiet or under `--json`.
    pub(crate) fn notice(&self, notice: &Notice) {
        if !self.options.quiet && !self.options.json {
            self.stderr(&notice.text(self.options.lang));
        }
    }

    /// Shows a person a secret that is told only once: on stderr, also when quiet or under `--json`.
    pub(crate) fn secret(&self, notice: &Notice) {
        self.stderr(&notice.text(self.options.lang));
    }

    /// Tells people something on stderr if they asked to hear more.
    pub(crate) fn detail(&self, notice: &Notice) {
        if self.options.verbosity > 0 {
            self.notice(notice);
        }
    }

    /// Warns on stderr, even when quiet; under `--json` with an object of type `warning`.
    pub(crate) fn warning(&self, notice: &Notice) {
        #[derive(Serialize)]
        struct Body {
            kind: &'static str,
            message: String,
        }
        let message = notice.text(self.options.lang);
        if self.options.json {
            // A warning that cannot be delivered does not stop the run.
            let _ = self.object("warning", &Body { kind: "notice", message });
        } else {
            self.stderr(&Notice::Warning { text: message }.text(self.options.lang));
        }
    }

    /// Warns of one path, even when quiet; under `--json` with an object of type `warning`.
    pub(crate) fn path_warning(&self, warning: &PathWarning) {
        if self.options.json {
            let _ = self.object("warning", warning);
        } else {
            let path = if warning.path.0.is_empty() { ".".to_owned() } else { warning.path.to_string() };
            let text = format!("{path}: {}", warning.message);
            self.stderr(&Notice::Warning { text }.text(self.options.lang));
        }
    }

    /// Says why the run failed: on stderr for people, under `--json` also as an object of type `error`.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let lang = self.options.lang;
        let (message, hint) = (failure.problem().text(lang), failure.hint().text(lang));
        for line in failure_lines(&message, failure.causes(), &hint) {
            self.stderr(&line.text(lang));
        }
        let body = ErrorBody {
            code: failure.exit() as u8,
            kind: failure.exit().name(),
            message,
            causes: failure.causes(),
            hint,
        };
        let _ = self.object("error", &body);
    }

    /// Writes out what is buffered: a full disk behind stdout is often seen only now.
    pub(crate) fn flush(&self) -> Result<()> {
        self.stdout().flush().map_err(|error| write_failed(&error))
    }

    /// Clears the bars and writes out what is buffered, before the process ends at once.
    pub(crate) fn abandon(&self) {
        let _ = self.shared.bars.clear();
        // A writer that is stuck on a full pipe holds the lock; it must not keep the process.
        if let Ok(mut stdout) = self.shared.stdout.try_lock() {
            let _ = stdout.flush();
        }
    }

    fn stderr(&self, text: &str) {
        self.shared.bars.suspend(|| {
            // In a file that takes both, what was said before stands before. A stuck writer is not waited for.
            if let Ok(mut stdout) = self.shared.stdout.try_lock() {
                let _ = stdout.flush();
            }
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn write(&self, parts: &[&[u8]]) -> Result<()> {
        let write = || -> io::Result<()> {
            let mut stdout = self.stdout();
            parts.iter().try_for_each(|part| stdout.write_all(part))?;
            // A reader of JSON waits for whole lines, as a person does.
            if self.shared.stdout_is_terminal || self.options.json { stdout.flush() } else { Ok(()) }
        };
        let result = if self.shared.stdout_is_terminal { self.shared.bars.suspend(write) } else { write() };
        result.map_err(|error| write_failed(&error))
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<io::Stdout>> {
        // A panic elsewhere does not make a buffer of bytes wrong.
        self.shared.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of an error: what, why, and what to do.
fn failure_lines(message: &str, causes: &[String], hint: &str) -> Vec<Notice> {
    let mut lines = vec![Notice::Error { text: message.to_owned() }];
    lines.extend(causes.iter().map(|cause| Notice::Because { text: cause.clone() }));
    lines.push(Notice::Hint { text: hint.to_owned() });
    lines
}

fn encode<T: Serialize>(kind: &str, body: &T) -> Vec<u8> {
    serde_json::to_vec(&Line { version: JSON_VERSION, kind, body })
        .expect("our own report types have string keys and no failing serializer")
}

fn write_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::new(Exit::Failed, Problem::WriteStdout {}, Hint::CheckStdout {}).because(error)
}

/// An object of type `error` for arguments that clap refused; clap has told people already.
pub(crate) fn print_usage_error(error: &clap::Error) {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let hint = Hint::SeeHelp {}.text(Lang::En);
    let body = ErrorBody { code: Exit::Usage as u8, kind: Exit::Usage.name(), message, causes: &[], hint };
    let mut line = encode("error", &body);
    line.push(b'\n');
    let _ = io::stdout().write_all(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_carries_version_and_type() {
        let warning = PathWarning {
            kind: WarningKind::SourceUnreadable,
            path: RawPath(b"a\xff".to_vec()),
            message: "Permission denied".into(),
        };
        let text = String::from_utf8(encode("warning", &warning)).unwrap();
        assert_eq!(
            text,
            "{\"version\":1,\"type\":\"warning\",\"kind\":\"source_unreadable\",\"path\":\"a\u{fffd}\",\
             \"path_hex\":\"61ff\",\"message\":\"Permission denied\"}"
        );
    }

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let lines = failure_lines("open vault", &["read vault.json".into(), "timed out".into()], "try again");
        let text = |lang| lines.iter().map(|line| line.text(lang)).collect::<Vec<_>>();
        assert_eq!(
            text(Lang::En),
            ["error: open vault", "  because: read vault.json", "  because: timed out", "hint: try again"]
        );
        assert_eq!(text(Lang::ZhCn)[0], "错误：open vault");
    }
}
