//! Progress of a run: counters that the engine raises, and a renderer that reads them a few times a second.
//!
//! The renderer draws two lines on stderr if it is a terminal: rate, time left, files, deduplication ratio; and the
//! current path. Where stderr is no terminal it is silent, unless `-v` asks for a line a minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::messages::{Label, Lang, Notice};
use super::output::Output;
use super::{path::escaped, show};

const FRAME: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(60);
const RATE_WINDOW: Duration = Duration::from_secs(15);

/// Counters of a run, shared with whatever does the work. Totals are zero while they are not known.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Files finished.
    pub(crate) files_done: AtomicU64,
    /// Bytes gone through: read from the source, written to the target, compared.
    pub(crate) bytes_done: AtomicU64,
    /// Of these, bytes that were not known to the vault.
    pub(crate) bytes_new: AtomicU64,
    /// Bytes stored, compressed and sealed.
    pub(crate) bytes_stored: AtomicU64,
    /// Files expected.
    pub(crate) files_total: AtomicU64,
    /// Bytes expected.
    pub(crate) bytes_total: AtomicU64,
    current: Mutex<String>,
    replicas: Mutex<Vec<ReplicaSample>>,
}

/// One replica's part of a run at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReplicaSample {
    /// Its address.
    pub(crate) address: String,
    /// Bytes that it has acknowledged.
    pub(crate) bytes_stored: u64,
    /// Bytes that wait for it.
    pub(crate) bytes_waiting: u64,
    /// It does not answer at the moment.
    pub(crate) is_failing: bool,
    /// It was given up in this run.
    pub(crate) is_given_up: bool,
}

impl Progress {
    /// Names the path that is worked on; it is escaped for people when it is shown.
    pub(crate) fn set_current(&self, path: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.push_str(path);
    }

    /// Says how each replica's part stands.
    pub(crate) fn set_replicas(&self, replicas: Vec<ReplicaSample>) {
        *self.replicas.lock().unwrap_or_else(PoisonError::into_inner) = replicas;
    }

    /// The counters now.
    pub(crate) fn sample(&self) -> Sample {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sample {
            files_done: get(&self.files_done),
            bytes_done: get(&self.bytes_done),
            bytes_new: get(&self.bytes_new),
            bytes_stored: get(&self.bytes_stored),
            files_total: get(&self.files_total),
            bytes_total: get(&self.bytes_total),
            current: self.current.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            replicas: self.replicas.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// The counters at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) files_done: u64,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_new: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) files_total: u64,
    pub(crate) bytes_total: u64,
    pub(crate) current: String,
    pub(crate) replicas: Vec<ReplicaSample>,
}

/// Rate over the last seconds. Time comes in as an argument.
#[derive(Debug, Default)]
struct RateMeter {
    points: VecDeque<(Duration, u64)>,
}

impl RateMeter {
    /// Notes that `bytes` were done `at` this time since the start; returns bytes a second, or `None` too early.
    fn note(&mut self, at: Duration, bytes: u64) -> Option<f64> {
        self.points.push_back((at, bytes));
        while self.points.len() > 2 && at.saturating_sub(self.points[1].0) >= RATE_WINDOW {
            self.points.pop_front();
        }
        let (since, before) = *self.points.front()?;
        let span = at.saturating_sub(since).as_secs_f64();
        (span >= 0.5).then(|| bytes.saturating_sub(before) as f64 / span)
    }
}

/// The line for people: what is done, how fast, how long still.
fn line(sample: &Sample, rate: Option<f64>, elapsed: Duration, lang: Lang) -> String {
    let of = |done: String, total: u64, shown: fn(u64) -> String| match total {
        0 => done,
        total => format!("{done} / {}", shown(total)),
    };
    let mut parts = vec![
        show::duration(Duration::from_secs(elapsed.as_secs())),
        Notice::ProgressFiles { files: of(show::count(sample.files_done), sample.files_total, show::count) }
            .text(lang),
        of(show::bytes(sample.bytes_done), sample.bytes_total, show::bytes),
    ];
    if let Some(rate) = rate {
        parts.push(format!("{}/s", show::bytes(rate as u64)));
    }
    if sample.bytes_new > 0 {
        let ratio = format!("{:.1}", sample.bytes_done as f64 / sample.bytes_new as f64);
        parts.push(Notice::ProgressDedup { ratio, stored: show::bytes(sample.bytes_stored) }.text(lang));
    }
    if let Some(left) = time_left(sample, rate) {
        parts.push(Notice::ProgressLeft { time: show::duration(left) }.text(lang));
    }
    parts.join(" · ")
}

/// The line for one replica: what it has, what waits for it, and whether it answers.
fn replica_line(replica: &ReplicaSample, lang: Lang) -> String {
    let state = match replica {
        ReplicaSample { is_given_up: true, .. } => Label::GivenUp {}.text(lang),
        ReplicaSample { is_failing: true, .. } => Label::NoAnswer {}.text(lang),
        ReplicaSample { .. } => String::new(),
    };
    Notice::ProgressReplica {
        address: escaped(&replica.address),
        stored: show::bytes(replica.bytes_stored),
        waiting: show::bytes(replica.bytes_waiting),
        state,
    }
    .text(lang)
    .trim_end_matches([' ', '·'])
    .to_owned()
}

/// The lines for replicas; one alone has nothing to be compared with.
fn replica_lines(sample: &Sample, lang: Lang) -> Vec<String> {
    match sample.replicas.len() {
        0 | 1 => Vec::new(),
        _ => sample.replicas.iter().map(|replica| replica_line(replica, lang)).collect(),
    }
}

/// Time until the expected bytes are done, in whole seconds; `None` while nobody can say.
fn time_left(sample: &Sample, rate: Option<f64>) -> Option<Duration> {
    let rate = rate.filter(|rate| *rate >= 1.0)?;
    let left = sample.bytes_total.checked_sub(sample.bytes_done).filter(|left| *left > 0)?;
    let seconds = (left as f64 / rate).min(1e9);
    Some(Duration::from_secs(seconds.ceil() as u64))
}

/// Draws a run's progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Renderer {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Renderer {
    /// Starts drawing `progress`; does nothing where nobody looks.
    pub(crate) fn start(progress: Arc<Progress>, output: &Output) -> Self {
        let draws = output.bars().is_some();
        if !draws && !output.wants_progress_lines() {
            return Self { running: None };
        }
        let (stop, stopped) = channel();
        let output = output.clone();
        let drawing = std::thread::Builder::new().name("progress".into()).spawn(move || {
            let every = if draws { FRAME } else { LINE_EVERY };
            let mut screen = Screen::new(&output);
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                screen.draw(&progress.sample(), &output);
            }
            screen.clear();
        });
        // Without a thread the run goes on unseen.
        Self { running: drawing.ok().map(|thread| (stop, thread)) }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // The thread only draws; if it panicked, the run is none the worse.
            let _ = thread.join();
        }
    }
}

struct Screen {
    started: Instant,
    meter: RateMeter,
    bars: Option<Bars>,
}

/// The lines on a terminal, of which those for replicas come when there are several.
struct Bars {
    all: MultiProgress,
    counters: ProgressBar,
    current: ProgressBar,
    replicas: Vec<ProgressBar>,
}

fn bar(all: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant of ours");
    all.add(ProgressBar::new_spinner().with_style(style))
}

impl Screen {
    fn new(output: &Output) -> Self {
        let bars = output.bars().map(|all| Bars {
            all: all.clone(),
            counters: bar(all),
            current: bar(all),
            replicas: Vec::new(),
        });
        Self { started: Instant::now(), meter: RateMeter::default(), bars }
    }

    fn draw(&mut self, sample: &Sample, output: &Output) {
        let elapsed = self.started.elapsed();
        let rate = self.meter.note(elapsed, sample.bytes_done);
        let text = line(sample, rate, elapsed, output.lang());
        let replicas = replica_lines(sample, output.lang());
        match &mut self.bars {
            Some(bars) => bars.draw(text, escaped(&sample.current), replicas),
            None => {
                for text in std::iter::once(text).chain(replicas) {
                    output.detail(&Notice::Plain { text });
                }
            }
        }
    }

    fn clear(&self) {
        for bar in self.bars.iter().flat_map(Bars::all) {
            bar.finish_and_clear();
        }
    }
}

impl Bars {
    fn draw(&mut self, counters: String, current: String, replicas: Vec<String>) {
        while self.replicas.len() < replicas.len() {
            self.replicas.push(bar(&self.all));
        }
        let texts = [counters, current].into_iter().chain(replicas);
        for (bar, text) in self.all().zip(texts) {
            bar.set_message(text);
            bar.tick();
        }
    }

    fn all(&self) -> impl Iterator<Item = &ProgressBar> {
        [&self.counters, &self.current].into_iter().chain(&self.replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_covers_the_last_seconds_only() {
        let mut meter = RateMeter::default();
        let at = Duration::from_secs;
        assert_eq!(meter.note(at(0), 0), None);
        assert_eq!(meter.note(at(1), 100), Some(100.0));
        for second in 2..=60 {
            meter.note(at(second), 100);
        }
        assert_eq!(meter.note(at(61), 100), Some(0.0));
        assert!(meter.points.len() <= 18);
    }

    #[test]
    fn the_line_says_what_is_known_and_nothing_else() {
        let mut sample = Sample { files_done: 1200, bytes_done: 10 << 20, ..Sample::default() };
        let early = line(&sample, None, Duration::from_secs(3), Lang::En);
        assert_eq!(early, "3.00 s · 1,200 files · 10.0 MiB");
        sample.bytes_total = 30 << 20;
        sample.files_total = 4000;
        sample.bytes_new = 5 << 20;
        sample.bytes_stored = 2 << 20;
        let later = line(&sample, Some(f64::from(1 << 20)), Duration::from_secs(70), Lang::En);
        assert_eq!(
            later,
            "1 min 10 s · 1,200 / 4,000 files · 10.0 MiB / 30.0 MiB · 1.00 MiB/s · dedup 2.0, 2.00 MiB stored · \
             20.0 s left"
        );
    }

    #[test]
    fn several_replicas_have_a_line_each_and_one_has_none() {
        let replica = |address: &str| ReplicaSample {
            address: address.into(),
            bytes_stored: 2 << 20,
            bytes_waiting: 1 << 20,
            ..ReplicaSample::default()
        };
        let mut sample = Sample { replicas: vec![replica("/a")], ..Sample::default() };
        assert!(replica_lines(&sample, Lang::En).is_empty());
        sample.replicas.push(ReplicaSample { is_failing: true, ..replica("/b") });
        assert_eq!(
            replica_lines(&sample, Lang::En),
            ["/a: 2.00 MiB stored, 1.00 MiB waiting", "/b: 2.00 MiB stored, 1.00 MiB waiting · no answer"]
        );
    }

    #[test]
    fn nobody_says_how_long_when_nothing_moves_or_all_is_done() {
        let mut sample = Sample { bytes_done: 10, bytes_total: 20, ..Sample::default() };
        assert_eq!(time_left(&sample, Some(0.0)), None);
        assert_eq!(time_left(&sample, None), None);
        assert_eq!(time_left(&sample, Some(3.0)), Some(Duration::from_secs(4)));
        sample.bytes_done = 25;
        assert_eq!(time_left(&sample, Some(3.0)), None);
    }
}
