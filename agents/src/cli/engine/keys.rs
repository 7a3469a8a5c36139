//! What a vault is, how it is, and who may open it.

use shudao_vault::id::{SlotId, WriterId};
use shudao_vault::keys::slot::{Lock, Method};
use shudao_vault::keys::{passphrase, recipient};
use shudao_vault::suite::KdfCost;
use shudao_vault::vault::{KeyFacts, Vault};
use shudao_vault::{Error, Kind};

use super::{OpenVault, marks, now};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::messages::Hint;
use crate::cli::report::{KeyAdded, KeyLine, KeyRotated, SnapshotLine, SourceStatus, VaultInfo, VaultStatus};
use crate::cli::request::{KeyAddRequest, NewSecret, Selection};

/// The label of the slot that a recovery kit opens.
pub(super) const RECOVERY_LABEL: &str = "recovery kit";

/// What the vault is.
pub(crate) async fn info(_ctx: &Context, vault: &OpenVault) -> Result<VaultInfo> {
    let replicas = vault.replicas().await;
    let replica = &replicas[0];
    let keys = replica.keys().await?;
    let state = replica.state();
    Ok(VaultInfo {
        vault: replica.vault_id().to_hex(),
        owner_key: passphrase::fingerprint(replica.file()),
        format_version: replica.file().format,
        suite: replica.file().suite.clone(),
        created: replica.born().await?,
        trusts_writers: state.config().trust_writers,
        erasable: keys.iter().all(|key| !matches!(key.method, Method::Passphrase { .. })),
        keys: keys.len() as u64,
        snapshots: state.visible().len() as u64,
        single_writer: state.config().single_writer.map(|client| client.to_hex()),
        features: state.config().features.iter().map(|feature| feature.name.clone()).collect(),
    })
}

/// How the vault is.
pub(crate) async fn status(ctx: &Context, vault: &OpenVault) -> Result<VaultStatus> {
    let lines = super::snapshots(ctx, vault, &Selection::default()).await?;
    let mut sources: Vec<SourceStatus> = Vec::new();
    for line in lines {
        match sources.iter_mut().find(|source| source.source == line.source) {
            Some(source) => {
                source.snapshots += 1;
                if line.time >= source.latest_time {
                    source.latest_time = line.time;
                    source.latest = line.snapshot;
                }
            }
            None => sources.push(SourceStatus {
                source: line.source,
                snapshots: 1,
                latest: line.snapshot,
                latest_time: line.time,
            }),
        }
    }
    let mut replicas = super::replica_list(vault).await?;
    for (replica, locks) in replicas.iter_mut().zip(super::lock_samples(vault).await) {
        replica.locks = locks;
    }
    let unfinished = shudao_mover::restore::unfinished(&marks(&vault.access.state_dir)).unwrap_or_default();
    let mut unfinished: Vec<String> = unfinished.iter().map(|found| found.to.display().to_string()).collect();
    unfinished.dedup();
    Ok(VaultStatus { replicas, sources, unfinished_restores: unfinished })
}

/// The key slots that stand.
pub(crate) async fn key_list(_ctx: &Context, vault: &OpenVault) -> Result<Vec<KeyLine>> {
    let vault = vault.opened()?.lock().await;
    let keys = vault.replica().keys().await?;
    Ok(keys.iter().map(|key| line(&vault, key)).collect())
}

fn line(vault: &Vault, key: &KeyFacts) -> KeyLine {
    let slot = match key.method {
        Method::Passphrase { .. } if key.label == RECOVERY_LABEL => "recovery",
        Method::Passphrase { .. } => "password",
        Method::Recipient => "recipient",
        Method::Shares { .. } => "shares",
    };
    KeyLine {
        key: key.slot.to_hex(),
        role: key.role.name().to_owned(),
        slot: slot.to_owned(),
        added: key.created,
        current: vault.opened_slot() == key.slot,
        holder: key.holder.to_hex(),
    }
}

/// Adds a key slot.
pub(crate) async fn key_add(ctx: &Context, vault: &OpenVault, request: KeyAddRequest) -> Result<KeyAdded> {
    let mut opened = vault.opened()?.lock().await;
    let predecessors = match &request.after {
        Some(prefix) => vec![holder(&opened, prefix).await?],
        None => Vec::new(),
    };
    let public;
    let lock = match &request.secret {
        NewSecret::Password(password) => Lock::Passphrase(password.as_str(), KdfCost::STANDARD),
        NewSecret::Recipient(bytes) => {
            public = recipient::parse_recipient(&String::from_utf8_lossy(bytes))?;
            Lock::Recipient(&public)
        }
        NewSecret::Shares(shares) => Lock::Shares { threshold: shares.needed, count: shares.total },
    };
    let label = request.role.name();
    let added = opened.add_key(request.role, label, lock, &predecessors, now()).await?;
    vault.settle(ctx, &mut opened).await;
    let keys = opened.replica().keys().await?;
    let fresh = keys.iter().find(|key| key.slot == added.slot);
    let fresh = fresh.ok_or_else(|| Error::new(Kind::Bug, "the key that was added does not stand"))?;
    let shares = added.shares.iter().map(|share| share.to_string().into()).collect();
    Ok(KeyAdded { key: line(&opened, fresh), shares })
}

fn no_key(prefix: &str) -> Failure {
    let error = Error::new(Kind::Input, format!("no key's id begins with {prefix:?}"));
    Failure::from(error).with_hint(Hint::ListKeys {})
}

/// The writer whose slot or holder id begins with `prefix`.
async fn holder(vault: &Vault, prefix: &str) -> Result<WriterId> {
    let keys = vault.replica().keys().await?;
    let prefix = prefix.to_ascii_lowercase();
    let begins =
        |key: &&KeyFacts| key.slot.to_hex().starts_with(&prefix) || key.holder.to_hex().starts_with(&prefix);
    let mut holders: Vec<WriterId> = keys.iter().filter(begins).map(|key| key.holder).collect();
    holders.sort_unstable();
    holders.dedup();
    match holders[..] {
        [holder] => Ok(holder),
        [] => Err(no_key(&prefix)),
        _ => Err(Error::new(Kind::Input, format!("several keys begin with {prefix:?}")).into()),
    }
}

/// The visible snapshots that the holder of `key` made, if this is the holder's last key.
pub(crate) async fn key_made(ctx: &Context, vault: &OpenVault, key: &KeyLine) -> Result<Vec<SnapshotLine>> {
    let keys = key_list(ctx, vault).await?;
    if keys.iter().any(|other| other.holder == key.holder && other.key != key.key) {
        return Ok(Vec::new());
    }
    let mut made = super::snapshots(ctx, vault, &Selection::default()).await?;
    made.retain(|snapshot| snapshot.writer == key.holder);
    Ok(made)
}

/// The one key slot whose id begins with `prefix`.
pub(crate) async fn key_find(_ctx: &Context, vault: &OpenVault, prefix: &str) -> Result<KeyLine> {
    let vault = vault.opened()?.lock().await;
    let keys = vault.replica().keys().await?;
    let prefix = prefix.to_ascii_lowercase();
    let mut found = keys.iter().filter(|key| key.slot.to_hex().starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(line(&vault, key)),
        (None, _) => Err(no_key(&prefix)),
        (Some(_), Some(_)) => {
            Err(Error::new(Kind::Input, format!("several keys begin with {prefix:?}; give more digits"))
                .into())
        }
    }
}

/// Removes the key slot with this id.
pub(crate) async fn key_remove(ctx: &Context, vault: &OpenVault, key: &str) -> Result<()> {
    let slot: SlotId = key.parse()?;
    let mut opened = vault.opened()?.lock().await;
    opened.remove_key(slot, now()).await?;
    vault.settle(ctx, &mut opened).await;
    Ok(())
}

/// Adds a generation of the read and metadata keys.
pub(crate) async fn key_rotate(ctx: &Context, vault: &OpenVault) -> Result<KeyRotated> {
    let mut opened = vault.opened()?.lock().await;
    let generation = opened.rotate_keys(now()).await?;
    vault.settle(ctx, &mut opened).await;
    Ok(KeyRotated { generation })
}
