//! Mount points, in a mount namespace of our own: the test starts itself again inside one.

use std::process::Command;

use super::*;

/// Names the tree to the test inside.
const TOP_VARIABLE: &str = "SHUDAO_TEST_MOUNTS";

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--mount");
    command
}

#[test]
fn mount_points_are_entered_or_left_by_rule() {
    if let Some(top) = std::env::var_os(TOP_VARIABLE) {
        return inside_the_namespace(&PathBuf::from(top));
    }
    let top = tempfile::tempdir().unwrap();
    for directory in ["mnt", "dir/loop", "bound"] {
        std::fs::create_dir_all(top.path().join(directory)).unwrap();
    }
    std::fs::write(top.path().join("dir/f"), "x").unwrap();
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        // Ordinary users may be denied namespaces; then a tree without mounts shows that the rule leaves nothing out.
        let rule = LiveOptions { one_file_system: true, ..LiveOptions::default() };
        assert_eq!(show(&read(&[top.path()], &rule)), ["", "bound", "dir", "dir/f", "dir/loop", "mnt"]);
        return;
    }
    let script = r#"set -e
        cd "$SHUDAO_TEST_MOUNTS"
        mount -t tmpfs tmpfs mnt && touch mnt/f
        mount --bind dir bound
        mount --bind . dir/loop
        exec "$0" live::tests::mounts::mount_points_are_entered_or_left_by_rule --exact"#;
    let test = std::env::current_exe().unwrap();
    let output =
        unshare().args(["sh", "-c", script]).arg(test).env(TOP_VARIABLE, top.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn inside_the_namespace(top: &Path) {
    let all = LiveOptions::default();
    assert_eq!(
        show(&read(&[top], &all)),
        [
            "",
            "bound",
            "bound/f",
            "bound/loop",
            "dir",
            "dir/f",
            "dir/loop",
            "dir/loop: is one of its own ancestors",
            "mnt",
            "mnt/f"
        ]
    );
    let rule = LiveOptions { one_file_system: true, ..LiveOptions::default() };
    assert_eq!(
        show(&read(&[top], &rule)),
        [
            "",
            "bound",
            "bound: lies on another file system",
            "dir",
            "dir/f",
            "dir/loop",
            "dir/loop: lies on another file system",
            "mnt",
            "mnt: lies on another file system"
        ]
    );
    let named = [top.join("mnt"), top.join("dir/f")];
    assert_eq!(below(&read(&named, &rule), top).0, ["dir", "dir/f", "mnt", "mnt/f"]);
}
