//! Statements: what is said of the vault on any replica, signed apart from the entry that carries them.

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{
    KeyId, NeedListId, ObjectId, PackId, SegmentId, SnapshotId, SourceId, Timestamp, VaultId, WriterId,
};
use crate::keys::certificate::{signed, split_signature};
use crate::log::config::Config;
use crate::log::{ENTRY_BYTES_MAX, LIST_ITEMS_MAX};
use crate::name::Name;
use crate::object::{self, ObjectKind};
use crate::suite::{SigningKey, VerifyKey};

const DOMAIN: &str = "shudao statement";
const WHAT: &str = "statement";

/// A certificate in a key statement is at most this long.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// A slot id or a holder id: what a key statement is about.
pub type Subject = [u8; 16];

/// What a commit makes visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatement {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its source.
    pub source: SourceId,
    /// The parent's sequence plus 1.
    pub sequence: u64,
    /// The packs it relies on.
    pub need_list: NeedListId,
    /// The segments that its session made.
    pub segments: Vec<SegmentId>,
}

/// A pack whose needed frames stand in other packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The pack that is replaced.
    pub old: PackId,
    /// The packs that hold its frames, as far as the covered snapshots need them.
    pub new: Vec<PackId>,
}

/// What a compaction did. A new pack holds frames of vouched packs only, or of unvouched ones only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacesStatement {
    /// The segments that its session made: of the new packs.
    pub segments: Vec<SegmentId>,
    /// What stands where.
    pub replacements: Vec<Replacement>,
    /// The snapshots that the new packs serve; every other one still needs the old packs.
    pub covers: Vec<SnapshotId>,
}

/// What a key statement says of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPresence {
    /// The subject no longer counts.
    Removed,
    /// The subject is a slot, and this object is it.
    Slot(ObjectId),
    /// The subject is a holder, and these bytes are its certificate.
    Certificate(Vec<u8>),
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A snapshot is complete.
    Commit(CommitStatement),
    /// A snapshot must not be forgotten.
    Hold(SnapshotId),
    /// It may be forgotten again.
    Release(SnapshotId),
    /// Every frame of these packs was read and is what its directory says; all that these segments claim is so.
    Vouch(Vec<ObjectId>),
    /// These frames are bad: their chunks count as absent.
    Bad(Vec<(KeyId, u64)>),
    /// A slot or certificate counts, or no longer does.
    Key {
        /// Slot id or holder id.
        subject: Subject,
        /// What is said of it.
        presence: KeyPresence,
    },
    /// The owner's settings.
    Config(Config),
    /// A compaction is complete.
    Replaces(ReplacesStatement),
}

impl Body {
    fn number(&self) -> u8 {
        match self {
            Self::Commit(_) => 1,
            Self::Hold(_) => 2,
            Self::Release(_) => 3,
            Self::Vouch(_) => 4,
            Self::Bad(_) => 5,
            Self::Key { .. } => 6,
            Self::Config(_) => 7,
            Self::Replaces(_) => 8,
        }
    }
}

/// A statement with who says it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who says it.
    pub author: WriterId,
    /// When; informs, and orders nothing but `latest`.
    pub time: Timestamp,
    /// The owner's serial, from 1, for hold, release, key and config; otherwise 0.
    pub serial: u64,
    /// What is said.
    pub body: Body,
}

/// What the bytes of a statement turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A statement of this version.
    Known(Statement),
    /// Of a kind or version that this build does not know; the author is as it says.
    Future(WriterId),
}

impl Statement {
    /// The statement's bytes, signed by its author. The author is `key`'s holder, whatever `self` says.
    ///
    /// # Errors
    /// [`Kind::Input`] for what a reader would refuse: lists or texts that are too long.
    pub fn sign(&self, vault: VaultId, key: &SigningKey) -> Result<SignedStatement> {
        let mut payload = Encoder::new();
        self.body.encode(&mut payload)?;
        let mut out = object::start(ObjectKind::Statement, vault);
        out.raw(&key.verify_key().writer_id().0).i64(self.time.0).u64(self.serial);
        out.u8(self.body.number()).bytes(payload.as_slice());
        let bytes = signed(out, DOMAIN, key);
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(Error::new(Kind::Input, "sign statement: it is longer than a log entry can carry"));
        }
        Ok(SignedStatement(bytes))
    }
}

/// A statement is at most this long, so that an entry around it stays below its own bound.
pub(crate) const STATEMENT_BYTES_MAX: usize = ENTRY_BYTES_MAX - 1024;

/// A statement's signed bytes. Whose signature it is, is for [`SignedStatement::is_signed_by`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement(Vec<u8>);

impl SignedStatement {
    /// The bytes as they came, judged by nobody yet.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `key` signed these bytes.
    pub fn is_signed_by(&self, key: &VerifyKey) -> bool {
        split_signature(&self.0, WHAT).is_ok_and(|(body, signature)| key.verifies(DOMAIN, body, &signature))
    }

    /// What the statement says. The signature is not verified here.
    ///
    /// # Errors
    /// [`Kind::Damaged`], or [`Kind::Unsupported`] for a kind or version that this build does not know.
    pub fn read(&self, vault: VaultId) -> Result<Statement> {
        match self.read_any(vault)? {
            Reading::Known(statement) => Ok(statement),
            Reading::Future(_) => {
                Err(Error::new(Kind::Unsupported, "decode statement: a newer shudao is needed"))
            }
        }
    }

    pub(crate) fn read_any(&self, vault: VaultId) -> Result<Reading> {
        let (body, _) = split_signature(&self.0, WHAT)?;
        let (mut input, is_newer) = object::open_any_version(body, ObjectKind::Statement, vault, WHAT)?;
        let author = WriterId(input.array()?);
        let (time, serial) = (Timestamp(input.i64()?), input.u64()?);
        let kind = input.u8()?;
        let payload = input.bytes(STATEMENT_BYTES_MAX)?;
        input.finish()?;
        let body = if is_newer { None } else { Body::decode(kind, payload)? };
        Ok(match body {
            Some(body) => Reading::Known(Statement { author, time, serial, body }),
            None => Reading::Future(author),
        })
    }
}

impl Body {
    fn encode(&self, out: &mut Encoder) -> Result<()> {
        match self {
            Self::Commit(commit) => {
                out.raw(&commit.snapshot.0)
                    .raw(&commit.source.0)
                    .u64(commit.sequence)
                    .raw(&commit.need_list.0);
                encode_ids(out, &commit.segments)?;
            }
            Self::Hold(snapshot) | Self::Release(snapshot) => {
                out.raw(&snapshot.0);
            }
            Self::Vouch(objects) => encode_ids(out, objects)?,
            Self::Bad(frames) => {
                check_list(frames)?;
                out.varint(frames.len() as u64);
                for (key, counter) in frames {
                    out.raw(&key.0).u64(*counter);
                }
            }
            Self::Key { subject, presence } => {
                out.raw(subject);
                match presence {
                    KeyPresence::Removed => out.u8(0),
                    KeyPresence::Slot(object) => out.u8(1).raw(&object.0),
                    KeyPresence::Certificate(bytes) => out.u8(2).bytes(bytes),
                };
            }
            Self::Config(config) => config.encode(out)?,
            Self::Replaces(replaces) => {
                encode_ids(out, &replaces.segments)?;
                check_list(&replaces.replacements)?;
                out.varint(replaces.replacements.len() as u64);
                for replacement in &replaces.replacements {
                    out.raw(&replacement.old.0);
                    encode_ids(out, &replacement.new)?;
                }
                encode_ids(out, &replaces.covers)?;
            }
        }
        Ok(())
    }

    /// The body of this kind, or `None` if the kind is unknown.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>> {
        let mut input = Decoder::new(payload, WHAT);
        let body = match kind {
            1 => Self::Commit(CommitStatement {
                snapshot: ObjectId(input.array()?),
                source: SourceId(input.array()?),
                sequence: input.u64()?,
                need_list: ObjectId(input.array()?),
                segments: decode_ids(&mut input)?,
            }),
            2 => Self::Hold(ObjectId(input.array()?)),
            3 => Self::Release(ObjectId(input.array()?)),
            4 => Self::Vouch(decode_ids(&mut input)?),
            5 => {
                let count = decode_count(&mut input, KeyId::LEN + 8)?;
                let mut frames = Vec::with_capacity(count);
                for _ in 0..count {
                    frames.push((KeyId(input.array()?), input.u64()?));
                }
                Self::Bad(frames)
            }
            6 => {
                let subject = input.array()?;
                let presence = match input.u8()? {
                    0 => KeyPresence::Removed,
                    1 => KeyPresence::Slot(ObjectId(input.array()?)),
                    2 => KeyPresence::Certificate(input.bytes(CERTIFICATE_BYTES_MAX)?.to_vec()),
                    _ => return Err(input.error("a key is neither removed, slot nor certificate")),
                };
                Self::Key { subject, presence }
            }
            7 => Self::Config(Config::decode(&mut input)?),
            8 => {
                let segments = decode_ids(&mut input)?;
                let count = decode_count(&mut input, ObjectId::LEN + 1)?;
                let mut replacements = Vec::with_capacity(count);
                for _ in 0..count {
                    let (old, new) = (ObjectId(input.array()?), decode_ids(&mut input)?);
                    replacements.push(Replacement { old, new });
                }
                Self::Replaces(ReplacesStatement { segments, replacements, covers: decode_ids(&mut input)? })
            }
            _ => return Ok(None),
        };
        input.finish()?;
        Ok(Some(body))
    }
}

fn check_list<T>(list: &[T]) -> Result<()> {
    if list.len() <= LIST_ITEMS_MAX {
        return Ok(());
    }
    Err(Error::new(Kind::Input, format!("write list: {} names, more than {LIST_ITEMS_MAX}", list.len())))
}

/// Appends a list of ids.
pub(crate) fn encode_ids(out: &mut Encoder, ids: &[ObjectId]) -> Result<()> {
    check_list(ids)?;
    out.varint(ids.len() as u64);
    for id in ids {
        out.raw(&id.0);
    }
    Ok(())
}

/// Reads a list of ids.
pub(crate) fn decode_ids(input: &mut Decoder<'_>) -> Result<Vec<ObjectId>> {
    let count = decode_count(input, ObjectId::LEN)?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(ObjectId(input.array()?));
    }
    Ok(ids)
}

/// Appends a list of names.
pub(crate) fn encode_names(out: &mut Encoder, names: &[Name]) -> Result<()> {
    check_list(names)?;
    out.varint(names.len() as u64);
    for name in names {
        name.encode(out);
    }
    Ok(())
}

/// Reads a list of names.
pub(crate) fn decode_names(input: &mut Decoder<'_>) -> Result<Vec<Name>> {
    let count = decode_count(input, Name::LEN)?;
    (0..count).map(|_| Name::decode(input)).collect()
}

fn decode_count(input: &mut Decoder<'_>, item_bytes: usize) -> Result<usize> {
    let count = input.count(item_bytes)?;
    if count > LIST_ITEMS_MAX { Err(input.error("a list is too long")) } else { Ok(count) }
}
