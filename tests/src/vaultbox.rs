//! A place for one test: a vault, its owner, and whoever else the test needs.

use std::ffi::OsString;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::client::Client;

/// A directory for everything one test makes, and the owner of a vault in it.
#[derive(Debug)]
pub struct Vaultbox {
    home: TempDir,
    /// The owner, on this machine.
    pub owner: Client,
}

impl Vaultbox {
    /// A place for a vault in a local directory; nothing is initialised.
    pub fn empty() -> Self {
        let home = home();
        let replica = home.path().join("vault").into_os_string();
        Self::with(home, replica, Vec::new())
    }

    /// A place for a vault at `replica`, reached with these environment variables; nothing is initialised.
    pub fn empty_at(replica: impl Into<OsString>, env: Vec<(String, String)>) -> Self {
        Self::with(home(), replica.into(), env)
    }

    /// A vault in a local directory.
    pub fn new() -> Self {
        let mut this = Self::empty();
        this.owner.init_with_identity([this.owner.replica.clone()]);
        this
    }

    /// A vault at `replica`, reached with these environment variables.
    pub fn at(replica: impl Into<OsString>, env: Vec<(String, String)>) -> Self {
        let mut this = Self::empty_at(replica, env);
        this.owner.init_with_identity([this.owner.replica.clone()]);
        this
    }

    fn with(home: TempDir, replica: OsString, env: Vec<(String, String)>) -> Self {
        let owner = Client::new(home.path(), "owner", replica, env);
        Self { home, owner }
    }

    /// A path inside this test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A new, empty directory inside this test's directory.
    ///
    /// # Panics
    /// If it is there already.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }

    /// The vault's own directory.
    pub fn vault_dir(&self) -> PathBuf {
        PathBuf::from(&self.owner.replica)
    }

    /// Another machine with the owner's secrets, which has seen nothing yet.
    pub fn other_machine(&self, name: &str) -> Client {
        let mut client =
            Client::new(self.home.path(), name, self.owner.replica.clone(), self.owner.env.clone());
        client.password.clone_from(&self.owner.password);
        client
    }

    /// Someone with a key of their own: `role` is `owner`, `writer` or `keeper`.
    pub fn with_role(&self, name: &str, role: &str) -> Client {
        let mut client =
            Client::new(self.home.path(), name, self.owner.replica.clone(), self.owner.env.clone());
        client.env.retain(|(name, _)| name != "SHUDAO_IDENTITY");
        let public = client.take_identity();
        self.owner.shudao(["vault", "key", "add", "--role", role, "--recipient"]).arg(&public).run().ok();
        client
    }
}

impl Default for Vaultbox {
    fn default() -> Self {
        Self::new()
    }
}

/// A fresh directory that ordinary users may enter.
fn home() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let home = TempDir::with_prefix("shudao-test-").expect("create a temporary directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("open it to others");
    home
}
