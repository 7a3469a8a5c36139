//! Copying objects between replicas of one vault: what brings a replica level, and what mends it.
//!
//! Needs no key: an object is copied if and only if its bytes hash to its name.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@copy`] | one object from whichever sibling has it |
//! | [`shortfall`] | what a snapshot needs that a replica does not hold (pure) |
//! | [`history`] | the statements of a log, to be carried to another |
//! | [`courier`] | bringing a replica level, without keys |
//! | [`mod@behind`] | by how much a replica is behind |
//! | [`mod@mend`] | a whole copy in the place of a damaged object |

pub mod behind;
pub mod copy;
pub mod courier;
pub mod history;
pub mod mend;
pub mod shortfall;

pub use behind::{Behind, behind};
pub use copy::{Copied, copy, copy_all};
pub use courier::{Failed, SyncProgress, Synced, sync};
pub use mend::{mend, mend_key};
pub use shortfall::Shortfall;
