//! Programs measured as whole processes, by GNU time.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub directory: PathBuf,
}

impl Call {
    /// A call of `program` that runs in `directory`, with nothing in its environment but the paths of programs.
    pub fn new(program: impl Into<PathBuf>, directory: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            program: program.into(),
            args: Vec::new(),
            env: vec![("PATH".into(), path), ("HOME".into(), directory.into())],
            directory: directory.to_owned(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With a variable set.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn shown(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        std::iter::once(self.program.to_string_lossy()).chain(args).collect::<Vec<_>>().join(" ")
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Seconds by the wall's clock.
    pub wall: f64,
    /// Seconds of processors, the kernel's share included.
    pub cpu: f64,
    /// Most memory that one of its processes had resident, in MiB.
    pub peak_mib: f64,
}

impl Cost {
    /// Both, one after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            peak_mib: self.peak_mib.max(next.peak_mib),
        }
    }
}

/// Runs it to its end and returns its cost and what it printed. Everything written before is on the disk when it starts.
///
/// # Errors
/// If it cannot be started, or ends with another code than 0, with what it printed last.
pub fn run(call: &Call) -> io::Result<(Cost, Vec<u8>)> {
    rustix::fs::sync();
    let report = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("/usr/bin/time");
    command.arg("-o").arg(report.path()).args(["-f", "%e %U %S %M"]).arg(&call.program).args(&call.args);
    command.env_clear().envs(call.env.iter().map(|(name, value)| (name, value)));
    let output = command.current_dir(&call.directory).stdin(Stdio::null()).output().map_err(|error| {
        io::Error::new(error.kind(), format!("/usr/bin/time (Debian's package time): {error}"))
    })?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let last =
            error.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        return Err(io::Error::other(format!("{}: {}\n{last}", call.shown(), output.status)));
    }
    let cost = parse(&fs::read_to_string(report.path())?)
        .ok_or_else(|| io::Error::other("GNU time did not report what was asked of it"))?;
    Ok((cost, output.stdout))
}

fn parse(report: &str) -> Option<Cost> {
    let mut figures = report.lines().last()?.split_whitespace().map(str::parse::<f64>);
    let mut next = || figures.next()?.ok();
    let (wall, user, system, kib) = (next()?, next()?, next()?, next()?);
    Some(Cost { wall, cpu: user + system, peak_mib: kib / 1024.0 })
}

/// Bytes of all files below a path, holes included.
///
/// # Errors
/// If a directory cannot be read.
pub fn tree_bytes(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// The middle one, or the mean of the middle two; zero of none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        len if len % 2 == 1 => figures[len / 2],
        len => f64::midpoint(figures[len / 2 - 1], figures[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_gnu_time_are_read_and_anything_else_is_not() {
        let cost = parse("Command exited\n1.50 0.25 0.50 2048\n").unwrap();
        assert_eq!(cost, Cost { wall: 1.5, cpu: 0.75, peak_mib: 2.0 });
        assert_eq!(parse(""), None);
        assert_eq!(parse("1.5 0.2"), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }
}
