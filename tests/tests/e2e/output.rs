//! What programs read: JSON on standard output, the rest on standard error, and no secret anywhere.

use shudao_tests::content::{plant_small, put};
use shudao_tests::output::Run;
use shudao_tests::s3::{S3Server, SECRET_KEY};
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn the_last_line_is_a_summary_with_the_promised_fields() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    plant_small(&source, 1);
    let backup = place.owner.backup(&source).ok();
    let summary = backup.summary();
    for field in ["files", "bytes_read", "bytes_added"] {
        assert!(summary[field].is_u64(), "{field}: {backup}");
    }
    assert!(summary["seconds"].is_number(), "{backup}");
    assert!(summary["snapshot"].is_string(), "{backup}");
    let replica = &summary["replicas"][0];
    assert_eq!((&replica["committed"], &replica["objects_behind"]), (&true.into(), &0.into()), "{backup}");
    for kind in ["source_unreadable", "changed_while_read", "metadata_not_set", "replica_behind"] {
        assert_eq!(backup.warnings(kind), 0, "{kind}");
    }
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["check"],
        &["check", "--names"],
        &["vault", "info"],
        &["vault", "status"],
        &["vault", "key", "list"],
        &["hold", "latest"],
    ] {
        let run = place.owner.shudao(args).arg("--json").run().ok();
        let objects = run.json();
        assert!(objects.iter().all(|object| object["version"].is_u64()), "every line has a version: {run}");
        assert!(run.summary()["files"].is_u64(), "{run}");
    }
    let restore = place.owner.shudao(["restore", "latest", "--json", "--to"]).arg(&target).run().ok();
    assert_eq!(restore.count("files"), summary["files"].as_u64().unwrap());
    let survey = place.owner.bare(["survey", "--json"]).arg(&source).run().ok();
    assert!(survey.summary().is_object());
}

#[test]
fn names_that_are_no_text_are_given_in_hexadecimal_too() {
    use std::os::unix::ffi::OsStrExt;
    let place = Vaultbox::new();
    let source = place.dir("source");
    put(&source.join(std::ffi::OsStr::from_bytes(b"a\xff\nb")), b"x");
    place.owner.backup(&source).ok();
    let rows = place.owner.run(["ls", "latest", "--json"]).ok().rows();
    assert!(rows.iter().any(|row| row["path_hex"] == "61ff0a62"), "{rows:?}");
    let plain = place.owner.run(["ls", "latest"]).ok().text();
    assert!(!plain.contains("a\u{fffd}\nb"), "a name cannot make a line of its own: {plain:?}");
}

#[test]
fn quiet_says_nothing_and_errors_end_with_what_to_do() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let quiet = place.owner.shudao(["backup", "--quiet"]).arg(&source).run().ok();
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet}");
    let error = place.owner.restore("latest", &source).exits(2);
    assert!(error.stdout.is_empty() && error.mentions("--in-place"), "{error}");
}

/// Fails if a run shows one of these.
fn hides(run: Run, secrets: &[&str]) -> Run {
    for secret in secrets {
        assert!(!run.mentions(secret), "a secret is shown: {run}");
    }
    run
}

#[test]
fn no_secret_is_ever_shown_or_stored() {
    let server = S3Server::start();
    let place = Vaultbox::empty_at(server.replica("v"), server.env());
    place.owner.init();
    let source = place.dir("source");
    plant_small(&source, 1);
    put(&source.join("confidential-name"), b"confidential content of a file");
    let password = place.owner.password.clone();
    let secrets = [password.as_str(), SECRET_KEY];
    let new_password = "new-password-umbrella-copper-17";
    let add = place
        .owner
        .shudao(["vault", "key", "add", "--role", "writer", "-v"])
        .env("SHUDAO_NEW_PASSWORD", new_password);
    hides(add.run().ok(), &[secrets[0], secrets[1], new_password]);
    for args in [
        &["snapshots", "-v"][..],
        &["vault", "info", "-v"],
        &["vault", "info", "--json"],
        &["vault", "status", "-v"],
        &["vault", "key", "list", "-v"],
        &["check", "-v"],
        &["ls", "nonsense", "-v"],
        &["no-such-command"],
    ] {
        hides(place.owner.run(args), &secrets);
    }
    hides(place.owner.shudao(["backup", "-v"]).arg(&source).run().ok(), &secrets);
    for text in ["confidential-name", "confidential content", &password] {
        let found = std::process::Command::new("grep")
            .args(["-r", "-l", "-F", text])
            .arg(server.bucket_dir())
            .output()
            .unwrap();
        assert!(
            found.stdout.is_empty(),
            "{text:?} lies in the clear in {}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
    let state = std::process::Command::new("grep")
        .args(["-r", "-l", "-F", &password])
        .arg(&place.owner.machine)
        .output()
        .unwrap();
    assert!(state.stdout.is_empty(), "the password lies in {}", String::from_utf8_lossy(&state.stdout));
}
