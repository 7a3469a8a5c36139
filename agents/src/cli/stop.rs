//! Signals: the first SIGINT or SIGTERM asks the run to come to an end, and ends the process when it has not after some seconds; the
//! second ends the process at once. That is safe at any moment, as a loss of power is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::failure::{Exit, Failure, Result};
use super::messages::Notice;
use super::output::Output;

/// Nobody may be reading what is said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The wish that the run come to an end, shared with everything that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    requested: Arc<AtomicBool>,
    wakes: Arc<Notify>,
    prompting: Arc<AtomicBool>,
}

impl Stop {
    /// Whether the run should come to an end.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// The flag itself, for the engines.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.requested)
    }

    /// An error of exit code 130 once the run should come to an end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_requested() { Err(Failure::interrupted()) } else { Ok(()) }
    }

    /// Asks a question on the terminal: while it stands, a first signal does not end the process, because the terminal
    /// would be left without its echo.
    pub(crate) fn while_prompting<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.prompting.store(true, Ordering::Relaxed);
        let answer = ask();
        self.prompting.store(false, Ordering::Relaxed);
        answer
    }

    /// What comes of `work`, or an error of exit code 130 as soon as the run should come to an end. `work` is dropped then,
    /// wherever it is.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.requested() => Err(Failure::interrupted()),
            done = work => Ok(done),
        }
    }

    /// Returns once the run should come to an end.
    pub(crate) async fn requested(&self) {
        loop {
            let woken = self.wakes.notified();
            if self.is_requested() {
                return;
            }
            woken.await;
        }
    }

    fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
        self.wakes.notify_waiters();
    }
}

/// The signals that ask a run to end, heard from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen, in a runtime; none where the system does not allow it: signals then have their default effect, which is
    /// to end the process.
    pub(crate) fn listen() -> Option<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        Some(Self { interrupt: interrupt.ok()?, terminate: terminate.ok()? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for signals until the process ends. With a grace the first one lets the run finish what it has begun, for so long.
pub(crate) async fn watch(mut signals: Signals, stop: Stop, output: Output, grace: Option<Duration>) {
    signals.next().await;
    stop.request();
    let again = signals.next();
    if stop.prompting.load(Ordering::Relaxed) {
        again.await;
    } else if let Some(grace) = grace {
        output.notice(&Notice::Stopping {});
        tokio::select! {
            () = again => {}
            () = sleep(grace) => say_interrupted(&output).await,
        }
    } else {
        say_interrupted(&output).await;
    }
    output.abandon();
    std::process::exit(Exit::Interrupted as i32);
}

async fn say_interrupted(output: &Output) {
    let output = output.clone();
    let said = tokio::task::spawn_blocking(move || {
        output.failure(&Failure::interrupted());
        // There is nobody left to whom a failure to say it could be said.
        let _ = output.flush();
    });
    let _ = timeout(LAST_WORDS, said).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_as_soon_as_the_run_should_end_and_not_before() {
        let stop = Stop::default();
        assert_eq!(stop.or(async { 7 }).await.unwrap(), 7);
        let (asking, waiting) = (stop.clone(), stop.clone());
        let work =
            tokio::spawn(async move { waiting.or(std::future::pending::<()>()).await.map_err(|f| f.exit()) });
        sleep(Duration::from_secs(1000)).await;
        assert!(!work.is_finished());
        asking.request();
        assert_eq!(work.await.unwrap(), Err(Exit::Interrupted));
        assert!(stop.or(std::future::pending::<()>()).await.is_err(), "it stays so");
    }
}
