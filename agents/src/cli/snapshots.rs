//! `shudao snapshots`

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Result};
use super::messages::{Label, Notice};
use super::path::escaped;
use super::report::SnapshotLine;
use super::show::{self, Side, Table};

/// List the snapshots, oldest first
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: SnapshotsArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let snapshots = engine::snapshots(ctx, &vault, &ctx.selection(&args.select)).await?;
    if snapshots.is_empty() {
        ctx.output.notice(&Notice::NoSnapshots {});
    }
    print(ctx, &snapshots)?;
    ctx.summary(&vault.totals(), &serde_json::json!({ "snapshots": snapshots.len() }))?;
    Ok(Exit::Done)
}

/// Writes snapshots as a table, or as objects of type `snapshot`.
pub(crate) fn print(ctx: &Context, snapshots: &[SnapshotLine]) -> Result<()> {
    ctx.output.lines(&table(ctx, snapshots).lines())?;
    snapshots.iter().try_for_each(|snapshot| ctx.output.object("snapshot", snapshot))
}

fn table(ctx: &Context, snapshots: &[SnapshotLine]) -> Table {
    let lang = ctx.output.lang();
    let columns = [
        (Label::Snapshot {}, Side::Left),
        (Label::Time {}, Side::Left),
        (Label::Source {}, Side::Left),
        (Label::Files {}, Side::Right),
        (Label::Size {}, Side::Right),
        (Label::Tags {}, Side::Left),
        (Label::Nothing {}, Side::Left),
    ];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    for snapshot in snapshots {
        let mut marks = Vec::new();
        if snapshot.held {
            marks.push(Label::HeldMark {}.text(lang));
        }
        if snapshot.partial {
            marks.push(Label::PartialMark {}.text(lang));
        }
        table.row([
            show::short_id(&snapshot.snapshot),
            show::time(snapshot.time, &ctx.zone),
            escaped(&snapshot.source),
            show::count(snapshot.files),
            show::bytes(snapshot.bytes),
            escaped(&snapshot.tags.join(",")),
            marks.join(", "),
        ]);
    }
    table
}
