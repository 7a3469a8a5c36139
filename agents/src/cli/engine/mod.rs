//! The seam to the engines in the other crates: the only place of the command line that calls them.
//!
//! Each function takes a request, calls the engine and turns its result into a report. None prints; paths that went
//! wrong are handed to [`super::output::Output::path_warning`].

mod collect;
mod keep;
mod keys;
mod proof;
mod snapshots;
mod survey;
mod transfer;

use std::path::{Path, PathBuf};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shudao_mover::chunker::Profile;
use shudao_vault::id::Timestamp;
use shudao_vault::keys::share::Share;
use shudao_vault::keys::slot::Lock;
use shudao_vault::keys::{Unlock, passphrase, recipient};
use shudao_vault::log::Config;
use shudao_vault::remembered::{self, OnRollback};
use shudao_vault::replica::Replica;
use shudao_vault::store::{Address, Store, StoreOptions};
use shudao_vault::suite::KdfCost;
use shudao_vault::vault::{CreateOptions, Vault};
use shudao_vault::{Error, Kind};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use collect::{collect, plan_collection};
pub(crate) use keep::{HoldChange, forget, hold, plan_forget, plan_retention};
pub(crate) use keys::{info, key_add, key_find, key_list, key_made, key_remove, key_rotate, status};
pub(crate) use proof::{check, verify};
pub(crate) use snapshots::{cat, diff, ls, snapshots};
pub(crate) use survey::survey;
pub(crate) use transfer::{backup, plan_deletions, restore};

use super::context::Context;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Problem};
use super::progress::Progress;
use super::report::{InitReport, ReplicaState, Totals};
use super::request::{Access, InitRequest};
use super::secret::Credential;

/// How often counters of an engine are copied to those that are drawn.
const MIRROR_EVERY: Duration = Duration::from_millis(100);

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
    access: Access,
    held: Held,
}

enum Held {
    WithKey(Box<Mutex<Vault>>),
    WithoutKey(Box<Replica>),
}

/// Takes lines as they are found; an error ends the walk.
pub(crate) type Sink<'a, T> = &'a mut dyn FnMut(T) -> Result<()>;

impl OpenVault {
    /// The vault with its keys.
    fn opened(&self) -> Result<&Mutex<Vault>> {
        match &self.held {
            Held::WithKey(vault) => Ok(vault),
            Held::WithoutKey(_) => Err(Error::new(Kind::Bug, "a key is needed here").into()),
        }
    }

    /// The replica, with or without keys.
    async fn replica(&self) -> ReplicaRef<'_> {
        match &self.held {
            Held::WithKey(vault) => ReplicaRef::Locked(vault.lock().await),
            Held::WithoutKey(replica) => ReplicaRef::Plain(replica),
        }
    }

    /// A summary's common part before anything is counted: the replica took part.
    pub(crate) fn totals(&self) -> Totals {
        Totals { replicas: vec![self.state(true)], ..Totals::default() }
    }

    /// Remembers what this client has appended, so that a replica which loses it is noticed. What was done stands
    /// whether or not this succeeds, so failing is a warning.
    fn remember_growth(&self, ctx: &Context, vault: &Vault) {
        if let Err(error) = remembered::remember_growth(&self.access.state_dir, vault.replica()) {
            let text = super::path::escaped(&shudao_vault::vault::chain(&error));
            ctx.output.warning(&super::messages::Notice::Plain { text });
        }
    }

    /// This replica in a summary.
    fn state(&self, committed: bool) -> ReplicaState {
        ReplicaState { address: self.access.replica.clone(), committed, objects_behind: 0 }
    }
}

enum ReplicaRef<'a> {
    Locked(MutexGuard<'a, Vault>),
    Plain(&'a Replica),
}

impl std::ops::Deref for ReplicaRef<'_> {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        match self {
            Self::Locked(vault) => vault.replica(),
            Self::Plain(replica) => replica,
        }
    }
}

/// Opens the vault; with a key, [`Context::credential`] gives what opens it.
pub(crate) async fn open(ctx: &Context, access: &Access, opening: Opening) -> Result<OpenVault> {
    open_limited(ctx, access, opening, None).await
}

/// The same with a bound on the bytes a second that go to and from the store.
pub(crate) async fn open_limited(
    ctx: &Context,
    access: &Access,
    opening: Opening,
    limit_bytes_per_second: Option<u64>,
) -> Result<OpenVault> {
    let store = store(&access.replica, &access.cloud, limit_bytes_per_second).await?;
    let replica = Replica::open(store).await?;
    let on_rollback = if access.accept_rollback { OnRollback::Accept } else { OnRollback::Refuse };
    remember(&access.state_dir, &replica, on_rollback).await?;
    let held = match opening {
        Opening::WithoutKey => Held::WithoutKey(Box::new(replica)),
        Opening::WithKey => {
            let credential = ctx.credential(access)?;
            let vault = unlock(replica, &credential, &access.cache_dir).await?;
            for problem in vault.problems() {
                let text = super::path::escaped(&format!("{}: {}", problem.object, problem.what));
                ctx.output.warning(&super::messages::Notice::Plain { text });
            }
            Held::WithKey(Box::new(Mutex::new(vault)))
        }
    };
    Ok(OpenVault { access: access.clone(), held })
}

/// Refuses a replica that went back or forked since it was last seen from here.
async fn remember(state_dir: &Path, replica: &Replica, on_rollback: OnRollback) -> Result<()> {
    let compared = remembered::compare_and_remember(state_dir, replica, on_rollback).await;
    compared.map_err(|error| match error.kind() {
        Kind::Conflict => Failure::from(error).with_hint(Hint::AcceptRollback {}),
        _ => error.into(),
    })
}

async fn unlock(replica: Replica, credential: &Credential, cache: &Path) -> Result<Vault> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match credential {
        Credential::Password(password) => {
            Vault::open(replica, &Unlock::Passphrase(password.as_str()), Some(cache)).await?
        }
        Credential::Identity(bytes) => {
            let secret = recipient::parse_identity(&text(bytes.as_bytes()))?;
            Vault::open(replica, &Unlock::Identity(&secret), Some(cache)).await?
        }
        Credential::Shares(files) => {
            let shares: Vec<Share> = files
                .iter()
                .map(|file| text(file.as_bytes()).trim().parse::<Share>())
                .collect::<shudao_vault::Result<_>>()?;
            Vault::open(replica, &Unlock::Shares(&shares), Some(cache)).await?
        }
    })
}

async fn store(
    address: &str,
    cloud: &std::collections::BTreeMap<String, String>,
    limit_bytes_per_second: Option<u64>,
) -> Result<Store> {
    let options = StoreOptions {
        credentials: cloud.clone(),
        bandwidth_bytes_per_second: limit_bytes_per_second,
        seed: u64::from_le_bytes(shudao_vault::suite::random()),
        ..StoreOptions::default()
    };
    Ok(Store::open(&Address::parse(address)?, &options).await?)
}

/// Makes a vault.
pub(crate) async fn init(_ctx: &Context, request: InitRequest) -> Result<InitReport> {
    let store = store(&request.replica, &request.cloud, None).await?;
    store.prepare().await?;
    if !store.probe().await?.create_if_absent {
        let problem = Problem::NoCreateIfAbsent { address: super::path::escaped(&request.replica) };
        return Err(Failure::new(Exit::Failed, problem, Hint::UseOtherStore {}));
    }
    let kit = request.recovery_kit.then(passphrase::generate_passphrase);
    let mut ways_in = vec![("owner", Lock::Passphrase(request.password.as_str(), KdfCost::STANDARD))];
    if let Some(passphrase) = &kit {
        ways_in.push((keys::RECOVERY_LABEL, Lock::Passphrase(passphrase, KdfCost::STANDARD)));
    }
    let options = CreateOptions {
        name: &request.replica,
        config: Config {
            trust_writers: request.trust_writers,
            profiles: vec![Profile::DEFAULT.to_settings()],
            retention: request.retention.map(|policy| policy.to_string()).unwrap_or_default(),
            ..Config::default()
        },
        ways_in,
        now: now(),
    };
    let replica = Vault::create(store, options).await.map_err(|error| match error.kind() {
        Kind::Conflict => engine_failure(&error, Exit::Failed, Hint::UseVaultThere {}),
        _ => error.into(),
    })?;
    remember(&request.state_dir, &replica, OnRollback::Accept).await?;
    let file = replica.file();
    Ok(InitReport {
        vault: file.vault.to_hex(),
        replica: replica.state().replica().unwrap_or_default().to_hex(),
        recovery_kit: kit.map(|passphrase| passphrase::recovery_kit(file, &passphrase)),
    })
}

/// A failure with an engine's own words and its causes.
fn engine_failure(error: &(dyn std::error::Error + 'static), exit: Exit, hint: Hint) -> Failure {
    let failure =
        Failure::new(exit, Problem::Engine { text: super::path::escaped(&error.to_string()) }, hint);
    match error.source() {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}

/// The system's clock, for signing and for what people read.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// [`Kind::Forbidden`] unless the key reads content.
fn must_read_content(vault: &Vault) -> Result<()> {
    if vault.ring().reads_content() {
        return Ok(());
    }
    let role = vault.ring().role.name();
    Err(Error::new(Kind::Forbidden, format!("a {role}'s key cannot read content")).into())
}

/// Where marks of files being patched in place are kept.
fn marks(state_dir: &Path) -> PathBuf {
    state_dir.join("changing")
}

/// Files below `directory` that an interrupted restore left half-changed.
fn unfinished_below(ctx: &Context, directory: &Path) -> Result<Vec<String>> {
    let state_dir = super::resolve::state_dir(&ctx.environment)?;
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let found = shudao_mover::restore::unfinished(&marks(&state_dir)).unwrap_or_default();
    let below = found
        .into_iter()
        .filter(|unfinished| unfinished.to.starts_with(&directory) || directory.starts_with(&unfinished.to));
    Ok(below.map(|unfinished| format!("{}/{}", unfinished.to.display(), unfinished.path)).collect())
}

/// Copies an engine's counters to those that are drawn, as long as the engine runs.
struct Mirror<'a> {
    copy: Box<dyn Fn(&Progress) + 'a>,
    progress: &'a Progress,
}

fn mirror<'a>(progress: &'a Progress, copy: impl Fn(&Progress) + 'a) -> Mirror<'a> {
    Mirror { copy: Box::new(copy), progress }
}

impl Mirror<'_> {
    /// Runs `work` and copies meanwhile, and once more at its end.
    async fn until<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(MIRROR_EVERY);
        loop {
            tokio::select! {
                done = &mut work => {
                    (self.copy)(self.progress);
                    return done;
                }
                _ = tick.tick() => (self.copy)(self.progress),
            }
        }
    }
}
