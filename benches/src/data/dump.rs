//! A database's dump as text.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use super::Scale;
use crate::random::Random;

const BYTES: u64 = 1 << 30;
const INSERTED_BYTES: u64 = 10_500_000;
const PLACES: u64 = 5;
const UPDATED_EVERY: u64 = 1000;

/// A row: a key, names, an amount, a time, a token.
fn row(number: u64, random: &mut Random) -> String {
    const NAMES: [&str; 8] =
        ["chengdu", "mianyang", "deyang", "leshan", "zigong", "luzhou", "yibin", "nanchong"];
    let [from, to] = [random.below(8), random.below(8)].map(|at| NAMES[at as usize]);
    let (amount, minute, token) = (random.below(10_000_000), random.below(525_600), random.number());
    let note = random.below(1 << 40);
    format!(
        "INSERT INTO ledger VALUES ({number}, '{from}', '{to}', {}.{:02}, '2026-{:02}-{:02}T{:02}:{:02}Z', '{token:016x}', 'note {note}');\n",
        amount / 100,
        amount % 100,
        minute / 44_640 + 1,
        minute / 1_440 % 28 + 1,
        minute / 60 % 24,
        minute % 60,
    )
}

fn rows(target: &mut impl Write, bytes: u64, first: u64, seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed);
    let (mut written, mut number) = (0, first);
    while written < bytes {
        let row = row(number, &mut random);
        target.write_all(row.as_bytes())?;
        written += row.len() as u64;
        number += 1;
    }
    Ok(())
}

pub(super) fn make(path: &Path, scale: Scale) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    rows(&mut file, scale.of(BYTES), 0, scale.seed)?;
    file.flush()
}

/// Writes the file anew, as a dump does; `change` gets each line and writes what stands for it.
fn rewrite(
    path: &Path,
    mut change: impl FnMut(u64, &[u8], &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    let mut source = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut target = BufWriter::with_capacity(1 << 20, File::create(&fresh)?);
    let (mut line, mut number) = (Vec::new(), 0);
    while source.read_until(b'\n', &mut line)? > 0 {
        change(number, &line, &mut target)?;
        line.clear();
        number += 1;
    }
    target.flush()?;
    fs::rename(fresh, path)
}

pub(super) fn insert(path: &Path, scale: Scale) -> io::Result<()> {
    let every = fs::metadata(path)?.len() / (PLACES + 1);
    let (mut seen, mut place) = (0, 0);
    rewrite(path, |_, line, target| {
        seen += line.len() as u64;
        target.write_all(line)?;
        if place < PLACES && seen >= (place + 1) * every {
            place += 1;
            rows(&mut &mut *target, scale.of(INSERTED_BYTES) / PLACES, 1 << 40, !scale.seed ^ place)?;
        }
        Ok(())
    })
}

pub(super) fn update(path: &Path, scale: Scale) -> io::Result<()> {
    let mut random = Random::new(!scale.seed);
    rewrite(path, |number, line, target| {
        if number % UPDATED_EVERY == UPDATED_EVERY / 2 {
            target.write_all(row(number, &mut random).as_bytes())
        } else {
            target.write_all(line)
        }
    })
}
