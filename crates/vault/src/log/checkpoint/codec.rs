//! A folded log as bytes. Pure. Layout: `docs/format/checkpoint.md` section 2.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{KeyId, ObjectId, PinId, ReplicaId, SessionId, SnapshotId, SourceId, Timestamp, WriterId};
use crate::keys::certificate::{signed, split_signature};
use crate::keys::{Certificate, decode_ascending, decode_text, encode_text};
use crate::log::collection::{Collection, Replaced};
use crate::log::config::{Config, NAME_BYTES_MAX, decode_flag};
use crate::log::state::{Pin, Session, SessionState, Standing, State, Visible};
use crate::name::Name;
use crate::object::{self, ObjectKind};
use crate::suite::{SigningKey, VerifyKey};
use crate::vault_file::VaultFile;

const DOMAIN: &str = "shudao log checkpoint";
const WHAT: &str = "log checkpoint";
const ID: usize = 32;
/// Certificates and settings are no longer than a log entry that carried them.
const PART_BYTES_MAX: usize = super::super::ENTRY_BYTES_MAX;

/// The checkpoint of a state in which at least the birth was folded.
///
/// # Errors
/// [`Kind::Forbidden`] for another key than the owner's.
pub fn encode(state: &State, owner: &SigningKey) -> Result<Vec<u8>> {
    // Nothing is left out by oversight: whoever adds a field to the state must say here what becomes of it.
    let State {
        file,
        next,
        head,
        replica,
        name,
        config,
        config_serial,
        subjects,
        certificates,
        sessions,
        visible,
        forgotten,
        holds,
        vouched,
        bad,
        segments,
        segments_known: _,
        serial,
        couriers: _,
        collection,
    } = state;
    if owner.verify_key() != file.owner {
        return Err(Error::new(Kind::Forbidden, "only an owner's key can sign checkpoints"));
    }
    let (Some(n), Some(replica)) = (next.checked_sub(1), replica) else {
        return Err(Error::new(Kind::Bug, "write checkpoint: nothing was folded"));
    };
    let mut out = object::start(ObjectKind::LogCheckpoint, file.vault);
    out.u64(n).raw(head).raw(&replica.0);
    encode_text(&mut out, name, NAME_BYTES_MAX)?;
    let mut settings = Encoder::new();
    config.encode(&mut settings)?;
    out.u64(*config_serial).bytes(settings.as_slice()).u64(*serial);
    list(&mut out, subjects, |out, (subject, (serial, standing))| {
        out.raw(subject).u64(*serial);
        match standing {
            Standing::Removed => out.u8(0),
            Standing::Slot(object) => out.u8(1).raw(&object.0),
            Standing::Holder(object) => out.u8(2).raw(&object.0),
        };
    });
    out.varint(certificates.len() as u64);
    for certificate in certificates.values() {
        out.bytes(&certificate.sign(file.vault, owner)?);
    }
    list(&mut out, sessions, |out, (id, session)| encode_session(out, id, session));
    list(&mut out, visible, encode_visible);
    list(&mut out, &collection.retired, encode_visible);
    list(&mut out, forgotten, |out, id| {
        out.raw(&id.0);
    });
    list(&mut out, holds, |out, (id, (serial, held))| {
        out.raw(&id.0).u64(*serial).u8(u8::from(*held));
    });
    list(&mut out, vouched, |out, id| {
        out.raw(&id.0);
    });
    list(&mut out, bad, |out, (key, counter)| {
        out.raw(&key.0).u64(*counter);
    });
    list(&mut out, segments, |out, id| {
        out.raw(&id.0);
    });
    encode_collection(&mut out, collection);
    let mut whole = Encoder::new();
    whole.raw(&signed(out, DOMAIN, owner));
    Ok(object::finish_with_trailer(whole))
}

/// The state that a checkpoint under this number holds, if the owner signed it. Whether the log that is there is the one that was
/// folded is not judged here: entry `n` must hash to [`State::head`].
///
/// # Errors
/// [`Kind::Damaged`], or [`Kind::Unsupported`] for a newer layout.
pub fn decode(bytes: &[u8], file: &VaultFile, n: u64) -> Result<State> {
    let (body, signature) = split_signature(object::without_trailer(bytes, WHAT)?, WHAT)?;
    if !file.owner.verifies(DOMAIN, body, &signature) {
        return Err(Error::damaged("decode log checkpoint: it is not signed by the vault's owner"));
    }
    let mut input = object::open(body, ObjectKind::LogCheckpoint, file.vault, WHAT)?;
    if input.u64()? != n || n == u64::MAX {
        return Err(input.error("was made for another place"));
    }
    let mut state = State { next: n + 1, head: input.array()?, ..State::new(file.clone()) };
    state.replica = Some(ReplicaId(input.array()?));
    state.name = decode_text(&mut input, NAME_BYTES_MAX)?;
    state.config_serial = input.u64()?;
    state.config = settings(input.bytes(PART_BYTES_MAX)?)?;
    state.serial = input.u64()?;
    state.subjects = map(&mut input, 25, |input| Ok((input.array()?, (input.u64()?, standing(input)?))))?;
    state.certificates = map(&mut input, 1, |input| {
        let certificate = Certificate::decode(input.bytes(PART_BYTES_MAX)?, file.vault, &file.owner)?;
        Ok((certificate.holder(), certificate))
    })?;
    state.sessions = map(&mut input, 76, decode_session)?;
    state.visible = map(&mut input, 137, decode_visible)?;
    let retired = map(&mut input, 137, decode_visible)?;
    state.forgotten = set(&mut input, ID, |input| Ok(ObjectId(input.array()?)))?;
    state.holds =
        map(&mut input, 41, |input| Ok((ObjectId(input.array()?), (input.u64()?, decode_flag(input)?))))?;
    state.vouched = set(&mut input, ID, |input| Ok(ObjectId(input.array()?)))?;
    state.bad = set(&mut input, 24, |input| Ok((KeyId(input.array()?), input.u64()?)))?;
    state.segments = ids(&mut input)?;
    state.segments_known = state.segments.iter().copied().collect();
    if state.segments_known.len() != state.segments.len() {
        return Err(input.error("names a segment twice"));
    }
    state.collection = decode_collection(&mut input, retired)?;
    input.finish()?;
    let open = state.sessions.iter().filter(|(_, session)| session.state == SessionState::Open);
    let couriers = open.filter(|(_, session)| session.courier.is_some());
    state.couriers = couriers.map(|(id, session)| (session.author, *id)).collect();
    Ok(state)
}

fn settings(bytes: &[u8]) -> Result<Config> {
    let mut input = Decoder::new(bytes, WHAT);
    let config = Config::decode(&mut input)?;
    input.finish()?;
    Ok(config)
}

fn standing(input: &mut Decoder<'_>) -> Result<Standing> {
    match input.u8()? {
        0 => Ok(Standing::Removed),
        1 => Ok(Standing::Slot(ObjectId(input.array()?))),
        2 => Ok(Standing::Holder(ObjectId(input.array()?))),
        _ => Err(input.error("a key has an unknown standing")),
    }
}

fn encode_session(out: &mut Encoder, id: &SessionId, session: &Session) {
    let Session { author, source, parent, courier, begun, time, answered, kept, state } = session;
    out.raw(&id.0).raw(&author.0).raw(&source.0);
    optional(out, parent.as_ref().map(|parent| &parent.0[..]));
    optional(out, courier.as_ref().map(|key| &key.0[..]));
    out.u64(*begun).i64(time.0).u64(*answered);
    list(out, kept, encode_noted);
    match state {
        SessionState::Open => out.u8(0),
        SessionState::Committed(snapshot) => out.u8(1).raw(&snapshot.0),
        SessionState::Compacted => out.u8(2),
        SessionState::Fenced => out.u8(3),
        SessionState::KeyRemoved => out.u8(4),
    };
}

fn decode_session(input: &mut Decoder<'_>) -> Result<(SessionId, Session)> {
    let id = SessionId(input.array()?);
    let (author, source) = (WriterId(input.array()?), SourceId(input.array()?));
    let parent = if decode_flag(input)? { Some(ObjectId(input.array()?)) } else { None };
    let courier = if decode_flag(input)? { Some(VerifyKey(input.array()?)) } else { None };
    let (begun, time, answered) = (input.u64()?, Timestamp(input.i64()?), input.u64()?);
    let kept = map(input, Name::LEN + 8, decode_noted)?;
    let state = match input.u8()? {
        0 => SessionState::Open,
        1 => SessionState::Committed(ObjectId(input.array()?)),
        2 => SessionState::Compacted,
        3 => SessionState::Fenced,
        4 => SessionState::KeyRemoved,
        _ => return Err(input.error("a session is in an unknown state")),
    };
    Ok((id, Session { author, source, parent, courier, begun, time, answered, kept, state }))
}

fn encode_visible(out: &mut Encoder, (snapshot, visible): (&SnapshotId, &Visible)) {
    let Visible { session, author, source, sequence, segments, need_list, n, time } = visible;
    out.raw(&snapshot.0).raw(&session.0).raw(&author.0).raw(&source.0).u64(*sequence);
    list(out, segments, |out, id| {
        out.raw(&id.0);
    });
    out.raw(&need_list.0).u64(*n).i64(time.0);
}

fn decode_visible(input: &mut Decoder<'_>) -> Result<(SnapshotId, Visible)> {
    let snapshot = ObjectId(input.array()?);
    let visible = Visible {
        session: SessionId(input.array()?),
        author: WriterId(input.array()?),
        source: SourceId(input.array()?),
        sequence: input.u64()?,
        segments: ids(input)?,
        need_list: ObjectId(input.array()?),
        n: input.u64()?,
        time: Timestamp(input.i64()?),
    };
    Ok((snapshot, visible))
}

fn encode_collection(out: &mut Encoder, collection: &Collection) {
    // The retired stand beside the visible.
    let Collection {
        condemned,
        swept,
        last_sweep,
        returned,
        undeleted,
        pins,
        retired: _,
        replaced,
        compacted,
    } = collection;
    list(out, condemned, encode_noted);
    list(out, swept, encode_noted);
    optional(out, last_sweep.as_ref().map(|n| n.to_le_bytes()).as_ref().map(|bytes| &bytes[..]));
    list(out, returned, |out, name| name.encode(out));
    list(out, undeleted, |out, (sweep, names)| {
        out.u64(*sweep);
        list(out, names, |out, (name, before)| {
            name.encode(out);
            optional(out, before.map(|n| n.to_le_bytes()).as_ref().map(|bytes| &bytes[..]));
        });
    });
    list(out, pins, |out, (id, pin)| {
        out.raw(&id.0).raw(&pin.snapshot.0).raw(&pin.author.0).i64(pin.expiry.0);
    });
    list(out, replaced, |out, (pack, all)| {
        out.raw(&pack.0);
        list(out, all, |out, replaced| {
            list(out, &replaced.new, |out, id| {
                out.raw(&id.0);
            });
            list(out, &replaced.covers, |out, id| {
                out.raw(&id.0);
            });
        });
    });
    list(out, compacted, |out, (pack, vouched)| {
        out.raw(&pack.0).u8(u8::from(*vouched));
    });
}

fn decode_collection(input: &mut Decoder<'_>, retired: BTreeMap<SnapshotId, Visible>) -> Result<Collection> {
    Ok(Collection {
        condemned: map(input, Name::LEN + 8, decode_noted)?,
        swept: map(input, Name::LEN + 8, decode_noted)?,
        last_sweep: optional_number(input)?,
        returned: set(input, Name::LEN, Name::decode)?,
        undeleted: map(input, 9, |input| {
            let sweep = input.u64()?;
            Ok((
                sweep,
                items(input, Name::LEN + 1, |input| Ok((Name::decode(input)?, optional_number(input)?)))?,
            ))
        })?,
        pins: map(input, 72, |input| {
            let id = PinId(input.array()?);
            let (snapshot, author) = (ObjectId(input.array()?), WriterId(input.array()?));
            Ok((id, Pin { snapshot, author, expiry: Timestamp(input.i64()?) }))
        })?,
        retired,
        replaced: map(input, 33, |input| {
            let pack = ObjectId(input.array()?);
            let one = |input: &mut Decoder<'_>| {
                let new = ids(input)?;
                Ok(Replaced { new, covers: set(input, ID, |input| Ok(ObjectId(input.array()?)))? })
            };
            Ok((pack, items(input, 2, one)?))
        })?,
        compacted: map(input, 33, |input| Ok((ObjectId(input.array()?), decode_flag(input)?)))?,
    })
}

fn encode_noted(out: &mut Encoder, (name, n): (&Name, &u64)) {
    name.encode(out);
    out.u64(*n);
}

fn decode_noted(input: &mut Decoder<'_>) -> Result<(Name, u64)> {
    Ok((Name::decode(input)?, input.u64()?))
}

fn list<I: IntoIterator<IntoIter: ExactSizeIterator>>(
    out: &mut Encoder,
    items: I,
    encode: impl Fn(&mut Encoder, I::Item),
) {
    let items = items.into_iter();
    out.varint(items.len() as u64);
    items.for_each(|item| encode(out, item));
}

fn optional(out: &mut Encoder, bytes: Option<&[u8]>) {
    match bytes {
        None => out.u8(0),
        Some(bytes) => out.u8(1).raw(bytes),
    };
}

fn optional_number(input: &mut Decoder<'_>) -> Result<Option<u64>> {
    if decode_flag(input)? { Ok(Some(input.u64()?)) } else { Ok(None) }
}

fn items<T>(
    input: &mut Decoder<'_>,
    bytes_min: usize,
    item: impl Fn(&mut Decoder<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = input.count(bytes_min)?;
    (0..count).map(|_| item(input)).collect()
}

fn ids(input: &mut Decoder<'_>) -> Result<Vec<ObjectId>> {
    items(input, ID, |input| Ok(ObjectId(input.array()?)))
}

fn set<T: Ord + Copy>(
    input: &mut Decoder<'_>,
    bytes_min: usize,
    item: impl Fn(&mut Decoder<'_>) -> Result<T>,
) -> Result<BTreeSet<T>> {
    Ok(decode_ascending(input, bytes_min, item, |item| *item)?.into_iter().collect())
}

fn map<K: Ord + Copy, V>(
    input: &mut Decoder<'_>,
    bytes_min: usize,
    item: impl Fn(&mut Decoder<'_>) -> Result<(K, V)>,
) -> Result<BTreeMap<K, V>> {
    Ok(decode_ascending(input, bytes_min, item, |(key, _)| *key)?.into_iter().collect())
}
