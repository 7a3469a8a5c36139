use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::id::{ClientId, KeyId, ObjectId, SessionId, SourceId};
use crate::log::config::{ChunkerProfile, Config, Feature, LockSettings, Operation};
use crate::log::statement::{Body, CommitStatement, KeyPresence, Reading, SignedStatement, Statement};
use crate::store::lock::LockMode;
use crate::suite::Secret;

const VAULT: VaultId = VaultId([3; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(Secret([1; 32]))
}

fn objects() -> impl Strategy<Value = Vec<ObjectId>> {
    vec(any::<[u8; 32]>().prop_map(ObjectId), 0..5)
}

fn object() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId)
}

fn profiles() -> impl Strategy<Value = Vec<ChunkerProfile>> {
    let lengths = (1u32..1000, 0u32..1000, 0u32..1000);
    btree_map(any::<u8>(), lengths, 0..4).prop_map(|profiles| {
        let profile = |(number, (min, more, most))| ChunkerProfile {
            number,
            min,
            average: min + more,
            max: min + more + most,
        };
        profiles.into_iter().map(profile).collect()
    })
}

fn configs() -> impl Strategy<Value = Config> {
    let operation = prop_oneof![Just(Operation::Read), Just(Operation::Write)];
    let features =
        vec((operation, "\\PC{0,16}").prop_map(|(operation, name)| Feature { operation, name }), 0..3);
    let replicas = btree_map(any::<[u8; 16]>().prop_map(ReplicaId), "\\PC{0,60}", 0..3);
    let client = option::of(any::<[u8; 16]>().prop_map(ClientId));
    let locks = btree_map(any::<[u8; 16]>().prop_map(ReplicaId), lock_settings(), 0..3);
    (features, any::<bool>(), profiles(), "\\PC{0,99}", replicas, client, locks).prop_map(
        |(features, trust_writers, profiles, retention, replicas, single_writer, locks)| Config {
            features,
            trust_writers,
            profiles,
            retention,
            replicas: replicas.into_iter().collect(),
            single_writer,
            locks: locks.into_iter().collect(),
        },
    )
}

fn lock_settings() -> impl Strategy<Value = LockSettings> {
    let mode = prop_oneof![Just(LockMode::Governance), Just(LockMode::Compliance)];
    (mode, 1..=36_500_u32, 1..=366_u32, any::<i64>()).prop_map(|(mode, keep_days, generation_days, since)| {
        LockSettings { mode, keep_days, generation_days, since: Timestamp(since) }
    })
}

fn bodies() -> impl Strategy<Value = Body> {
    let commit = (object(), any::<[u8; 16]>(), any::<u64>(), object(), objects()).prop_map(
        |(snapshot, source, sequence, need_list, segments)| {
            let source = SourceId(source);
            Body::Commit(CommitStatement { snapshot, source, sequence, need_list, segments })
        },
    );
    let presence = prop_oneof![
        Just(KeyPresence::Removed),
        object().prop_map(KeyPresence::Slot),
        any::<Vec<u8>>().prop_map(KeyPresence::Certificate),
    ];
    prop_oneof![
        commit,
        object().prop_map(Body::Hold),
        object().prop_map(Body::Release),
        objects().prop_map(Body::Vouch),
        vec((any::<[u8; 16]>().prop_map(KeyId), any::<u64>()), 0..5).prop_map(Body::Bad),
        (any::<[u8; 16]>(), presence).prop_map(|(subject, presence)| Body::Key { subject, presence }),
        configs().prop_map(Body::Config),
    ]
}

fn statements() -> impl Strategy<Value = Statement> {
    let author = key().verify_key().writer_id();
    (any::<i64>(), any::<u64>(), bodies()).prop_map(move |(time, serial, body)| Statement {
        author,
        time: Timestamp(time),
        serial,
        body,
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let signed = || statements().prop_map(|statement| statement.sign(VAULT, &key()).unwrap());
    let session = || any::<[u8; 16]>().prop_map(SessionId);
    prop_oneof![
        (any::<[u8; 16]>(), "\\PC{0,60}", signed()).prop_map(|(replica, name, config)| Op::Birth {
            replica: ReplicaId(replica),
            name,
            config
        }),
        (session(), any::<[u8; 16]>(), option::of(object()))
            .prop_map(|(session, source, parent)| Op::Begin { session, source: SourceId(source), parent }),
        (session(), signed()).prop_map(|(session, statement)| Op::Commit { session, statement }),
        objects().prop_map(|snapshots| Op::Forget { snapshots }),
        signed().prop_map(|statement| Op::Publish { statement }),
    ]
}

fn entries() -> impl Strategy<Value = Entry> {
    (any::<u64>(), any::<[u8; 32]>(), any::<[u8; 16]>(), any::<i64>(), any::<[u8; 16]>(), ops()).prop_map(
        |(n, previous, replica, time, nonce, op)| Entry {
            n,
            previous,
            replica: ReplicaId(replica),
            time: Timestamp(time),
            nonce,
            op,
        },
    )
}

proptest! {
    #[test]
    fn entries_round_trip_and_notice_every_change(
        entry in entries(), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let bytes = entry.sign(VAULT, &key()).unwrap();
        let read = Envelope::decode(&bytes, VAULT).unwrap();
        prop_assert!(read.is_signed_by(&key().verify_key()));
        prop_assert!(!read.is_signed_by(&SigningKey::generate().verify_key()));
        prop_assert_eq!(read.author, key().verify_key().writer_id());
        let again = Entry {
            n: read.n,
            previous: read.previous,
            replica: read.replica,
            time: read.time,
            nonce: entry.nonce,
            op: read.op().unwrap().unwrap(),
        };
        prop_assert_eq!(again, entry);
        let mut bad = bytes.clone();
        bad[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(Envelope::decode(&bad, VAULT).is_err());
        prop_assert!(Envelope::decode(&bytes[..at.index(bytes.len())], VAULT).is_err());
        prop_assert!(Envelope::decode(&bytes, VaultId([4; 16])).is_err());
    }

    #[test]
    fn statements_round_trip_and_notice_every_change(
        statement in statements(), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let signed = statement.sign(VAULT, &key()).unwrap();
        prop_assert!(signed.is_signed_by(&key().verify_key()));
        prop_assert_eq!(signed.read(VAULT).unwrap(), statement);
        let mut bad = signed.as_bytes().to_vec();
        let at = at.index(bad.len());
        bad[at] ^= 1 << bit;
        let bad = SignedStatement::from_bytes(bad);
        prop_assert!(!bad.is_signed_by(&key().verify_key()));
        let _ = bad.read(VAULT);
    }

    #[test]
    fn mutated_statements_that_still_read_have_one_spelling(
        statement in statements(), at: prop::sample::Index, change: u8,
    ) {
        let mut bytes = statement.sign(VAULT, &key()).unwrap().as_bytes().to_vec();
        let at = at.index(bytes.len() - 64);
        bytes[at] = change;
        if let Ok(Reading::Known(read)) = SignedStatement::from_bytes(bytes.clone()).read_any(VAULT)
            && read.author == statement.author
        {
            let again = read.sign(VAULT, &key()).unwrap();
            prop_assert_eq!(&again.as_bytes()[..bytes.len() - 64], &bytes[..bytes.len() - 64]);
        }
    }

    #[test]
    fn payloads_of_any_bytes_never_panic(number: u8, payload: Vec<u8>, op in ops(), at: prop::sample::Index, change: u8) {
        let _ = Op::decode(number, &payload);
        let mut out = Encoder::new();
        op.encode(&mut out).unwrap();
        let mut bytes = out.finish();
        prop_assert_eq!(Op::decode(op.number(), &bytes).unwrap().unwrap(), op.clone());
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = change;
            let _ = Op::decode(op.number(), &bytes);
            prop_assert!(Op::decode(op.number(), &bytes[..at]).is_err());
        }
    }

    #[test]
    fn random_bytes_with_a_true_trailer_never_panic(junk: Vec<u8>, headed: bool) {
        let mut out = if headed { object::start(ObjectKind::LogEntry, VAULT) } else { Encoder::new() };
        out.raw(&junk);
        let bytes = object::finish_with_trailer(out);
        if let Ok(envelope) = Envelope::decode(&bytes, VAULT) {
            let _ = envelope.op();
        }
        let _ = Envelope::decode(&junk, VAULT);
        let _ = SignedStatement::from_bytes(junk).read(VAULT);
    }
}

#[test]
fn what_exceeds_an_entry_is_not_written_and_its_parts_are() {
    let snapshots = vec![ObjectId([1; 32]); crate::log::LIST_ITEMS_MAX + 1];
    let entry = |snapshots: &[ObjectId]| Entry {
        n: 1,
        previous: [0; 32],
        replica: ReplicaId([1; 16]),
        time: Timestamp(0),
        nonce: [0; 16],
        op: Op::Forget { snapshots: snapshots.to_vec() },
    };
    assert_eq!(entry(&snapshots).sign(VAULT, &key()).unwrap_err().kind(), Kind::Input);
    let parts: Vec<&[ObjectId]> = crate::log::parts(&snapshots).collect();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let bytes = entry(part).sign(VAULT, &key()).unwrap();
        Envelope::decode(&bytes, VAULT).unwrap().op().unwrap().unwrap();
    }
}
