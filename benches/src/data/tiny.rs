//! Very many very small files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Scale;
use crate::random::Random;
use crate::words;

const FILES: u64 = 100_000;
const FILES_A_DIRECTORY: u64 = 10;

fn path(directory: &Path, number: u64) -> PathBuf {
    let leaf = number / FILES_A_DIRECTORY;
    directory
        .join(format!("{:03}", leaf / 100))
        .join(format!("{:02}", leaf % 100))
        .join(format!("{number:06}.txt"))
}

fn body(random: &mut Random) -> Vec<u8> {
    let bytes = 512 + random.below(1024) as usize;
    words(random.number(), bytes)
}

pub(super) fn make(directory: &Path, scale: Scale) -> io::Result<()> {
    let mut random = Random::new(scale.seed);
    for number in 0..scale.of(FILES) {
        let path = path(directory, number);
        if number % FILES_A_DIRECTORY == 0
            && let Some(parent) = path.parent()
        {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, body(&mut random))?;
    }
    Ok(())
}

/// One in a hundred each is changed, gone, new.
pub(super) fn change(directory: &Path, scale: Scale) -> io::Result<()> {
    let files = scale.of(FILES);
    let mut random = Random::new(!scale.seed);
    for number in (0..files).step_by(100) {
        let nearby = |offset: u64| path(directory, (number + offset).min(files - 1));
        fs::write(nearby(random.below(30)), body(&mut random))?;
        fs::write(nearby(random.below(30) + 30).with_extension("new"), body(&mut random))?;
        fs::remove_file(nearby(random.below(30) + 60))?;
    }
    Ok(())
}
