//! What a listing of a replica shows. A hint, never evidence.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Amount;
use crate::id::{ObjectId, PackId, SessionId, Timestamp};
use crate::log::State;
use crate::name::{Area, Name};

/// A writer's clock may be ahead of the store's by this much (one hour).
const CLOCKS_MICROS: i64 = 3600 * 1_000_000;

/// An object of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: Name,
    /// The sweep that its key speaks of.
    pub swept: Option<u64>,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written, by the store's clock, where it tells.
    pub modified: Option<Timestamp>,
}

/// Where an object that nobody needs comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// A session that has ended: it is waste.
    Committed,
    /// Unknown, and not from before this time: perhaps from a session that is still open.
    Since(Option<Timestamp>),
}

/// A listing, and what segments say of it.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// Ascending.
    objects: Vec<Stored>,
    /// Packs that live segments name: a commit stands behind them.
    committed: BTreeSet<PackId>,
    signs_of_life: BTreeMap<SessionId, Timestamp>,
    /// Checkpoints by key.
    session_files: BTreeMap<String, (SessionId, u64)>,
}

impl Stock {
    /// The objects of a listing.
    pub fn new(objects: impl IntoIterator<Item = Stored>) -> Self {
        let mut objects: Vec<Stored> = objects.into_iter().collect();
        objects.sort_unstable();
        Self { objects, ..Self::default() }
    }

    /// Takes note of the packs that live segments name.
    #[must_use]
    pub fn with_committed(mut self, packs: impl IntoIterator<Item = PackId>) -> Self {
        self.committed.extend(packs);
        self
    }

    /// Takes note of a session's checkpoint, and of when it was written where that is known.
    pub fn add_session_file(
        &mut self,
        session: SessionId,
        key: String,
        bytes: u64,
        modified: Option<Timestamp>,
    ) {
        self.session_files.insert(key, (session, bytes));
        if let Some(time) = modified {
            let latest = self.signs_of_life.entry(session).or_insert(time);
            *latest = time.max(*latest);
        }
    }

    /// All objects, ascending.
    pub fn objects(&self) -> &[Stored] {
        &self.objects
    }

    /// The keys of checkpoints, and whose they are.
    pub fn session_files(&self) -> impl Iterator<Item = (&SessionId, &str)> {
        self.session_files.iter().map(|(key, (session, _))| (session, key.as_str()))
    }

    /// How many objects, and how many bytes.
    pub fn amount(&self) -> Amount {
        let bytes = self.objects.iter().map(|object| object.bytes).sum();
        Amount { objects: self.objects.len() as u64, bytes }
    }

    /// The bytes of an object under the key of this sweep.
    pub fn bytes_of(&self, name: &Name, swept: Option<u64>) -> Option<u64> {
        self.position(name, swept).map(|at| self.objects[at].bytes)
    }

    /// The bytes at a key.
    pub fn bytes_at(&self, key: &str) -> Option<u64> {
        match Name::of_key(key) {
            Some((name, swept)) => self.bytes_of(&name, swept),
            None => self.session_files.get(key).map(|(_, bytes)| *bytes),
        }
    }

    /// Takes out what was deleted.
    pub fn remove(&mut self, keys: &BTreeSet<String>) {
        self.objects.retain(|object| !keys.contains(&object.name.key(object.swept)));
        self.session_files.retain(|key, _| !keys.contains(key));
    }

    /// Takes in what was written.
    pub fn add(&mut self, objects: Vec<Stored>) {
        self.objects.extend(objects);
        self.objects.sort_unstable();
        self.objects.dedup();
    }

    fn position(&self, name: &Name, swept: Option<u64>) -> Option<usize> {
        self.objects.binary_search_by(|object| (object.name, object.swept).cmp(&(*name, swept))).ok()
    }

    /// When an open session last showed that it lives, other than in the log.
    pub fn sign_of_life(&self, session: &SessionId) -> Option<Timestamp> {
        self.signs_of_life.get(session).copied()
    }

    /// Where an unneeded object comes from.
    pub fn stray(&self, object: &Stored, state: &State) -> Stray {
        let id: &ObjectId = &object.name.id;
        let committed = match object.name.area {
            Area::Pack => self.committed.contains(id),
            Area::Index => state.is_segment_live(id),
            Area::Snapshot => state.forgotten().contains(id),
        };
        if committed {
            return Stray::Committed;
        }
        Stray::Since(object.modified.map(|time| Timestamp(time.0.saturating_add(CLOCKS_MICROS))))
    }
}
