//! Files as offices have them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Scale;
use crate::random::Random;
use crate::{noise, words};

const FILES: u64 = 20_000;
const FILES_A_DIRECTORY: u64 = 50;
const BYTES_MIN: u64 = 1 << 10;
/// With the large ones the mean comes to 160 KB, and all to 3.3 GB.
const BYTES_MAX: u64 = 1 << 20;
/// Below a directory.
const LARGE_EVERY: u64 = 97;

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("department-{:03}", number / FILES_A_DIRECTORY)).join(format!("{number:05}.doc"))
}

/// What a file holds: its own seed, its length, and whether it compresses.
fn body(file_seed: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = random.magnitude(BYTES_MIN, BYTES_MAX) as usize;
    if random.below(LARGE_EVERY) == 0 {
        bytes *= 4;
    }
    if random.below(2) == 0 { noise(file_seed, bytes) } else { words(file_seed, bytes) }
}

pub(super) fn make(directory: &Path, scale: Scale) -> io::Result<()> {
    for number in 0..scale.of(FILES) {
        let mut random = Random::new(scale.seed ^ (number << 8));
        let path = path(directory, number);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Every fourth is a copy of an earlier one.
        let original = if number % 4 == 3 { random.below(number) } else { number };
        let original = if original % 4 == 3 { original - 1 } else { original };
        let seed = scale.seed ^ (original << 8);
        fs::write(path, body(seed, &mut Random::new(seed)))?;
    }
    Ok(())
}

/// One in a hundred is rewritten, one in two hundred grows, one in two hundred is new.
pub(super) fn change(directory: &Path, scale: Scale) -> io::Result<()> {
    let files = scale.of(FILES);
    let mut random = Random::new(!scale.seed);
    for _ in 0..(files / 100).max(1) {
        let seed = random.number();
        fs::write(path(directory, random.below(files)), body(seed, &mut Random::new(seed)))?;
    }
    for _ in 0..(files / 200).max(1) {
        let path = path(directory, random.below(files));
        let mut bytes = fs::read(&path)?;
        bytes.extend(words(random.number(), 4000));
        fs::write(path, bytes)?;
    }
    for number in 0..(files / 200).max(1) {
        let seed = random.number();
        fs::write(
            path(directory, random.below(files)).with_extension(format!("{number}.new")),
            body(seed, &mut Random::new(seed)),
        )?;
    }
    Ok(())
}
