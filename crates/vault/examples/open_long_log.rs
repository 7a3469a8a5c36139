//! Opening a replica whose log is long, with and without a checkpoint.
//!
//! ```text
//! cargo run --release -p shudao-vault --example open_long_log -- DIR [ENTRIES [MILLISECONDS]]
//! ```
//!
//! Writes a log of that many entries (20,000 unless said; one backup is a begin and a commit) to DIR, which must be new, and opens the
//! replica: entry by entry, then from a checkpoint at its end, then from one 255 entries before it. Then the same
//! with so many milliseconds (none unless said) before each answer, as a store on a network has.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, which may stop at anything"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shudao_vault::id::{ObjectId, ReplicaId, SessionId, SourceId, Timestamp, VaultId};
use shudao_vault::log::checkpoint::{checkpoint_path, codec, put};
use shudao_vault::log::{Body, CommitStatement, Config, Entry, Op, State, Statement};
use shudao_vault::object::log_path;
use shudao_vault::replica::Replica;
use shudao_vault::store::faults::Plan;
use shudao_vault::store::{Address, Store, StoreOptions};
use shudao_vault::suite::{Secret, SigningKey};
use shudao_vault::vault_file::VaultFile;

const VAULT: VaultId = VaultId([7; 16]);
const REPLICA: ReplicaId = ReplicaId([8; 16]);
const SOURCE: SourceId = SourceId([9; 16]);

fn hash(domain: &str, number: u64) -> [u8; 32] {
    *blake3::hash(format!("{domain} {number}").as_bytes()).as_bytes()
}

fn session(number: u64) -> SessionId {
    SessionId(hash("session", number)[..16].try_into().unwrap())
}

fn said(key: &SigningKey, serial: u64, body: Body) -> shudao_vault::log::SignedStatement {
    let author = key.verify_key().writer_id();
    Statement { author, time: Timestamp(1), serial, body }.sign(VAULT, key).unwrap()
}

/// What entry `n` does: after the birth a backup begins, and commits.
fn op(key: &SigningKey, n: u64) -> Op {
    let number = n.div_ceil(2);
    if n == 0 {
        let config = said(key, 1, Body::Config(Config::default()));
        return Op::Birth { replica: REPLICA, name: "here".to_owned(), config };
    }
    if n % 2 == 1 {
        return Op::Begin { session: session(number), source: SOURCE, parent: None };
    }
    let commit = CommitStatement {
        snapshot: ObjectId(hash("snapshot", number)),
        source: SOURCE,
        sequence: number,
        need_list: ObjectId(hash("need list", number)),
        segments: vec![ObjectId(hash("segment", number))],
    };
    Op::Commit { session: session(number), statement: said(key, 0, Body::Commit(commit)) }
}

async fn timed(what: &str, store: &Store) {
    let (start, before) = (Instant::now(), store.usage());
    let replica = Replica::open(store.clone()).await.unwrap();
    let after = store.usage();
    println!(
        "{what}: {:.3} s, {} reads, {} listings, {:.1} MB, {} entries",
        start.elapsed().as_secs_f64(),
        after.reads - before.reads,
        after.lists - before.lists,
        (after.bytes_read - before.bytes_read) as f64 / 1e6,
        replica.state().next()
    );
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let directory = PathBuf::from(args.next().expect("DIR"));
    let entries: u64 = args.next().map_or(20_000, |count| count.parse().unwrap());
    let delay: u64 = args.next().map_or(0, |count| count.parse().unwrap());
    let key = SigningKey::from_seed(Secret([1; 32]));
    let file = VaultFile::new(VAULT, key.verify_key());
    let options = StoreOptions::default();
    let address = Address::parse(directory.to_str().unwrap()).unwrap();
    let under = Store::open(&address, &options).await.unwrap();
    under.prepare().await.unwrap();
    under.create("vault.json", Bytes::from(file.encode())).await.unwrap();
    let mut state = State::new(file);
    let mut earlier = None;
    for n in 0..entries {
        let (previous, replica) = (state.head(), REPLICA);
        let entry = Entry { n, previous, replica, time: Timestamp(1), nonce: [0; 16], op: op(&key, n) };
        let bytes = entry.sign(VAULT, &key).unwrap();
        state.fold(n, &bytes).unwrap();
        under.create(&log_path(n), Bytes::from(bytes)).await.unwrap();
        if n + 256 == entries {
            earlier = Some(state.clone());
        }
    }
    let start = Instant::now();
    let bytes = codec::encode(&state, &key).unwrap();
    println!(
        "the checkpoint: {:.1} MB, made in {:.3} s",
        bytes.len() as f64 / 1e6,
        start.elapsed().as_secs_f64()
    );
    for delay in [0, delay] {
        // A request and its answer are delayed by half of it on average, each.
        let delay_max = Duration::from_millis(delay);
        let plan = Plan { delay_permille: if delay > 0 { 1000 } else { 0 }, delay_max, ..Plan::default() };
        let (store, _) = under.with_faults(plan, &options);
        println!("with {delay} ms before each answer, on average:");
        timed("  entry by entry", &store).await;
        put(&under, &state, &key).await.unwrap();
        timed("  from a checkpoint at the end", &store).await;
        under.delete(&checkpoint_path(entries - 1)).await.unwrap();
        if let Some(earlier) = &earlier {
            put(&under, earlier, &key).await.unwrap();
            timed("  from a checkpoint 255 entries before it", &store).await;
            under.delete(&checkpoint_path(entries - 256)).await.unwrap();
        }
    }
}
