//! The only door to object storage.
//!
//! A [`Store`] holds immutable objects under names of ours. It creates and deletes whole objects and never changes
//! one. What is assumed of the storage behind it, and what is not, stands in `docs/format/store.md`.
//!
//! ```text
//! caller
//!   | retry      only what is unavailable, bounded, with jitter (retry)
//!   | budget     stored bytes per second, both directions (budget)
//!   | recording  requests and bytes (usage)
//!   v
//! backend        a directory (local) | opendal (remote) | a map (memory) | another store's, with faults (faults)
//! ```
//!
//! Nothing here reads the environment or follows a name outside the store's root. A future that is dropped may still
//! have its effect: a creation whose answer was not seen is found out by reading back.

mod address;
mod backend;
mod budget;
pub(crate) mod draw;
pub mod faults;
mod local;
pub mod lock;
mod memory;
mod name;
mod options;
mod probe;
mod remote;
mod retry;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

pub use address::Address;
pub use memory::Memory;
pub use options::{RetryPolicy, StoreOptions, Timeouts};
pub use probe::Capabilities;
pub use usage::Usage;

use crate::error::{Error, Kind, Result};
use crate::id::{ClientId, Timestamp};
use address::Place;
use backend::{Backend, Trust};
use budget::Budget;
use faults::Site;
use retry::{Attempts, Retry};
use usage::{Count, Meter};

/// The largest object that is written or read whole; a longer one is not a vault's.
pub const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// One object store. Clones share everything: connections, limits, counters.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    backend: Backend,
    site: Site,
    retry: Retry,
    budget: Option<Budget>,
    meter: Meter,
    trust: AtomicU8,
    client: Option<ClientId>,
}

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The object was not there and is now, durably, with these bytes.
    New,
    /// An object of this name was there already; it is untouched.
    Exists,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The object's name, from the store's root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock, where the listing says so. Informs and proves nothing.
    pub modified: Option<Timestamp>,
}

impl Store {
    /// A store at `address`. Nothing is touched: that it answers, and that a vault is there, shows with the first read.
    ///
    /// # Errors
    /// [`Kind::Input`] when a credential, a region or an endpoint is needed and not given, or a certificate bundle
    /// cannot be read.
    pub async fn open(address: &Address, options: &StoreOptions) -> Result<Self> {
        let backend = match &address.place {
            Place::Local(path) => Backend::Local(local::Local::new(path, options)?),
            Place::Remote(place) => Backend::Remote(Box::new(remote::Remote::open(place, options).await?)),
            Place::Memory => Backend::Memory(Memory::default()),
        };
        Ok(Self::of(address.clone(), backend, options))
    }

    /// An empty store in memory; its clones share the objects.
    pub fn memory() -> Self {
        let address = Address { place: Place::Memory };
        Self::of(address, Backend::Memory(Memory::default()), &StoreOptions::default())
    }

    /// The inside of a store in memory, or of the one that a view with faults looks at; none for every other store.
    pub fn inside(&self) -> Option<Memory> {
        match &self.inner.backend {
            Backend::Memory(memory) => Some(memory.clone()),
            Backend::Faulty(faults) => faults.inside(),
            Backend::Local(_) | Backend::Remote(_) => None,
        }
    }

    /// Makes a store in memory full after this many more creations; none gives it room without end. For tests of what
    /// becomes of a run that finds no room at any of its steps; every other store stays as it is.
    pub fn set_room(&self, objects: Option<u64>) {
        if let Some(memory) = self.inside() {
            memory.set_room(objects);
        }
    }

    fn of(address: Address, backend: Backend, options: &StoreOptions) -> Self {
        let inner = Inner {
            address,
            backend,
            site: Site::default(),
            retry: Retry::new(options.retry, options.seed),
            budget: options.bandwidth_bytes_per_second.map(Budget::new),
            meter: Meter::default(),
            trust: AtomicU8::new(Trust::Unknown as u8),
            client: options.client,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where the store is.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Makes the root directory of a local store, whose parent must exist, and clears away what dead runs left
    /// there more than a day ago. A remote store needs nothing.
    ///
    /// # Errors
    /// [`Kind::Input`] when the parent is missing or may not be written.
    pub async fn prepare(&self) -> Result<()> {
        self.inner.backend.prepare().await
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`Kind::Missing`] when it is not there, [`Kind::NoVault`] when not even the bucket or the root is.
    pub async fn read(&self, path: &str) -> Result<Bytes> {
        name::check(path)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Read);
            match self.inner.backend.read(path).await {
                Ok(bytes) => return Ok(self.arrived(bytes).await),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Exactly `len` bytes from `offset` on; none are asked for when `len` is 0.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when the object ends before that, otherwise as [`Store::read`].
    pub async fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        name::check(path)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        check_len("read", path, len)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Read);
            match self.inner.backend.read_range(path, offset, len).await {
                Ok(bytes) => return Ok(self.arrived(bytes).await),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// The object's size; none when it is not there.
    pub async fn size(&self, path: &str) -> Result<Option<u64>> {
        name::check(path)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Size);
            match self.inner.backend.size(path).await {
                Ok(size) => return Ok(size),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Creates the object if it is absent: whole, in one write, durable before this returns.
    ///
    /// When an attempt ended without an answer and the object is found afterwards, its bytes decide whether it is
    /// ours; so a caller that must know puts a nonce into them. On a store that cannot create-if-absent the check
    /// and the write are two steps, and only one client may write there.
    ///
    /// # Errors
    /// [`Kind::Full`] when there is no room; nothing is visible then. [`Kind::Unavailable`] leaves open whether
    /// the object was made: read it back.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        self.create_under(path, bytes, self.trust()).await
    }

    async fn create_under(&self, path: &str, bytes: Bytes, trust: Trust) -> Result<Creation> {
        name::check(path)?;
        check_len("create", path, bytes.len() as u64)?;
        let mut attempts = self.inner.retry.attempts();
        let mut maybe_ours = false;
        loop {
            let trust = if maybe_ours { trust.with_a_look() } else { trust };
            self.pay(bytes.len()).await;
            self.inner.meter.one(Count::Write);
            match self.inner.backend.create(path, bytes.clone(), trust).await {
                Ok(Creation::New) => {
                    self.inner.meter.add(Count::BytesWritten, bytes.len() as u64);
                    return Ok(Creation::New);
                }
                Ok(Creation::Exists) if maybe_ours => return self.whose(path, &bytes).await,
                Ok(Creation::Exists) => return Ok(Creation::Exists),
                Err(error) => {
                    maybe_ours |= error.is_retryable();
                    self.pause(&mut attempts, error).await?;
                }
            }
        }
    }

    /// Whether the object that is there has our bytes, and so was made by our unanswered attempt.
    async fn whose(&self, path: &str, bytes: &Bytes) -> Result<Creation> {
        if self.size(path).await? != Some(bytes.len() as u64) || self.read(path).await? != *bytes {
            return Ok(Creation::Exists);
        }
        self.inner.meter.add(Count::BytesWritten, bytes.len() as u64);
        Ok(Creation::New)
    }

    /// Sees to it that a content-named object is there. Doing it again is success.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when an object of this name but another size is there; [`Kind::Conflict`] when one was
    /// there and vanished; otherwise as [`Store::create`].
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let wanted = bytes.len() as u64;
        if self.create(path, bytes).await? == Creation::New {
            return Ok(());
        }
        match self.size(path).await? {
            Some(there) if there == wanted => Ok(()),
            Some(there) => Err(Error::damaged(format!(
                "put {path}: an object of this name with {there} bytes is there, it should have {wanted}"
            ))),
            None => Err(Error::new(
                Kind::Conflict,
                format!("put {path}: an object of this name was there and has vanished"),
            )),
        }
    }

    /// Makes the object these bytes, whatever stood there before, in one write: there is no moment at which nothing is
    /// there. For objects that are named by their hash, whose bytes were held against it: of several at once all write the
    /// same.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn replace(&self, path: &str, bytes: Bytes) -> Result<()> {
        name::check(path)?;
        check_len("replace", path, bytes.len() as u64)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.pay(bytes.len()).await;
            self.inner.meter.one(Count::Write);
            match self.inner.backend.replace(path, bytes.clone()).await {
                Ok(()) => {
                    self.inner.meter.add(Count::BytesWritten, bytes.len() as u64);
                    return Ok(());
                }
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Deletes the object; that it is absent already is success.
    pub async fn delete(&self, path: &str) -> Result<()> {
        name::check(path)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::Delete);
            match self.inner.backend.delete(path).await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// All objects below `prefix` (empty, or ending in a slash), at any depth, sorted by name. A hint, never
    /// evidence: an object may be missing here and still be there, or the other way round. Names that are not ours
    /// are left out.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        name::check_prefix(prefix)?;
        let mut attempts = self.inner.retry.attempts();
        loop {
            self.inner.meter.one(Count::List);
            match self.inner.backend.list(prefix).await {
                Ok(mut listed) => {
                    listed.retain(|object| name::is_object_name(&object.path));
                    listed.sort();
                    return Ok(listed);
                }
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Requests and bytes so far, of this store and its clones.
    pub fn usage(&self) -> Usage {
        self.inner.meter.usage()
    }

    /// Tells the store what an earlier [`Store::probe`] found, as the vault's configuration has it. Until then it
    /// looks before it creates, which costs a request, and asks for create-if-absent all the same.
    pub fn assume(&self, capabilities: Capabilities) {
        let trust = if capabilities.create_if_absent { Trust::Atomic } else { Trust::Never };
        self.inner.trust.store(trust as u8, Ordering::Relaxed);
    }

    /// Whether nothing is known against create-if-absent here: no probe has found it missing.
    pub fn creates_if_absent(&self) -> bool {
        self.trust() != Trust::Never
    }

    /// The client that writes here, if it was named when the store was opened.
    pub fn client(&self) -> Option<ClientId> {
        self.inner.client
    }

    fn trust(&self) -> Trust {
        Trust::from_u8(self.inner.trust.load(Ordering::Relaxed))
    }

    async fn arrived(&self, bytes: Bytes) -> Bytes {
        self.inner.meter.add(Count::BytesRead, bytes.len() as u64);
        self.pay(bytes.len()).await;
        bytes
    }

    async fn pay(&self, bytes: usize) {
        if let Some(budget) = &self.inner.budget {
            budget.pay(bytes as u64).await;
        }
    }

    async fn pause(&self, attempts: &mut Attempts<'_>, error: Error) -> Result<()> {
        attempts.pause(error).await?;
        self.inner.meter.one(Count::Retry);
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.address)
    }
}

fn check_len(verb: &str, path: &str, bytes: u64) -> Result<()> {
    if bytes <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(Kind::Bug, format!("{verb} {path}: {bytes} bytes are more than an object may have")))
}

fn missing(path: &str) -> Error {
    Error::new(Kind::Missing, format!("read {path}: the object is not there"))
}

fn too_long(path: &str) -> Error {
    Error::damaged(format!(
        "read {path}: the object is longer than {OBJECT_BYTES_MAX} bytes, as none of a vault is"
    ))
}

fn ends_at(path: &str, size: u64, offset: u64, len: u64) -> Error {
    Error::damaged(format!(
        "read {path}: the object ends at {size}, {len} bytes from {offset} on were needed"
    ))
}

/// The range as indices into an object of `size` bytes.
fn range_of(path: &str, size: u64, offset: u64, len: u64) -> Result<std::ops::Range<usize>> {
    let end = offset.checked_add(len).filter(|end| *end <= size);
    let end = end.ok_or_else(|| ends_at(path, size, offset, len))?;
    let index = |at: u64| usize::try_from(at).map_err(|_| ends_at(path, size, offset, len));
    Ok(index(offset)?..index(end)?)
}
