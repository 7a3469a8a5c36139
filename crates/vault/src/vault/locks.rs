//! Whether, and how, a replica's objects are kept locked.

use super::Vault;
use crate::error::{Error, Kind, Result};
use crate::id::{ReplicaId, Timestamp};
use crate::lock_pass::must_have_locks;
use crate::log::{Config, LockSettings};

impl Vault {
    /// Settles how the objects of every opened replica are kept locked from now on; with none, that they are not any more, which
    /// takes no lock away. What is there already is locked by the next pass. Owner only.
    ///
    /// # Errors
    /// [`Kind::Input`] for numbers of days out of bounds; [`Kind::Unlocked`] if one of the opened replicas has no object lock: then
    /// nothing is changed.
    pub async fn set_locks(&mut self, settings: Option<LockSettings>, now: Timestamp) -> Result<()> {
        self.must_own("change how objects are locked")?;
        if settings.is_some_and(|settings| !settings.is_legal()) {
            let message = "objects are locked for 1 to 36,500 days, in generations of 1 to 366 days";
            return Err(Error::new(Kind::Input, message));
        }
        if settings.is_some() {
            for replica in &self.replicas {
                must_have_locks(replica).await?;
            }
        }
        let here: Vec<ReplicaId> =
            self.replicas.iter().filter_map(|replica| replica.state().replica()).collect();
        let settled = |config: &Config| {
            let mut config = config.clone();
            settle(&mut config, &here, settings);
            Ok(config)
        };
        self.change_settings(now, settled).await
    }
}

/// Puts these settings in the place of what was settled for these replicas.
fn settle(config: &mut Config, replicas: &[ReplicaId], settings: Option<LockSettings>) {
    config.locks.retain(|(id, _)| !replicas.contains(id));
    config.locks.extend(settings.into_iter().flat_map(|lock| replicas.iter().map(move |id| (*id, lock))));
    config.locks.sort_unstable_by_key(|(id, _)| *id);
}
