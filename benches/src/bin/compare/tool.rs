//! The programs that are compared, and how each does each step.

use std::path::{Path, PathBuf};

use shudao_benches::measure::Call;

/// A program with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Shudao as it is by default.
    Shudao,
    /// Shudao with `--compression fast`.
    ShudaoFast,
    /// Shudao with two replicas.
    ShudaoTwo,
    /// restic as it is by default.
    Restic,
    /// rustic as it is by default.
    Rustic,
    /// borg 1 with `repokey-blake2`, and its default of lz4.
    Borg,
    /// bupstash as it is by default.
    Bupstash,
    /// `rclone copy`: neither deduplicates nor encrypts.
    Rclone,
    /// `rsync -a`: neither deduplicates nor encrypts.
    Rsync,
    /// `cp -a`: neither deduplicates nor encrypts.
    Cp,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The first backup.
    First,
    /// The same again.
    Unchanged,
    /// The second generation.
    Changed,
    /// The newest backup into an empty directory, and on the disk.
    Restore,
    /// Its own check that reads all stored data.
    Check,
}

/// Where one tool works in one round.
#[derive(Debug)]
pub(crate) struct Place {
    /// What is backed up.
    pub(crate) source: PathBuf,
    /// Where the tool keeps everything of its own.
    pub(crate) room: PathBuf,
    /// Programs that are in no package of Debian's.
    pub(crate) programs: PathBuf,
    /// The shudao to measure.
    pub(crate) shudao: PathBuf,
}

impl Step {
    pub(crate) const ALL: [Self; 5] =
        [Self::First, Self::Unchanged, Self::Changed, Self::Restore, Self::Check];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Restore => "restore",
            Self::Check => "check",
        }
    }
}

impl Tool {
    pub(crate) const ALL: [Self; 10] = [
        Self::Shudao,
        Self::ShudaoFast,
        Self::ShudaoTwo,
        Self::Restic,
        Self::Rustic,
        Self::Borg,
        Self::Bupstash,
        Self::Rclone,
        Self::Rsync,
        Self::Cp,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shudao => "shudao",
            Self::ShudaoFast => "shudao-fast",
            Self::ShudaoTwo => "shudao-two",
            Self::Restic => "restic",
            Self::Rustic => "rustic",
            Self::Borg => "borg",
            Self::Bupstash => "bupstash",
            Self::Rclone => "rclone",
            Self::Rsync => "rsync",
            Self::Cp => "cp",
        }
    }

    /// Whether it does what Shudao does, as far as storing goes.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Restic | Self::Rustic | Self::Borg | Self::Bupstash)
    }

    /// Where its program is, if it is here.
    pub(crate) fn program(self, place: &Place) -> Option<PathBuf> {
        let name = match self {
            Self::Shudao | Self::ShudaoFast | Self::ShudaoTwo => return Some(place.shudao.clone()),
            _ => self.name(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = [place.programs.clone(), place.programs.join("venv/bin")];
        own.into_iter()
            .chain(std::env::split_paths(&path))
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    }

    /// How it tells its version.
    pub(crate) fn version(self, program: &Path, place: &Place) -> Call {
        let word = if matches!(self, Self::Restic | Self::Rclone) { "version" } else { "--version" };
        Call::new(program, &place.room).arg(word)
    }

    /// What it writes its backups into.
    pub(crate) fn repository(place: &Place) -> PathBuf {
        place.room.join("repository")
    }

    /// What it restores into.
    pub(crate) fn target(place: &Place) -> PathBuf {
        place.room.join("target")
    }

    fn call(self, program: &Path, place: &Place) -> Call {
        let repository = Self::repository(place);
        let call = Call::new(program, &place.room);
        match self {
            Self::Shudao | Self::ShudaoFast | Self::ShudaoTwo => call
                .env("SHUDAO_CACHE_DIR", place.room.join("cache"))
                .env("SHUDAO_STATE_DIR", place.room.join("state")),
            Self::Restic => call
                .env("RESTIC_PASSWORD", PASSWORD)
                .env("RESTIC_REPOSITORY", repository)
                .env("RESTIC_CACHE_DIR", place.room.join("cache")),
            Self::Rustic => call
                .env("RUSTIC_PASSWORD", PASSWORD)
                .env("RUSTIC_REPOSITORY", repository)
                .env("RUSTIC_CACHE_DIR", place.room.join("cache"))
                .env("RUSTIC_NO_PROGRESS", "true"),
            Self::Borg => call
                .env("BORG_PASSPHRASE", PASSWORD)
                .env("BORG_REPO", repository)
                .env("BORG_BASE_DIR", place.room.join("base")),
            Self::Bupstash => call
                .env("BUPSTASH_KEY", place.room.join("key"))
                .env("BUPSTASH_REPOSITORY", repository)
                .env("BUPSTASH_SEND_LOG", place.room.join("send-log")),
            Self::Rclone | Self::Rsync | Self::Cp => call,
        }
    }

    fn shudao(self, program: &Path, place: &Place, words: &[&str]) -> Call {
        let call = self.call(program, place).args(words).arg("--quiet");
        let call = call.arg("--vault").arg(Self::repository(place));
        if self == Self::ShudaoTwo { call.arg("--vault").arg(place.room.join("second")) } else { call }
    }

    /// What makes an empty repository.
    pub(crate) fn prepare(self, program: &Path, place: &Place) -> Vec<Call> {
        let call = || self.call(program, place);
        let repository = Self::repository(place);
        match self {
            Self::Shudao | Self::ShudaoFast | Self::ShudaoTwo => {
                let key = place.room.join("key");
                let identity = call().args(["vault", "key", "identity"]).arg(&key);
                let mut init = call().args(["vault", "init", "--no-recovery-kit", "--recipient"]);
                init = init.arg(key.with_extension("pub")).arg(&repository);
                if self == Self::ShudaoTwo {
                    init = init.arg(place.room.join("second"));
                }
                vec![identity, init]
            }
            Self::Restic | Self::Rustic => vec![call().arg("init")],
            Self::Borg => vec![call().args(["init", "--encryption", "repokey-blake2"])],
            Self::Bupstash => {
                vec![call().args(["new-key", "-o"]).arg(place.room.join("key")), call().arg("init")]
            }
            Self::Rclone | Self::Rsync | Self::Cp => Vec::new(),
        }
    }

    /// How it does a step; nothing if it has no such thing.
    pub(crate) fn step(self, step: Step, program: &Path, place: &Place, round: u32) -> Option<Call> {
        let call = self.call(program, place);
        let (repository, target) = (Self::repository(place), Self::target(place));
        Some(match (self, step) {
            (Self::Shudao | Self::ShudaoFast | Self::ShudaoTwo, _) => {
                let words: &[&str] = match step {
                    Step::Restore => &["restore", "latest"],
                    Step::Check => &["check", "--read-data"],
                    _ if self == Self::ShudaoFast => &["backup", "--compression", "fast"],
                    _ => &["backup"],
                };
                let call = self.shudao(program, place, words);
                let call = call.arg("--identity").arg(place.room.join("key"));
                match step {
                    Step::Restore => call.arg("--to").arg(target),
                    Step::Check => call,
                    _ => call.arg(&place.source),
                }
            }
            (Self::Restic, Step::Restore) => call.args(["restore", "latest", "--target"]).arg(target),
            (Self::Restic, Step::Check) => call.args(["check", "--read-data"]),
            (Self::Restic, _) => call.arg("backup").arg(&place.source),
            (Self::Rustic, Step::Restore) => call.args(["restore", "latest"]).arg(target),
            (Self::Rustic, Step::Check) => call.args(["check", "--read-data"]),
            (Self::Rustic, _) => call.arg("backup").arg(&place.source),
            (Self::Borg, Step::Restore) => {
                let mut call = call.args(["extract", "::changed"]);
                call.directory = target;
                call
            }
            (Self::Borg, Step::Check) => call.args(["check", "--verify-data"]),
            (Self::Borg, _) => call.arg("create").arg(format!("::{}", step.name())).arg(&place.source),
            (Self::Bupstash, Step::Restore) => {
                call.args(["restore", "--into"]).arg(target).arg(format!("name=changed{round}"))
            }
            (Self::Bupstash, Step::Check) => {
                // It has no check of its own: reading everything of the newest backup is what it can do.
                call.arg("get").arg(format!("name=changed{round}"))
            }
            (Self::Bupstash, _) => {
                call.args(["put", "--quiet"]).arg(format!("name={}{round}", step.name())).arg(&place.source)
            }
            (Self::Rclone, Step::Check) => {
                call.args(["check", "--download"]).arg(&place.source).arg(repository)
            }
            (Self::Rclone, Step::Restore) => call.args(["copy", "--metadata"]).arg(repository).arg(target),
            (Self::Rclone, _) => call.args(["sync", "--metadata"]).arg(&place.source).arg(repository),
            (Self::Rsync, Step::Check) => {
                call.args(["-a", "--checksum", "--dry-run"]).arg(slash(&place.source)).arg(repository)
            }
            (Self::Rsync, Step::Restore) => call.arg("-a").arg(slash(&repository)).arg(target),
            (Self::Rsync, _) => call.args(["-a", "--delete"]).arg(slash(&place.source)).arg(repository),
            (Self::Cp, Step::First) => call.arg("-aT").arg(&place.source).arg(repository),
            // It keeps one generation: what it shows is how fast this machine makes these files.
            (Self::Cp, Step::Restore) => call.arg("-aT").arg(&place.source).arg(target),
            (Self::Cp, _) => return None,
        })
    }
}

/// Not a secret: it opens what is thrown away.
const PASSWORD: &str = "measured-and-thrown-away-2026";

/// The path with a slash behind it: its contents.
fn slash(path: &Path) -> PathBuf {
    path.join("")
}
