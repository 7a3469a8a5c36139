//! How large and how long: a forecast from measured sizes and rates. Pure.
//!
//! The forecast is arithmetic on measurements and claims no more: the first run moves everything that a sample says is
//! distinct, a daily one looks at every file and moves what changes in a day. The slower of reading, working and
//! sending decides.

/// What was measured of a source and of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// Files.
    pub files: u64,
    /// Logical bytes.
    pub bytes: u64,
    /// Logical bytes that changed in the last day.
    pub churn_bytes_per_day: u64,
    /// Bytes of the sample over its distinct bytes; at least 1.
    pub dedup_ratio: f64,
    /// Distinct bytes of the sample over their compressed size; at least 1.
    pub compression_ratio: f64,
    /// Bytes a second at which the sample was read, cut, hashed and compressed on one core.
    pub work_bytes_per_second: f64,
    /// Files a second that were looked at without being opened.
    pub scan_files_per_second: f64,
    /// Cores that will work.
    pub cores: u32,
}

/// What to expect.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    /// Bytes in the vault after the first run.
    pub bytes_stored: u64,
    /// Seconds of the first run.
    pub first_seconds: f64,
    /// Seconds of a daily run.
    pub daily_seconds: f64,
}

/// The forecast; `limit_bytes_per_second` bounds what is sent.
pub fn forecast(measured: &Measured, limit_bytes_per_second: Option<u64>) -> Forecast {
    let shrink = 1.0 / (measured.dedup_ratio.max(1.0) * measured.compression_ratio.max(1.0));
    let run = |bytes: u64| {
        let scanning = ratio(measured.files as f64, measured.scan_files_per_second);
        let work = measured.work_bytes_per_second * f64::from(measured.cores.max(1));
        let working = ratio(bytes as f64, work);
        let sending = limit_bytes_per_second.map_or(0.0, |limit| ratio(bytes as f64 * shrink, limit as f64));
        scanning + working.max(sending)
    };
    Forecast {
        bytes_stored: (measured.bytes as f64 * shrink).round() as u64,
        first_seconds: run(measured.bytes),
        daily_seconds: run(measured.churn_bytes_per_day.min(measured.bytes)),
    }
}

/// Amount over rate; nothing takes no time, and an unmeasured rate is not guessed at.
fn ratio(amount: f64, rate: f64) -> f64 {
    if amount <= 0.0 || rate <= 0.0 { 0.0 } else { amount / rate }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Measured = Measured {
        files: 1000,
        bytes: 8_000_000_000,
        churn_bytes_per_day: 80_000_000,
        dedup_ratio: 2.0,
        compression_ratio: 2.0,
        work_bytes_per_second: 100_000_000.0,
        scan_files_per_second: 1000.0,
        cores: 2,
    };

    #[test]
    fn the_slower_of_working_and_sending_decides() {
        let free = forecast(&MEASURED, None);
        assert_eq!(free.bytes_stored, 2_000_000_000);
        assert_eq!(free.first_seconds, 1.0 + 40.0);
        assert_eq!(free.daily_seconds, 1.0 + 0.4);
        let thin = forecast(&MEASURED, Some(10_000_000));
        assert_eq!(thin.first_seconds, 1.0 + 200.0);
        assert_eq!(thin.daily_seconds, 1.0 + 2.0);
    }

    #[test]
    fn what_was_not_measured_is_not_guessed() {
        assert_eq!(forecast(&Measured::default(), Some(1)), Forecast::default());
    }
}
