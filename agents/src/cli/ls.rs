//! `shudao ls`

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Problem};
use super::parse::SnapshotName;
use super::path::{RawPath, escaped};
use super::report::LsLine;
use super::request::SnapshotChoice;
use super::show;

/// List what a snapshot holds, in path order
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// A snapshot's id or the beginning of it, or `latest`
    #[arg(value_name = "SNAP")]
    snapshot: SnapshotName,
    /// Only this path and what is below it
    path: Option<PathBuf>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: LsArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let path = args.path.as_deref().map(|path| in_tree(path.as_os_str().as_bytes())).transpose()?;
    let choice = SnapshotChoice { name: args.snapshot, selection: ctx.selection(&args.select) };
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let (mut entries, mut totals) = (0_u64, vault.totals());
    let mut sink = |line: LsLine| {
        entries += 1;
        totals.files += u64::from(line.kind == "file");
        ctx.output.object("entry", &line)?;
        if ctx.output.is_json() {
            Ok(())
        } else if args.long {
            ctx.output.line(&long(&line, &ctx.zone))
        } else {
            ctx.output.line(&shown_path(&line))
        }
    };
    let path = path.unwrap_or_default();
    let snapshot = engine::ls(ctx, &vault, &choice, &path, &mut sink).await?;
    totals.snapshot = Some(snapshot);
    ctx.summary(&totals, &serde_json::json!({ "entries": entries }))?;
    Ok(Exit::Done)
}

/// A path as it was typed, as a path inside a snapshot: without slashes at its ends, `.` components and empty ones.
pub(crate) fn in_tree(typed: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<_> =
        typed.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    let path = parts.join(&b'/');
    match shudao_vault::entry::TreePath::new(path.clone()) {
        Some(_) => Ok(path),
        None => {
            let problem = Problem::BadTreePath { path: RawPath(typed.to_vec()).to_string() };
            Err(Failure::usage(problem, Hint::SeeHelp {}))
        }
    }
}

fn shown_path(line: &LsLine) -> String {
    if line.path.0.is_empty() { ".".into() } else { line.path.to_string() }
}

fn long(line: &LsLine, zone: &TimeZone) -> String {
    let who =
        |name: &Option<String>, number: u32| name.as_deref().map_or_else(|| number.to_string(), escaped);
    let size = match line.device {
        Some([major, minor]) => format!("{major}, {minor}"),
        None => show::count(line.size),
    };
    let mut text = format!(
        "{}{} {:8} {:8} {:>15} {} {}",
        kind_letter(line.kind),
        mode_letters(&line.mode),
        who(&line.user, line.uid),
        who(&line.group, line.gid),
        size,
        show::file_time(line.mtime, zone),
        shown_path(line),
    );
    if let Some(target) = &line.target {
        text.push_str(&format!(" -> {}", target.0));
    }
    text
}

fn kind_letter(kind: &str) -> char {
    match kind {
        "directory" => 'd',
        "symlink" => 'l',
        "fifo" => 'p',
        "char_device" => 'c',
        "block_device" => 'b',
        _ => '-',
    }
}

/// `rwxr-xr-x` of four octal digits.
fn mode_letters(octal: &str) -> String {
    let mode = u32::from_str_radix(octal, 8).unwrap_or(0);
    let mut text = String::with_capacity(9);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => set,
            (false, true) => unset,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_prints_them() {
        for (octal, letters) in [
            ("0755", "rwxr-xr-x"),
            ("4755", "rwsr-xr-x"),
            ("2644", "rw-r-Sr--"),
            ("1777", "rwxrwxrwt"),
            ("0000", "---------"),
        ] {
            assert_eq!(mode_letters(octal), letters, "{octal}");
        }
    }

    #[test]
    fn typed_paths_become_tree_paths() {
        for (typed, path) in
            [("/", ""), ("", ""), (".", ""), ("./a//b/", "a/b"), ("/a/b", "a/b"), ("a/./b", "a/b")]
        {
            assert_eq!(in_tree(typed.as_bytes()).unwrap(), path.as_bytes(), "{typed}");
        }
        assert_eq!(in_tree(b"a/../b").unwrap_err().exit(), Exit::Usage);
    }
}
