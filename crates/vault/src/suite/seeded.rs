//! Randomness that follows from a seed, for tests that must be replayed.

use std::cell::RefCell;
use std::collections::HashMap;

use blake3::OutputReader;

thread_local! {
    static SOURCE: RefCell<Option<OutputReader>> = const { RefCell::new(None) };
    static VERIFIED: RefCell<HashMap<[u8; 32], bool>> = RefCell::default();
}

/// The outcome of `verify`, asked once for each `parts` on this thread: in a simulation many clients read one log.
pub(super) fn once(parts: &[&[u8]], verify: impl FnOnce() -> bool) -> bool {
    if SOURCE.with_borrow(Option::is_none) {
        return verify();
    }
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let asked = *hasher.finalize().as_bytes();
    let known = VERIFIED.with_borrow(|verified| verified.get(&asked).copied());
    known.unwrap_or_else(|| {
        let outcome = verify();
        VERIFIED.with_borrow_mut(|verified| verified.insert(asked, outcome));
        outcome
    })
}

/// Lets [`super::random`] follow from `seed` on this thread from now on.
pub(crate) fn set(seed: u64) {
    let reader = blake3::Hasher::new().update(b"seed").update(&seed.to_le_bytes()).finalize_xof();
    SOURCE.with_borrow_mut(|source| *source = Some(reader));
    VERIFIED.with_borrow_mut(HashMap::clear);
}

/// The next bytes; `None` where no seed was set.
pub(super) fn bytes<const N: usize>() -> Option<[u8; N]> {
    SOURCE.with_borrow_mut(|source| {
        let mut bytes = [0; N];
        source.as_mut()?.fill(&mut bytes);
        Some(bytes)
    })
}
