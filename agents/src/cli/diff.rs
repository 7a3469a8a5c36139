//! `shudao diff`

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Result};
use super::messages::Notice;
use super::parse::SnapshotName;
use super::path::escaped;
use super::report::DifferenceLine;
use super::request::SnapshotChoice;
use super::show;

/// Show what differs between two snapshots.
///
/// + only in B, - only in A, T type, M content, U metadata.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first snapshot: its id or the beginning of it, or `latest`
    #[arg(value_name = "A")]
    from: SnapshotName,
    /// The second
    #[arg(value_name = "B")]
    to: SnapshotName,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: DiffArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let selection = ctx.selection(&args.select);
    let choice = |name| SnapshotChoice { name, selection: selection.clone() };
    let (from, to) = (choice(args.from), choice(args.to));
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let summary = engine::diff(ctx, &vault, [&from, &to], &mut |line| print(ctx, &line)).await?;
    ctx.output.say(&Notice::DiffSummary {
        added: show::count(summary.added),
        removed: show::count(summary.removed),
        changed: show::count(summary.changed),
        metadata: show::count(summary.metadata_changed),
    })?;
    ctx.summary(&summary.totals, &summary)?;
    Ok(Exit::Done)
}

/// Writes one difference as a line, or as an object of type `difference`.
pub(crate) fn print(ctx: &Context, line: &DifferenceLine) -> Result<()> {
    if !ctx.output.is_json() {
        ctx.output.line(&text(line))?;
    }
    ctx.output.object("difference", line)
}

fn text(line: &DifferenceLine) -> String {
    let path = if line.path.0.is_empty() { ".".into() } else { line.path.to_string() };
    let what = match (&line.expected, &line.found) {
        (Some(expected), Some(found)) => format!(": {} -> {}", escaped(expected), escaped(found)),
        (Some(only), None) | (None, Some(only)) => format!(": {}", escaped(only)),
        (None, None) => String::new(),
    };
    format!("{} {path}  ({}{what})", line.difference.letter(), line.difference.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::path::RawPath;
    use crate::cli::report::tree::Difference;

    #[test]
    fn a_difference_names_path_kind_and_both_sides() {
        let line = |difference, expected: Option<&str>, found: Option<&str>| {
            text(&DifferenceLine {
                path: RawPath::from("a/b"),
                difference,
                expected: expected.map(str::to_owned),
                found: found.map(str::to_owned),
            })
        };
        assert_eq!(line(Difference::Added, None, None), "+ a/b  (added)");
        assert_eq!(line(Difference::Mode, Some("0644"), Some("0600")), "U a/b  (mode: 0644 -> 0600)");
        assert_eq!(line(Difference::Unreadable, None, Some("no\x1b")), "? a/b  (unreadable: no\\u{1b})");
    }
}
