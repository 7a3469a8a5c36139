use std::sync::atomic::{AtomicBool, Ordering};

use shudao_vault::id::VaultId;

use super::*;

fn lane(bytes_target: usize) -> Lane {
    let options = LaneOptions { kind: PackKind::Content, bytes_target, packs_max: 2 };
    Lane::new(options, Arc::new(KeyRing::create(VaultId([1; 16]))))
}

fn fill(lane: &Lane, seat: Seat, byte: u8) -> Option<Parcel> {
    let id = lane
        .ring
        .chunk_id(shudao_vault::keys::ring::ChunkSpace::Content, &shudao_vault::id::Digest::of(&[byte]));
    seat.fill(&[byte], vec![(id, 1)], Compression::Fast, &mut Scratch::new()).unwrap()
}

#[test]
fn seats_are_filled_in_any_order_and_the_last_one_finishes_the_pack() {
    let lane = lane(4096);
    let seats: Vec<Seat> = (0..3).map(|_| lane.reserve(1, 1).unwrap().0).collect();
    let mut numbered: Vec<(u8, Seat)> = (0..).zip(seats).collect();
    let (_, last) = numbered.remove(0);
    for (byte, seat) in numbered.into_iter().rev() {
        assert!(fill(&lane, seat, byte).is_none());
    }
    // No room for this one: the pack gives no more seats, but waits for its last one.
    let (big, closed) = lane.reserve(5000, 1).unwrap();
    assert!(closed.is_none());
    let finished = fill(&lane, last, 0).unwrap();
    assert_eq!(finished.pack.contents.directory.frames.len(), 3);
    finished.pack.verify(&lane.ring, &mut Scratch::new()).unwrap();
    drop(big);
}

#[test]
fn a_pack_whose_seats_are_all_filled_is_finished_by_whoever_finds_it_full() {
    let lane = lane(1);
    let (seat, closed) = lane.reserve(1, 1).unwrap();
    assert!(closed.is_none() && fill(&lane, seat, 1).is_none());
    let (seat, closed) = lane.reserve(1, 1).unwrap();
    assert_eq!(closed.unwrap().pack.contents.directory.frames.len(), 1);
    assert!(fill(&lane, seat, 2).is_none());
    assert_eq!(lane.close().unwrap().unwrap().pack.contents.directory.frames.len(), 1);
    assert!(lane.close().unwrap().is_none());
}

#[test]
fn a_seat_that_is_never_filled_is_an_error_at_the_end() {
    let lane = lane(4096);
    drop(lane.reserve(1, 1).unwrap());
    assert_eq!(lane.close().err().unwrap().kind(), Kind::Bug);
}

#[test]
fn a_new_pack_waits_until_an_earlier_one_is_let_go() {
    let lane = lane(1);
    let (first, _) = lane.reserve(1, 1).unwrap();
    assert!(fill(&lane, first, 1).is_none());
    let (second, finished) = lane.reserve(1, 1).unwrap();
    assert!(fill(&lane, second, 2).is_none());
    let let_go = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let (_, closed) = lane.reserve(1, 1).unwrap();
            assert!(let_go.load(Ordering::SeqCst), "a third pack was begun while two were held");
            closed.unwrap()
        });
        let_go.store(true, Ordering::SeqCst);
        drop(finished.unwrap());
        assert_eq!(waiting.join().unwrap().pack.contents.directory.chunks.len(), 1);
    });
}
