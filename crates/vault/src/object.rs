//! What all stored objects share: header and trailer; and the places of those that are not content-named objects of a
//! snapshot, which [`crate::name`] has.
//!
//! ```text
//! header   magic "SHUDAO" 6 | kind u8 | version u8 | suite u8 | vault id 16
//! trailer  BLAKE3 of everything before it, on objects whose name is not their hash (log entries, checkpoints)
//! ```

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, SessionId, VaultId};
use crate::suite::SUITE_STD_1;

/// The first six bytes of every binary object.
pub const MAGIC: &[u8; 6] = b"SHUDAO";

/// The format version that this build writes.
pub const FORMAT_VERSION: u8 = 0;

/// Length of the common header.
pub const HEADER_BYTES: usize = 6 + 3 + VaultId::LEN;

/// The place of the vault's one mutable-by-nobody description.
pub const VAULT_FILE: &str = "vault.json";

/// What kind of object a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// A pack of content frames.
    ContentPack = 1,
    /// A pack of tree and list nodes.
    MetadataPack = 2,
    /// A sorted piece of the index.
    Segment = 3,
    /// The packs that a snapshot relies on.
    NeedList = 4,
    /// A snapshot.
    Snapshot = 5,
    /// A key slot.
    KeySlot = 6,
    /// A writer's certificate.
    Certificate = 7,
    /// A log entry.
    LogEntry = 8,
    /// A statement inside a log entry, signed on its own.
    Statement = 9,
    /// What a session has done so far.
    SessionCheckpoint = 10,
    /// A log folded up to some entry.
    LogCheckpoint = 11,
}

/// Starts an object of `kind`: an encoder that already holds the header.
pub fn start(kind: ObjectKind, vault: VaultId) -> Encoder {
    let mut out = Encoder::new();
    out.raw(MAGIC).u8(kind as u8).u8(FORMAT_VERSION).u8(SUITE_STD_1).raw(&vault.0);
    out
}

/// Checks the header of an object of `kind` of `vault` and returns what follows it.
///
/// # Errors
/// [`Kind::Damaged`] for another magic, kind or vault; [`Kind::Unsupported`] for a newer version or another suite.
pub fn open<'a>(
    bytes: &'a [u8],
    kind: ObjectKind,
    vault: VaultId,
    what: &'static str,
) -> Result<Decoder<'a>> {
    let (input, is_newer) = open_any_version(bytes, kind, vault, what)?;
    if is_newer {
        let message = format!("decode {what}: its format version is newer; a newer shudao is needed");
        return Err(Error::new(Kind::Unsupported, message));
    }
    Ok(input)
}

/// The same for objects whose outer layout is that of all versions (log entries and statements): also says whether the
/// version is newer than this build's.
pub(crate) fn open_any_version<'a>(
    bytes: &'a [u8],
    kind: ObjectKind,
    vault: VaultId,
    what: &'static str,
) -> Result<(Decoder<'a>, bool)> {
    let mut input = Decoder::new(bytes, what);
    if &input.array::<6>()? != MAGIC {
        return Err(input.error("does not begin with the vault's magic"));
    }
    if input.u8()? != kind as u8 {
        return Err(input.error("is an object of another kind"));
    }
    let (version, suite) = (input.u8()?, input.u8()?);
    if suite != SUITE_STD_1 {
        let message = format!("decode {what}: suite {suite}: a newer shudao is needed");
        return Err(Error::new(Kind::Unsupported, message));
    }
    if input.array()? != vault.0 {
        return Err(input.error("belongs to another vault"));
    }
    Ok((input, version > FORMAT_VERSION))
}

/// Appends the trailer: BLAKE3 of all bytes so far.
pub fn finish_with_trailer(out: Encoder) -> Vec<u8> {
    let mut bytes = out.finish();
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// Checks and removes the trailer.
pub fn without_trailer<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8]> {
    let damaged = |problem: &str| Error::damaged(format!("decode {what}: {problem}"));
    let body_len = bytes.len().checked_sub(32).ok_or_else(|| damaged("ends too early"))?;
    let (body, trailer) = bytes.split_at(body_len);
    if blake3::hash(body).as_bytes() == trailer {
        Ok(body)
    } else {
        Err(damaged("its checksum does not match"))
    }
}

/// `keys/<id>`: slots and certificates.
pub fn key_path(id: &ObjectId) -> String {
    format!("keys/{id}")
}

/// `sessions/<session>/<k>`: checkpoints of a session.
pub fn session_path(session: SessionId, k: u64) -> String {
    format!("sessions/{session}/{k}")
}

/// `log/<n>`
pub fn log_path(n: u64) -> String {
    format!("log/{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_accepted_only_for_its_kind_and_vault() {
        let vault = VaultId([1; 16]);
        let bytes = start(ObjectKind::Segment, vault).finish();
        assert_eq!(bytes.len(), HEADER_BYTES);
        open(&bytes, ObjectKind::Segment, vault, "segment").unwrap().finish().unwrap();
        assert!(open(&bytes, ObjectKind::Snapshot, vault, "snapshot").is_err());
        assert!(open(&bytes, ObjectKind::Segment, VaultId([2; 16]), "segment").is_err());
        let mut newer = bytes.clone();
        newer[7] = 200;
        let error = open(&newer, ObjectKind::Segment, vault, "segment").unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }

    #[test]
    fn a_trailer_notices_every_flipped_byte() {
        let mut out = start(ObjectKind::LogEntry, VaultId([1; 16]));
        out.u32(9);
        let bytes = finish_with_trailer(out);
        without_trailer(&bytes, "entry").unwrap();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(without_trailer(&bad, "entry").is_err(), "{i}");
        }
    }
}
