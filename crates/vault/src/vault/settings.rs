//! Changing the owner's settings, beside others who change them at the same time: rules in `docs/format/log.md` section 6.

use super::Vault;
use super::statements::in_order;
use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;
use crate::log::{Body, Config, Op, SignedStatement, Signer, State, Statement};
use crate::replica::Replica;

/// A change of the settings gives up after going round the replicas this often.
const ROUNDS_MAX: usize = 100;

/// Settings and the serial under which they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    serial: u64,
    config: Config,
}

impl Standing {
    fn on(state: &State) -> Self {
        Self { serial: state.config_serial(), config: state.config().clone() }
    }

    /// What is in force where both were heard: the later one. Two under one serial come from owners who did not reach the same
    /// replicas; then neither's replicas and locks are dropped.
    fn and(mut self, other: Self) -> Self {
        if other.serial != self.serial {
            return if other.serial > self.serial { other } else { self };
        }
        for (id, name) in other.config.replicas {
            if self.config.replicas.iter().all(|(known, _)| *known != id) {
                self.config.replicas.push((id, name));
            }
        }
        self.config.replicas.sort_unstable();
        for (id, lock) in other.config.locks {
            if self.config.locks.iter().all(|(known, _)| *known != id) {
                self.config.locks.push((id, lock));
            }
        }
        self.config.locks.sort_unstable_by_key(|(id, _)| *id);
        self
    }
}

impl Vault {
    /// Changes the settings on every opened replica. `change` gives the settings to be from those in force, and the same
    /// ones where nothing is to be changed; it is asked again on every state that the change would follow, and until all
    /// replicas that answer say the same.
    ///
    /// # Errors
    /// `change`'s own; [`Kind::Conflict`] if others change the settings faster. Replicas that did not take it are lagging.
    pub(super) async fn change_settings(
        &mut self,
        now: Timestamp,
        change: impl Fn(&Config) -> Result<Config>,
    ) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let outcomes = self.change_settings_once(now, &change).await?;
            let answered = self.replicas.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            let mut said = answered.map(|(replica, _)| Standing::on(replica.state()));
            let first = said.next();
            if said.all(|other| Some(&other) == first.as_ref()) {
                return self.settle(outcomes);
            }
        }
        let message = "change the settings: other owners changed them at the same time, again and again; see `vault \
                       replica list`, then give the command again";
        Err(Error::new(Kind::Conflict, message))
    }

    /// Goes once to every replica, in the order in which everybody does.
    async fn change_settings_once(
        &mut self,
        now: Timestamp,
        change: &impl Fn(&Config) -> Result<Config>,
    ) -> Result<Vec<Result<()>>> {
        let mut outcomes: Vec<Result<()>> = self.replicas.iter().map(|_| Ok(())).collect();
        let mut said: Option<(Standing, SignedStatement)> = None;
        for place in in_order(&self.replicas) {
            let others = self.replicas.iter().enumerate().filter(|(other, _)| *other != place);
            let others: Vec<&Replica> = others.map(|(_, replica)| replica).collect();
            let above = others.iter().map(|replica| replica.state().next_serial()).max().unwrap_or(1);
            let elsewhere = others.iter().map(|replica| Standing::on(replica.state())).reduce(Standing::and);
            let ring = std::sync::Arc::clone(&self.ring);
            let (mut tried, mut is_refused) = (None, false);
            let decide = |state: &State| {
                let here = Standing::on(state);
                let in_force = elsewhere.clone().map_or(here.clone(), |other| here.clone().and(other));
                let config = change(&in_force.config).inspect_err(|_| is_refused = true)?;
                if config == here.config && in_force.serial == here.serial {
                    return Ok(None);
                }
                let is_said =
                    |(known, _): &&(Standing, _)| known.config == config && known.serial > here.serial;
                let next = match said.as_ref().filter(is_said) {
                    Some(said) => said.clone(),
                    None => {
                        let serial = above.max(state.next_serial());
                        let body = Body::Config(config.clone());
                        let statement = Statement { author: ring.writer_id(), time: now, serial, body };
                        (Standing { serial, config }, statement.sign(ring.vault, &ring.signing)?)
                    }
                };
                tried = Some(next.clone());
                Ok(Some(Op::Publish { statement: next.1 }))
            };
            let signer = Signer { key: &self.ring.signing, time: now };
            let appended = self.replicas[place].append(signer, decide).await;
            match appended {
                Err(error) if is_refused && said.is_none() => return Err(error),
                Ok(Some(_)) => said = tried,
                Ok(None) | Err(_) => {}
            }
            outcomes[place] = appended.map(drop);
        }
        Ok(outcomes)
    }
}
