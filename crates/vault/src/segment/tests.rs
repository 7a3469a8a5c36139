use proptest::prelude::*;

use super::*;
use crate::Kind;
use crate::codec::Encoder;
use crate::id::WriterId;
use crate::pack::sample::{VAULT, keeper, noise, owner, pack};
use crate::pack::{Directory, DirectoryChunk, DirectoryFrame, PackContents};

/// The contents of a pack that was never made: one frame of `chunks` chunks.
fn contents(seed: u64, chunks: usize) -> PackContents {
    let ids = noise(seed, 32 * (chunks + 2));
    let id = |i: usize| <[u8; 32]>::try_from(&ids[32 * i..32 * i + 32]).unwrap();
    let mut key = [0; 16];
    key.copy_from_slice(&id(chunks)[..16]);
    let frame = DirectoryFrame {
        key: 1,
        counter: 4,
        offset: 300,
        stored_length: 5000,
        plain_length: 10 * chunks as u32,
        writer: WriterId([seed as u8; 16]),
    };
    let chunk = |i| DirectoryChunk { id: ChunkId(id(i)), frame: 0, offset: 10 * i as u32, length: 10 };
    let directory = Directory { frames: vec![frame], chunks: (0..chunks).map(chunk).collect() };
    let pack = PackRef { id: ObjectId(id(chunks + 1)), kind: PackKind::Content, size: 20_000 };
    PackContents { pack, keys: vec![KeyId::default(), KeyId(key)], directory }
}

#[test]
fn a_segment_says_of_each_pack_what_its_directory_says() {
    let ring = owner();
    let packs = [
        pack(&ring, PackKind::Content, &[&[b"one", b"two"], &[b"three"]]),
        pack(&ring, PackKind::Metadata, &[&[b"node"]]),
        pack(&ring, PackKind::Content, &[&[b"two", b"four"]]),
    ];
    let mut builder = SegmentBuilder::new(&ring);
    for pack in &packs {
        assert!(builder.add_pack(pack.contents.clone()).unwrap().is_none());
    }
    assert!(builder.add_pack(packs[0].contents.clone()).unwrap().is_none(), "a pack is held once");
    let finished = builder.end_segment().unwrap().unwrap();
    assert!(builder.end_segment().unwrap().is_none());

    let key = ring.signing.verify_key();
    let segment = Segment::decode(&finished.bytes, &keeper(&ring), &|_| Some(key)).unwrap();
    assert_eq!(segment, finished.segment);
    assert_eq!(finished.id(), SegmentId::of(&finished.bytes));
    let clear = SegmentClear::decode(&finished.bytes, VAULT, &|_| Some(key)).unwrap();
    assert_eq!(clear, segment.clear);
    assert_eq!((clear.author, clear.packs.len()), (ring.writer_id(), 3));
    assert_eq!(segment.chunks.len(), 6);
    for pack in &packs {
        let directory = &pack.contents.directory;
        for chunk in &directory.chunks {
            let frame = directory.frames[chunk.frame as usize];
            let found = segment.chunks.iter().find(|place| {
                let of = &segment.frames[place.frame as usize];
                place.id == chunk.id && clear.packs[of.pack as usize] == pack.pack()
            });
            let found = found.unwrap();
            let of = segment.frames[found.frame as usize];
            assert_eq!((found.offset, found.length), (chunk.offset, chunk.length));
            assert_eq!(of.key, pack.contents.keys[frame.key as usize]);
            assert_eq!(
                (of.counter, of.offset, of.stored_length, of.plain_length, of.writer),
                (frame.counter, frame.offset, frame.stored_length, frame.plain_length, frame.writer)
            );
        }
    }
}

#[test]
fn a_segment_ends_before_it_is_too_large_and_splits_no_pack() {
    let ring = owner();
    let mut builder = SegmentBuilder::new(&ring);
    let mut ended = Vec::new();
    for (seed, chunks) in [(1, 60_000), (2, 5000), (3, 536), (4, 1), (5, 65_536), (6, 1)] {
        ended.extend(builder.add_pack(contents(seed, chunks)).unwrap());
    }
    ended.extend(builder.end_segment().unwrap());
    let sizes: Vec<_> = ended.iter().map(|s| (s.segment.clear.packs.len(), s.segment.chunks.len())).collect();
    assert_eq!(sizes, [(3, 65_536), (1, 1), (1, 65_536), (1, 1)]);
}

#[test]
fn only_the_certified_authors_signature_counts() {
    let ring = owner();
    let mut builder = SegmentBuilder::new(&ring);
    builder.add_pack(contents(1, 10)).unwrap();
    let bytes = builder.end_segment().unwrap().unwrap().bytes;
    let (own, other) = (ring.signing.verify_key(), owner().signing.verify_key());
    assert!(Segment::decode(&bytes, &ring, &|id| (id == ring.writer_id()).then_some(own)).is_ok());
    for key in [None, Some(other)] {
        assert_eq!(Segment::decode(&bytes, &ring, &|_| key).unwrap_err().kind(), Kind::Damaged);
        assert_eq!(SegmentClear::decode(&bytes, VAULT, &|_| key).unwrap_err().kind(), Kind::Damaged);
    }
    let mut no_index = keeper(&ring);
    no_index.index.clear();
    assert_eq!(Segment::decode(&bytes, &no_index, &|_| Some(own)).unwrap_err().kind(), Kind::Forbidden);
}

fn clear_of(packs: usize) -> SegmentClear {
    let pack = |i| PackRef { id: ObjectId([i; 32]), kind: PackKind::Content, size: 1000 };
    SegmentClear {
        id: SegmentId::default(),
        author: WriterId::default(),
        packs: (0..packs as u8).map(pack).collect(),
    }
}

/// A body with one writer and key, these frames (pack, key, counter, offset, stored, plain, writer) and these chunks
/// (first id byte, frame, offset, length).
fn body(frames: &[[u64; 7]], chunks: &[[u64; 4]]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.varint(1).raw(&[5; 16]).varint(1).raw(&[6; 16]);
    out.varint(frames.len() as u64);
    for number in frames.iter().flatten() {
        out.varint(*number);
    }
    out.varint(chunks.len() as u64);
    for [id, place @ ..] in chunks {
        out.raw(&[*id as u8; 32]);
        for number in place {
            out.varint(*number);
        }
    }
    out.finish()
}

/// Name, frames, chunks, and whether they are accepted.
type Case<'a> = (&'a str, &'a [[u64; 7]], &'a [[u64; 4]], bool);

#[test]
fn bodies_that_contradict_themselves_are_refused() {
    let frame = [0, 0, 1, 100, 50, 40, 0];
    let with = |position: usize, number: u64| {
        let mut frame = frame;
        frame[position] = number;
        frame
    };
    let most = u64::from(u32::MAX);
    let cases: &[Case] = &[
        ("good", &[frame, with(3, 150)], &[[1, 0, 0, 40], [1, 1, 0, 9], [1, 1, 9, 31], [2, 0, 39, 1]], true),
        ("in the second pack", &[frame, with(0, 1)], &[], true),
        ("no such pack", &[with(0, 2)], &[], false),
        ("no such key", &[with(1, 1)], &[], false),
        ("counter too large", &[with(2, most + 1)], &[], false),
        ("outside the pack", &[with(3, 951)], &[], false),
        ("offset overflows", &[with(3, u64::MAX)], &[], false),
        ("empty frame", &[with(5, 0)], &[], false),
        ("huge frame", &[with(5, most)], &[], false),
        ("no such writer", &[with(6, 1)], &[], false),
        ("overlap", &[frame, with(3, 149)], &[], false),
        ("same place", &[frame, frame], &[], false),
        ("packs not in order", &[with(0, 1), frame], &[], false),
        ("no such frame", &[frame], &[[1, 1, 0, 1]], false),
        ("empty chunk", &[frame], &[[1, 0, 0, 0]], false),
        ("outside the frame", &[frame], &[[1, 0, 1, 40]], false),
        ("chunk overflows", &[frame], &[[1, 0, most, 1]], false),
        ("chunks not in order", &[frame], &[[2, 0, 0, 1], [1, 0, 0, 1]], false),
        ("a place twice", &[frame], &[[1, 0, 0, 1], [1, 0, 0, 2]], false),
    ];
    for (case, frames, chunks, accepted) in cases {
        let decoded = Segment::decode_body(clear_of(2), &body(frames, chunks));
        assert_eq!(decoded.is_ok(), *accepted, "{case}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_or_cut_segment_is_refused(position: prop::sample::Index, flip in 1u8.., cut: prop::sample::Index) {
        let ring = owner();
        let mut builder = SegmentBuilder::new(&ring);
        builder.add_pack(contents(1, 20)).unwrap();
        let bytes = builder.end_segment().unwrap().unwrap().bytes;
        let own = ring.signing.verify_key();
        let mut bad = bytes.to_vec();
        let position = position.index(bad.len());
        bad[position] ^= flip;
        prop_assert!(Segment::decode(&bad, &ring, &|_| Some(own)).is_err());
        prop_assert!(Segment::decode(&bytes[..cut.index(bytes.len())], &ring, &|_| Some(own)).is_err());
    }

    #[test]
    fn any_body_bytes_decode_or_fail_without_panic(
        junk in prop::collection::vec(any::<u8>(), 0..300),
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = Segment::decode_body(clear_of(2), &junk);
        let frame = [0, 0, 1, 100, 50, 40, 0];
        let mut bytes = body(&[frame, [1, 0, 2, 100, 50, 40, 0]], &[[1, 0, 0, 40], [1, 1, 0, 9], [2, 0, 39, 1]]);
        for (position, byte) in patches {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let _ = Segment::decode_body(clear_of(2), &bytes);
    }
}
