//! What a keeper may forget: the snapshots that the owner's retention lets go.

use std::collections::BTreeSet;

use crate::id::{SnapshotId, Timestamp};
use crate::keys::Rights;
use crate::log::fold::{Appender, Judged, Reason, Stop, rule};
use crate::log::state::State;
use crate::retention::{Candidate, Policy, let_go};

impl State {
    /// The visible snapshots that the owner's retention lets go at the time `now`; none where there is no retention, or
    /// none that this version can read.
    pub fn expired(&self, now: Timestamp) -> BTreeSet<SnapshotId> {
        let Ok(policy) = self.config().retention.parse::<Policy>() else { return BTreeSet::new() };
        let candidates: Vec<Candidate<'_>> = self
            .visible()
            .iter()
            .map(|(id, visible)| Candidate {
                id: *id,
                source: visible.source,
                sequence: visible.sequence,
                time: visible.time,
                held: self.is_held(id),
                tags: None,
            })
            .collect();
        let_go(&policy, &candidates, now)
    }

    /// Judges a forget by a key that may forget only what is expired.
    pub(super) fn judge_expired(&self, appender: Appender, snapshots: &[SnapshotId]) -> Judged<()> {
        debug_assert!(!appender.rights.allow(Rights::FORGET), "who may forget anything is not asked");
        if self.config().retention.is_empty() {
            return Err(Stop::Void(Reason::Forbidden { author: appender.author, what: "forget" }));
        }
        let expired = self.expired(appender.time);
        if snapshots.iter().all(|snapshot| expired.contains(snapshot)) {
            return Ok(());
        }
        rule("the owner's retention keeps a snapshot that is to be forgotten")
    }
}

#[cfg(test)]
mod tests {
    use crate::log::config::Config;
    use crate::log::effect::OpKind;
    use crate::log::fold::tests::{TIME, World, forget, snapshot};
    use crate::log::statement::Body;

    #[test]
    fn a_keeper_forgets_what_the_owners_retention_lets_go_and_nothing_else() {
        let mut world = World::new();
        let [owner, writer, keeper] = [world.owner.clone(), world.writer.clone(), world.keeper.clone()];
        for number in 1..=4 {
            world.committed(&writer, number);
        }
        world.forbidden(&keeper, forget(&[1]));
        for (retention, expired) in
            [("keep-last 2", &[1, 2][..]), ("keep-everything", &[]), ("keep-last 9", &[])]
        {
            let config = Config { retention: retention.to_owned(), ..Config::default() };
            let op = world.publish(Body::Config(config));
            world.applies(&owner, op, OpKind::Config);
            let expired: Vec<_> = expired.iter().map(|number| snapshot(*number)).collect();
            assert_eq!(world.state.expired(TIME).into_iter().collect::<Vec<_>>(), expired, "{retention}");
        }
        world.breaks_rule(&keeper, forget(&[1]), "retention keeps");
        let op =
            world.publish(Body::Config(Config { retention: "keep-last 2".to_owned(), ..Config::default() }));
        world.applies(&owner, op, OpKind::Config);
        world.breaks_rule(&keeper, forget(&[2, 3]), "retention keeps");
        world.breaks_rule(&keeper, forget(&[1, 77]), "retention keeps");
        world.forbidden(&writer, forget(&[1]));
        let op = world.publish(Body::Hold(snapshot(1)));
        world.applies(&owner, op, OpKind::Hold);
        world.breaks_rule(&keeper, forget(&[1]), "held");
        world.applies(&keeper, forget(&[2]), OpKind::Forget);
        world.breaks_rule(&keeper, forget(&[3]), "retention keeps");
        world.applies(&owner, forget(&[3, 4]), OpKind::Forget);
    }
}
