//! A virtual machine's disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Scale;
use crate::random::Random;
use crate::{noise, words};

const BYTES: u64 = 2 << 30;
const SPOTS: u64 = 2_900;
const BLOCK: u64 = 4096;
/// What is written at once: files of a guest, in extents.
const EXTENT_MAX: u64 = 4 << 20;

pub(super) fn make(path: &Path, scale: Scale) -> io::Result<()> {
    let bytes = scale.of(BYTES).next_multiple_of(BLOCK);
    let file = File::create(path)?;
    file.set_len(bytes)?;
    let mut random = Random::new(scale.seed);
    let mut at = 0;
    while at < bytes {
        let extent = random.magnitude(BLOCK, EXTENT_MAX).next_multiple_of(BLOCK).min(bytes - at);
        let seed = random.number();
        // Three tenths are holes; of the rest a third does not compress.
        match random.below(10) {
            0..3 => {}
            3..5 => file.write_all_at(&noise(seed, extent as usize), at)?,
            _ => file.write_all_at(&words(seed, extent as usize), at)?,
        }
        at += extent;
    }
    Ok(())
}

pub(super) fn change(path: &Path, scale: Scale) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let blocks = file.metadata()?.len() / BLOCK;
    let mut random = Random::new(!scale.seed);
    for _ in 0..scale.of(SPOTS) {
        let length = random.magnitude(BLOCK, 16 * BLOCK).next_multiple_of(BLOCK);
        let at = random.below(blocks.saturating_sub(length / BLOCK).max(1)) * BLOCK;
        let seed = random.number();
        let bytes =
            if random.below(3) == 0 { noise(seed, length as usize) } else { words(seed, length as usize) };
        file.write_all_at(&bytes, at)?;
    }
    Ok(())
}
