//! Paths for people and for programs. A name on a source is bytes: it may be no UTF-8 and may hold control characters.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use shudao_vault::entry::TreePath;
use shudao_vault::id::to_hex;

/// Raw bytes that name something: a path, a link's target, a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct RawPath(pub(crate) Vec<u8>);

impl From<&Path> for RawPath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&TreePath> for RawPath {
    fn from(path: &TreePath) -> Self {
        Self(path.as_bytes().to_vec())
    }
}

impl From<&str> for RawPath {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Display for RawPath {
    /// For people: bytes that are not UTF-8, control characters and marks that turn the direction of writing are
    /// escaped, so that a name cannot command the terminal or disguise itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' || turns_direction(character) {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Text of somebody else's making, for people: escaped as [`RawPath`] is.
pub(crate) fn escaped(text: &str) -> String {
    RawPath::from(text).to_string()
}

fn turns_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path as the fields `path` and, only where the bytes are not UTF-8, `path_hex`. To be flattened into an object.
impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        named("path", "path_hex", &self.0, serializer)
    }
}

/// A link's target as the fields `target` and, only where the bytes are not UTF-8, `target_hex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkTarget(pub(crate) RawPath);

impl Serialize for LinkTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        named("target", "target_hex", &self.0.0, serializer)
    }
}

fn named<S: Serializer>(
    name: &'static str,
    hex: &'static str,
    bytes: &[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry(name, &String::from_utf8_lossy(bytes))?;
    if std::str::from_utf8(bytes).is_err() {
        map.serialize_entry(hex, &to_hex(bytes))?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_escapes() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain/name", "plain/name"),
            ("蜀道".as_bytes(), "蜀道"),
            (b"a\nb\x1b[2J", "a\\nb\\u{1b}[2J"),
            (b"back\\slash\xff", "back\\\\slash\\xff"),
            ("exe\u{202e}txt".as_bytes(), "exe\\u{202e}txt"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(RawPath(bytes.to_vec()).to_string(), shown);
        }
    }

    #[test]
    fn programs_get_every_byte_back() {
        let json = |bytes: &[u8]| serde_json::to_string(&RawPath(bytes.to_vec())).unwrap();
        assert_eq!(json(b"a\nb"), r#"{"path":"a\nb"}"#);
        assert_eq!(json(b"a\xffb"), "{\"path\":\"a\u{fffd}b\",\"path_hex\":\"61ff62\"}");
    }
}
