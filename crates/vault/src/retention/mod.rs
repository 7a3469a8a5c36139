//! Which snapshots stay and which may go.
//!
//! Pure: snapshots, rules, the time and the zone come in; decisions with their reasons come out. The rules stand on the
//! command line of `forget`, or in the owner's config as a text ([`Policy`]), against which the log judges what a keeper
//! forgets. What the text may say is in `docs/format/log.md`.
//!
//! *Invariants:* rules only ever keep: with more of them, or larger numbers, nothing more is dropped. Without rules nothing
//! is dropped at all. The newest snapshot of a source always stays, and so does every one that is held, or whose clock is
//! in doubt.

mod calendar;
mod clock;
mod plan;
mod policy;

pub use calendar::{Period, Zone, fixed_zone};
pub use clock::Doubt;
pub use plan::{Candidate, Decision, Reason, plan};
pub use policy::{Policy, Rules, Span, let_go};

#[cfg(test)]
mod tests;
