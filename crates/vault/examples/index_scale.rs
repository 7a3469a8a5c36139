//! The local index at scale: bytes of memory a chunk, and look-ups a second.
//!
//! ```text
//! cargo run --release -p shudao-vault --example index_scale -- DIR [MILLIONS]
//! ```
//!
//! Simulates segments of that many million chunks (100 unless said), four chunks a frame and 110 a pack, adds them to an index in
//! DIR, which needs about 8 GB of room for each 100 million, opens it again and looks chunks up: some that are there, some
//! that are not. What it prints of memory is what opening and looking up took of the process.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, which may stop at anything"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use shudao_vault::id::{ChunkId, KeyId, PackId, SegmentId, VaultId, WriterId};
use shudao_vault::index::Index;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::pack::{PackKind, PackRef};
use shudao_vault::segment::{Segment, SegmentChunk, SegmentClear, SegmentFrame};

const VAULT: VaultId = VaultId([7; 16]);
const SEGMENT_CHUNKS: u64 = 65_536;
const FRAME_CHUNKS: u64 = 4;
const PACK_CHUNKS: u64 = 110;
const LOOKUPS: u64 = 200_000;

fn hash(domain: &str, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes()).update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

fn chunk_id(number: u64) -> ChunkId {
    ChunkId(hash("chunk", number))
}

/// Segment `number`: its chunks are those from `number` * 65,536 on.
fn segment(number: u64) -> Segment {
    let packs = SEGMENT_CHUNKS.div_ceil(PACK_CHUNKS);
    let mut packs: Vec<PackRef> = (0..packs)
        .map(|pack| PackRef {
            id: PackId::of(&hash("pack", number << 32 | pack)),
            kind: PackKind::Content,
            size: 32 << 20,
        })
        .collect();
    packs.sort_unstable();
    let frames = SEGMENT_CHUNKS / FRAME_CHUNKS;
    let frame = |at: u64| SegmentFrame {
        pack: (at * FRAME_CHUNKS / PACK_CHUNKS) as u32,
        key: KeyId([1; 16]),
        counter: at as u32,
        offset: 1000 * at,
        stored_length: 900,
        plain_length: 1 << 20,
        writer: WriterId([1; 16]),
    };
    let mut chunks: Vec<SegmentChunk> = (0..SEGMENT_CHUNKS)
        .map(|at| SegmentChunk {
            id: chunk_id(number * SEGMENT_CHUNKS + at),
            frame: (at / FRAME_CHUNKS) as u32,
            offset: ((at % FRAME_CHUNKS) << 18) as u32,
            length: 1 << 18,
        })
        .collect();
    chunks.sort_unstable();
    let id = SegmentId::of(&hash("segment", number));
    let clear = SegmentClear { id, author: WriterId([1; 16]), packs };
    Segment { clear, frames: (0..frames).map(frame).collect(), chunks }
}

/// Bytes of memory of this process now.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("a directory for the index"));
    let second = arguments.next();
    if second.as_deref() == Some("look") {
        return look(&directory);
    }
    let millions: u64 = second.map_or(100, |text| text.parse().unwrap());
    let segments = (millions * 1_000_000).div_ceil(SEGMENT_CHUNKS);
    let total = segments * SEGMENT_CHUNKS;
    let started = Instant::now();
    let mut index = Index::open(&directory, VAULT).unwrap();
    for number in 0..segments {
        index.add(&segment(number)).unwrap();
    }
    index.commit().unwrap();
    drop(index);
    println!("{total} chunks in {segments} segments added in {:.0} s", started.elapsed().as_secs_f64());
    let disk: u64 =
        std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!("on disk: {:.1} bytes a chunk", disk as f64 / total as f64);
    // Memory is that of a process that has done nothing else.
    let program = std::env::current_exe().unwrap();
    assert!(std::process::Command::new(program).arg(&directory).arg("look").status().unwrap().success());
}

/// Opens the index and looks chunks up.
fn look(directory: &Path) {
    let before = resident_bytes();
    let started = Instant::now();
    let index = Index::open(directory, VAULT).unwrap();
    let total = index.chunks();
    println!("opened in {:.2} s", started.elapsed().as_secs_f64());
    for (what, first) in [("of chunks that are there", 0), ("of chunks that are not", total)] {
        let started = Instant::now();
        let mut found = 0;
        for number in 0..LOOKUPS {
            // Spread over the whole index, so that no page is met twice soon.
            let id = chunk_id(first + number * 7919 % total);
            found += index.lookup(&id, ChunkSpace::Content).unwrap().len() as u64;
        }
        assert_eq!(found, if first == 0 { LOOKUPS } else { 0 });
        println!("look-ups {what}: {:.0} a second", LOOKUPS as f64 / started.elapsed().as_secs_f64());
    }
    let memory = resident_bytes().saturating_sub(before);
    println!("memory: {:.2} bytes a chunk, the page cache of 16 MiB included", memory as f64 / total as f64);
}
