//! Opening a vault on all of its replicas that answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use shudao_mover::backup::ReplicaOutcome;
use shudao_vault::client::client_id;
use shudao_vault::keys::share::Share;
use shudao_vault::keys::{Unlock, recipient};
use shudao_vault::remembered::{self, OnRollback};
use shudao_vault::replica::Replica;
use shudao_vault::store::{Address, RetryPolicy, Store, StoreOptions};
use shudao_vault::vault::{Lagging, Vault, chain, must_be_siblings};
use shudao_vault::{Error, Kind};
use tokio::sync::{Mutex, MutexGuard};

use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::path::escaped;
use crate::cli::report::{ReplicaState, Totals};
use crate::cli::request::Access;
use crate::cli::secret::Credential;
use crate::cli::show;

/// Attempts at a request where there are other replicas to turn to: about two seconds of pauses.
const ATTEMPTS_AMONG_SEVERAL: u32 = 4;

/// Whether a key is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The credential is read or asked for once it is known that a vault is there.
    WithKey,
    /// Nobody is asked for anything.
    WithoutKey,
}

/// An open vault.
pub(crate) struct OpenVault {
    pub(super) access: Access,
    held: Held,
    /// Every replica that was named, in that order.
    named: Vec<Named>,
}

/// A replica as it was named.
struct Named {
    address: String,
    name: String,
    /// Whether it could be opened.
    is_open: bool,
    /// Whether it lacks a change that was made by this command.
    is_behind: AtomicBool,
}

enum Held {
    WithKey(Box<Mutex<Vault>>),
    WithoutKey(Vec<Replica>),
}

/// The replicas that could be opened, at least one.
pub(super) enum Replicas<'a> {
    Locked(MutexGuard<'a, Vault>),
    Plain(&'a [Replica]),
}

impl std::ops::Deref for Replicas<'_> {
    type Target = [Replica];

    fn deref(&self) -> &[Replica] {
        match self {
            Self::Locked(vault) => vault.replicas(),
            Self::Plain(replicas) => replicas,
        }
    }
}

impl OpenVault {
    /// The vault with its keys.
    pub(super) fn opened(&self) -> Result<&Mutex<Vault>> {
        match &self.held {
            Held::WithKey(vault) => Ok(vault),
            Held::WithoutKey(_) => Err(Error::new(Kind::Bug, "a key is needed here").into()),
        }
    }

    /// The replicas that could be opened, with or without keys; the first one counts as the first everywhere.
    pub(super) async fn replicas(&self) -> Replicas<'_> {
        match &self.held {
            Held::WithKey(vault) => Replicas::Locked(vault.lock().await),
            Held::WithoutKey(replicas) => Replicas::Plain(replicas),
        }
    }

    /// A summary's common part before anything is counted: who took part.
    pub(crate) fn totals(&self) -> Totals {
        let replicas = self.named.iter().map(|named| named.state(named.is_open)).collect();
        Totals { replicas, ..Totals::default() }
    }

    /// The same after a change: a replica that was named and did not take it is behind.
    pub(crate) fn totals_of_change(&self) -> Totals {
        let took = |named: &Named| named.is_open && !named.is_behind.load(Ordering::Relaxed);
        let replicas: Vec<_> = self.named.iter().map(|named| named.state(took(named))).collect();
        let mut totals = Totals { replicas, ..Totals::default() };
        totals.warnings.replica_behind = self.named.iter().filter(|named| !took(named)).count() as u64;
        totals
    }

    /// After a backup: says of each replica that was named whether the snapshot is committed there, and by how much it is
    /// behind if not. Of one that could not be opened at least this run's objects are missing.
    pub(super) fn report_replicas(&self, ctx: &Context, outcomes: &[ReplicaOutcome], totals: &mut Totals) {
        let mut outcomes = outcomes.iter();
        for named in &self.named {
            let mut state = named.state(false);
            let outcome = if named.is_open { outcomes.next() } else { None };
            match outcome {
                Some(ReplicaOutcome { failure: None, .. }) => state.committed = true,
                Some(ReplicaOutcome { failure: Some(error), objects_behind, bytes_behind, .. }) => {
                    state.objects_behind = *objects_behind;
                    ctx.output.warning(&Notice::ReplicaBehind {
                        address: escaped(&named.address),
                        objects: show::count(*objects_behind),
                        bytes: show::bytes(*bytes_behind),
                        why: escaped(&chain(error)),
                    });
                }
                // A dry run, or one that could not be opened, of which a warning was given then.
                None => {}
            }
            let is_behind = outcome.is_some_and(|outcome| !outcome.is_committed()) || !named.is_open;
            totals.warnings.replica_behind += u64::from(is_behind);
            totals.replicas.push(state);
        }
    }

    /// The addresses of the replicas that could be opened, in the order of [`OpenVault::replicas`].
    pub(super) fn addresses(&self) -> Vec<&str> {
        self.named.iter().filter(|named| named.is_open).map(|named| named.address.as_str()).collect()
    }

    /// After a change: remembers what this client has appended, so that a replica which loses it is noticed, and tells of
    /// replicas that did not take the change; then sees to it that the next opening is quick. What was done stands whatever
    /// comes of this, so there are warnings only.
    pub(super) async fn settle(&self, ctx: &Context, vault: &mut Vault) {
        for Lagging { place, error } in vault.take_lagging() {
            let Some(named) = self.named.iter().filter(|named| named.is_open).nth(place) else { continue };
            named.is_behind.store(true, Ordering::Relaxed);
            let (address, why) = (escaped(&named.address), escaped(&chain(&error)));
            ctx.output.warning(&Notice::ReplicaLagging { address, why });
        }
        for replica in vault.replicas() {
            if let Err(error) = remembered::remember_growth(&self.access.state_dir, replica) {
                ctx.output.warning(&Notice::Plain { text: escaped(&chain(&error)) });
            }
        }
        vault.checkpoint_logs().await;
    }
}

impl Named {
    fn state(&self, committed: bool) -> ReplicaState {
        let Self { address, name, .. } = self;
        ReplicaState { address: address.clone(), name: name.clone(), committed, objects_behind: 0 }
    }
}

/// Opens the vault; with a key, [`Context::credential`] gives what opens it.
pub(crate) async fn open(ctx: &Context, access: &Access, opening: Opening) -> Result<OpenVault> {
    open_limited(ctx, access, opening, None).await
}

/// The same with a bound on the bytes a second that go to and from each replica's store.
pub(crate) async fn open_limited(
    ctx: &Context,
    access: &Access,
    opening: Opening,
    limit_bytes_per_second: Option<u64>,
) -> Result<OpenVault> {
    let opened = join_all(access.replicas.iter().map(|address| async move {
        let is_alone = access.replicas.len() == 1;
        let wishes = StoreWishes {
            cloud: &access.cloud,
            limit_bytes_per_second,
            is_among_several: !is_alone,
            state_dir: &access.state_dir,
        };
        let store = store(address, wishes).await?;
        Replica::open(store).await.map_err(Failure::from)
    }));
    let (mut replicas, mut named, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (address, opened) in access.replicas.iter().zip(opened.await) {
        let mut name = address.clone();
        let is_open = opened.is_ok();
        match opened {
            Ok(replica) => {
                name = replica.state().replica_name().to_owned();
                replicas.push(replica);
            }
            // What is wrong with the command line is not made right by another replica.
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            Err(failure) => failures.push((address, failure)),
        }
        named.push(Named { address: address.clone(), name, is_open, is_behind: AtomicBool::new(false) });
    }
    if replicas.is_empty() {
        let first = failures.into_iter().next().map(|(_, failure)| failure);
        return Err(first.unwrap_or_else(|| Failure::usage(Problem::NoVaultNamed {}, Hint::NameVault {})));
    }
    must_be_siblings(&replicas)?;
    for (address, failure) in failures {
        let mut why = vec![failure.problem().text(ctx.output.lang())];
        why.extend(failure.causes().iter().cloned());
        let (address, why) = (escaped(address), escaped(&why.join(": ")));
        ctx.output.warning(&Notice::ReplicaAbsent { address, why });
    }
    let on_rollback = if access.accept_rollback { OnRollback::Accept } else { OnRollback::Refuse };
    for replica in &replicas {
        remember(&access.state_dir, replica, on_rollback).await?;
    }
    let held = match opening {
        Opening::WithoutKey => Held::WithoutKey(replicas),
        Opening::WithKey => {
            let credential = ctx.credential(access)?;
            let vault = unlock(replicas, &credential, &access.cache_dir).await?;
            for problem in vault.problems() {
                let text = escaped(&format!("{}: {}", problem.object, problem.what));
                ctx.output.warning(&Notice::Plain { text });
            }
            Held::WithKey(Box::new(Mutex::new(vault)))
        }
    };
    Ok(OpenVault { access: access.clone(), held, named })
}

/// Refuses a replica that went back or forked since it was last seen from here.
pub(super) async fn remember(state_dir: &Path, replica: &Replica, on_rollback: OnRollback) -> Result<()> {
    let compared = remembered::compare_and_remember(state_dir, replica, on_rollback).await;
    compared.map_err(|error| match error.kind() {
        Kind::Conflict => Failure::from(error).with_hint(Hint::AcceptRollback {}),
        _ => error.into(),
    })
}

async fn unlock(replicas: Vec<Replica>, credential: &Credential, cache: &Path) -> Result<Vault> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match credential {
        Credential::Password(password) => {
            Vault::open_all(replicas, &Unlock::Passphrase(password.as_str()), Some(cache)).await?
        }
        Credential::Identity(bytes) => {
            let secret = recipient::parse_identity(&text(bytes.as_bytes()))?;
            Vault::open_all(replicas, &Unlock::Identity(&secret), Some(cache)).await?
        }
        Credential::Shares(files) => {
            let shares: Vec<Share> = files
                .iter()
                .map(|file| text(file.as_bytes()).trim().parse::<Share>())
                .collect::<shudao_vault::Result<_>>()?;
            Vault::open_all(replicas, &Unlock::Shares(&shares), Some(cache)).await?
        }
    })
}

/// How a store is to be opened, beside its address.
pub(super) struct StoreWishes<'a> {
    /// `AWS_*` variables.
    pub(super) cloud: &'a BTreeMap<String, String>,
    /// A bound on the bytes a second that go to and from it.
    pub(super) limit_bytes_per_second: Option<u64>,
    /// There are others to turn to when it does not answer.
    pub(super) is_among_several: bool,
    /// Where this client's name is.
    pub(super) state_dir: &'a Path,
}

/// The store at an address. Nothing is asked of it yet.
pub(super) async fn store(address: &str, wishes: StoreWishes<'_>) -> Result<Store> {
    let mut retry = RetryPolicy::default();
    if wishes.is_among_several {
        retry.attempts_max = ATTEMPTS_AMONG_SEVERAL;
    }
    let options = StoreOptions {
        credentials: wishes.cloud.clone(),
        bandwidth_bytes_per_second: wishes.limit_bytes_per_second,
        seed: u64::from_le_bytes(shudao_vault::suite::random()),
        retry,
        client: Some(client_id(wishes.state_dir)?),
        ..StoreOptions::default()
    };
    Ok(Store::open(&Address::parse(address)?, &options).await?)
}
