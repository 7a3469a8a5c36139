//! One run of `shudao`: put together, started, measured, interrupted.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::binary::binary;
use crate::output::Run;
use crate::tool::{finish, search_path, tool};

/// An ordinary user's number, as user and as group.
pub const NOBODY: u32 = 65534;

/// One run of `shudao`, being put together.
#[derive(Debug, Clone)]
pub struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<u32>,
}

impl Invocation {
    /// The binary with an environment that holds nothing of the caller's.
    pub fn new() -> Self {
        let invocation = Self { program: binary().into(), args: Vec::new(), env: Vec::new(), user: None };
        invocation.env("PATH", search_path()).env("RUST_BACKTRACE", "1")
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self = self.without(name.as_ref());
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != name.as_ref());
        self
    }

    /// Removes everything that opens a vault.
    #[must_use]
    pub fn keyless(self) -> Self {
        self.without("SHUDAO_PASSWORD").without("SHUDAO_IDENTITY")
    }

    /// Runs as an ordinary user, from copies of the binary and the identity in `room`, which becomes that user's.
    #[must_use]
    pub fn as_nobody(mut self, room: &Path) -> Self {
        let copy = room.join("shudao");
        if !copy.exists() {
            std::fs::copy(binary(), &copy).expect("copy the binary to where everyone may run it");
        }
        let identity =
            self.env.iter().find(|(name, _)| name == "SHUDAO_IDENTITY").map(|(_, path)| path.clone());
        if let Some(identity) = identity {
            let own = room.join("identity");
            std::fs::copy(identity, &own).expect("copy the identity");
            std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY))
                .expect("give the identity to the user");
            self = self.env("SHUDAO_IDENTITY", own);
        }
        std::os::unix::fs::chown(room, Some(NOBODY), Some(NOBODY)).expect("give the room to the user");
        self.program = copy.into();
        self.user = Some(NOBODY);
        self = self.env("HOME", room);
        self.env("SHUDAO_STATE_DIR", room.join("state")).env("SHUDAO_CACHE_DIR", room.join("cache"))
    }

    /// Runs to the end.
    pub fn run(&self) -> Run {
        Run::new(self.shown(), finish(self.command().stdin(Stdio::null())))
    }

    /// Runs to the end, reading `input`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_with_input(&self, input: &[u8]) -> Run {
        let mut child = self.start_with(Stdio::piped());
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let input = input.to_vec();
        // A program may end without reading what it is given.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("wait for the program");
        feeder.join().expect("the feeding thread ends");
        Run::new(self.shown(), output)
    }

    /// Runs to the end and returns the most memory it had resident at once, in bytes.
    ///
    /// # Panics
    /// If it cannot be measured.
    pub fn run_measured(&self) -> (Run, u64) {
        const MEASURE: &str = "import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code if code >= 0 else 128 - code)";
        let report = tempfile::NamedTempFile::new().expect("create a temporary file");
        let mut command = tool("python3");
        command.args(["-c", MEASURE]).arg(report.path()).arg(&self.program).args(&self.args);
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let run = Run::new(self.shown(), finish(command.stdin(Stdio::null())));
        let kibibytes = std::fs::read_to_string(report.path()).expect("read the measurement");
        (run, kibibytes.trim().parse::<u64>().expect("the measurement is a number") * 1024)
    }

    /// Starts without waiting; the outputs are piped.
    pub fn start(&self) -> Running {
        Running { shown: self.shown(), child: Some(self.start_with(Stdio::null())) }
    }

    fn start_with(&self, stdin: Stdio) -> Child {
        let mut command = self.command();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.shown()))
    }

    fn command(&self) -> Command {
        let mut command = match self.user {
            None => Command::new(&self.program),
            Some(user) => {
                let mut setpriv = tool("setpriv");
                setpriv.arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
                setpriv.arg("--clear-groups").arg(&self.program);
                setpriv
            }
        };
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn shown(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        std::iter::once("shudao".into()).chain(args).collect::<Vec<_>>().join(" ")
    }
}

impl Default for Invocation {
    fn default() -> Self {
        Self::new()
    }
}

/// A run that has not ended; killed when dropped.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Option<Child>,
}

impl Running {
    /// Sends an interrupt, as Ctrl-C does.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Asks it to end, as an init system does.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("signal the program");
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().expect("the run was not waited for yet"))
    }

    /// Whether it has this file open now, or one below this directory.
    pub fn has_open(&self, path: &Path) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero()));
        let mut links = open.into_iter().flatten().flatten().map(|entry| std::fs::read_link(entry.path()));
        links.any(|link| link.is_ok_and(|link| link.starts_with(path) && link.is_file()))
    }

    /// Whether it has taken signals into its own hands.
    pub fn hears_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()));
        let caught = status
            .unwrap_or_default()
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
        // It takes SIGINT first.
        let terminate = 1 << (rustix::process::Signal::TERM.as_raw() - 1);
        caught.is_some_and(|caught| caught & terminate != 0)
    }

    /// Waits until `done`, as long as it runs.
    ///
    /// # Panics
    /// If it ends before; with what it said.
    pub fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            if !self.is_running() {
                let child = self.child.take().expect("the run was not waited for yet");
                let output = child.wait_with_output().expect("wait for the program");
                let run = Run::new(std::mem::take(&mut self.shown), output);
                panic!("the program ended before it was expected to: {run}");
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system cannot say.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut().expect("the run was not waited for yet");
        child.try_wait().expect("ask for the program's state").is_none()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If the system cannot say how it ended.
    pub fn wait(mut self) -> Run {
        let child = self.child.take().expect("the run was not waited for yet");
        Run::new(std::mem::take(&mut self.shown), child.wait_with_output().expect("wait for the program"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
