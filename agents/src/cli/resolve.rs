//! From raw settings (flags, environment, config) to what a command needs. Pure: whether a path exists is asked of an
//! argument.

use std::path::PathBuf;

use super::args::AccessArgs;
use super::config::{Config, VaultConfig};
use super::environment::Environment;
use super::failure::{Failure, Result};
use super::messages::{Hint, Problem};
use super::path::escaped;
use super::secret::PasswordSource;

/// A vault as it was named, with what the config says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamedVault {
    /// Addresses of its replicas, at least one.
    pub(crate) replicas: Vec<String>,
    /// Defaults from the config; empty where the vault was named by address.
    pub(crate) config: VaultConfig,
}

/// Whether `text` can only be an address, never a name of the config.
pub(crate) fn is_address(text: &str) -> bool {
    text.contains('/')
}

/// The vault that `named` (from the command line) or else `SHUDAO_VAULT` names.
///
/// Each value is an address if it has a slash; else a name of the config if it is one there; else an address if it
/// exists as a path. A directory here thus never hides a configured name; `./NAME` always means the directory.
pub(crate) fn vault(
    named: &[String],
    environment: &Environment,
    config: &Config,
    exists: &dyn Fn(&str) -> bool,
) -> Result<NamedVault> {
    let from_environment: Vec<String> =
        environment.get("SHUDAO_VAULT").map(str::to_owned).into_iter().collect();
    let named = if named.is_empty() { &from_environment } else { named };
    let Some(first) = named.first() else {
        return Err(Failure::usage(Problem::NoVaultNamed {}, Hint::NameVault {}));
    };
    let mut vault = NamedVault::default();
    for value in named {
        if is_address(value) {
            vault.replicas.push(value.clone());
        } else if let Some(known) = config.vaults.get(value) {
            vault.replicas.extend(known.replicas.iter().cloned());
            if value == first {
                vault.config = known.clone();
            }
        } else if !value.is_empty() && exists(value) {
            vault.replicas.push(value.clone());
        } else {
            return Err(unknown_vault(value, config));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    match vault.replicas.iter().find(|address| !seen.insert(address.as_str())) {
        Some(twice) => {
            let problem = Problem::ReplicaTwice { address: escaped(twice) };
            Err(Failure::usage(problem, Hint::NameOneReplica {}))
        }
        None => Ok(vault),
    }
}

fn unknown_vault(value: &str, config: &Config) -> Failure {
    let known: Vec<_> = config.vaults.keys().map(|name| escaped(name)).collect();
    let name = escaped(value);
    if known.is_empty() {
        Failure::usage(Problem::UnknownVaultNoConfig { name }, Hint::NameVault {})
    } else {
        Failure::usage(Problem::UnknownVault { name, known: known.join(", ") }, Hint::NameVault {})
    }
}

/// Where the config file may stand, and whether it must: one that was named must exist.
pub(crate) fn config_files(flag: Option<&PathBuf>, environment: &Environment) -> (Vec<PathBuf>, bool) {
    if let Some(path) = flag.cloned().or_else(|| environment.path("SHUDAO_CONFIG")) {
        return (vec![path], true);
    }
    let own = xdg(environment, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("shudao/config.toml"));
    (own.into_iter().chain([PathBuf::from("/etc/shudao/config.toml")]).collect(), false)
}

/// Where caches stand: they may be deleted at any time.
pub(crate) fn cache_dir(environment: &Environment) -> Result<PathBuf> {
    let chosen = environment
        .path("SHUDAO_CACHE_DIR")
        .or_else(|| xdg(environment, "XDG_CACHE_HOME", ".cache").map(|dir| dir.join("shudao")))
        .or_else(|| environment.is_root.then(|| PathBuf::from("/var/cache/shudao")));
    chosen.ok_or_else(|| no_directory("SHUDAO_CACHE_DIR"))
}

/// Where journals stand, and what was last seen of each replica. Root has one place whatever `HOME` says, so that a
/// run by hand and one by cron know the same.
pub(crate) fn state_dir(environment: &Environment) -> Result<PathBuf> {
    let chosen = environment
        .path("SHUDAO_STATE_DIR")
        .or_else(|| absolute(environment, "XDG_STATE_HOME").map(|dir| dir.join("shudao")))
        .or_else(|| environment.is_root.then(|| PathBuf::from("/var/lib/shudao")))
        .or_else(|| xdg(environment, "XDG_STATE_HOME", ".local/state").map(|dir| dir.join("shudao")));
    chosen.ok_or_else(|| no_directory("SHUDAO_STATE_DIR"))
}

/// An XDG directory, else its default below `HOME`. The specification has relative values ignored.
fn xdg(environment: &Environment, variable: &str, below_home: &str) -> Option<PathBuf> {
    absolute(environment, variable)
        .or_else(|| absolute(environment, "HOME").map(|home| home.join(below_home)))
}

fn absolute(environment: &Environment, variable: &str) -> Option<PathBuf> {
    environment.path(variable).filter(|path| path.is_absolute())
}

fn no_directory(variable: &'static str) -> Failure {
    Failure::usage(Problem::NoDirectory { variable }, Hint::SetVariable { variable })
}

/// Where the password that opens the vault comes from: the environment, then the config, then a prompt.
pub(crate) fn password(environment: &Environment, config: &VaultConfig) -> PasswordSource {
    password_set(environment).unwrap_or_else(|| password_configured(config))
}

/// The environment's password.
fn password_set(environment: &Environment) -> Option<PasswordSource> {
    if let Some(value) = environment.get_os("SHUDAO_PASSWORD") {
        Some(PasswordSource::value(value))
    } else if let Some(path) = environment.path("SHUDAO_PASSWORD_FILE") {
        Some(PasswordSource::File(path))
    } else {
        environment.get("SHUDAO_PASSWORD_COMMAND").map(|command| PasswordSource::Command(command.into()))
    }
}

/// The config's password, else a prompt.
fn password_configured(config: &VaultConfig) -> PasswordSource {
    if let Some(path) = &config.password_file {
        PasswordSource::File(path.clone())
    } else if let Some(command) = &config.password_command {
        PasswordSource::Command(command.clone())
    } else {
        PasswordSource::Prompt
    }
}

/// Where the password of a new key slot comes from: the environment, then a prompt.
pub(crate) fn new_password(environment: &Environment) -> PasswordSource {
    if let Some(value) = environment.get_os("SHUDAO_NEW_PASSWORD") {
        PasswordSource::value(value)
    } else if let Some(path) = environment.path("SHUDAO_NEW_PASSWORD_FILE") {
        PasswordSource::File(path)
    } else {
        PasswordSource::Prompt
    }
}

/// What opens the vault, of the flags' and the settings' offers.
#[derive(Debug, Clone)]
pub(crate) enum Unlock {
    /// A password.
    Password(PasswordSource),
    /// A recipient's secret key in this file.
    Identity(PathBuf),
    /// Shares of a key in these files.
    Shares(Vec<PathBuf>),
}

/// The flags, then the environment, then the config, then a prompt; in each of them an identity stands before a password.
pub(crate) fn unlock(args: &AccessArgs, environment: &Environment, config: &VaultConfig) -> Unlock {
    if let Some(path) = &args.identity {
        Unlock::Identity(path.clone())
    } else if !args.shares.is_empty() {
        Unlock::Shares(args.shares.clone())
    } else if let Some(path) = environment.path("SHUDAO_IDENTITY") {
        Unlock::Identity(path)
    } else if let Some(password) = password_set(environment) {
        Unlock::Password(password)
    } else if let Some(path) = &config.identity {
        Unlock::Identity(path.clone())
    } else {
        Unlock::Password(password_configured(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config;
    use crate::cli::failure::Exit;

    const CONFIG: &str = r#"
        [vault.files]
        replicas = ["/srv/a", "s3://b"]
        password_file = "/etc/p"
        [vault.db]
        replicas = ["/srv/db"]
        password_command = "pass"
    "#;

    fn resolve(named: &[&str], environment: &Environment) -> Result<NamedVault> {
        let named: Vec<String> = named.iter().map(|value| (*value).into()).collect();
        let config = config::parse(CONFIG, "c").unwrap();
        vault(&named, environment, &config, &|path| path == "here" || path == "db")
    }

    #[test]
    fn a_vault_is_an_address_or_a_name() {
        let none = Environment::default();
        let cases: [(&[&str], &[&str]); 7] = [
            (&["/x"], &["/x"]),
            (&["./files"], &["./files"]),
            (&["s3://x"], &["s3://x"]),
            (&["files"], &["/srv/a", "s3://b"]),
            (&["db"], &["/srv/db"]),
            (&["here"], &["here"]),
            (&["db", "/x"], &["/srv/db", "/x"]),
        ];
        for (named, replicas) in cases {
            assert_eq!(resolve(named, &none).unwrap().replicas, replicas, "{named:?}");
        }
    }

    #[test]
    fn what_names_no_vault_is_refused() {
        let none = Environment::default();
        for named in [&[][..], &[""], &["nowhere"], &["files", "/srv/a"], &["/x", "/x"]] {
            assert_eq!(resolve(named, &none).unwrap_err().exit(), Exit::Usage, "{named:?}");
        }
        let message = resolve(&["nowhere"], &none).unwrap_err();
        let text = message.problem().text(crate::cli::messages::Lang::En);
        assert!(text.contains("db, files"), "{text}");
    }

    #[test]
    fn the_command_line_stands_before_the_environment() {
        let environment = Environment::of(&[("SHUDAO_VAULT", "files")]);
        assert_eq!(resolve(&[], &environment).unwrap().replicas.len(), 2);
        assert_eq!(resolve(&["/x"], &environment).unwrap().replicas, ["/x"]);
    }

    #[test]
    fn passwords_come_from_the_environment_then_the_config_then_a_prompt() {
        let config = config::parse(CONFIG, "c").unwrap();
        let all =
            [("SHUDAO_PASSWORD", "p"), ("SHUDAO_PASSWORD_FILE", "/f"), ("SHUDAO_PASSWORD_COMMAND", "c")];
        let of = |from: usize, vault: &str| {
            let vault = config.vaults.get(vault).cloned().unwrap_or_default();
            format!("{:?}", password(&Environment::of(&all[from..]), &vault))
        };
        assert_eq!(of(0, "files"), "Value(..)");
        assert_eq!(of(1, "files"), "File(\"/f\")");
        assert_eq!(of(2, "files"), "Command(..)");
        assert_eq!(of(3, "files"), "File(\"/etc/p\")");
        assert_eq!(of(3, "db"), "Command(..)");
        assert_eq!(of(3, ""), "Prompt");
    }

    #[test]
    fn flags_stand_before_the_environment_and_that_before_the_config() {
        let environment = Environment::of(&[("SHUDAO_IDENTITY", "/e"), ("SHUDAO_PASSWORD", "p")]);
        let identity = AccessArgs { identity: Some("/i".into()), ..AccessArgs::default() };
        let shares = AccessArgs { shares: vec!["/1".into(), "/2".into()], ..AccessArgs::default() };
        let config = VaultConfig { identity: Some("/c".into()), ..VaultConfig::default() };
        let of = |args: &AccessArgs, environment: &Environment| match unlock(args, environment, &config) {
            Unlock::Identity(path) => path.display().to_string(),
            Unlock::Shares(files) => format!("{} shares", files.len()),
            Unlock::Password(source) => format!("{source:?}"),
        };
        assert_eq!(of(&identity, &environment), "/i");
        assert_eq!(of(&shares, &environment), "2 shares");
        let none = AccessArgs::default();
        assert_eq!(of(&none, &environment), "/e");
        assert_eq!(of(&none, &Environment::of(&[("SHUDAO_PASSWORD", "p")])), "Value(..)");
        assert_eq!(of(&none, &Environment::default()), "/c");
    }

    #[test]
    fn directories_follow_flag_variable_xdg_and_home() {
        let home = ("HOME", "/home/u");
        let path = |result: Result<PathBuf>| result.unwrap().display().to_string();
        let user = Environment::of(&[home]);
        assert_eq!(path(cache_dir(&user)), "/home/u/.cache/shudao");
        assert_eq!(path(state_dir(&user)), "/home/u/.local/state/shudao");
        let root = user.for_root();
        assert_eq!(path(state_dir(&root)), "/var/lib/shudao");
        let xdg = Environment::of(&[home, ("XDG_STATE_HOME", "/s")]).for_root();
        assert_eq!(path(state_dir(&xdg)), "/s/shudao");
        let own = Environment::of(&[("SHUDAO_STATE_DIR", "/own"), ("XDG_STATE_HOME", "/s")]);
        assert_eq!(path(state_dir(&own)), "/own");
        let relative = Environment::of(&[home, ("XDG_CACHE_HOME", "rel")]);
        assert_eq!(path(cache_dir(&relative)), "/home/u/.cache/shudao");
        assert_eq!(cache_dir(&Environment::default()).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_named_config_must_exist_and_the_default_ones_may() {
        let environment = Environment::of(&[("HOME", "/home/u"), ("SHUDAO_CONFIG", "/env")]);
        assert_eq!(config_files(Some(&"/flag".into()), &environment), (vec!["/flag".into()], true));
        assert_eq!(config_files(None, &environment), (vec!["/env".into()], true));
        let (files, required) = config_files(None, &Environment::of(&[("HOME", "/home/u")]));
        assert_eq!(
            files,
            ["/home/u/.config/shudao/config.toml", "/etc/shudao/config.toml"].map(PathBuf::from)
        );
        assert!(!required);
    }
}
