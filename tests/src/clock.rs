//! Waiting for the file system's clock, where a test needs files that a scan trusts unread.

use std::time::{Duration, Instant};

/// Waits until every file written so far has settled: its last change lies longer back than the two seconds within
/// which a scan does not trust a file system's clock. That clock is the system's, so nothing else can be waited for.
pub fn settle() {
    let settled = Instant::now() + Duration::from_millis(2_300);
    while let Some(left) = settled.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
