//! `shudao quickstart`: the whole main job on real files, by running this very program as a person would.
//!
//! Everything it makes lies in one new directory, which it names. Every command is printed before it runs, with the
//! settings it needs, so that a person can repeat it.

mod changes;
mod step;
mod workspace;

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::Context;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Label, Lang, Notice, Problem};
use super::path::{RawPath, escaped};
use super::report::Totals;
use super::show::{self, Side, Table};
use step::{Accept, Done, Runner};
use workspace::{TreeSize, Workspace};

/// What is backed up when nothing is named: real files that every Debian system has.
const DEFAULT_SOURCE: &str = "/usr/share/doc";

/// Above this a person is told that it may take a while.
const SOURCE_BYTES_QUICK: u64 = 2 << 30;

/// Do the whole main job once, on real files, on this machine.
///
/// Copies DIR, makes a vault, backs up, changes some files of the copy, backs up again, restores, verifies, checks; and
/// prints every command so that it can be repeated by hand. DIR itself is only read.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// The files to work on [default: /usr/share/doc]
    dir: Option<PathBuf>,
    /// Remove everything again at the end
    #[arg(long)]
    clean: bool,
}

pub(crate) fn run(ctx: &Context, args: QuickstartArgs) -> Result<Exit> {
    let source = args.dir.unwrap_or_else(|| DEFAULT_SOURCE.into());
    let source = source.canonicalize().map_err(|error| not_a_directory(&source).because(&error))?;
    if !source.is_dir() {
        return Err(not_a_directory(&source));
    }
    let size = workspace::measure(&source);
    let dir = shown(&source);
    ctx.output.say(&Notice::QuickSource {
        dir,
        files: show::count(size.files),
        bytes: show::bytes(size.bytes),
    })?;
    if size.bytes > SOURCE_BYTES_QUICK {
        ctx.output.say(&Notice::QuickLarge {})?;
    }
    let typed = workspace::text(&source)?;
    let workspace = Workspace::create(&ctx.environment, &source)?;
    let result = steps(ctx, &workspace, &typed);
    let kept = Hint::QuickKept { dir: escaped(&workspace.root) };
    let (done, sizes) = result.map_err(|failure| failure.with_hint(kept))?;
    conclude(ctx, &workspace, &done, &sizes, args.clean)
}

/// Sizes on disk that the last words speak of.
struct Sizes {
    data: TreeSize,
    vault_first: TreeSize,
    vault_second: TreeSize,
}

fn steps(ctx: &Context, work: &Workspace, source: &str) -> Result<(Vec<Done>, Sizes)> {
    let (data, vault) = (work.at("data"), work.at("vault"));
    let mut runner = Runner::new(ctx, work)?;
    runner.announce_settings()?;

    runner.say(&Notice::QuickCopy {})?;
    let copy = format!("cp -a {}/. data", step::quoted(source));
    runner.shell(&copy, Accept::DoneOrPartial)?;

    runner.say(&Notice::QuickInit {})?;
    runner.shudao(&["vault", "init", "./vault", "--recovery-kit", "recovery-kit"], Accept::Done)?;
    runner.say(&Notice::QuickFirst {})?;
    runner.shudao(&["backup", "data"], Accept::DoneOrPartial)?;
    let vault_first = workspace::measure(Path::new(&vault));

    runner.say(&Notice::QuickChange {})?;
    let mut candidates = changes::candidates(Path::new(&data));
    for candidate in &mut candidates {
        candidate.path = work.relative(&candidate.path);
    }
    for change in changes::plan("data", &candidates) {
        runner.shell(&change, Accept::Done)?;
    }
    runner.say(&Notice::QuickSecond {})?;
    runner.shudao(&["backup", "data"], Accept::DoneOrPartial)?;
    let vault_second = workspace::measure(Path::new(&vault));
    runner.shudao(&["snapshots"], Accept::Done)?;

    runner.say(&Notice::QuickRestore {})?;
    runner.shudao(&["restore", "latest", "--to", "restored"], Accept::DoneOrPartial)?;
    runner.say(&Notice::QuickVerify {})?;
    runner.shudao(&["verify", "latest", "restored"], Accept::Done)?;
    runner.shudao(&["verify", "latest", "data"], Accept::Done)?;
    runner.say(&Notice::QuickCheck {})?;
    runner.shudao(&["check", "--read-data"], Accept::Done)?;

    let sizes = Sizes { data: workspace::measure(Path::new(&data)), vault_first, vault_second };
    Ok((runner.finish(), sizes))
}

fn conclude(ctx: &Context, work: &Workspace, done: &[Done], sizes: &Sizes, clean: bool) -> Result<Exit> {
    let lang = ctx.output.lang();
    if !ctx.output.is_quiet() {
        ctx.output.line("")?;
        ctx.output.lines(&timings(done, lang).lines())?;
    }
    ctx.output.say(&Notice::QuickSizes {
        data: show::bytes(sizes.data.bytes),
        first: show::bytes(sizes.vault_first.bytes),
        growth: show::bytes(sizes.vault_second.bytes.saturating_sub(sizes.vault_first.bytes)),
        time: show::duration(ctx.elapsed()),
    })?;
    let dir = escaped(&work.root);
    if clean {
        work.remove()?;
        ctx.output.say(&Notice::QuickCleaned { dir: dir.clone() })?;
    } else {
        ctx.output.say(&Notice::QuickLeft { dir: dir.clone(), quoted: step::quoted(&work.root) })?;
    }
    let totals = Totals { files: sizes.data.files, bytes_read: sizes.data.bytes, ..Totals::default() };
    let totals = Totals { bytes_added: sizes.vault_second.bytes, ..totals };
    ctx.summary(&totals, &serde_json::json!({ "directory": dir, "cleaned": clean, "steps": done.len() }))?;
    Ok(Exit::Done)
}

fn timings(done: &[Done], lang: Lang) -> Table {
    let columns = [(Label::Time {}, Side::Right), (Label::Command {}, Side::Left)];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    for step in done.iter().filter(|step| step.is_shudao) {
        table.row([show::duration(step.took), step.command.clone()]);
    }
    table
}

fn not_a_directory(path: &Path) -> Failure {
    Failure::usage(Problem::NotADirectory { path: shown(path) }, Hint::NameDirectory {})
}

fn shown(path: &Path) -> String {
    RawPath::from(path).to_string()
}
