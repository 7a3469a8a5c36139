//! Who may open what: roles, key rings, certificates, slots.

pub mod ring;

pub use ring::{KeyRing, Role};
