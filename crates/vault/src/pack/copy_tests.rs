use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::sample::{keeper, noise, owner, pack};
use super::*;
use crate::Kind;
use crate::frame::{FrameName, PlainLength, Scratch, open_frame};
use crate::id::{ChunkId, Digest, WriterId};
use crate::segment::{Segment, SegmentBuilder};

/// Every chunk of a pack, opened with the ring's keys, and who sealed its frame.
fn open_all(ring: &KeyRing, bytes: &[u8]) -> BTreeMap<ChunkId, (Vec<u8>, WriterId)> {
    let (header, contents) = PackContents::read(bytes, ring).unwrap();
    let mut chunks = BTreeMap::new();
    for (ordinal, frame) in contents.directory.frames.iter().enumerate() {
        let key = ring.unwrap(header.frame_key(contents.keys[frame.key as usize]).unwrap()).unwrap();
        let name = FrameName { key: &key, purpose: header.kind.purpose(), counter: frame.counter };
        let sealed = &bytes[frame.offset as usize..][..frame.stored_length as usize];
        let length = PlainLength::Exactly(frame.plain_length);
        let plain = open_frame(name, sealed, length, &mut Scratch::new()).unwrap();
        for chunk in contents.directory.chunks_of(ordinal as u32) {
            let bytes = plain[chunk.offset as usize..][..chunk.length as usize].to_vec();
            assert_eq!(ring.chunk_id(header.kind.space(), &Digest::of(&bytes)), chunk.id);
            chunks.insert(chunk.id, (bytes, frame.writer));
        }
    }
    chunks
}

fn source(ring: &KeyRing, pack: &FinishedPack) -> CopySource {
    CopySource::read(&pack.pack().id, pack.bytes.clone(), ring).unwrap()
}

/// A second writer of the owner's vault, which seals under keys that the owner can open.
fn second_writer(owner: &KeyRing) -> KeyRing {
    let mut ring = owner.clone();
    ring.signing = crate::suite::SigningKey::generate();
    ring
}

/// Copies the frames that `is_live` names by (source, frame) into as many packs as it takes.
fn copy_live(
    keeper: &KeyRing,
    kind: PackKind,
    target_bytes: usize,
    sources: &[CopySource],
    is_live: impl Fn(usize, u32) -> bool,
) -> Vec<CopiedPack> {
    let mut copier = PackCopier::new(kind, target_bytes, keeper).unwrap();
    let mut packs = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        for ordinal in 0..source.contents().directory.frames.len() as u32 {
            if !is_live(number, ordinal) {
                continue;
            }
            if copier.copy(source, ordinal).unwrap() == Copied::Full {
                packs.push(copier.finish(keeper).unwrap());
                copier = PackCopier::new(kind, target_bytes, keeper).unwrap();
                assert_eq!(copier.copy(source, ordinal).unwrap(), Copied::In);
            }
        }
    }
    if !copier.is_empty() {
        packs.push(copier.finish(keeper).unwrap());
    }
    packs
}

#[test]
fn a_keeper_copies_what_it_cannot_open() {
    let owner = owner();
    let (keeper, second) = (keeper(&owner), second_writer(&owner));
    let packs = [
        pack(&owner, PackKind::Content, &[&[b"one", b"two"], &[b"three"]]),
        pack(&second, PackKind::Content, &[&[b"four"], &[b"five", b"six"]]),
    ];
    let sources: Vec<_> = packs.iter().map(|pack| source(&keeper, pack)).collect();
    // Frames were appended in reverse, so frame 1 is the first one given above.
    let copied =
        copy_live(&keeper, PackKind::Content, 1 << 20, &sources, |number, frame| (number, frame) != (0, 0));
    let [copy] = &copied[..] else { panic!("{} packs", copied.len()) };
    assert_eq!(copy.sources, packs.iter().map(|pack| pack.pack().id).collect());
    let chunks = open_all(&owner, &copy.bytes);
    let text: Vec<_> = chunks.values().map(|(bytes, writer)| (&bytes[..], *writer)).collect();
    let (own, other) = (owner.writer_id(), second.writer_id());
    assert_eq!(text.len(), 5);
    for expected in [(&b"one"[..], own), (b"two", own), (b"four", other), (b"five", other), (b"six", other)] {
        assert!(text.contains(&expected), "{expected:?}");
    }
    // Keys of frames were carried over as they were, the directory's is a new one.
    let (header, _) = PackContents::read(&copy.bytes, &keeper).unwrap();
    let before: Vec<_> = sources.iter().flat_map(|source| source.header.keys[1..].to_vec()).collect();
    assert_eq!(header.keys[1..], before);
    assert!(sources.iter().all(|source| source.header.keys[0] != header.keys[0]));
}

#[test]
fn a_writer_reads_the_directory_of_copies_and_no_more() {
    let owner = owner();
    let writer = owner.issue(crate::keys::Role::Writer, &[]).unwrap();
    let sources = [source(&owner, &pack(&owner, PackKind::Content, &[&[b"one"]]))];
    let copied = copy_live(&keeper(&owner), PackKind::Content, 1 << 20, &sources, |_, _| true);
    let (header, contents) = PackContents::read(&copied[0].bytes, &writer).unwrap();
    assert_eq!(contents, copied[0].contents);
    assert_eq!(writer.unwrap(&header.keys[1]).unwrap_err().kind(), Kind::Forbidden);
}

#[test]
fn a_segment_of_copies_keeps_each_frames_writer() {
    let owner = owner();
    let (keeper, second) = (keeper(&owner), second_writer(&owner));
    let sources = [
        source(&keeper, &pack(&owner, PackKind::Content, &[&[b"one"]])),
        source(&keeper, &pack(&second, PackKind::Content, &[&[b"two"]])),
    ];
    let copied = copy_live(&keeper, PackKind::Content, 1 << 20, &sources, |_, _| true);
    let mut builder = SegmentBuilder::new(&keeper);
    builder.add_pack(copied[0].contents.clone()).unwrap();
    let segment = builder.end_segment().unwrap().unwrap();
    let key = keeper.signing.verify_key();
    let segment = Segment::decode(&segment.bytes, &owner, &|_| Some(key)).unwrap();
    assert_eq!(segment.clear.author, keeper.writer_id());
    let writers: Vec<_> = segment.frames.iter().map(|frame| frame.writer).collect();
    assert_eq!(writers, [owner.writer_id(), second.writer_id()]);
}

#[test]
fn a_frame_is_copied_once_and_only_from_its_own_kind() {
    let owner = owner();
    let packs = [
        pack(&owner, PackKind::Content, &[&[b"one"], &[b"two"]]),
        pack(&owner, PackKind::Metadata, &[&[b"node"]]),
    ];
    let first = source(&owner, &packs[0]);
    let mut copier = PackCopier::new(PackKind::Content, 1 << 20, &owner).unwrap();
    assert_eq!(copier.copy(&first, 0).unwrap(), Copied::In);
    let again = copy_live(&owner, PackKind::Content, 1 << 20, &[first], |_, _| true);
    let again = CopySource::read(&again[0].pack().id, again[0].bytes.clone(), &owner).unwrap();
    // The same frames by way of another pack.
    assert_eq!(copier.copy(&again, 0).unwrap(), Copied::In);
    assert_eq!(copier.copy(&again, 1).unwrap(), Copied::In);
    assert_eq!(copier.copy(&again, 2).unwrap_err().kind(), Kind::Bug);
    assert_eq!(copier.copy(&source(&owner, &packs[1]), 0).unwrap_err().kind(), Kind::Bug);
    let copied = copier.finish(&owner).unwrap();
    assert_eq!(copied.contents.directory.frames.len(), 2);
    let empty = PackCopier::new(PackKind::Content, 1 << 20, &owner).unwrap();
    assert_eq!(empty.finish(&owner).unwrap_err().kind(), Kind::Bug);
}

#[test]
fn nothing_is_copied_from_bytes_that_are_not_the_packs() {
    let owner = owner();
    let pack = pack(&owner, PackKind::Content, &[&[&noise(3, 2000)]]);
    let mut bytes = pack.bytes.to_vec();
    let middle = pack.contents.directory.frames[0].offset as usize + 100;
    bytes[middle] ^= 1;
    let error = CopySource::read(&pack.pack().id, Bytes::from(bytes), &owner).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
}

#[test]
fn a_key_table_is_never_fuller_than_a_reader_allows() {
    let owner = owner();
    let packs: Vec<_> = (0..KEYS_MAX as u64 + 5)
        .map(|seed| pack(&owner, PackKind::Metadata, &[&[&noise(seed, 20)]]))
        .collect();
    let sources: Vec<_> = packs.iter().map(|pack| source(&owner, pack)).collect();
    let copied = copy_live(&owner, PackKind::Metadata, 1 << 20, &sources, |_, _| true);
    assert_eq!(copied.iter().map(|copy| copy.sources.len()).collect::<Vec<_>>(), [KEYS_MAX - 1, 6]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn copies_give_the_same_chunks(
        is_content: bool,
        frames in prop::collection::vec(prop::collection::vec((any::<u64>(), 1usize..3000), 1..4), 1..12),
        per_pack in 1usize..4,
        live in prop::collection::vec(any::<bool>(), 12),
        target_bytes in 1usize..8000,
    ) {
        let kind = if is_content { PackKind::Content } else { PackKind::Metadata };
        let owner = owner();
        let (keeper, second) = (keeper(&owner), second_writer(&owner));
        let chunks: Vec<Vec<Vec<u8>>> =
            frames.iter().map(|frame| frame.iter().map(|(seed, len)| noise(*seed, *len)).collect()).collect();
        let mut sources = Vec::new();
        let mut expected = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        for (number, part) in chunks.chunks(per_pack).enumerate() {
            let ring = if number % 2 == 0 { &owner } else { &second };
            let borrowed: Vec<Vec<&[u8]>> = part.iter().map(|frame| frame.iter().map(Vec::as_slice).collect()).collect();
            let slices: Vec<&[&[u8]]> = borrowed.iter().map(Vec::as_slice).collect();
            let pack = pack(ring, kind, &slices);
            let all = open_all(&owner, &pack.bytes);
            let source = source(&keeper, &pack);
            for ordinal in 0..source.contents().directory.frames.len() as u32 {
                let is_live = live[(number * per_pack + ordinal as usize) % live.len()];
                wanted.insert((number, ordinal), is_live);
                if is_live {
                    let ids = source.contents().directory.chunks_of(ordinal).iter().map(|chunk| chunk.id);
                    expected.extend(ids.map(|id| (id, all[&id].0.clone())));
                }
            }
            sources.push(source);
        }
        let copied = copy_live(&keeper, kind, target_bytes, &sources, |number, frame| wanted[&(number, frame)]);
        let mut found = BTreeMap::new();
        for copy in &copied {
            prop_assert_eq!(copy.pack().id, PackId::of(&copy.bytes));
            found.extend(open_all(&owner, &copy.bytes).into_iter().map(|(id, (bytes, _))| (id, bytes)));
        }
        prop_assert_eq!(found, expected);
    }
}
