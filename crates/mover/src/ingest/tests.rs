use std::collections::BTreeSet;
use std::thread;

use shudao_vault::id::VaultId;
use shudao_vault::keys::Role;
use shudao_vault::pack::FinishedPack;

use super::*;

const VAULT: VaultId = VaultId([7; 16]);

fn ingest_of(ring: &KeyRing, pack_bytes_target: usize) -> (Ingest, SealQueue) {
    let context = IngestContext {
        ring: Arc::new(ring.clone()),
        index: Arc::new(Index::in_memory(VAULT)),
        reliance: Reliance::new(Vec::new(), vec![ring.writer_id()]),
        presence: None,
        shares: crate::budget::usual(),
        compression: Compression::Fast,
        pack_bytes_target,
        dry_run: false,
        journal: None,
    };
    Ingest::new(context, Arc::default())
}

/// Runs two sealers and these offers, then closes and flushes; returns the packs.
fn run(ingest: &Ingest, queue: &SealQueue, offers: impl FnOnce(&Ingest)) -> Result<Vec<FinishedPack>> {
    let (packs, mut waiting) = mpsc::channel::<Parcel>(1);
    let uploader = thread::spawn(move || {
        let mut stored = Vec::new();
        while let Some(parcel) = waiting.blocking_recv() {
            stored.push(parcel.pack);
        }
        stored
    });
    let closed = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| ingest.seal_until_closed(queue, &packs));
        }
        offers(ingest);
        ingest.close()
    });
    let flushed = closed.and_then(|()| ingest.flush(&packs));
    drop(packs);
    let stored = uploader.join().unwrap();
    flushed.map(|()| stored)
}

fn bytes_of(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_derive_key("ingest test")
        .update(&number.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

#[test]
fn chunks_that_many_threads_offer_are_stored_once_and_every_pack_is_counted() {
    let (ingest, queue) = ingest_of(&KeyRing::create(VAULT), 300 << 10);
    let packs = run(&ingest, &queue, |ingest| {
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..200 {
                        let bytes = bytes_of((number * 7 + thread * 50) % 200, 10_000);
                        ingest.offer(ChunkSpace::Content, &Digest::of(&bytes), &bytes).unwrap();
                        ingest.offer(ChunkSpace::Metadata, &Digest::of(&bytes), &bytes).unwrap();
                    }
                });
            }
        });
    })
    .unwrap();
    let chunks: Vec<ChunkId> =
        packs.iter().flat_map(|pack| &pack.contents.directory.chunks).map(|chunk| chunk.id).collect();
    assert_eq!(chunks.len(), 400);
    assert_eq!(chunks.iter().collect::<BTreeSet<_>>().len(), 400);
    let counts = ingest.counts();
    assert!(packs.len() >= 4);
    assert_eq!(counts.packs(), packs.iter().map(|pack| pack.pack().id).collect());
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 4 * 200 * 2);
}

#[test]
fn a_chunk_of_this_run_is_known_and_its_pack_counted_before_and_after_it_is_packed() {
    let (ingest, queue) = ingest_of(&KeyRing::create(VAULT), 1);
    let bytes = bytes_of(1, 100);
    let digest = Digest::of(&bytes);
    let packs = run(&ingest, &queue, |ingest| {
        assert!(!ingest.knows(ChunkSpace::Content, &digest).unwrap());
        ingest.offer(ChunkSpace::Content, &digest, &bytes).unwrap();
        assert!(ingest.knows(ChunkSpace::Content, &digest).unwrap());
        assert!(!ingest.knows(ChunkSpace::Metadata, &digest).unwrap());
        assert!(ingest.refer_known(ChunkSpace::Content, &digest, 100).unwrap());
    })
    .unwrap();
    assert!(ingest.refer_known(ChunkSpace::Content, &digest, 100).unwrap());
    let counts: Vec<_> = ingest.counts().iter().collect();
    assert_eq!(counts, [(packs[0].pack().id, 3)]);
}

#[test]
fn as_many_tiny_chunks_as_anyone_has_fit_into_packs() {
    let (ingest, queue) = ingest_of(&KeyRing::create(VAULT), 32 << 20);
    let packs = run(&ingest, &queue, |ingest| {
        for number in 0..70_000_u32 {
            let bytes = &number.to_le_bytes()[..3];
            ingest.offer(ChunkSpace::Content, &Digest::of(bytes), bytes).unwrap();
        }
    })
    .unwrap();
    let chunks: usize = packs.iter().map(|pack| pack.contents.directory.chunks.len()).sum();
    assert_eq!(chunks, 70_000);
}

#[test]
fn a_sealer_that_fails_keeps_nobody_waiting_and_its_cause_is_kept() {
    let mut ring = KeyRing::create(VAULT).issue(Role::Writer, &[]).unwrap();
    // Without a tree key no node can be sealed.
    ring.trees.clear();
    let (ingest, queue) = ingest_of(&ring, 32 << 20);
    let failed = run(&ingest, &queue, |ingest| {
        thread::scope(|scope| {
            for thread in 0..8_u32 {
                scope.spawn(move || {
                    let offer = |number| {
                        let bytes = bytes_of(thread * 100 + number, 900 << 10);
                        ingest.offer(ChunkSpace::Metadata, &Digest::of(&bytes), &bytes)
                    };
                    assert_eq!((0..20).find_map(|n| offer(n).err()).unwrap().kind(), Kind::Unavailable);
                });
            }
        });
    });
    assert_eq!(failed.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(ingest.take_failure().unwrap().kind(), Kind::Forbidden);
}

#[test]
fn an_uploader_that_is_gone_keeps_nobody_waiting() {
    let (ingest, queue) = ingest_of(&KeyRing::create(VAULT), 1);
    let (packs, waiting) = mpsc::channel::<Parcel>(1);
    drop(waiting);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| ingest.seal_until_closed(&queue, &packs));
        }
        for thread in 0..6_u32 {
            let ingest = &ingest;
            scope.spawn(move || {
                let offer = |number| {
                    let bytes = bytes_of(thread * 100 + number, 900 << 10);
                    ingest.offer(ChunkSpace::Content, &Digest::of(&bytes), &bytes)
                };
                assert!((0..20).any(|number| offer(number).is_err()));
            });
        }
    });
    assert!(ingest.flush(&packs).is_err());
}

#[test]
fn a_sealer_that_panics_fails_the_run_and_keeps_nobody_waiting() {
    let (ingest, queue) = ingest_of(&KeyRing::create(VAULT), 1);
    thread::scope(|scope| {
        let sealer = scope.spawn(|| {
            let _drain = Drain { ingest: &ingest, queue: &queue };
            panic!("as a codec may");
        });
        for number in 0..20 {
            let bytes = bytes_of(number, 900 << 10);
            if ingest.offer(ChunkSpace::Content, &Digest::of(&bytes), &bytes).is_err() {
                break;
            }
        }
        drop(ingest.close());
        assert!(sealer.join().is_err());
    });
    assert_eq!(ingest.take_failure().unwrap().kind(), Kind::Bug);
}

#[test]
fn a_chunk_that_came_into_no_pack_is_noticed_before_the_commit() {
    let (ingest, _queue) = ingest_of(&KeyRing::create(VAULT), 1);
    let (packs, _waiting) = mpsc::channel::<Parcel>(1);
    ingest.offer(ChunkSpace::Content, &Digest::of(b"lost"), b"lost").unwrap();
    ingest.abandon().unwrap();
    assert_eq!(ingest.flush(&packs).unwrap_err().kind(), Kind::Bug);
}

#[test]
fn the_first_failure_is_the_one_that_is_kept() {
    let (ingest, _queue) = ingest_of(&KeyRing::create(VAULT), 1);
    ingest.check().unwrap();
    ingest.fail(Error::new(Kind::Full, "first"));
    ingest.fail(Error::new(Kind::Bug, "second"));
    assert_eq!(ingest.check().unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(ingest.check().unwrap_err().kind(), Kind::Unavailable, "looking does not take it away");
    assert_eq!(ingest.take_failure().unwrap().kind(), Kind::Full);
}
