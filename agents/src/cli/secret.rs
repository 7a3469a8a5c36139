//! Passwords and keys that people hold: read from the environment, a file, a command or a prompt, never from the
//! arguments; wiped when dropped and never printed.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shudao_vault::keys::passphrase;
use zeroize::Zeroizing;

use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Lang, Notice, Problem};
use super::path::RawPath;
use super::resolve::Unlock;
use super::stop::Stop;

/// Password files, identities and shares are at most this long.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A password.
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    /// The password's text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A strong one from the operating system's random source.
    pub(crate) fn generate() -> Self {
        Self(passphrase::generate_passphrase())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Where a password comes from.
#[derive(Clone)]
pub(crate) enum PasswordSource {
    /// It was in the environment; `None` if the value is not UTF-8.
    Value(Option<Zeroizing<String>>),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(String),
    /// A question on the terminal.
    Prompt,
}

impl PasswordSource {
    /// The source that is this value.
    pub(crate) fn value(value: &OsStr) -> Self {
        Self::Value(value.to_str().map(|text| Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // A command may hold a secret of its own.
            Self::Command(_) => f.write_str("Command(..)"),
            Self::Prompt => f.write_str("Prompt"),
        }
    }
}

/// What opens a vault, in memory.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A password.
    Password(Password),
    /// The content of a recipient's secret key file.
    Identity(SecretBytes),
    /// The contents of the share files, in the order they were named.
    Shares(Vec<SecretBytes>),
}

/// Secret bytes of a file.
pub(crate) struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// What a question on the terminal needs.
pub(crate) struct Asker<'a> {
    /// The language of the question.
    pub(crate) lang: Lang,
    /// Where a signal meanwhile is noted.
    pub(crate) stop: &'a Stop,
}

/// Reads what opens the vault.
pub(crate) fn credential(unlock: &Unlock, asker: &Asker<'_>) -> Result<Credential> {
    match unlock {
        Unlock::Password(PasswordSource::Prompt) => {
            asker.ask(&Notice::PromptPassword {}).map(Credential::Password)
        }
        Unlock::Password(source) => asker.take(source).map(Credential::Password),
        Unlock::Identity(path) => read_file(path).map(Credential::Identity),
        Unlock::Shares(paths) => {
            paths.iter().map(|path| read_file(path)).collect::<Result<_>>().map(Credential::Shares)
        }
    }
}

/// A new password and how it came about.
#[derive(Debug)]
pub(crate) struct NewPassword {
    /// The password.
    pub(crate) password: Password,
    /// It was made here and must be shown once.
    pub(crate) generated: bool,
}

/// Reads a new password; on a terminal it is asked for twice, and an empty answer has one generated. `on_weak` is told
/// the estimated strength in bits of a weak one.
pub(crate) fn new_password(
    source: &PasswordSource,
    asker: &Asker<'_>,
    on_weak: impl FnOnce(u32),
) -> Result<NewPassword> {
    let password = match source {
        PasswordSource::Prompt => match asker.ask_new()? {
            Some(password) => password,
            None => return Ok(NewPassword { password: Password::generate(), generated: true }),
        },
        source => asker.take(source)?,
    };
    let strength = passphrase::passphrase_strength_bits(password.as_str());
    if strength < passphrase::WEAK_BELOW_BITS {
        on_weak(strength);
    }
    Ok(NewPassword { password, generated: false })
}

/// The password of a source that asks nobody.
fn given(source: &PasswordSource) -> Result<Password> {
    let password = match source {
        PasswordSource::Value(value) => value.clone().ok_or_else(not_text)?,
        PasswordSource::File(path) => first_line(read_file(path)?.as_bytes())?,
        PasswordSource::Command(command) => first_line(&run_command(command)?)?,
        PasswordSource::Prompt => return Err(no_password()),
    };
    if password.is_empty() {
        return Err(Failure::usage(Problem::PasswordEmpty {}, Hint::GivePassword {}));
    }
    Ok(Password(password))
}

impl Asker<'_> {
    /// The password of a source that asks nobody, unless a signal came while a command worked on it.
    fn take(&self, source: &PasswordSource) -> Result<Password> {
        let password = given(source);
        self.stop.check()?;
        password
    }

    fn ask(&self, question: &Notice) -> Result<Password> {
        let answer = self.answer(question)?;
        if answer.is_empty() { Err(no_password()) } else { Ok(Password(answer)) }
    }

    /// A new password typed twice; `None` if the first answer was empty.
    fn ask_new(&self) -> Result<Option<Password>> {
        let first = self.answer(&Notice::PromptNewPassword {})?;
        if first.is_empty() {
            return Ok(None);
        }
        let second = self.answer(&Notice::PromptNewPasswordAgain {})?;
        if *first != *second {
            return Err(Failure::usage(Problem::PasswordsDiffer {}, Hint::RunAgain {}));
        }
        Ok(Some(Password(first)))
    }

    fn answer(&self, question: &Notice) -> Result<Zeroizing<String>> {
        let question = question.text(self.lang);
        let answer = self.stop.while_prompting(|| rpassword::prompt_password(question));
        self.stop.check()?;
        match answer {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(Failure::interrupted()),
            Err(error) => Err(no_password().because(&error)),
        }
    }
}

/// The whole of a secret file.
pub(crate) fn read_file(path: &Path) -> Result<SecretBytes> {
    let failed = |error: &std::io::Error| {
        let problem = Problem::ReadFile { path: RawPath::from(path).to_string() };
        Failure::new(Exit::Usage, problem, Hint::CheckFile {}).because(error)
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        let problem = Problem::SecretTooLong { path: RawPath::from(path).to_string() };
        return Err(Failure::usage(problem, Hint::CheckFile {}));
    }
    Ok(SecretBytes(bytes))
}

/// What a shell command prints; its stderr and terminal are ours, so that it may ask questions of its own.
fn run_command(command: &str) -> Result<Zeroizing<Vec<u8>>> {
    let failed = || Failure::new(Exit::Failed, Problem::PasswordCommandFailed {}, Hint::GivePassword {});
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed().because(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| failed().because(&error))?;
    }
    let status = child.wait().map_err(|error| failed().because(&error))?;
    if status.success() { Ok(bytes) } else { Err(failed()) }
}

fn first_line(bytes: &[u8]) -> Result<Zeroizing<String>> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| not_text())
}

fn not_text() -> Failure {
    Failure::usage(Problem::PasswordNotText {}, Hint::GivePassword {})
}

fn no_password() -> Failure {
    Failure::usage(Problem::NoPassword {}, Hint::GivePassword {})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(source: &PasswordSource) -> Result<String> {
        given(source).map(|password| password.as_str().to_owned())
    }

    #[test]
    fn a_password_file_gives_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (content, password) in
            [("secret", "secret"), ("secret\n", "secret"), ("secret\r\nmore\n", "secret"), (" a b ", " a b ")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(text_of(&PasswordSource::File(path.clone())).unwrap(), password);
        }
        for bad in [&b""[..], b"\n", b"\xff\n"] {
            std::fs::write(&path, bad).unwrap();
            let failure = text_of(&PasswordSource::File(path.clone())).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage);
        }
        std::fs::write(&path, vec![b'a'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        assert!(text_of(&PasswordSource::File(path.clone())).is_err());
        assert!(text_of(&PasswordSource::File(dir.path().join("missing"))).is_err());
    }

    #[test]
    fn a_password_command_gives_its_first_line_and_must_succeed() {
        let run = |command: &str| text_of(&PasswordSource::Command(command.into()));
        assert_eq!(run("printf 'secret\\nmore'").unwrap(), "secret");
        assert_eq!(run("echo secret; exit 3").unwrap_err().exit(), Exit::Failed);
        assert_eq!(run("true").unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn only_a_weak_new_password_is_warned_about() {
        let stop = Stop::default();
        let asker = Asker { lang: Lang::En, stop: &stop };
        let warned = |text: &str| {
            let mut told = None;
            new_password(&PasswordSource::value(OsStr::new(text)), &asker, |bits| told = Some(bits)).unwrap();
            told.is_some()
        };
        assert!(warned("tiger"));
        assert!(!warned("correct horse battery staple"));
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let source = PasswordSource::value(OsStr::new("tiger"));
        assert!(!format!("{source:?} {:?}", given(&source)).contains("tiger"));
    }
}
