//! What is true on a replica after its log was folded up to some entry.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{
    KeyId, NeedListId, ObjectId, ReplicaId, SegmentId, SessionId, SlotId, SnapshotId, SourceId, Timestamp,
    WriterId,
};
use crate::keys::{Certificate, Rights, Role};
use crate::log::collection::Collection;
use crate::log::config::Config;
use crate::log::statement::Subject;
use crate::name::Name;
use crate::suite::VerifyKey;
use crate::vault_file::VaultFile;

/// A snapshot that a valid commit made visible and no forget dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// The session that committed it.
    pub session: SessionId,
    /// Whose key committed it.
    pub author: WriterId,
    /// Its source.
    pub source: SourceId,
    /// The parent's sequence plus 1.
    pub sequence: u64,
    /// The segments of its session.
    pub segments: Vec<SegmentId>,
    /// The packs it relies on.
    pub need_list: NeedListId,
    /// The number of the commit's entry.
    pub n: u64,
    /// The statement's time.
    pub time: Timestamp,
}

/// Where a session stands. Closed states are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It may commit.
    Open,
    /// It committed this snapshot.
    Committed(SnapshotId),
    /// It committed a compaction.
    Compacted,
    /// It was fenced.
    Fenced,
    /// Its author's key was removed.
    KeyRemoved,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who began it.
    pub author: WriterId,
    /// What it backs up; zeros for a courier and a compaction.
    pub source: SourceId,
    /// What it builds on.
    pub parent: Option<SnapshotId>,
    /// A courier's key.
    pub courier: Option<VerifyKey>,
    /// The number of its begin entry.
    pub begun: u64,
    /// When it began, by its author's clock.
    pub time: Timestamp,
    /// The number of its last keep or seen; of its begin before the first. No sweep waits for it because of what was
    /// condemned before.
    pub answered: u64,
    /// What it kept, and where it last did; empty once it is closed.
    pub kept: BTreeMap<Name, u64>,
    /// Where it stands.
    pub state: SessionState,
}

/// A protection of a snapshot against the consequences of a forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// What it protects.
    pub snapshot: SnapshotId,
    /// Whose it is.
    pub author: WriterId,
    /// When it ends.
    pub expiry: Timestamp,
}

/// What the key statement of highest serial says of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Removed,
    Slot(ObjectId),
    Holder(ObjectId),
}

/// The state of one replica: a pure fold of its log. [`State::fold`] and [`State::judge`] are in [`super::fold`].
#[derive(Debug, Clone)]
pub struct State {
    pub(super) file: VaultFile,
    pub(super) next: u64,
    pub(super) head: [u8; 32],
    pub(super) replica: Option<ReplicaId>,
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) config_serial: u64,
    pub(super) subjects: BTreeMap<Subject, (u64, Standing)>,
    /// Also of removed keys: what they signed while they stood must stay verifiable.
    pub(super) certificates: BTreeMap<WriterId, Certificate>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) visible: BTreeMap<SnapshotId, Visible>,
    pub(super) forgotten: BTreeSet<SnapshotId>,
    /// Serial of the latest hold or release, and whether it was a hold.
    pub(super) holds: BTreeMap<SnapshotId, (u64, bool)>,
    /// Packs and segments.
    pub(super) vouched: BTreeSet<ObjectId>,
    pub(super) bad: BTreeSet<(KeyId, u64)>,
    pub(super) segments: Vec<SegmentId>,
    pub(super) segments_known: BTreeSet<SegmentId>,
    pub(super) serial: u64,
    pub(super) couriers: BTreeMap<WriterId, SessionId>,
    pub(super) collection: Collection,
}

impl State {
    /// The state before entry 0.
    pub fn new(file: VaultFile) -> Self {
        Self {
            file,
            next: 0,
            head: [0; 32],
            replica: None,
            name: String::new(),
            config: Config::default(),
            config_serial: 0,
            subjects: BTreeMap::new(),
            certificates: BTreeMap::new(),
            sessions: BTreeMap::new(),
            visible: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            holds: BTreeMap::new(),
            vouched: BTreeSet::new(),
            bad: BTreeSet::new(),
            segments: Vec::new(),
            segments_known: BTreeSet::new(),
            serial: 0,
            couriers: BTreeMap::new(),
            collection: Collection::default(),
        }
    }

    /// The `vault.json` that the log is judged by.
    pub fn vault_file(&self) -> &VaultFile {
        &self.file
    }

    /// Whether two states say the same in everything, to the last hidden field: both came from the same entries.
    pub fn says_the_same(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// BLAKE3 of the last entry folded; zeros before entry 0. With [`State::next`] it is what a client remembers.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// The replica, once its birth was folded.
    pub fn replica(&self) -> Option<ReplicaId> {
        self.replica
    }

    /// The replica's name: the config's, or else the one it was born with.
    pub fn replica_name(&self) -> &str {
        let named = self.config.replicas.iter().find(|(id, _)| Some(*id) == self.replica);
        named.map_or(&self.name, |(_, name)| name)
    }

    /// The owner's settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A serial above every one that the owner has used in this log.
    pub fn next_serial(&self) -> u64 {
        self.serial.saturating_add(1)
    }

    /// The certificates that stand, by holder.
    pub fn certificates(&self) -> impl Iterator<Item = (WriterId, &Certificate)> {
        self.certificates.iter().filter(|(id, _)| self.is_certified(**id)).map(|(id, found)| (*id, found))
    }

    /// The object id of a standing certificate.
    pub fn certificate_object(&self, holder: WriterId) -> Option<ObjectId> {
        match self.subjects.get(&holder.0) {
            Some((_, Standing::Holder(object))) => Some(*object),
            _ => None,
        }
    }

    /// The slots that count, by slot id, with the objects that they are.
    pub fn slots(&self) -> impl Iterator<Item = (SlotId, ObjectId)> {
        self.subjects.iter().filter_map(|(subject, (_, standing))| match standing {
            Standing::Slot(object) => Some((SlotId(*subject), *object)),
            Standing::Removed | Standing::Holder(_) => None,
        })
    }

    /// What the latest statement says of every slot that ever counted or was removed: its serial, and the object unless
    /// it was removed. Removed holders come along; their ids are no slot's.
    pub fn slot_statements(&self) -> impl Iterator<Item = (SlotId, u64, Option<ObjectId>)> {
        self.subjects.iter().filter_map(|(subject, (serial, standing))| match standing {
            Standing::Slot(object) => Some((SlotId(*subject), *serial, Some(*object))),
            Standing::Removed => Some((SlotId(*subject), *serial, None)),
            Standing::Holder(_) => None,
        })
    }

    /// The serial of the latest statement on each slot and holder.
    pub fn key_serials(&self) -> impl Iterator<Item = (Subject, u64)> {
        self.subjects.iter().map(|(subject, (serial, _))| (*subject, *serial))
    }

    /// The serial of the latest statement on this slot or holder; 0 if there is none.
    pub fn key_serial(&self, subject: &Subject) -> u64 {
        self.subjects.get(subject).map_or(0, |(serial, _)| *serial)
    }

    /// Whether `writer`'s key stands: the owner's, or certified and not removed.
    pub fn stands(&self, writer: WriterId) -> bool {
        writer == self.file.owner_id() || self.is_certified(writer)
    }

    /// The key of `writer`, also of one that was removed: what it signed before must stay verifiable.
    pub fn verify_key(&self, writer: WriterId) -> Option<VerifyKey> {
        if writer == self.file.owner_id() {
            return Some(self.file.owner);
        }
        self.certificates.get(&writer).map(|certificate| certificate.key)
    }

    /// What `writer` may do now; `None` if its key does not stand.
    pub fn rights(&self, writer: WriterId) -> Option<Rights> {
        if writer == self.file.owner_id() {
            return Some(Rights::of_role(Role::Owner));
        }
        self.certificates.get(&writer).filter(|_| self.is_certified(writer)).map(|found| found.rights)
    }

    /// A session that was ever begun.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// The sessions that may still commit.
    pub fn open_sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let open = self.sessions.iter().filter(|(_, session)| session.state == SessionState::Open);
        open.map(|(id, session)| (*id, session))
    }

    /// The visible snapshots.
    pub fn visible(&self) -> &BTreeMap<SnapshotId, Visible> {
        &self.visible
    }

    /// Visible snapshots of keys that were removed since: they stand, and are to be shown.
    pub fn visible_of_removed_keys(&self) -> impl Iterator<Item = (SnapshotId, &Visible)> {
        let removed = self.visible.iter().filter(|(_, visible)| !self.stands(visible.author));
        removed.map(|(id, visible)| (*id, visible))
    }

    /// Snapshots that were forgotten here, for good.
    pub fn forgotten(&self) -> &BTreeSet<SnapshotId> {
        &self.forgotten
    }

    /// Snapshots that are held.
    pub fn held(&self) -> impl Iterator<Item = SnapshotId> {
        self.holds.iter().filter(|(_, (_, held))| *held).map(|(snapshot, _)| *snapshot)
    }

    /// Whether `snapshot` is held.
    pub fn is_held(&self, snapshot: &SnapshotId) -> bool {
        self.holds.get(snapshot).is_some_and(|(_, held)| *held)
    }

    /// Whether an owner vouched for this pack or segment, or for every pack from which a compaction copied into it.
    pub fn vouched(&self, object: &ObjectId) -> bool {
        self.vouched.contains(object) || self.inherits_vouch(object)
    }

    /// Whether `writer` may replace packs: a keeper or the owner.
    pub fn is_keeper(&self, writer: WriterId) -> bool {
        self.rights(writer).is_some_and(|rights| rights.allow(Rights::REPLACES))
    }

    /// Whether the frame (`key`, `counter`) was found bad.
    pub fn bad(&self, key: &KeyId, counter: u64) -> bool {
        self.bad.contains(&(*key, counter))
    }

    /// All frames that were found bad.
    pub fn all_bad(&self) -> &BTreeSet<(KeyId, u64)> {
        &self.bad
    }

    /// How many frames were declared bad.
    pub fn bad_frames(&self) -> usize {
        self.bad.len()
    }

    /// The segments that commits have named so far, in the log's order, each once.
    pub fn segments_live(&self) -> &[SegmentId] {
        &self.segments
    }

    /// Whether a commit named this segment, and no sweep has since.
    pub fn is_segment_live(&self, segment: &SegmentId) -> bool {
        self.segments_known.contains(segment)
    }

    /// Whether this segment is live and not condemned: what it speaks of will still be found.
    pub fn does_segment_stay(&self, segment: &SegmentId) -> bool {
        self.is_segment_live(segment) && !self.collection.condemned.contains_key(&Name::index(*segment))
    }

    /// The live segments that are not condemned.
    pub fn segments_staying(&self) -> Vec<SegmentId> {
        self.segments.iter().filter(|segment| self.does_segment_stay(segment)).copied().collect()
    }

    /// The serial of the settings in force.
    pub fn config_serial(&self) -> u64 {
        self.config_serial
    }

    /// The visible snapshot of `source` with the highest (sequence, time, id).
    pub fn latest(&self, source: SourceId) -> Option<(SnapshotId, &Visible)> {
        let of_source = self.visible.iter().filter(|(_, visible)| visible.source == source);
        of_source
            .max_by_key(|(id, visible)| (visible.sequence, visible.time, **id))
            .map(|(id, visible)| (*id, visible))
    }

    fn is_certified(&self, writer: WriterId) -> bool {
        matches!(self.subjects.get(&writer.0), Some((_, Standing::Holder(_))))
    }
}
