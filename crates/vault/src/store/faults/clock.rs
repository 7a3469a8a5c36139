//! The clock of a machine that somebody keeps setting.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::id::Timestamp;

use super::super::draw::Draw;
use super::WHOLE;

/// Shows the true time plus an error that jumps, forward and backward, by a seed. For tests of what takes the time as
/// an argument.
pub struct SkewedClock {
    draw: Draw,
    jump_max_us: u64,
    jump_permille: u16,
    error_us: AtomicI64,
}

impl SkewedClock {
    /// A clock that is right until it jumps; `jump_permille` thousandths of the looks at it find it set anew, wrong
    /// by at most `error_max` in either direction.
    pub fn new(seed: u64, jump_permille: u16, error_max: Duration) -> Self {
        let jump_max_us = u64::try_from(error_max.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64 / 4);
        Self { draw: Draw::new(seed), jump_max_us, jump_permille, error_us: AtomicI64::new(0) }
    }

    /// What the clock shows at the time `truth`.
    pub fn at(&self, truth: Timestamp) -> Timestamp {
        if self.draw.below(WHOLE) < u64::from(self.jump_permille) {
            let drawn = self.draw.below(2 * self.jump_max_us + 1);
            self.set(drawn.cast_signed() - self.jump_max_us.cast_signed());
        }
        Timestamp(truth.0.saturating_add(self.error_us.load(Ordering::Relaxed)))
    }

    /// Sets the clock wrong by this many microseconds.
    pub fn set(&self, error_us: i64) {
        self.error_us.store(error_us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_jumps_both_ways_and_no_farther_than_allowed() {
        let clock = SkewedClock::new(3, 500, Duration::from_secs(10));
        let errors: Vec<i64> = (0..200_i64).map(|n| clock.at(Timestamp(n)).0 - n).collect();
        assert!(errors.iter().all(|error| error.abs() <= 10_000_000));
        assert!(errors.iter().any(|error| *error > 0) && errors.iter().any(|error| *error < 0));
        let again = SkewedClock::new(3, 500, Duration::from_secs(10));
        assert!((0..200_i64).zip(&errors).all(|(n, error)| again.at(Timestamp(n)).0 - n == *error));
    }

    #[test]
    fn a_clock_that_never_jumps_is_right_until_it_is_set() {
        let clock = SkewedClock::new(1, 0, Duration::MAX);
        assert_eq!(clock.at(Timestamp(5)), Timestamp(5));
        clock.set(-3);
        assert_eq!(clock.at(Timestamp(5)), Timestamp(2));
    }
}
