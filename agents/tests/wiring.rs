//! The binary from outside: exit codes, streams and languages. What commands do is tested where they do it.

use std::path::Path;
use std::process::{Command, Output};

fn shudao(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shudao"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .output()
        .expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_object(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
}

#[test]
fn wrong_usage_is_exit_2_with_a_hint() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["snapshots"][..],
        &["bogus"],
        &["backup", "/data", "--vault", "/v", "--vault", "/v"],
        &["vault", "init", "/v"],
        &["snapshots", "--vault", "nowhere"],
        &["snapshots", "--vault", "/v", "--config", "/nonexistent"],
        &["quickstart", "/nonexistent"],
    ] {
        let output = shudao(home.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_error_is_the_last_json_object() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&["snapshots", "--json"][..], &["bogus", "--json"], &["--json", "restore"]] {
        let output = shudao(home.path(), arguments);
        let object = last_object(&output);
        assert_eq!(
            (&object["type"], &object["code"], &object["kind"]),
            (&"error".into(), &2.into(), &"usage".into())
        );
        assert_ne!(object["hint"], "");
    }
}

#[test]
fn a_wrong_config_is_refused_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".config/shudao");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), "[vault.a]\nreplicas = [\"/a\"]\ncolour = 1\n").unwrap();
    let output = shudao(home.path(), &["snapshots", "--vault", "a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("config.toml, line 3"), "{}", stderr(&output));
}

#[test]
fn messages_come_in_the_language_that_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let output = shudao(home.path(), &["snapshots", "--lang", "zh-CN"]);
    assert!(stderr(&output).contains("未指定保险库"), "{}", stderr(&output));
}

#[test]
fn completions_and_manual_pages_are_data() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = shudao(home.path(), &["completions", shell]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
    }
    let output = shudao(home.path(), &["man"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(".TH shudao 1"));
    let pages = home.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let output = shudao(home.path(), &["man", "--to", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(pages.join("shudao-vault-key-add.1").exists());
}

#[test]
fn data_that_cannot_be_written_out_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shudao")).arg("man").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
