//! A command's output as the content of one file.
//!
//! Only a command that ends well has given its whole output: the exit code decides, and a reader that stops early
//! has nothing.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take to stop when it is told to, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How often a command that was told to stop is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// A command whose output is read. Its error output is ours; it has no input. Dropped before its end, it is stopped.
#[derive(Debug)]
pub struct CommandSource {
    name: String,
    child: Child,
    output: ChildStdout,
    ended: bool,
}

/// Why a command's output is no content.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing to run was given.
    #[error("no command was given")]
    Empty,
    /// It could not be started.
    #[error("start the command {name}")]
    Start {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an exit code that means failure.
    #[error("the command {name} ended with exit code {code}; its output is not kept")]
    Failed {
        /// The program.
        name: String,
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    #[error("the command {name} was ended by signal {signal}; its output is not kept")]
    Killed {
        /// The program.
        name: String,
        /// The signal's number.
        signal: i32,
    },
    /// Its output was not read to the end.
    #[error("the output of the command {name} was not read to its end")]
    Unfinished {
        /// The program.
        name: String,
    },
    /// The system could not say how it ended.
    #[error("wait for the command {name}")]
    Wait {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl CommandSource {
    /// Starts the program that is the first of `words` with the rest as its arguments. No shell is involved.
    pub fn start(words: &[OsString]) -> Result<Self, CommandError> {
        let (program, arguments) = words.split_first().ok_or(CommandError::Empty)?;
        let name = program.to_string_lossy().into_owned();
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let failed = |source| CommandError::Start { name: name.clone(), source };
        let mut child = started.map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(io::Error::other("it has no output")))?;
        Ok(Self { name, child, output, ended: false })
    }

    /// Waits for the command's end, which says whether what was read is the whole. Stops the command if its output
    /// was not read to the end.
    pub fn finish(mut self) -> Result<(), CommandError> {
        let name = self.name.clone();
        if !self.ended {
            return Err(CommandError::Unfinished { name });
        }
        let status = self.child.wait().map_err(|source| CommandError::Wait { name: name.clone(), source })?;
        judge(name, status)
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // The child was not waited for, so its number still means it and no other process.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let told = Instant::now();
        while told.elapsed() < GRACE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(GLANCE);
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

fn judge(name: String, status: ExitStatus) -> Result<(), CommandError> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(CommandError::Failed { name, code }),
        (None, signal) => Err(CommandError::Killed { name, signal: signal.unwrap_or(0) }),
    }
}

impl Read for CommandSource {
    /// The next bytes of the output; 0 at its end, after which [`CommandSource::finish`] decides.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.output.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

impl Drop for CommandSource {
    fn drop(&mut self) {
        // Nobody is left to be told; a command that survives this writes into a closed pipe and ends by that.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandSource {
        CommandSource::start(&["sh", "-c", script].map(OsString::from)).unwrap()
    }

    fn run(script: &str) -> (Vec<u8>, Result<(), CommandError>) {
        let (mut source, mut output) = (shell(script), Vec::new());
        source.read_to_end(&mut output).unwrap();
        (output, source.finish())
    }

    #[test]
    fn the_output_is_the_content_and_the_exit_code_decides() {
        let (output, end) = run("printf 'a\\000b'; cat");
        assert_eq!(output, b"a\0b", "and its input is empty");
        end.unwrap();
        let (output, end) = run("echo half; exit 7");
        assert_eq!(output, b"half\n");
        assert!(matches!(end, Err(CommandError::Failed { code: 7, .. })));
        assert!(matches!(run("kill -9 $$").1, Err(CommandError::Killed { signal: 9, .. })));
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = CommandSource::start(&["/nonexistent/dump".into()]).unwrap_err();
        assert_eq!(error.to_string(), "start the command /nonexistent/dump");
        assert!(matches!(CommandSource::start(&[]), Err(CommandError::Empty)));
    }

    #[test]
    fn output_that_was_not_read_to_its_end_is_no_content_and_the_command_is_stopped() {
        let mut source = shell("echo begun; exec sleep 1000");
        source.read_exact(&mut [0; 6]).unwrap();
        let pid = source.child.id();
        assert!(matches!(source.finish(), Err(CommandError::Unfinished { .. })));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
