//! What is stored, and what we promise about it.
//!
//! The byte layouts are specified in `docs/format/`; this crate is their implementation and the only code that
//! encodes or decodes them. It knows nothing of files on a source, of operators or of schedules.
//!
//! | module | holds |
//! |---|---|
//! | [`id`], [`codec`], [`object`], [`error`] | the words every other module uses |
//! | [`suite`], [`keys`], [`vault_file`] | cryptography behind one door; who may open what |
//! | [`store`] | the only door to object storage |
//! | [`entry`], [`tree`], [`roots`], [`snapshot`] | what a snapshot says about a source |
//! | [`frame`], [`pack`], [`segment`], [`index`], [`need`], [`needed`] | where content lies and what a snapshot needs |
//! | [`name`], [`objects`] | immutable objects, and where a replica keeps them |
//! | [`log`] | order: what is true on a replica |
//! | [`lock_pass`], [`pin`] | keeping locked what a replica needs; keeping what a reader reads |
//! | [`retention`], [`collect`] | which snapshots stay; which objects are waste, and how they go |
//! | [`replica`], [`replicas`] | one replica; several, read as one |
//! | [`sync`] | copying between replicas |
//! | [`vault`], [`session`], [`reliance`], [`resume`] | the handles that the other crates work with; what a session may rely on unread; what an interrupted one leaves |

pub mod client;
pub mod codec;
pub mod collect;
pub mod entry;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod id;
pub mod index;
pub mod keys;
pub mod lock_pass;
pub mod log;
pub mod name;
pub mod need;
pub mod needed;
pub mod object;
pub mod objects;
pub mod pack;
pub mod pin;
pub mod reader;
pub mod reliance;
pub mod remembered;
pub mod replica;
pub mod replicas;
pub mod resume;
pub mod retention;
pub mod roots;
#[cfg(test)]
mod sample;
pub mod segment;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod snapshot;
pub mod store;
pub mod suite;
pub mod sync;
pub mod tree;
pub mod vault;
pub mod vault_file;

pub use error::{Error, Kind, Result};
