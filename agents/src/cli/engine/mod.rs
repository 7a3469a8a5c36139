//! The seam to the engines in the other crates: the only place of the command line that calls them.
//!
//! Each function takes a request, calls the engine and turns its result into a report. None prints; paths that went
//! wrong are handed to [`super::output::Output::path_warning`].

mod collect;
mod keep;
mod keys;
mod locks;
mod open;
mod pin;
mod proof;
mod replicas;
mod snapshots;
mod survey;
mod transfer;
mod writer;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shudao_mover::chunker::Profiles;
use shudao_vault::id::Timestamp;
use shudao_vault::keys::slot::Lock;
use shudao_vault::keys::{passphrase, recipient};
use shudao_vault::log::Config;
use shudao_vault::remembered::OnRollback;
use shudao_vault::replica::Replica;
use shudao_vault::suite::KdfCost;
use shudao_vault::vault::{CreateOptions, Place, Vault};
use shudao_vault::{Error, Kind};

pub(crate) use collect::{collect, collected_replicas, plan_collection};
pub(crate) use keep::{HoldChange, forget, hold, plan_forget, plan_retention};
pub(crate) use keys::{info, key_add, key_find, key_list, key_made, key_remove, key_rotate, status};
pub(crate) use locks::{lock, lock_at, lock_plans, lock_review, lock_samples, set_locks, warn_of_locks};
pub(crate) use open::{OpenVault, Opening, open, open_limited};
pub(crate) use proof::{check, verify};
pub(crate) use replicas::{
    replica_add, replica_list, replica_remove, replica_sync, replicas_elsewhere, sync_pairs,
};
pub(crate) use snapshots::{cat, diff, ls, snapshots};
pub(crate) use survey::survey;
pub(crate) use transfer::{backup, plan_deletions, restore};
pub(crate) use writer::{plan_takeover, takeover};

use open::{StoreWishes, remember, store};

use super::context::Context;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Problem};
use super::progress::Progress;
use super::report::InitReport;
use super::request::{InitRequest, OwnerSecret};

/// How often counters of an engine are copied to those that are drawn.
const MIRROR_EVERY: Duration = Duration::from_millis(100);

/// Takes lines as they are found; an error ends the walk.
pub(crate) type Sink<'a, T> = &'a mut dyn FnMut(T) -> Result<()>;

/// Makes a vault, on one replica or on several.
pub(crate) async fn init(ctx: &Context, request: InitRequest) -> Result<InitReport> {
    let public;
    let owner = match &request.owner {
        OwnerSecret::Password(password) => Lock::Passphrase(password.as_str(), KdfCost::STANDARD),
        OwnerSecret::Recipient(bytes) => {
            public = recipient::parse_recipient(&String::from_utf8_lossy(bytes))?;
            Lock::Recipient(&public)
        }
    };
    let mut places = Vec::new();
    for address in &request.replicas {
        let wishes = StoreWishes {
            cloud: &request.cloud,
            limit_bytes_per_second: None,
            is_among_several: false,
            state_dir: &request.state_dir,
        };
        let store = store(address, wishes).await?;
        writer::prepare(ctx, &store, address, &request.state_dir).await?;
        places.push(Place { store, name: address });
    }
    let kit = request.recovery_kit.then(passphrase::generate_passphrase);
    let mut ways_in = vec![("owner", owner)];
    if let Some(passphrase) = &kit {
        ways_in.push((keys::RECOVERY_LABEL, Lock::Passphrase(passphrase, KdfCost::STANDARD)));
    }
    let options = CreateOptions {
        name: "",
        config: Config {
            trust_writers: request.trust_writers,
            profiles: Profiles::DEFAULT.to_settings(),
            retention: request.retention.map(|policy| policy.to_string()).unwrap_or_default(),
            ..Config::default()
        },
        ways_in,
        now: now(),
    };
    let replicas = Vault::create_on(places, options).await.map_err(|error| match error.kind() {
        Kind::Conflict => engine_failure(&error, Exit::Failed, Hint::UseVaultThere {}),
        _ => error.into(),
    })?;
    for replica in &replicas {
        remember(&request.state_dir, replica, OnRollback::Accept).await?;
    }
    let first = replicas.first().ok_or_else(|| Error::new(Kind::Bug, "a vault was made nowhere"))?;
    let id = |replica: &Replica| replica.state().replica().unwrap_or_default().to_hex();
    Ok(InitReport {
        vault: first.file().vault.to_hex(),
        replica: id(first),
        replica_ids: replicas.iter().map(id).collect(),
        recovery_kit: kit.map(|passphrase| passphrase::recovery_kit(first.file(), &passphrase)),
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
