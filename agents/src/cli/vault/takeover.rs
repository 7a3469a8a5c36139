//! `shudao vault takeover`

use clap::Args;

use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, Opening};
use crate::cli::failure::{Exit, Result};
use crate::cli::messages::Notice;

/// Make this client the one that alone may write to the vault; needs the owner's key.
///
/// For vaults with a store that cannot create objects only if they are absent. The client that was named before must not
/// write any more: make sure that nothing runs there.
#[derive(Debug, Args)]
pub(crate) struct TakeoverArgs {
    /// Do it; without this only what it would do is shown
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: TakeoverArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let plan = engine::plan_takeover(&vault).await?;
    ctx.output.say(&match &plan.before {
        Some(before) => Notice::TakeoverFrom { before: before.clone(), client: plan.client.clone() },
        None => Notice::TakeoverFirst { client: plan.client.clone() },
    })?;
    ctx.output.object("takeover", &plan)?;
    ctx.output.notice(&Notice::TakeoverRisk {});
    if !args.yes {
        return Err(ctx.unconfirmed());
    }
    engine::takeover(ctx, &vault).await?;
    ctx.output.say(&Notice::TakenOver { client: plan.client.clone() })?;
    let totals = vault.totals_of_change();
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &plan)?;
    Ok(exit)
}
