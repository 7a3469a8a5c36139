//! A fuzz target per decoder. Whatever the bytes, a target returns: it never panics, never runs long, never takes
//! memory by a length that it has not checked.
//!
//! A new decoder is one line in [`TARGETS`] and a directory with a few valid inputs in `corpus/<name>/`. Every test
//! run replays the corpus with mutations; to search on, with the nightly compiler and cargo-fuzz:
//!
//! ```text
//! SHUDAO_FUZZ_TARGET=codec cargo +nightly fuzz run --features libfuzzer decoder fuzz/corpus/codec
//! ```

use shudao_vault::codec::Decoder;
use shudao_vault::id::VaultId;
use shudao_vault::object::{self, ObjectKind};
use shudao_vault::suite::WrappedKey;

/// What a target is called, and what it does with bytes of unknown origin.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. The name is the corpus's directory.
pub const TARGETS: &[Target] = &[
    ("codec", codec),
    ("object-header", |bytes| drop(object::open(bytes, ObjectKind::Segment, VAULT, "object"))),
    ("object-trailer", |bytes| drop(object::without_trailer(bytes, "object"))),
    ("wrapped-key", |bytes| drop(WrappedKey::decode(&mut Decoder::new(bytes, "wrapped key")))),
];

/// The vault that the corpus's objects belong to.
pub const VAULT: VaultId = VaultId([7; VaultId::LEN]);

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

/// Reads primitive values in the order that the input itself asks for: an odd byte says which comes next.
fn codec(bytes: &[u8]) {
    let mut input = Decoder::new(bytes, "values");
    while let Ok(choice) = input.u8() {
        let read = match choice % 9 {
            0 => input.u32().map(drop),
            1 => input.u64().map(drop),
            2 => input.i64().map(drop),
            3 => input.varint().map(drop),
            4 => input.varint_u32().map(drop),
            5 => input.bytes(1 << 16).map(drop),
            6 => input.array::<32>().map(drop),
            7 => input.count(8).map(|count| drop(Vec::<u64>::with_capacity(count))),
            _ => input.clone().finish(),
        };
        if read.is_err() {
            return;
        }
    }
}
