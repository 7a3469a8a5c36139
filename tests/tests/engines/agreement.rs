//! The mover's scan and the verifier's reader were written apart; they must see the same tree.

use shudao_tests::oddities::plant;
use shudao_verify::live::{Live, LiveOptions, LiveTree, Skipped};
use tempfile::TempDir;

use crate::place::{Place, back_up, entries};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_stored_of_every_oddity_is_what_the_verifier_reads() {
    let home = TempDir::new().unwrap();
    let planted = plant(home.path());
    let mut place = Place::new().await;
    let summary = back_up(&mut place.owner, "oddities", home.path()).await;
    let stored = entries(&place.owner, &summary.snapshot.unwrap()).await;

    let mut live = Vec::new();
    let mut sockets = 0;
    let mut hasher = shudao_vault::roots::RootHasher::new();
    for found in LiveTree::read(&[home.path()], &LiveOptions::default()).unwrap() {
        match found {
            Live::Entry(portable) => {
                hasher.push(&portable).unwrap();
                live.push(portable);
            }
            Live::Skipped { why: Skipped::Socket, .. } => sockets += 1,
            other => panic!("{other:?}"),
        }
    }
    for (stored, live) in stored.iter().zip(&live) {
        assert_eq!(stored, live);
    }
    assert_eq!(stored.len(), live.len());
    assert!(stored.len() > 400, "the tree holds all its oddities: {}", stored.len());
    assert_eq!((sockets, summary.counts.sockets), (planted.sockets, planted.sockets));
    let roots = hasher.finish();
    assert_eq!((summary.manifest_root, summary.content_root), (roots.manifest, roots.content));
}
