//! What a replica's log can hand to another's: the statements that took effect, in its order.

use futures_util::{StreamExt, stream};

use crate::error::Result;
use crate::log::{Envelope, Folded, Op, SignedStatement, State, Statement};
use crate::object::log_path;
use crate::replica::Replica;

/// Entries read at the same time.
const READS_MAX: usize = 8;

/// A statement as it stands in a log.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Its bytes, which another log takes as they are.
    pub signed: SignedStatement,
    /// What it says.
    pub said: Statement,
}

/// Reads a log again from its beginning up to what the replica has folded of it.
///
/// # Errors
/// The store's; those of [`State::fold`].
pub async fn history(replica: &Replica) -> Result<Vec<Carried>> {
    let mut state = State::new(replica.file().clone());
    let mut carried = Vec::new();
    let mut entries = stream::iter(0..replica.state().next())
        .map(|n| async move { (n, replica.store().read(&log_path(n)).await) })
        .buffered(READS_MAX);
    while let Some((n, bytes)) = entries.next().await {
        let bytes = bytes?;
        if let Folded::Applied(_) = state.fold(n, &bytes)? {
            carried.extend(statement_of(&bytes, &state)?);
        }
    }
    Ok(carried)
}

fn statement_of(entry: &[u8], state: &State) -> Result<Option<Carried>> {
    let vault = state.vault_file().vault;
    let signed = match Envelope::decode(entry, vault)?.op()? {
        Some(
            Op::Birth { config: signed, .. }
            | Op::Commit { statement: signed, .. }
            | Op::Publish { statement: signed }
            | Op::Replace { statement: signed, .. },
        ) => signed,
        _ => return Ok(None),
    };
    let said = signed.read(vault)?;
    Ok(Some(Carried { signed, said }))
}
