//! A fuzz target per decoder. Whatever the bytes, a target returns: it never panics, never runs long, never takes
//! memory by a length that it has not checked. It says whether it accepted the bytes.
//!
//! Signatures, checksums and seals keep noise out before a decoder sees much of it. So a target takes bytes as they come
//! and once more with their signature or checksum put right, under keys that everyone knows; and what lies under a seal
//! is given in the clear and sealed by the target.
//!
//! A new decoder is one line in [`TARGETS`] and a few valid inputs in `examples/corpus.rs`, which writes
//! `corpus/<name>/`. Every test run replays the corpus with mutations; to search on, with the nightly compiler and
//! cargo-fuzz:
//!
//! ```text
//! SHUDAO_FUZZ_TARGET=codec cargo +nightly fuzz run --features libfuzzer decoder fuzz/corpus/codec
//! ```

pub mod fixture;
mod targets;

use targets::{keys, log, objects, packs, sessions, snapshots, text, trees};

/// What a target is called, and what it does with bytes of unknown origin: true if it accepts them.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets. The name is the corpus's directory.
pub const TARGETS: &[Target] = &[
    ("certificate", keys::certificate),
    ("chunker", trees::chunker),
    ("codec", objects::codec),
    ("frame", packs::frame),
    ("identity-text", text::identity),
    ("journal", sessions::journal),
    ("key-bundle", keys::bundle),
    ("key-slot", keys::slot),
    ("list-node", trees::list_node),
    ("log-checkpoint", log::checkpoint),
    ("log-entry", log::entry),
    ("log-fold", log::fold),
    ("need-list", packs::need_list),
    ("object-header", objects::header),
    ("object-trailer", objects::trailer),
    ("pack", packs::whole),
    ("pack-directory", packs::directory),
    ("pack-footer", packs::footer),
    ("pack-header", packs::header),
    ("passphrase-text", text::passphrase),
    ("policy-text", text::policy),
    ("recipient-text", text::recipient),
    ("retention", text::retention),
    ("segment", packs::segment),
    ("segment-body", packs::segment_body),
    ("session-checkpoint", sessions::checkpoint),
    ("session-contents", sessions::contents),
    ("share-text", text::share),
    ("snapshot", snapshots::whole),
    ("snapshot-contents", snapshots::contents),
    ("statement", log::statement),
    ("store-address", text::address),
    ("tree-node", trees::tree_node),
    ("vault-file", objects::vault_file),
    ("wrapped-key", keys::wrapped),
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8]) -> bool> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
