//! What benchmarks need: data made by seed, and programs measured as whole processes.

pub mod data;
pub mod measure;
pub mod random;

use random::Random;

/// `bytes` bytes that do not compress.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    Random::new(seed).fill(&mut data);
    data
}

/// `bytes` bytes of words and numbers that compress about as text does, to a quarter.
pub fn words(seed: u64, bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "road", "cloud", "pack", "frame", "chunk", "vault", "replica", "snapshot", "keeper", "writer",
        "owner", "log", "tree", "entry", "manifest", "root",
    ];
    let mut text = Vec::with_capacity(bytes + 16);
    for pair in noise(seed, bytes / 2).chunks_exact(2) {
        let byte = pair[0];
        text.extend_from_slice(WORDS[usize::from(byte & 15)].as_bytes());
        if byte & 0x30 == 0 {
            text.extend_from_slice(format!(" {:02x}", pair[1]).as_bytes());
        }
        text.push(if byte & 0xf0 == 0x40 { b'\n' } else { b' ' });
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_the_same_for_a_seed_and_as_long_as_asked_for() {
        assert_eq!(noise(1, 1000), noise(1, 1000));
        assert_ne!(noise(1, 1000), noise(2, 1000));
        assert_eq!(words(1, 5000).len(), 5000);
    }
}
