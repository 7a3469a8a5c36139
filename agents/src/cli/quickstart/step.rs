//! One command after another: printed, run, timed, judged.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::workspace::Workspace;
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Lang, Notice, Problem};
use crate::cli::show;

/// Variables of ours that would stand before the settings of the tour.
const OVERRIDING: [&str; 3] = ["SHUDAO_PASSWORD", "SHUDAO_PASSWORD_COMMAND", "SHUDAO_CONFIG"];

/// What the tour makes in its directory besides the password; it must be gone before the same commands work again.
const MADE: [&str; 6] = ["data", "vault", "restored", "recovery-kit", "cache", "state"];

/// Which exit codes let the tour go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// Only 0.
    Done,
    /// Also those by which the command says that it did not do everything: 3, or 1 of `cp`.
    DoneOrPartial,
}

/// A command that ran.
#[derive(Debug)]
pub(super) struct Done {
    /// As a shell would take it.
    pub(super) command: String,
    /// It was this program.
    pub(super) is_shudao: bool,
    /// How long it took.
    pub(super) took: Duration,
}

/// What a JSON object of type `step` says.
#[derive(Serialize)]
struct StepLine<'a> {
    command: &'a str,
    exit: Option<i32>,
    seconds: f64,
    result: Option<serde_json::Value>,
}

/// Runs the commands of the tour.
pub(super) struct Runner<'a> {
    ctx: &'a Context,
    program: PathBuf,
    directory: String,
    settings: Vec<(&'static str, String)>,
    lang: Option<&'static str>,
    done: Vec<Done>,
}

impl<'a> Runner<'a> {
    /// A runner of this very program, with the settings of `work`.
    pub(super) fn new(ctx: &'a Context, work: &Workspace) -> Result<Self> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Failed, Problem::NoProgram {}, Hint::ReportBug {}).because(&error)
        })?;
        let lang = ctx.output.lang();
        let lang = (lang != Lang::choose(None, &ctx.environment)).then(|| lang.name());
        let (directory, settings) = (work.root.clone(), work.settings());
        Ok(Self { ctx, program, directory, settings, lang, done: Vec::new() })
    }

    /// Prints the shell lines that give a person the same settings.
    pub(super) fn announce_settings(&self) -> Result<()> {
        self.say(&Notice::QuickSettings {})?;
        let on_path = self.ctx.environment.get_os("PATH").is_some_and(|path| {
            std::env::split_paths(path)
                .any(|dir| dir.join("shudao").canonicalize().ok() == Some(self.program.clone()))
        });
        if let (false, Some(dir)) = (on_path, self.program.parent()) {
            self.line(&format!("export PATH={}:\"$PATH\"", quoted(&dir.to_string_lossy())))?;
        }
        for (name, value) in &self.settings {
            self.line(&format!("export {name}={}", quoted(value)))?;
        }
        self.line(&format!("cd {} && rm -rf {}", quoted(&self.directory), MADE.join(" ")))?;
        for name in OVERRIDING.iter().filter(|name| self.ctx.environment.get_os(name).is_some()) {
            self.line(&format!("unset {name}"))?;
        }
        Ok(())
    }

    /// A heading before a command.
    pub(super) fn say(&self, notice: &Notice) -> Result<()> {
        if !self.ctx.output.is_quiet() {
            self.line("")?;
        }
        self.ctx.output.say(notice)
    }

    /// Runs this program with these arguments.
    pub(super) fn shudao(&mut self, arguments: &[&str], accept: Accept) -> Result<()> {
        let mut arguments = arguments.to_vec();
        if let Some(lang) = self.lang {
            arguments.extend(["--lang", lang]);
        }
        let words: Vec<_> = arguments.iter().map(|argument| quoted(argument)).collect();
        let shown = format!("shudao {}", words.join(" "));
        let mut command = Command::new(&self.program);
        command.args(&arguments);
        if self.ctx.output.is_json() {
            command.arg("--json");
        } else if self.ctx.output.is_quiet() {
            command.arg("--quiet");
        }
        self.run(command, Done { command: shown, is_shudao: true, took: Duration::ZERO }, accept)
    }

    /// Runs a line of shell.
    pub(super) fn shell(&mut self, line: &str, accept: Accept) -> Result<()> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        self.run(command, Done { command: line.to_owned(), is_shudao: false, took: Duration::ZERO }, accept)
    }

    /// Everything that ran, in order.
    pub(super) fn finish(self) -> Vec<Done> {
        self.done
    }

    fn run(&mut self, mut command: Command, mut done: Done, accept: Accept) -> Result<()> {
        self.ctx.stop.check()?;
        // Nothing in it needs escaping, and an escaped quote would be another command.
        let shown = done.command.clone();
        self.line(&format!("$ {shown}"))?;
        // The child writes to the same stdout, so what is said before it must be out before it.
        self.ctx.output.flush()?;
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command.current_dir(&self.directory);
        OVERRIDING.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.stdout(if self.ctx.output.is_json() { Stdio::piped() } else { Stdio::inherit() });
        let started = Instant::now();
        let failed = |status: String| {
            let problem = Problem::QuickStep { command: shown.clone(), status };
            Failure::new(Exit::Failed, problem, Hint::RunAgain {})
        };
        let output = command.spawn().and_then(std::process::Child::wait_with_output);
        let output = output.map_err(|error| failed("-".into()).because(&error))?;
        done.took = started.elapsed();
        let exit = output.status.code();
        let body = StepLine {
            command: &done.command,
            exit,
            seconds: done.took.as_secs_f64(),
            result: last_json_line(&output.stdout),
        };
        self.ctx.output.object("step", &body)?;
        self.ctx.stop.check()?;
        match exit {
            Some(0) => {}
            Some(code) if accept == Accept::DoneOrPartial && code == if done.is_shudao { 3 } else { 1 } => {
                self.ctx.output.notice(&Notice::QuickPartial {});
            }
            _ => return Err(failed(output.status.to_string())),
        }
        if done.is_shudao {
            self.ctx.output.say(&Notice::QuickTook { time: show::duration(done.took) })?;
        }
        self.done.push(done);
        Ok(())
    }

    fn line(&self, text: &str) -> Result<()> {
        if self.ctx.output.is_quiet() { Ok(()) } else { self.ctx.output.line(text) }
    }
}

fn last_json_line(stdout: &[u8]) -> Option<serde_json::Value> {
    let line = stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
    serde_json::from_slice(line).ok()
}

/// A word as a shell takes it literally.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        for (word, shown) in [
            ("/usr/share/doc", "/usr/share/doc"),
            ("--to", "--to"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn a_summary_is_the_last_line_that_is_json() {
        let value = last_json_line(b"{\"a\":1}\n{\"type\":\"summary\"}\n").unwrap();
        assert_eq!(value["type"], "summary");
        assert_eq!(last_json_line(b""), None);
        assert_eq!(last_json_line(b"no json\n"), None);
    }
}
