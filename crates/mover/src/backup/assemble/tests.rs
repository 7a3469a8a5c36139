use std::cell::Cell;
use std::fs;

use crossbeam_channel::bounded;
use shudao_vault::entry::{Extent, Extents};
use shudao_vault::frame::Compression;
use shudao_vault::id::{Digest, VaultId};
use shudao_vault::index::Index;
use shudao_vault::keys::KeyRing;
use shudao_vault::reliance::Reliance;

use super::*;
use crate::ingest::IngestContext;
use crate::source::{ScanOptions, Scanned, scan};

fn ingest(ring: &KeyRing) -> Ingest {
    let context = IngestContext {
        ring: Arc::new(ring.clone()),
        index: Arc::new(Index::in_memory(ring.vault)),
        reliance: Reliance::new(Vec::new(), Vec::new()),
        presence: None,
        shares: crate::budget::usual(),
        compression: Compression::Fast,
        pack_bytes_target: 1 << 20,
        dry_run: true,
        journal: None,
    };
    Ingest::new(context, Arc::default()).0
}

/// The root, `a`, another file `b`, and `z`, which is `a` once more.
fn founds() -> [Found; 4] {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), "content").unwrap();
    fs::write(source.path().join("b"), "another").unwrap();
    fs::hard_link(source.path().join("a"), source.path().join("z")).unwrap();
    let options = ScanOptions { roots: vec![source.path().to_owned()], ..ScanOptions::default() };
    let founds: Vec<Found> = scan(options)
        .unwrap()
        .map(|scanned| match scanned {
            Scanned::Found(found) => *found,
            other => panic!("{other:?}"),
        })
        .collect();
    founds.try_into().unwrap()
}

fn outcome(found: &Found, bytes: &[u8]) -> Outcome {
    let (size, digest) = (bytes.len() as u64, Digest::of(bytes));
    let extents = Extents::Inline(vec![Extent::Data { digest, length: bytes.len() as u32 }]);
    let content = Content { size, digest, extents, profile: 1 };
    Outcome::Content { found: Arc::new(found.clone()), content, torn: false }
}

/// Stores `a` as this outcome, then `z` as a link; returns how often `z` was read, and the group's entry after `a`
/// and after `z`.
fn link(
    a: &Found,
    first: Outcome,
    z: &Found,
    second: &[u8],
    root: &Found,
) -> (u32, Option<Entry>, Option<Entry>) {
    let ring = KeyRing::create(VaultId([1; 16]));
    let (ingest, progress, reads) = (ingest(&ring), BackupProgress::default(), Cell::new(0));
    let tree = TreeBuilder::new(ring.boundary.as_ref().unwrap());
    let mut assembler = Assembler::new(&ingest, &progress, tree);
    let read_inline = |found: &Arc<Found>| {
        reads.set(reads.get() + 1);
        Ok(outcome(found, second))
    };
    let inode = (a.device, a.inode);
    let (sender, receiver) = bounded(1);
    sender.send(first).ok().unwrap();
    let group_of = |assembler: &Assembler<'_>| assembler.groups.get(&inode).map(|group| group.0.clone());
    let entry = Box::new(entry_of(root, None, &ingest).unwrap());
    assembler.take(Slot::Ready { entry, group: None, read: Read::Nothing }, &read_inline).unwrap();
    assembler
        .take(Slot::Reading { outcome: receiver, group: Some(inode), had_parent: false }, &read_inline)
        .unwrap();
    let after_first = group_of(&assembler);
    let linked = |is_last| Slot::Linked { found: Arc::new(z.clone()), inode, is_last };
    assembler.take(linked(false), &read_inline).unwrap();
    let after_second = group_of(&assembler);
    assert_eq!(assembler.summary.counts.files, 2);
    (reads.get(), after_first, after_second)
}

#[test]
fn a_further_name_is_stored_unread_as_what_the_first_one_was() {
    let [root, a, _, z] = founds();
    let (reads, first, second) = link(&a, outcome(&a, b"content"), &z, b"content", &root);
    assert_eq!(reads, 0);
    assert_eq!(first, second);
}

#[test]
fn a_file_that_took_the_first_names_place_gives_its_content_to_no_other_name() {
    let [root, a, mut replaced, z] = founds();
    replaced.path = a.path.clone();
    let (reads, first, second) = link(&a, outcome(&replaced, b"another"), &z, b"content", &root);
    assert_eq!((reads, first), (1, None));
    let stored = second.unwrap();
    assert_eq!(stored.path(), &z.path);
    assert_eq!(stored.portable.node, Node::File { size: 7, digest: Digest::of(b"content") });
}

#[test]
fn a_name_whose_inode_was_changed_meanwhile_is_read_and_stands_for_itself() {
    let [root, a, _, mut z] = founds();
    z.ctime.seconds += 1;
    let (reads, _, second) = link(&a, outcome(&a, b"content"), &z, b"changed", &root);
    let stored = second.unwrap();
    assert_eq!((reads, stored.path()), (1, &z.path));
    assert_eq!((stored.local.ctime, stored.portable.first_link), (z.ctime, None));
    // Had only its times changed, it would still be a link, with the times that belong to what was stored.
    let (reads, first, second) = link(&a, outcome(&a, b"content"), &z, b"content", &root);
    assert_eq!((reads, first), (1, second));
}
