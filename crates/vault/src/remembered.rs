//! What a client last saw of each replica, so that one which went back or forked is noticed.
//!
//! Kept in the state directory, never in the cache: losing it loses the notice.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::ReplicaId;
use crate::log::client::read_entry;
use crate::replica::Replica;

/// The place of a log's head: how many entries, and the last one's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    entries: u64,
    hash: [u8; 32],
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u64(self.entries).raw(&self.hash);
        out.finish()
    }
}

/// What to do about a replica that is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRollback {
    /// Refuse it.
    Refuse,
    /// Take it as it is from now on.
    Accept,
}

/// Compares the replica with what was last seen of it, then remembers it as it is.
///
/// # Errors
/// [`Kind::Conflict`] when its log is shorter than it was or has another entry in a place that was seen;
/// [`Kind::Unavailable`] when the state directory cannot be used.
pub async fn compare_and_remember(state: &Path, replica: &Replica, on_rollback: OnRollback) -> Result<()> {
    let Some(id) = replica.state().replica() else { return Ok(()) };
    if on_rollback == OnRollback::Refuse {
        refuse_if_replaced(state, replica, id)?;
        if let Some(seen) = read(&place(state, id))? {
            refuse_if_changed(replica, seen).await?;
        }
    }
    remember_address(state, replica, id)?;
    if on_rollback == OnRollback::Refuse {
        return remember_growth(state, replica);
    }
    let path = place(state, id);
    let now = Head { entries: replica.state().next(), hash: replica.state().head() };
    write(&path, &now.encode()).map_err(|error| unusable(&path, error))
}

/// Whoever can write to a store can put another vault there, opened by the same password.
fn refuse_if_replaced(state: &Path, replica: &Replica, id: ReplicaId) -> Result<()> {
    let path = place_of_address(state, replica);
    match std::fs::read(&path) {
        Ok(seen) if seen == id.0 => Ok(()),
        Ok(_) => {
            let address = replica.store().address();
            let message = format!(
                "another vault, or another replica of it, stands at {address} than this client has seen there"
            );
            Err(Error::new(Kind::Conflict, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(&path, error)),
    }
}

fn remember_address(state: &Path, replica: &Replica, id: ReplicaId) -> Result<()> {
    let path = place_of_address(state, replica);
    write(&path, &id.0).map_err(|error| unusable(&path, error))
}

fn place_of_address(state: &Path, replica: &Replica) -> PathBuf {
    let address = replica.store().address().to_string();
    state.join("addresses").join(blake3::hash(address.as_bytes()).to_hex().as_str())
}

/// Remembers the replica as it is after this client appended to it, unless more was seen of it meanwhile. Nothing is
/// compared: whoever appends has read what it appends to.
///
/// # Errors
/// [`Kind::Unavailable`] when the state directory cannot be used.
pub fn remember_growth(state: &Path, replica: &Replica) -> Result<()> {
    let Some(id) = replica.state().replica() else { return Ok(()) };
    let path = place(state, id);
    let now = Head { entries: replica.state().next(), hash: replica.state().head() };
    if read(&path)?.is_some_and(|seen| seen.entries >= now.entries) {
        return Ok(());
    }
    write(&path, &now.encode()).map_err(|error| unusable(&path, error))
}

async fn refuse_if_changed(replica: &Replica, seen: Head) -> Result<()> {
    if replica.state().next() < seen.entries {
        // Another process here may have appended, and remembered it, since the log was read.
        let mut newer = replica.clone();
        newer.catch_up().await?;
        return refuse_unless_same(&newer, seen).await;
    }
    refuse_unless_same(replica, seen).await
}

async fn refuse_unless_same(replica: &Replica, seen: Head) -> Result<()> {
    let address = replica.store().address();
    let entries = replica.state().next();
    if entries < seen.entries {
        let message = format!(
            "the replica at {address} went back: its log ends before log/{entries}, and this client has seen log/{}",
            seen.entries - 1
        );
        return Err(Error::new(Kind::Conflict, message));
    }
    let Some(last) = seen.entries.checked_sub(1) else { return Ok(()) };
    let hash = if entries == seen.entries {
        replica.state().head()
    } else {
        *blake3::hash(&read_entry(replica.store(), last).await?).as_bytes()
    };
    if hash == seen.hash {
        return Ok(());
    }
    let message =
        format!("the replica at {address} forked: log/{last} is not the entry that this client has seen");
    Err(Error::new(Kind::Conflict, message))
}

fn place(state: &Path, id: ReplicaId) -> PathBuf {
    state.join("replicas").join(id.to_hex())
}

fn read(path: &Path) -> Result<Option<Head>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, error)),
    };
    let mut input = Decoder::new(&bytes, "what was seen of a replica");
    let head = Head { entries: input.u64()?, hash: input.array()? };
    input.finish()?;
    Ok(Some(head))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

pub(crate) fn unusable(path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("use {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SourceId, Timestamp};
    use crate::keys::Unlock;
    use crate::keys::slot::Lock;
    use crate::log::Config;
    use crate::store::Store;
    use crate::suite::KdfCost;
    use crate::vault::{CreateOptions, Vault};

    #[tokio::test]
    async fn growth_is_remembered_and_going_back_from_it_is_refused() {
        let (state, store) = (tempfile::tempdir().unwrap(), Store::memory());
        let cost = KdfCost::new(8, 1, 1).unwrap();
        let options = CreateOptions {
            name: "here",
            config: Config::default(),
            ways_in: vec![("owner", Lock::Passphrase("word", cost))],
            now: Timestamp(1),
        };
        let early = Vault::create(store.clone(), options).await.unwrap();
        compare_and_remember(state.path(), &early, OnRollback::Refuse).await.unwrap();
        let mut vault = Vault::open(early.clone(), &Unlock::Passphrase("word"), None).await.unwrap();
        vault.begin(SourceId([1; 16]), Timestamp(2)).await.unwrap();
        remember_growth(state.path(), vault.replica()).unwrap();
        // Whoever read the log before that looks again instead of crying rollback, and forgets nothing.
        compare_and_remember(state.path(), &early, OnRollback::Refuse).await.unwrap();
        let last = early.state().next();
        store.delete(&crate::object::log_path(last)).await.unwrap();
        let back = compare_and_remember(state.path(), &early, OnRollback::Refuse).await;
        assert_eq!(back.unwrap_err().kind(), Kind::Conflict);
        compare_and_remember(state.path(), &early, OnRollback::Accept).await.unwrap();
        compare_and_remember(state.path(), &early, OnRollback::Refuse).await.unwrap();
    }

    #[test]
    fn a_head_is_remembered_and_damage_to_the_note_is_noticed() {
        let state = tempfile::tempdir().unwrap();
        let path = place(state.path(), ReplicaId([3; 16]));
        assert_eq!(read(&path).unwrap(), None);
        let head = Head { entries: 7, hash: [9; 32] };
        write(&path, &head.encode()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(head));
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), Kind::Damaged);
    }
}
