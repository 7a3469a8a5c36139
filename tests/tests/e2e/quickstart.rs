//! The tour: it does the whole main job, names everything it makes, and every command of it can be given by hand.

use std::path::{Path, PathBuf};

use shudao_tests::content::plant_small;
use shudao_tests::invocation::Invocation;
use shudao_tests::tool::{finish, search_path, tool};
use shudao_tests::vaultbox::Vaultbox;

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A tour's surroundings: a home and a place for temporary files, both empty.
struct Tour {
    place: Vaultbox,
    source: PathBuf,
    home: PathBuf,
    above: PathBuf,
}

impl Tour {
    fn new() -> Self {
        let place = Vaultbox::empty();
        let (source, home, above) = (place.dir("it's a source"), place.dir("home"), place.dir("tmp"));
        plant_small(&source, 1);
        Self { place, source, home, above }
    }

    fn invocation(&self) -> Invocation {
        let invocation = Invocation::new().arg("quickstart").arg(&self.source);
        invocation.env("HOME", &self.home).env("TMPDIR", &self.above)
    }

    /// The one directory that the tour made.
    fn made(&self) -> PathBuf {
        match &names(&self.above)[..] {
            [only] => self.above.join(only),
            several => panic!("the tour makes one directory: {several:?}"),
        }
    }
}

#[test]
fn a_tour_does_the_main_job_and_leaves_only_what_it_names() {
    let tour = Tour::new();
    let original = tour.place.path("original");
    finish(tool("cp").arg("-a").arg(&tour.source).arg(&original));
    let run = tour.invocation().run().ok();
    shudao_tests::compare::same(&original, &tour.source);
    let made = tour.made();
    let left = names(&made);
    let text = run.text();
    let named = text.lines().last().unwrap();
    assert!(named.contains(made.to_str().unwrap()), "it names its directory last: {named}");
    for name in &left {
        assert!(named.contains(name.as_str()), "{name} is named: {named}");
    }
    for expected in ["vault", "data", "restored", "password", "recovery-kit"] {
        assert!(left.iter().any(|name| name == expected), "{expected}: {left:?}");
    }
    assert_eq!(names(&tour.home), Vec::<String>::new(), "nothing is left in the home directory");
    shudao_tests::compare::same(&made.join("data"), &made.join("restored"));
}

#[test]
fn the_commands_of_a_tour_can_be_given_by_hand_to_the_same_end() {
    let tour = Tour::new();
    let run = tour.invocation().run().ok();
    let made = tour.made();
    let kept = made.join("password");
    let password = std::fs::read(&kept).unwrap();
    let text = run.text();
    let is_setting = |line: &str| line.starts_with("export ") || line.starts_with("cd ");
    let mut script: Vec<&str> = Vec::new();
    for line in text.lines() {
        script.extend(line.strip_prefix("$ ").or(is_setting(line).then_some(line)));
    }
    std::fs::write(made.join("restored/readme.txt"), "to be made again").unwrap();
    assert!(script.len() > 12, "the commands are printed: {run}");
    let mut shell = tool("sh");
    shell.arg("-euc").arg(script.join("\n")).env_clear();
    let by_hand = finish(shell.env("PATH", search_path()).env("HOME", &tour.home));
    assert!(by_hand.status.success(), "{}", String::from_utf8_lossy(&by_hand.stderr));
    assert_eq!(std::fs::read(&kept).unwrap(), password);
    shudao_tests::compare::same(&made.join("data"), &made.join("restored"));
}

#[test]
fn a_clean_tour_leaves_nothing_and_reports_each_step() {
    let tour = Tour::new();
    let run = tour.invocation().args(["--clean", "--json"]).run().ok();
    assert_eq!(names(&tour.above), Vec::<String>::new());
    let steps: Vec<_> = run.rows().into_iter().filter(|row| row["type"] == "step").collect();
    assert_eq!(run.count("steps"), steps.len() as u64);
    assert!(steps.iter().all(|step| step["exit"] == 0), "{run}");
    for command in ["init", "backup", "snapshots", "restore", "verify", "check"] {
        let is_command = |step: &serde_json::Value| {
            step["command"].as_str().unwrap().contains(command) && step["result"]["type"] == "summary"
        };
        assert!(steps.iter().any(is_command), "{command} ran and said what it did: {run}");
    }
}

#[test]
fn a_tour_of_what_is_no_directory_is_refused_and_leaves_nothing() {
    let tour = Tour::new();
    let missing = tour.place.path("missing");
    let file = tour.source.join("readme.txt");
    for path in [missing, file] {
        let run = Invocation::new().arg("quickstart").arg(&path);
        run.env("HOME", &tour.home)
            .env("TMPDIR", &tour.above)
            .run()
            .exits(2)
            .says("quickstart /usr/share/doc");
    }
    assert_eq!(names(&tour.above), Vec::<String>::new());
}
