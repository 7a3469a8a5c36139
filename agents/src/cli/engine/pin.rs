//! What takes long to read is pinned, so that a forget does not take it from under the reader.

use shudao_vault::id::SnapshotId;
use shudao_vault::pin::Pins;
use shudao_vault::vault::{Vault, chain};

use super::now;
use crate::cli::context::Context;
use crate::cli::messages::Notice;
use crate::cli::path::escaped;
use crate::cli::show;

/// More snapshots than this are not pinned at once: each pin is an entry in a log, and so is its end.
const PINNED_MAX: usize = 32;

/// Reads with `work` while these snapshots are pinned on the vault's replicas, which have these addresses; however the work ends, the pins
/// end with it. Where they cannot be pinned it is said, and the work goes on.
pub(super) async fn while_pinned<T>(
    ctx: &Context,
    (vault, addresses): (&Vault, &[&str]),
    snapshots: Vec<SnapshotId>,
    work: impl Future<Output = T>,
) -> T {
    if snapshots.len() > PINNED_MAX {
        ctx.output.notice(&Notice::TooManyToPin { count: show::count(snapshots.len() as u64) });
        return work.await;
    }
    let pins = Pins::on(vault, snapshots, now()).await;
    for (place, why) in pins.unprotected() {
        let address = escaped(addresses.get(place).copied().unwrap_or_default());
        ctx.output.notice(&Notice::NotPinned { address, why: escaped(&chain(why)) });
    }
    let held = pins.hold(now);
    let done = work.await;
    held.release().await;
    done
}
