//! Copying objects between replicas of one vault: what brings a replica level, and what mends it.
//!
//! Needs no key: an object is copied if and only if its bytes hash to its name.
//!
//! | module | holds |
//! |---|---|
//! | [`copy`] | one object from whichever sibling has it |
//! | [`shortfall`] | what a snapshot needs that a replica does not hold (pure) |

pub mod copy;
pub mod shortfall;

pub use copy::{Copied, copy, copy_all};
pub use shortfall::Shortfall;
