//! The rules, and how the owner's config writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::calendar::Period;
use super::fixed_zone;
use super::plan::{Candidate, plan};
use crate::error::{Error, Kind, Result};
use crate::id::{SnapshotId, Timestamp};

const HOUR_MICROS: i64 = 3600 * 1_000_000;
/// Ten thousand years: anything longer is a slip of the hand.
const HOURS_MAX: u32 = 10_000 * 366 * 24;
/// No place on Earth is further from UTC.
const OFFSET_MINUTES_MAX: u16 = 18 * 60;

/// A length of time in whole hours: `36h`, `10d`, `1y6m`. A month counts 31 days and a year 366, so that nothing is
/// dropped earlier than by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    hours: u32,
}

impl Span {
    /// A span of whole hours; [`Kind::Input`] beyond ten thousand years.
    pub fn from_hours(hours: u32) -> Result<Self> {
        if hours <= HOURS_MAX { Ok(Self { hours }) } else { Err(refused("the time is too long")) }
    }

    /// Its length in microseconds.
    pub fn micros(self) -> i64 {
        i64::from(self.hours) * HOUR_MICROS
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || refused(&format!("{text:?} is no length of time such as 36h, 10d or 1y6m"));
        let (mut hours, mut number, mut last_unit) = (0u32, None::<u32>, u32::MAX);
        for character in text.chars() {
            if let Some(digit) = character.to_digit(10) {
                let longer = number.unwrap_or(0).checked_mul(10).and_then(|number| number.checked_add(digit));
                number = Some(longer.ok_or_else(wrong)?);
                continue;
            }
            let unit = match character {
                'y' => 366 * 24,
                'm' => 31 * 24,
                'd' => 24,
                'h' => 1,
                _ => return Err(wrong()),
            };
            // Each unit once and the larger first, so that a text has one meaning at a glance.
            let part = number.take().filter(|_| unit < last_unit).and_then(|number| number.checked_mul(unit));
            hours = part.and_then(|part| hours.checked_add(part)).ok_or_else(wrong)?;
            last_unit = unit;
        }
        if number.is_some() || last_unit == u32::MAX {
            return Err(wrong());
        }
        Self::from_hours(hours)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hours / 24, self.hours % 24) {
            (0, hours) => write!(f, "{hours}h"),
            (days, 0) => write!(f, "{days}d"),
            (days, hours) => write!(f, "{days}d{hours}h"),
        }
    }
}

/// What stays: every field is a rule, and a snapshot stays if any of them keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The last so many.
    pub last: Option<u32>,
    /// The newest of each of the last so many hours that have a snapshot.
    pub hourly: Option<u32>,
    /// The same by days.
    pub daily: Option<u32>,
    /// The same by weeks, which begin on Monday.
    pub weekly: Option<u32>,
    /// The same by months.
    pub monthly: Option<u32>,
    /// The same by years.
    pub yearly: Option<u32>,
    /// All that are at most so much older than the newest.
    pub within: Option<Span>,
    /// All that have one of these tags.
    pub tags: BTreeSet<String>,
}

impl Rules {
    /// Whether there is no rule; then everything stays.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rules by periods.
    pub(super) fn periods(&self) -> impl Iterator<Item = (Period, u32)> {
        let counts = [
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ];
        counts.into_iter().filter_map(|(period, count)| count.map(|count| (period, count)))
    }

    fn counts(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("keep-last", self.last),
            ("keep-hourly", self.hourly),
            ("keep-daily", self.daily),
            ("keep-weekly", self.weekly),
            ("keep-monthly", self.monthly),
            ("keep-yearly", self.yearly),
        ]
    }

    fn count_mut(&mut self, name: &str) -> Option<&mut Option<u32>> {
        Some(match name {
            "keep-last" => &mut self.last,
            "keep-hourly" => &mut self.hourly,
            "keep-daily" => &mut self.daily,
            "keep-weekly" => &mut self.weekly,
            "keep-monthly" => &mut self.monthly,
            "keep-yearly" => &mut self.yearly,
            _ => return None,
        })
    }
}

/// The owner's retention, as the vault's config carries it: `keep-daily 7 keep-within 90d utc-offset +08:00`.
///
/// Rules about tags cannot stand in it: tags are sealed, and the log is judged without keys. Days begin where the policy
/// says, so that every client judges alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// What stays.
    pub rules: Rules,
    /// Minutes east of UTC by which days begin.
    pub minutes_east: i16,
}

impl FromStr for Policy {
    type Err = Error;

    /// Reads a policy; words are separated by blanks, and a name from its value by a blank or `=`.
    fn from_str(text: &str) -> Result<Self> {
        let mut policy = Self::default();
        let mut words = text.split([' ', '=']).filter(|word| !word.is_empty());
        let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| refused(&format!("{name} has no value")))?;
            if seen.insert(name, ()).is_some() {
                return Err(refused(&format!("{name} stands twice")));
            }
            if let Some(count) = policy.rules.count_mut(name) {
                let number = value.parse().ok().filter(|number| *number > 0);
                *count =
                    Some(number.ok_or_else(|| refused(&format!("{name} {value}: not a number above 0")))?);
                continue;
            }
            match name {
                "keep-within" => policy.rules.within = Some(value.parse()?),
                "utc-offset" => policy.minutes_east = parse_offset(value)?,
                "keep-tag" => {
                    return Err(refused("keep-tag: tags are sealed, so the log cannot judge by them"));
                }
                _ => return Err(refused(&format!("{name:?} is no rule"))),
            }
        }
        Ok(policy)
    }
}

impl fmt::Display for Policy {
    /// The one way to write it; [`Policy::from_str`] reads it back, but for tags.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        let counts = self.rules.counts();
        words.extend(counts.iter().filter_map(|(name, count)| count.map(|count| format!("{name} {count}"))));
        words.extend(self.rules.within.map(|within| format!("keep-within {within}")));
        if self.minutes_east != 0 {
            let (sign, minutes) =
                (if self.minutes_east < 0 { '-' } else { '+' }, self.minutes_east.unsigned_abs());
            words.push(format!("utc-offset {sign}{:02}:{:02}", minutes / 60, minutes % 60));
        }
        f.write_str(&words.join(" "))
    }
}

fn parse_offset(text: &str) -> Result<i16> {
    let wrong = || refused(&format!("utc-offset {text:?}: not of the form +08:00"));
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(wrong()),
    };
    let digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse())
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let (Some(Ok(hours)), Some(Ok(minutes))) = (digits(hours), digits(minutes)) else { return Err(wrong()) };
    let (hours, minutes): (u16, u16) = (hours, minutes);
    let total = hours * 60 + minutes;
    if minutes > 59 || total > OFFSET_MINUTES_MAX { Err(wrong()) } else { Ok(sign * total as i16) }
}

fn refused(problem: &str) -> Error {
    Error::new(Kind::Input, format!("read retention: {problem}"))
}

/// The snapshots that `policy` lets go: what a keeper may forget.
pub fn let_go(policy: &Policy, snapshots: &[Candidate<'_>], now: Timestamp) -> BTreeSet<SnapshotId> {
    let decisions = plan(&policy.rules, snapshots, now, &fixed_zone(policy.minutes_east));
    decisions.into_iter().filter(|decision| !decision.stays()).map(|decision| decision.id).collect()
}
