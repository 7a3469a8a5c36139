//! A bounded cache of pages, shared by all runs and by several threads. Replacement is second chance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::record::{PAGE_BYTES, Page};
use crate::error::Result;

const SHARDS: usize = 16;

/// Names a page: the run's number and the page's.
type PageName = (u64, u64);

#[derive(Debug)]
struct Slot {
    name: PageName,
    page: Arc<Page>,
    used: bool,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    by_name: HashMap<PageName, usize>,
    hand: usize,
}

impl Shard {
    fn get(&mut self, name: PageName) -> Option<Arc<Page>> {
        let slot = &mut self.slots[*self.by_name.get(&name)?];
        slot.used = true;
        Some(Arc::clone(&slot.page))
    }

    fn insert(&mut self, name: PageName, page: Arc<Page>, capacity: usize) {
        if self.by_name.contains_key(&name) {
            return;
        }
        if self.slots.len() < capacity {
            self.by_name.insert(name, self.slots.len());
            self.slots.push(Slot { name, page, used: false });
            return;
        }
        while self.slots[self.hand].used {
            self.slots[self.hand].used = false;
            self.hand = (self.hand + 1) % self.slots.len();
        }
        let slot = &mut self.slots[self.hand];
        self.by_name.remove(&slot.name);
        self.by_name.insert(name, self.hand);
        *slot = Slot { name, page, used: false };
        self.hand = (self.hand + 1) % self.slots.len();
    }
}

/// Pages of runs in memory, within a budget.
#[derive(Debug)]
pub(super) struct PageCache {
    shards: Vec<Mutex<Shard>>,
    shard_pages: usize,
}

impl PageCache {
    /// A cache of about `budget_bytes`; at least one page a shard.
    pub(super) fn new(budget_bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_pages: (budget_bytes / PAGE_BYTES / SHARDS).max(1) }
    }

    /// The page, read by `read` where it is not here. Reading holds no lock.
    pub(super) fn get(
        &self,
        name: PageName,
        read: impl FnOnce(&mut Page) -> Result<()>,
    ) -> Result<Arc<Page>> {
        let shard = &self.shards[(name.0.wrapping_mul(31).wrapping_add(name.1) % SHARDS as u64) as usize];
        let lock = || shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = lock().get(name) {
            return Ok(page);
        }
        let mut page = [0; PAGE_BYTES];
        read(&mut page)?;
        let page = Arc::new(page);
        lock().insert(name, Arc::clone(&page), self.shard_pages);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_what_was_read_and_the_budget_holds() {
        let cache = PageCache::new(SHARDS * 4 * PAGE_BYTES);
        let mut reads = 0;
        for round in 0..3 {
            for number in 0..1000u64 {
                let page = cache
                    .get((7, number), |page| {
                        reads += 1;
                        page[..8].copy_from_slice(&number.to_le_bytes());
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(page[..8], number.to_le_bytes(), "round {round}");
                cache.get((7, number), |_| panic!("just read")).unwrap();
            }
        }
        assert!(reads > 1000);
        let held: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().slots.len()).sum();
        assert_eq!(held, SHARDS * 4);
    }
}
