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

use indicatif::{ProgressBar, ProgressStyle};

use super::messages::{Lang, Notice};
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
}

impl Progress {
    /// Names the path that is worked on; it is escaped for people when it is shown.
    pub(crate) fn set_current(&self, path: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.push_str(path);
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
    bars: Option<[ProgressBar; 2]>,
}

impl Screen {
    fn new(output: &Output) -> Self {
        let bars = output.bars().map(|bars| {
            [(); 2].map(|()| {
                let style =
                    ProgressStyle::with_template("{wide_msg}").expect("the template is a constant of ours");
                bars.add(ProgressBar::new_spinner().with_style(style))
            })
        });
        Self { started: Instant::now(), meter: RateMeter::default(), bars }
    }

    fn draw(&mut self, sample: &Sample, output: &Output) {
        let elapsed = self.started.elapsed();
        let rate = self.meter.note(elapsed, sample.bytes_done);
        let text = line(sample, rate, elapsed, output.lang());
        match &self.bars {
            Some([counters, current]) => {
                counters.set_message(text);
                current.set_message(escaped(&sample.current));
                counters.tick();
                current.tick();
            }
            None => output.detail(&Notice::Plain { text }),
        }
    }

    fn clear(&self) {
        for bar in self.bars.iter().flatten() {
            bar.finish_and_clear();
        }
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
    fn nobody_says_how_long_when_nothing_moves_or_all_is_done() {
        let mut sample = Sample { bytes_done: 10, bytes_total: 20, ..Sample::default() };
        assert_eq!(time_left(&sample, Some(0.0)), None);
        assert_eq!(time_left(&sample, None), None);
        assert_eq!(time_left(&sample, Some(3.0)), Some(Duration::from_secs(4)));
        sample.bytes_done = 25;
        assert_eq!(time_left(&sample, Some(3.0)), None);
    }
}
