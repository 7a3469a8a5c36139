//! The fold: one entry judged on the state before it.
//!
//! Pure: bytes in, a verdict out. An entry that is garbage or breaks a rule has no effect for anyone; the chain goes on
//! over its bytes all the same.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, ReplicaId, SessionId, SnapshotId, SourceId, Timestamp, WriterId};
use crate::keys::{Certificate, Rights};
use crate::log::effect::Effect;
pub use crate::log::effect::OpKind;
use crate::log::entry::Envelope;
use crate::log::op::Op;
use crate::log::rules::Rule;
use crate::log::state::{Session, SessionState, Standing, State, Visible};
use crate::log::statement::{
    Body, CommitStatement, KeyPresence, Reading, SignedStatement, Statement, Subject,
};
use crate::name::Name;
use crate::suite::VerifyKey;

/// The verdict on an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folded {
    /// It had its effect.
    Applied(OpKind),
    /// It has none, for this reason.
    Ignored(Reason),
}

/// Why an entry has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is no entry of this log: undecodable, misplaced, of an unknown author, or not signed by it.
    Garbage(String),
    /// Its author has not the right.
    Forbidden {
        /// The author.
        author: WriterId,
        /// What it tried.
        what: &'static str,
    },
    /// It breaks a rule of the fold.
    Rule(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage(problem) => write!(f, "it is no entry of this log: {problem}"),
            Self::Forbidden { author, what } => write!(f, "key {author} has not the right to {what}"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// What judging found: an effect to apply, or none.
#[derive(Debug)]
pub enum Verdict {
    /// The entry is valid here and will do this.
    Valid(Change),
    /// It has no effect.
    Void(Reason),
}

/// Who appends an entry, with what rights, and when by its clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appender {
    pub(super) author: WriterId,
    pub(super) rights: Rights,
    pub(super) time: Timestamp,
}

/// The effect of a valid entry. Only [`State::judge`] makes one, for the state that it judged on.
#[derive(Debug)]
pub struct Change(Effect);

/// Stops judging: the entry is void, or the log cannot be folded on.
pub(super) enum Stop {
    Void(Reason),
    Fatal(Error),
}

pub(super) type Judged<T> = std::result::Result<T, Stop>;

fn garbage<T>(problem: impl Into<String>) -> Judged<T> {
    Err(Stop::Void(Reason::Garbage(problem.into())))
}

pub(super) fn rule<T>(rule: &'static str) -> Judged<T> {
    Err(Stop::Void(Reason::Rule(rule)))
}

fn readable<T>(result: Result<T>) -> Judged<T> {
    result.or_else(|error| garbage(error.to_string()))
}

impl State {
    /// Folds entry `n`, which must be [`State::next`].
    ///
    /// # Errors
    /// The state is unchanged. [`Kind::Damaged`] if the chain is broken or entry 0 is no birth by the owner;
    /// [`Kind::Unsupported`] for what only a newer version understands; [`Kind::Bug`] for another `n`.
    pub fn fold(&mut self, n: u64, bytes: &[u8]) -> Result<Folded> {
        let verdict = self.judge(n, bytes)?;
        let folded = match verdict {
            Verdict::Valid(change) => Folded::Applied(self.apply(change.0)),
            Verdict::Void(reason) => Folded::Ignored(reason),
        };
        self.head = *blake3::hash(bytes).as_bytes();
        self.next += 1;
        Ok(folded)
    }

    /// What entry `n` with these bytes would do on this state.
    ///
    /// # Errors
    /// As [`State::fold`].
    pub fn judge(&self, n: u64, bytes: &[u8]) -> Result<Verdict> {
        if n != self.next {
            let message = format!("fold log entry {n}: the next one is {}", self.next);
            return Err(Error::new(Kind::Bug, message));
        }
        match self.effect(bytes) {
            Ok(effect) => Ok(Verdict::Valid(Change(effect))),
            Err(Stop::Fatal(error)) => Err(error),
            Err(Stop::Void(reason)) if n == 0 => Err(Error::damaged(format!(
                "fold log entry 0: it is no birth of a replica by the vault's owner: {reason}"
            ))),
            Err(Stop::Void(reason)) => Ok(Verdict::Void(reason)),
        }
    }

    fn effect(&self, bytes: &[u8]) -> Judged<Effect> {
        let envelope = readable(Envelope::decode(bytes, self.file.vault))?;
        if envelope.n != self.next {
            return garbage(format!("it was made for place {}", envelope.n));
        }
        if self.replica.is_some_and(|replica| replica != envelope.replica) {
            return garbage("it was made for another replica");
        }
        let author = envelope.author;
        let Some((rights, key)) = self.appender(&envelope)? else {
            return garbage(format!("its author {author} is not certified"));
        };
        if !envelope.is_signed_by(&key) {
            return garbage(format!("it is not signed by {author}, whom it names"));
        }
        if envelope.previous != self.head {
            if self.rights(author).is_none() {
                // Anybody can be a courier: one that saw another log stops nobody.
                return garbage("its courier saw another entry below");
            }
            // Its author saw another entry below: what was replaced, or went back, only people can find out.
            return Err(Stop::Fatal(Error::damaged(format!(
                "log/{} does not follow log/{}: one of the two was altered, or the log went back and was written on \
                 (signed by {author})",
                self.next,
                self.next.saturating_sub(1)
            ))));
        }
        match readable(envelope.op())? {
            Some(Op::Birth { replica, .. }) if replica != envelope.replica => {
                rule("a birth is the owner's entry 0, for its own replica")
            }
            Some(op) => self.effect_of(op, Appender { author, rights, time: envelope.time }),
            None => self.future(author, rights, envelope.op_number()),
        }
    }

    /// What the entry's author may do, and its key: a certified one's, a courier's of an open session, or the one that a
    /// courier brings along. None for anybody else.
    fn appender(&self, envelope: &Envelope<'_>) -> Judged<Option<(Rights, VerifyKey)>> {
        let author = envelope.author;
        if let Some(certified) = self.rights(author).zip(self.verify_key(author)) {
            return Ok(Some(certified));
        }
        let session = self.couriers.get(&author).and_then(|id| self.sessions.get(id));
        if let Some(key) = session.and_then(|session| session.courier) {
            return Ok(Some((Rights::COURIER, key)));
        }
        Ok(match readable(envelope.op())? {
            Some(Op::Courier { key, .. }) if key.writer_id() == author => Some((Rights(0), key)),
            _ => None,
        })
    }

    /// Stops for what a newer version may mean; garbage if the author cannot speak for one (`log.md` section 5).
    fn future<T>(&self, author: WriterId, rights: Rights, op: u8) -> Judged<T> {
        if self.speaks_of_the_future(author, rights) {
            let message = format!("fold log entry {}: operation {op}; a newer shudao is needed", self.next);
            return Err(Stop::Fatal(Error::new(Kind::Unsupported, message)));
        }
        garbage(format!("operation {op} is unknown"))
    }

    fn speaks_of_the_future(&self, author: WriterId, rights: Rights) -> bool {
        author == self.file.owner_id() || rights.has_unknown()
    }

    /// The effect of an operation by an appender who is who it says.
    pub(super) fn effect_of(&self, op: Op, appender: Appender) -> Judged<Effect> {
        let Appender { author, rights, .. } = appender;
        let need = |right: Rights, what: &'static str| {
            if rights.allow(right) { Ok(()) } else { Err(Stop::Void(Reason::Forbidden { author, what })) }
        };
        if self.next == 0 && !matches!(op, Op::Birth { .. }) {
            return rule("the first entry must be a birth");
        }
        match op {
            Op::Birth { replica, name, config } => self.birth(author, replica, name, &config),
            Op::Begin { session, source, parent } => {
                need(Rights::BEGIN, "begin a session")?;
                self.begin(appender, session, source, parent)
            }
            Op::Courier { session, key } => {
                if key.writer_id() != author || self.stands(author) || self.couriers.contains_key(&author) {
                    return rule("a courier signs with a fresh key of its own");
                }
                let Effect::Begin { id, session } =
                    self.begin(appender, session, SourceId::default(), None)?
                else {
                    return rule("a courier begins a session");
                };
                Ok(Effect::Begin { id, session: Session { courier: Some(key), ..session } })
            }
            Op::Commit { session, statement } => {
                need(Rights::COMMIT, "commit")?;
                self.commit(author, session, &statement)
            }
            Op::Index { session, segments } => {
                need(Rights::COMMIT, "add to the index")?;
                let begun = self.own_session(author, session)?;
                if segments.iter().any(|segment| self.was_lost(begun, &Name::index(*segment))) {
                    return rule("a segment was swept since the session obtained it");
                }
                Ok(Effect::Index(segments))
            }
            Op::Forget { snapshots } => {
                let may_any = rights.allow(Rights::FORGET);
                need(if may_any { Rights::FORGET } else { Rights::FORGET_EXPIRED }, "forget")?;
                if snapshots.iter().any(|snapshot| self.is_held(snapshot)) {
                    return rule("a snapshot to be forgotten is held");
                }
                if !may_any {
                    self.judge_expired(appender, &snapshots)?;
                }
                Ok(Effect::Forget(snapshots))
            }
            Op::Publish { statement } => self.publish(&statement),
            Op::Fence { .. }
            | Op::Condemn { .. }
            | Op::Keep { .. }
            | Op::Seen { .. }
            | Op::Sweep { .. }
            | Op::Swept { .. }
            | Op::Pin { .. }
            | Op::Unpin { .. }
            | Op::Replace { .. } => self.judge_collection(op, appender).map(Effect::Collect),
        }
    }

    fn begin(
        &self,
        appender: Appender,
        id: SessionId,
        source: SourceId,
        parent: Option<SnapshotId>,
    ) -> Judged<Effect> {
        if self.sessions.contains_key(&id) {
            return rule("the session id was used before");
        }
        if let Some(parent) = parent {
            match self.visible.get(&parent) {
                None => return rule("the session's parent is not visible"),
                Some(visible) if visible.source != source => {
                    return rule("the session's parent is of another source");
                }
                Some(_) => {}
            }
        }
        let session = Session {
            author: appender.author,
            source,
            parent,
            courier: None,
            begun: self.next,
            time: appender.time,
            answered: self.next,
            kept: BTreeMap::new(),
            state: SessionState::Open,
        };
        Ok(Effect::Begin { id, session })
    }

    fn birth(
        &self,
        author: WriterId,
        replica: ReplicaId,
        name: String,
        config: &SignedStatement,
    ) -> Judged<Effect> {
        if self.next != 0 || author != self.file.owner_id() {
            return rule("a birth is the owner's entry 0, for its own replica");
        }
        let statement = self.statement(config)?;
        match statement.body {
            Body::Config(config) if statement.author == author && statement.serial > 0 => {
                Ok(Effect::Birth { replica, name, config, serial: statement.serial })
            }
            _ => rule("a birth carries the owner's config statement"),
        }
    }

    fn commit(&self, author: WriterId, session: SessionId, statement: &SignedStatement) -> Judged<Effect> {
        let begun = self.own_session(author, session)?;
        let statement = self.statement(statement)?;
        let Statement { author: signer, time, serial: _, body: Body::Commit(commit) } = statement else {
            return rule("a commit carries a commit statement");
        };
        let CommitStatement { snapshot, source, sequence, need_list, segments } = commit;
        if begun.courier.is_none() {
            if signer != author {
                return rule("the commit's statement is by another key");
            }
            if source != begun.source {
                return rule("the commit is of another source than its session");
            }
        }
        if !self.rights(signer).is_some_and(|rights| rights.allow(Rights::COMMIT)) {
            return Err(Stop::Void(Reason::Forbidden { author: signer, what: "commit" }));
        }
        let objects = [Name::snapshot(snapshot), Name::index(need_list)];
        let segments_of = segments.iter().map(|segment| Name::index(*segment));
        if objects.into_iter().chain(segments_of).any(|name| self.was_lost(begun, &name)) {
            return rule("what the commit names was swept since the session obtained it");
        }
        if Rule::ForgetsAreFinal.holds() && self.forgotten.contains(&snapshot) {
            return rule("the snapshot was forgotten here");
        }
        if self.visible.contains_key(&snapshot) {
            return rule("the snapshot is visible already");
        }
        let n = self.next;
        let visible = Visible { session, author: signer, source, sequence, segments, need_list, n, time };
        Ok(Effect::Commit { snapshot, visible })
    }

    fn publish(&self, statement: &SignedStatement) -> Judged<Effect> {
        let Statement { author, serial, body, .. } = self.statement(statement)?;
        let rights = self.rights(author).unwrap_or(Rights(0));
        let need = |allowed: bool, what: &'static str| {
            if allowed { Ok(()) } else { Err(Stop::Void(Reason::Forbidden { author, what })) }
        };
        let is_owner = author == self.file.owner_id();
        let newer = |seen: Option<u64>| {
            if serial > seen.unwrap_or(0) {
                Ok(())
            } else {
                rule("a statement of that serial or a later one stands")
            }
        };
        match body {
            Body::Commit(_) | Body::Replaces(_) => rule("a commit statement needs its session"),
            Body::Vouch(objects) => {
                need(rights.allow(Rights::VOUCH), "vouch for packs and segments")?;
                Ok(Effect::Vouch(objects))
            }
            Body::Bad(frames) => {
                need(rights.allow(Rights::BAD), "report bad frames")?;
                Ok(Effect::Bad(frames))
            }
            Body::Hold(snapshot) => {
                need(is_owner, "hold")?;
                newer(self.holds.get(&snapshot).map(|(serial, _)| *serial))?;
                Ok(Effect::Hold { snapshot, serial, held: true })
            }
            Body::Release(snapshot) => {
                need(is_owner, "release")?;
                newer(self.holds.get(&snapshot).map(|(serial, _)| *serial))?;
                Ok(Effect::Hold { snapshot, serial, held: false })
            }
            Body::Key { subject, presence } => {
                need(is_owner, "change keys")?;
                newer(self.subjects.get(&subject).map(|(serial, _)| *serial))?;
                self.key(subject, serial, presence)
            }
            Body::Config(config) => {
                need(is_owner, "change the config")?;
                newer(Some(self.config_serial))?;
                Ok(Effect::Config { config, serial })
            }
        }
    }

    fn key(&self, subject: Subject, serial: u64, presence: KeyPresence) -> Judged<Effect> {
        if subject == self.file.owner_id().0 {
            return rule("the owner's own key is no subject");
        }
        let (standing, certificate) = match presence {
            KeyPresence::Removed => (Standing::Removed, None),
            KeyPresence::Slot(object) => (Standing::Slot(object), None),
            KeyPresence::Certificate(bytes) => {
                let read = Certificate::decode(&bytes, self.file.vault, &self.file.owner);
                let certificate = readable(read)?;
                if certificate.holder().0 != subject {
                    return rule("the certificate is another holder's");
                }
                (Standing::Holder(ObjectId::of(&bytes)), Some(certificate))
            }
        };
        Ok(Effect::Key { subject, serial, standing, certificate })
    }

    /// The statement, if its author's key stands and signed it.
    pub(super) fn statement(&self, signed: &SignedStatement) -> Judged<Statement> {
        let reading = readable(signed.read_any(self.file.vault))?;
        let author = match &reading {
            Reading::Known(statement) => statement.author,
            Reading::Future(author) => *author,
        };
        let (Some(rights), Some(key)) = (self.rights(author), self.verify_key(author)) else {
            return garbage(format!("its statement's author {author} is not certified"));
        };
        if !signed.is_signed_by(&key) {
            return garbage(format!("its statement is not signed by {author}, whom it names"));
        }
        match reading {
            Reading::Known(statement) => Ok(statement),
            Reading::Future(_) if self.speaks_of_the_future(author, rights) => {
                let message =
                    format!("fold log entry {}: an unknown statement; a newer shudao is needed", self.next);
                Err(Stop::Fatal(Error::new(Kind::Unsupported, message)))
            }
            Reading::Future(_) => garbage("its statement is of an unknown kind"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
