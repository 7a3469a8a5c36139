//! What the suite takes from the machine and from the library underneath, where nothing is replayed.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

/// Fills `bytes` from the operating system's random source.
pub(super) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system's random source answers");
}

/// The pair's Ed25519 signature over `message`.
pub(super) fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature.copy_from_slice(pair.sign(message).as_ref());
    signature
}

/// Whether `signature` is that of the Ed25519 key `key` over `message`.
pub(super) fn verifies(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}
