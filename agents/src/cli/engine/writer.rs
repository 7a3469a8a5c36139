//! Who may write to a vault whose stores cannot keep the order of several.

use shudao_vault::client::{client_id, probe_now, probe_once};
use shudao_vault::replica::Replica;
use shudao_vault::store::Store;

use super::{OpenVault, now};
use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::path::escaped;
use crate::cli::report::Takeover;

/// Each version tries each store once: products change what they do with conditions.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes the store's place and finds out whether it keeps order. Where it does not, says that from now on this client
/// alone may write.
pub(super) async fn prepare(
    ctx: &Context,
    store: &Store,
    address: &str,
    state_dir: &std::path::Path,
) -> Result<()> {
    store.prepare().await?;
    if !probe_now(state_dir, store, VERSION).await?.create_if_absent {
        let client = client_id(state_dir)?.to_hex();
        ctx.output.warning(&Notice::SingleWriter { address: escaped(address), client });
    }
    Ok(())
}

impl OpenVault {
    /// Refuses to write where the settings name another client, or where they name none and this version finds that the
    /// store needs one.
    pub(super) async fn must_write(&self, replicas: &[Replica]) -> Result<()> {
        for (replica, address) in replicas.iter().zip(self.addresses()) {
            replica.must_be_writer()?;
            // A store that does not answer now is told of by whoever needs it.
            let found = probe_once(&self.access.state_dir, replica.store(), VERSION).await;
            let keeps_order = found.map_or(true, |found| found.create_if_absent);
            if !keeps_order && replica.state().config().single_writer.is_none() {
                let problem = Problem::NoWriterNamed { address: escaped(address) };
                return Err(Failure::new(Exit::Conflict, problem, Hint::TakeOver {}));
            }
        }
        Ok(())
    }
}

/// Who alone may write now, and who would.
pub(crate) async fn plan_takeover(vault: &OpenVault) -> Result<Takeover> {
    let opened = vault.opened()?.lock().await;
    opened.must_own("take over the vault")?;
    let before = opened.config().single_writer.map(|client| client.to_hex());
    Ok(Takeover { before, client: client_id(&vault.access.state_dir)?.to_hex() })
}

/// Makes this client the one that alone may write.
pub(crate) async fn takeover(ctx: &Context, vault: &OpenVault) -> Result<()> {
    let mut opened = vault.opened()?.lock().await;
    let client = client_id(&vault.access.state_dir)?;
    let taken = opened.take_over(client, now()).await;
    vault.settle(ctx, &mut opened).await;
    Ok(taken?)
}
