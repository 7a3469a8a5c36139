//! Order: what is true on a replica.
//!
//! Layout and rules: `docs/format/log.md`. Everything but [`client`] is pure: bytes in, verdicts and states out.
//!
//! ```text
//! entry bytes -> Envelope -> Op (with a Statement inside) -> State::judge -> Change -> new State
//! ```

pub mod checkpoint;
pub mod client;
pub mod collection;
pub mod config;
pub mod duty;
mod effect;
pub mod entry;
mod expired;
pub mod fold;
mod news;
pub mod op;
pub(crate) mod rules;
#[cfg(test)]
mod search;
pub mod state;
pub mod statement;

pub use client::{Signer, append, append_here, birth, catch_up};
pub use config::{ChunkerProfile, Config, LockSettings};
pub use entry::{Entry, Envelope};
pub use fold::{Folded, OpKind, Reason};
pub use op::Op;
pub use state::{Pin, SessionState, State, Visible};
pub use statement::{
    Body, CommitStatement, KeyPresence, Replacement, ReplacesStatement, SignedStatement, Statement,
};

/// An entry is at most this long.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

/// At most this many names stand in one list.
pub const LIST_ITEMS_MAX: usize = 16_384;

/// Splits a long list into parts that each fit an entry (forget, vouch, bad), each valid alone.
pub fn parts<T>(names: &[T]) -> std::slice::Chunks<'_, T> {
    names.chunks(LIST_ITEMS_MAX)
}
