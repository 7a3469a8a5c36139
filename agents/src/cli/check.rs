//! `shudao check`

use clap::Args;

use super::args::AccessArgs;
use super::context::Context;
use super::engine::{self, Opening};
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Notice, Problem};
use super::parse::Percent;
use super::path::escaped;
use super::report::Finding;
use super::request::{CheckDepth, CheckRequest};
use super::show;

/// Test the vault against itself; damage that stands is exit 4.
///
/// Without a flag: that every snapshot's tree and index fit together; needs a keeper's or the owner's key.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Without keys: object hashes, the log's chain and signatures, presence of every needed name
    #[arg(long, group = "depth")]
    names: bool,
    /// Read all content too; an owner thereby vouches for what is clean
    #[arg(long, group = "depth")]
    read_data: bool,
    /// Read this share of the packs, drawn at random; says what that proves
    #[arg(long, value_name = "N%", group = "depth")]
    sample: Option<Percent>,
    /// Put whole copies from the vault's other replicas in the place of what is damaged or missing, and check again
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl CheckArgs {
    fn depth(&self) -> CheckDepth {
        match (self.names, self.read_data, self.sample) {
            (true, _, _) => CheckDepth::Names,
            (_, true, _) => CheckDepth::ReadData,
            (_, _, Some(Percent(percent))) => CheckDepth::Sample(percent),
            (false, false, None) => CheckDepth::Structure,
        }
    }
}

pub(crate) async fn run(ctx: &Context, args: CheckArgs) -> Result<Exit> {
    let request = CheckRequest { depth: args.depth(), repair: args.repair };
    let opening = if request.depth == CheckDepth::Names { Opening::WithoutKey } else { Opening::WithKey };
    let access = ctx.access(&args.access)?;
    if request.repair && access.replicas.len() < 2 {
        return Err(Failure::usage(Problem::NothingToRepairFrom {}, Hint::NameTwoReplicas {}));
    }
    let vault = engine::open(ctx, &access, opening).await?;
    let print = if access.replicas.len() > 1 { print_of_several } else { print };
    let mut summary = {
        let (progress, _drawn) = ctx.progress();
        engine::check(ctx, &vault, request, &mut |finding| print(ctx, &finding), &progress).await?
    };
    summary.totals.replicas = vault.totals().replicas;
    ctx.output.say(&Notice::CheckScope {
        entries: show::count(summary.log_entries),
        snapshots: show::count(summary.snapshots),
        objects: show::count(summary.objects),
        packs_read: show::count(summary.packs_read),
        packs: show::count(summary.packs),
        time: show::duration(ctx.elapsed()),
    })?;
    if let (Some(percent), Some(confidence)) = (summary.bad_percent_below, summary.confidence_percent) {
        let packs = show::count(summary.packs_read);
        ctx.output.say(&Notice::SampleBound { packs, percent: show::percent_below(percent), confidence })?;
    }
    let mended = summary.mended;
    if mended > 0 {
        ctx.output.say(&Notice::CheckMended { mended: show::count(mended) })?;
    }
    let exit = if summary.standing > 0 {
        ctx.output.say(&Notice::CheckDamaged { standing: show::count(summary.standing) })?;
        ctx.conclude(&summary.totals);
        Exit::Difference
    } else {
        ctx.output.say(&Notice::CheckClean {})?;
        ctx.conclude(&summary.totals)
    };
    ctx.summary(&summary.totals, &summary)?;
    Ok(exit)
}

/// A finding for people.
fn text(ctx: &Context, finding: &Finding) -> String {
    let (object, problem) = (escaped(&finding.object), escaped(&finding.problem));
    let notice = if finding.mended {
        Notice::FindingMended { object, problem }
    } else {
        Notice::FindingStands { object, problem, consequence: escaped(&finding.consequence) }
    };
    notice.text(ctx.output.lang())
}

/// Prints a finding of one of several replicas.
fn print_of_several(ctx: &Context, finding: &Finding) -> Result<()> {
    ctx.output.object("finding", finding)?;
    let notice = Notice::CheckReplica { address: escaped(&finding.replica), finding: text(ctx, finding) };
    ctx.output.line(&notice.text(ctx.output.lang()))
}

/// Prints a finding of the only replica.
fn print(ctx: &Context, finding: &Finding) -> Result<()> {
    ctx.output.object("finding", finding)?;
    ctx.output.line(&text(ctx, finding))
}
