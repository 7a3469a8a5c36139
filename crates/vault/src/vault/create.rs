//! Making a vault, on one store or on several.

use super::{Vault, keys};
use crate::error::{Error, Kind, Result};
use crate::id::{ClientId, ReplicaId, Timestamp, VaultId};
use crate::keys::KeyRing;
use crate::keys::slot::Lock;
use crate::log::client::Birth;
use crate::log::{self, Config, Signer};
use crate::object::{VAULT_FILE, log_path};
use crate::replica::Replica;
use crate::store::Store;
use crate::suite::random;
use crate::vault_file::VaultFile;

/// What a new vault is to be.
pub struct CreateOptions<'a> {
    /// The replica's name in the log.
    pub name: &'a str,
    /// The vault's first configuration.
    pub config: Config,
    /// The owner's ways in, each with its label; at least one.
    pub ways_in: Vec<(&'a str, Lock<'a>)>,
    /// The time to sign.
    pub now: Timestamp,
}

/// Where a replica is to be.
pub struct Place<'a> {
    /// An empty store.
    pub store: Store,
    /// The replica's name in the log and in the vault's configuration.
    pub name: &'a str,
}

impl Vault {
    /// Makes a vault on an empty store: description, owner's key slots, the log's birth. Returns the new replica.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when there is a vault already.
    pub async fn create(store: Store, options: CreateOptions<'_>) -> Result<Replica> {
        let place = Place { store, name: options.name };
        let replicas = Self::create_on(vec![place], options).await?;
        replicas.into_iter().next().ok_or_else(|| Error::new(Kind::Input, "make a vault: nowhere"))
    }

    /// Makes one vault on several empty stores: the same description and key slots on each, and each with a log of its
    /// own. Their names stand in the configuration where there are several. All or nothing: where one cannot be made,
    /// the others are removed again.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when there is a vault already at one of them; [`Kind::Input`] when one lacks create-if-absent and the
    /// client has no name.
    pub async fn create_on(places: Vec<Place<'_>>, mut options: CreateOptions<'_>) -> Result<Vec<Replica>> {
        let ring = KeyRing::create(VaultId(random()));
        let file = VaultFile::new(ring.vault, ring.signing.verify_key());
        let births: Vec<(ReplicaId, &str)> =
            places.iter().map(|place| (ReplicaId(random()), place.name)).collect();
        if places.len() > 1 {
            options.config.replicas = births.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
            options.config.replicas.sort_unstable();
        }
        if let Some(writer) = writer_needed(places.iter().map(|place| &place.store))? {
            options.config.single_writer = Some(writer);
        }
        let mut replicas = Vec::new();
        for place in places {
            let claimed = match place.store.prepare().await {
                Ok(()) => Replica::claim(place.store, file.clone()).await,
                Err(error) => Err(error),
            };
            match claimed {
                Ok(replica) => replicas.push(replica),
                Err(error) => return Err(unmake_all(&replicas, error).await),
            }
        }
        match furnish(&mut replicas, &births, &ring, options).await {
            Ok(()) => Ok(replicas),
            Err(error) => Err(unmake_all(&replicas, error).await),
        }
    }
}

/// The client that alone may write from now on, if one of these stores was found to lack create-if-absent.
///
/// # Errors
/// [`Kind::Input`] if the one who opened such a store has no name.
pub(super) fn writer_needed<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Result<Option<ClientId>> {
    let Some(store) = stores.into_iter().find(|store| !store.creates_if_absent()) else { return Ok(None) };
    let unnamed = || {
        let message =
            format!("{} needs one client that alone writes, and this one has no name", store.address());
        Error::new(Kind::Input, message)
    };
    store.client().map(Some).ok_or_else(unnamed)
}

async fn furnish(
    replicas: &mut [Replica],
    births: &[(ReplicaId, &str)],
    ring: &KeyRing,
    options: CreateOptions<'_>,
) -> Result<()> {
    for (replica, (id, name)) in replicas.iter_mut().zip(births) {
        let birth = Birth { replica: *id, name, config: options.config.clone() };
        let signer = Signer { key: &ring.signing, time: options.now };
        let (store, state) = replica.log_parts();
        log::birth(store, state, signer, birth).await?;
    }
    for (label, lock) in options.ways_in {
        let new = keys::NewHolder { ring, label, lock };
        let (_, outcomes) = keys::add_slot(replicas, ring, new, (options.now, &|_| Ok(()))).await?;
        outcomes.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

async fn unmake_all(replicas: &[Replica], error: Error) -> Error {
    for replica in replicas {
        unmake(replica).await;
    }
    error
}

/// Removes what a failed creation left, as far as the store lets it, so that the next one can begin. Nobody can ever open
/// such a vault: its owner's key was never stored whole. The description goes last, so that what is left is never
/// taken for a vault.
pub(super) async fn unmake(replica: &Replica) {
    let store = replica.store();
    for n in (0..replica.state().next()).rev() {
        drop(store.delete(&log_path(n)).await);
    }
    for object in store.list("keys/").await.unwrap_or_default() {
        drop(store.delete(&object.path).await);
    }
    drop(store.delete(VAULT_FILE).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::KdfCost;

    fn options() -> CreateOptions<'static> {
        let cost = KdfCost::new(8, 1, 1).unwrap();
        let ways_in = vec![("owner", Lock::Passphrase("a password", cost))];
        CreateOptions { name: "first", config: Config::default(), ways_in, now: Timestamp(1) }
    }

    #[tokio::test]
    async fn a_vault_that_could_not_be_made_whole_leaves_room_for_the_next() {
        let store = Store::memory();
        for room in 0..4 {
            store.set_room(Some(room));
            let failed = Vault::create(store.clone(), options()).await;
            assert_eq!(failed.err().map(|error| error.kind()), Some(Kind::Full), "{room}");
            assert_eq!(store.list("").await.unwrap(), [], "{room}");
        }
        store.set_room(None);
        let replica = Vault::create(store.clone(), options()).await.unwrap();
        assert_eq!(replica.state().slots().count(), 1);
        let again = Vault::create(store, options()).await;
        assert_eq!(again.err().map(|error| error.kind()), Some(Kind::Conflict));
    }
}
