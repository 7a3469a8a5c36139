//! What one core of this machine can do with the bytes that a backup handles, and its file system with files.
//!
//! ```text
//! cargo run --release -p shudao-benches --bin limits -- [DIRECTORY TO WRITE IN]
//! ```
//!
//! The median of five runs each, one thread. These are the figures that a pipeline is held against: no stage of it can be faster.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use shudao_benches::measure::median;
use shudao_benches::{noise, words};
use shudao_mover::chunker::{Chunker, GearTable, Profile};
use shudao_vault::id::VaultId;
use shudao_vault::suite::{ObjectKey, Purpose};

const BYTES: usize = 256 << 20;
const FILES: usize = 20_000;
const RUNS: usize = 5;
const FRAME: usize = 1 << 20;

fn main() -> std::io::Result<()> {
    let place = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let room = tempfile::Builder::new().prefix("shudao-limits.").tempdir_in(place)?;
    for (name, data) in [("words", words(1, BYTES)), ("noise", noise(1, BYTES))] {
        bytes(name, &data);
    }
    disk(room.path(), &noise(2, BYTES))?;
    files(room.path())
}

fn bytes(name: &str, data: &[u8]) {
    let rate = |stage: &str, work: &mut dyn FnMut()| say(name, stage, data.len() as f64 / 1e6, "MB/s", work);
    let mut copy = vec![0; data.len()];
    rate("memcpy", &mut || black_box(&mut copy).copy_from_slice(data));
    for piece in [64 << 10, 1 << 10] {
        rate(&format!("BLAKE3, {} KiB at a time", piece >> 10), &mut || {
            for part in data.chunks(piece) {
                black_box(blake3::hash(part));
            }
        });
    }
    let chunker = Chunker::new(&Profile::COARSE, &GearTable::derive(&[7; 32]));
    rate("boundaries of chunks", &mut || {
        let mut rest = data;
        while let Some(length) = chunker.next_cut(rest, true).filter(|_| !rest.is_empty()) {
            rest = &rest[black_box(length)..];
        }
    });
    let key = ObjectKey::generate(VaultId::default());
    rate("AES-256-GCM, frames of 1 MiB, copied first", &mut || {
        for (counter, part) in (0..).zip(data.chunks(FRAME)) {
            black_box(key.seal(Purpose::Content, counter, part.to_vec()));
        }
    });
    for level in [1, 3, 12] {
        // The slow levels on less: the rate is the same.
        let part = &data[..if level > 3 { data.len() / 8 } else { data.len() }];
        let mut sealed = Vec::new();
        let pressed = |sealed: &mut Vec<Vec<u8>>| {
            sealed.clear();
            let mut compressor = zstd::bulk::Compressor::new(level).expect("a level of zstd's");
            sealed.extend(part.chunks(FRAME).map(|frame| compressor.compress(frame).expect("it compresses")));
        };
        let mb = part.len() as f64 / 1e6;
        say(name, &format!("zstd level {level}, frames of 1 MiB"), mb, "MB/s", &mut || pressed(&mut sealed));
        let mut decompressor = zstd::bulk::Decompressor::new().expect("a decompressor");
        say(
            name,
            &format!("its decompression, to {:.3} of it", share(&sealed, part)),
            mb,
            "MB/s",
            &mut || {
                for frame in &sealed {
                    black_box(decompressor.decompress(frame, FRAME).expect("it decompresses"));
                }
            },
        );
    }
}

fn share(sealed: &[Vec<u8>], plain: &[u8]) -> f64 {
    sealed.iter().map(Vec::len).sum::<usize>() as f64 / plain.len() as f64
}

fn disk(room: &Path, data: &[u8]) -> std::io::Result<()> {
    let path = room.join("file");
    let mb = data.len() as f64 / 1e6;
    let mut failed = None;
    say("file", "write and fsync", mb, "MB/s", &mut || {
        let written =
            File::create(&path).and_then(|mut file| file.write_all(data).and_then(|()| file.sync_all()));
        failed = failed.take().or(written.err());
    });
    let mut buffer = vec![0; 1 << 20];
    say("file", "read from the page cache", mb, "MB/s", &mut || {
        let read = File::open(&path).and_then(|mut file| {
            while file.read(&mut buffer)? > 0 {}
            Ok(())
        });
        failed = failed.take().or(read.err());
    });
    failed.map_or(Ok(()), Err)
}

fn files(room: &Path) -> std::io::Result<()> {
    let path = |run: usize, number: usize| room.join(format!("{run}")).join(format!("{number}"));
    let (mut run, mut failed) = (0, None);
    let thousands = FILES as f64 / 1e3;
    say("files", "create, write 1 KiB and close", thousands, "thousand/s", &mut || {
        run += 1;
        let made = fs::create_dir(room.join(run.to_string())).and_then(|()| {
            (0..FILES).try_for_each(|number| File::create(path(run, number))?.write_all(&[7; 1024]))
        });
        failed = failed.take().or(made.err());
    });
    say("files", "lstat", thousands, "thousand/s", &mut || {
        let seen = (0..FILES).try_for_each(|number| fs::symlink_metadata(path(1, number)).map(drop));
        failed = failed.take().or(seen.err());
    });
    let mut buffer = [0; 4096];
    say("files", "open, read 1 KiB and close", thousands, "thousand/s", &mut || {
        let read = (0..FILES).try_for_each(|number| File::open(path(1, number))?.read(&mut buffer).map(drop));
        failed = failed.take().or(read.err());
    });
    failed.map_or(Ok(()), Err)
}

/// Prints the median rate of `amount` done by `work`.
fn say(subject: &str, stage: &str, amount: f64, unit: &str, work: &mut dyn FnMut()) {
    work();
    let seconds = (0..RUNS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    println!("{subject:6} {stage:44} {:9.0} {unit}", amount / median(seconds).max(1e-9));
}
