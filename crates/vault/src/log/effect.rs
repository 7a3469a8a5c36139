//! What a valid entry changes. Judging is done: nothing here can fail.

use crate::id::{KeyId, ObjectId, ReplicaId, SegmentId, SessionId, SnapshotId, WriterId};
use crate::keys::Certificate;
use crate::log::collection::Collect;
use crate::log::config::Config;
use crate::log::state::{Session, SessionState, Standing, State, Visible};
use crate::log::statement::Subject;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the operations and statements")]
pub enum OpKind {
    Birth,
    Begin,
    Commit,
    Forget,
    Fence,
    Condemn,
    Keep,
    Seen,
    Sweep,
    Swept,
    Pin,
    Unpin,
    Replace,
    Courier,
    Index,
    Hold,
    Release,
    Vouch,
    Bad,
    Key,
    Config,
}

/// The change that a valid entry makes to the state it was judged on.
#[derive(Debug)]
pub(super) enum Effect {
    Birth { replica: ReplicaId, name: String, config: Config, serial: u64 },
    Begin { id: SessionId, session: Session },
    Commit { snapshot: SnapshotId, visible: Visible },
    Index(Vec<SegmentId>),
    Forget(Vec<SnapshotId>),
    Collect(Collect),
    Hold { snapshot: SnapshotId, serial: u64, held: bool },
    Vouch(Vec<ObjectId>),
    Bad(Vec<(KeyId, u64)>),
    Key { subject: Subject, serial: u64, standing: Standing, certificate: Option<Certificate> },
    Config { config: Config, serial: u64 },
}

impl State {
    /// Lets a valid entry take effect.
    pub(super) fn apply(&mut self, effect: Effect) -> OpKind {
        match effect {
            Effect::Birth { replica, name, config, serial } => {
                self.replica = Some(replica);
                self.name = name;
                self.set_config(config, serial);
                OpKind::Birth
            }
            Effect::Begin { id, session } => {
                let kind = if session.courier.is_some() { OpKind::Courier } else { OpKind::Begin };
                if session.courier.is_some() {
                    self.couriers.insert(session.author, id);
                }
                self.sessions.insert(id, session);
                kind
            }
            Effect::Commit { snapshot, visible } => {
                self.add_segments(&visible.segments);
                let session = visible.session;
                self.visible.insert(snapshot, visible);
                self.close(session, SessionState::Committed(snapshot));
                OpKind::Commit
            }
            Effect::Index(segments) => {
                self.add_segments(&segments);
                OpKind::Index
            }
            Effect::Forget(snapshots) => {
                for snapshot in snapshots {
                    self.forgotten.insert(snapshot);
                    if let Some(visible) = self.visible.remove(&snapshot) {
                        self.collection.retired.insert(snapshot, visible);
                    }
                }
                self.let_retired_go();
                OpKind::Forget
            }
            Effect::Collect(effect) => self.collect(effect),
            Effect::Hold { snapshot, serial, held } => {
                self.holds.insert(snapshot, (serial, held));
                self.serial = self.serial.max(serial);
                if held { OpKind::Hold } else { OpKind::Release }
            }
            Effect::Vouch(objects) => {
                self.vouched.extend(objects);
                OpKind::Vouch
            }
            Effect::Bad(frames) => {
                self.bad.extend(frames);
                OpKind::Bad
            }
            Effect::Key { subject, serial, standing, certificate } => {
                self.set_key(subject, serial, standing, certificate);
                OpKind::Key
            }
            Effect::Config { config, serial } => {
                self.set_config(config, serial);
                OpKind::Config
            }
        }
    }

    fn set_config(&mut self, config: Config, serial: u64) {
        self.config = config;
        self.config_serial = serial;
        self.serial = self.serial.max(serial);
    }

    fn set_key(
        &mut self,
        subject: Subject,
        serial: u64,
        standing: Standing,
        certificate: Option<Certificate>,
    ) {
        if let Some(certificate) = certificate {
            self.certificates.insert(WriterId(subject), certificate);
        }
        self.subjects.insert(subject, (serial, standing));
        self.serial = self.serial.max(serial);
        if self.stands(WriterId(subject)) {
            return;
        }
        let open = self.open_sessions().filter(|(_, session)| session.author.0 == subject);
        let theirs: Vec<SessionId> = open.map(|(id, _)| id).collect();
        for session in theirs {
            self.close(session, SessionState::KeyRemoved);
        }
    }
}
