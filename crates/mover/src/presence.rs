//! Whether packs of earlier sessions are where the logs say.
//!
//! A segment that a courier brought may speak of packs that were not brought with it, because no snapshot that was brought needs
//! them. What such a pack holds is as good as absent, and that must be known before a run relies on it, not at its commit. So
//! each pack is looked for once, when something in it is first referred to. Not looked for is what serves the parent: a
//! snapshot is visible only where everything that it needs is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use shudao_vault::id::PackId;
use shudao_vault::name::Name;
use shudao_vault::objects::Objects;
use tokio::runtime::Handle;

use crate::ingest::lock;

/// Looks for packs, and remembers.
pub struct Presence {
    runtime: Handle,
    replicas: Vec<Member>,
    /// Where each pack was found that was looked for; empty: nowhere.
    looked: Mutex<HashMap<PackId, Vec<usize>>>,
}

struct Member {
    objects: Objects,
    served: BTreeSet<PackId>,
    /// It gave no answer, and is not asked before it has given one.
    is_silent: AtomicBool,
}

impl Presence {
    /// On these replicas, of which each has what it serves of the parent. `runtime` drives the stores.
    pub fn new(replicas: impl IntoIterator<Item = (Objects, BTreeSet<PackId>)>, runtime: Handle) -> Self {
        let member = |(objects, served)| Member { objects, served, is_silent: AtomicBool::new(false) };
        let replicas = replicas.into_iter().map(member).collect();
        Self { runtime, replicas, looked: Mutex::default() }
    }

    /// The replicas among `holders`, those whose logs say that they have the pack, of which it is certain: all that serve it to
    /// the parent, or else the first on which it is found. One that gives no answer counts as one that has not got it. Blocks:
    /// call it on a thread that may block.
    pub fn find(&self, pack: PackId, holders: &[usize]) -> Vec<usize> {
        let serves = |place: &&usize| self.replicas.get(**place).is_some_and(|at| at.served.contains(&pack));
        let serving: Vec<usize> = holders.iter().filter(serves).copied().collect();
        if !serving.is_empty() {
            return serving;
        }
        if let Some(found) = lock(&self.looked).get(&pack) {
            return found.iter().filter(|place| holders.contains(place)).copied().collect();
        }
        // Two threads may look for the same pack at the same time: that costs a request.
        let found: Vec<usize> =
            holders.iter().find(|place| self.look(**place, pack)).copied().into_iter().collect();
        lock(&self.looked).insert(pack, found.clone());
        found
    }

    fn look(&self, place: usize, pack: PackId) -> bool {
        let Some(member) = self.replicas.get(place) else { return false };
        if member.is_silent.load(Ordering::Relaxed) {
            return false;
        }
        match self.runtime.block_on(member.objects.size(&Name::pack(pack))) {
            Ok(size) => size.is_some(),
            Err(_) => {
                member.is_silent.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Takes note that a replica answers.
    pub fn answered(&self, place: usize) {
        if let Some(member) = self.replicas.get(place) {
            member.is_silent.store(false, Ordering::Relaxed);
        }
    }

    /// The packs that were looked for and found on a replica.
    pub fn found_on(&self, place: usize) -> Vec<PackId> {
        let looked = lock(&self.looked);
        looked.iter().filter(|(_, found)| found.contains(&place)).map(|(pack, _)| *pack).collect()
    }
}
