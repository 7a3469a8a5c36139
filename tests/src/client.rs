//! `shudao` as one of its users has it: a vault's address, a password, directories for state and cache, an
//! environment with nothing else in it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::invocation::Invocation;
use crate::output::Run;

/// Someone on a machine of their own.
#[derive(Debug, Clone)]
pub struct Client {
    /// The vault's address.
    pub replica: OsString,
    /// The password; strong, and found nowhere else, so that a test can look for it in outputs.
    pub password: String,
    /// State and cache directories lie here.
    pub machine: PathBuf,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
}

impl Client {
    /// Someone whose machine's directories lie below `home`, with a fresh strong password.
    ///
    /// # Panics
    /// If the directories cannot be made.
    pub fn new(home: &Path, name: &str, replica: OsString, env: Vec<(String, String)>) -> Self {
        let machine = home.join("machines").join(name);
        std::fs::create_dir_all(&machine).expect("create a machine's directory");
        let unique = machine.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self { replica, password: format!("kettle-lantern-{name}-{unique:016x}-orchard"), machine, env }
    }

    /// Makes the vault, to be opened by the password.
    pub fn init(&self) {
        self.bare(["vault", "init", "--no-recovery-kit"]).arg(&self.replica).run().ok();
    }

    /// Makes the vault on `replicas`, to be opened by an identity file: to derive a key from a password takes a third of a
    /// second.
    pub fn init_with_identity<A: AsRef<OsStr>>(&mut self, replicas: impl IntoIterator<Item = A>) {
        let public = self.take_identity();
        let init = self.bare(["vault", "init", "--no-recovery-kit", "--recipient"]).arg(&public);
        init.args(replicas).run().ok();
    }

    /// Makes an identity file, by which this client opens vaults from now on, and returns the file of its public half.
    pub fn take_identity(&mut self) -> PathBuf {
        let identity = self.machine.join("identity");
        self.bare(["vault", "key", "identity"]).arg(&identity).run().ok();
        let public = identity.with_extension("pub");
        self.env.push(("SHUDAO_IDENTITY".to_owned(), identity.to_string_lossy().into_owned()));
        public
    }

    /// `shudao` with this client's vault in the environment.
    pub fn shudao<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        self.bare(args).env("SHUDAO_VAULT", &self.replica)
    }

    /// `shudao` without a vault in the environment.
    pub fn bare<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        let mut invocation = Invocation::new()
            .env("HOME", &self.machine)
            .env("SHUDAO_STATE_DIR", self.machine.join("state"))
            .env("SHUDAO_CACHE_DIR", self.machine.join("cache"))
            .env("SHUDAO_PASSWORD", &self.password);
        // A configuration file that is named must exist, so it is named only where a test wrote one.
        let config = self.machine.join("config.toml");
        if config.exists() {
            invocation = invocation.env("SHUDAO_CONFIG", config);
        }
        for (name, value) in &self.env {
            invocation = invocation.env(name, value);
        }
        invocation.args(args)
    }

    /// Runs `shudao` with these arguments.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        self.shudao(args).run()
    }

    /// `backup --json` of a directory.
    pub fn backup(&self, source: &Path) -> Run {
        self.shudao(["backup", "--json"]).arg(source).run()
    }

    /// `backup --json` of a directory as the source `name`.
    pub fn backup_as(&self, name: &str, source: &Path) -> Run {
        self.shudao(["backup", "--json", "--source", name]).arg(source).run()
    }

    /// `restore SNAP --to DIR`.
    pub fn restore(&self, snapshot: &str, to: &Path) -> Run {
        self.shudao(["restore", snapshot, "--to"]).arg(to).run()
    }

    /// Forgets everything that can be fetched again.
    pub fn clear_cache(&self) {
        let _ = std::fs::remove_dir_all(self.machine.join("cache"));
    }

    /// The snapshots that `snapshots --json` shows.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<serde_json::Value> {
        self.run(["snapshots", "--json"]).ok().rows()
    }
}
