//! Measuring a source.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_dr::forecast::{Measured, forecast};
use shudao_mover::source::{ExcludesBuilder, ScanOptions};
use shudao_mover::survey::{self as mover, Group, SurveyError, SurveyOptions, SurveyProgress};

use super::mirror;
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Problem};
use crate::cli::output::{PathWarning, WarningKind};
use crate::cli::path::RawPath;
use crate::cli::progress::Progress;
use crate::cli::report::{SurveyGroup, SurveyReport};
use crate::cli::request::SurveyRequest;

/// Measures a source.
pub(crate) async fn survey(
    ctx: &Context,
    request: SurveyRequest,
    progress: &Progress,
) -> Result<SurveyReport> {
    let usage = |text: String| Failure::usage(Problem::Engine { text }, Hint::SeeHelp {});
    let mut excludes = ExcludesBuilder::default();
    for pattern in &request.patterns {
        excludes.pattern(pattern).map_err(|error| usage(error.to_string()))?;
    }
    let scan = ScanOptions {
        roots: vec![request.path],
        excludes: excludes.build().map_err(|error| usage(error.to_string()))?,
        one_file_system: request.one_file_system,
        ..ScanOptions::default()
    };
    let counters = Arc::new(SurveyProgress { stop: ctx.stop.flag(), ..SurveyProgress::default() });
    let shown = Arc::clone(&counters);
    let mirroring = mirror(progress, move |progress| {
        progress.files_done.store(shown.files.load(Ordering::Relaxed), Ordering::Relaxed);
        progress.bytes_done.store(shown.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    });
    let now = std::time::SystemTime::now();
    let options = SurveyOptions { scan, now, ..SurveyOptions::default() };
    let measuring = tokio::task::spawn_blocking(move || mover::survey(options, &counters));
    let done = mirroring.until(measuring).await;
    let bug = |_| shudao_vault::Error::new(shudao_vault::Kind::Bug, "the survey's thread failed");
    let found = done.map_err(bug)?.map_err(|error| match error {
        SurveyError::Interrupted => Failure::interrupted(),
        SurveyError::Source(error) => {
            let problem = Problem::Engine { text: error.to_string() };
            let failure = Failure::new(Exit::Failed, problem, Hint::CheckFile {});
            match std::error::Error::source(&error) {
                Some(cause) => failure.because(cause),
                None => failure,
            }
        }
    })?;
    for (path, message) in &found.unread {
        let (path, message) = (RawPath::from(path), message.clone());
        ctx.output.path_warning(&PathWarning { kind: WarningKind::SourceUnreadable, path, message });
    }
    Ok(report(&found, request.limit_bytes_per_second))
}

fn report(found: &mover::Survey, limit_bytes_per_second: Option<u64>) -> SurveyReport {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let measured = Measured {
        files: found.files,
        bytes: found.bytes,
        churn_bytes_per_day: found.churn_bytes_per_day,
        dedup_ratio: found.sample.dedup_ratio(),
        compression_ratio: found.sample.compression_ratio(),
        work_bytes_per_second: found.sample.work_bytes_per_second(),
        scan_files_per_second: found.scan_files_per_second,
        cores,
    };
    let expected = forecast(&measured, limit_bytes_per_second);
    let groups = |groups: &[Group]| {
        groups
            .iter()
            .map(|group| SurveyGroup { name: group.name.to_owned(), count: group.count, bytes: group.bytes })
            .collect()
    };
    let mut report = SurveyReport {
        directories: found.directories,
        bytes_total: found.bytes,
        bytes_allocated: found.bytes_allocated,
        kinds: groups(&found.kinds),
        sizes: groups(&found.sizes),
        ages: groups(&found.ages),
        churn_bytes_per_day: found.churn_bytes_per_day,
        bytes_sampled: found.sample.bytes,
        dedup_ratio: measured.dedup_ratio,
        compression_ratio: measured.compression_ratio,
        read_bytes_per_second: found.sample.read_bytes_per_second() as u64,
        forecast_bytes_stored: expected.bytes_stored,
        forecast_first_seconds: expected.first_seconds,
        forecast_daily_seconds: expected.daily_seconds,
        ..SurveyReport::default()
    };
    report.totals.files = found.files;
    report.totals.bytes_read = found.sample.bytes;
    report.totals.warnings.source_unreadable = found.unread_total;
    report
}
