//! What one log says that another has not heard. Pure.

use crate::log::rules::Rule;
use crate::log::state::{Standing, State};
use crate::log::statement::{Body, KeyPresence, Statement};

impl State {
    /// Whether publishing this statement here would change anything. Whether it is valid here is another question.
    pub fn is_news(&self, statement: &Statement) -> bool {
        let serial = statement.serial;
        match &statement.body {
            Body::Commit(commit) => {
                let is_forgotten = Rule::ForgetsAreFinal.holds() && self.forgotten.contains(&commit.snapshot);
                !is_forgotten && !self.visible.contains_key(&commit.snapshot)
            }
            Body::Hold(snapshot) | Body::Release(snapshot) => {
                serial > self.holds.get(snapshot).map_or(0, |(known, _)| *known)
            }
            Body::Vouch(objects) => objects.iter().any(|object| !self.vouched.contains(object)),
            Body::Bad(frames) => frames.iter().any(|frame| !self.bad.contains(frame)),
            Body::Key { subject, .. } => serial > self.subjects.get(subject).map_or(0, |(known, _)| *known),
            Body::Config(_) => serial > self.config_serial,
            Body::Replaces(replaces) => {
                let mut new = replaces.replacements.iter().flat_map(|replacement| &replacement.new);
                new.any(|pack| !self.is_compacted(pack))
            }
        }
    }

    /// Whether this statement is still what counts here, as far as a later one could have taken its place.
    pub fn is_in_force(&self, statement: &Statement) -> bool {
        let serial = statement.serial;
        match &statement.body {
            Body::Hold(snapshot) | Body::Release(snapshot) => {
                self.holds.get(snapshot).is_some_and(|(known, _)| *known == serial)
            }
            Body::Key { subject, presence: KeyPresence::Slot(object) } => {
                self.subjects.get(subject) == Some(&(serial, Standing::Slot(*object)))
            }
            Body::Config(_) => self.config_serial == serial,
            // What a removed key signed before must stay verifiable, and what it is removed for must be known.
            Body::Key { presence: KeyPresence::Removed | KeyPresence::Certificate(_), .. }
            | Body::Commit(_)
            | Body::Vouch(_)
            | Body::Bad(_)
            | Body::Replaces(_) => true,
        }
    }
}
