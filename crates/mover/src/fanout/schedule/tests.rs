use proptest::prelude::*;
use shudao_vault::id::ObjectId;

use super::*;

fn name(n: u64) -> Name {
    Name::pack(ObjectId::of(&n.to_le_bytes()))
}

fn numbers(of: impl Iterator<Item = (Name, u64)>) -> Vec<u64> {
    of.map(|(_, bytes)| bytes).collect()
}

/// Two lanes with this many free pieces; their sizes are their numbers.
fn loaded(pieces: u64) -> Schedule {
    let mut schedule = Schedule::new(2);
    for n in 0..pieces {
        assert_eq!(schedule.hand_over(name(n), n, Order::Free), n);
    }
    schedule
}

#[test]
fn every_lane_carries_everything_in_order() {
    let mut schedule = loaded(3);
    for lane in 0..2 {
        for n in 0..3 {
            assert_eq!(schedule.next(lane), Some(n));
            schedule.acknowledge(lane, n);
        }
        assert_eq!(schedule.next(lane), None);
        assert!(!schedule.is_drained(lane));
    }
    schedule.end();
    assert!(schedule.is_drained(0) && schedule.is_drained(1) && schedule.is_all_safe());
    assert_eq!(schedule.take_unwanted(), [0, 1, 2]);
    assert_eq!(schedule.lacking(0).count() + schedule.lacking(1).count(), 0);
}

#[test]
fn a_segment_goes_out_after_all_packs_before_it_were_acknowledged_on_the_same_lane() {
    let mut schedule = loaded(2);
    let segment = schedule.hand_over(name(9), 9, Order::AfterAllBefore);
    assert_eq!((schedule.next(0), schedule.next(0), schedule.next(0)), (Some(0), Some(1), None));
    schedule.acknowledge(0, 0);
    assert_eq!(schedule.next(0), None);
    schedule.acknowledge(0, 1);
    assert_eq!(schedule.next(0), Some(segment));
    assert!(schedule.drop_for_all(1));
    assert_eq!((schedule.next(1), schedule.next(1)), (Some(0), None));
    assert_eq!(numbers(schedule.lacking(1)), [1, 9]);
}

#[test]
fn what_is_safe_and_wanted_last_is_put_aside_first() {
    let mut schedule = loaded(4);
    assert_eq!(schedule.next(1), Some(0));
    for n in 0..4 {
        schedule.next(0);
        schedule.acknowledge(0, n);
    }
    assert_eq!(schedule.overflow(3), None);
    assert_eq!(schedule.overflow(1), Some(3));
    assert_eq!(schedule.overflow(1), Some(2));
    assert_eq!(schedule.overflow(1), None);
    assert!(schedule.drop_for_all(3));
    assert_eq!(numbers(schedule.lacking(1)), [3]);
    assert_eq!(schedule.take_unwanted(), [3]);
}

#[test]
fn a_lane_that_is_given_up_lacks_what_it_has_not_acknowledged_and_what_comes_later() {
    let mut schedule = loaded(3);
    schedule.next(1);
    schedule.next(1);
    schedule.acknowledge(1, 0);
    schedule.close(1);
    schedule.hand_over(name(3), 3, Order::Free);
    assert_eq!(numbers(schedule.lacking(1)), [1, 2, 3]);
    assert!(schedule.can_finish() && schedule.is_drained(1) && !schedule.is_drained(0));
    schedule.close(0);
    assert!(!schedule.can_finish() && !schedule.is_all_safe());
}

#[test]
fn the_last_complete_lane_goes_without_nothing() {
    let mut schedule = loaded(2);
    // Each lane has what the other still waits for.
    schedule.next(0);
    schedule.acknowledge(0, 0);
    assert_eq!((schedule.next(1), schedule.next(1)), (Some(0), Some(1)));
    schedule.acknowledge(1, 1);
    assert_eq!(schedule.overflow(0), Some(1));
    assert!(schedule.drop_for_all(1));
    assert_eq!(numbers(schedule.lacking(0)), [1]);
    let later = schedule.hand_over(name(2), 2, Order::Free);
    assert_eq!(schedule.next(0), Some(later));
    assert!(!schedule.acknowledge(0, later), "a lane that lacks something makes nothing safe");
    assert!(!schedule.is_all_safe());
    assert_eq!(schedule.overflow(0), None);
    assert!(!schedule.drop_for_all(later));
    assert_eq!(schedule.next(1), Some(later));
    assert!(schedule.can_finish());
}

#[derive(Debug, Clone)]
enum Step {
    HandOver(bool),
    Next(usize),
    Acknowledge(usize),
    Overflow(usize),
    Drop,
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::HandOver),
        8 => (0..3_usize).prop_map(Step::Next),
        8 => (0..3_usize).prop_map(Step::Acknowledge),
        2 => (0..3_usize).prop_map(Step::Overflow),
        1 => Just(Step::Drop),
        1 => (1..3_usize).prop_map(Step::Close),
    ]
}

/// What a run sees of a schedule.
struct Run {
    schedule: Schedule,
    acknowledged: Vec<BTreeSet<u64>>,
    in_flight: Vec<BTreeSet<u64>>,
    forgotten: BTreeSet<u64>,
    aside: Option<u64>,
    count: u64,
}

impl Run {
    fn has(&self, number: u64) -> bool {
        self.acknowledged.iter().any(|lane| lane.contains(&number))
    }

    fn carry(&mut self, lane: usize) {
        if let Some(number) = self.schedule.next(lane) {
            assert!(!self.forgotten.contains(&number), "its bytes are gone");
            self.in_flight[lane].insert(number);
        }
    }

    fn acknowledge(&mut self, lane: usize) -> bool {
        let Some(number) = self.in_flight[lane].pop_first() else { return false };
        self.schedule.acknowledge(lane, number);
        self.acknowledged[lane].insert(number);
        true
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::HandOver(is_segment) => {
                let order = if is_segment { Order::AfterAllBefore } else { Order::Free };
                self.schedule.hand_over(name(self.count), self.count, order);
                self.count += 1;
            }
            Step::Next(lane) => self.carry(lane),
            Step::Acknowledge(lane) => drop(self.acknowledge(lane)),
            Step::Overflow(max) => {
                if let Some(number) = self.schedule.overflow(max) {
                    assert!(self.has(number), "what is put aside is safe");
                    self.aside = Some(number);
                }
            }
            Step::Drop => {
                if let Some(number) = self.aside.take() {
                    self.schedule.drop_for_all(number);
                }
            }
            Step::Close(lane) => {
                self.schedule.close(lane);
                self.in_flight[lane].clear();
            }
        }
        self.forgotten.extend(self.schedule.take_unwanted());
    }
}

proptest! {
    /// Whatever happens to the others, while one lane is never closed: no bytes are forgotten that somebody may still ask
    /// for, each lane has each piece acknowledged or lacking in the end, and as long as a run can finish, a lane that
    /// lacks nothing has everything.
    #[test]
    fn every_piece_is_accounted_for_on_every_lane(steps in prop::collection::vec(step(), 0..200)) {
        let mut run = Run {
            schedule: Schedule::new(3),
            acknowledged: vec![BTreeSet::new(); 3],
            in_flight: vec![BTreeSet::new(); 3],
            forgotten: BTreeSet::new(),
            aside: None,
            count: 0,
        };
        let mut closed = false;
        for step in steps {
            closed |= matches!(step, Step::Close(_));
            run.take(step);
            prop_assert!(closed || run.schedule.can_finish());
        }
        run.schedule.end();
        for lane in 0..3 {
            loop {
                run.carry(lane);
                if !run.acknowledge(lane) {
                    break;
                }
            }
            prop_assert!(run.schedule.is_drained(lane));
            let lacking: BTreeSet<u64> = run.schedule.lacking(lane).map(|(_, number)| number).collect();
            prop_assert!(lacking.is_disjoint(&run.acknowledged[lane]));
            prop_assert_eq!(lacking.len() + run.acknowledged[lane].len(), run.count as usize);
        }
        let is_whole = run.acknowledged.iter().any(|lane| lane.len() as u64 == run.count);
        prop_assert_eq!(run.schedule.can_finish() && !run.schedule.is_all_safe(), false);
        prop_assert!(!run.schedule.can_finish() || is_whole);
    }
}
