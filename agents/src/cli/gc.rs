//! `shudao gc`

use clap::Args;
use shudao_vault::collect::Options;

use super::args::AccessArgs;
use super::context::Context;
use super::engine::{self, OpenVault, Opening};
use super::failure::{Exit, Result};
use super::messages::{Label, Notice};
use super::parse::grace;
use super::path::escaped;
use super::progress::Progress;
use super::report::{CollectPlan, CollectSummary, LockLine, Quantity};
use super::show::{self, Side, Table};
use super::vault::tell_locks;

/// Free what no snapshot needs: shows the plan, acts with --yes.
///
/// Needs a keeper's or the owner's key. What nobody needs is condemned now and deleted by a later run, after grace and after every
/// backup that was under way has answered. Packs that are mostly waste are copied without it. May run beside backups and
/// restores, be interrupted anywhere and be run again.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Time between condemning and deleting, and without a sign of life before a backup is taken for dead: 72h, 3d, 90min.
    /// With 0s every backup under way is ended, and what a restore still reads may go
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = grace)]
    grace: i64,
    /// Free whole packs only, and copy nothing
    #[arg(long)]
    no_compact: bool,
    /// Show the plan and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: GcArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    if args.grace == 0 {
        ctx.output.warning(&Notice::GcNoGrace {});
    }
    let vault = engine::open(ctx, &access, Opening::WithKey).await?;
    let mut summary: Option<CollectSummary> = None;
    let (mut unlocked, mut stopped, mut failed) = (0, Vec::new(), None);
    let replicas = engine::collected_replicas(&vault);
    for (place, address) in replicas.iter().enumerate() {
        if replicas.len() > 1 {
            ctx.output.say(&Notice::Plain { text: escaped(address) })?;
        }
        let (progress, _drawn) = ctx.progress();
        let done = match collect(ctx, &vault, (place, &args), &progress).await {
            Ok((done, locked)) => {
                if let Some(line) = locked {
                    unlocked += tell_locks(ctx, &line)?;
                }
                done
            }
            // What stops one of several replicas is no reason to leave the others as they are.
            Err(failure) if failure.exit() == Exit::Failed && replicas.len() > 1 && !failure.is_silent() => {
                let why = failure.problem().text(ctx.output.lang());
                stopped.push(Notice::GcStopped { address: escaped(address), why }.text(ctx.output.lang()));
                failed.get_or_insert(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        match &mut summary {
            None => summary = Some(done),
            Some(summary) => summary.add(done),
        }
    }
    let mut summary = match (summary, failed) {
        (None, Some(failure)) => return Err(failure),
        (summary, _) => summary.unwrap_or_default(),
    };
    summary.problems.extend(stopped);
    summary.totals = if args.yes { vault.totals_of_change() } else { vault.totals() };
    summary.totals.warnings.unlocked = unlocked;
    for problem in &summary.problems {
        ctx.output.warning(&Notice::Plain { text: escaped(problem) });
    }
    if args.yes {
        ctx.output.say(&Notice::GcDone {
            condemned: show::bytes(summary.condemned.bytes),
            deleted: show::bytes(summary.deleted.bytes),
            objects: show::count(summary.deleted.objects),
        })?;
    } else if !args.dry_run && !summary.left.idle {
        return Err(ctx.unconfirmed());
    }
    ctx.summary(&summary.totals, &summary)?;
    let exit = ctx.conclude(&summary.totals);
    Ok(if summary.problems.is_empty() { exit } else { Exit::Partial })
}

/// Collects on one replica and extends its locks, or only plans it.
async fn collect(
    ctx: &Context,
    vault: &OpenVault,
    (place, args): (usize, &GcArgs),
    progress: &Progress,
) -> Result<(CollectSummary, Option<LockLine>)> {
    let waste_percent = Options::DEFAULT.waste_percent.filter(|_| !args.no_compact);
    let options = Options { grace_micros: args.grace, dead_micros: args.grace, waste_percent };
    if args.yes {
        let show = |plan: &CollectPlan| show_plan(ctx, plan);
        let done = engine::collect(ctx, vault, place, &options, progress, &show).await?;
        return Ok((done, engine::lock_at(vault, place).await?));
    }
    let plan = engine::plan_collection(ctx, vault, place, &options, progress).await?;
    show_plan(ctx, &plan.left)?;
    Ok((plan, None))
}

fn show_plan(ctx: &Context, plan: &CollectPlan) -> Result<()> {
    let lang = ctx.output.lang();
    let columns = [
        (Label::Step {}, Side::Left),
        (Label::Count {}, Side::Right),
        (Label::Size {}, Side::Right),
        (Label::Nothing {}, Side::Left),
    ];
    let mut table = Table::new(columns.map(|(label, side)| (label.text(lang), side)));
    let note = |notice: Notice| notice.text(lang);
    let rows: [(Label, Quantity, String); 8] = [
        (Label::GcFence {}, Quantity { objects: plan.fence, bytes: 0 }, String::new()),
        (Label::GcDelete {}, plan.delete, String::new()),
        (Label::GcSweep {}, plan.sweep, String::new()),
        (Label::GcCondemn {}, plan.condemn, String::new()),
        (Label::GcCompact {}, plan.compact, note(Notice::GcCopies { bytes: show::bytes(plan.copied_bytes) })),
        (
            Label::GcInGrace {},
            plan.in_grace,
            plan.grace_ends.map_or_else(String::new, |ends| {
                note(Notice::GcGraceEnds { time: show::time(ends, &ctx.zone) })
            }),
        ),
        (
            Label::GcUnanswered {},
            plan.unanswered,
            note(Notice::GcUnansweredBy { count: show::count(plan.unanswered_sessions) }),
        ),
        (Label::GcSpared {}, plan.spared, String::new()),
    ];
    for (label, quantity, note) in rows {
        if quantity.objects > 0 {
            table.row([label.text(lang), show::count(quantity.objects), show::bytes(quantity.bytes), note]);
        }
    }
    ctx.output.say(&Notice::GcStored {
        objects: show::count(plan.stored.objects),
        bytes: show::bytes(plan.stored.bytes),
    })?;
    if plan.idle {
        ctx.output.say(&Notice::GcNothing {})?;
    }
    ctx.output.lines(&table.lines())?;
    for snapshot in &plan.blocked_by {
        ctx.output.warning(&Notice::GcBlocked { snapshot: show::short_id(snapshot) });
    }
    ctx.output.object("plan", plan)
}
