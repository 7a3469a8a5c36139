//! What every command gets: settings, output, the wish to stop, the clock of the run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::args::{AccessArgs, ExcludeArgs, GlobalArgs, SelectArgs};
use super::config::{self, Config};
use super::environment::Environment;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Notice, Problem};
use super::output::Output;
use super::path::RawPath;
use super::progress::{Progress, Renderer};
use super::report::Totals;
use super::request::{Access, Selection};
use super::resolve::{self, NamedVault};
use super::secret::{self, Asker, Credential, NewPassword};
use super::stop::Stop;
use super::{secret::PasswordSource, show};

/// A file of patterns is at most this long.
const PATTERN_BYTES_MAX: u64 = 16 << 20;

/// Everything that a command's `run` may use besides its own arguments.
pub(crate) struct Context {
    /// The environment when the process started.
    pub(crate) environment: Environment,
    /// What the config file says.
    pub(crate) config: Config,
    /// Stdout and stderr.
    pub(crate) output: Output,
    /// The wish that the run come to an end.
    pub(crate) stop: Stop,
    /// The time zone in which people read times.
    pub(crate) zone: TimeZone,
    started: Instant,
}

impl Context {
    /// Reads the config file that the flags, the environment or the defaults name.
    pub(crate) fn new(
        environment: Environment,
        global: &GlobalArgs,
        output: Output,
        stop: Stop,
    ) -> Result<Self> {
        let (files, required) = resolve::config_files(global.config.as_ref(), &environment);
        let config = config::read(&files, required)?;
        Ok(Self { environment, config, output, stop, zone: TimeZone::system(), started: Instant::now() })
    }

    /// Time since the command began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The vault that the arguments, the environment and the config name, and what opens it. Nothing is read or asked
    /// yet, except whether a bare name exists as a path.
    pub(crate) fn access(&self, args: &AccessArgs) -> Result<Access> {
        let vault = self.named_vault(&args.vault)?;
        let unlock = resolve::unlock(args, &self.environment, &vault.config);
        Ok(Access {
            replicas: vault.replicas,
            unlock,
            accept_rollback: args.accept_rollback,
            cache_dir: resolve::cache_dir(&self.environment)?,
            state_dir: resolve::state_dir(&self.environment)?,
            cloud: self.environment.with_prefix("AWS_"),
            defaults: vault.config,
        })
    }

    /// The vault that `named`, or else the environment, names.
    pub(crate) fn named_vault(&self, named: &[String]) -> Result<NamedVault> {
        resolve::vault(named, &self.environment, &self.config, &|path| Path::new(path).exists())
    }

    /// Reads or asks for what opens the vault. Called by the engine when it is known that there is a vault and that a
    /// key is needed.
    pub(crate) fn credential(&self, access: &Access) -> Result<Credential> {
        secret::credential(&access.unlock, &self.asker())
    }

    /// Reads or asks for a new password, and warns of a weak one.
    pub(crate) fn new_password(&self, source: &PasswordSource) -> Result<NewPassword> {
        secret::new_password(source, &self.asker(), |bits| {
            self.output.warning(&Notice::WeakPassword { bits });
        })
    }

    fn asker(&self) -> Asker<'_> {
        Asker { lang: self.output.lang(), stop: &self.stop }
    }

    /// The snapshots that the arguments select.
    pub(crate) fn selection(&self, args: &SelectArgs) -> Selection {
        Selection { source: args.source.clone(), tags: args.tags.clone() }
    }

    /// The patterns of the config, then of the files, then of the flags; later ones win, as in gitignore.
    pub(crate) fn patterns(&self, access: Option<&Access>, args: &ExcludeArgs) -> Result<Vec<String>> {
        let defaults = access.map(|access| &access.defaults);
        let mut patterns = defaults.map(|config| config.exclude.clone()).unwrap_or_default();
        let files = defaults.into_iter().flat_map(|config| &config.exclude_from).chain(&args.exclude_from);
        for path in files {
            patterns.extend(read_patterns(path)?);
        }
        patterns.extend(args.exclude.iter().cloned());
        Ok(patterns)
    }

    /// Fresh counters, drawn until the renderer is dropped.
    pub(crate) fn progress(&self) -> (Arc<Progress>, Renderer) {
        let progress = Arc::new(Progress::default());
        let renderer = Renderer::start(Arc::clone(&progress), &self.output);
        (progress, renderer)
    }

    /// Writes the last JSON line: the fields that every summary has, then the command's own.
    pub(crate) fn summary<T: Serialize>(&self, totals: &Totals, own: &T) -> Result<()> {
        #[derive(Serialize)]
        struct Summary<'a, T> {
            #[serde(flatten)]
            totals: &'a Totals,
            seconds: f64,
            #[serde(flatten)]
            own: &'a T,
        }
        let seconds = (self.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        self.output.object("summary", &Summary { totals, seconds, own })
    }

    /// The refusal of a destructive command whose plan was shown but not confirmed.
    pub(crate) fn unconfirmed(&self) -> Failure {
        Failure::usage(Problem::Unconfirmed {}, Hint::AddYes {})
    }

    /// Tells people what did not go as it should, and returns the exit code that says so.
    pub(crate) fn conclude(&self, totals: &Totals) -> Exit {
        let warnings = &totals.warnings;
        if !warnings.any() {
            return Exit::Done;
        }
        let counted = [
            (warnings.source_unreadable, Notice::PathsUnreadable {}),
            (warnings.changed_while_read, Notice::FilesChanged {}),
            (warnings.metadata_not_set, Notice::MetadataNotSet {}),
            (warnings.replica_behind, Notice::ReplicasBehind {}),
            (warnings.unlocked, Notice::ObjectsUnlocked {}),
        ];
        let lang = self.output.lang();
        let what: Vec<_> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {}", what.text(lang), show::count(*count)))
            .collect();
        self.output.notice(&Notice::DoneNotEverything { what: what.join("; ") });
        Exit::Partial
    }
}

/// The lines of a file of patterns, as they are.
fn read_patterns(path: &PathBuf) -> Result<Vec<String>> {
    use std::io::Read;
    let named = || RawPath::from(path.as_path()).to_string();
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(PATTERN_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > PATTERN_BYTES_MAX => {
            Err(Failure::usage(Problem::PatternsTooLong { path: named() }, Hint::CheckFile {}))
        }
        Ok(_) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) => {
            Err(Failure::usage(Problem::ReadFile { path: named() }, Hint::CheckFile {}).because(&error))
        }
    }
}
