//! File contents for tests: reproducible, and either hard or easy to compress.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A small reproducible generator (splitmix64); not for secrets.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// A generator whose numbers follow from `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_number() % bound
    }

    /// `len` bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.next_number().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

/// `len` bytes of text that compresses well.
pub fn prose(len: usize) -> Vec<u8> {
    let line = |number: usize| {
        format!("{number:08} the road to Shu is harder than climbing to the sky\n").into_bytes()
    };
    (0..=len / 60).flat_map(line).take(len).collect()
}

/// Writes a file.
///
/// # Panics
/// If it cannot be written.
pub fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// Writes `bytes_total` bytes that do not compress, piece by piece.
///
/// # Panics
/// If they cannot be written.
pub fn put_noise(path: &Path, bytes_total: u64, seed: u64) {
    const PIECE_BYTES: usize = 1 << 16;
    let mut noise = Noise::new(seed);
    let mut file = BufWriter::new(File::create(path).expect("create a file of noise"));
    let mut left = bytes_total;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        file.write_all(&noise.bytes(piece)).expect("write noise");
        left -= piece as u64;
    }
    file.flush().expect("write noise to its end");
}

/// `count` files of `bytes_each` in `directory`, which is made; each differs from every other.
///
/// # Panics
/// If they cannot be written.
pub fn put_many(directory: &Path, count: u32, bytes_each: usize) {
    std::fs::create_dir_all(directory).expect("create a directory");
    let body = Noise::new(u64::from(count)).bytes(bytes_each);
    for number in 0..count {
        let mut bytes = format!("{number:016}").into_bytes();
        bytes.extend_from_slice(&body);
        bytes.truncate(bytes_each);
        put(&directory.join(format!("file-{number:07}")), &bytes);
    }
}

/// Makes a file that is one hole.
///
/// # Panics
/// If it cannot be made.
pub fn put_hole(path: &Path, bytes: u64) {
    let file = File::create(path).expect("create a sparse file");
    file.set_len(bytes).expect("set a sparse file's length");
}

/// A modest mixed tree: text, noise, an empty directory, a link. It fits a few packs.
///
/// # Panics
/// If it cannot be made.
pub fn plant_small(directory: &Path, seed: u64) {
    let sub = directory.join("letters").join("2026");
    std::fs::create_dir_all(&sub).expect("create directories");
    std::fs::create_dir_all(directory.join("empty")).expect("create a directory");
    put(&directory.join("readme.txt"), &prose(3_000));
    put_noise(&directory.join("image.bin"), 3 << 20, seed);
    put(&sub.join("long.txt"), &prose(400_000));
    for number in 0..20 {
        put(&sub.join(format!("note-{number}")), format!("note {number} of {seed}").as_bytes());
    }
    std::os::unix::fs::symlink("letters/2026/long.txt", directory.join("link")).expect("make a link");
}
