//! A replica's immutable objects by name: its store, and the keys that its log gives them.
//!
//! Reading falls back to an object's plain key: whatever is found is held against its hash, so bytes that a sweep gave up
//! but nobody has deleted yet are as good as any. Whoever *relies* on an object asks for [`Objects::size`] or puts it, and
//! those speak of the key in force alone.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::ObjectId;
use crate::log::State;
use crate::name::Name;
use crate::store::Store;

/// A replica's objects. Clones share the keys: what one learns of later sweeps, all know.
#[derive(Clone)]
pub struct Objects {
    store: Store,
    known: Arc<RwLock<Known>>,
}

/// What is known of the keys.
#[derive(Default)]
struct Known {
    /// The last sweep that was learned of.
    sweep: Option<u64>,
    swept: BTreeMap<Name, u64>,
}

impl Objects {
    /// The objects of a replica of which no sweep is known yet.
    pub fn new(store: Store) -> Self {
        Self { store, known: Arc::default() }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes over what the log says of keys.
    pub(crate) fn learn(&self, state: &State) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.sweep != state.last_sweep() {
            known.sweep = state.last_sweep();
            let moved = state.swept().iter().filter(|(name, _)| state.key_sweep(name).is_some());
            known.swept = moved.map(|(name, sweep)| (*name, *sweep)).collect();
        }
    }

    /// The key in force.
    pub fn key(&self, name: &Name) -> String {
        name.key(self.sweep_of(name))
    }

    fn sweep_of(&self, name: &Name) -> Option<u64> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).swept.get(name).copied()
    }

    /// The whole object, whose bytes hash to its name.
    ///
    /// # Errors
    /// [`Kind::Missing`] and [`Kind::Damaged`], naming the object; the store's.
    pub async fn read(&self, name: &Name) -> Result<Bytes> {
        let swept = self.sweep_of(name);
        match read_hashed(&self.store, &name.key(swept), &name.id).await {
            Err(error) if swept.is_some() && is_loss(&error) => {
                read_hashed(&self.store, &name.plain_key(), &name.id).await.map_err(|_| error)
            }
            other => other,
        }
    }

    /// Exactly `len` bytes from `offset` on, which the caller holds against a seal or a hash.
    ///
    /// # Errors
    /// As [`Store::read_range`].
    pub async fn read_range(&self, name: &Name, offset: u64, len: u64) -> Result<Bytes> {
        let swept = self.sweep_of(name);
        match self.store.read_range(&name.key(swept), offset, len).await {
            Err(error) if swept.is_some() && is_loss(&error) => {
                self.store.read_range(&name.plain_key(), offset, len).await.map_err(|_| error)
            }
            other => other,
        }
    }

    /// The size of what can be read, wherever it is; none if it is nowhere.
    ///
    /// # Errors
    /// As [`Store::size`].
    pub async fn readable_size(&self, name: &Name) -> Result<Option<u64>> {
        let swept = self.sweep_of(name);
        match self.store.size(&name.key(swept)).await? {
            None if swept.is_some() => self.store.size(&name.plain_key()).await,
            size => Ok(size),
        }
    }

    /// The object's size at the key in force; none when it is not there.
    ///
    /// # Errors
    /// As [`Store::size`].
    pub async fn size(&self, name: &Name) -> Result<Option<u64>> {
        self.store.size(&self.key(name)).await
    }

    /// Sees to it that the object is there, at the key in force. Doing it again is success.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put(&self, name: &Name, bytes: Bytes) -> Result<()> {
        self.store.put(&self.key(name), bytes).await
    }
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged)
}

/// Reads the object at `path` and checks that its bytes hash to `id`. Where the store keeps older versions, one of them
/// serves as well: somebody may have put garbage over it, or a deletion.
///
/// # Errors
/// [`Kind::Missing`] and [`Kind::Damaged`], naming the path; the store's.
pub async fn read_hashed(store: &Store, path: &str, id: &ObjectId) -> Result<Bytes> {
    let matches = |bytes: &[u8]| ObjectId::of(bytes) == *id;
    let error = match store.read(path).await {
        Ok(bytes) if matches(&bytes) => return Ok(bytes),
        Ok(_) => {
            // A line can spoil what the store holds whole: look once more before it is called damaged.
            let again = store.read(path).await?;
            if matches(&again) {
                return Ok(again);
            }
            Error::damaged(format!("{path} is damaged: its bytes do not hash to its name"))
        }
        Err(error) if error.kind() == Kind::Missing => error.context(format!("{path} is missing")),
        Err(error) => return Err(error.context(format!("read {path}"))),
    };
    store.read_older(path, matches).await?.ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_relied_on_at_its_key_in_force_and_read_wherever_it_is() {
        let objects = Objects::new(Store::memory());
        let bytes = Bytes::from_static(b"some bytes");
        let name = Name::pack(ObjectId::of(&bytes));
        objects.put(&name, bytes.clone()).await.unwrap();
        assert_eq!(objects.size(&name).await.unwrap(), Some(10));
        objects.known.write().unwrap().swept.insert(name, 12);
        assert!(objects.key(&name).ends_with("~12"));
        assert_eq!(objects.size(&name).await.unwrap(), None);
        assert_eq!(objects.readable_size(&name).await.unwrap(), Some(10));
        assert_eq!(objects.read(&name).await.unwrap(), bytes);
        assert_eq!(objects.read_range(&name, 5, 5).await.unwrap(), bytes.slice(5..));
        objects.put(&name, bytes.clone()).await.unwrap();
        objects.store().delete(&name.plain_key()).await.unwrap();
        assert_eq!(objects.read(&name).await.unwrap(), bytes);
        assert_eq!(objects.size(&name).await.unwrap(), Some(10));
    }

    #[tokio::test]
    async fn bytes_that_do_not_hash_to_the_name_are_damage() {
        let objects = Objects::new(Store::memory());
        let name = Name::index(ObjectId::of(b"right"));
        objects.store().put(&name.plain_key(), Bytes::from_static(b"wrong")).await.unwrap();
        assert_eq!(objects.read(&name).await.unwrap_err().kind(), Kind::Damaged);
        let absent = Name::snapshot(ObjectId::of(b"absent"));
        assert_eq!(objects.read(&absent).await.unwrap_err().kind(), Kind::Missing);
    }
}
