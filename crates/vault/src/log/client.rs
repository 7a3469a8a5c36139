//! Reading a replica's log up to its head, and appending to it: rules in `docs/format/log.md` section 6.
//!
//! Dull: every decision is the fold's or the caller's.

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::{ReplicaId, Timestamp};
use crate::log::config::{Config, Operation};
use crate::log::entry::Entry;
use crate::log::fold::{Folded, Reason, Verdict};
use crate::log::op::Op;
use crate::log::state::State;
use crate::log::statement::{Body, Statement};
use crate::object::{self, log_path};
use crate::store::{Creation, Store};
use crate::suite::{SigningKey, random};

/// An append gives up after losing this many races for a number.
const RACES_MAX: u32 = 1000;

/// One entry's bytes are put at most this often.
const PUTS_MAX: u32 = 5;

/// What does not end with its hash is read at most this often.
const READS_MAX: u32 = 5;

/// Who appends, and what time it is.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// The appender's key.
    pub key: &'a SigningKey,
    /// The appender's clock.
    pub time: Timestamp,
}

/// A replica to be born.
#[derive(Debug)]
pub struct Birth<'a> {
    /// Its id, drawn at random.
    pub replica: ReplicaId,
    /// Its first name.
    pub name: &'a str,
    /// The owner's settings.
    pub config: Config,
}

/// An entry that had no effect, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// Its number.
    pub n: u64,
    /// Why.
    pub reason: Reason,
}

/// Folds every entry that the replica has beyond `state`, and returns those that had no effect, to be shown.
///
/// # Errors
/// The store's, and those of [`State::fold`]; `state` then stands before the entry that failed.
pub async fn catch_up(store: &Store, state: &mut State) -> Result<Vec<Void>> {
    let mut void = Vec::new();
    loop {
        let n = state.next();
        match read_entry(store, n).await {
            Ok(bytes) => {
                if let Folded::Ignored(reason) = state.fold(n, &bytes)? {
                    void.push(Void { n, reason });
                }
            }
            Err(error) if error.kind() == Kind::Missing => return Ok(void),
            Err(error) => return Err(error.context(format!("read log entry {n}"))),
        }
    }
}

/// The bytes of entry `n` as the store holds them. What does not end with its hash is read again until two readings
/// agree: a line can garble an entry, and a client that folded what the line made of it would chain its next one to bytes
/// that nobody else has, which no reader could ever pass.
pub(crate) async fn read_entry(store: &Store, n: u64) -> Result<Bytes> {
    let mut bytes = store.read(&log_path(n)).await?;
    for _ in 1..READS_MAX {
        if object::without_trailer(&bytes, "log entry").is_ok() {
            return Ok(bytes);
        }
        let again = store.read(&log_path(n)).await?;
        if again == bytes {
            return Ok(bytes);
        }
        bytes = again;
    }
    Err(Error::damaged(format!("log entry {n} is other bytes each time that it is read")))
}

/// Appends what `decide` wants on the state of the whole log, and returns the entry's number; `None` if it wants
/// nothing. `decide` is asked again after every entry that another client put first.
///
/// # Errors
/// `decide`'s own; [`Kind::Forbidden`] or [`Kind::Conflict`] if the entry would have no effect (nothing is put then);
/// [`Kind::Unavailable`] if the store's answers leave open whether the entry was put: it may still come to stand;
/// those of [`catch_up`].
pub async fn append(
    store: &Store,
    state: &mut State,
    signer: Signer<'_>,
    mut decide: impl FnMut(&State) -> Result<Option<Op>>,
) -> Result<Option<u64>> {
    for _ in 0..RACES_MAX {
        catch_up(store, state).await?;
        state.config().require_known(Operation::Write)?;
        let Some(op) = decide(state)? else { return Ok(None) };
        if let Some(n) = append_here(store, state, signer, op).await? {
            return Ok(Some(n));
        }
    }
    Err(Error::new(Kind::Conflict, format!("append to the log: others were first {RACES_MAX} times")))
}

/// Appends `op` on exactly this state, which must have been caught up: for decisions that took reading. None if another
/// client's entry stands there; then read it and decide again.
///
/// # Errors
/// As [`append`].
pub async fn append_here(
    store: &Store,
    state: &mut State,
    signer: Signer<'_>,
    op: Op,
) -> Result<Option<u64>> {
    state.config().require_known(Operation::Write)?;
    must_be_writer(store, state, &op)?;
    let n = state.next();
    let bytes = Bytes::from(sign(state, signer, op.clone())?);
    if let Verdict::Void(reason) = state.judge(n, &bytes)? {
        return Err(no_effect(n, &reason));
    }
    if !put(store, n, &bytes).await? {
        return Ok(None);
    }
    // What was judged is what stands in place n, so folding it cannot end otherwise; still, say so if it does.
    match state.fold(n, &bytes)? {
        Folded::Applied(_) => Ok(Some(n)),
        Folded::Ignored(reason) => Err(no_effect(n, &reason)),
    }
}

/// [`Kind::NotTheWriter`] if the settings name another client that alone may append, unless this entry names the one that
/// appends it: that is how its place is taken.
fn must_be_writer(store: &Store, state: &State, op: &Op) -> Result<()> {
    let refused = state.config().require_writer(store.client());
    let Op::Publish { statement } = op else { return refused };
    if refused.is_err()
        && let Body::Config(config) = statement.read(state.vault_file().vault)?.body
        && config.single_writer == store.client()
    {
        return Ok(());
    }
    refused
}

/// Begins a replica's log with its birth. Only the owner can.
///
/// # Errors
/// [`Kind::Conflict`] if the replica has a log already; those of [`append`].
pub async fn birth(store: &Store, state: &mut State, signer: Signer<'_>, birth: Birth<'_>) -> Result<()> {
    let vault = state.vault_file().vault;
    let author = signer.key.verify_key().writer_id();
    let body = Body::Config(birth.config);
    let config = Statement { author, time: signer.time, serial: 1, body }.sign(vault, signer.key)?;
    let op = Op::Birth { replica: birth.replica, name: birth.name.to_owned(), config };
    let born = |state: &State| {
        if state.next() == 0 {
            return Ok(Some(op.clone()));
        }
        Err(Error::new(Kind::Conflict, "begin the log: the replica has one already"))
    };
    append(store, state, signer, born).await.map(|_| ())
}

fn sign(state: &State, signer: Signer<'_>, op: Op) -> Result<Vec<u8>> {
    let replica = match (&op, state.replica()) {
        (Op::Birth { replica, .. }, _) => *replica,
        (_, Some(replica)) => replica,
        (_, None) => return Err(Error::new(Kind::NoVault, "append to the log: the replica has none")),
    };
    let (n, previous, time) = (state.next(), state.head(), signer.time);
    Entry { n, previous, replica, time, nonce: random(), op }.sign(state.vault_file().vault, signer.key)
}

/// Whether place `n` now holds these bytes (true) or another's (false). Whatever the store answers, what it holds
/// decides; and while it holds nothing, only the same bytes are put again.
async fn put(store: &Store, n: u64, bytes: &Bytes) -> Result<bool> {
    let path = log_path(n);
    let mut cause = None;
    for _ in 0..PUTS_MAX {
        match store.create(&path, bytes.clone()).await {
            Ok(Creation::New) => return Ok(true),
            Ok(Creation::Exists) => {}
            Err(error) => cause = Some(error),
        }
        match read_entry(store, n).await {
            Ok(found) => return Ok(found == *bytes),
            Err(error) => {
                let is_absent = error.kind() == Kind::Missing;
                let refused = cause.as_ref().is_some_and(|cause| !cause.is_retryable());
                if is_absent && refused {
                    break;
                }
                cause = cause.filter(|_| is_absent).or(Some(error));
            }
        }
    }
    let message =
        format!("append log entry {n}: it is not known whether it was put; it may still come to stand");
    let cause =
        cause.unwrap_or_else(|| Error::new(Kind::Missing, format!("read {path} after it was said to exist")));
    match cause.kind() {
        Kind::Missing | Kind::Unavailable => Err(Error::new(Kind::Unavailable, message).because(cause)),
        _ => Err(cause.context(format!("append log entry {n}: the store refused it"))),
    }
}

fn no_effect(n: u64, reason: &Reason) -> Error {
    let kind = match reason {
        Reason::Forbidden { .. } | Reason::Garbage(_) => Kind::Forbidden,
        Reason::Rule(_) => Kind::Conflict,
    };
    Error::new(kind, format!("append log entry {n}: it would have no effect: {reason}"))
}

#[cfg(test)]
mod tests;
