//! What a log entry does.

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ObjectId, ReplicaId, SessionId, SnapshotId, SourceId};
use crate::keys::{Rights, decode_text, encode_text};
use crate::log::config::{NAME_BYTES_MAX, decode_flag};
use crate::log::statement::{STATEMENT_BYTES_MAX, SignedStatement, decode_ids, encode_ids};

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
            Self::Commit { session, statement } => {
                out.raw(&session.0).bytes(statement.as_bytes());
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
            _ => return Ok(None),
        };
        input.finish()?;
        Ok(Some(op))
    }
}

/// The right that a reserved operation will need; `None` for a number that no version has yet.
pub(crate) fn reserved(number: u8) -> Option<Rights> {
    Some(match number {
        6 => Rights::FENCE,
        7 => Rights::CONDEMN,
        8 => Rights::KEEP,
        9 => Rights::SEEN,
        10 => Rights::SWEEP,
        11 => Rights::SWEPT,
        12 => Rights::PIN,
        13 => Rights::UNPIN,
        14 => Rights::REPLACES,
        _ => return None,
    })
}

fn decode_statement(input: &mut Decoder<'_>) -> Result<SignedStatement> {
    Ok(SignedStatement::from_bytes(input.bytes(STATEMENT_BYTES_MAX)?.to_vec()))
}
