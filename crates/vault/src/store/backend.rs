//! One interface over the kinds of storage: single attempts, no retry, no limit.
//!
//! The contract of every variant: an object is visible whole or not at all; [`Kind::Unavailable`] from `create` or
//! `delete` leaves open whether it happened, and so does [`Kind::Damaged`], from a disk that failed; every other error
//! means that it did not; `Exists` is answered only when the object that is there is as durable as a new one.
//!
//! A view with faults is a backend over the backend of the store that it looks at; the calls are boxed, because that
//! one may be a view again.
//!
//! [`Kind::Unavailable`]: crate::Kind::Unavailable
//! [`Kind::Damaged`]: crate::Kind::Damaged

use bytes::Bytes;

use crate::error::Result;

use super::faults::Faults;
use super::local::Local;
use super::memory::Memory;
use super::remote::Remote;
use super::{Creation, Listed};

/// The kinds of storage.
pub(super) enum Backend {
    Local(Local),
    Remote(Box<Remote>),
    Memory(Memory),
    Faulty(Faults),
}

/// How far a remote store's create-if-absent is trusted. The other backends always have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Trust {
    /// Nobody has said: look first, then write under the condition, if the protocol has one.
    Unknown = 0,
    /// Probed: write under the condition.
    Atomic = 1,
    /// Probed and missing: look first, then write without a condition that the store may refuse.
    Never = 2,
}

impl Trust {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Atomic,
            2 => Self::Never,
            _ => Self::Unknown,
        }
    }

    /// The same trust, but with a look before the write: after an unanswered attempt the object may be there, and
    /// a server that refuses a long upload half-way is hard to tell from a broken line.
    pub(super) fn with_a_look(self) -> Self {
        if self == Self::Atomic { Self::Unknown } else { self }
    }
}

impl Backend {
    pub(super) async fn prepare(&self) -> Result<()> {
        match self {
            Self::Local(local) => local.prepare().await,
            Self::Remote(_) | Self::Memory(_) => Ok(()),
            Self::Faulty(faults) => Box::pin(faults.prepare()).await,
        }
    }

    pub(super) async fn read(&self, path: &str) -> Result<Bytes> {
        match self {
            Self::Local(local) => local.read(path).await,
            Self::Remote(remote) => remote.read(path).await,
            Self::Memory(memory) => memory.read(path),
            Self::Faulty(faults) => Box::pin(faults.read(path)).await,
        }
    }

    pub(super) async fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        match self {
            Self::Local(local) => local.read_range(path, offset, len).await,
            Self::Remote(remote) => remote.read_range(path, offset, len).await,
            Self::Memory(memory) => memory.read_range(path, offset, len),
            Self::Faulty(faults) => Box::pin(faults.read_range(path, offset, len)).await,
        }
    }

    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>> {
        match self {
            Self::Local(local) => local.size(path).await,
            Self::Remote(remote) => remote.size(path).await,
            Self::Memory(memory) => Ok(memory.size(path)),
            Self::Faulty(faults) => Box::pin(faults.size(path)).await,
        }
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes, trust: Trust) -> Result<Creation> {
        match self {
            Self::Local(local) => local.create(path, bytes).await,
            Self::Remote(remote) => remote.create(path, bytes, trust).await,
            Self::Memory(memory) => memory.create(path, &bytes),
            Self::Faulty(faults) => Box::pin(faults.create(path, bytes, trust)).await,
        }
    }

    pub(super) async fn replace(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self {
            Self::Local(local) => local.replace(path, bytes).await,
            Self::Remote(remote) => remote.replace(path, bytes).await,
            Self::Memory(memory) => memory.replace(path, &bytes),
            Self::Faulty(faults) => Box::pin(faults.replace(path, bytes)).await,
        }
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        match self {
            Self::Local(local) => local.delete(path).await,
            Self::Remote(remote) => remote.delete(path).await,
            Self::Memory(memory) => {
                memory.delete(path);
                Ok(())
            }
            Self::Faulty(faults) => Box::pin(faults.delete(path)).await,
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        match self {
            Self::Local(local) => local.list(prefix).await,
            Self::Remote(remote) => remote.list(prefix).await,
            Self::Memory(memory) => Ok(memory.list(prefix)),
            Self::Faulty(faults) => Box::pin(faults.list(prefix)).await,
        }
    }

    /// Whether the protocol has create-if-absent at all; that it works is for the probe to say.
    pub(super) fn claims_create_if_absent(&self) -> bool {
        match self {
            Self::Local(_) | Self::Memory(_) => true,
            Self::Remote(remote) => remote.claims_create_if_absent(),
            Self::Faulty(faults) => faults.claims_create_if_absent(),
        }
    }

    /// The network backend, which alone can have versions and locks. A view with faults adds none to these.
    pub(super) fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Remote(remote) => Some(remote),
            Self::Faulty(faults) => faults.remote(),
            Self::Local(_) | Self::Memory(_) => None,
        }
    }
}
