//! `shudao hold`

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, HoldChange, Opening};
use super::failure::{Exit, Result};
use super::messages::Notice;
use super::parse::SnapshotName;
use super::report::Totals;
use super::request::SnapshotChoice;
use super::show;

/// Protect a snapshot from being forgotten, until it is released
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// A snapshot's id or the beginning of it, or `latest`
    #[arg(value_name = "SNAP")]
    snapshot: SnapshotName,
    /// Lift the protection
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: HoldArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let choice = SnapshotChoice { name: args.snapshot, selection: ctx.selection(&args.select) };
    let change = if args.release { HoldChange::Release } else { HoldChange::Hold };
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let snapshot = engine::hold(ctx, &vault, &choice, change).await?;
    let short = show::short_id(&snapshot.snapshot);
    ctx.output.say(&match change {
        HoldChange::Hold => Notice::Held { snapshot: short },
        HoldChange::Release => Notice::Released { snapshot: short },
    })?;
    ctx.output.object("snapshot", &snapshot)?;
    let totals = Totals { snapshot: Some(snapshot.snapshot.clone()), ..vault.totals_of_change() };
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &serde_json::json!({ "held": snapshot.held }))?;
    Ok(exit)
}
