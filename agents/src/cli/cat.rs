//! `shudao cat`

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Result};
use super::ls;
use super::parse::SnapshotName;
use super::request::SnapshotChoice;

/// Write one file of a snapshot to stdout.
///
/// With --json, objects go to stderr.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// A snapshot's id or the beginning of it, or `latest`
    #[arg(value_name = "SNAP")]
    snapshot: SnapshotName,
    /// The file's path in the snapshot
    path: PathBuf,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: CatArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let path = ls::in_tree(args.path.as_os_str().as_bytes())?;
    let choice = SnapshotChoice { name: args.snapshot, selection: ctx.selection(&args.select) };
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let totals = engine::cat(ctx, &vault, &choice, &path, &mut |bytes| ctx.output.raw(bytes)).await?;
    // What is still buffered must be out before the summary says that all is well.
    ctx.output.flush()?;
    ctx.summary(&totals, &serde_json::json!({}))?;
    Ok(Exit::Done)
}
