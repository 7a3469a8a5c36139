//! Whether two trees are equal, by tools that are not ours.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use crate::oddities::{Planted, SOCKET_SUFFIX};
use crate::tool::{run, succeed, tool};

/// Fails unless `right` is `left` with every attribute, sockets apart.
///
/// # Panics
/// With the tool's own list of differences.
#[track_caller]
pub fn same(left: &Path, right: &Path) {
    same_by_rsync(left, right, &[]);
    same_listing(left, right, "getfacl", &["-R", "-P", "-n", "-p", "."]);
    same_listing(left, right, "getcap", &["-r", "."]);
}

/// Fails unless `right` is the planted tree `left`, down to holes and to what lies beyond `PATH_MAX`.
///
/// # Panics
/// With the tools' own lists of differences.
#[track_caller]
pub fn same_oddities(left: &Path, right: &Path, planted: &Planted) {
    // rsync, getfacl and getcap work with whole paths and cannot reach the deep part: find and b3sum can.
    same_by_rsync(left, right, &[&format!("/{}/", planted.deep)]);
    same(&left.join(planted.plain), &right.join(planted.plain));
    for path in &planted.sparse {
        same_holes(&left.join(path), &right.join(path));
    }
    same_deep(&left.join(planted.deep), &right.join(planted.deep));
}

/// Fails unless rsync, comparing everything by content, would change nothing in `right`.
///
/// # Panics
/// With what it would change.
#[track_caller]
pub fn same_by_rsync(left: &Path, right: &Path, excludes: &[&str]) {
    let mut rsync = tool("rsync");
    rsync.args(["-naHAXc", "--delete", "--itemize-changes", "--numeric-ids"]);
    rsync.arg(format!("--exclude=*{SOCKET_SUFFIX}"));
    rsync.args(excludes.iter().map(|pattern| format!("--exclude={pattern}")));
    let differences = succeed(rsync.arg(with_slash(left)).arg(with_slash(right)));
    assert!(differences.is_empty(), "rsync sees differences:\n{}", String::from_utf8_lossy(&differences));
}

fn with_slash(path: &Path) -> std::ffi::OsString {
    let mut path = path.as_os_str().to_owned();
    path.push("/");
    path
}

/// Fails unless a tool says the same in both directories, in any order.
#[track_caller]
fn same_listing(left: &Path, right: &Path, name: &str, args: &[&str]) {
    let listing = |dir: &Path| {
        let text = succeed(tool(name).args(args).current_dir(dir));
        // getfacl's paragraphs are headed by a path; the others list a path a line.
        let separator = if name == "getfacl" { "\n\n" } else { "\n" };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut parts: Vec<String> =
            text.split(separator).filter(|part| !part.contains(SOCKET_SUFFIX)).map(str::to_owned).collect();
        parts.sort();
        parts
    };
    let (left_parts, right_parts) = (listing(left), listing(right));
    let difference = left_parts.iter().zip(&right_parts).find(|(left, right)| left != right);
    assert!(
        left_parts == right_parts,
        "{name} differs ({} and {} parts), first at {difference:#?}",
        left_parts.len(),
        right_parts.len()
    );
}

/// Fails unless find and b3sum say the same of both, however long their paths are.
///
/// # Panics
/// With both listings.
#[track_caller]
pub fn same_deep(left: &Path, right: &Path) {
    let listing = |dir: &Path| {
        // find prints paths itself and steps from directory to directory, so their length does not matter.
        let mut find = tool("find");
        find.arg(".").args([
            "-printf",
            "%P %y %m %U %G %T@ %l\n",
            "-type",
            "f",
            "-execdir",
            "b3sum",
            "{}",
            ";",
        ]);
        succeed(find.current_dir(dir))
    };
    let (left, right) = (listing(left), listing(right));
    // The paths are too long to be read by a person; the first line that differs is enough.
    let (left, right) = (sorted(&left), sorted(&right));
    let difference = left.iter().zip(&right).find(|(left, right)| left != right);
    let shown = difference.map(|(left, right)| [left, right].map(|line| end_of(line)));
    assert!(
        left == right,
        "the deep trees differ ({} and {} lines), first at {shown:#?}",
        left.len(),
        right.len()
    );
}

/// The last characters of a line, where a deep path says which one it is.
fn end_of(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[line.len().saturating_sub(120)..]).into_owned()
}

fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// Fails unless both files take the same room on disk.
///
/// # Panics
/// With the two sizes.
#[track_caller]
pub fn same_holes(left: &Path, right: &Path) {
    // A file system's own bookkeeping of extents is charged to the file and may differ by a few blocks.
    const SLACK_BYTES: u64 = 16 << 10;
    let (left_bytes, right_bytes) = (disk_bytes(left), disk_bytes(right));
    assert!(
        left_bytes.abs_diff(right_bytes) <= SLACK_BYTES,
        "{} takes {left_bytes} bytes on disk, {} takes {right_bytes}",
        left.display(),
        right.display()
    );
}

/// The room that a file takes on disk, or a directory with all that it holds, as `du` counts it.
///
/// # Panics
/// If `du` prints no number.
pub fn disk_bytes(path: &Path) -> u64 {
    let text = run("du", ["--summarize".as_ref(), "--block-size=1".as_ref(), path.as_os_str()]);
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("du begins with a number")
}

/// Path to BLAKE3 of each regular file below `dir` whose path is plain text, as `b3sum` computes it.
///
/// # Panics
/// If `b3sum` cannot read one.
pub fn b3sums(dir: &Path) -> BTreeMap<String, String> {
    let paths = run(
        "find",
        [dir.as_os_str(), OsStr::new("-type"), OsStr::new("f"), OsStr::new("-printf"), OsStr::new("%P\\0")],
    );
    let paths: Vec<&str> = paths
        .split(|byte| *byte == 0)
        .filter_map(|path| std::str::from_utf8(path).ok())
        .filter(|path| {
            !path.is_empty() && !path.contains(['\n', '\\']) && !path.chars().any(char::is_control)
        })
        .collect();
    let mut sums = BTreeMap::new();
    for part in paths.chunks(500) {
        let text = succeed(tool("b3sum").arg("--no-names").arg("--").args(part).current_dir(dir));
        let text = String::from_utf8(text).expect("b3sum prints text");
        sums.extend(part.iter().zip(text.lines()).map(|(path, sum)| ((*path).to_owned(), sum.to_owned())));
    }
    sums
}

/// Every file below `dir` with its size and time: whether anything at all was written there.
pub fn fingerprint(dir: &Path) -> Vec<Vec<u8>> {
    let text = run("find", [dir.as_os_str(), OsStr::new("-printf"), OsStr::new("%P %s %T@ %C@\n")]);
    sorted(&text).into_iter().map(<[u8]>::to_vec).collect()
}
