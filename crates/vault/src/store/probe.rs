//! What a store can do, found out by doing it.

use bytes::Bytes;
use futures_util::future::join_all;

use crate::error::{Error, Kind, Result};
use crate::id::to_hex;
use crate::suite::random;

use super::backend::Trust;
use super::{Creation, Store};

/// How many creations of one name race each other.
const RACERS: u8 = 4;
/// How many races are run: a store that lets the last one win may look right once.
const RACES: u32 = 2;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Of several creations of one name exactly one succeeds, and nothing replaces its object afterwards. Without
    /// it only one client may write to the store.
    pub create_if_absent: bool,
}

impl Store {
    /// Races creations of fresh names under `probe/`, reads back who won, and removes the object where it may.
    /// The store then behaves as [`Store::assume`] of the answer says.
    ///
    /// The answer holds for the bucket in its present versioning and lock state only.
    ///
    /// # Errors
    /// Those of creating and reading: a store that cannot be written to shows here.
    pub async fn probe(&self) -> Result<Capabilities> {
        let mut create_if_absent = self.inner.backend.claims_create_if_absent();
        for _ in 0..RACES {
            let name = format!("probe/{}", to_hex(&random::<16>()));
            let outcome =
                if create_if_absent { self.race(&name).await } else { self.write_once(&name).await };
            // A client's rights may not include deletion; an object of 17 bytes stays behind then.
            let _ = self.delete(&name).await;
            create_if_absent = outcome?;
        }
        let capabilities = Capabilities { create_if_absent };
        self.assume(capabilities);
        Ok(capabilities)
    }

    /// Whether exactly one of several creations of `name` wins and stays.
    async fn race(&self, name: &str) -> Result<bool> {
        let nonce = random::<16>();
        let entry = |racer: u8| Bytes::from([&nonce[..], &[racer]].concat());
        let racers = (0..RACERS).map(|racer| self.create_under(name, entry(racer), Trust::Atomic));
        let mut winners = Vec::new();
        for (racer, outcome) in (0..).zip(join_all(racers).await) {
            match outcome {
                Ok(Creation::New) => winners.push(racer),
                Ok(Creation::Exists) => {}
                // A server that does not know the condition and says so.
                Err(error) if error.kind() == Kind::Unsupported => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let [winner] = winners[..] else { return Ok(false) };
        let late = self.create_under(name, entry(RACERS), Trust::Atomic).await?;
        Ok(late == Creation::Exists && self.read(name).await? == entry(winner))
    }

    /// Writes and reads `name` without a condition; answers that there is no create-if-absent.
    async fn write_once(&self, name: &str) -> Result<bool> {
        let entry = Bytes::from(random::<17>().to_vec());
        self.create_under(name, entry.clone(), Trust::Never).await?;
        if self.read(name).await? == entry {
            return Ok(false);
        }
        Err(Error::damaged(format!("read {name}: the store gives back other bytes than it was given")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_strict_store_passes_and_keeps_nothing_of_the_probe() {
        let store = Store::memory();
        assert_eq!(store.probe().await.unwrap(), Capabilities { create_if_absent: true });
        assert_eq!(store.list("").await.unwrap(), []);
    }
}
