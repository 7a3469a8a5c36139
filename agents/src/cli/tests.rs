//! What holds for the command line as a whole.

use clap::CommandFactory;

use super::args::Cli;

fn leaves(command: &clap::Command, path: &str, out: &mut Vec<(String, clap::Command)>) {
    out.push((path.to_owned(), command.clone()));
    for sub in command.get_subcommands() {
        leaves(sub, &format!("{path} {}", sub.get_name()), out);
    }
}

fn all_commands() -> Vec<(String, clap::Command)> {
    let mut root = Cli::command();
    root.build();
    let mut out = Vec::new();
    leaves(&root, "shudao", &mut out);
    out
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_every_command_is_as_recorded() {
    let mut reference = String::new();
    for (path, mut command) in all_commands() {
        let help = command.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        reference.push_str(&format!("## {path}\n\n{}\n\n", help.join("\n").trim_end()));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../reference");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("cli-reference", reference));
}

#[test]
fn only_commands_that_work_are_there() {
    let names: Vec<_> = all_commands().into_iter().map(|(path, _)| path).collect();
    let expected = [
        "shudao",
        "shudao vault",
        "shudao vault init",
        "shudao vault info",
        "shudao vault status",
        "shudao vault key",
        "shudao vault key add",
        "shudao vault key list",
        "shudao vault key remove",
        "shudao vault key rotate",
        "shudao vault key identity",
        "shudao vault lock",
        "shudao vault replica",
        "shudao vault replica add",
        "shudao vault replica list",
        "shudao vault replica sync",
        "shudao vault replica remove",
        "shudao backup",
        "shudao snapshots",
        "shudao ls",
        "shudao diff",
        "shudao cat",
        "shudao restore",
        "shudao verify",
        "shudao check",
        "shudao hold",
        "shudao forget",
        "shudao gc",
        "shudao survey",
        "shudao quickstart",
        "shudao completions",
        "shudao man",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_is_documented_is_accepted() {
    use clap::Parser;
    let accepted = [
        "vault init /v --recovery-kit k",
        "vault init /v --no-recovery-kit --trust-writers",
        "vault key add --role writer --after 12ab",
        "vault key add --role owner --shares 2/3 --to d",
        "backup /data --vault /v --vault /w --tag a --tag b --limit 50MiB",
        "backup a b --exclude *.tmp --exclude-from f --one-file-system --rescan --compression max --dry-run",
        "backup --stdin-from-command --stdin-name dump.sql -- pg_dump --all",
        "ls latest a/b --json -q",
        "diff 12ab latest --source s",
        "cat 12abcdef a/b",
        "restore latest --to d --include a --exclude b",
        "restore latest --to d --in-place --delete --yes",
        "vault key identity f --json",
        "verify latest d",
        "verify latest --json d",
        "verify --json latest --source s d -q",
        "diff 12ab --json latest",
        "cat 12ab --lang en a",
        "ls latest --long a",
        "forget 12ab --yes 34cd",
        "check --sample 5%",
        "check --names --vault /v",
        "hold latest --release",
        "forget 12ab 34cd --yes",
        "forget 12ab --dry-run",
        "forget --keep-last 3 --keep-daily 7 --keep-within 1y6m --keep-tag a --keep-tag b --source s --dry-run",
        "forget --policy --yes",
        "gc",
        "gc --dry-run --grace 0s --no-compact",
        "gc --yes --grace 90min --vault /v",
        "survey / --json --one-file-system",
        "quickstart",
        "quickstart d --clean",
        "completions bash",
        "man --to d",
        "--json snapshots --lang zh-CN",
    ];
    for line in accepted {
        let parsed = Cli::try_parse_from(std::iter::once("shudao").chain(line.split(' ')));
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[test]
fn a_root_takes_the_place_of_a_snapshot() {
    use clap::Parser;
    let root = "ab".repeat(32);
    for (line, is_accepted) in [
        (format!("verify --root {root} d"), true),
        (format!("verify d --json --root {root}"), true),
        (format!("verify latest --root {root} d"), false),
        (format!("verify --root {root}"), false),
    ] {
        let parsed = Cli::try_parse_from(std::iter::once("shudao").chain(line.split(' ')));
        assert_eq!(parsed.is_ok(), is_accepted, "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    use clap::Parser;
    let refused = [
        "",
        "vault init",
        "vault init /v --recovery-kit k --no-recovery-kit",
        "vault key add",
        "vault key add --role owner --shares 2/3",
        "vault key add --role admin",
        "backup",
        "backup /data -- cmd",
        "backup -- cmd",
        "backup /data --stdin-name x",
        "backup --stdin-from-command",
        "backup /data --stdin-from-command -- cmd",
        "backup /data --limit 0",
        "restore latest",
        "restore latest --to d --delete",
        "restore latest --to d --yes",
        "vault key identity",
        "verify",
        "verify latest",
        "verify latest d e",
        "verify --root 12ab d",
        "check --names --read-data",
        "check --sample 5",
        "ls 12g",
        "forget --yes",
        "forget 12ab --keep-last 3",
        "forget --keep-last 0",
        "forget --keep-within 3",
        "forget --keep-last 1 --policy",
        "forget --keep-last 1 --dry-run --yes",
        "vault init /v --no-recovery-kit --retention keep-everything",
        "snapshots -q -v",
        "gc --dry-run --yes",
        "gc --grace 3",
        "gc --grace 3y",
        "help",
    ];
    for line in refused {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let parsed = Cli::try_parse_from(std::iter::once("shudao").chain(words));
        assert!(parsed.is_err(), "{line}");
        assert_eq!(parsed.unwrap_err().exit_code(), 2, "{line}");
    }
}
