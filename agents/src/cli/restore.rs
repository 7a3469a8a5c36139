//! `shudao restore`

use std::path::PathBuf;

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Result};
use super::messages::Notice;
use super::parse::SnapshotName;
use super::path::RawPath;
use super::report::PathField;
use super::request::{RestoreRequest, SnapshotChoice};
use super::show;

/// Write a snapshot back to disk.
///
/// The snapshot's root becomes DIR, which must be empty or absent, unless --in-place is given.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A snapshot's id or the beginning of it, or `latest`
    #[arg(value_name = "SNAP")]
    snapshot: SnapshotName,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Restore only what matches this gitignore-style pattern
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what matches this gitignore-style pattern
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Write into a directory that holds files: only what differs is written
    #[arg(long)]
    in_place: bool,
    /// Delete what the snapshot lacks: shows the plan, acts with --yes
    #[arg(long, requires = "in_place")]
    delete: bool,
    /// Do it
    #[arg(long, requires = "delete")]
    yes: bool,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: Box<RestoreArgs>) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let request = RestoreRequest {
        snapshot: SnapshotChoice { name: args.snapshot.clone(), selection: ctx.selection(&args.select) },
        target: args.to.clone(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        in_place: args.in_place,
    };
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let deletions = if args.delete {
        let planned = engine::plan_deletions(ctx, &vault, &request).await?;
        show_deletions(ctx, &planned)?;
        if !args.yes && !planned.is_empty() {
            return Err(ctx.unconfirmed());
        }
        planned
    } else {
        Vec::new()
    };
    let summary = {
        let (progress, _drawn) = ctx.progress();
        engine::restore(ctx, &vault, request, &deletions, &progress).await?
    };
    ctx.output.say(&Notice::Restored {
        files: show::count(summary.totals.files),
        unchanged: show::count(summary.files_unchanged),
        written: show::bytes(summary.bytes_written),
        read: show::bytes(summary.totals.bytes_read),
        time: show::duration(ctx.elapsed()),
        rate: show::rate(summary.bytes_written, ctx.elapsed()),
        target: RawPath::from(args.to.as_path()).to_string(),
    })?;
    if args.delete {
        ctx.output.say(&Notice::Deleted { count: show::count(summary.deleted) })?;
    }
    let exit = ctx.conclude(&summary.totals);
    ctx.summary(&summary.totals, &summary)?;
    Ok(exit)
}

fn show_deletions(ctx: &Context, planned: &[RawPath]) -> Result<()> {
    for path in planned {
        ctx.output.line(&format!("- {path}"))?;
        ctx.output.object("delete", &PathField { path: path.clone() })?;
    }
    ctx.output.say(&Notice::DeletePlan { count: show::count(planned.len() as u64) })
}
