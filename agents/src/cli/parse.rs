//! Values that people type: sizes, percentages, snapshot names, k-of-n. Pure; errors are short English sentences,
//! because clap puts them behind the name of the flag.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// A snapshot as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotName {
    /// The newest of one source.
    Latest,
    /// At least [`PREFIX_DIGITS_MIN`] lower-case hexadecimal digits that an id begins with.
    Prefix(String),
}

/// Shorter prefixes of a snapshot's id are refused: they would soon name two.
pub(crate) const PREFIX_DIGITS_MIN: usize = 4;

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits =
            (PREFIX_DIGITS_MIN..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits {
            Ok(Self::Prefix(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "expected `latest` or at least {PREFIX_DIGITS_MIN} hexadecimal digits of a snapshot's id"
            ))
        }
    }
}

impl std::fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Prefix(digits) => f.write_str(digits),
        }
    }
}

/// `K/N`: any `needed` of `total` shares open the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareCount {
    /// How many are needed, at least 2.
    pub(crate) needed: u8,
    /// How many there are, at least `needed`.
    pub(crate) total: u8,
}

impl FromStr for ShareCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((needed, total)) if needed >= 2 && needed <= total => Ok(Self { needed, total }),
            _ => Err("expected K/N with 2 <= K <= N <= 255, for example 3/5".into()),
        }
    }
}

/// A share of the whole in percent, above 0 and at most 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix('%').ok_or("expected a percentage with its sign, for example 5%")?;
        match digits.trim().parse::<f64>() {
            Ok(value) if value > 0.0 && value <= 100.0 => Ok(Self(value)),
            _ => Err("expected a percentage above 0% and up to 100%".into()),
        }
    }
}

/// A number of bytes: `50MiB`, `1.5GiB`, `10MB`, `512K`, `4096`. A bare letter means 1024, as with restic and rclone.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a size such as 50MiB, 1.5GiB, 10MB or 4096";
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = unit_bytes(unit.trim()).ok_or(EXPECTED)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "the size is too large".into());
    }
    let fraction: f64 = number.parse().map_err(|_| EXPECTED)?;
    let bytes = fraction * factor as f64;
    // 2^63 is exact as a float, so that the cast below cannot saturate.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return Err("the size is too large".into());
    }
    Ok(bytes as u64)
}

/// A rate in bytes a second: a size, optionally followed by `/s`. Zero is refused.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("a limit of zero would never end".into()),
        bytes => Ok(bytes),
    }
}

/// A time as long as an operation may last, in microseconds: `72h`, `3d`, `90min`, `0s`.
pub(crate) fn grace(text: &str) -> Result<i64, String> {
    const EXPECTED: &str = "expected a time such as 72h, 3d, 90min or 0s";
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(EXPECTED.into()),
    };
    let number: i64 = number.parse().map_err(|_| EXPECTED)?;
    number.checked_mul(seconds * 1_000_000).ok_or_else(|| "the time is too long".into())
}

/// A length of time: `90s`, `5m`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| parsed.try_into().ok());
    parsed.ok_or_else(|| "expected a length of time such as 90s, 5m or 1h".into())
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let power =
        |letter: &str| ["k", "m", "g", "t", "p"].iter().position(|l| *l == letter).map(|p| p as u32 + 1);
    match lower.as_str() {
        "" | "b" => Some(1),
        other => {
            if let Some(letter) = other.strip_suffix("ib") {
                power(letter).map(|p| 1024_u64.pow(p))
            } else if let Some(letter) = other.strip_suffix('b') {
                power(letter).map(|p| 1000_u64.pow(p))
            } else {
                power(other).map(|p| 1024_u64.pow(p))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("7b", 7),
            ("512K", 512 << 10),
            ("50MiB", 50 << 20),
            ("50 MiB", 50 << 20),
            ("10MB", 10_000_000),
            ("1.5GiB", 3 << 29),
            ("2g", 2 << 30),
            ("1TiB", 1 << 40),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.2.3M", "5X", "5iB", "1e9", "16777216TiB", "99999999.5PiB", "5 M B"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_sizes_a_second_and_never_zero() {
        assert_eq!(rate("50MiB/s"), Ok(50 << 20));
        assert_eq!(rate("1M"), Ok(1 << 20));
        assert!(rate("0").is_err());
    }

    #[test]
    fn lengths_of_time_have_units_and_do_not_run_backwards() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h 30m", 5400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "90", "-1s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_is_latest_or_a_prefix_of_four_digits() {
        assert_eq!("latest".parse(), Ok(SnapshotName::Latest));
        assert_eq!("12AB".parse(), Ok(SnapshotName::Prefix("12ab".into())));
        for bad in ["", "123", "latests", "12g4", "LATEST", &"a".repeat(65)] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_carry_their_sign() {
        assert_eq!("5%".parse(), Ok(Percent(5.0)));
        assert_eq!("0.5 %".parse(), Ok(Percent(0.5)));
        assert_eq!("100%".parse(), Ok(Percent(100.0)));
        for bad in ["5", "0%", "101%", "%", "nan%", "inf%", "-1%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_k_of_n() {
        assert_eq!("2/3".parse(), Ok(ShareCount { needed: 2, total: 3 }));
        for bad in ["", "3", "1/3", "4/3", "2/256", "2/3/4", "a/b"] {
            assert!(bad.parse::<ShareCount>().is_err(), "{bad}");
        }
    }
}
