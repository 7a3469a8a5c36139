//! Reading chunks and tree nodes back: index, key, frame, digest.
//!
//! A chunk may stand in several places. Each place is tried until one gives bytes with the right plain digest, so a
//! lying or damaged copy costs a second read and nothing else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::frame::{FrameName, PlainLength, Scratch, open_frame};
use crate::id::{Digest, KeyId, PackId};
use crate::index::{Index, Location};
use crate::keys::KeyRing;
use crate::keys::ring::ChunkSpace;
use crate::name::Name;
use crate::objects::Objects;
use crate::pack::PackHeader;
use crate::replicas::{Failures, Siblings};
use crate::suite::ObjectKey;
use crate::tree::NodeSource;

/// Opened frames are kept up to this many plain bytes.
const FRAME_CACHE_BYTES: usize = 48 << 20;

/// Enough for every header: key tables have one or two entries until a pack was compacted.
const HEADER_READ_BYTES: u64 = 16 << 10;

/// Which frame of which pack.
pub type FrameKey = (PackId, KeyId, u32);

/// Reads content and tree nodes of a vault from any of its replicas.
pub struct Reader {
    siblings: Siblings,
    ring: Arc<KeyRing>,
    index: Arc<Index>,
    /// Looked into first.
    listed: BTreeSet<PackId>,
    /// Looked at last.
    bad: BTreeSet<(KeyId, u64)>,
    packs: Mutex<HashMap<PackId, Arc<PackFacts>>>,
    frames: Mutex<FrameCache>,
}

/// A pack's size and its opened object keys.
struct PackFacts {
    size: u64,
    keys: BTreeMap<KeyId, Arc<ObjectKey>>,
}

impl Reader {
    /// A reader over `siblings` with the keys of `ring`.
    pub fn new(siblings: Siblings, ring: Arc<KeyRing>, index: Arc<Index>) -> Self {
        Self {
            siblings,
            ring,
            index,
            listed: BTreeSet::new(),
            bad: BTreeSet::new(),
            packs: Mutex::default(),
            frames: Mutex::default(),
        }
    }

    /// The same reader, which keeps at most so many bytes of opened frames, and at least one frame.
    #[must_use]
    pub fn caching(self, bytes_max: usize) -> Self {
        lock(&self.frames).bytes_max = bytes_max;
        self
    }

    /// The same reader, which tries these packs before others.
    #[must_use]
    pub fn first(mut self, listed: BTreeSet<PackId>) -> Self {
        self.listed = listed;
        self
    }

    /// The same reader, which tries these frames only when nothing else is left.
    #[must_use]
    pub fn last(mut self, bad: BTreeSet<(KeyId, u64)>) -> Self {
        self.bad = bad;
        self
    }

    /// The index that the reader looks in.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The replicas that the reader reads.
    pub fn siblings(&self) -> &Siblings {
        &self.siblings
    }

    /// All places where the chunk with this plain digest is said to be, in the order in which to try them: listed
    /// packs first, frames known to be bad last.
    pub fn places(&self, space: ChunkSpace, digest: &Digest) -> Result<Vec<Location>> {
        let mut places = self.index.lookup(&self.ring.chunk_id(space, digest), space)?;
        if places.len() > 1 {
            places.sort_by_key(|place| {
                let is_bad = self.bad.contains(&(place.key, u64::from(place.counter)));
                (is_bad, !self.listed.contains(&place.pack))
            });
        }
        Ok(places)
    }

    /// The chunk's bytes, whose BLAKE3 is `digest`.
    ///
    /// # Errors
    /// [`Kind::Missing`] when no place is known, else the first place's error when none gives the right bytes.
    pub async fn chunk(&self, space: ChunkSpace, digest: &Digest) -> Result<Bytes> {
        let places = self.places(space, digest)?;
        let mut failure = None;
        for place in &places {
            match self.chunk_at(place, digest).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(Kind::Missing, format!("chunk {} is in no pack that the index knows", digest.short()))
        }))
    }

    async fn chunk_at(&self, place: &Location, digest: &Digest) -> Result<Bytes> {
        let frame = self.frame(place).await?;
        let bytes = slice_of(&frame, place)?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(Error::damaged(format!(
            "pack {}: chunk {} has other bytes than its name",
            place.pack,
            digest.short()
        )))
    }

    /// The plain bytes of the frame that holds `place`, from the first replica that gives them.
    ///
    /// # Errors
    /// When no replica does, as [`Siblings::read`].
    pub async fn frame(&self, place: &Location) -> Result<Bytes> {
        if let Some(frame) = self.cached(place) {
            return Ok(frame);
        }
        let mut failures = Failures::default();
        for sibling in self.siblings.in_order() {
            let read = match self.read_frame(sibling.objects(), place).await {
                // A line can spoil what the store holds whole: look once more before it is called damaged.
                Err(error) if error.kind() == Kind::Damaged => {
                    self.read_frame(sibling.objects(), place).await
                }
                other => other,
            };
            sibling.note(&read);
            match read {
                Ok(frame) => {
                    self.keep(place, &frame);
                    return Ok(frame);
                }
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error(|| format!("read pack {}", place.pack)))
    }

    async fn read_frame(&self, objects: &Objects, place: &Location) -> Result<Bytes> {
        let name = Name::pack(place.pack);
        let sealed = objects.read_range(&name, place.frame_offset, u64::from(place.stored_length)).await;
        let sealed = sealed.map_err(|error| error.context(format!("read pack {}", place.pack)))?;
        let key = self.key_of(place).await?;
        open_place(&key, place, &sealed)
    }

    /// The frame if it was opened lately.
    pub fn cached(&self, place: &Location) -> Option<Bytes> {
        lock(&self.frames).get(&frame_key(place))
    }

    /// Remembers an opened frame.
    pub fn keep(&self, place: &Location, frame: &Bytes) {
        lock(&self.frames).put(frame_key(place), frame.clone());
    }

    /// The object key of the frame that holds `place`, from its pack's key table.
    pub async fn key_of(&self, place: &Location) -> Result<Arc<ObjectKey>> {
        let known = self.facts(place).await?.keys.get(&place.key).cloned();
        let key = match known {
            Some(key) => Some(key),
            // The table of one replica may have lost what another's still has.
            None => self.load_facts(&place.pack, place.key).await?.keys.get(&place.key).cloned(),
        };
        key.ok_or_else(|| no_key(&place.pack, place.key))
    }

    /// The size of the pack that holds `place`, in bytes.
    pub(crate) async fn pack_size(&self, place: &Location) -> Result<u64> {
        Ok(self.facts(place).await?.size)
    }

    async fn facts(&self, place: &Location) -> Result<Arc<PackFacts>> {
        let known = lock(&self.packs).get(&place.pack).cloned();
        match known {
            Some(facts) => Ok(facts),
            None => self.load_facts(&place.pack, place.key).await,
        }
    }

    async fn load_facts(&self, pack: &PackId, wanted: KeyId) -> Result<Arc<PackFacts>> {
        let mut failures = Failures::default();
        for sibling in self.siblings.in_order() {
            let facts = self.load_facts_from(sibling.objects(), pack, wanted).await;
            sibling.note(&facts);
            match facts {
                Ok(facts) => {
                    let facts = Arc::new(facts);
                    lock(&self.packs).insert(*pack, Arc::clone(&facts));
                    return Ok(facts);
                }
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error(|| format!("open pack {pack}")))
    }

    async fn load_facts_from(&self, objects: &Objects, pack: &PackId, wanted: KeyId) -> Result<PackFacts> {
        let name = Name::pack(*pack);
        let size = objects.readable_size(&name).await?;
        let size = size.ok_or_else(|| Error::new(Kind::Missing, format!("pack {pack} is missing")))?;
        let mut head = objects.read_range(&name, 0, size.min(HEADER_READ_BYTES)).await?;
        let needed = PackHeader::length_from(&head, self.ring.vault).unwrap_or(0) as u64;
        if needed > head.len() as u64 && needed <= size {
            head = objects.read_range(&name, 0, needed).await?;
        }
        let header = PackHeader::decode(&head, self.ring.vault)
            .map_err(|error| error.context(format!("read the key table of pack {pack}")))?;
        let mut keys = BTreeMap::new();
        for wrapped in &header.keys {
            match self.ring.unwrap(wrapped) {
                Ok(key) => drop(keys.insert(wrapped.id(), Arc::new(key))),
                Err(error) if wrapped.id() == wanted => {
                    return Err(error.context(format!("open pack {pack}")));
                }
                Err(_) => {}
            }
        }
        if !keys.contains_key(&wanted) {
            return Err(no_key(pack, wanted));
        }
        Ok(PackFacts { size, keys })
    }
}

impl NodeSource for Reader {
    async fn node(&self, digest: &Digest) -> Result<Bytes> {
        self.chunk(ChunkSpace::Metadata, digest).await
    }
}

fn no_key(pack: &PackId, key: KeyId) -> Error {
    Error::damaged(format!("pack {pack} has no key {key} that this role can open"))
}

thread_local! {
    /// To make a decompression context anew for each frame costs as much as to open a small one.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Opens the sealed bytes of `place`'s frame.
pub fn open_place(key: &ObjectKey, place: &Location, sealed: &[u8]) -> Result<Bytes> {
    let name = FrameName { key, purpose: place.pack_kind.purpose(), counter: place.counter };
    let expected = PlainLength::Exactly(place.frame_length);
    SCRATCH.with_borrow_mut(|scratch| open_frame(name, sealed, expected, scratch)).map_err(|error| {
        error.context(format!("pack {} is damaged at byte {}", place.pack, place.frame_offset))
    })
}

/// The chunk's bytes inside its opened frame.
pub fn slice_of(frame: &Bytes, place: &Location) -> Result<Bytes> {
    let (start, end) = (place.offset as usize, place.offset as usize + place.length as usize);
    if end > frame.len() {
        return Err(Error::damaged(format!("pack {}: a chunk reaches beyond its frame", place.pack)));
    }
    Ok(frame.slice(start..end))
}

/// Which frame `place` lies in.
pub fn frame_key(place: &Location) -> FrameKey {
    (place.pack, place.key, place.counter)
}

/// Least recently used frames, bounded by their plain bytes.
struct FrameCache {
    bytes_max: usize,
    frames: HashMap<FrameKey, (u64, Bytes)>,
    order: BTreeMap<u64, FrameKey>,
    bytes: usize,
    tick: u64,
}

impl Default for FrameCache {
    fn default() -> Self {
        let (frames, order) = (HashMap::new(), BTreeMap::new());
        Self { bytes_max: FRAME_CACHE_BYTES, frames, order, bytes: 0, tick: 0 }
    }
}

impl FrameCache {
    fn get(&mut self, key: &FrameKey) -> Option<Bytes> {
        self.tick += 1;
        let (used, frame) = self.frames.get_mut(key)?;
        self.order.remove(used);
        *used = self.tick;
        self.order.insert(self.tick, *key);
        Some(frame.clone())
    }

    fn put(&mut self, key: FrameKey, frame: Bytes) {
        self.tick += 1;
        self.bytes += frame.len();
        if let Some((used, old)) = self.frames.insert(key, (self.tick, frame)) {
            self.order.remove(&used);
            self.bytes -= old.len();
        }
        self.order.insert(self.tick, key);
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some((_, frame)) = self.frames.remove(&oldest) {
                self.bytes -= frame.len();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere cannot leave these maps half-changed: every change is one insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::PackKind;
    use crate::pack::sample::{owner, pack};
    use crate::segment::Segment;

    fn key(n: u32) -> FrameKey {
        (PackId::default(), KeyId::default(), n)
    }

    #[test]
    fn listed_packs_come_first_and_bad_frames_last() {
        let ring = owner();
        let packs = [b"a", b"b", b"c"].map(|other| pack(&ring, PackKind::Content, &[&[b"same", other]]));
        let mut index = Index::in_memory(ring.vault);
        for pack in &packs {
            index.add(&Segment::of_pack(pack.pack().id, ring.writer_id(), pack.contents.clone())).unwrap();
        }
        let siblings = Siblings::new([Objects::new(crate::store::Store::memory())]);
        let reader = Reader::new(siblings, Arc::new(ring), Arc::new(index));
        let digest = Digest::of(b"same");
        let order = |reader: &Reader| reader.places(ChunkSpace::Content, &digest).unwrap();
        let places = order(&reader);
        assert_eq!(places.len(), 3);
        let [first, second, third] = [places[0], places[1], places[2]];
        let reader = reader.first([third.pack, first.pack].into());
        assert_eq!(order(&reader), [first, third, second]);
        let reader = reader.last([(first.key, u64::from(first.counter))].into());
        assert_eq!(order(&reader), [third, second, first]);
    }

    #[test]
    fn the_frame_cache_keeps_what_was_used_last_within_its_bytes() {
        let mut cache = FrameCache::default();
        let frame = Bytes::from(vec![0; 16 << 20]);
        for n in 0..3 {
            cache.put(key(n), frame.clone());
        }
        assert!(cache.get(&key(0)).is_some());
        cache.put(key(3), frame.clone());
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(0)).is_some());
        assert_eq!(cache.bytes, 3 * frame.len());
        assert_eq!(cache.order.len(), cache.frames.len());
    }
}
