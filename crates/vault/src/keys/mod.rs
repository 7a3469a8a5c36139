//! Who may open what: roles, key rings, certificates, slots.
//!
//! Layouts: `docs/format/keys.md`. Keys found in a store are never trusted by themselves: a certificate or slot counts
//! only if the owner signed it and the replica's log names it.

pub mod bundle;
pub mod certificate;
pub mod passphrase;
pub mod recipient;
pub mod ring;
pub mod share;
pub mod slot;

pub use certificate::{Certificate, Rights};
pub use ring::{KeyRing, Role};
pub use share::Share;
pub use slot::{KeySlot, Unlock, open_slot, open_slots};

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};

/// Reads a text: UTF-8 of at most `len_max` bytes without control characters, so that it is safe to print.
pub(crate) fn decode_text(input: &mut Decoder<'_>, len_max: usize) -> Result<String> {
    let text = std::str::from_utf8(input.bytes(len_max)?).map_err(|_| input.error("text is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(input.error("text has control characters"));
    }
    Ok(text.to_owned())
}

/// Appends a text; [`Kind::Input`] if a reader would refuse it.
pub(crate) fn encode_text(out: &mut Encoder, text: &str, len_max: usize) -> Result<()> {
    if text.len() > len_max || text.chars().any(char::is_control) {
        let message = format!("write {text:?}: more than {len_max} bytes, or control characters");
        return Err(Error::new(Kind::Input, message));
    }
    out.bytes(text.as_bytes());
    Ok(())
}

/// Reads items whose keys strictly ascend: a count, then each by `item`, which takes at least `bytes_min` bytes.
pub(crate) fn decode_ascending<K: Ord, T>(
    input: &mut Decoder<'_>,
    bytes_min: usize,
    item: impl Fn(&mut Decoder<'_>) -> Result<T>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>> {
    let count = input.count(bytes_min)?;
    let mut items: Vec<T> = Vec::with_capacity(count);
    for _ in 0..count {
        let next = item(input)?;
        if items.last().is_some_and(|last| key(last) >= key(&next)) {
            return Err(input.error("list is not strictly ascending"));
        }
        items.push(next);
    }
    Ok(items)
}
