//! Ctrl-C, and what an init system sends, at each stage of each command: exit 130, nothing half-visible, and the same command works
//! afterwards. A stage is held by a store that does not answer, so that nothing depends on how fast the machine is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shudao_tests::compare::same;
use shudao_tests::content::{plant_small, put_hole, put_noise};
use shudao_tests::fault::{Fault, Target};
use shudao_tests::invocation::{Invocation, Running};
use shudao_tests::output::Run;
use shudao_tests::s3::S3Server;
use shudao_tests::vaultbox::Vaultbox;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// A vault behind a server that stops answering when it is told to.
struct Stage {
    server: S3Server,
    place: Vaultbox,
    source: PathBuf,
}

#[derive(Clone, Copy)]
enum Signal {
    Interrupt,
    Terminate,
}

impl Stage {
    fn new() -> Self {
        let server = S3Server::start();
        let place = Vaultbox::at(server.replica("v"), server.env());
        let source = place.dir("source");
        plant_small(&source, 1);
        put_noise(&source.join("noise"), 3 << 20, 5);
        Self { server, place, source }
    }

    /// The same with a snapshot of the source.
    fn with_snapshot() -> Self {
        let stage = Self::new();
        stage.place.owner.backup(&stage.source).ok();
        stage
    }

    fn backup(&self) -> Invocation {
        self.place.owner.shudao(["backup"]).arg(&self.source)
    }

    /// Starts a run, of whose requests those to `target` get no answer, and waits until it has sent one.
    fn stalled(&self, invocation: &Invocation, target: Target) -> Running {
        let before = self.server.faults().requests().len();
        self.server.plan(&target, Fault::Delay(FOR_EVER), 1000);
        let is_met = |request: &String| request.starts_with(target.method) && request.contains(target.part);
        let mut running = invocation.start();
        running.until(|_| self.server.faults().requests()[before..].iter().any(is_met));
        running
    }

    /// Interrupts such a run and lets the server answer again.
    fn stopped(&self, invocation: &Invocation, target: Target, signal: Signal) -> Run {
        let running = self.stalled(invocation, target);
        match signal {
            Signal::Interrupt => running.interrupt(),
            Signal::Terminate => running.terminate(),
        }
        let stopped = running.wait().exits(130);
        self.server.forgive();
        stopped.says("hint:")
    }

    /// Two signals end a run that could not have ended by itself, without another word.
    fn ended_at_once(&self, invocation: &Invocation, target: Target) {
        let running = self.stalled(invocation, target);
        running.interrupt();
        running.terminate();
        let ended = running.wait().exits(130);
        self.server.forgive();
        assert!(!ended.mentions("hint:"), "{ended}");
    }

    /// Nothing of the interrupted runs is seen, and all is as after undisturbed ones.
    fn is_whole(&self, snapshots: usize) {
        let owner = &self.place.owner;
        assert_eq!(owner.snapshots().len(), snapshots);
        let done = owner.backup(&self.source).ok();
        assert_eq!(owner.snapshots().len(), snapshots + 1);
        let target = self.place.path("whole");
        owner.restore(&done.snapshot(), &target).ok();
        same(&self.source, &target);
        let checked = owner.run(["check", "--read-data", "--json"]).ok();
        assert_eq!(checked.count("findings"), 0, "{checked}");
    }
}

const fn requests(method: &'static str, part: &'static str) -> Target {
    Target { method, part }
}

#[test]
fn a_backup_that_reads_its_parents_tree_is_stopped() {
    let stage = Stage::with_snapshot();
    put_noise(&stage.source.join("more"), 1 << 20, 6);
    stage.stopped(&stage.backup(), requests("GET", "/packs/"), Signal::Interrupt);
    stage.ended_at_once(&stage.backup(), requests("GET", "/packs/"));
    stage.is_whole(1);
}

#[test]
fn a_backup_that_reads_a_file_is_stopped() {
    let stage = Stage::new();
    let endless = stage.source.join("zz endless");
    put_hole(&endless, 256 << 30);
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let mut running = stage.backup().start();
        running.until(|running| running.has_open(&endless));
        match signal {
            Signal::Interrupt => running.interrupt(),
            Signal::Terminate => running.terminate(),
        }
        running.wait().exits(130).says("hint:");
    }
    std::fs::remove_file(endless).unwrap();
    stage.is_whole(0);
}

#[test]
fn a_backup_that_uploads_is_stopped() {
    let stage = Stage::new();
    let stopped = stage.stopped(&stage.backup(), requests("PUT", "/packs/"), Signal::Interrupt);
    assert!(stopped.mentions("hint: what is stored stays"), "it says how to go on: {stopped}");
    stage.ended_at_once(&stage.backup(), requests("PUT", "/packs/"));
    stage.is_whole(0);
}

#[test]
fn a_backup_that_commits_is_stopped() {
    let stage = Stage::new();
    stage.stopped(&stage.backup(), requests("PUT", "/snapshots/"), Signal::Terminate);
    stage.ended_at_once(&stage.backup(), requests("PUT", "/snapshots/"));
    stage.is_whole(0);
}

fn restore(stage: &Stage, target: &Path) -> Invocation {
    stage.place.owner.shudao(["restore", "latest", "--in-place", "--to"]).arg(target)
}

#[test]
fn a_restore_is_stopped_and_the_next_one_finishes_it() {
    let stage = Stage::with_snapshot();
    let target = stage.place.path("target");
    stage.stopped(&restore(&stage, &target), requests("GET", "/packs/"), Signal::Interrupt);
    stage.ended_at_once(&restore(&stage, &target), requests("GET", "/packs/"));
    restore(&stage, &target).run().ok();
    same(&stage.source, &target);
    stage.is_whole(1);
}

#[test]
fn a_check_of_all_data_is_stopped() {
    let stage = Stage::with_snapshot();
    let check = stage.place.owner.shudao(["check", "--read-data"]);
    stage.stopped(&check, requests("GET", "/packs/"), Signal::Interrupt);
    stage.stopped(&check, requests("GET", "/packs/"), Signal::Terminate);
    stage.is_whole(1);
}

#[test]
fn a_verify_is_stopped() {
    let stage = Stage::with_snapshot();
    let verify = stage.place.owner.shudao(["verify", "latest"]).arg(&stage.source);
    stage.stopped(&verify, requests("GET", "/packs/"), Signal::Interrupt);
    stage.stopped(&verify, requests("GET", "/packs/"), Signal::Terminate);
    verify.run().ok();
    stage.is_whole(1);
}

#[test]
fn a_collection_is_stopped_while_it_walks_and_while_it_deletes() {
    let stage = Stage::with_snapshot();
    std::fs::remove_file(stage.source.join("noise")).unwrap();
    put_noise(&stage.source.join("other"), 3 << 20, 8);
    stage.place.owner.backup(&stage.source).ok();
    stage.place.owner.run(["forget", "--keep-last", "1", "--yes"]).ok();
    let collect = stage.place.owner.shudao(["gc", "--yes", "--grace", "0s"]);
    stage.stopped(&collect, requests("GET", "/packs/"), Signal::Interrupt);
    stage.stopped(&collect, requests("DELETE", "/packs/"), Signal::Terminate);
    stage.ended_at_once(&collect, requests("GET", "/packs/"));
    let freed = stage.place.owner.run(["gc", "--yes", "--grace", "0s", "--json"]).ok();
    assert!(freed.summary()["deleted"]["objects"].as_u64().unwrap() > 0, "{freed}");
    stage.is_whole(1);
}

#[test]
fn a_forget_is_stopped_and_the_next_one_finds_what_became_of_it() {
    let stage = Stage::with_snapshot();
    stage.place.owner.backup(&stage.source).ok();
    let forget = stage.place.owner.shudao(["forget", "--keep-last", "1", "--yes"]);
    stage.stopped(&forget, requests("PUT", "/log/"), Signal::Interrupt);
    forget.run().ok();
    stage.is_whole(1);
}

#[test]
fn bringing_a_replica_level_is_stopped() {
    let stage = Stage::with_snapshot();
    let owner = &stage.place.owner;
    let second = stage.place.path("second");
    let (from, to) = (stage.server.replica("v"), second.display().to_string());
    owner.shudao(["vault", "replica", "add"]).arg(&second).run().ok();
    put_noise(&stage.source.join("more"), 1 << 20, 9);
    owner.backup(&stage.source).ok();
    let sync = owner.bare(["vault", "replica", "sync", &from, &to]);
    stage.stopped(&sync, requests("GET", "/packs/"), Signal::Interrupt);
    stage.ended_at_once(&sync, requests("GET", "/packs/"));
    let shown = |args: &[&str]| owner.bare(args).args(["--vault", &to, "--json"]).run().ok().rows().len();
    assert_eq!(shown(&["snapshots"]), 1, "what is not whole is not shown");
    sync.run().ok();
    assert_eq!(shown(&["snapshots"]), 2);
    owner.bare(["check", "--read-data", "--vault", &to]).run().ok();
    stage.is_whole(2);
}

#[test]
fn a_survey_is_stopped() {
    let place = Vaultbox::empty();
    let source = place.dir("source");
    // Much to compress for any machine: the sample takes 64 MiB of each.
    for number in 0..3 {
        put_noise(&source.join(number.to_string()), 64 << 20, number);
    }
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let mut running = place.owner.bare(["survey"]).arg(&source).start();
        running.until(Running::hears_signals);
        match signal {
            Signal::Interrupt => running.interrupt(),
            Signal::Terminate => running.terminate(),
        }
        running.wait().exits(130).says("hint:");
    }
}
