//! What stands on a source: the walk over a file tree, the files as they are read, and a command's output.
//!
//! ```text
//! ScanOptions -> scan -> Scanned::Found … -> Found::open -> OpenFile::next_piece …
//! ```
//!
//! The walk goes by directory handles and single names, never by whole paths: no path is too long for it, and a
//! directory that becomes a symbolic link under its feet leads nowhere. What decides (excludes, order of roots,
//! whether a file is settled or unchanged) is pure; the rest is one system call after another.
//!
//! | module | holds |
//! |---|---|
//! | `found` | [`Found`], [`Scanned`]: what the walk says |
//! | `walk`, `roots`, `names`, `directory` | the walk, what it was asked for, sorted names, directory handles |
//! | `status`, `xattrs`, `owners` | what is known of one name |
//! | `clock`, `unchanged` | when a file may be reused unread |
//! | `links`, `excludes` | hard-link groups, exclude patterns |
//! | `reader`, [`command`] | where bytes come from |

mod clock;
pub mod command;
mod directory;
mod excludes;
mod found;
mod links;
mod names;
mod owners;
mod reader;
mod roots;
mod status;
mod unchanged;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub use clock::{Clock, is_settled};
pub use excludes::{ExcludeError, Excludes, ExcludesBuilder};
pub use found::{Found, FoundNode, FoundXattr, Scanned, Unread, UnreadKind, Why, classify};
pub use links::HardLinks;
pub use reader::{OpenFile, Piece};
pub(crate) use roots::absolute;
pub use status::Fingerprint;
pub(crate) use status::{Follow, Status};
pub use unchanged::unchanged;
pub use walk::{Scan, ScanError, ScanOptions, scan};
