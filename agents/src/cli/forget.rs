//! `shudao forget`

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Notice, Problem};
use super::parse::SnapshotName;
use super::request::SnapshotChoice;
use super::{show, snapshots};

/// Drop snapshots: shows the plan, acts with --yes.
///
/// A forgotten snapshot does not come back. Its space stays used until the vault is collected.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Snapshots: their ids or the beginnings of them, or `latest`
    #[arg(value_name = "SNAP", required = true)]
    snapshots: Vec<SnapshotName>,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: ForgetArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let selection = ctx.selection(&args.select);
    let choices: Vec<_> = args
        .snapshots
        .into_iter()
        .map(|name| SnapshotChoice { name, selection: selection.clone() })
        .collect();
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let plan = engine::plan_forget(ctx, &vault, &choices).await?;
    snapshots::print(ctx, &plan.forget)?;
    if let Some(held) = plan.held.first() {
        let problem = Problem::SnapshotHeld { snapshot: show::short_id(&held.snapshot) };
        return Err(Failure::usage(problem, Hint::ReleaseFirst {}));
    }
    let count = show::count(plan.forget.len() as u64);
    ctx.output.say(&Notice::ForgetPlan { count: count.clone() })?;
    if !args.yes {
        return Err(ctx.unconfirmed());
    }
    let totals = engine::forget(ctx, &vault, &plan).await?;
    ctx.output.say(&Notice::Forgotten { count })?;
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &serde_json::json!({ "forgotten": plan.forget.len() }))?;
    Ok(exit)
}
