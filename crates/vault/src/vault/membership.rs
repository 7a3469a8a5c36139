//! Adding a replica to a vault, and removing one from its settings.

use super::Vault;
use super::create::{Place, unmake};
use crate::error::{Error, Kind, Result};
use crate::id::{ReplicaId, Timestamp};
use crate::log::client::Birth;
use crate::log::{self, Body, Config, Signer};
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
        let mut config = self.config_with_names();
        if config.replicas.iter().any(|(_, name)| name == place.name) {
            let message = format!("a replica named {:?} is there already; give another name", place.name);
            return Err(Error::new(Kind::Input, message));
        }
        let id = ReplicaId(random());
        config.replicas.push((id, place.name.to_owned()));
        config.replicas.sort_unstable();
        place.store.prepare().await?;
        let mut replica = Replica::claim(place.store, self.replica().file().clone()).await?;
        let birth = Birth { replica: id, name: place.name, config: config.clone() };
        let signer = Signer { key: &self.ring.signing, time: now };
        let (store, state) = replica.log_parts();
        if let Err(error) = log::birth(store, state, signer, birth).await {
            unmake(&replica).await;
            return Err(error);
        }
        self.publish(now, Body::Config(config)).await?;
        Ok(replica)
    }

    /// Strikes a replica out of the settings on every opened replica. Nothing is deleted anywhere. Owner only.
    ///
    /// # Errors
    /// [`Kind::Input`] when the settings know no such name, or it is the last one.
    pub async fn remove_replica(&mut self, name: &str, now: Timestamp) -> Result<()> {
        self.must_own("remove replicas")?;
        // Only a vault that was made in one place has no names yet.
        let mut config = self.config().clone();
        if config.replicas.is_empty() {
            config = self.config_with_names();
        }
        let count = config.replicas.len();
        config.replicas.retain(|(_, known)| known != name);
        if config.replicas.len() == count {
            return Err(Error::new(
                Kind::Input,
                format!("the vault's settings know no replica named {name:?}"),
            ));
        }
        if config.replicas.is_empty() {
            return Err(Error::new(Kind::Input, "this is the vault's last replica"));
        }
        self.publish(now, Body::Config(config)).await
    }

    /// The settings, with the names of all opened replicas in them: a vault that was made in one place has none.
    fn config_with_names(&self) -> Config {
        let mut config = self.config().clone();
        for replica in &self.replicas {
            let Some(id) = replica.state().replica() else { continue };
            if config.replicas.iter().all(|(known, _)| *known != id) {
                config.replicas.push((id, replica.state().replica_name().to_owned()));
            }
        }
        config.replicas.sort_unstable();
        config
    }
}
