//! Object lock: objects that nobody can delete or shorten before their time, and the versions behind them.
//!
//! Only buckets of the S3 protocol that were made with it have it; every other store says so. The time until an object is
//! locked is only ever moved forward. How these times are grouped, so that a pass every ten days suffices, is decided
//! in [`generation`]; what the bucket must be told is in `docs/object-lock.md`.

pub mod generation;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;

use super::remote::Remote;
use super::usage::Count;
use super::{Store, missing, name};

/// The most versions of one object that are looked at. With the bucket policy that we ship there is one.
pub(super) const VERSIONS_MAX: usize = 1000;

/// Who may take a lock away before its time. The later one holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Whoever has the right to bypass it.
    Governance,
    /// Nobody, the owner of the bucket included.
    Compliance,
}

/// A lock on one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may take it away.
    pub mode: LockMode,
    /// Until when it holds.
    pub until: Timestamp,
}

/// Whether a store can lock objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockSupport {
    /// It can.
    Ready,
    /// It cannot, because of this.
    Missing(&'static str),
}

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

pub(super) const OTHER_KIND: LockSupport =
    LockSupport::Missing("only s3:// stores have object lock, and this is one of another kind");

impl LockMode {
    /// The protocol's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

impl Retention {
    /// Reads the two headers in which a server tells of a lock. Parts of a second are left out.
    ///
    /// # Errors
    /// [`Kind::Damaged`] for a mode that is neither, or a time that is none.
    pub fn from_headers(mode: &str, until: &str) -> Result<Self> {
        let mode =
            [LockMode::Governance, LockMode::Compliance].into_iter().find(|known| known.word() == mode);
        let seconds =
            until.parse::<reqsign_core::time::Timestamp>().ok().map(reqsign_core::time::Timestamp::as_second);
        match (mode, seconds) {
            (Some(mode), Some(seconds)) => {
                Ok(Self { mode, until: Timestamp(seconds.saturating_mul(SECOND_US)) })
            }
            _ => Err(Error::damaged(
                "the store tells of a lock that is of no known mode or until no known time",
            )),
        }
    }

    /// The end as the protocol writes it, in whole seconds, rounded up.
    ///
    /// # Errors
    /// [`Kind::Input`] for a time after the year 9999.
    pub(super) fn until_text(&self) -> Result<String> {
        let seconds = self.until.0.div_euclid(SECOND_US) + i64::from(self.until.0.rem_euclid(SECOND_US) > 0);
        reqsign_core::time::Timestamp::from_second(seconds)
            .map(reqsign_core::time::Timestamp::format_rfc3339_zulu)
            .map_err(|_| Error::new(Kind::Input, "an object cannot be locked until such a time"))
    }

    /// Whether this holds at least as long and as hard as `wanted`.
    pub fn covers(&self, wanted: &Self) -> bool {
        self.mode >= wanted.mode && self.until >= wanted.until
    }

    /// The weaker of both in each respect.
    fn least(self, other: Self) -> Self {
        Self { mode: self.mode.min(other.mode), until: self.until.min(other.until) }
    }

    /// The stronger of both in each respect.
    fn most(self, other: Self) -> Self {
        Self { mode: self.mode.max(other.mode), until: self.until.max(other.until) }
    }
}

impl Store {
    /// Whether objects can be locked here, as far as the store says: the proof is that
    /// [`Store::lock_until`] reads back what it set.
    ///
    /// # Errors
    /// Those of asking; a store that does not know the question is no error.
    pub async fn lock_support(&self) -> Result<LockSupport> {
        let Some(remote) = self.inner.backend.remote() else { return Ok(OTHER_KIND) };
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Lock);
            match remote.lock_support().await {
                Ok(support) => return Ok(support),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// The weakest lock on any version of the object; none if a version has none.
    ///
    /// # Errors
    /// [`Kind::Missing`] when no version of it is there, [`Kind::Unsupported`] where there is no object lock.
    pub async fn locked_until(&self, path: &str) -> Result<Option<Retention>> {
        let remote = self.lockable("read the lock of", path)?;
        let mut weakest: Option<Retention> = None;
        for version in self.versions(remote, path).await? {
            let Some(lock) = self.lock_of(remote, path, version.as_deref()).await? else { return Ok(None) };
            weakest = Some(weakest.map_or(lock, |least| least.least(lock)));
        }
        Ok(weakest)
    }

    /// Locks every version of the object at least until `wanted.until` and reads the locks back; false if they held
    /// that long already. A lock that holds longer or harder stays.
    ///
    /// # Errors
    /// As [`Store::locked_until`]; [`Kind::Denied`] without the rights; [`Kind::Unsupported`] when the store
    /// acknowledges a lock and does not show it.
    pub async fn lock_until(&self, path: &str, wanted: Retention) -> Result<bool> {
        let remote = self.lockable("lock", path)?;
        let mut extended = false;
        for version in self.versions(remote, path).await? {
            let version = version.as_deref();
            let there = self.lock_of(remote, path, version).await?;
            if there.is_some_and(|there| there.covers(&wanted)) {
                continue;
            }
            let lock = there.map_or(wanted, |there| there.most(wanted));
            self.set_lock(remote, path, version, lock).await?;
            let now = self.lock_of(remote, path, version).await?;
            if !now.is_some_and(|now| now.covers(&wanted)) {
                let message = format!(
                    "lock {path}: the store acknowledges the lock but does not show it; either it has no object lock, \
                     or these credentials may not read one (s3:GetObjectRetention)"
                );
                return Err(Error::new(Kind::Unsupported, message));
            }
            extended = true;
        }
        Ok(extended)
    }

    /// An older version of the object that `matches`, or one under a deletion: for an object whose bytes are not what
    /// its name or its seal says. The oldest goes first, because whoever hides an object comes later. None where the
    /// store keeps no versions, these credentials may not see them, or none matches.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub async fn read_older(&self, path: &str, matches: impl Fn(&[u8]) -> bool) -> Result<Option<Bytes>> {
        name::check(path)?;
        let Some(remote) = self.inner.backend.remote() else { return Ok(None) };
        let versions = match self.list_versions(remote, path).await {
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) => return Ok(None),
            Ok(versions) => versions,
        };
        for version in versions.iter().rev() {
            match self.read_version(remote, path, version).await {
                Ok(bytes) if matches(&bytes) => return Ok(Some(bytes)),
                Err(error) if error.is_retryable() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    fn lockable(&self, verb: &str, path: &str) -> Result<&Remote> {
        name::check(path)?;
        self.inner.backend.remote().ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("{verb} {path}: only s3:// stores have object lock"))
        })
    }

    /// The versions to lock, newest first; none stands for the newest, where these credentials may not list.
    async fn versions(&self, remote: &Remote, path: &str) -> Result<Vec<Option<String>>> {
        let versions = match self.list_versions(remote, path).await {
            Err(error) if error.kind() == Kind::Denied => return Ok(vec![None]),
            other => other?,
        };
        match versions.len() {
            0 => Err(missing(path)),
            1..VERSIONS_MAX => Ok(versions.into_iter().map(Some).collect()),
            _ => Err(Error::damaged(format!(
                "lock {path}: it has {VERSIONS_MAX} versions or more; somebody floods the store, and the bucket policy \
                 of docs/object-lock.md is not in force"
            ))),
        }
    }

    async fn list_versions(&self, remote: &Remote, path: &str) -> Result<Vec<String>> {
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::List);
            match remote.versions(path).await {
                Ok(versions) => return Ok(versions),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn read_version(&self, remote: &Remote, path: &str, version: &str) -> Result<Bytes> {
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Read);
            match remote.read_version(path, version).await {
                Ok(bytes) => return Ok(self.arrived(bytes).await),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn lock_of(&self, remote: &Remote, path: &str, version: Option<&str>) -> Result<Option<Retention>> {
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Lock);
            match remote.retention(path, version).await {
                Ok(retention) => return Ok(retention),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn set_lock(
        &self,
        remote: &Remote,
        path: &str,
        version: Option<&str>,
        lock: Retention,
    ) -> Result<()> {
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Lock);
            match remote.set_retention(path, version, &lock).await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_without_object_lock_says_so() {
        let store = Store::memory();
        assert_eq!(store.lock_support().await.unwrap(), OTHER_KIND);
        store.put("packs/00/x", Bytes::from_static(b"x")).await.unwrap();
        let wanted = Retention { mode: LockMode::Governance, until: Timestamp(1) };
        for error in [
            store.lock_until("packs/00/x", wanted).await.unwrap_err(),
            store.locked_until("packs/00/x").await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.to_string().contains("packs/00/x: only s3://"), "{error}");
        }
        assert_eq!(store.read_older("packs/00/x", |_| true).await.unwrap(), None);
    }

    #[test]
    fn a_lock_is_read_from_its_headers_and_written_in_whole_seconds() {
        let lock = Retention::from_headers("COMPLIANCE", "2030-01-02T03:04:05.678Z").unwrap();
        assert_eq!(lock, Retention { mode: LockMode::Compliance, until: Timestamp(1_893_553_445_000_000) });
        assert_eq!(lock.until_text().unwrap(), "2030-01-02T03:04:05Z");
        let later = Retention { until: Timestamp(lock.until.0 + 1), ..lock };
        assert_eq!(later.until_text().unwrap(), "2030-01-02T03:04:06Z");
        assert!(Retention { until: Timestamp(i64::MAX), ..lock }.until_text().is_err());
        for (mode, until) in [("compliance", "2030-01-02T03:04:05Z"), ("GOVERNANCE", "tomorrow"), ("", "")] {
            assert_eq!(Retention::from_headers(mode, until).unwrap_err().kind(), Kind::Damaged);
        }
    }

    #[test]
    fn a_lock_covers_what_is_neither_longer_nor_harder() {
        let lock = |mode, until| Retention { mode, until: Timestamp(until) };
        let (governance, compliance) = (LockMode::Governance, LockMode::Compliance);
        for (there, wanted, expected) in [
            (lock(governance, 5), lock(governance, 5), true),
            (lock(compliance, 6), lock(governance, 5), true),
            (lock(compliance, 4), lock(governance, 5), false),
            (lock(governance, 6), lock(compliance, 5), false),
        ] {
            assert_eq!(there.covers(&wanted), expected, "{there:?} {wanted:?}");
            assert!(there.most(wanted).covers(&wanted) && there.most(wanted).covers(&there));
            assert!(there.covers(&there.least(wanted)) && wanted.covers(&there.least(wanted)));
        }
    }
}
