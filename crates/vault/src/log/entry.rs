//! The bytes of `log/<n>`: an envelope that never changes, around an operation.

use crate::codec::Encoder;
use crate::error::{Error, Kind, Result};
use crate::id::{ReplicaId, Timestamp, VaultId, WriterId};
use crate::keys::certificate::{signed, split_signature};
use crate::log::ENTRY_BYTES_MAX;
use crate::log::op::Op;
use crate::object::{self, ObjectKind};
use crate::suite::{Signature, SigningKey, VerifyKey};

const DOMAIN: &str = "shudao log entry";
const WHAT: &str = "log entry";

/// An entry to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub n: u64,
    /// BLAKE3 of entry `n - 1`; zeros for entry 0.
    pub previous: [u8; 32],
    /// The replica whose log this is.
    pub replica: ReplicaId,
    /// The appender's clock; informs, never decides.
    pub time: Timestamp,
    /// Random.
    pub nonce: [u8; 16],
    /// What it does.
    pub op: Op,
}

impl Entry {
    /// The entry's bytes, signed by the appender.
    ///
    /// # Errors
    /// [`Kind::Input`] for an operation that a reader would refuse, or one too long for an entry.
    pub fn sign(&self, vault: VaultId, key: &SigningKey) -> Result<Vec<u8>> {
        let mut payload = Encoder::new();
        self.op.encode(&mut payload)?;
        let mut out = object::start(ObjectKind::LogEntry, vault);
        out.u64(self.n).raw(&self.previous).raw(&self.replica.0).i64(self.time.0).raw(&self.nonce);
        out.raw(&key.verify_key().writer_id().0).u8(self.op.number()).bytes(payload.as_slice());
        let mut whole = Encoder::new();
        whole.raw(&signed(out, DOMAIN, key));
        let bytes = object::finish_with_trailer(whole);
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Error::new(Kind::Input, format!("write log entry {}: it exceeds 1 MiB", self.n)));
        }
        Ok(bytes)
    }
}

/// An entry's envelope, read but not verified.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Its number, as it says.
    pub n: u64,
    /// The hash it follows.
    pub previous: [u8; 32],
    /// The replica it was made for.
    pub replica: ReplicaId,
    /// The appender's clock.
    pub time: Timestamp,
    /// The appender, as it says.
    pub author: WriterId,
    is_newer: bool,
    op: u8,
    payload: &'a [u8],
    signed: &'a [u8],
    signature: Signature,
}

impl<'a> Envelope<'a> {
    /// Reads an entry's envelope.
    ///
    /// # Errors
    /// [`Kind::Damaged`]; a newer version is no error, because the envelope is the same in all.
    pub fn decode(bytes: &'a [u8], vault: VaultId) -> Result<Self> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Error::damaged("decode log entry: it exceeds 1 MiB"));
        }
        let (signed, signature) = split_signature(object::without_trailer(bytes, WHAT)?, WHAT)?;
        let (mut input, is_newer) = object::open_any_version(signed, ObjectKind::LogEntry, vault, WHAT)?;
        let (n, previous, replica) = (input.u64()?, input.array()?, ReplicaId(input.array()?));
        let time = Timestamp(input.i64()?);
        let _nonce: [u8; 16] = input.array()?;
        let author = WriterId(input.array()?);
        let op = input.u8()?;
        let payload = input.bytes(ENTRY_BYTES_MAX)?;
        input.finish()?;
        Ok(Self { n, previous, replica, time, author, is_newer, op, payload, signed, signature })
    }

    /// Whether `key` signed the entry.
    pub fn is_signed_by(&self, key: &VerifyKey) -> bool {
        key.verifies(DOMAIN, self.signed, &self.signature)
    }

    /// The operation's number.
    pub fn op_number(&self) -> u8 {
        self.op
    }

    /// The operation; `None` if this version does not know it.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if its payload breaks the layout.
    pub fn op(&self) -> Result<Option<Op>> {
        if self.is_newer { Ok(None) } else { Op::decode(self.op, self.payload) }
    }
}

#[cfg(test)]
mod tests;
