//! `shudao vault lock`

use clap::{Args, ValueEnum};
use shudao_vault::store::lock::LockMode;

use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, OpenVault, Opening};
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::path::escaped;
use crate::cli::report::LockLine;
use crate::cli::request::LockRequest;
use crate::cli::show;

/// Days of a generation where none are given.
const GENERATION_DAYS: u32 = 10;
/// Objects that could not be locked are named up to this many.
const NAMED_MAX: usize = 10;

/// Keep what the vault needs locked in buckets that have object lock.
///
/// Without a flag: lock everything that is needed until the end of this generation and the kept time on top; due once in each
/// generation, made by `gc` too, needs no key. With --mode and --days: settle that the named replicas are kept locked; with
/// --off: that they are not any more. That needs the owner's key, shows its plan and acts with --yes.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Who may lift a lock before its time: with governance whoever has the right to bypass it, with compliance nobody, the owner
    /// of the bucket and the provider included
    #[arg(long, value_enum, requires = "days", conflicts_with = "off")]
    mode: Option<Mode>,
    /// Keep objects locked for so many days after the end of the generation in which they were needed last
    #[arg(long, value_name = "DAYS", requires = "mode")]
    days: Option<u32>,
    /// Days of a generation [default: 10]
    #[arg(long, value_name = "DAYS", requires = "mode")]
    generation: Option<u32>,
    /// Settle that objects are not locked any more; the locks that there are stay until they run out
    #[arg(long)]
    off: bool,
    /// Show the plan and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A right lifts it.
    Governance,
    /// Nobody lifts it.
    Compliance,
}

impl From<Mode> for LockMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Governance => Self::Governance,
            Mode::Compliance => Self::Compliance,
        }
    }
}

pub(crate) async fn run(ctx: &Context, args: LockArgs) -> Result<Exit> {
    let access = ctx.access(&args.access)?;
    let request = match (args.mode, args.days) {
        (Some(mode), Some(days)) => Some(LockRequest {
            mode: mode.into(),
            keep_days: days,
            generation_days: args.generation.unwrap_or(GENERATION_DAYS),
        }),
        _ => None,
    };
    let opening = if request.is_some() || args.off { Opening::WithKey } else { Opening::WithoutKey };
    let vault = engine::open(ctx, &access, opening).await?;
    if request.is_some() || args.off {
        show_change(ctx, &vault, request.as_ref()).await?;
        if !args.yes {
            ctx.summary(&vault.totals(), &Locked::default())?;
            return if args.dry_run { Ok(Exit::Done) } else { Err(ctx.unconfirmed()) };
        }
        engine::set_locks(ctx, &vault, request).await?;
    }
    if args.off {
        ctx.output.say(&Notice::LocksOff {})?;
        let totals = vault.totals_of_change();
        ctx.summary(&totals, &Locked::default())?;
        return Ok(ctx.conclude(&totals));
    }
    let lines = match args.dry_run {
        true => engine::lock_plans(&vault, None).await?,
        false => engine::lock(ctx, &vault).await?,
    };
    if lines.is_empty() {
        return Err(Failure::usage(Problem::LocksNotSettled {}, Hint::SettleLocks {}));
    }
    let mut totals = vault.totals_of_change();
    for line in &lines {
        if args.dry_run {
            show_plan(ctx, line)?;
        } else {
            totals.warnings.unlocked += tell(ctx, line)?;
        }
    }
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &Locked::of(&lines))?;
    Ok(exit)
}

/// What the summary says.
#[derive(Debug, Default, serde::Serialize)]
struct Locked {
    extended: u64,
    covered: u64,
}

impl Locked {
    fn of(lines: &[LockLine]) -> Self {
        Self {
            extended: lines.iter().map(|line| line.extended).sum(),
            covered: lines.iter().map(|line| line.covered).sum(),
        }
    }
}

async fn show_change(ctx: &Context, vault: &OpenVault, request: Option<&LockRequest>) -> Result<()> {
    if request.is_none() {
        return ctx.output.say(&Notice::LocksOffPlan {});
    }
    for line in engine::lock_plans(vault, request).await? {
        show_plan(ctx, &line)?;
    }
    Ok(())
}

fn show_plan(ctx: &Context, line: &LockLine) -> Result<()> {
    let (address, objects) = (escaped(&line.replica), show::count(line.objects));
    let time = show::time(line.until, &ctx.zone);
    ctx.output.say(&match line.mode {
        LockMode::Governance => Notice::LockPlanGovernance { address, objects, time },
        LockMode::Compliance => Notice::LockPlanCompliance { address, objects, time },
    })?;
    ctx.output.object("lock", line)
}

/// Tells what a pass did; returns how many objects could not be locked.
pub(crate) fn tell(ctx: &Context, line: &LockLine) -> Result<u64> {
    ctx.output.say(&Notice::LocksExtended {
        address: escaped(&line.replica),
        extended: show::count(line.extended),
        covered: show::count(line.covered),
        time: show::time(line.until, &ctx.zone),
        next: show::time(line.next_pass, &ctx.zone),
    })?;
    for failed in line.failed.iter().take(NAMED_MAX) {
        ctx.output.warning(&Notice::NotLocked { address: escaped(&line.replica), why: escaped(failed) });
    }
    ctx.output.object("lock", line)?;
    Ok(line.failed.len() as u64)
}
