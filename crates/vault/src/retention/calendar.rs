//! Local calendar periods of a point in time.

use crate::id::Timestamp;

/// Seconds east of UTC at a point in time: what a time zone comes down to.
pub type Zone<'a> = &'a dyn Fn(Timestamp) -> i32;

const MICROS: i64 = 1_000_000;
const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 86_400;

/// A zone that is always as many minutes east of UTC.
pub fn fixed_zone(minutes_east: i16) -> impl Fn(Timestamp) -> i32 {
    move |_| i32::from(minutes_east) * 60
}

/// A length of calendar time that snapshots are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// An hour on the clock.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// The number of the period in which `time` lies; equal for two times in the same period of `zone`, and ascending.
    pub(super) fn of(self, time: Timestamp, zone: Zone<'_>) -> i64 {
        let seconds = time.0.div_euclid(MICROS) + i64::from(zone(time));
        let day = seconds.div_euclid(DAY_SECONDS);
        match self {
            Self::Hour => seconds.div_euclid(HOUR_SECONDS),
            Self::Day => day,
            // Day 0, 1 January 1970, was a Thursday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Month => {
                let (year, month) = year_and_month(day);
                year * 12 + month
            }
            Self::Year => year_and_month(day).0,
        }
    }
}

/// Year and month (0 to 11) of the day so many days after 1970-01-01, in the Gregorian calendar without beginning.
fn year_and_month(day: i64) -> (i64, i64) {
    // Counted from 1 March of the year 0, so that the leap day ends a year; an era has 400 years.
    const ERA_DAYS: i64 = 146_097;
    let shifted = day + 719_468;
    let (era, day) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let year = era * 400 + year;
    if from_march < 10 { (year, from_march + 2) } else { (year + 1, from_march - 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MICROS: i64 = DAY_SECONDS * MICROS;

    fn number(period: Period, day: i64) -> i64 {
        period.of(Timestamp(day * DAY_MICROS), &fixed_zone(0))
    }

    #[test]
    fn months_and_years_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, (1970, 0)),
            (30, (1970, 0)),
            (31, (1970, 1)),
            (58, (1970, 1)),
            (59, (1970, 2)),
            (364, (1970, 11)),
            (365, (1971, 0)),
            (-1, (1969, 11)),
            (-719_468, (0, 2)),
            (11_016, (2000, 1)), // 29 February 2000
            (11_017, (2000, 2)),
            (20_779, (2026, 10)), // 22 November 2026
            (47_540, (2100, 1)),  // 28 February 2100, no leap year
            (47_541, (2100, 2)),
        ] {
            assert_eq!(year_and_month(day), expected, "{day}");
        }
    }

    #[test]
    fn months_ascend_by_one_and_have_28_to_31_days() {
        let mut lengths = vec![0];
        let mut last = number(Period::Month, -200_000);
        for day in -200_000..200_000 {
            let month = number(Period::Month, day);
            if month != last {
                assert_eq!(month, last + 1, "{day}");
                lengths.push(0);
                last = month;
            }
            *lengths.last_mut().unwrap() += 1;
        }
        assert!(lengths[1..lengths.len() - 1].iter().all(|days| (28..=31).contains(days)));
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 5 January 1970 was a Monday.
        assert_eq!(number(Period::Week, 3), number(Period::Week, 0));
        assert_eq!(number(Period::Week, 4), number(Period::Week, 0) + 1);
        assert_eq!(number(Period::Week, 10), number(Period::Week, 4));
        assert_eq!(number(Period::Week, -4), number(Period::Week, 0) - 1);
    }

    #[test]
    fn the_zone_decides_which_day_it_is() {
        let late = Timestamp(DAY_MICROS - MICROS);
        let (utc, east) = (fixed_zone(0), fixed_zone(8 * 60));
        assert_eq!(Period::Day.of(late, &utc), 0);
        assert_eq!(Period::Day.of(late, &east), 1);
        assert_eq!(Period::Hour.of(late, &east), 31);
        assert_eq!(Period::Day.of(Timestamp(-1), &utc), -1);
    }
}
