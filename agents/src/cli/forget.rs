//! `shudao forget`

use std::num::NonZeroU32;

use clap::Args;
use shudao_vault::retention::{Doubt, Reason, Rules, Span};

use super::args::{AccessArgs, SelectArgs};
use super::context::Context;
use super::engine::{self, OpenVault, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Label, Lang, Notice, Problem};
use super::parse::SnapshotName;
use super::path::escaped;
use super::report::{ForgetPlan, Verdict};
use super::request::{RulesChoice, SnapshotChoice};
use super::show::{self, Side, Table};
use super::snapshots;

/// Drop snapshots: shows the plan, acts with --yes.
///
/// Name the snapshots, or give rules of what stays: whatever no rule keeps is dropped. Rules count within one source. The
/// newest snapshot of a source, held ones, and those whose times run against their sequence always stay. A
/// forgotten snapshot does not come back. Its space stays used until the vault is collected.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Snapshots: their ids or the beginnings of them, or `latest`
    #[arg(value_name = "SNAP", required_unless_present = "rules", conflicts_with = "rules")]
    snapshots: Vec<SnapshotName>,
    /// Show the plan and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    access: AccessArgs,
}

/// What stays.
#[derive(Debug, Args)]
#[group(id = "rules", multiple = true)]
#[command(next_help_heading = "Rules")]
struct RulesArgs {
    /// Keep the last N snapshots
    #[arg(long, value_name = "N")]
    keep_last: Option<NonZeroU32>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    keep_hourly: Option<NonZeroU32>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(long, value_name = "N")]
    keep_daily: Option<NonZeroU32>,
    /// Keep the newest snapshot of each of the last N weeks that have one; weeks begin on Monday
    #[arg(long, value_name = "N")]
    keep_weekly: Option<NonZeroU32>,
    /// Keep the newest snapshot of each of the last N months that have one
    #[arg(long, value_name = "N")]
    keep_monthly: Option<NonZeroU32>,
    /// Keep the newest snapshot of each of the last N years that have one
    #[arg(long, value_name = "N")]
    keep_yearly: Option<NonZeroU32>,
    /// Keep all that are at most so much older than the newest: 36h, 10d, 1y6m
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<Span>,
    /// Keep all with this tag
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
    /// Use the rules that the owner has settled for the vault, by which a keeper may forget
    #[arg(long, conflicts_with_all = [
        "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within", "keep_tag",
    ])]
    policy: bool,
}

impl RulesArgs {
    fn choice(self) -> Option<RulesChoice> {
        let rules = Rules {
            last: self.keep_last.map(NonZeroU32::get),
            hourly: self.keep_hourly.map(NonZeroU32::get),
            daily: self.keep_daily.map(NonZeroU32::get),
            weekly: self.keep_weekly.map(NonZeroU32::get),
            monthly: self.keep_monthly.map(NonZeroU32::get),
            yearly: self.keep_yearly.map(NonZeroU32::get),
            within: self.keep_within,
            tags: self.keep_tag.into_iter().collect(),
        };
        match (self.policy, rules.is_empty()) {
            (true, _) => Some(RulesChoice::Policy),
            (false, true) => None,
            (false, false) => Some(RulesChoice::Given(rules)),
        }
    }
}

pub(crate) async fn run(ctx: &Context, args: ForgetArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let selection = ctx.selection(&args.select);
    let rules = args.rules.choice();
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let plan = match rules {
        Some(rules) => {
            let verdicts = engine::plan_retention(ctx, &vault, &selection, &rules).await?;
            show_verdicts(ctx, &verdicts)?;
            let forget =
                verdicts.into_iter().filter(|verdict| verdict.forget).map(|verdict| verdict.snapshot);
            ForgetPlan { forget: forget.collect(), held: Vec::new() }
        }
        None => {
            let choice = |name| SnapshotChoice { name, selection: selection.clone() };
            named(ctx, &vault, args.snapshots.into_iter().map(choice).collect()).await?
        }
    };
    let count = show::count(plan.forget.len() as u64);
    ctx.output.say(&Notice::ForgetPlan { count: count.clone() })?;
    let is_nothing_to_do = plan.forget.is_empty();
    if args.dry_run || is_nothing_to_do {
        ctx.summary(&vault.totals(), &serde_json::json!({ "forgotten": 0, "planned": plan.forget.len() }))?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        return Err(ctx.unconfirmed());
    }
    let totals = engine::forget(ctx, &vault, &plan).await?;
    ctx.output.say(&Notice::Forgotten { count })?;
    let exit = ctx.conclude(&totals);
    let forgotten = plan.forget.len();
    ctx.summary(&totals, &serde_json::json!({ "forgotten": forgotten, "planned": forgotten }))?;
    Ok(exit)
}

/// The plan for snapshots that were named; a held one among them is refused.
async fn named(ctx: &Context, vault: &OpenVault, choices: Vec<SnapshotChoice>) -> Result<ForgetPlan> {
    let plan = engine::plan_forget(ctx, vault, &choices).await?;
    snapshots::print(ctx, &plan.forget)?;
    match plan.held.first() {
        None => Ok(plan),
        Some(held) => {
            let problem = Problem::SnapshotHeld { snapshot: show::short_id(&held.snapshot) };
            Err(Failure::usage(problem, Hint::ReleaseFirst {}))
        }
    }
}

/// Writes what the rules say of each snapshot, as a table or as objects of type `verdict`.
fn show_verdicts(ctx: &Context, verdicts: &[Verdict]) -> Result<()> {
    let lang = ctx.output.lang();
    let columns = [
        (Label::Snapshot {}, Side::Left),
        (Label::Time {}, Side::Left),
        (Label::Source {}, Side::Left),
        (Label::Tags {}, Side::Left),
        (Label::Verdict {}, Side::Left),
        (Label::Why {}, Side::Left),
    ];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    for verdict in verdicts {
        let line = &verdict.snapshot;
        let action = if verdict.forget { Label::Forget {} } else { Label::Keep {} };
        let why: Vec<String> = verdict.why.iter().map(|reason| reason_text(reason, lang)).collect();
        table.row([
            show::short_id(&line.snapshot),
            show::time(line.time, &ctx.zone),
            escaped(&line.source),
            escaped(&line.tags.join(",")),
            action.text(lang),
            why.join(", "),
        ]);
    }
    ctx.output.lines(&table.lines())?;
    verdicts.iter().try_for_each(|verdict| ctx.output.object("verdict", verdict))?;
    let doubtful =
        verdicts.iter().filter(|verdict| verdict.why.iter().any(|why| matches!(why, Reason::Clock(_))));
    match doubtful.count() as u64 {
        0 => {}
        count => ctx.output.warning(&Notice::ClocksInDoubt { count: show::count(count) }),
    }
    Ok(())
}

fn reason_text(reason: &Reason, lang: Lang) -> String {
    use shudao_vault::retention::Period;
    let label = match reason {
        Reason::NoRules => Label::WhyNoRules {},
        Reason::Held => Label::HeldMark {},
        Reason::Clock(Doubt::Ahead) => Label::WhyClockAhead {},
        Reason::Clock(Doubt::AgainstSequence) => Label::WhyClockAgainst {},
        Reason::Newest => Label::WhyNewest {},
        Reason::Last => Label::WhyLast {},
        Reason::Periodic(Period::Hour) => Label::WhyHourly {},
        Reason::Periodic(Period::Day) => Label::WhyDaily {},
        Reason::Periodic(Period::Week) => Label::WhyWeekly {},
        Reason::Periodic(Period::Month) => Label::WhyMonthly {},
        Reason::Periodic(Period::Year) => Label::WhyYearly {},
        Reason::Within => Label::WhyWithin {},
        Reason::Tag(tag) => return escaped(&format!("{} {tag}", Label::WhyTag {}.text(lang))),
        Reason::TagsUnknown => Label::WhyTagsUnknown {},
    };
    label.text(lang)
}
