//! What the suite takes from the machine and from the library underneath, where nothing is replayed.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

/// Fills `bytes` from the operating system's random source.
pub(super) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system's random source answers");
}

/// Whether `signature` is that of the Ed25519 key `key` over `message`.
pub(super) fn verifies(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}
