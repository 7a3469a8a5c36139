//! The byte budget: stored bytes per second, uploads and downloads together.
//!
//! Bytes are paid for before an upload is sent and after a download has arrived, in cells of 1 KiB and in slices of
//! at most a second, so the average keeps to the limit while a single object moves as fast as the line allows.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

const CELL_BYTES: u64 = 1024;

/// A limit that all operations of one store share.
pub(super) struct Budget {
    limiter: RateLimiter<NotKeyed, InMemoryState, SinceStart, NoOpMiddleware<Duration>>,
    clock: SinceStart,
    cells_per_second: NonZeroU32,
}

/// The runtime's clock: waiting and counting go by the same one.
#[derive(Debug, Clone, Copy)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Budget {
    /// A budget of `bytes_per_second`; less than a cell counts as one.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let cells = u32::try_from(bytes_per_second / CELL_BYTES).unwrap_or(u32::MAX);
        let cells_per_second = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        let clock = SinceStart(Instant::now());
        let limiter = RateLimiter::direct_with_clock(Quota::per_second(cells_per_second), clock);
        Self { limiter, clock, cells_per_second }
    }

    /// Waits until `bytes` more may move.
    pub(super) async fn pay(&self, bytes: u64) {
        for slice in slices(bytes, self.cells_per_second) {
            // The inner result is an error until enough cells are there; the outer one is an error only for a slice
            // larger than the burst, and slices() makes none.
            while let Ok(Err(wait)) = self.limiter.check_n(slice) {
                tokio::time::sleep(wait.wait_time_from(self.clock.now())).await;
            }
        }
    }
}

/// `bytes` in cells, rounded up, cut into slices of at most `most` cells.
fn slices(bytes: u64, most: NonZeroU32) -> impl Iterator<Item = NonZeroU32> {
    let mut left = bytes.div_ceil(CELL_BYTES);
    std::iter::from_fn(move || {
        let slice = NonZeroU32::new(u32::try_from(left).unwrap_or(u32::MAX).min(most.get()))?;
        left -= u64::from(slice.get());
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_in_whole_cells_and_slices_of_at_most_a_second() {
        let table: [(u64, u32, &[u32]); 5] = [
            (0, 10, &[]),
            (1, 10, &[1]),
            (1025, 10, &[2]),
            (25 * 1024, 10, &[10, 10, 5]),
            (u64::from(u32::MAX) * 1024 + 1, u32::MAX, &[u32::MAX, 1]),
        ];
        for (bytes, most, expected) in table {
            let most = NonZeroU32::new(most).unwrap();
            let got: Vec<u32> = slices(bytes, most).map(NonZeroU32::get).collect();
            assert_eq!(got, expected, "{bytes}");
        }
    }

    #[tokio::test]
    async fn what_the_burst_covers_is_paid_at_once() {
        Budget::new(1 << 30).pay(1 << 20).await;
        Budget::new(0).pay(1).await;
    }
}
