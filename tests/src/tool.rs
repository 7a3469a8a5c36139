//! Other people's programs. One that is missing fails the test and says how to get it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where programs are looked for: the caller's `PATH`, then where Debian keeps those for administrators.
pub fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()))
}

/// A command that runs `name`, speaking English.
///
/// # Panics
/// If there is no such program.
pub fn tool(name: &str) -> Command {
    let path = search_path();
    let program =
        path.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
    let Some(program) = program else {
        panic!("the program `{name}` is missing: run ./test once, which installs what the tests need");
    };
    let mut command = Command::new(program);
    command.env("PATH", path).env("LC_ALL", "C");
    command
}

/// Runs a command that must succeed and returns its standard output.
///
/// # Panics
/// If it cannot be started or fails.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = finish(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn finish(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// Runs `name` with `args`; it must succeed.
pub fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Vec<u8> {
    succeed(tool(name).args(args))
}

/// The directory that cargo builds into: this test's own program lies in `<target>/<profile>/deps`.
pub fn target_dir() -> PathBuf {
    profile_dir().parent().map(Path::to_path_buf).expect("a profile's directory lies in the target directory")
}

/// `<target>/<profile>`, where cargo puts binaries.
pub fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the system names the running program");
    test.ancestors().nth(2).map(Path::to_path_buf).expect("cargo puts tests into <profile>/deps")
}

/// The root of the source tree.
pub fn source_dir() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_path_buf).expect("this package lies in the source tree")
}

/// Fails unless the caller is root.
///
/// # Panics
/// If it is not.
pub fn need_root(what: &str) {
    assert!(is_root(), "{what} takes root: run ./test, which asks for it");
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
