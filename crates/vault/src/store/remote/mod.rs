//! A store over the network, through opendal.
//!
//! opendal does the protocols: signing, requests, XML. What it is not asked to do: retry, time out, split objects,
//! find credentials. An object is one buffer and one write; a writer that returned an error is dropped and the
//! object is started again, because such a writer could otherwise finish with a hole.

mod failure;
mod retention;
mod service;
mod transport;

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use opendal::options::{ListOptions, ReaderOptions, WriteOptions};
use opendal::{ErrorKind, Operator};

use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;

use super::address::RemotePlace;
use super::backend::Trust;
use super::lock::{LockSupport, OTHER_KIND, Retention, VERSIONS_MAX};
use super::options::{StoreOptions, Timeouts};
use super::{Creation, Listed, OBJECT_BYTES_MAX, ends_at, too_long};
use retention::Retentions;

/// The most memory that is set aside for a range before it came.
const RESERVED_MAX: u64 = 1 << 20;

/// The network backend.
pub(super) struct Remote {
    operator: Operator,
    /// The address without secrets, for error messages.
    shown: String,
    timeouts: Timeouts,
    /// The calls of object lock, where the protocol has them.
    retentions: Option<Retentions>,
}

impl Remote {
    /// A backend for `place`; nothing is sent.
    pub(super) async fn open(place: &RemotePlace, options: &StoreOptions) -> Result<Self> {
        let service = service::Settings::resolve(place, options)?;
        let client = transport::client(options, service.is_plain_text()).await?;
        let shown = place.to_string();
        let operator = service.operator().map_err(|error| {
            Error::new(Kind::Input, format!("open {shown}: {}", failure::describe(&error)))
        })?;
        let retentions = service.lockable().map(|bucket| Retentions::new(client.clone(), bucket));
        let operator = operator.with_context(transport::context(client));
        Ok(Self { operator, shown, timeouts: options.timeouts, retentions })
    }

    pub(super) fn claims_create_if_absent(&self) -> bool {
        self.operator.info().capability().write_with_if_not_exists
    }

    pub(super) async fn read(&self, path: &str) -> Result<Bytes> {
        self.whole(path, ReaderOptions::default()).await
    }

    /// One of the object's versions, whole.
    pub(super) async fn read_version(&self, path: &str, version: &str) -> Result<Bytes> {
        self.whole(path, ReaderOptions { version: Some(version.to_owned()), ..ReaderOptions::default() })
            .await
    }

    async fn whole(&self, path: &str, options: ReaderOptions) -> Result<Bytes> {
        let bytes = self.collect(path, options, .., OBJECT_BYTES_MAX).await?;
        if bytes.len() as u64 > OBJECT_BYTES_MAX {
            return Err(too_long(path));
        }
        Ok(bytes)
    }

    pub(super) async fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let end = offset.checked_add(len).ok_or_else(|| ends_at(path, u64::MAX, offset, len))?;
        let bytes = match self.collect(path, ReaderOptions::default(), offset..end, len).await {
            Err(error) if error.is_retryable() => return Err(self.cut_short(path, offset, len, error).await),
            other => other?,
        };
        let got = bytes.len() as u64;
        if got < len {
            return Err(ends_at(path, offset + got, offset, len));
        }
        if got > len {
            let message = format!("{}: the store ignores ranges", self.what("read", path));
            return Err(Error::new(Kind::Unsupported, message));
        }
        Ok(bytes)
    }

    /// A range that ends early looks like a broken line to opendal; the object's size tells them apart.
    async fn cut_short(&self, path: &str, offset: u64, len: u64, error: Error) -> Error {
        match self.size(path).await {
            Ok(Some(size)) if size < offset.saturating_add(len) => ends_at(path, size, offset, len),
            _ => error,
        }
    }

    /// What the store sends for `range`, cut off soon after `most` bytes: a length that a server announces is not
    /// believed before it came.
    async fn collect(
        &self,
        path: &str,
        options: ReaderOptions,
        range: impl std::ops::RangeBounds<u64>,
        most: u64,
    ) -> Result<Bytes> {
        let opened = async { self.operator.reader_options(path, options).await?.into_stream(range).await };
        let mut stream = self.answered("read", path, opened).await?;
        let mut bytes = BytesMut::with_capacity(usize::try_from(most.min(RESERVED_MAX)).unwrap_or_default());
        while let Some(buffer) = self.answered("read", path, stream.try_next()).await? {
            for piece in buffer {
                bytes.extend_from_slice(&piece);
            }
            if bytes.len() as u64 > most {
                break;
            }
        }
        Ok(bytes.freeze())
    }

    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>> {
        match self.answered("look at", path, self.operator.stat(path)).await {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == Kind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes, trust: Trust) -> Result<Creation> {
        if trust != Trust::Atomic && self.size(path).await?.is_some() {
            return Ok(Creation::Exists);
        }
        let if_not_exists = trust != Trust::Never && self.claims_create_if_absent();
        let deadline = self.timeouts.deadline(bytes.len() as u64);
        let options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        let write = self.operator.write_options(path, bytes, options);
        match self.within(deadline, "create", path, write).await? {
            Ok(_) => Ok(Creation::New),
            Err(error) if if_not_exists && is_taken(&error) => Ok(Creation::Exists),
            Err(error) => Err(self.failed("create", path, &error)),
        }
    }

    /// Writes without a condition: a plain upload takes the place of what is there, whole.
    pub(super) async fn replace(&self, path: &str, bytes: Bytes) -> Result<()> {
        let deadline = self.timeouts.deadline(bytes.len() as u64);
        let written = self.within(deadline, "replace", path, self.operator.write(path, bytes)).await?;
        written.map(drop).map_err(|error| self.failed("replace", path, &error))
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        match self.answered("delete", path, self.operator.delete(path)).await {
            Err(error) if error.kind() == Kind::Missing => Ok(()),
            other => other,
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let verb = if prefix.is_empty() { "list the objects" } else { "list" };
        let mut listed = Vec::new();
        let opened = self.answered(verb, prefix, self.operator.lister_options(prefix, options)).await;
        let mut lister = match opened {
            Err(error) if error.kind() == Kind::Missing => return Ok(listed),
            other => other?,
        };
        loop {
            match self.answered(verb, prefix, lister.try_next()).await {
                Ok(Some(entry)) if entry.metadata().is_file() => {
                    let bytes = entry.metadata().content_length();
                    let modified = entry.metadata().last_modified();
                    let modified = modified.map(|time| Timestamp(time.into_inner().as_microsecond()));
                    listed.push(Listed { path: entry.path().to_owned(), bytes, modified });
                }
                Ok(Some(_)) => {}
                // A directory that is not there is an empty one.
                Err(error) if error.kind() == Kind::Missing => return Ok(listed),
                Ok(None) => return Ok(listed),
                Err(error) => return Err(error),
            }
        }
    }

    /// The object's versions that are no deletions, newest first; at most [`VERSIONS_MAX`] of them.
    pub(super) async fn versions(&self, path: &str) -> Result<Vec<String>> {
        let verb = "list the versions of";
        let options = ListOptions { versions: true, recursive: true, ..ListOptions::default() };
        let mut versions = Vec::new();
        let mut lister = self.answered(verb, path, self.operator.lister_options(path, options)).await?;
        while let Some(entry) = self.answered(verb, path, lister.try_next()).await? {
            // The listing is by prefix: other objects may stand after this one.
            if entry.path() == path && !entry.metadata().is_deleted() {
                versions.extend(entry.metadata().version().map(str::to_owned));
            }
            if versions.len() == VERSIONS_MAX {
                break;
            }
        }
        Ok(versions)
    }

    pub(super) async fn lock_support(&self) -> Result<LockSupport> {
        let Some(retentions) = &self.retentions else { return Ok(OTHER_KIND) };
        let what = self.what("ask for object lock", "");
        self.within(self.timeouts.answer, "ask for object lock", "", retentions.support(&what)).await?
    }

    pub(super) async fn retention(&self, path: &str, version: Option<&str>) -> Result<Option<Retention>> {
        let verb = "read the lock of";
        let (retentions, what) = (self.retentions(verb, path)?, self.what(verb, path));
        self.within(self.timeouts.answer, verb, path, retentions.get(&what, path, version)).await?
    }

    pub(super) async fn set_retention(
        &self,
        path: &str,
        version: Option<&str>,
        lock: &Retention,
    ) -> Result<()> {
        let (retentions, what) = (self.retentions("lock", path)?, self.what("lock", path));
        self.within(self.timeouts.answer, "lock", path, retentions.set(&what, path, version, lock)).await?
    }

    fn retentions(&self, verb: &str, path: &str) -> Result<&Retentions> {
        self.retentions.as_ref().ok_or_else(|| {
            let message = format!("{}: only s3:// stores have object lock", self.what(verb, path));
            Error::new(Kind::Unsupported, message)
        })
    }

    /// One answer, or one piece of it, within the time for an answer.
    async fn answered<T>(
        &self,
        verb: &str,
        path: &str,
        future: impl Future<Output = opendal::Result<T>>,
    ) -> Result<T> {
        let result = self.within(self.timeouts.answer, verb, path, future).await?;
        result.map_err(|error| self.failed(verb, path, &error))
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        verb: &str,
        path: &str,
        future: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::time::timeout(deadline, future).await.map_err(|_| {
            let seconds = deadline.as_secs();
            let message = format!("{}: no answer within {seconds} s", self.what(verb, path));
            Error::new(Kind::Unavailable, message)
        })
    }

    fn failed(&self, verb: &str, path: &str, error: &opendal::Error) -> Error {
        failure::failed(&self.what(verb, path), error)
    }

    fn what(&self, verb: &str, path: &str) -> String {
        let space = if path.is_empty() { "" } else { " " };
        format!("{verb}{space}{path} at {}", self.shown)
    }
}

fn is_taken(error: &opendal::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests;
