//! How numbers, times and tables look to people. Pure: the time zone comes in as an argument.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serializer;
use shudao_vault::entry::FileTime;
use shudao_vault::id::Timestamp;
use unicode_width::UnicodeWidthStr;

/// Bytes in binary units with three significant digits: `0 B`, `1.50 KiB`, `12.3 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be printed as 1024 of the smaller unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// An upper bound in percent, rounded up so that it stays true: `57.2`, `0.0988`.
pub(crate) fn percent_below(percent: f64) -> String {
    let digits = match percent {
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    let scale = 10_f64.powi(digits);
    format!("{:.*}", digits as usize, (percent * scale).ceil() / scale)
}

/// A count with thin groups of three: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A span of time: `0.42 s`, `12.3 s`, `4 min 05 s`, `3 h 07 min`, `2 d 04 h`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// The first eight digits of an id.
pub(crate) fn short_id(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Bytes a second over `span`, or `-` where the span is too short to say.
pub(crate) fn rate(count: u64, span: Duration) -> String {
    if span < Duration::from_millis(10) {
        return "-".into();
    }
    format!("{}/s", bytes((count as f64 / span.as_secs_f64()) as u64))
}

/// An instant in `zone`, RFC 3339 to the second; out of the calendar's range, microseconds since 1970 behind `@`.
pub(crate) fn time(instant: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_microsecond(instant.0) {
        Ok(time) => zoned(time, zone),
        Err(_) => format!("@{}us", instant.0),
    }
}

/// A file's time in `zone`, RFC 3339 to the second; out of the calendar's range, seconds since 1970 behind `@`.
pub(crate) fn file_time(time: FileTime, zone: &TimeZone) -> String {
    match calendar(time) {
        Some(instant) => zoned(instant, zone),
        None => out_of_calendar(time),
    }
}

fn zoned(instant: jiff::Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn calendar(time: FileTime) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).ok()?).ok()
}

fn out_of_calendar(time: FileTime) -> String {
    format!("@{}.{:09}", time.seconds, time.nanos)
}

/// For JSON: an instant in UTC, RFC 3339 with as many digits as it has.
pub(crate) fn json_time<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_microsecond(instant.0) {
        Ok(time) => serializer.collect_str(&time),
        Err(_) => serializer.collect_str(&format_args!("@{}us", instant.0)),
    }
}

/// A file's time in UTC, RFC 3339 with all its digits, or `@seconds.nanoseconds` out of the calendar's range.
pub(crate) fn exact_file_time(time: FileTime) -> String {
    calendar(time).map_or_else(|| out_of_calendar(time), |instant| instant.to_string())
}

/// For JSON: [`exact_file_time`].
pub(crate) fn json_file_time<S: Serializer>(time: &FileTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&exact_file_time(*time))
}

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings, aligned by what a terminal shows (a Chinese character is two columns wide).
pub(crate) struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(columns: impl IntoIterator<Item = (String, Side)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Appends a row; it must have as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, headings first, without trailing blanks; no lines if there are no rows.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| heading.clone()).collect();
        let mut widths: Vec<usize> = headings.iter().map(|heading| heading.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let line = |cells: &Vec<String>| {
            let mut out = String::new();
            for ((cell, width), (_, side)) in cells.iter().zip(&widths).zip(&self.columns) {
                let blanks = width.saturating_sub(cell.width());
                let (before, after) = if *side == Side::Right { (blanks, 0) } else { (0, blanks) };
                let _ = write!(out, "{:before$}{cell}{:after$}  ", "", "");
            }
            out.trim_end().to_owned()
        };
        std::iter::once(&headings).chain(&self.rows).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_up() {
        for (percent, text) in [
            (400.0 / 7.0, "57.2"),
            (99.99, "100.0"),
            (2.0, "2.00"),
            (0.5001, "0.501"),
            (0.098_77, "0.0988"),
            (0.0, "0.0000"),
        ] {
            assert_eq!(percent_below(percent), text);
        }
    }

    #[test]
    fn bytes_have_three_significant_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10_230, "9.99 KiB"),
            (10 << 20, "10.0 MiB"),
            (1023 << 20, "1023 MiB"),
            ((1 << 30) - 1, "1.00 GiB"),
            (12_345_678_901, "11.5 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn durations_read_like_a_clock() {
        let cases = [
            (0.0, "0.00 s"),
            (0.424, "0.42 s"),
            (12.34, "12.3 s"),
            (59.99, "1 min 00 s"),
            (245.0, "4 min 05 s"),
            (3599.7, "1 h 00 min"),
            (11_220.0, "3 h 07 min"),
            (187_200.0, "2 d 04 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_the_given_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(time(Timestamp(1_700_000_000_000_000), &zone), "2023-11-15T06:13:20+08:00");
        assert_eq!(
            file_time(FileTime { seconds: -1, nanos: 0 }, &TimeZone::UTC),
            "1969-12-31T23:59:59+00:00"
        );
        assert_eq!(
            file_time(FileTime { seconds: i64::MAX, nanos: 5 }, &zone),
            "@9223372036854775807.000000005"
        );
    }

    #[test]
    fn a_file_time_before_1970_keeps_its_fraction_in_json() {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut out);
        json_file_time(&FileTime { seconds: -1, nanos: 250_000_000 }, &mut serializer).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\"1969-12-31T23:59:59.25Z\"");
    }

    #[test]
    fn tables_align_wide_characters() {
        let mut table = Table::new([("name".into(), Side::Left), ("size".into(), Side::Right)]);
        assert!(table.lines().is_empty());
        table.row(["蜀道".into(), "1".into()]);
        table.row(["a".into(), "12345".into()]);
        assert_eq!(table.lines(), ["name   size", "蜀道      1", "a     12345"]);
    }
}
