//! Who may import whom, what stays pure, and how long a file may be: read from `cargo metadata` and the sources.

mod reading;

use std::collections::{BTreeMap, BTreeSet};

use reading::{Source, normal_tree, sources_below, workspace_dependencies};
use shudao_tests::tool::source_dir;

/// What each of our crates may depend on, of our own. Tests and fuzzing may use everything.
const MAY_IMPORT: [(&str, &[&str]); 5] = [
    ("shudao-vault", &[]),
    ("shudao-mover", &["shudao-vault"]),
    ("shudao-verify", &["shudao-vault"]),
    ("shudao-dr", &["shudao-vault", "shudao-mover", "shudao-verify"]),
    ("shudao", &["shudao-vault", "shudao-mover", "shudao-verify", "shudao-dr"]),
];

/// Crates that only these places may name.
const ONLY_IN: [(&str, &[&str]); 8] = [
    ("opendal", &["crates/vault/src/store"]),
    ("reqsign_aws_v4", &["crates/vault/src/store"]),
    ("reqsign_core", &["crates/vault/src/store"]),
    ("sqlx", &["crates/dr/src/catalog"]),
    ("tokio_postgres", &["crates/mover/src/postgres", "crates/verify/src/postgres"]),
    ("indicatif", &["agents/src"]),
    ("clap", &["agents/src", "benches/src/bin"]),
    ("anyhow", &["agents/src", "benches/src/bin"]),
];

/// Crates that nothing we ship may pull in.
const FORBIDDEN: [&str; 9] =
    ["openssl", "openssl-sys", "native-tls", "ring", "bincode", "serde_yaml", "serde_yml", "chrono", "rsa"];

/// Files and directories that decide and do not act. One that is not there yet is no fault.
const PURE: [&str; 32] = [
    "crates/vault/src/codec.rs",
    "crates/vault/src/collect/plan.rs",
    "crates/vault/src/collect/stock.rs",
    "crates/vault/src/entry.rs",
    "crates/vault/src/frame.rs",
    "crates/vault/src/id.rs",
    "crates/vault/src/keys/certificate.rs",
    "crates/vault/src/log/entry.rs",
    "crates/vault/src/log/checkpoint/codec.rs",
    "crates/vault/src/log/collection.rs",
    "crates/vault/src/log/duty.rs",
    "crates/vault/src/log/expired.rs",
    "crates/vault/src/log/fold.rs",
    "crates/vault/src/log/fold",
    "crates/vault/src/log/statement.rs",
    "crates/vault/src/need",
    "crates/vault/src/name.rs",
    "crates/vault/src/object.rs",
    "crates/vault/src/pack/mod.rs",
    "crates/vault/src/pack/directory.rs",
    "crates/vault/src/reliance.rs",
    "crates/vault/src/retention",
    "crates/vault/src/roots.rs",
    "crates/vault/src/segment/mod.rs",
    "crates/vault/src/snapshot/contents.rs",
    "crates/vault/src/store/lock/generation.rs",
    "crates/dr/src/forecast.rs",
    "crates/vault/src/tree",
    "crates/mover/src/budget.rs",
    "crates/mover/src/chunker.rs",
    "crates/verify/src/compare.rs",
    "crates/verify/src/sampling.rs",
];

/// What a pure module may not say: clocks, files, the environment, runtimes, chance. A reader that is generic over where
/// nodes come from may be asynchronous; it names no runtime.
const IMPURE: [&str; 19] = [
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "tokio",
    "rustix",
    "rayon",
    "reqwest",
    "random(",
    "random::",
    "getrandom",
    "thread_rng",
    "Secret::generate",
    "ObjectKey::generate",
];

/// Code lines before the tests that a file may have.
const CODE_LINES_MAX: usize = 500;

/// Files that are longer, with their length now. A number here may only become smaller, and a line may only go.
const LONGER: [(&str, usize); 0] = [];

/// Directories whose Rust files the rules cover.
const CODE: [&str; 8] = [
    "crates/vault/src",
    "crates/mover/src",
    "crates/verify/src",
    "crates/dr/src",
    "agents/src",
    "tests",
    "fuzz",
    "benches",
];

fn all_sources() -> Vec<Source> {
    CODE.iter().flat_map(|directory| sources_below(&source_dir(), directory)).collect()
}

fn fail_with(broken: &BTreeSet<String>) {
    let list: Vec<&str> = broken.iter().map(String::as_str).collect();
    assert!(broken.is_empty(), "broken rules:\n{}", list.join("\n"));
}

#[test]
fn our_crates_import_one_another_in_one_direction_only() {
    let real = workspace_dependencies();
    let mut broken = BTreeSet::new();
    for (name, allowed) in MAY_IMPORT {
        let imports = real.get(name).unwrap_or_else(|| panic!("{name} is a crate of the workspace"));
        let extra = imports.iter().filter(|import| !allowed.contains(&import.as_str()));
        broken.extend(extra.map(|import| format!("{name} must not import {import}")));
    }
    let known: BTreeSet<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    for name in real.keys().filter(|name| !known.contains(name.as_str())) {
        let test_only = ["shudao-tests", "shudao-fuzz", "shudao-benches"].contains(&name.as_str());
        if !test_only {
            broken.insert(format!("{name} is new: say here what it may import"));
        }
    }
    fail_with(&broken);
}

#[test]
fn some_crates_are_named_in_one_place_only() {
    let mut broken = BTreeSet::new();
    for source in all_sources() {
        if source.path.starts_with("tests") || source.path.starts_with("fuzz") {
            continue;
        }
        for (name, places) in ONLY_IN {
            let allowed = places.iter().any(|place| source.path.starts_with(place));
            let line = source.code.iter().find(|(_, line)| names_crate(line, name));
            if let (false, Some((number, _))) = (allowed, line) {
                broken.insert(format!("{}:{number} names {name}; only {places:?} may", source.path));
            }
        }
    }
    fail_with(&broken);
}

/// Whether a line of code uses the crate `name`: as a path, in a `use`, or as an attribute.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let word = |character: char| character.is_alphanumeric() || character == '_';
        let before = line[..start].chars().next_back();
        let after = &line[start + name.len()..];
        let begins = !before.is_some_and(|character| word(character) || character == ':' || character == '.');
        begins && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}

#[test]
fn what_decides_knows_no_clock_files_environment_or_chance() {
    let mut broken = BTreeSet::new();
    for source in all_sources() {
        let pure =
            PURE.iter().any(|pure| source.path == *pure || source.path.starts_with(&format!("{pure}/")));
        for (number, line) in source.code.iter().filter(|_| pure) {
            let words = IMPURE.iter().filter(|word| says(line, word));
            broken.extend(words.map(|word| format!("{}:{number} says {word}", source.path)));
        }
    }
    fail_with(&broken);
}

/// Whether `line` says `word`, not as a part of a longer one.
fn says(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let part = |character: char| character.is_alphanumeric() || character == '_';
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let ends_open = word.ends_with(|character: char| !part(character));
        !before.is_some_and(part) && (ends_open || !after.is_some_and(part))
    })
}

#[test]
fn a_file_holds_one_noun() {
    let longer: BTreeMap<&str, usize> = LONGER.into_iter().collect();
    let mut broken = BTreeSet::new();
    for source in all_sources() {
        let lines = source.code.len();
        match longer.get(source.path.as_str()) {
            Some(known) if lines < *known => {
                broken.insert(format!("{} has {lines} code lines: write that into LONGER", source.path));
            }
            Some(known) if lines > *known => {
                broken.insert(format!("{} grew from {known} to {lines} code lines", source.path));
            }
            None if lines > CODE_LINES_MAX => {
                broken
                    .insert(format!("{} has {lines} code lines, {CODE_LINES_MAX} are allowed", source.path));
            }
            Some(_) | None => {}
        }
    }
    fail_with(&broken);
}

#[test]
fn nothing_we_ship_pulls_in_a_forbidden_crate() {
    let tree = normal_tree("shudao");
    assert!(tree.contains("opendal"), "the tree was read");
    let broken = FORBIDDEN.iter().filter(|name| tree.contains(**name));
    fail_with(&broken.map(|name| format!("shudao depends on {name}")).collect());
}

#[test]
fn a_rule_sees_what_it_must_and_nothing_else() {
    for (line, name, expected) in [
        ("use opendal::Operator;", "opendal", true),
        ("use opendal;", "opendal", true),
        ("    let op = ::opendal::Operator::new(x);", "opendal", false),
        ("fn run() -> anyhow::Result<()> {", "anyhow", true),
        ("#[derive(clap::Parser)]", "clap", true),
        ("let not_clap::x", "clap", false),
        ("mod opendal_like;", "opendal", false),
    ] {
        assert_eq!(names_crate(line, name), expected, "{line}");
    }
    for (line, word, expected) in [
        ("let now = Instant::now();", "Instant", true),
        ("fn instant_restore()", "Instant", false),
        ("struct Instantly;", "Instant", false),
        ("let salt: [u8; 32] = random();", "random(", true),
        ("let not_random()", "random(", false),
        ("pub async fn read()", "async", true),
    ] {
        assert_eq!(says(line, word), expected, "{line}");
    }
}
