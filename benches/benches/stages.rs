//! Rates of the stages of a backup on one core: `cargo bench -p shudao-benches`. Prints the median of five runs.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::hint::black_box;
use std::time::Instant;

use shudao_benches::{noise, words};
use shudao_mover::chunker::{Chunker, GearTable, Profile};
use shudao_vault::frame::{
    Compression, FRAME_BYTES_TARGET, FrameName, PlainLength, Scratch, open_frame, seal_frame,
};
use shudao_vault::id::{Digest, VaultId};
use shudao_vault::suite::{ObjectKey, Purpose};

const BYTES: usize = 64 << 20;
const RUNS: usize = 5;

fn main() {
    // `cargo test` builds and starts benchmarks too, unoptimised: nothing is timed there.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for (name, data) in [("words", words(1, BYTES)), ("noise", noise(1, BYTES))] {
        rate(name, "chunk", &data, chunk);
        rate(name, "hash chunks of 256 KiB", &data, |data| {
            for piece in data.chunks(256 << 10) {
                black_box(Digest::of(piece));
            }
        });
        for (level, compression) in [("fast", Compression::Fast), ("default", Compression::Default)] {
            let sealed = seal(&data, compression);
            rate(name, &format!("compress and seal, {level}"), &data, |data| drop(seal(data, compression)));
            rate(name, &format!("open, {level}"), &data, |_| open(&sealed));
        }
    }
}

fn chunk(data: &[u8]) {
    let chunker = Chunker::new(&Profile::COARSE, &GearTable::derive(&[7; 32]));
    let mut rest = data;
    while let Some(length) = chunker.next_cut(rest, true).filter(|_| !rest.is_empty()) {
        rest = &rest[black_box(length)..];
    }
}

/// The sealed frames and the key that opens them.
type Sealed = (ObjectKey, Vec<(Vec<u8>, u32)>);

fn seal(data: &[u8], compression: Compression) -> Sealed {
    let key = ObjectKey::generate(VaultId::default());
    let mut scratch = Scratch::new();
    let frames = (0..).zip(data.chunks(FRAME_BYTES_TARGET)).map(|(counter, plain)| {
        let name = FrameName { key: &key, purpose: Purpose::Content, counter };
        let sealed = seal_frame(name, plain, compression, &mut scratch).expect("a frame within its bounds");
        (sealed, plain.len() as u32)
    });
    let frames = frames.collect();
    (key, frames)
}

fn open((key, frames): &Sealed) {
    let mut scratch = Scratch::new();
    for (counter, (sealed, length)) in (0..).zip(frames) {
        let name = FrameName { key, purpose: Purpose::Content, counter };
        let plain = open_frame(name, sealed, PlainLength::Exactly(*length), &mut scratch);
        black_box(plain.expect("what was sealed opens"));
    }
}

fn rate(data_name: &str, stage: &str, data: &[u8], work: impl Fn(&[u8])) {
    work(data);
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            work(data);
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!("{data_name:5}  {stage:28}  {:8.0} MB/s", data.len() as f64 / 1e6 / seconds[RUNS / 2]);
}
