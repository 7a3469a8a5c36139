//! Who is to carry what, and what must make way. Pure: no bytes, no time.
//!
//! Cargo is numbered in the order in which it is handed over and offered to every lane in that order. A lane is *complete*
//! while it lacks nothing. Cargo is *safe* once a complete lane has acknowledged it. Safe cargo that another lane still
//! waits for lingers in memory, up to a bound; beyond it the piece that will be wanted last is put aside, and where there
//! is no room for that, the lanes that wait for it go without: it is *lacking* there. The last complete lane never goes
//! without anything, so that one replica has all that the others lack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shudao_vault::name::Name;

/// The number of a piece of cargo.
pub(super) type Number = u64;

/// What may go out when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// At any time.
    Free,
    /// When everything before it was acknowledged on the same lane: a segment, which speaks of packs before it.
    AfterAllBefore,
}

/// The state of all lanes.
#[derive(Debug)]
pub(super) struct Schedule {
    lanes: Vec<Lane>,
    cargo: BTreeMap<Number, Cargo>,
    names: Vec<(Name, u64)>,
    unsafe_ones: BTreeSet<Number>,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Number>,
    in_flight: BTreeSet<Number>,
    lacking: BTreeSet<Number>,
    is_closed: bool,
}

#[derive(Debug)]
struct Cargo {
    order: Order,
    is_aside: bool,
}

impl Lane {
    fn is_complete(&self) -> bool {
        !self.is_closed && self.lacking.is_empty()
    }
}

impl Schedule {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self {
            lanes,
            cargo: BTreeMap::new(),
            names: Vec::new(),
            unsafe_ones: BTreeSet::new(),
            has_ended: false,
        }
    }

    /// Offers a piece of `bytes` bytes to every lane.
    pub(super) fn hand_over(&mut self, name: Name, bytes: u64, order: Order) -> Number {
        let number = self.names.len() as Number;
        self.names.push((name, bytes));
        self.unsafe_ones.insert(number);
        self.cargo.insert(number, Cargo { order, is_aside: false });
        for lane in &mut self.lanes {
            if lane.is_closed {
                lane.lacking.insert(number);
            } else {
                lane.queue.push_back(number);
            }
        }
        number
    }

    /// Nothing more is handed over.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next piece for a lane to carry, which is then in flight there.
    pub(super) fn next(&mut self, lane: usize) -> Option<Number> {
        let lane = &mut self.lanes[lane];
        while let Some(number) = lane.queue.front().copied() {
            let order = self.cargo.get(&number).map_or(Order::Free, |cargo| cargo.order);
            if order == Order::AfterAllBefore {
                if !lane.lacking.is_empty() {
                    lane.queue.pop_front();
                    lane.lacking.insert(number);
                    continue;
                }
                if !lane.in_flight.is_empty() {
                    return None;
                }
            }
            lane.queue.pop_front();
            lane.in_flight.insert(number);
            return Some(number);
        }
        None
    }

    /// A lane's store has acknowledged a piece; returns whether that made the piece safe.
    pub(super) fn acknowledge(&mut self, lane: usize, number: Number) -> bool {
        self.lanes[lane].in_flight.remove(&number);
        self.lanes[lane].is_complete() && self.unsafe_ones.remove(&number)
    }

    /// A lane cannot carry a piece any more, because its bytes are gone: it must be copied there later.
    pub(super) fn lack(&mut self, lane: usize, number: Number) {
        let lane = &mut self.lanes[lane];
        lane.in_flight.remove(&number);
        lane.lacking.insert(number);
    }

    /// A lane is given up: all that it has not acknowledged is lacking there.
    pub(super) fn close(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.is_closed = true;
        lane.lacking.extend(lane.queue.drain(..));
        lane.lacking.append(&mut lane.in_flight);
    }

    /// The piece to put aside while more than `lingering_max` safe ones wait in memory that nobody carries at the moment:
    /// the one that will be wanted last. It counts as put aside from now on.
    pub(super) fn overflow(&mut self, lingering_max: usize) -> Option<Number> {
        let is_carried = |number: &Number| self.lanes.iter().any(|lane| lane.in_flight.contains(number));
        let lingers = |(number, cargo): &(&Number, &Cargo)| {
            !cargo.is_aside && !self.unsafe_ones.contains(*number) && !is_carried(number)
        };
        if self.cargo.iter().filter(lingers).count() <= lingering_max {
            return None;
        }
        let number = self.cargo.iter().rev().find(lingers).map(|(number, _)| *number)?;
        if let Some(cargo) = self.cargo.get_mut(&number) {
            cargo.is_aside = true;
        }
        Some(number)
    }

    /// There was no room to put a piece aside: whoever still waits for it goes without. False, and nothing is done, where
    /// no complete lane would be left: the piece stays in memory.
    pub(super) fn drop_for_all(&mut self, number: Number) -> bool {
        let goes_without = |lane: &Lane| lane.queue.binary_search(&number).is_ok();
        if !self.lanes.iter().any(|lane| lane.is_complete() && !goes_without(lane)) {
            if let Some(cargo) = self.cargo.get_mut(&number) {
                cargo.is_aside = false;
            }
            return false;
        }
        for lane in &mut self.lanes {
            if let Ok(place) = lane.queue.binary_search(&number) {
                lane.queue.remove(place);
                lane.lacking.insert(number);
            }
        }
        true
    }

    /// The pieces whose bytes nobody wants any more; they are forgotten.
    pub(super) fn take_unwanted(&mut self) -> Vec<Number> {
        let is_wanted = |number: &Number| {
            self.lanes
                .iter()
                .any(|lane| lane.in_flight.contains(number) || lane.queue.binary_search(number).is_ok())
        };
        let unwanted: Vec<Number> = self.cargo.keys().filter(|number| !is_wanted(number)).copied().collect();
        for number in &unwanted {
            self.cargo.remove(number);
        }
        unwanted
    }

    /// Whether everything handed over so far is safe.
    pub(super) fn is_all_safe(&self) -> bool {
        self.unsafe_ones.is_empty()
    }

    /// Whether a lane has nothing left to carry and will get nothing more.
    pub(super) fn is_drained(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        lane.is_closed || (self.has_ended && lane.queue.is_empty() && lane.in_flight.is_empty())
    }

    /// Whether any lane is complete, so that some replica can have everything in the end.
    pub(super) fn can_finish(&self) -> bool {
        self.lanes.iter().any(Lane::is_complete)
    }

    /// What a lane lacks, in the order of being handed over, with its bytes.
    pub(super) fn lacking(&self, lane: usize) -> impl Iterator<Item = (Name, u64)> {
        self.lanes[lane].lacking.iter().map(|number| self.names[*number as usize])
    }

    /// Everything handed over, in order.
    pub(super) fn names(&self) -> &[(Name, u64)] {
        &self.names
    }
}

#[cfg(test)]
mod tests;
