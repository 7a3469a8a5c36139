//! How a run ends: its exit code, and for an error what went wrong, why, and what to do.

use std::error::Error as StdError;
use std::process::ExitCode;

use shudao_vault::Kind;

use super::messages::{Hint, Problem};

/// Result of everything in the command line.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The exit codes. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// What was typed cannot be done.
    Usage = 2,
    /// Done, but not everything.
    Partial = 3,
    /// Verification found a difference, or a check found damage that stands.
    Difference = 4,
    /// There is no vault.
    NoVault = 10,
    /// Fenced, locked, or not the one writer.
    Conflict = 11,
    /// Wrong key, or a role without this right.
    WrongKey = 12,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Difference => "difference",
            Self::NoVault => "no_vault",
            Self::Conflict => "conflict",
            Self::WrongKey => "wrong_key",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked. Boxed, because every `Result` has room for it.
#[derive(Debug)]
pub(crate) struct Failure(Box<Details>);

#[derive(Debug)]
struct Details {
    exit: Exit,
    problem: Problem,
    causes: Vec<String>,
    hint: Hint,
    silent: bool,
}

impl Failure {
    /// A failure with its exit code, its sentence and what to do about it.
    pub(crate) fn new(exit: Exit, problem: Problem, hint: Hint) -> Self {
        Self(Box::new(Details { exit, problem, causes: Vec::new(), hint, silent: false }))
    }

    /// Something typed, configured or set in the environment that cannot be done.
    pub(crate) fn usage(problem: Problem, hint: Hint) -> Self {
        Self::new(Exit::Usage, problem, hint)
    }

    /// A signal ended the run.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, Problem::Interrupted {}, Hint::RunAgain {})
    }

    /// Whoever read our stdout is gone. There is nobody to tell.
    pub(crate) fn reader_gone() -> Self {
        let mut failure = Self::new(Exit::Failed, Problem::ReaderGone {}, Hint::RunAgain {});
        failure.0.silent = true;
        failure
    }

    /// The same failure with the cause, and the cause's causes, below it.
    #[must_use]
    pub(crate) fn because(mut self, cause: &(dyn StdError + 'static)) -> Self {
        self.0.causes.push(cause.to_string());
        self.0.causes.extend(chain(cause.source()));
        self
    }

    /// The same failure with other words on what to do.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: Hint) -> Self {
        self.0.hint = hint;
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What went wrong.
    pub(crate) fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// Why, from the near to the far.
    pub(crate) fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &Hint {
        &self.0.hint
    }

    /// Nothing is to be printed.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.silent
    }
}

fn chain(mut cause: Option<&(dyn StdError + 'static)>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}

impl From<shudao_vault::Error> for Failure {
    fn from(error: shudao_vault::Error) -> Self {
        let (exit, hint) = match error.kind() {
            Kind::NoVault => (Exit::NoVault, Hint::InitOrCorrectAddress {}),
            Kind::WrongKey => (Exit::WrongKey, Hint::GiveRightKey {}),
            Kind::Forbidden => (Exit::WrongKey, Hint::UseOtherRole {}),
            Kind::Conflict => (Exit::Conflict, Hint::WaitForOtherRun {}),
            Kind::NotTheWriter => (Exit::Conflict, Hint::TakeOver {}),
            Kind::Input => (Exit::Usage, Hint::SeeHelp {}),
            Kind::Damaged | Kind::Missing => (Exit::Failed, Hint::RunCheck {}),
            Kind::Unavailable => (Exit::Failed, Hint::TryAgainLater {}),
            Kind::Denied => (Exit::Failed, Hint::CheckCredentials {}),
            Kind::Full => (Exit::Failed, Hint::MakeRoom {}),
            Kind::Unlocked => (Exit::Failed, Hint::MakeLockable {}),
            Kind::Unsupported => (Exit::Failed, Hint::UseNewerShudao {}),
            Kind::Bug => (Exit::Failed, Hint::ReportBug {}),
        };
        let mut failure = Self::new(exit, Problem::of_vault(error.kind(), error.to_string()), hint);
        failure.0.causes = chain(StdError::source(&error));
        failure
    }
}

#[cfg(test)]
mod tests {
    use shudao_vault::Error;

    use super::*;
    use crate::cli::messages::Lang;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let cases = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Partial, 3),
            (Exit::Difference, 4),
            (Exit::NoVault, 10),
            (Exit::Conflict, 11),
            (Exit::WrongKey, 12),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in cases {
            assert_eq!(exit as u8, code, "{exit:?}");
        }
    }

    #[test]
    fn kinds_of_the_vault_map_to_exit_codes() {
        let cases = [
            (Kind::NoVault, 10),
            (Kind::WrongKey, 12),
            (Kind::Forbidden, 12),
            (Kind::Conflict, 11),
            (Kind::NotTheWriter, 11),
            (Kind::Input, 2),
            (Kind::Damaged, 1),
            (Kind::Missing, 1),
            (Kind::Unavailable, 1),
            (Kind::Denied, 1),
            (Kind::Full, 1),
            (Kind::Unlocked, 1),
            (Kind::Unsupported, 1),
            (Kind::Bug, 1),
        ];
        for (kind, code) in cases {
            let failure = Failure::from(Error::new(kind, "open vault"));
            assert_eq!(failure.exit() as u8, code, "{kind:?}");
            assert!(!failure.hint().text(Lang::En).is_empty());
        }
    }

    #[test]
    fn the_cause_chain_is_kept_in_order() {
        let error = Error::damaged("decode pack 12ab").context("restore a/b").context("restore");
        let failure = Failure::from(error);
        assert_eq!(failure.problem().text(Lang::En), "restore");
        assert_eq!(failure.causes(), ["restore a/b", "decode pack 12ab"]);
    }
}
