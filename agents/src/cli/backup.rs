//! `shudao backup`

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{AccessArgs, ExcludeArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Lang, Notice, Problem};
use super::path::escaped;
use super::report::BackupSummary;
use super::request::{Access, BackupInput, BackupRequest, Compression};
use super::{parse, show};

/// Store a snapshot of files, or of a command's output.
///
/// One path becomes the snapshot's root; several keep their full paths below it. Unchanged files are not opened.
#[derive(Debug, Args)]
#[command(override_usage = "shudao backup [OPTIONS] PATH...\n       \
    shudao backup [OPTIONS] --stdin-from-command -- CMD [ARG]...")]
pub(crate) struct BackupArgs {
    /// What to back up
    #[arg(
        value_name = "PATH",
        required_unless_present = "stdin_from_command",
        conflicts_with = "stdin_from_command"
    )]
    paths: Vec<PathBuf>,
    /// Store what this command prints; its exit code decides success
    #[arg(long, requires = "command")]
    stdin_from_command: bool,
    /// Name of the file that holds the command's output
    #[arg(long, value_name = "NAME", default_value = "stdin", conflicts_with = "paths")]
    stdin_name: String,
    /// The command and its arguments, behind `--`
    #[arg(last = true, value_name = "CMD", conflicts_with = "paths")]
    command: Vec<OsString>,
    /// The source's name: snapshots of one source form a chain [default: host:path]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Give the snapshot this tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Read every file, also those that look unchanged
    #[arg(long)]
    rescan: bool,
    /// How hard to compress
    #[arg(long, value_enum, default_value_t)]
    compression: Compression,
    /// Upload at most so much a second, for example 50MiB
    #[arg(long, value_name = "SIZE", value_parser = parse::rate)]
    limit: Option<u64>,
    /// With several replicas: how long one may go without an answer when the others are done
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "90s")]
    patience: Duration,
    /// Read and count, but store nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: Box<BackupArgs>) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let request = resolve(ctx, &access, *args)?;
    let limit = request.limit_bytes_per_second;
    let vault = engine::open_limited(ctx, &access, Opening::WithKey, limit).await?;
    let summary = {
        let (progress, _drawn) = ctx.progress();
        engine::backup(ctx, &vault, request, &progress).await?
    };
    if !ctx.output.is_quiet() {
        ctx.output.lines(&lines(&summary, ctx.elapsed(), ctx.output.lang()))?;
    }
    let exit = ctx.conclude(&summary.totals);
    ctx.summary(&summary.totals, &summary)?;
    Ok(exit)
}

fn resolve(ctx: &Context, access: &Access, args: BackupArgs) -> Result<BackupRequest> {
    let patterns = ctx.patterns(Some(access), &args.exclude)?;
    let input = if args.stdin_from_command {
        let legal = shudao_vault::entry::TreePath::new(args.stdin_name.as_str());
        if legal.is_none_or(|path| path.is_root()) {
            return Err(Failure::usage(
                Problem::BadStdinName { name: escaped(&args.stdin_name) },
                Hint::SeeHelp {},
            ));
        }
        BackupInput::Command { name: args.stdin_name, argv: args.command }
    } else {
        BackupInput::Paths(args.paths)
    };
    Ok(BackupRequest {
        input,
        source: args.source.or_else(|| access.defaults.source.clone()),
        tags: args.tags,
        patterns,
        one_file_system: args.exclude.one_file_system,
        rescan: args.rescan,
        compression: args.compression,
        limit_bytes_per_second: args.limit,
        patience: args.patience,
        dry_run: args.dry_run,
    })
}

fn lines(summary: &BackupSummary, elapsed: std::time::Duration, lang: Lang) -> Vec<String> {
    let totals = &summary.totals;
    let parent = match &summary.parent {
        Some(parent) => {
            Notice::BackupParent { source: escaped(&summary.source), parent: show::short_id(parent) }
        }
        None => Notice::BackupFirst { source: escaped(&summary.source) },
    };
    let mut notices = vec![
        parent,
        Notice::BackupFiles {
            new: show::count(summary.files_new),
            changed: show::count(summary.files_changed),
            unmodified: show::count(summary.files_unmodified),
            removed: show::count(summary.paths_removed),
        },
        Notice::BackupBytes {
            read: show::bytes(totals.bytes_read),
            total: show::bytes(summary.bytes_total),
            new: show::bytes(summary.bytes_new),
            stored: show::bytes(totals.bytes_added),
            time: show::duration(elapsed),
            rate: show::rate(totals.bytes_read, elapsed),
        },
    ];
    if summary.sockets_skipped > 0 {
        notices.push(Notice::BackupSockets { count: show::count(summary.sockets_skipped) });
    }
    if let Some(resumed) = &summary.resumed {
        notices.push(Notice::BackupResumed {
            session: show::short_id(&resumed.session),
            files: show::count(resumed.files),
            bytes: show::bytes(resumed.bytes),
            stored: show::bytes(resumed.bytes_stored),
        });
    }
    match &totals.snapshot {
        Some(snapshot) if !summary.dry_run => {
            notices.push(Notice::BackupSaved { snapshot: show::short_id(snapshot) });
        }
        _ => notices.push(Notice::BackupDry {}),
    }
    notices.iter().map(|notice| notice.text(lang)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::{ResumedSession, Totals};

    #[test]
    fn a_backup_tells_people_what_it_did() {
        let summary = BackupSummary {
            totals: Totals {
                bytes_read: 12 << 20,
                bytes_added: 3 << 20,
                snapshot: Some("12ab34cd56".into()),
                ..Totals::default()
            },
            source: "host:/data".into(),
            parent: Some("00112233445566".into()),
            files_new: 2,
            files_changed: 1,
            files_unmodified: 1234,
            bytes_total: 2 << 30,
            bytes_new: 9 << 20,
            resumed: Some(ResumedSession {
                session: "aabbccddeeff".into(),
                files: 1500,
                bytes: 5 << 20,
                bytes_stored: 4 << 20,
            }),
            ..BackupSummary::default()
        };
        assert_eq!(
            lines(&summary, std::time::Duration::from_secs(2), Lang::En),
            [
                "Source host:/data, compared with snapshot 00112233.",
                "Files: 2 new, 1 changed, 1,234 unmodified; 0 paths removed.",
                "Read 12.0 MiB of 2.00 GiB in 2.00 s (6.00 MiB/s). New to the vault, names included: 9.00 MiB; stored: 3.00 MiB.",
                "Went on where session aabbccdd was interrupted: 1,500 files with 5.00 MiB were not read again, 4.00 MiB not uploaded again.",
                "Snapshot 12ab34cd is committed.",
            ]
        );
    }
}
