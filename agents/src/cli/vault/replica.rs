//! `shudao vault replica`: add, list, sync, remove.

use clap::{Args, Subcommand};

use super::status::replica_table;
use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, Opening};
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::path::escaped;
use crate::cli::report::{SyncLine, Totals};
use crate::cli::show;

/// Manage the vault's replicas
#[derive(Debug, Args)]
pub(crate) struct ReplicaArgs {
    #[command(subcommand)]
    command: ReplicaCommand,
}

#[derive(Debug, Subcommand)]
enum ReplicaCommand {
    Add(ReplicaAddArgs),
    List(ReplicaListArgs),
    Sync(ReplicaSyncArgs),
    Remove(ReplicaRemoveArgs),
}

/// Make one more replica and bring it level; needs the owner's key
#[derive(Debug, Args)]
struct ReplicaAddArgs {
    /// Where: a path, file:// or s3://bucket/prefix?endpoint=...
    #[arg(value_name = "REPLICA")]
    replica: String,
    /// Its name in the vault's settings [default: its address]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Show how each replica is, and by how much it is behind the others; needs no key
#[derive(Debug, Args)]
struct ReplicaListArgs {
    #[command(flatten)]
    access: AccessArgs,
}

/// Bring replicas level with each other; needs no key.
///
/// With FROM and TO: everything that FROM shows and TO neither shows nor has forgotten. Without: all named replicas.
#[derive(Debug, Args)]
struct ReplicaSyncArgs {
    /// Copy from this one
    #[arg(value_name = "FROM", requires = "to", conflicts_with = "vault")]
    from: Option<String>,
    /// To this one
    #[arg(value_name = "TO")]
    to: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Strike a replica out of the vault's settings; deletes nothing; needs the owner's key
#[derive(Debug, Args)]
struct ReplicaRemoveArgs {
    /// Its name, as `vault replica list` shows it
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: ReplicaArgs) -> Result<Exit> {
    match args.command {
        ReplicaCommand::Add(args) => add(ctx, args).await,
        ReplicaCommand::List(args) => list(ctx, args).await,
        ReplicaCommand::Sync(args) => sync(ctx, args).await,
        ReplicaCommand::Remove(args) => remove(ctx, args).await,
    }
}

async fn add(ctx: &Context, args: ReplicaAddArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let name = args.name.unwrap_or_else(|| args.replica.clone());
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let lines = {
        let (progress, _drawn) = ctx.progress();
        engine::replica_add(ctx, &vault, &args.replica, &name, &progress).await?
    };
    ctx.output.say(&Notice::ReplicaAdded { name: escaped(&name), address: escaped(&args.replica) })?;
    finish(ctx, lines, vault.totals_of_change())
}

async fn list(ctx: &Context, args: ReplicaListArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithoutKey).await?;
    let replicas = engine::replica_list(&vault).await?;
    ctx.output.lines(&replica_table(ctx, &replicas).lines())?;
    replicas.iter().try_for_each(|replica| ctx.output.object("replica", replica))?;
    let elsewhere = engine::replicas_elsewhere(&vault).await;
    for name in &elsewhere {
        ctx.output.notice(&Notice::ReplicaElsewhere { name: escaped(name) });
    }
    ctx.summary(&vault.totals(), &serde_json::json!({ "elsewhere": elsewhere }))?;
    Ok(Exit::Done)
}

async fn sync(ctx: &Context, args: ReplicaSyncArgs) -> Result<Exit> {
    let mut named = args.access.clone();
    let pair = args.from.zip(args.to);
    if let Some((from, to)) = &pair {
        named.vault = vec![from.clone(), to.clone()];
    }
    let access = ctx.access(&named)?;
    if access.replicas.len() < 2 {
        return Err(Failure::usage(Problem::OneReplica {}, Hint::NameTwoReplicas {}));
    }
    let vault = engine::open(ctx, &access, Opening::WithoutKey).await?;
    let count = vault.totals().replicas.iter().filter(|replica| replica.committed).count();
    let pairs = match (&pair, count) {
        (Some(_), 2) => vec![(0, 1)],
        (Some(_), _) => Vec::new(),
        (None, count) => engine::sync_pairs(count),
    };
    let mut lines = Vec::new();
    for pair in pairs {
        let (progress, _drawn) = ctx.progress();
        lines.push(engine::replica_sync(ctx, &vault, pair, &progress).await?);
    }
    finish(ctx, lines, vault.totals_of_change())
}

/// Tells what was carried; what could not be is exit 3.
fn finish(ctx: &Context, lines: Vec<SyncLine>, mut totals: Totals) -> Result<Exit> {
    let mut behind = std::collections::BTreeSet::new();
    for line in &lines {
        ctx.output.say(&Notice::Synced {
            from: escaped(&line.from),
            to: escaped(&line.to),
            snapshots: show::count(line.snapshots.len() as u64),
            statements: show::count(line.statements),
            objects: show::count(line.objects),
            bytes: show::bytes(line.bytes),
        })?;
        ctx.output.object("sync", line)?;
        for failed in &line.failed {
            behind.insert(line.to.clone());
            ctx.output.warning(&Notice::NotSynced {
                to: escaped(&line.to),
                what: escaped(&failed.what),
                why: escaped(&failed.why),
            });
        }
    }
    for replica in totals.replicas.iter_mut().filter(|replica| behind.contains(&replica.address)) {
        replica.committed = false;
    }
    totals.warnings.replica_behind += behind.len() as u64;
    let exit = ctx.conclude(&totals);
    let sum = |of: fn(&SyncLine) -> u64| lines.iter().map(of).sum::<u64>();
    let own = serde_json::json!({
        "snapshots_carried": sum(|line| line.snapshots.len() as u64),
        "objects": sum(|line| line.objects),
        "bytes": sum(|line| line.bytes),
    });
    ctx.summary(&totals, &own)?;
    Ok(exit)
}

async fn remove(ctx: &Context, args: ReplicaRemoveArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    engine::replica_remove(ctx, &vault, &args.name).await?;
    ctx.output.say(&Notice::ReplicaRemoved { name: escaped(&args.name) })?;
    let totals = vault.totals_of_change();
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &serde_json::json!({ "removed": args.name }))?;
    Ok(exit)
}
