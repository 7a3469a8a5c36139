//! What a client last saw of each replica, so that one which went back or forked is noticed.
//!
//! Kept in the state directory, never in the cache: losing it loses the notice.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::ReplicaId;
use crate::object::log_path;
use crate::replica::Replica;

/// The place of a log's head: how many entries, and the last one's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    entries: u64,
    hash: [u8; 32],
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
    remember(state, replica)
}

/// Remembers the replica as it is, and which one it is at its address. To be called after appending to its log.
pub fn remember(state: &Path, replica: &Replica) -> Result<()> {
    let Some(id) = replica.state().replica() else { return Ok(()) };
    let mut out = Encoder::new();
    out.u64(replica.state().next()).raw(&replica.state().head());
    let path = place(state, id);
    write(&path, out.as_slice()).map_err(|error| unusable(&path, error))?;
    let path = place_of_address(state, replica);
    write(&path, &id.0).map_err(|error| unusable(&path, error))
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

fn place_of_address(state: &Path, replica: &Replica) -> PathBuf {
    let address = replica.store().address().to_string();
    state.join("addresses").join(blake3::hash(address.as_bytes()).to_hex().as_str())
}

async fn refuse_if_changed(replica: &Replica, seen: Head) -> Result<()> {
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
        *blake3::hash(&replica.store().read(&log_path(last)).await?).as_bytes()
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

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn unusable(path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("use {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_remembered_and_damage_to_the_note_is_noticed() {
        let state = tempfile::tempdir().unwrap();
        let path = place(state.path(), ReplicaId([3; 16]));
        assert_eq!(read(&path).unwrap(), None);
        let head = Head { entries: 7, hash: [9; 32] };
        write(&path, &[&7u64.to_le_bytes()[..], &head.hash].concat()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(head));
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), Kind::Damaged);
    }
}
