//! `shudao vault info`

use clap::Args;

use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, Opening};
use crate::cli::failure::{Exit, Result};
use crate::cli::messages::Notice;
use crate::cli::path::escaped;
use crate::cli::show;

/// Show what the vault is: id, format, keys, features
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: InfoArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithoutKey).await?;
    let info = engine::info(ctx, &vault).await?;
    let lines = [
        Notice::InfoVault { vault: info.vault.clone() },
        Notice::InfoOwner { key: info.owner_key.clone() },
        Notice::InfoFormat { version: info.format_version, suite: escaped(&info.suite) },
        Notice::InfoCreated { time: show::time(info.created, &ctx.zone) },
        Notice::InfoCounts { keys: info.keys, snapshots: info.snapshots },
        if info.trusts_writers { Notice::InfoTrusting {} } else { Notice::InfoNotTrusting {} },
        if info.erasable { Notice::InfoErasable {} } else { Notice::InfoNotErasable {} },
    ];
    for line in &lines {
        ctx.output.line(&line.text(ctx.output.lang()))?;
    }
    if let Some(client) = info.single_writer.clone() {
        ctx.output.line(&Notice::InfoSingleWriter { client }.text(ctx.output.lang()))?;
    }
    if !info.features.is_empty() {
        let features = escaped(&info.features.join(", "));
        ctx.output.line(&Notice::InfoFeatures { features }.text(ctx.output.lang()))?;
    }
    ctx.summary(&vault.totals(), &info)?;
    Ok(Exit::Done)
}
