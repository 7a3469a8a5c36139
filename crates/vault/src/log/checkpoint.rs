//! Folded logs, `checkpoint/<n>`: finding the newest that is believed, putting one, clearing away what is superseded.
//!
//! Layout and rules: `docs/format/checkpoint.md`. Dull: what is believed is decided in [`codec`]. No outcome of the vault hangs
//! on a checkpoint, only how long opening takes.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::log::client::read_entry;
use crate::log::state::State;
use crate::store::Store;
use crate::suite::SigningKey;
use crate::vault_file::VaultFile;

pub mod codec;

/// The owner's client puts the next one this many entries after the newest.
pub const ENTRIES_BETWEEN: u64 = 256;
/// So many are tried before the log is folded from its birth.
const TRIED_MAX: usize = 8;
/// A longer one is passed over.
const BYTES_MAX: u64 = 256 << 20;
const AREA: &str = "checkpoint/";

/// `checkpoint/<n>`: the state after entry `n`.
pub fn checkpoint_path(n: u64) -> String {
    format!("{AREA}{n}")
}

/// The state of the newest checkpoint that can be believed; none where there is none, or none can be found.
pub async fn newest(store: &Store, file: &VaultFile) -> Option<State> {
    // A listing that fails is as good as an empty one: the log tells everything.
    let offered = offered(store).await.unwrap_or_default();
    for n in offered.into_iter().rev().take(TRIED_MAX) {
        if let Ok(state) = read(store, file, n).await {
            return Some(state);
        }
    }
    None
}

/// Puts the checkpoint of this state, which must have folded something. One that is there already stays.
///
/// # Errors
/// The store's; [`crate::Kind::Forbidden`] for another key than the owner's.
pub async fn put(store: &Store, state: &State, owner: &SigningKey) -> Result<()> {
    let Some(n) = state.next().checked_sub(1) else {
        return Err(Error::new(crate::Kind::Bug, "put checkpoint: nothing was folded"));
    };
    let bytes = codec::encode(state, owner)?;
    // What cannot be read back would be passed over for ever, and nobody would ever say so.
    codec::decode(&bytes, state.vault_file(), n)?;
    store.create(&checkpoint_path(n), Bytes::from(bytes)).await.map(drop)
}

/// Deletes what is below the newest checkpoint that is believed, as far as the store lets it. Returns how many objects.
///
/// # Errors
/// The store's, when it cannot list.
pub async fn clear(store: &Store, file: &VaultFile) -> Result<u64> {
    let offered = offered(store).await?;
    if offered.len() < 2 {
        return Ok(0);
    }
    let Some(newest) = newest(store, file).await else { return Ok(0) };
    let mut deleted = 0;
    for n in offered.into_iter().filter(|n| n + 1 < newest.next()) {
        // On a locked bucket it may be refused; it stays and is passed over.
        deleted += u64::from(store.delete(&checkpoint_path(n)).await.is_ok());
    }
    Ok(deleted)
}

/// The numbers that a listing shows, ascending.
async fn offered(store: &Store) -> Result<Vec<u64>> {
    let listed = store.list(AREA).await?;
    let fits = listed.iter().filter(|object| object.bytes <= BYTES_MAX);
    let mut offered: Vec<u64> = fits.filter_map(|object| number(&object.path)).collect();
    offered.sort_unstable();
    Ok(offered)
}

fn number(path: &str) -> Option<u64> {
    let n: u64 = path.strip_prefix(AREA)?.parse().ok()?;
    // One number has one spelling, and has entries after it.
    (checkpoint_path(n) == path && n < u64::MAX).then_some(n)
}

async fn read(store: &Store, file: &VaultFile, n: u64) -> Result<State> {
    let state = codec::decode(&store.read(&checkpoint_path(n)).await?, file, n)?;
    let entry = read_entry(store, n).await?;
    if *blake3::hash(&entry).as_bytes() == state.head() {
        return Ok(state);
    }
    Err(Error::damaged(format!("read checkpoint {n}: it is of another log than the one that is there")))
}

#[cfg(test)]
mod tests;
