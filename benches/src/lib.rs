//! Data for the benchmarks: made by seed, the same on every machine.

/// `bytes` bytes that do not compress.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut data);
    data
}

/// `bytes` bytes of words that compress about as text does.
pub fn words(seed: u64, bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "road", "cloud", "pack", "frame", "chunk", "vault", "replica", "snapshot", "keeper", "writer",
        "owner", "log", "tree", "entry", "manifest", "root",
    ];
    let mut text = Vec::with_capacity(bytes + 16);
    for byte in noise(seed, bytes / 4) {
        text.extend_from_slice(WORDS[usize::from(byte & 15)].as_bytes());
        text.push(if byte & 0xf0 == 0 { b'\n' } else { b' ' });
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
