//! Replays each target's corpus, and mutations of it that follow from a fixed seed, and watches time and memory.
//! One test in a program of its own: the allocator counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use shudao_fuzz::TARGETS;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MUTATIONS_PER_TARGET: u64 = 2_000;
/// A decoder may take this much whatever its input, and so many bytes for each byte of it.
const MEMORY_BYTES_FREE: usize = 256 << 10;
const MEMORY_BYTES_PER_BYTE: usize = 64;
/// Generous, because other work may hold the processor; a decoder needs microseconds.
const TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn every_decoder_survives_its_corpus_and_mutations_of_it_within_bounds() {
    for (number, (name, run)) in TARGETS.iter().enumerate() {
        let corpus = corpus(name);
        // What only one run needs, and memory of the first, is not the decoder's.
        run(&corpus[0]);
        let accepted = corpus.iter().filter(|input| watch(name, *run, input)).count();
        assert!(accepted > 0, "{name} accepts nothing of its corpus: it is stale, make it anew");
        let mut noise = Noise(0x5eed + number as u64);
        for _ in 0..MUTATIONS_PER_TARGET {
            let input = mutate(&corpus, &mut noise);
            watch(name, *run, &input);
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(shudao_fuzz::target(&name).is_some(), "corpus/{name} has no target");
    }
}

/// The checked-in inputs of a target; at least one.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}: a target needs a corpus", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty: a target needs a corpus", directory.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs a target on one input and fails if it takes too much time or memory. A panic fails by itself.
fn watch(name: &str, run: fn(&[u8]) -> bool, input: &[u8]) -> bool {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let start = Instant::now();
    let accepted = run(input);
    let (time, bytes) = (start.elapsed(), MEMORY.peak_usage().saturating_sub(before));
    let bytes_max = MEMORY_BYTES_FREE + MEMORY_BYTES_PER_BYTE * input.len();
    assert!(bytes <= bytes_max, "{name} took {bytes} bytes of memory for {}", shown(input));
    assert!(time <= TIME_MAX, "{name} took {time:?} for {}", shown(input));
    accepted
}

/// An input in hexadecimal digits, so that it can be added to the corpus.
fn shown(input: &[u8]) -> String {
    let digits: String = input.iter().take(4096).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes: {digits}", input.len())
}

/// One to four changes to an input: flipped bits, interesting bytes, cuts, doubled and foreign pieces.
fn mutate(corpus: &[Vec<u8>], noise: &mut Noise) -> Vec<u8> {
    let mut input = corpus[noise.below(corpus.len())].clone();
    for _ in 0..=noise.below(4) {
        let at = noise.below(input.len() + 1);
        let end = at + noise.below(input.len() - at + 1);
        match noise.below(7) {
            0 if at < input.len() => input[at] ^= 1 << noise.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][noise.below(5)],
            2 => input.truncate(at),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                // A length that promises far more than follows.
                input.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
            }
            _ => {
                let other = &corpus[noise.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[noise.below(other.len() + 1)..]);
            }
        }
    }
    input
}

/// A small reproducible generator (splitmix64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound.max(1) as u64).unwrap()
    }
}
