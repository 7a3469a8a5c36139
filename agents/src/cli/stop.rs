//! Signals: the first SIGINT or SIGTERM asks the run to come to an end, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Exit, Failure, Result};
use super::messages::Notice;
use super::output::Output;

/// How often waiting work looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// The wish that the run come to an end, shared with everything that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    requested: Arc<AtomicBool>,
    prompting: Arc<AtomicBool>,
}

impl Stop {
    /// Whether the run should come to an end.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Returns once the run should come to an end: for work that may be dropped wherever it is.
    pub(crate) async fn requested(&self) {
        while !self.is_requested() {
            tokio::time::sleep(LOOK).await;
        }
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

    fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }
}

/// Waits for signals until the process ends. `gracefully`: the first one lets the run finish what it has begun.
pub(crate) async fn watch(stop: Stop, output: Output, gracefully: bool) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Signals then have their default effect, which is to end the process.
        return;
    };
    either(&mut interrupt, &mut terminate).await;
    stop.request();
    let prompting = stop.prompting.load(Ordering::Relaxed);
    if gracefully || prompting {
        if !prompting {
            output.notice(&Notice::Stopping {});
        }
        either(&mut interrupt, &mut terminate).await;
    }
    output.abandon();
    std::process::exit(Exit::Interrupted as i32);
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
