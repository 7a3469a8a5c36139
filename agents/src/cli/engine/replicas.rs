//! A vault's replicas: how each is, one more, one fewer, and bringing them level.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_vault::log::Config;
use shudao_vault::remembered::OnRollback;
use shudao_vault::replica::Replica;
use shudao_vault::replicas::Siblings;
use shudao_vault::sync::{SyncProgress, Synced, behind, sync};
use shudao_vault::vault::Place;

use super::open::{StoreWishes, remember, store};
use super::{OpenVault, mirror, now, writer};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::progress::Progress;
use crate::cli::report::{ReplicaStatus, SyncFailure, SyncLine};
use crate::cli::stop::Stop;

/// How each of the replicas is that could be opened.
pub(crate) async fn replica_list(vault: &OpenVault) -> Result<Vec<ReplicaStatus>> {
    let replicas = vault.replicas().await;
    let mut lines = Vec::new();
    for (place, address) in vault.addresses().into_iter().enumerate() {
        let behind = behind(&replicas, place, now()).await?;
        let state = replicas[place].state();
        lines.push(ReplicaStatus {
            address: address.to_owned(),
            name: state.replica_name().to_owned(),
            replica: state.replica().unwrap_or_default().to_hex(),
            log_entries: state.next(),
            snapshots: state.visible().len() as u64,
            held: state.visible().keys().filter(|id| state.is_held(id)).count() as u64,
            open_sessions: state.open_sessions().count() as u64,
            bad_frames: state.bad_frames() as u64,
            snapshots_behind: behind.snapshots,
            objects_behind: behind.objects,
            bytes_behind: behind.bytes,
            locks: None,
        });
    }
    Ok(lines)
}

/// Names of replicas in the vault's settings that are not among those that could be opened.
pub(crate) async fn replicas_elsewhere(vault: &OpenVault) -> Vec<String> {
    let replicas = vault.replicas().await;
    let here: Vec<_> = replicas.iter().filter_map(|replica| replica.state().replica()).collect();
    let latest = replicas.iter().map(Replica::state).max_by_key(|state| state.config_serial());
    let config: Option<&Config> = latest.map(|state| state.config());
    let named = config.into_iter().flat_map(|config| &config.replicas);
    named.filter(|(id, _)| !here.contains(id)).map(|(_, name)| name.clone()).collect()
}

/// Makes one more replica and brings it level with the others.
pub(crate) async fn replica_add(
    ctx: &Context,
    vault: &OpenVault,
    address: &str,
    name: &str,
    progress: &Progress,
) -> Result<Vec<SyncLine>> {
    let mut opened = vault.opened()?.lock().await;
    opened.must_own("add replicas")?;
    vault.must_write(opened.replicas()).await?;
    let wishes = StoreWishes {
        cloud: &vault.access.cloud,
        limit_bytes_per_second: None,
        is_among_several: false,
        state_dir: &vault.access.state_dir,
    };
    let store = store(address, wishes).await?;
    writer::prepare(ctx, &store, address, &vault.access.state_dir).await?;
    let added = opened.add_replica(Place { store, name }, now()).await;
    vault.settle(ctx, &mut opened).await;
    let mut added = added?;
    let mut lines = Vec::new();
    for (place, from) in vault.addresses().into_iter().enumerate() {
        let sources = opened.siblings().clone();
        let from_replica = &opened.replicas()[place];
        let synced = bring(from_replica, &mut added, &sources, (progress, &ctx.stop)).await?;
        lines.push(line(from, address, &synced));
    }
    remember(&vault.access.state_dir, &added, OnRollback::Accept).await?;
    ctx.stop.check()?;
    Ok(lines)
}

/// Strikes a replica out of the settings.
pub(crate) async fn replica_remove(ctx: &Context, vault: &OpenVault, name: &str) -> Result<()> {
    let mut opened = vault.opened()?.lock().await;
    let removed = opened.remove_replica(name, now()).await;
    vault.settle(ctx, &mut opened).await;
    Ok(removed?)
}

/// Which replicas are brought level with which, by their places among the opened ones.
pub(crate) fn sync_pairs(count: usize) -> Vec<(usize, usize)> {
    let pairs = (0..count).flat_map(|to| (0..count).map(move |from| (from, to)));
    pairs.filter(|(from, to)| from != to).collect()
}

/// Brings one replica level with another; no key is needed.
pub(crate) async fn replica_sync(
    ctx: &Context,
    vault: &OpenVault,
    (from, to): (usize, usize),
    progress: &Progress,
) -> Result<SyncLine> {
    let addresses = vault.addresses();
    let line = {
        let replicas = vault.replicas().await;
        let sources = Siblings::new(replicas.iter().map(|replica| replica.objects().clone())).except(to);
        // Only the target is written to; the others are read.
        replicas[to].must_be_writer()?;
        let (mut source, mut target) = (replicas[from].clone(), replicas[to].clone());
        // An earlier pair may have appended to either since they were opened.
        source.catch_up().await?;
        target.catch_up().await?;
        let synced = bring(&source, &mut target, &sources, (progress, &ctx.stop)).await?;
        remember(&vault.access.state_dir, &target, OnRollback::Refuse).await?;
        line(addresses[from], addresses[to], &synced)
    };
    ctx.stop.check()?;
    Ok(line)
}

async fn bring(
    from: &Replica,
    to: &mut Replica,
    sources: &Siblings,
    (progress, stop): (&Progress, &Stop),
) -> shudao_vault::Result<Synced> {
    let counters = Arc::new(SyncProgress { stop: stop.flag(), ..SyncProgress::default() });
    let shown = Arc::clone(&counters);
    let mirroring = mirror(progress, move |progress| {
        progress.files_done.store(shown.snapshots.load(Ordering::Relaxed), Ordering::Relaxed);
        progress.files_total.store(shown.snapshots_expected.load(Ordering::Relaxed), Ordering::Relaxed);
        progress.bytes_done.store(shown.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Ok(current) = shown.current.lock() {
            progress.set_current(&current);
        }
    });
    mirroring.until(sync(from, to, sources, &now, &counters)).await
}

fn line(from: &str, to: &str, synced: &Synced) -> SyncLine {
    let failure = |failed: &shudao_vault::sync::Failed| SyncFailure {
        what: failed.what.clone(),
        why: failed.why.clone(),
    };
    SyncLine {
        from: from.to_owned(),
        to: to.to_owned(),
        snapshots: synced.snapshots.iter().map(|id| id.to_hex()).collect(),
        statements: synced.statements,
        objects: synced.copied.objects,
        bytes: synced.copied.bytes,
        failed: synced.failed.iter().map(failure).collect(),
    }
}
