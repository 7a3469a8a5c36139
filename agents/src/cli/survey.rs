//! `shudao survey`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::ExcludeArgs;
use super::context::Context;
use super::failure::{Exit, Result};
use super::messages::{Label, Lang, Notice};
use super::path::escaped;
use super::report::{SurveyGroup, SurveyReport};
use super::request::SurveyRequest;
use super::show::{self, Side, Table};
use super::{engine, parse};

/// Measure a source: sizes, kinds, churn, what deduplication and compression would save, how long it takes.
///
/// Needs no vault. Nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct SurveyArgs {
    /// The source
    path: PathBuf,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Forecast for uploads of at most so much a second, for example 50MiB
    #[arg(long, value_name = "SIZE", value_parser = parse::rate)]
    limit: Option<u64>,
}

pub(crate) async fn run(ctx: &Context, args: SurveyArgs) -> Result<Exit> {
    let request = SurveyRequest {
        path: args.path,
        patterns: ctx.patterns(None, &args.exclude)?,
        one_file_system: args.exclude.one_file_system,
        limit_bytes_per_second: args.limit,
    };
    let report = {
        let (progress, _drawn) = ctx.progress();
        engine::survey(ctx, request, &progress).await?
    };
    for notice in headline(&report) {
        ctx.output.line(&notice.text(ctx.output.lang()))?;
    }
    let groups = [
        (Label::Kind {}, &report.kinds),
        (Label::SizeClass {}, &report.sizes),
        (Label::Age {}, &report.ages),
    ];
    for (label, groups) in groups {
        let lines = group_table(ctx, &label, groups).lines();
        if !lines.is_empty() {
            ctx.output.line("")?;
            ctx.output.lines(&lines)?;
        }
    }
    let exit = ctx.conclude(&report.totals);
    ctx.summary(&report.totals, &report)?;
    Ok(exit)
}

fn headline(report: &SurveyReport) -> [Notice; 4] {
    // A forecast of more than a century is as good as any; it must not overflow.
    let time = |seconds: f64| {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, 3.2e9) } else { 3.2e9 };
        show::duration(Duration::from_secs_f64(seconds))
    };
    [
        Notice::SurveySize {
            files: show::count(report.totals.files),
            directories: show::count(report.directories),
            bytes: show::bytes(report.bytes_total),
            allocated: show::bytes(report.bytes_allocated),
        },
        Notice::SurveyChurn { bytes: show::bytes(report.churn_bytes_per_day) },
        Notice::SurveyRatios {
            sampled: show::bytes(report.bytes_sampled),
            dedup: format!("{:.2}", report.dedup_ratio),
            compression: format!("{:.2}", report.compression_ratio),
            rate: format!("{}/s", show::bytes(report.read_bytes_per_second)),
        },
        Notice::SurveyForecast {
            stored: show::bytes(report.forecast_bytes_stored),
            first: time(report.forecast_first_seconds),
            daily: time(report.forecast_daily_seconds),
        },
    ]
}

/// A group's name in the language of messages; in JSON it stays English.
fn group_name(name: &str, lang: Lang) -> String {
    let label = match name {
        "directories" => Label::KindDirectories {},
        "files" => Label::KindFiles {},
        "symbolic links" => Label::KindSymlinks {},
        "pipes" => Label::KindPipes {},
        "devices" => Label::KindDevices {},
        "sockets" => Label::KindSockets {},
        "empty" => Label::SizeEmpty {},
        "within a day" => Label::AgeDay {},
        "within a week" => Label::AgeWeek {},
        "within 30 days" => Label::AgeMonth {},
        "within a year" => Label::AgeYear {},
        "older" => Label::AgeOlder {},
        // Sizes: a word and a figure.
        _ => {
            return match name.split_once(' ') {
                Some(("up", size)) => Notice::SurveyUpTo { size: escaped(size.trim_start_matches("to ")) },
                Some(("above", size)) => Notice::SurveyAbove { size: escaped(size) },
                _ => Notice::Plain { text: escaped(name) },
            }
            .text(lang);
        }
    };
    label.text(lang)
}

fn group_table(ctx: &Context, label: &Label, groups: &[SurveyGroup]) -> Table {
    let lang = ctx.output.lang();
    let columns = [
        (label.text(lang), Side::Left),
        (Label::Count {}.text(lang), Side::Right),
        (Label::Size {}.text(lang), Side::Right),
    ];
    let mut table = Table::new(columns);
    for group in groups {
        table.row([group_name(&group.name, lang), show::count(group.count), show::bytes(group.bytes)]);
    }
    table
}
