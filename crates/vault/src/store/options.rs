//! What the caller decides about a store beside its address.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::id::ClientId;

/// Everything that opening a store needs beside the address. Nothing in this crate reads the environment: the
/// caller takes a snapshot of it and hands it in.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// A snapshot of the environment, or of a file of the same names: `AWS_ACCESS_KEY_ID`, `AWS_CA_BUNDLE`, …
    pub credentials: BTreeMap<String, String>,
    /// The most stored bytes per second, uploads and downloads together; none means no limit.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// How long an answer may take.
    pub timeouts: Timeouts,
    /// How often, and after which pauses, an unavailable store is asked again.
    pub retry: RetryPolicy,
    /// Seeds the jitter of the pauses; two runs with different seeds do not knock at the same moments.
    pub seed: u64,
    /// Who writes, for vaults that only one client may write to; without it such a vault can only be read.
    pub client: Option<ClientId>,
}

/// How long an answer may take before the request counts as unanswered.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of it.
    pub answer: Duration,
    /// The slowest line that is still waited for: an upload of n bytes may take `answer` plus n divided by this.
    pub bytes_per_second_min: u64,
}

/// How an unavailable store is asked again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least one is made.
    pub attempts_max: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            bytes_per_second_min: 64 << 10,
        }
    }
}

impl Timeouts {
    /// How long moving `bytes` may take in all.
    pub(super) fn deadline(&self, bytes: u64) -> Duration {
        self.answer.saturating_add(Duration::from_secs(bytes / self.bytes_per_second_min.max(1)))
    }
}

impl Default for RetryPolicy {
    /// Eight attempts within about half a minute of pauses.
    fn default() -> Self {
        Self { attempts_max: 8, pause_first: Duration::from_millis(250), pause_max: Duration::from_secs(20) }
    }
}

impl StoreOptions {
    /// The first of `names` that is set and not empty.
    pub(super) fn credential(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .filter_map(|name| self.credentials.get(*name))
            .map(String::as_str)
            .find(|v| !v.is_empty())
    }
}

impl fmt::Debug for StoreOptions {
    /// Names of credentials only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("credentials", &self.credentials.len())
            .field("bandwidth_bytes_per_second", &self.bandwidth_bytes_per_second)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_an_upload_grows_with_its_size() {
        let timeouts = Timeouts {
            answer: Duration::from_secs(60),
            bytes_per_second_min: 1 << 16,
            ..Timeouts::default()
        };
        assert_eq!(timeouts.deadline(0), Duration::from_secs(60));
        assert_eq!(timeouts.deadline(32 << 20), Duration::from_secs(60 + 512));
        assert!(
            Timeouts { bytes_per_second_min: 0, ..timeouts }.deadline(u64::MAX) > Duration::from_secs(60)
        );
    }

    #[test]
    fn credentials_never_show_in_debug_output() {
        let options = StoreOptions {
            credentials: [("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())].into(),
            ..StoreOptions::default()
        };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
