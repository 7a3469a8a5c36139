//! Reads the sources as code without comments, strings and tests, and what cargo knows of the packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shudao_tests::tool::{source_dir, succeed};

/// Files that only tests compile.
const TEST_FILES: [&str; 3] = ["tests.rs", "sample.rs", "samples.rs"];

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root of the source tree.
    pub(crate) path: String,
    /// Numbered lines that hold code, before the tests: comments removed, strings emptied.
    pub(crate) code: Vec<(usize, String)>,
}

/// Every Rust file below `directory`, test modules of their own left out. An absent directory holds none.
pub(crate) fn sources_below(root: &Path, directory: &str) -> Vec<Source> {
    let Ok(entries) = std::fs::read_dir(root.join(directory)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{directory}/{name}");
        if name == "target" || name == "corpus" {
            continue;
        }
        if root.join(&path).is_dir() {
            found.extend(sources_below(root, &path));
        } else if name.ends_with(".rs") && !TEST_FILES.contains(&name.as_ref()) {
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            found.push(Source { path, code: code_lines(&text) });
        }
    }
    found
}

/// The lines that hold code. Unit tests stand last, so a test module with a body ends them; one in a file of its own
/// and single test-only items are passed over.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let plain = without_comments_and_strings(text);
    let mut lines = Vec::new();
    let mut after_cfg_test = false;
    for (index, line) in plain.lines().enumerate() {
        let code = line.trim();
        if after_cfg_test && code.contains("mod ") && code.ends_with('{') {
            break;
        }
        let test_only = code == "#[cfg(test)]" || after_cfg_test;
        after_cfg_test = code == "#[cfg(test)]";
        if !code.is_empty() && !test_only {
            lines.push((index + 1, line.to_owned()));
        }
    }
    lines
}

/// The text with comments blanked and strings emptied; line numbers stay.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (block_comment_len(rest), "")
        } else if let Some(len) = raw_string_len(rest, &out) {
            (len, "\"\"")
        } else if first == '"' {
            (string_len(rest), "\"\"")
        } else if let Some(len) = character_len(rest) {
            (len, "' '")
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push_str(kept);
        out.extend(rest[..skipped].chars().filter(|character| *character == '\n'));
        rest = &rest[skipped..];
    }
    out
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[..at].ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

/// The length of `r"…"` or `r#"…"#` where one begins and is no part of a longer word.
fn raw_string_len(text: &str, before: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.chars().take_while(|character| *character == '#').count();
    let inside_word = before.ends_with(|character: char| character.is_alphanumeric() || character == '_');
    let byte_string = before.ends_with('b') && !before[..before.len() - 1].ends_with(char::is_alphanumeric);
    if !text[1 + hashes..].starts_with('"') || (inside_word && !byte_string) {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &text[2 + hashes..];
    Some(body.find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len()))
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            _ => escaped = character == '\\' && !escaped,
        }
    }
    text.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character_len(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let first = escape.chars().next()?;
        return escape[first.len_utf8()..].find('\'').map(|at| 2 + first.len_utf8() + at + 1);
    }
    let first = body.chars().next()?;
    body[first.len_utf8()..].starts_with('\'').then_some(2 + first.len_utf8())
}

fn metadata() -> Value {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1"]).current_dir(source_dir());
    serde_json::from_slice(&succeed(&mut cargo)).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap()
}

/// Each of our crates, and those of our crates that it names outside its tests.
pub(crate) fn workspace_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let ours: BTreeSet<&str> =
        list(&metadata, "workspace_members").iter().map(|id| id.as_str().unwrap()).collect();
    let packages = list(&metadata, "packages").iter().filter(|package| ours.contains(text(package, "id")));
    let names: BTreeSet<&str> = packages.clone().map(|package| text(package, "name")).collect();
    let imports = |package: &Value| {
        let normal = list(package, "dependencies").iter().filter(|dependency| dependency["kind"] != "dev");
        normal
            .map(|dependency| text(dependency, "name"))
            .filter(|name| names.contains(name))
            .map(str::to_owned)
            .collect()
    };
    packages.map(|package| (text(package, "name").to_owned(), imports(package))).collect()
}

/// The names of all packages that `root` needs to be built and run on this platform, tests apart.
pub(crate) fn normal_tree(root: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args([
        "tree",
        "--offline",
        "--locked",
        "--package",
        root,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let tree = succeed(cargo.args(["--format", "{p}"]).current_dir(source_dir()));
    let tree = String::from_utf8(tree).unwrap();
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "use a; // std::fs\n/* tokio\n /* nested */ */ b(\"rayon \\\" async\", 'x', '\\'', r#\"Instant\"#);\nfn f<'a>(x: &'a u8) {}\n#[cfg(test)]\nmod samples;\nmod real;\n#[cfg(test)]\nmod tests {\n}\n";
    let code = code_lines(text);
    let joined: Vec<&str> = code.iter().map(|(_, line)| line.trim()).collect();
    assert_eq!(joined, ["use a;", "b(\"\", ' ', ' ', \"\");", "fn f<'a>(x: &'a u8) {}", "mod real;"]);
    assert_eq!(code[1].0, 3);
}
