//! Collection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shudao_vault::collect::{self, Options, Outcome, Watch};
use shudao_vault::{Error, Kind};

use super::{OpenVault, mirror, now};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::progress::Progress;
use crate::cli::report::{CollectPlan, CollectSummary};

/// The replicas to collect on, by address, in the order of their places.
pub(crate) fn collected_replicas(vault: &OpenVault) -> Vec<&str> {
    vault.addresses()
}

/// What collecting on the replica at `place` would do now.
pub(crate) async fn plan_collection(
    ctx: &Context,
    vault: &OpenVault,
    place: usize,
    options: &Options,
    progress: &Progress,
) -> Result<CollectSummary> {
    let mut opened = vault.opened()?.lock().await;
    let counters = Arc::new(collect::Progress::default());
    let stop = || stopped(ctx);
    let watch = Watch { clock: &now, progress: &counters, planned: &|_| Ok(()), stop: &stop };
    let outcome = mirrored(progress, &counters).until(opened.plan_collection(place, options, watch)).await?;
    Ok(summary_of(vault, &outcome))
}

/// Collects on the replica at `place`; `planned` is shown the plan first.
pub(crate) async fn collect(
    ctx: &Context,
    vault: &OpenVault,
    place: usize,
    options: &Options,
    progress: &Progress,
    planned: &(dyn Fn(&CollectPlan) -> Result<()> + Sync),
) -> Result<CollectSummary> {
    let mut opened = vault.opened()?.lock().await;
    vault.must_write(opened.replicas()).await?;
    let counters = Arc::new(collect::Progress::default());
    // An output that fails has its own words, which the vault's error cannot carry.
    let untold: std::sync::Mutex<Option<Failure>> = std::sync::Mutex::new(None);
    let told = |outcome: &Outcome| match planned(&CollectPlan::from(&outcome.left)) {
        Ok(()) => Ok(()),
        Err(failure) => {
            *untold.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failure);
            Err(Error::new(Kind::Input, "show the plan"))
        }
    };
    let stop = || stopped(ctx);
    let watch = Watch { clock: &now, progress: &counters, planned: &told, stop: &stop };
    let collected = mirrored(progress, &counters).until(opened.collect(place, options, watch)).await;
    vault.settle(ctx, &mut opened).await;
    ctx.stop.check()?;
    if let Some(failure) = untold.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(failure);
    }
    Ok(summary_of(vault, &collected?))
}

fn stopped(ctx: &Context) -> shudao_vault::Result<()> {
    if ctx.stop.is_requested() {
        return Err(Error::new(Kind::Unavailable, "collect: interrupted; run it again to go on"));
    }
    Ok(())
}

fn mirrored<'a>(progress: &'a Progress, counters: &Arc<collect::Progress>) -> super::Mirror<'a> {
    let counters = Arc::clone(counters);
    mirror(progress, move |progress| {
        progress.files_done.store(counters.deleted.load(Ordering::Relaxed), Ordering::Relaxed);
        progress.bytes_done.store(counters.bytes_read.load(Ordering::Relaxed), Ordering::Relaxed);
    })
}

fn summary_of(vault: &OpenVault, outcome: &Outcome) -> CollectSummary {
    CollectSummary {
        totals: vault.totals(),
        fenced: outcome.fenced,
        condemned: outcome.condemned.into(),
        swept: outcome.swept.into(),
        deleted: outcome.deleted.into(),
        replaced: outcome.replaced.into(),
        made: outcome.made.into(),
        problems: outcome.problems.clone(),
        left: CollectPlan::from(&outcome.left),
    }
}
