//! `shudao vault status`

use clap::Args;

use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, Opening};
use crate::cli::failure::{Exit, Result};
use crate::cli::messages::{Label, Notice};
use crate::cli::path::escaped;
use crate::cli::report::{LockState, ReplicaStatus, VaultStatus, lock_mode_name};
use crate::cli::show::{self, Side, Table};

/// Show how the vault is: its replicas, its sources and their newest snapshots
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: StatusArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let status = engine::status(ctx, &vault).await?;
    ctx.output.lines(&replica_table(ctx, &status.replicas).lines())?;
    let sources = source_table(ctx, &status).lines();
    if !sources.is_empty() {
        ctx.output.line("")?;
        ctx.output.lines(&sources)?;
    }
    for target in &status.unfinished_restores {
        ctx.output.warning(&Notice::UnfinishedRestore { target: escaped(target) });
    }
    status
        .replicas
        .iter()
        .for_each(|replica| engine::warn_of_locks(ctx, &replica.address, replica.locks.as_ref()));
    status.replicas.iter().try_for_each(|replica| ctx.output.object("replica", replica))?;
    status.sources.iter().try_for_each(|source| ctx.output.object("source", source))?;
    let mut totals = vault.totals();
    for (state, replica) in totals.replicas.iter_mut().filter(|state| state.committed).zip(&status.replicas) {
        state.objects_behind = replica.objects_behind;
    }
    ctx.summary(&totals, &status)?;
    Ok(Exit::Done)
}

pub(super) fn replica_table(ctx: &Context, replicas: &[ReplicaStatus]) -> Table {
    let lang = ctx.output.lang();
    let columns = [
        (Label::Name {}, Side::Left),
        (Label::Replica {}, Side::Left),
        (Label::Id {}, Side::Left),
        (Label::LogEntries {}, Side::Right),
        (Label::Snapshots {}, Side::Right),
        (Label::Held {}, Side::Right),
        (Label::OpenSessions {}, Side::Right),
        (Label::BadFrames {}, Side::Right),
        (Label::SnapshotsBehind {}, Side::Right),
        (Label::ObjectsBehind {}, Side::Right),
        (Label::BytesBehind {}, Side::Right),
        (Label::Locks {}, Side::Left),
    ];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    for replica in replicas {
        table.row([
            escaped(&replica.name),
            escaped(&replica.address),
            show::short_id(&replica.replica),
            show::count(replica.log_entries),
            show::count(replica.snapshots),
            show::count(replica.held),
            show::count(replica.open_sessions),
            show::count(replica.bad_frames),
            show::count(replica.snapshots_behind),
            show::count(replica.objects_behind),
            show::bytes(replica.bytes_behind),
            replica.locks.as_ref().map_or_else(|| "-".to_owned(), locks_cell),
        ]);
    }
    table
}

fn locks_cell(locks: &LockState) -> String {
    let mode = locks.mode.map(lock_mode_name).unwrap_or_default();
    format!("{mode} {} d", locks.keep_days)
}

fn source_table(ctx: &Context, status: &VaultStatus) -> Table {
    let lang = ctx.output.lang();
    let columns = [
        (Label::Source {}, Side::Left),
        (Label::Snapshots {}, Side::Right),
        (Label::Latest {}, Side::Left),
        (Label::Time {}, Side::Left),
    ];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    for source in &status.sources {
        table.row([
            escaped(&source.source),
            show::count(source.snapshots),
            show::short_id(&source.latest),
            show::time(source.latest_time, &ctx.zone),
        ]);
    }
    table
}
