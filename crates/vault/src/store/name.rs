//! Names of objects inside a store: which ones are ours.
//!
//! A name is what joins the vault's layout to a path or a key, so it is checked once, here, and every backend may
//! join it to its root without looking again.

use crate::error::{Error, Kind, Result};

/// The longest name that any backend has to take.
const NAME_BYTES_MAX: usize = 512;
/// The longest part between two slashes.
const PART_BYTES_MAX: usize = 200;

/// Where the local backend keeps what is not yet an object; no object may live there.
pub(super) const TEMPORARY: &str = "tmp";

/// Checks that `path` names an object: parts of `A-Z a-z 0-9 . _ ~ -` joined by single slashes, no part beginning
/// with a dot, the first not `tmp`.
///
/// # Errors
/// [`Kind::Bug`]: names are made by us, never taken from outside unchecked.
pub(super) fn check(path: &str) -> Result<()> {
    if is_object_name(path) { Ok(()) } else { Err(bad("object", path)) }
}

/// Checks that `prefix` is a directory of names: empty, or a name followed by a slash.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    let fits = prefix.is_empty() || prefix.strip_suffix('/').is_some_and(is_object_name);
    if fits { Ok(()) } else { Err(bad("prefix", prefix)) }
}

/// Whether `path` could name an object; what a listing shows beside such names is not ours.
pub(super) fn is_object_name(path: &str) -> bool {
    path.len() <= NAME_BYTES_MAX
        && path.split('/').all(is_part)
        && path.split('/').next().is_some_and(|first| first != TEMPORARY)
}

fn is_part(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    !part.is_empty() && part.len() <= PART_BYTES_MAX && !part.starts_with('.') && part.bytes().all(allowed)
}

fn bad(what: &str, path: &str) -> Error {
    Error::new(Kind::Bug, format!("{path:?} cannot be the {what} of a store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_kind_of_name_is_taken() {
        let long = "a".repeat(PART_BYTES_MAX + 1);
        let table = [
            ("vault.json", true),
            ("packs/ab/abcd~1042", true),
            ("logs/0a/00000001/00000002.history", true),
            ("tmpfile", true),
            ("", false),
            ("/packs", false),
            ("packs/", false),
            ("packs//ab", false),
            ("packs/../vault.json", false),
            ("packs/.hidden", false),
            ("tmp/1-1", false),
            ("tmp", false),
            ("packs/a b", false),
            ("packs/é", false),
            ("packs/a\0b", false),
            (&long, false),
        ];
        for (path, expected) in table {
            assert_eq!(check(path).is_ok(), expected, "{path:?}");
        }
    }

    #[test]
    fn a_prefix_is_empty_or_ends_with_a_slash() {
        for (prefix, expected) in [
            ("", true),
            ("packs/", true),
            ("packs/ab/", true),
            ("packs", false),
            ("/", false),
            ("../", false),
        ] {
            assert_eq!(check_prefix(prefix).is_ok(), expected, "{prefix:?}");
        }
    }
}
