//! Randomness that follows from a seed, for tests that must be replayed. Takes the place of [`super::source`] in tests, and does
//! the same as long as a thread has set no seed.

use std::cell::RefCell;
use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use blake3::OutputReader;

use super::source;

thread_local! {
    static SOURCE: RefCell<Option<OutputReader>> = const { RefCell::new(None) };
    static VERIFIED: RefCell<HashMap<[u8; 32], bool>> = RefCell::default();
}

/// Lets [`super::random`] follow from `seed` on this thread from now on.
pub(crate) fn set(seed: u64) {
    let reader = blake3::Hasher::new().update(b"seed").update(&seed.to_le_bytes()).finalize_xof();
    SOURCE.with_borrow_mut(|source| *source = Some(reader));
    VERIFIED.with_borrow_mut(HashMap::clear);
}

/// Fills `bytes` with what comes next.
pub(super) fn fill(bytes: &mut [u8]) {
    SOURCE.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.fill(bytes),
        None => source::fill(bytes),
    });
}

/// What is known of a signature is known of these three.
fn question(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> [u8; 32] {
    *blake3::Hasher::new().update(key).update(signature).update(message).finalize().as_bytes()
}

/// The pair's signature over `message`.
pub(super) fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; 64] {
    let signature = source::sign(pair, message);
    if SOURCE.with_borrow(Option::is_some)
        && let Ok(key) = pair.public_key().as_ref().try_into()
    {
        VERIFIED.with_borrow_mut(|verified| verified.insert(question(key, message, &signature), true));
    }
    signature
}

/// Whether the signature holds. In a simulation many clients read one log: each signature is looked at once, and one that was
/// made there never.
pub(super) fn verifies(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let verify = || source::verifies(key, message, signature);
    if SOURCE.with_borrow(Option::is_none) {
        return verify();
    }
    let asked = question(key, message, signature);
    let known = VERIFIED.with_borrow(|verified| verified.get(&asked).copied());
    known.unwrap_or_else(|| {
        let outcome = verify();
        VERIFIED.with_borrow_mut(|verified| verified.insert(asked, outcome));
        outcome
    })
}
