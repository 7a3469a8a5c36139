//! Numbers that look random and follow from a seed alone.

use std::sync::atomic::{AtomicU64, Ordering};

/// A generator; whoever shares it draws from one sequence, in the order of the calls.
pub(crate) struct Draw(AtomicU64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        split_mix(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// A number below `end`; 0 when nothing is below it.
    pub(crate) fn below(&self, end: u64) -> u64 {
        // The bias of the remainder is far below anything that is drawn for here.
        self.next().checked_rem(end).unwrap_or_default()
    }
}

fn split_mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let draw = Draw::new(seed);
            [draw.next(), draw.next(), draw.next()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn what_is_drawn_lies_below_its_end() {
        let draw = Draw::new(1);
        assert!((0..100).all(|_| draw.below(3) < 3));
        assert_eq!(draw.below(0), 0);
    }
}
