//! Log entries, statements, and entries folded into a state.

use std::sync::LazyLock;

use shudao_vault::codec::Encoder;
use shudao_vault::id::{ReplicaId, SessionId, SourceId, Timestamp};
use shudao_vault::keys::{Certificate, Role};
use shudao_vault::log::checkpoint::codec::decode;
use shudao_vault::log::{
    Body, Config, Entry, Envelope, Folded, KeyPresence, Op, SignedStatement, State, Statement,
};
use shudao_vault::object::ObjectKind;
use shudao_vault::suite::SigningKey;

use crate::fixture::{VAULT, file, object, owner, signed, signed_anew, with_trailer, writer};

const ENTRY: &str = "shudao log entry";
const STATEMENT: &str = "shudao statement";
const REPLICA: ReplicaId = ReplicaId([2; ReplicaId::LEN]);

pub(crate) fn entry(bytes: &[u8]) -> bool {
    let body = &bytes[..bytes.len().saturating_sub(32)];
    read_entry(&with_trailer(&signed_anew(body, ENTRY, &owner().signing)));
    read_entry(bytes)
}

/// A checkpoint as it comes, and with signature, trailer and number put right.
pub(crate) fn checkpoint(bytes: &[u8]) -> bool {
    let number = |bytes: &[u8]| {
        let n = bytes.get(25..33).and_then(|n| n.try_into().ok());
        n.map_or(0, u64::from_le_bytes)
    };
    let body = &bytes[..bytes.len().saturating_sub(32)];
    let anew = with_trailer(&signed_anew(body, "shudao log checkpoint", &owner().signing));
    drop(decode(&anew, file(), number(&anew)));
    decode(bytes, file(), number(bytes)).is_ok()
}

fn read_entry(bytes: &[u8]) -> bool {
    Envelope::decode(bytes, VAULT).is_ok_and(|envelope| {
        envelope.is_signed_by(&owner().signing.verify_key()) && matches!(envelope.op(), Ok(Some(_)))
    })
}

pub(crate) fn statement(bytes: &[u8]) -> bool {
    drop(SignedStatement::from_bytes(signed_anew(bytes, STATEMENT, &owner().signing)).read(VAULT));
    SignedStatement::from_bytes(bytes.to_vec()).read(VAULT).is_ok()
}

/// Folds an entry that the input describes: the first byte says whether the rest is an operation (number and payload)
/// of the owner or of the writer, or a statement (serial, kind and payload) that one of them publishes or commits. It is
/// signed as it should be, so that only what it says can be wrong.
pub(crate) fn fold(bytes: &[u8]) -> bool {
    let Some((how, rest)) = bytes.split_first() else { return false };
    let key = if how & 1 == 0 { owner().signing.clone() } else { writer() };
    let (op, payload) = match how >> 1 & 3 {
        0 => match rest.split_first() {
            Some((op, payload)) => (*op, payload.to_vec()),
            None => return false,
        },
        1 => (5, publish(&key, rest)),
        _ => (3, [&SESSION.0[..], &publish(&key, rest)].concat()),
    };
    let mut state = START.clone();
    matches!(state.fold(state.next(), &entry_of(&state, &key, op, &payload)), Ok(Folded::Applied(_)))
}

const SESSION: SessionId = SessionId([5; SessionId::LEN]);

/// The payload of a publish operation: a statement of `key` whose serial, kind and payload are `body`.
fn publish(key: &SigningKey, body: &[u8]) -> Vec<u8> {
    let (serial_and_kind, payload) = body.split_at(body.len().min(9));
    let mut out = object(ObjectKind::Statement);
    out.raw(&key.verify_key().writer_id().0).i64(1).raw(serial_and_kind).bytes(payload);
    let mut payload = Encoder::new();
    payload.bytes(&signed(out.as_slice(), STATEMENT, key));
    payload.finish()
}

fn entry_of(state: &State, key: &SigningKey, op: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = object(ObjectKind::LogEntry);
    out.u64(state.next()).raw(&state.head()).raw(&REPLICA.0).i64(1).raw(&[0; 16]);
    out.raw(&key.verify_key().writer_id().0).u8(op).bytes(payload);
    with_trailer(&signed(out.as_slice(), ENTRY, key))
}

/// A replica that was born, with a writer that has begun a session.
static START: LazyLock<State> = LazyLock::new(|| {
    let owner = &owner().signing;
    let said = |serial, body| {
        let statement = Statement { author: file().owner_id(), time: Timestamp(1), serial, body };
        statement.sign(VAULT, owner).expect("the statement is short")
    };
    let certificate = Certificate::new(writer().verify_key(), Role::Writer, "writer", Timestamp(1));
    let presence =
        KeyPresence::Certificate(certificate.sign(VAULT, owner).expect("the certificate is legal"));
    let subject = certificate.holder().0;
    let config = said(1, Body::Config(Config::default()));
    let begin = Op::Begin { session: SESSION, source: SourceId([3; SourceId::LEN]), parent: None };
    let mut state = State::new(file().clone());
    for (key, op) in [
        (owner.clone(), Op::Birth { replica: REPLICA, name: "first".to_owned(), config }),
        (owner.clone(), Op::Publish { statement: said(2, Body::Key { subject, presence }) }),
        (writer(), begin),
    ] {
        let (n, previous) = (state.next(), state.head());
        let entry = Entry { n, previous, replica: REPLICA, time: Timestamp(1), nonce: [0; 16], op };
        let folded = state.fold(n, &entry.sign(VAULT, &key).expect("the entry is short"));
        assert!(matches!(folded, Ok(Folded::Applied(_))), "the log begins well: {folded:?}");
    }
    state
});
