//! When an unavailable store is asked again: bounded, exponential, with jitter from a seeded generator.

use std::time::Duration;

use crate::error::{Error, Result};

use super::draw::Draw;
use super::options::RetryPolicy;

/// The policy and the generator that all operations of one store share.
pub(super) struct Retry {
    policy: RetryPolicy,
    draw: Draw,
}

/// The attempts of one operation.
pub(super) struct Attempts<'a> {
    retry: &'a Retry,
    failed: u32,
}

impl Retry {
    pub(super) fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self { policy, draw: Draw::new(seed) }
    }

    /// A fresh count of attempts.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts { retry: self, failed: 0 }
    }
}

impl Attempts<'_> {
    /// Pauses before another attempt, or gives `error` back when another attempt would not help or was the last.
    pub(super) async fn pause(&mut self, error: Error) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.failed += 1;
        if self.failed >= self.retry.policy.attempts_max {
            let message = format!("{error} (tried {} times)", self.failed);
            return Err(error.context(message));
        }
        tokio::time::sleep(pause(&self.retry.policy, self.failed, self.retry.draw.next())).await;
        Ok(())
    }
}

/// The pause after failure number `failed`: between one half and the whole of the doubled step.
fn pause(policy: &RetryPolicy, failed: u32, random: u64) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    let whole = policy.pause_first.saturating_mul(1 << doublings).min(policy.pause_max);
    let half_us = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX) / 2;
    whole / 2 + Duration::from_micros(if half_us == 0 { 0 } else { random % half_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_at_least_half() {
        let policy = RetryPolicy::default();
        for (failed, whole_ms) in
            [(1, 250), (2, 500), (3, 1000), (7, 16_000), (8, 20_000), (u32::MAX, 20_000)]
        {
            for random in [0, 1, u64::MAX] {
                let paused = pause(&policy, failed, random);
                assert!(paused >= Duration::from_millis(whole_ms / 2), "{failed} {paused:?}");
                assert!(paused <= Duration::from_millis(whole_ms), "{failed} {paused:?}");
            }
        }
    }

    #[tokio::test]
    async fn only_what_is_unavailable_is_tried_again_and_not_for_ever() {
        let policy = RetryPolicy { attempts_max: 3, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
        let retry = Retry::new(policy, 0);
        let mut attempts = retry.attempts();
        assert!(attempts.pause(Error::new(Kind::Missing, "read x")).await.is_err());
        let unavailable = || Error::new(Kind::Unavailable, "read x");
        attempts.pause(unavailable()).await.unwrap();
        attempts.pause(unavailable()).await.unwrap();
        let error = attempts.pause(unavailable()).await.unwrap_err();
        assert_eq!(error.to_string(), "read x (tried 3 times)");
    }
}
