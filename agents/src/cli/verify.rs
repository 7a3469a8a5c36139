//! `shudao verify`

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Notice, Problem};
use super::parse::{PREFIX_DIGITS_MIN, SnapshotName};
use super::path::{RawPath, escaped};
use super::request::{SnapshotChoice, VerifyAgainst, VerifyRequest};
use super::{diff, show};

/// Hold a live tree against a snapshot; exit 4 and a list where they differ.
///
/// What the snapshot's own rules left out is left out here too, and counted.
#[derive(Debug, Args)]
#[command(override_usage = "shudao verify [OPTIONS] SNAP DIR\n       \
    shudao verify [OPTIONS] --root HEX DIR")]
pub(crate) struct VerifyArgs {
    /// A snapshot's id or the beginning of it, or `latest`; with --root only DIR is given
    // Always there, whatever it means, so that options may stand between the two.
    #[arg(value_name = "SNAP")]
    first: OsString,
    /// The live tree
    #[arg(value_name = "DIR", required_unless_present = "root", conflicts_with = "root")]
    directory: Option<PathBuf>,
    /// Hold the tree against this manifest root instead of a snapshot; needs no vault and no key
    #[arg(long, value_name = "HEX", value_parser = root)]
    root: Option<[u8; 32]>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

fn root(text: &str) -> std::result::Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    if shudao_vault::id::from_hex(text, &mut bytes) {
        Ok(bytes)
    } else {
        Err("expected the 64 hexadecimal digits of a manifest root".into())
    }
}

/// The first word as a snapshot's name.
fn snapshot_name(word: &OsStr) -> Result<SnapshotName> {
    let text = word.to_string_lossy();
    text.parse().map_err(|_| {
        let problem = Problem::NotASnapshotName { name: escaped(&text), digits: PREFIX_DIGITS_MIN };
        Failure::usage(problem, Hint::ListSnapshots {})
    })
}

pub(crate) async fn run(ctx: &Context, args: VerifyArgs) -> Result<Exit> {
    let (vault, against, directory) = match (args.directory, args.root) {
        (Some(directory), _) => {
            let name = snapshot_name(&args.first)?;
            let access = ctx.access(&args.access)?;
            let vault = engine::open(ctx, &access, Opening::WithKey).await?;
            let choice = SnapshotChoice { name, selection: ctx.selection(&args.select) };
            (Some(vault), VerifyAgainst::Snapshot(choice), directory)
        }
        // Clap has seen to it that there is a root where there is no second word.
        (None, root) => (None, VerifyAgainst::Root(root.unwrap_or_default()), args.first.into()),
    };
    let request = VerifyRequest { against, directory };
    let summary = {
        let (progress, _drawn) = ctx.progress();
        engine::verify(ctx, vault.as_ref(), &request, &mut |line| diff::print(ctx, &line), &progress).await?
    };
    let directory = RawPath::from(request.directory.as_path()).to_string();
    let (files, bytes) = (show::count(summary.totals.files), show::bytes(summary.totals.bytes_read));
    let (time, root) = (show::duration(ctx.elapsed()), summary.manifest_root_found.clone());
    let exit = if summary.is_equal() {
        ctx.output.say(&if summary.totals.warnings.any() {
            Notice::VerifyEqualAsFarAsRead { directory, files, bytes, time, root }
        } else {
            Notice::VerifyEqual { directory, files, bytes, time, root }
        })?;
        ctx.conclude(&summary.totals)
    } else {
        let count = show::count(summary.differences);
        let expected = summary.manifest_root_expected.clone();
        ctx.output.say(&Notice::VerifyDiffers { directory, count, files, bytes, time, expected, root })?;
        ctx.conclude(&summary.totals);
        Exit::Difference
    };
    if summary.excluded > 0 {
        ctx.output.say(&Notice::VerifyExcluded { count: show::count(summary.excluded) })?;
    }
    ctx.summary(&summary.totals, &summary)?;
    Ok(exit)
}
