//! Until when objects are locked, in generations. Pure: the time is an argument.
//!
//! A lock has to be moved forward for as long as its object is needed. Moving each a little every day would cost a
//! request for each object and day. So time is cut into generations of ten days, say, and whatever is locked in one is
//! locked until the same moment: its end, and the kept time on top.
//!
//! ```text
//! generation   |----- 7 -----|----- 8 -----|----- 9 -----|
//! put here         x ........................................> end of 7 + kept time
//! pass in 8                    x ........................................> end of 8 + kept time
//! ```
//!
//! An object is locked at least the kept time from any moment of the generation in which it was last locked, and one pass
//! in each generation over what is still needed suffices. What a run puts or relies on in the same generation needs no
//! more requests.

use std::time::Duration;

use crate::id::Timestamp;

/// How long objects are kept locked, and how long a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    keep_us: i64,
    length_us: i64,
}

/// What is known of an object's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The object's key.
    pub path: String,
    /// Until when it is locked; none if it is not, or nobody knows.
    pub until: Option<Timestamp>,
}

/// What one pass does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionPlan {
    /// Until when everything that is listed is to be locked.
    pub until: Timestamp,
    /// Keys of the objects to lock, in this order: what opens the vault first, then the log, snapshots, index and packs;
    /// of these what is unlocked or runs out first.
    pub extend: Vec<String>,
    /// How many objects are locked long enough.
    pub covered: usize,
    /// When the next pass has something to do.
    pub next_pass: Timestamp,
}

impl Generations {
    /// Ten days: what a generation usually has.
    pub const LENGTH: Duration = Duration::from_secs(10 * 24 * 60 * 60);

    /// Generations of `length` (at least a second) in which objects are kept locked for `keep` after the end.
    pub fn new(keep: Duration, length: Duration) -> Self {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self { keep_us: us(keep), length_us: us(length).max(1_000_000) }
    }

    /// Until when an object that is locked at `now` is locked.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        Timestamp(self.next_pass(now).0.saturating_add(self.keep_us))
    }

    /// When the next generation begins.
    pub fn next_pass(&self, now: Timestamp) -> Timestamp {
        let passed = now.0.rem_euclid(self.length_us);
        Timestamp(now.0.saturating_add(self.length_us - passed))
    }

    /// Whether a lock that ends at `until` holds, at `now`, for the kept time at least: so it does as long as a pass is made in
    /// each generation.
    pub fn is_kept(&self, until: Timestamp, now: Timestamp) -> bool {
        until.0.saturating_sub(now.0) >= self.keep_us
    }

    /// The pass at `now` over the objects that are still needed.
    pub fn plan(&self, needed: impl IntoIterator<Item = Locked>, now: Timestamp) -> ExtensionPlan {
        let until = self.until(now);
        let mut covered = 0;
        let mut due: Vec<Locked> = Vec::new();
        for object in needed {
            if object.until.is_some_and(|there| there >= until) {
                covered += 1;
            } else {
                due.push(object);
            }
        }
        due.sort_by(|a, b| (rank(&a.path), a.until, &a.path).cmp(&(rank(&b.path), b.until, &b.path)));
        due.dedup_by(|a, b| a.path == b.path);
        let extend = due.into_iter().map(|object| object.path).collect();
        ExtensionPlan { until, extend, covered, next_pass: self.next_pass(now) }
    }
}

/// The place of an object in the order of locking: without a key slot nothing else can be read.
fn rank(path: &str) -> u8 {
    const ORDER: [&str; 5] = ["vault.json", "keys", "log", "snapshots", "index"];
    let first = path.split('/').next().unwrap_or(path);
    ORDER.iter().zip(0..).find(|(known, _)| **known == first).map_or(5, |(_, rank)| rank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

    fn monthly() -> Generations {
        Generations::new(Duration::from_secs(30 * 24 * 60 * 60), Generations::LENGTH)
    }

    fn locked(path: &str, until: Option<i64>) -> Locked {
        Locked { path: path.to_owned(), until: until.map(Timestamp) }
    }

    #[test]
    fn all_of_one_generation_is_locked_until_the_same_moment() {
        for (now, until) in [(0, 40), (1, 40), (9, 40), (10, 50), (-1, 30), (-10, 30)] {
            assert_eq!(monthly().until(Timestamp(now * DAY_US)), Timestamp(until * DAY_US), "day {now}");
        }
        assert_eq!(monthly().until(Timestamp(i64::MAX)), Timestamp(i64::MAX));
    }

    #[test]
    fn keys_come_first_and_then_what_runs_out_first() {
        let plan = monthly().plan(
            [
                locked("packs/00/late", Some(30 * DAY_US)),
                locked("packs/00/soon", Some(DAY_US)),
                locked("packs/00/never", None),
                locked("packs/00/covered", Some(40 * DAY_US)),
                locked("index/a", Some(30 * DAY_US)),
                locked("keys/a", Some(39 * DAY_US)),
                locked("keys/a", Some(39 * DAY_US)),
                locked("vault.json", Some(39 * DAY_US)),
                locked("log/0", None),
            ],
            Timestamp(5 * DAY_US),
        );
        assert_eq!(
            plan.extend,
            ["vault.json", "keys/a", "log/0", "index/a", "packs/00/never", "packs/00/soon", "packs/00/late"]
        );
        assert_eq!((plan.until, plan.covered), (Timestamp(40 * DAY_US), 1));
        assert_eq!(plan.next_pass, Timestamp(10 * DAY_US));
    }

    proptest! {
        #[test]
        fn one_pass_in_each_generation_keeps_everything_locked(
            keep_days in 0_u64..400, length_days in 1_u64..40,
            born in 0_i64..1000, hours in proptest::collection::vec(1_i64..200, 1..200),
        ) {
            let day = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
            let generations = Generations::new(day(keep_days), day(length_days));
            let mut now = Timestamp(born * DAY_US);
            let mut until = generations.until(now);
            let mut next_pass = generations.next_pass(now);
            for step in hours {
                now = Timestamp(now.0 + step * 60 * 60 * 1_000_000);
                let plan = generations.plan([locked("packs/00/x", Some(until.0))], now);
                // A pass is due if and only if a generation has begun since the last one, and it never shortens.
                prop_assert_eq!(plan.extend.len(), usize::from(now >= next_pass));
                if !plan.extend.is_empty() {
                    prop_assert!(plan.until > until);
                    (until, next_pass) = (plan.until, plan.next_pass);
                }
                prop_assert!(generations.is_kept(until, now));
                prop_assert!(!generations.is_kept(Timestamp(now.0 + generations.keep_us - 1), now));
                prop_assert!(until.0 - now.0 <= generations.keep_us + generations.length_us);
            }
        }
    }
}
