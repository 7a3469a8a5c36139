//! Holding and forgetting snapshots.

use jiff::tz::TimeZone;
use shudao_vault::Kind;
use shudao_vault::id::{SnapshotId, Timestamp};
use shudao_vault::retention::{self, Candidate, Policy, fixed_zone};
use shudao_vault::vault::{Vault, chain};

use super::snapshots::{choose, line_of, line_of_log, select};
use super::{OpenVault, now};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::parse::SnapshotName;
use crate::cli::path::escaped;
use crate::cli::report::{ForgetPlan, SnapshotLine, Totals, Verdict};
use crate::cli::request::{RulesChoice, Selection, SnapshotChoice};

/// Whether a hold is laid or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldChange {
    /// It is laid.
    Hold,
    /// It is lifted.
    Release,
}

/// Lays or lifts a hold; returns the snapshot.
pub(crate) async fn hold(
    ctx: &Context,
    vault: &OpenVault,
    snapshot: &SnapshotChoice,
    change: HoldChange,
) -> Result<SnapshotLine> {
    let mut opened = vault.opened()?.lock().await;
    let (id, _) = choose(ctx, &opened, snapshot).await?;
    opened.must_own("hold snapshots")?;
    match change {
        HoldChange::Hold => opened.hold(id, now()).await?,
        HoldChange::Release => opened.release(id, now()).await?,
    }
    vault.settle(ctx, &mut opened).await;
    line(&opened, id).await
}

async fn line(vault: &shudao_vault::vault::Vault, id: SnapshotId) -> Result<SnapshotLine> {
    let snapshot = vault.snapshot(&id).await?;
    let visible = vault.find_visible(&id).cloned();
    let visible = visible.ok_or_else(|| shudao_vault::Error::new(shudao_vault::Kind::Input, "it is gone"))?;
    Ok(line_of(vault, id, &visible, &snapshot))
}

/// What forgetting these snapshots would do.
pub(crate) async fn plan_forget(
    ctx: &Context,
    vault: &OpenVault,
    snapshots: &[SnapshotChoice],
) -> Result<ForgetPlan> {
    let vault = vault.opened()?.lock().await;
    let mut plan = ForgetPlan::default();
    for choice in snapshots {
        let line = doomed(ctx, &vault, choice).await?;
        let list = if line.held { &mut plan.held } else { &mut plan.forget };
        if !list.iter().any(|known| known.snapshot == line.snapshot) {
            list.push(line);
        }
    }
    Ok(plan)
}

/// The line of a snapshot to be forgotten. One that is lost or damaged can be forgotten by its id, because until then it blocks
/// collection: of it is shown what the log says.
async fn doomed(ctx: &Context, vault: &Vault, choice: &SnapshotChoice) -> Result<SnapshotLine> {
    let SnapshotName::Prefix(prefix) = &choice.name else {
        let (id, _) = choose(ctx, vault, choice).await?;
        return line(vault, id).await;
    };
    let id = vault.resolve(prefix).map_err(|error| Failure::from(error).with_hint(Hint::ListSnapshots {}))?;
    match (vault.snapshot(&id).await, vault.find_visible(&id)) {
        (Err(error), Some(visible)) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => {
            ctx.output.warning(&Notice::Plain { text: escaped(&chain(&error)) });
            Ok(line_of_log(vault, id, visible))
        }
        (Err(error), _) => Err(error.into()),
        (Ok(_), _) => line(vault, id).await,
    }
}

/// What the rules say of each selected snapshot, in the log's order.
pub(crate) async fn plan_retention(
    ctx: &Context,
    vault: &OpenVault,
    selection: &Selection,
    rules: &RulesChoice,
) -> Result<Vec<Verdict>> {
    let vault = vault.opened()?.lock().await;
    let selected = select(ctx, &vault, selection).await?;
    let state = vault.replica().state();
    let candidates: Vec<Candidate<'_>> = selected
        .iter()
        .map(|(id, visible, snapshot)| Candidate {
            id: *id,
            source: visible.source,
            sequence: visible.sequence,
            time: visible.time,
            held: state.is_held(id),
            tags: Some(&snapshot.contents.tags),
        })
        .collect();
    let decisions = match rules {
        RulesChoice::Given(rules) => {
            retention::plan(rules, &candidates, now(), &|time| seconds_east(&ctx.zone, time))
        }
        RulesChoice::Policy => {
            let text = &state.config().retention;
            let policy: Policy = text.parse()?;
            if policy.rules.is_empty() {
                return Err(Failure::usage(Problem::NoPolicy {}, Hint::GiveKeepRules {}));
            }
            retention::plan(&policy.rules, &candidates, now(), &fixed_zone(policy.minutes_east))
        }
    };
    let verdicts = selected.iter().zip(decisions).map(|((id, visible, snapshot), decision)| Verdict {
        snapshot: line_of(&vault, *id, visible, snapshot),
        forget: !decision.stays(),
        why: decision.reasons,
    });
    Ok(verdicts.collect())
}

/// Seconds east of UTC in `zone`; none for a time that no calendar has.
fn seconds_east(zone: &TimeZone, time: Timestamp) -> i32 {
    jiff::Timestamp::from_microsecond(time.0).map_or(0, |time| zone.to_offset(time).seconds())
}

/// Forgets exactly the planned snapshots.
pub(crate) async fn forget(ctx: &Context, vault: &OpenVault, plan: &ForgetPlan) -> Result<Totals> {
    let ids: Vec<SnapshotId> =
        plan.forget.iter().map(|line| line.snapshot.parse()).collect::<shudao_vault::Result<_>>()?;
    let mut opened = vault.opened()?.lock().await;
    opened.forget(&ids, now()).await?;
    vault.settle(ctx, &mut opened).await;
    Ok(vault.totals_of_change())
}
