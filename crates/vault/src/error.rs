//! The error that leaves this crate: few kinds, each an instruction to the caller.

use std::fmt;

/// Result of the vault's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no vault at the address.
    NoVault,
    /// The password, key or share opens nothing here.
    WrongKey,
    /// The role of the opened key has not this right.
    Forbidden,
    /// Bytes are not what they must be: truncated, altered, or contradicting their name or signature.
    Damaged,
    /// An object that must exist does not.
    Missing,
    /// The caller's input is wrong.
    Input,
    /// The store refuses these credentials, or this request with them.
    Denied,
    /// The store did not answer or refused for now; trying again may help.
    Unavailable,
    /// No room left at the store.
    Full,
    /// Another client was first, or this one was fenced off.
    Conflict,
    /// The vault's settings name another client that alone may write here.
    NotTheWriter,
    /// An object cannot be locked as the vault's settings want it, so nothing may rely on it.
    Unlocked,
    /// Written by a newer version, or a feature that the store lacks.
    Unsupported,
    /// An invariant of our own does not hold.
    Bug,
}

/// An error with its kind, one sentence naming verb and object, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` names the verb and the object ("read pack 12ab").
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Damaged bytes: `message` names the object and what is wrong with it.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, message)
    }

    /// The same error with its cause attached.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// Wraps `self` in a sentence of the layer above, keeping its kind.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self { kind: self.kind, message: message.into(), source: Some(Box::new(self)) }
    }

    /// What the caller should do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether trying the same call again may succeed.
    pub fn is_retryable(&self) -> bool {
        self.kind == Kind::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
