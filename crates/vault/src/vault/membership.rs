//! Adding a replica to a vault, and removing one from its settings.

use super::Vault;
use super::create::{Place, unmake, writer_needed};
use crate::error::{Error, Kind, Result};
use crate::id::{ClientId, ReplicaId, Timestamp};
use crate::log::client::Birth;
use crate::log::{self, Config, Signer};
use crate::replica::Replica;
use crate::suite::random;

impl Vault {
    /// Makes one more replica on an empty store: the same description and a log of its own, and says so in the settings
    /// on every opened replica. It holds nothing yet, not even keys: [`crate::sync::sync`] brings everything. Owner only.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when there is a vault already; [`Kind::Input`] when another replica has that name.
    pub async fn add_replica(&mut self, place: Place<'_>, now: Timestamp) -> Result<Replica> {
        self.must_own("add replicas")?;
        let id = ReplicaId(random());
        let opened = self.names();
        let writer = writer_needed([&place.store])?;
        let with = |config: &Config| {
            let mut config = with_replica(named(config, &opened), id, place.name)?;
            config.single_writer = config.single_writer.or(writer);
            Ok(config)
        };
        let config = with(self.config())?;
        place.store.prepare().await?;
        let mut replica = Replica::claim(place.store, self.replica().file().clone()).await?;
        let birth = Birth { replica: id, name: place.name, config };
        let signer = Signer { key: &self.ring.signing, time: now };
        let (store, state) = replica.log_parts();
        if let Err(error) = log::birth(store, state, signer, birth).await {
            unmake(&replica).await;
            return Err(error);
        }
        let named = self.change_settings(now, with).await;
        // Somebody else took the name meanwhile: no log speaks of this replica, and nothing is in it.
        if named.as_ref().is_err_and(|error| error.kind() == Kind::Input) {
            unmake(&replica).await;
        }
        named.map(|()| replica)
    }

    /// Strikes a replica out of the settings on every opened replica. Nothing is deleted anywhere. Owner only.
    ///
    /// # Errors
    /// [`Kind::Input`] when the settings know no such name, or it is the last one.
    pub async fn remove_replica(&mut self, name: &str, now: Timestamp) -> Result<()> {
        self.must_own("remove replicas")?;
        self.hear().await?;
        // Only a vault that was made in one place has no names yet.
        let opened = self.names();
        let named = move |config: &Config| {
            if config.replicas.is_empty() { named(config, &opened) } else { config.clone() }
        };
        let known = named(self.config());
        let Some((id, _)) = known.replicas.iter().find(|(_, known)| known == name) else {
            return Err(Error::new(
                Kind::Input,
                format!("the vault's settings know no replica named {name:?}"),
            ));
        };
        let without = |config: &Config| {
            let mut config = named(config);
            config.replicas.retain(|(known, _)| known != id);
            if config.replicas.is_empty() {
                return Err(Error::new(Kind::Input, "this is the vault's last replica"));
            }
            Ok(config)
        };
        self.change_settings(now, without).await
    }

    /// Makes `client` the one that alone may write to this vault, in place of whoever was named. Owner only. Whoever was named
    /// before may still be writing: see `docs/concurrency.md`.
    pub async fn take_over(&mut self, client: ClientId, now: Timestamp) -> Result<()> {
        self.must_own("take over the vault")?;
        self.change_settings(now, |config| Ok(Config { single_writer: Some(client), ..config.clone() })).await
    }

    /// Ids and names of the opened replicas.
    fn names(&self) -> Vec<(ReplicaId, String)> {
        let states = self.replicas.iter().map(Replica::state);
        states.filter_map(|state| Some((state.replica()?, state.replica_name().to_owned()))).collect()
    }
}

/// The settings, with the names of all opened replicas in them: a vault that was made in one place has none.
fn named(config: &Config, opened: &[(ReplicaId, String)]) -> Config {
    let mut config = config.clone();
    for (id, name) in opened {
        if config.replicas.iter().all(|(known, _)| known != id) {
            config.replicas.push((*id, name.clone()));
        }
    }
    config.replicas.sort_unstable();
    config
}

/// The settings with one more replica.
fn with_replica(mut config: Config, id: ReplicaId, name: &str) -> Result<Config> {
    if config.replicas.iter().any(|(known, taken)| *known != id && taken == name) {
        let message = format!("a replica named {name:?} is there already; give another name");
        return Err(Error::new(Kind::Input, message));
    }
    if config.replicas.iter().all(|(known, _)| *known != id) {
        config.replicas.push((id, name.to_owned()));
        config.replicas.sort_unstable();
    }
    Ok(config)
}
