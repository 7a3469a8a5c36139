//! Frames: the unit of compression and sealing.
//!
//! The plain bytes of a frame are its chunks, one after the other. Layout: `docs/format/pack.md` section 1.

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::suite::{ObjectKey, Purpose, TAG_BYTES};

/// A frame's plain bytes are at most this many (64 MiB).
pub const PLAIN_BYTES_MAX: u32 = 64 << 20;

/// Small chunks are collected into a frame up to about this many plain bytes (1 MiB).
pub const FRAME_BYTES_TARGET: usize = 1 << 20;

/// Sealing adds at most this many bytes: codec, plain length, tag.
pub const OVERHEAD_BYTES_MAX: usize = 1 + 4 + TAG_BYTES;

/// Data of at least this length is sampled before it is compressed.
const SAMPLED_BYTES_MIN: usize = 128 << 10;
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 4 << 10;

/// A larger buffer than this is given back after use, so that one huge frame does not cost memory forever.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

const CODEC_STORED: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// How hard to try to make a frame smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Stored,
    /// zstd level 1.
    Fast,
    /// zstd level 3.
    Default,
    /// zstd level 12.
    Max,
}

impl Compression {
    fn level(self) -> Option<i32> {
        match self {
            Self::Stored => None,
            Self::Fast => Some(1),
            Self::Default => Some(3),
            Self::Max => Some(12),
        }
    }
}

/// What a frame is sealed under; the pair (key, counter) names it for ever.
#[derive(Debug, Clone, Copy)]
pub struct FrameName<'a> {
    /// The object key.
    pub key: &'a ObjectKey,
    /// What the frame holds.
    pub purpose: Purpose,
    /// Never used twice under one key and purpose.
    pub counter: u32,
}

/// How long a frame's plain bytes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainLength {
    /// As a directory says.
    Exactly(u32),
    /// Where nothing else says it.
    AtMost(u32),
}

impl PlainLength {
    fn allows(self, len: u64) -> bool {
        len <= u64::from(PLAIN_BYTES_MAX)
            && match self {
                Self::Exactly(exact) => len == u64::from(exact),
                Self::AtMost(most) => len <= u64::from(most),
            }
    }
}

/// Compression contexts and a buffer, reused from frame to frame by one thread.
#[derive(Default)]
pub struct Scratch {
    compressor: Option<(i32, Compressor<'static>)>,
    decompressor: Option<Decompressor<'static>>,
    buffer: Vec<u8>,
}

impl Scratch {
    /// Nothing is allocated before it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses `plain` into the buffer and returns it, or `None` where that fails or does not make it at least
    /// 2 % smaller: then the bytes are stored as they are.
    fn compress(&mut self, plain: &[u8], level: i32) -> Option<&[u8]> {
        if looks_incompressible(plain, self.compressor(1)?) {
            return None;
        }
        let limit = plain.len() - plain.len() / 50;
        self.compressor(level)?;
        let (_, compressor) = self.compressor.as_mut()?;
        self.buffer.clear();
        self.buffer.reserve_exact(zstd::zstd_safe::compress_bound(plain.len()));
        let len = compressor.compress_to_buffer(plain, &mut self.buffer).ok()?;
        (len < limit).then_some(self.buffer.as_slice())
    }

    fn compressor(&mut self, level: i32) -> Option<&mut Compressor<'static>> {
        match &mut self.compressor {
            Some((current, compressor)) => {
                if *current != level {
                    compressor.set_compression_level(level).ok()?;
                    *current = level;
                }
            }
            empty => *empty = Some((level, Compressor::new(level).ok()?)),
        }
        self.compressor.as_mut().map(|(_, compressor)| compressor)
    }

    /// `None` if the data cannot be decompressed into that many bytes.
    fn decompress(&mut self, data: &[u8], plain_len: usize) -> Option<Vec<u8>> {
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            empty => empty.insert(Decompressor::new().ok()?),
        };
        let mut plain = Vec::with_capacity(plain_len);
        decompressor.decompress_to_buffer(data, &mut plain).ok()?;
        Some(plain)
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch(..)")
    }
}

/// Compresses a few slices spread over long data: media and archives are recognised for a twentieth of the cost.
fn looks_incompressible(plain: &[u8], compressor: &mut Compressor<'static>) -> bool {
    if plain.len() < SAMPLED_BYTES_MIN {
        return false;
    }
    let sample = sample(plain);
    compressor.compress(&sample).is_ok_and(|small| small.len() >= sample.len() - sample.len() / 50)
}

/// A few slices spread over `plain`, or all of it where it is short.
fn sample(plain: &[u8]) -> Vec<u8> {
    if plain.len() <= SAMPLES * SAMPLE_BYTES {
        return plain.to_vec();
    }
    let step = plain.len() / SAMPLES;
    (0..SAMPLES).flat_map(|i| &plain[i * step..i * step + SAMPLE_BYTES]).copied().collect()
}

/// Whether zstd makes a few slices of `plain` at least a tenth smaller; true also where that cannot be tried. Like data gives
/// like answers: a file that is changed a little is nearly always answered for as before.
pub fn compresses(plain: &[u8]) -> bool {
    let sample = sample(plain);
    let small = Compressor::new(1).and_then(|mut compressor| compressor.compress(&sample));
    small.map_or(true, |small| small.len() <= sample.len() - sample.len() / 10)
}

/// Compresses and seals `plain`, 1 to [`PLAIN_BYTES_MAX`] bytes; [`Kind::Bug`] for another length.
///
/// A (key, purpose, counter) must never be given twice.
pub fn seal_frame(
    name: FrameName<'_>,
    plain: &[u8],
    compression: Compression,
    scratch: &mut Scratch,
) -> Result<Vec<u8>> {
    if plain.is_empty() || plain.len() > PLAIN_BYTES_MAX as usize {
        return Err(Error::new(Kind::Bug, format!("seal a frame of {} bytes", plain.len())));
    }
    let compressed = compression.level().and_then(|level| scratch.compress(plain, level));
    let (codec, data) = match compressed {
        Some(data) => (CODEC_ZSTD, data),
        None => (CODEC_STORED, plain),
    };
    let mut head = Encoder::new();
    head.u8(codec).varint(plain.len() as u64);
    let mut inner = Vec::with_capacity(data.len() + OVERHEAD_BYTES_MAX);
    inner.extend_from_slice(head.as_slice());
    inner.extend_from_slice(data);
    scratch.buffer.shrink_to(BUFFER_BYTES_KEPT);
    Ok(name.key.seal(name.purpose, u64::from(name.counter), inner))
}

/// Opens what [`seal_frame`] made under the same name and returns the plain bytes.
///
/// The declared length is held against `expected` before anything is allocated for it.
///
/// # Errors
/// [`Kind::Damaged`] if the frame is not authentic or is not what `docs/format/pack.md` says.
pub fn open_frame(
    name: FrameName<'_>,
    sealed: &[u8],
    expected: PlainLength,
    scratch: &mut Scratch,
) -> Result<Bytes> {
    // What is longer than its plain bytes is stored as they are, and is opened where it stays.
    let is_stored = matches!(expected, PlainLength::Exactly(len) if sealed.len() > len as usize);
    let mut inner = if is_stored { Vec::new() } else { std::mem::take(&mut scratch.buffer) };
    name.key.open_into(name.purpose, u64::from(name.counter), sealed, &mut inner)?;
    let mut input = Decoder::new(&inner, "frame");
    let (codec, len) = (input.u8()?, input.varint()?);
    if len == 0 || !expected.allows(len) {
        return Err(input.error("its length is not the expected one"));
    }
    let (len, head_len) = (len as usize, inner.len() - input.remaining());
    let plain = match codec {
        CODEC_STORED => Bytes::from(inner).slice(head_len..),
        CODEC_ZSTD => {
            let plain = scratch
                .decompress(&inner[head_len..], len)
                .ok_or_else(|| input.error("its data cannot be decompressed"))?;
            scratch.buffer = inner;
            scratch.buffer.shrink_to(BUFFER_BYTES_KEPT);
            Bytes::from(plain)
        }
        _ => return Err(input.error("unknown codec")),
    };
    if plain.len() == len {
        Ok(plain)
    } else {
        Err(Error::damaged(format!("decode frame: holds {} bytes instead of {len}", plain.len())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::VaultId;

    const VAULT: VaultId = VaultId([7; 16]);

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn round_trip(plain: &[u8], compression: Compression, scratch: &mut Scratch) -> usize {
        let key = ObjectKey::generate(VAULT);
        let name = FrameName { key: &key, purpose: Purpose::Content, counter: 5 };
        let sealed = seal_frame(name, plain, compression, scratch).unwrap();
        assert!(sealed.len() <= plain.len() + OVERHEAD_BYTES_MAX);
        let len = sealed.len();
        let exact = PlainLength::Exactly(plain.len() as u32);
        assert!(open_frame(name, &sealed, exact, scratch).unwrap() == plain);
        len
    }

    #[test]
    fn every_level_round_trips_with_one_scratch() {
        let mut scratch = Scratch::new();
        let text: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for compression in [Compression::Max, Compression::Fast, Compression::Stored, Compression::Default] {
            let len = round_trip(&text, compression, &mut scratch);
            assert_eq!(len < text.len() / 2, compression != Compression::Stored, "{compression:?}: {len}");
            round_trip(&[9], compression, &mut scratch);
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let mut scratch = Scratch::new();
        for len in [1000, SAMPLED_BYTES_MIN - 1, SAMPLED_BYTES_MIN, 1 << 20] {
            let stored = round_trip(&noise(len), Compression::Default, &mut scratch);
            assert!(stored > len, "{len} bytes of noise became {stored}");
        }
    }

    #[test]
    fn a_length_other_than_the_directorys_is_refused() {
        let key = ObjectKey::generate(VAULT);
        let name = FrameName { key: &key, purpose: Purpose::Metadata, counter: 0 };
        let mut scratch = Scratch::new();
        let sealed = seal_frame(name, &[1; 5000], Compression::Default, &mut scratch).unwrap();
        for (expected, accepted) in [
            (PlainLength::Exactly(5000), true),
            (PlainLength::Exactly(4999), false),
            (PlainLength::AtMost(5000), true),
            (PlainLength::AtMost(4999), false),
        ] {
            assert_eq!(open_frame(name, &sealed, expected, &mut scratch).is_ok(), accepted);
        }
    }

    #[test]
    fn a_lying_length_inside_the_seal_is_refused() {
        let key = ObjectKey::generate(VAULT);
        let mut scratch = Scratch::new();
        let mut counter = 0;
        let mut open = |codec: u8, len: u64, data: &[u8]| {
            counter += 1;
            let mut inner = Encoder::new();
            inner.u8(codec).varint(len).raw(data);
            let sealed = key.seal(Purpose::Content, counter, inner.finish());
            let name = FrameName { key: &key, purpose: Purpose::Content, counter: counter as u32 };
            open_frame(name, &sealed, PlainLength::AtMost(u32::MAX), &mut scratch)
        };
        let zeros = zstd::bulk::compress(&[0; 1000], 3).unwrap();
        assert!(open(CODEC_ZSTD, 1000, &zeros).is_ok());
        assert!(open(CODEC_ZSTD, 999, &zeros).is_err());
        assert!(open(CODEC_ZSTD, 1001, &zeros).is_err());
        assert!(open(CODEC_ZSTD, 1000, &zeros[..5]).is_err());
        assert!(open(CODEC_STORED, 3, b"four").is_err());
        assert!(open(CODEC_STORED, 0, b"").is_err());
        assert!(open(2, 4, b"four").is_err());
        assert!(open(CODEC_STORED, u64::from(PLAIN_BYTES_MAX) + 1, b"four").is_err());
        assert!(open(CODEC_STORED, u64::MAX, b"four").is_err());
    }

    #[test]
    fn an_empty_or_oversized_frame_is_not_sealed() {
        let key = ObjectKey::generate(VAULT);
        let name = FrameName { key: &key, purpose: Purpose::Content, counter: 0 };
        for len in [0, PLAIN_BYTES_MAX as usize + 1] {
            let error = seal_frame(name, &vec![0; len], Compression::Fast, &mut Scratch::new()).unwrap_err();
            assert_eq!(error.kind(), Kind::Bug);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(plain in prop::collection::vec(any::<u8>(), 1..5000), repeat in 1usize..40) {
            let plain = plain.repeat(repeat);
            round_trip(&plain, Compression::Default, &mut Scratch::new());
        }

        #[test]
        fn any_bytes_under_the_seal_never_panic(inner in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = ObjectKey::generate(VAULT);
            let name = FrameName { key: &key, purpose: Purpose::Content, counter: 1 };
            let sealed = key.seal(Purpose::Content, 1, inner);
            let _ = open_frame(name, &sealed, PlainLength::AtMost(1 << 20), &mut Scratch::new());
        }
    }
}
