use proptest::prelude::*;

use super::sample::{VAULT, frame_of, keeper, noise, owner, pack};
use super::*;
use crate::Kind;
use crate::codec::Encoder;
use crate::frame::{Compression, FrameName, PlainLength, Scratch, open_frame};
use crate::id::{ChunkId, Digest, WriterId};
use crate::object::HEADER_BYTES;

fn sample_pack(ring: &KeyRing, kind: PackKind) -> FinishedPack {
    let (long, noise) = (vec![3; 9000], noise(1, 500));
    pack(ring, kind, &[&[b"one", b"two"], &[&long], &[&noise, b"x", &[0; 70]]])
}

/// Reads a chunk as restore does: header, key, range, frame.
fn read_chunk(ring: &KeyRing, bytes: &[u8], ordinal: usize) -> Result<Vec<u8>> {
    let (header, contents) = PackContents::read(bytes, ring)?;
    let chunk = contents.directory.chunks[ordinal];
    let frame = contents.directory.frames[chunk.frame as usize];
    let wrapped = header.frame_key(contents.keys[frame.key as usize]).expect("named by the directory");
    let key = ring.unwrap(wrapped)?;
    let name = FrameName { key: &key, purpose: header.kind.purpose(), counter: frame.counter };
    let sealed = &bytes[frame.offset as usize..][..frame.stored_length as usize];
    let plain = open_frame(name, sealed, PlainLength::Exactly(frame.plain_length), &mut Scratch::new())?;
    Ok(plain[chunk.offset as usize..][..chunk.length as usize].to_vec())
}

#[test]
fn a_pack_gives_back_its_chunks() {
    let ring = owner();
    for kind in [PackKind::Content, PackKind::Metadata] {
        let pack = sample_pack(&ring, kind);
        pack.verify(&ring, &mut Scratch::new()).unwrap();
        let (header, contents) = PackContents::read(&pack.bytes, &ring).unwrap();
        assert_eq!(contents, pack.contents);
        assert_eq!(PackHeader::length_from(&pack.bytes[..PREFIX_BYTES], VAULT).unwrap() as u64, header.len);
        assert_eq!(
            contents.pack,
            PackRef { id: PackId::of(&pack.bytes), kind, size: pack.bytes.len() as u64 }
        );
        for (ordinal, chunk) in contents.directory.chunks.iter().enumerate() {
            let bytes = read_chunk(&ring, &pack.bytes, ordinal).unwrap();
            assert_eq!(ring.chunk_id(kind.space(), &Digest::of(&bytes)), chunk.id);
        }
    }
}

#[test]
fn a_keeper_lists_packs_but_reads_no_content() {
    let owner = owner();
    let keeper = keeper(&owner);
    let content = sample_pack(&owner, PackKind::Content);
    assert_eq!(PackContents::read(&content.bytes, &keeper).unwrap().1, content.contents);
    assert_eq!(read_chunk(&keeper, &content.bytes, 0).unwrap_err().kind(), Kind::Forbidden);
    let metadata = sample_pack(&owner, PackKind::Metadata);
    assert!(read_chunk(&keeper, &metadata.bytes, 0).is_ok());
}

#[test]
fn the_tail_leads_to_the_directory() {
    let ring = owner();
    let pack = sample_pack(&ring, PackKind::Content);
    let size = pack.bytes.len() as u64;
    let range = tail_range(size);
    assert_eq!(range, 0..size);
    assert_eq!(tail_range(1 << 20), (1 << 20) - 65_536..1 << 20);
    let footer = Footer::decode(&pack.bytes[size as usize - 100..], size).unwrap();
    assert_eq!(footer, Footer::decode(&pack.bytes, size).unwrap());
    assert_eq!(footer.directory_range().end + 20, size);
    for wrong in [0, size - 1, size + 1, u64::MAX, PACK_BYTES_MAX + 1] {
        assert!(Footer::decode(&pack.bytes, wrong).is_err(), "{wrong}");
    }
    assert!(Footer::decode(&pack.bytes[size as usize - 19..], size).is_err());
}

#[test]
fn a_pack_is_full_when_bytes_or_chunks_run_out() {
    let ring = owner();
    let mut builder = PackBuilder::new(PackKind::Content, 10_000, &ring).unwrap();
    assert!(builder.is_empty());
    let tickets: Vec<_> = (0..2).map(|_| builder.reserve(4000, 1).unwrap().unwrap()).collect();
    assert!(builder.reserve(4000, 1).unwrap().is_none(), "outstanding frames count");
    let mut scratch = Scratch::new();
    for ticket in tickets {
        let (plain, chunks) = frame_of(&ring, PackKind::Content, &[&[1; 4000]]);
        let frame = ticket.seal(&plain, chunks, Compression::Default, &mut scratch).unwrap();
        assert!(frame.stored_length() < 200);
        builder.append(frame).unwrap();
    }
    assert!(builder.len() < 2000);
    let ticket = builder.reserve(4000, PACK_CHUNKS_MAX - 2).unwrap();
    assert!(ticket.is_some(), "they shrank");
    assert!(builder.reserve(10, 1).unwrap().is_none(), "the chunks are used up");

    let mut large = PackBuilder::new(PackKind::Content, 10_000, &ring).unwrap();
    assert!(large.reserve(1 << 20, 1).unwrap().is_some(), "an empty pack takes any frame");
    for (plain_len, chunks) in [(0, 1), (1, 0), (1 << 20, PACK_CHUNKS_MAX + 1), (usize::MAX / 2, 1)] {
        assert_eq!(large.reserve(plain_len, chunks).unwrap_err().kind(), Kind::Bug);
    }
}

#[test]
fn a_builder_refuses_what_would_make_a_wrong_pack() {
    let ring = owner();
    let mut scratch = Scratch::new();
    let mut builder = PackBuilder::new(PackKind::Content, 1 << 20, &ring).unwrap();
    let mut other = PackBuilder::new(PackKind::Content, 1 << 20, &ring).unwrap();
    let id = ChunkId([1; 32]);
    let mut reserve = || builder.reserve(4, 1).unwrap().unwrap();
    for (plain, chunks) in [
        (&b"abc"[..], vec![(id, 3)]),
        (b"abcd", vec![(id, 3)]),
        (b"abcd", vec![(id, 2), (id, 2)]),
        (b"abcd", vec![(id, u32::MAX)]),
    ] {
        let error = reserve().seal(plain, chunks, Compression::Fast, &mut scratch).unwrap_err();
        assert_eq!(error.kind(), Kind::Bug);
    }
    let frame = reserve().seal(b"abcd", vec![(id, 4)], Compression::Fast, &mut scratch).unwrap();
    assert_eq!(other.append(frame).unwrap_err().kind(), Kind::Bug);
    assert_eq!(builder.finish().unwrap_err().kind(), Kind::Bug, "frames are missing");
    assert_eq!(other.finish().unwrap_err().kind(), Kind::Bug, "it is empty");
}

#[test]
fn verifying_notices_a_chunk_under_a_wrong_name_and_any_changed_byte() {
    let ring = owner();
    let mut scratch = Scratch::new();
    let mut builder = PackBuilder::new(PackKind::Content, 1 << 20, &ring).unwrap();
    let ticket = builder.reserve(4, 1).unwrap().unwrap();
    let wrong = vec![(ChunkId([1; 32]), 4)];
    builder.append(ticket.seal(b"abcd", wrong, Compression::Fast, &mut scratch).unwrap()).unwrap();
    let error = builder.finish().unwrap().verify(&ring, &mut scratch).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);

    let pack = sample_pack(&ring, PackKind::Content);
    for position in (0..pack.bytes.len()).step_by(37) {
        let mut bytes = pack.bytes.to_vec();
        bytes[position] ^= 0x20;
        let mut bad = pack.clone();
        bad.bytes = bytes.into();
        assert!(bad.verify(&ring, &mut scratch).is_err(), "{position}");
    }
}

#[test]
fn a_directory_is_padded_with_zeros_to_the_next_page() {
    let ring = owner();
    let pack = sample_pack(&ring, PackKind::Content);
    let (header, contents) = PackContents::read(&pack.bytes, &ring).unwrap();
    let end = Footer::decode(&pack.bytes, pack.bytes.len() as u64).unwrap().directory_offset;
    let plain = contents.directory.encode();
    assert_eq!(plain.len(), 4096);
    assert_eq!(Directory::decode(&plain, &header, end).unwrap(), contents.directory);
    assert!(Directory::decode(&plain, &header, end + 1).is_err(), "frames must fill the pack");
    let mut dirty = plain.clone();
    dirty[4095] = 1;
    assert!(Directory::decode(&dirty, &header, end).is_err());
    let longer = [plain, vec![0; 4096]].concat();
    assert!(Directory::decode(&longer, &header, end).is_err());
}

/// A directory of one frame with one chunk, from its numbers.
fn raw_directory(numbers: [u64; 6]) -> Vec<u8> {
    let [key, counter, stored, writer, chunks, length] = numbers;
    let mut out = Encoder::new();
    out.varint(1).raw(&WriterId([1; 16]).0).varint(1);
    out.varint(key).varint(counter).varint(stored).varint(writer).varint(chunks);
    out.raw(&[1; 32]).varint(length);
    let mut plain = out.finish();
    plain.resize(4096, 0);
    plain
}

#[test]
fn a_directory_that_contradicts_its_pack_is_refused() {
    let ring = owner();
    let pack = sample_pack(&ring, PackKind::Content);
    let (header, _) = PackContents::read(&pack.bytes, &ring).unwrap();
    let end = header.len + 500;
    let most = u64::from(u32::MAX);
    for (numbers, accepted) in [
        ([1, most, 500, 0, 1, 9], true),
        ([0, 7, 500, 0, 1, 9], false),
        ([2, 7, 500, 0, 1, 9], false),
        ([1, most + 1, 500, 0, 1, 9], false),
        ([1, 7, 499, 0, 1, 9], false),
        ([1, 7, most, 0, 1, 9], false),
        ([1, 7, 500, 1, 1, 9], false),
        ([1, 7, 500, 0, 0, 9], false),
        ([1, 7, 500, 0, most, 9], false),
        ([1, 7, 500, 0, 1, 0], false),
        ([1, 7, 500, 0, 1, u64::from(PLAIN_BYTES_MAX) + 1], false),
    ] {
        let decoded = Directory::decode(&raw_directory(numbers), &header, end);
        assert_eq!(decoded.is_ok(), accepted, "{numbers:?}");
    }
}

#[test]
fn two_frames_of_one_name_are_refused() {
    let ring = owner();
    let pack = sample_pack(&ring, PackKind::Content);
    let (header, contents) = PackContents::read(&pack.bytes, &ring).unwrap();
    let end = Footer::decode(&pack.bytes, pack.bytes.len() as u64).unwrap().directory_offset;
    let mut directory = contents.directory;
    directory.frames[0].counter = directory.frames[1].counter;
    assert!(Directory::decode(&directory.encode(), &header, end).is_err());
}

#[test]
fn a_header_is_refused_where_keys_are_wrapped_otherwise() {
    let ring = owner();
    let pack = sample_pack(&ring, PackKind::Content);
    // The kind decides how frame keys must be wrapped.
    let mut bytes = pack.bytes.to_vec();
    bytes[6] = ObjectKind::MetadataPack as u8;
    assert!(PackHeader::decode(&bytes, VAULT).is_err());
    bytes[6] = ObjectKind::Segment as u8;
    assert!(PackHeader::decode(&bytes, VAULT).is_err());
    let mut bytes = pack.bytes.to_vec();
    bytes[HEADER_BYTES..PREFIX_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(PackHeader::decode(&bytes, VAULT).is_err());
    assert!(PackHeader::length_from(&bytes[..PREFIX_BYTES], VAULT).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_packs_are_refused_or_differ_in_frames_only(
        position: prop::sample::Index,
        flip in 1u8..,
        cut: prop::sample::Index,
    ) {
        let ring = owner();
        let pack = sample_pack(&ring, PackKind::Content);
        let mut bytes = pack.bytes.to_vec();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        if let Ok((_, contents)) = PackContents::read(&bytes, &ring) {
            prop_assert_eq!(&contents.directory, &pack.contents.directory);
            prop_assert_ne!(contents.pack.id, pack.contents.pack.id);
        }
        let cut = cut.index(pack.bytes.len());
        prop_assert!(PackContents::read(&pack.bytes[..cut], &ring).is_err());
        let _ = PackHeader::decode(&pack.bytes[..cut], VAULT);
    }

    #[test]
    fn any_directory_bytes_decode_or_fail_without_panic(
        plain in prop::collection::vec(any::<u8>(), 0..400),
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let ring = owner();
        let pack = sample_pack(&ring, PackKind::Metadata);
        let (header, contents) = PackContents::read(&pack.bytes, &ring).unwrap();
        let _ = Directory::decode(&plain, &header, 1000);
        let mut encoded = contents.directory.encode();
        for (position, byte) in patches {
            let position = position.index(400);
            encoded[position] = byte;
        }
        let end = contents.directory.frames.last().map_or(0, |f| f.offset + u64::from(f.stored_length));
        if let Ok(directory) = Directory::decode(&encoded, &header, end) {
            prop_assert_eq!(directory.encode(), encoded);
        }
    }
}
