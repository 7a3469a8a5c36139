//! The config file: named vaults. Pure: text in, [`Config`] or the line that is wrong out.
//!
//! ```toml
//! [vault.files]
//! replicas = ["/srv/vault/files", "s3://dr-bucket/files?endpoint=https://s3.example"]
//! identity = "/etc/shudao/host.identity"           # or password_file = "/etc/shudao/files.password"
//!                                                  # or password_command = "pass show files"
//! source = "files"                                 # default for `backup --source`
//! exclude = ["*.tmp"]                              # defaults for `backup`, before those of the command line
//! exclude_from = ["/etc/shudao/files.exclude"]
//! ```
//!
//! Every path is absolute, because a config file is read from anywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Problem};
use super::resolve;

/// A config file is at most this long; a longer one is something else.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What the config file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The vaults by name.
    #[serde(default, rename = "vault")]
    pub(crate) vaults: BTreeMap<String, VaultConfig>,
}

/// What the config file says of one vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VaultConfig {
    /// Addresses of its replicas, the first one counting as the first everywhere.
    pub(crate) replicas: Vec<String>,
    /// A recipient's secret key file; before a password.
    pub(crate) identity: Option<PathBuf>,
    /// A file whose first line is the password.
    pub(crate) password_file: Option<PathBuf>,
    /// A shell command that prints the password.
    pub(crate) password_command: Option<String>,
    /// The source's name, where none is given.
    pub(crate) source: Option<String>,
    /// Patterns that every backup leaves out.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Files of such patterns.
    #[serde(default)]
    pub(crate) exclude_from: Vec<PathBuf>,
}

/// Reads the first of `candidates` that exists; the default config if none does and none is `required`.
pub(crate) fn read(candidates: &[PathBuf], required: bool) -> Result<Config> {
    for path in candidates {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > CONFIG_BYTES_MAX => {
                let problem = Problem::ConfigTooLong { path: shown(path) };
                return Err(Failure::usage(problem, Hint::CorrectConfig {}));
            }
            Ok(_) => {
                let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
                return parse(&text, &shown(path));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    Ok(Config::default())
}

/// The config in `text`; `path` is for errors only.
pub(crate) fn parse(text: &str, path: &str) -> Result<Config> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        let reason = error.message().trim_end().to_owned();
        let problem = Problem::ConfigInvalid { path: path.into(), line, reason };
        Failure::usage(problem, Hint::CorrectConfig {})
    })?;
    for (name, vault) in &config.vaults {
        if let Some((key, value)) = fault(name, vault) {
            let problem = Problem::ConfigVaultInvalid { path: path.into(), name: name.clone(), key, value };
            return Err(Failure::usage(problem, Hint::ConfigPathsAbsolute {}));
        }
    }
    Ok(config)
}

/// The key and value of `vault` that break a rule of the file.
fn fault(name: &str, vault: &VaultConfig) -> Option<(&'static str, String)> {
    if name.is_empty() || resolve::is_address(name) {
        return Some(("vault", name.to_owned()));
    }
    if vault.replicas.is_empty() {
        return Some(("replicas", "[]".into()));
    }
    let relative_address = |address: &&String| !address.contains("://") && !Path::new(address).is_absolute();
    if let Some(address) = vault.replicas.iter().find(relative_address) {
        return Some(("replicas", address.clone()));
    }
    let relative = |path: &&PathBuf| !path.is_absolute();
    for (key, path) in [("identity", &vault.identity), ("password_file", &vault.password_file)] {
        if let Some(path) = path.as_ref().filter(relative) {
            return Some((key, shown(path)));
        }
    }
    vault.exclude_from.iter().find(relative).map(|path| ("exclude_from", shown(path)))
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn shown(path: &Path) -> String {
    super::path::RawPath::from(path).to_string()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let problem = Problem::ReadFile { path: shown(path) };
    Failure::new(Exit::Usage, problem, Hint::CorrectConfig {}).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::Lang;

    fn problem(text: &str) -> String {
        parse(text, "c.toml").unwrap_err().problem().text(Lang::En)
    }

    #[test]
    fn a_full_config_is_read() {
        let text = r#"
            [vault.files]
            replicas = ["/srv/a", "s3://b/c"]
            password_file = "/etc/p"
            source = "files"
            exclude = ["*.tmp"]
            exclude_from = ["/etc/e"]
            [vault.db]
            replicas = ["/srv/db"]
            password_command = "pass show db"
        "#;
        let config = parse(text, "c.toml").unwrap();
        assert_eq!(config.vaults.keys().collect::<Vec<_>>(), ["db", "files"]);
        assert_eq!(config.vaults["files"].replicas, ["/srv/a", "s3://b/c"]);
        assert_eq!(config.vaults["files"].exclude, ["*.tmp"]);
        assert_eq!(config.vaults["db"].password_command.as_deref(), Some("pass show db"));
        assert_eq!(parse("", "c.toml").unwrap(), Config::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("[vault.a]\nreplicas = [\"/a\"]\nreplica = 1\n", "c.toml, line 3", "unknown field `replica`"),
            ("\nvaults = 1\n", "c.toml, line 2", "unknown field `vaults`"),
            ("[vault.a]\nreplicas = \"/a\"\n", "c.toml, line 2", "invalid type"),
            ("[vault.a]\n\nreplicas = [\n", "c.toml, line", ""),
            ("[vault.a]\nsource = \"a\"\n", "c.toml, line 1", "missing field `replicas`"),
        ];
        for (text, place, reason) in cases {
            let message = problem(text);
            assert!(message.contains(place) && message.contains(reason), "{text:?}: {message}");
        }
    }

    #[test]
    fn rules_of_the_file_are_kept() {
        let cases = [
            ("[vault.a]\nreplicas = []", "replicas"),
            ("[vault.a]\nreplicas = [\"a/b\"]", "a/b"),
            ("[vault.\"a/b\"]\nreplicas = [\"/a\"]", "a/b"),
            ("[vault.a]\nreplicas = [\"/a\"]\npassword_file = \"p\"", "password_file"),
            ("[vault.a]\nreplicas = [\"/a\"]\nidentity = \"i\"", "identity"),
            ("[vault.a]\nreplicas = [\"/a\"]\nexclude_from = [\"p\"]", "exclude_from"),
        ];
        for (text, part) in cases {
            let message = problem(text);
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_config_that_was_asked_for_must_exist() {
        let missing = [PathBuf::from("/nonexistent/shudao.toml")];
        assert_eq!(read(&missing, false).unwrap(), Config::default());
        assert_eq!(read(&missing, true).unwrap_err().exit(), Exit::Usage);
    }
}
