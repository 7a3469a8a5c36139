//! What a log entry does.

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ObjectId, PinId, ReplicaId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp};
use crate::keys::{decode_text, encode_text};
use crate::log::config::{NAME_BYTES_MAX, decode_flag};
use crate::log::statement::{
    STATEMENT_BYTES_MAX, SignedStatement, decode_ids, decode_names, encode_ids, encode_names,
};
use crate::name::Name;
use crate::suite::VerifyKey;

const WHAT: &str = "log operation";

/// An operation of this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Entry 0: the replica comes to be.
    Birth {
        /// Drawn at random for this log.
        replica: ReplicaId,
        /// The replica's first name; at most 255 bytes.
        name: String,
        /// The owner's config statement.
        config: SignedStatement,
    },
    /// A session begins.
    Begin {
        /// Never used before on this replica.
        session: SessionId,
        /// What it backs up.
        source: SourceId,
        /// The visible snapshot it builds on.
        parent: Option<SnapshotId>,
    },
    /// A session's snapshot becomes visible.
    Commit {
        /// An open session of the appender.
        session: SessionId,
        /// The appender's commit statement.
        statement: SignedStatement,
    },
    /// Snapshots are dropped for good.
    Forget {
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
    /// A session is closed for good; it will never commit.
    Fence {
        /// An open session.
        session: SessionId,
    },
    /// Nobody needs these objects any more; who comes to rely on one says `keep` first.
    Condemn {
        /// Which.
        names: Vec<Name>,
    },
    /// A session relies on these objects: they are condemned no longer.
    Keep {
        /// An open session of the appender.
        session: SessionId,
        /// Which.
        names: Vec<Name>,
    },
    /// A session knows of everything that was condemned so far, and has kept what it relies on.
    Seen {
        /// An open session of the appender.
        session: SessionId,
    },
    /// The keys of these objects are given up: whoever may delete deletes them, at any time.
    Sweep {
        /// Condemned objects.
        names: Vec<Name>,
    },
    /// Every key that a sweep gave up is gone. Nobody waits for it.
    Swept {
        /// The number of the sweep's entry.
        sweep: u64,
    },
    /// A snapshot stays readable although it may be forgotten meanwhile.
    Pin {
        /// Never used before on this replica.
        pin: PinId,
        /// A visible snapshot.
        snapshot: SnapshotId,
        /// When it ends by itself, at most 7 days after the entry's time.
        expiry: Timestamp,
    },
    /// Ends a pin.
    Unpin {
        /// Which.
        pin: PinId,
    },
    /// A compaction's session ends: new packs serve snapshots in place of old ones.
    Replace {
        /// An open session of the appender.
        session: SessionId,
        /// A keeper's statement of what replaces what.
        statement: SignedStatement,
    },
    /// A session begins whose appender holds no key of the vault and copies between replicas.
    Courier {
        /// Never used before on this replica.
        session: SessionId,
        /// A fresh key, which signs this entry and those of its session.
        key: VerifyKey,
    },
    /// Segments are part of the index from now on, as if a commit had named them. A courier says so of those that its next
    /// commit needs and does not name.
    Index {
        /// An open session of the appender.
        session: SessionId,
        /// Which. Their authors signed them; who names them is of no account.
        segments: Vec<SegmentId>,
    },
    /// A statement that stands on its own: hold, release, vouch, bad, key or config.
    Publish {
        /// The statement; its author need not be the appender.
        statement: SignedStatement,
    },
}

impl Op {
    /// The operation's number.
    pub fn number(&self) -> u8 {
        match self {
            Self::Birth { .. } => 1,
            Self::Begin { .. } => 2,
            Self::Commit { .. } => 3,
            Self::Forget { .. } => 4,
            Self::Publish { .. } => 5,
            Self::Fence { .. } => 6,
            Self::Condemn { .. } => 7,
            Self::Keep { .. } => 8,
            Self::Seen { .. } => 9,
            Self::Sweep { .. } => 10,
            Self::Swept { .. } => 11,
            Self::Pin { .. } => 12,
            Self::Unpin { .. } => 13,
            Self::Replace { .. } => 14,
            Self::Courier { .. } => 15,
            Self::Index { .. } => 16,
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) -> Result<()> {
        match self {
            Self::Birth { replica, name, config } => {
                out.raw(&replica.0);
                encode_text(out, name, NAME_BYTES_MAX)?;
                out.bytes(config.as_bytes());
            }
            Self::Begin { session, source, parent } => {
                out.raw(&session.0).raw(&source.0);
                match parent {
                    None => out.u8(0),
                    Some(parent) => out.u8(1).raw(&parent.0),
                };
            }
            Self::Commit { session, statement } | Self::Replace { session, statement } => {
                out.raw(&session.0).bytes(statement.as_bytes());
            }
            Self::Fence { session } | Self::Seen { session } => {
                out.raw(&session.0);
            }
            Self::Condemn { names } | Self::Sweep { names } => encode_names(out, names)?,
            Self::Keep { session, names } => {
                out.raw(&session.0);
                encode_names(out, names)?;
            }
            Self::Swept { sweep } => {
                out.u64(*sweep);
            }
            Self::Pin { pin, snapshot, expiry } => {
                out.raw(&pin.0).raw(&snapshot.0).i64(expiry.0);
            }
            Self::Unpin { pin } => {
                out.raw(&pin.0);
            }
            Self::Courier { session, key } => {
                out.raw(&session.0).raw(&key.0);
            }
            Self::Index { session, segments } => {
                out.raw(&session.0);
                encode_ids(out, segments)?;
            }
            Self::Forget { snapshots } => encode_ids(out, snapshots)?,
            Self::Publish { statement } => {
                out.bytes(statement.as_bytes());
            }
        }
        Ok(())
    }

    /// The operation with this number, or `None` if this version does not have it.
    pub(crate) fn decode(number: u8, payload: &[u8]) -> Result<Option<Self>> {
        let mut input = Decoder::new(payload, WHAT);
        let op = match number {
            1 => Self::Birth {
                replica: ReplicaId(input.array()?),
                name: decode_text(&mut input, NAME_BYTES_MAX)?,
                config: decode_statement(&mut input)?,
            },
            2 => {
                let (session, source) = (SessionId(input.array()?), SourceId(input.array()?));
                let parent = if decode_flag(&mut input)? { Some(ObjectId(input.array()?)) } else { None };
                Self::Begin { session, source, parent }
            }
            3 => {
                Self::Commit { session: SessionId(input.array()?), statement: decode_statement(&mut input)? }
            }
            4 => Self::Forget { snapshots: decode_ids(&mut input)? },
            5 => Self::Publish { statement: decode_statement(&mut input)? },
            6 => Self::Fence { session: SessionId(input.array()?) },
            7 => Self::Condemn { names: decode_names(&mut input)? },
            8 => Self::Keep { session: SessionId(input.array()?), names: decode_names(&mut input)? },
            9 => Self::Seen { session: SessionId(input.array()?) },
            10 => Self::Sweep { names: decode_names(&mut input)? },
            11 => Self::Swept { sweep: input.u64()? },
            12 => Self::Pin {
                pin: PinId(input.array()?),
                snapshot: ObjectId(input.array()?),
                expiry: Timestamp(input.i64()?),
            },
            13 => Self::Unpin { pin: PinId(input.array()?) },
            14 => {
                Self::Replace { session: SessionId(input.array()?), statement: decode_statement(&mut input)? }
            }
            15 => Self::Courier { session: SessionId(input.array()?), key: VerifyKey(input.array()?) },
            16 => Self::Index { session: SessionId(input.array()?), segments: decode_ids(&mut input)? },
            _ => return Ok(None),
        };
        input.finish()?;
        Ok(Some(op))
    }
}

fn decode_statement(input: &mut Decoder<'_>) -> Result<SignedStatement> {
    Ok(SignedStatement::from_bytes(input.bytes(STATEMENT_BYTES_MAX)?.to_vec()))
}
