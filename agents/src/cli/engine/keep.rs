//! Holding and forgetting snapshots.

use shudao_vault::id::SnapshotId;

use super::snapshots::{choose, line_of};
use super::{OpenVault, now};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::report::{ForgetPlan, SnapshotLine, Totals};
use crate::cli::request::SnapshotChoice;

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
    vault.settle(ctx, &mut opened);
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
        let (id, _) = choose(ctx, &vault, choice).await?;
        let line = line(&vault, id).await?;
        let list = if line.held { &mut plan.held } else { &mut plan.forget };
        if !list.iter().any(|known| known.snapshot == line.snapshot) {
            list.push(line);
        }
    }
    Ok(plan)
}

/// Forgets exactly the planned snapshots.
pub(crate) async fn forget(ctx: &Context, vault: &OpenVault, plan: &ForgetPlan) -> Result<Totals> {
    let ids: Vec<SnapshotId> =
        plan.forget.iter().map(|line| line.snapshot.parse()).collect::<shudao_vault::Result<_>>()?;
    let mut opened = vault.opened()?.lock().await;
    opened.forget(&ids, now()).await?;
    vault.settle(ctx, &mut opened);
    Ok(vault.totals_of_change())
}
