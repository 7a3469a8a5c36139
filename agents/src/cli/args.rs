//! What may be typed. Doc comments here are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::messages::Lang;
use super::{
    backup, cat, check, completions, diff, forget, gc, hold, ls, man, quickstart, restore, snapshots, survey,
    vault, verify,
};

/// What the help of the whole command says after its options.
const AFTER_HELP: &str = "\
Environment:
  SHUDAO_VAULT             the vault, if --vault is not given: an address or a name from the config
  SHUDAO_IDENTITY          a recipient's secret key file that opens the vault, if --identity is not given; before passwords
  SHUDAO_PASSWORD          the password itself
  SHUDAO_PASSWORD_FILE     a file whose first line is the password
  SHUDAO_PASSWORD_COMMAND  a shell command that prints the password
  SHUDAO_NEW_PASSWORD      the new password for `vault key add`; also SHUDAO_NEW_PASSWORD_FILE
  SHUDAO_CONFIG            the config file, if --config is not given
  SHUDAO_CACHE_DIR         caches, which may be deleted (default: $XDG_CACHE_HOME/shudao)
  SHUDAO_STATE_DIR         journals, and what was last seen of each replica
                           (default: $XDG_STATE_HOME/shudao; for root /var/lib/shudao)
  AWS_*                    credentials, region and endpoint of S3
  NO_COLOR, LC_ALL, LC_MESSAGES, LANG, TZ

Exit codes:
  0    done
  1    failed
  2    wrong usage
  3    done, but not everything: the warnings say what is missing
  4    verification found a difference, or damage that stands
  10   no vault at the address
  11   fenced, locked, or not the one writer
  12   wrong key, or a role without this right
  130  interrupted";

/// Back up, restore and prove: the data mover for disaster recovery and migration.
#[derive(Debug, Parser)]
#[command(name = "shudao", version, after_long_help = AFTER_HELP, disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct GlobalArgs {
    /// Print one JSON object per line on stdout; the last has type "summary"
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors and warnings only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Language of messages [default: from LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, global = true, value_enum)]
    pub(crate) lang: Option<Lang>,
    /// Config file [default: $XDG_CONFIG_HOME/shudao/config.toml, else /etc/shudao/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which vault, and how to open it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Vault")]
pub(crate) struct AccessArgs {
    /// The vault: a path, file:// or s3://bucket/prefix?endpoint=..., or a name from the config
    #[arg(long = "vault", value_name = "REPLICA")]
    pub(crate) vault: Vec<String>,
    /// Open the vault with this recipient's secret key instead of a password
    #[arg(long, value_name = "FILE", conflicts_with = "share")]
    pub(crate) identity: Option<PathBuf>,
    /// Open the vault with shares of a key; name each file
    #[arg(id = "share", long = "share", value_name = "FILE")]
    pub(crate) shares: Vec<PathBuf>,
    /// Go on although a replica's log is older than, or differs from, what was seen before
    #[arg(long)]
    pub(crate) accept_rollback: bool,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectArgs {
    /// Consider only snapshots of this source
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Consider only snapshots with this tag; repeated: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

/// What of a tree is left out.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ExcludeArgs {
    /// Leave out paths that match this gitignore-style pattern
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Read patterns from this file, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_from: Vec<PathBuf>,
    /// Stay on the file system of each given path
    #[arg(long)]
    pub(crate) one_file_system: bool,
}

/// The commands. Their help texts stand with their arguments, a file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Vault(vault::VaultArgs),
    Backup(Box<backup::BackupArgs>),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Diff(diff::DiffArgs),
    Cat(cat::CatArgs),
    Restore(Box<restore::RestoreArgs>),
    Verify(verify::VerifyArgs),
    Check(check::CheckArgs),
    Hold(hold::HoldArgs),
    Forget(forget::ForgetArgs),
    Gc(gc::GcArgs),
    Survey(survey::SurveyArgs),
    Quickstart(quickstart::QuickstartArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// How long the command may take to come to an end after a first signal; none is ended at once.
    pub(crate) fn grace(&self) -> Option<Duration> {
        match self {
            // What is on its way has 10 s; then a checkpoint is made.
            Self::Backup(_) | Self::Quickstart(_) => Some(Duration::from_secs(20)),
            Self::Vault(_)
            | Self::Restore(_)
            | Self::Verify(_)
            | Self::Check(_)
            | Self::Hold(_)
            | Self::Forget(_)
            | Self::Gc(_) => Some(Duration::from_secs(10)),
            Self::Snapshots(_)
            | Self::Ls(_)
            | Self::Diff(_)
            | Self::Cat(_)
            | Self::Survey(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
}
