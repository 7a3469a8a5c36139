//! Sessions that were interrupted, and taking over what they stored.

use futures_util::future::join_all;

use super::Vault;
use crate::error::{Error, Kind, Result};
use crate::id::{SessionId, SourceId, Timestamp};
use crate::log::Signer;
use crate::log::state::SessionState;
use crate::objects::Objects;
use crate::pack::PackContents;
use crate::replicas::Failures;
use crate::resume::{self, Adopted, Adoption, Found, Shelf};
use crate::session::Session;

impl Vault {
    /// The open sessions of `source` that a run of this key may take up, the newest first: begun by this key or a named
    /// predecessor, closed on no replica, and not overtaken by a snapshot of the source.
    pub fn interrupted(&self, source: &SourceId) -> Vec<SessionId> {
        let trusted = self.trusted_writers();
        let newest = self.latest(source).and_then(|id| self.find_visible(&id)).map(|newest| newest.sequence);
        let states = || self.replicas.iter().map(|replica| replica.state());
        let mut open: Vec<(u64, SessionId)> = states()
            .flat_map(|state| state.open_sessions())
            .filter(|(_, session)| session.source == *source && trusted.contains(&session.author))
            .map(|(id, session)| (session.begun, id))
            .filter(|(_, id)| {
                let everywhere = || states().filter_map(|state| state.session(*id));
                let parent = everywhere().find_map(|session| session.parent);
                let built_on =
                    parent.and_then(|parent| self.find_visible(&parent)).map(|parent| parent.sequence);
                newest <= built_on && everywhere().all(|session| session.state == SessionState::Open)
            })
            .collect();
        open.sort_unstable_by(|a, b| b.cmp(a));
        // A session that several logs know comes once for each.
        let mut seen = std::collections::BTreeSet::new();
        open.into_iter().map(|(_, id)| id).filter(|id| seen.insert(*id)).collect()
    }

    /// Whether a session has committed on any replica.
    pub fn has_committed(&self, session: SessionId) -> bool {
        let states = self.replicas.iter().filter_map(|replica| replica.state().session(session));
        states.into_iter().any(|session| matches!(session.state, SessionState::Committed(_)))
    }

    /// The last whole checkpoint of a session, from whichever replica has the latest.
    ///
    /// # Errors
    /// [`Kind::Missing`] if no log knows such a session; the stores', if none can be asked.
    pub async fn checkpoint_of(&self, session: SessionId) -> Result<Found> {
        let begun = self.replicas.iter().find_map(|replica| replica.state().session(session));
        let author = begun.and_then(|begun| self.verify_key(&begun.author));
        let unknown = || Error::new(Kind::Missing, format!("no log knows session {session}"));
        let author = author.ok_or_else(unknown)?;
        let look = |replica: &crate::replica::Replica| {
            let (store, author) = (replica.store().clone(), author);
            async move { resume::find(&store, session, &self.ring, &author).await }
        };
        let mut best: Option<Found> = None;
        let mut failures = Failures::default();
        for found in join_all(self.replicas.iter().map(look)).await {
            match found {
                Ok(found) => best = Some(best.unwrap_or_default().or_later(found)),
                Err(error) => failures.add(error),
            }
        }
        best.ok_or_else(|| failures.into_error(|| "look for checkpoints".to_owned()))
    }

    /// Takes over for `session`, which has begun at `place`, what an interrupted one stored: keeps what of it is condemned
    /// there, then looks everything up. What is on no replica any more is left out and told.
    ///
    /// # Errors
    /// The stores' and the index's; [`Kind::Conflict`] if the session was closed.
    pub async fn adopt(
        &mut self,
        (session, place): (&Session, usize),
        shelf: Shelf,
        packs: Vec<PackContents>,
        now: Timestamp,
    ) -> Result<Adopted> {
        let adoption = Adoption { shelf, packs, trusted: self.trusted_writers(), live: self.segments_live() };
        let verify_key = |writer| self.verify_key(&writer);
        let gathered = resume::gather(&self.siblings, &self.ring, &verify_key, adoption).await?;
        let ring = std::sync::Arc::clone(&self.ring);
        let signer = Signer { key: &ring.signing, time: now };
        session.keep_condemned(&mut self.replicas[place], signer, &gathered.names()).await?;
        let objects: Vec<Objects> = self.replicas.iter().map(|replica| replica.objects().clone()).collect();
        resume::take(&objects, &ring, self.update_index().await?, gathered).await
    }
}
