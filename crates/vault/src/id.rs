//! Names of things: random ids, content hashes, times.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The id as bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Lower-case hexadecimal.
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                to_hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; $len];
                from_hex(text, &mut bytes)
                    .then_some(Self(bytes))
                    .ok_or_else(|| Error::new(Kind::Input, format!("{text:?} is not {} hexadecimal digits", 2 * $len)))
            }
        }
    };
}

id_type!(
    /// A vault: one deduplication, key and erasure domain. Random.
    VaultId, 16
);
id_type!(
    /// One replica's log, drawn at its birth. Random.
    ReplicaId, 16
);
id_type!(
    /// A holder of a signing key: the owner, a writer or a keeper.
    WriterId, 16
);
id_type!(
    /// One run's right to commit. Random.
    SessionId, 16
);
id_type!(
    /// A key slot; stays the same when the slot is sealed anew. Random.
    SlotId, 16
);
id_type!(
    /// One protection of a snapshot that is being read. Random.
    PinId, 16
);
id_type!(
    /// One client: a state directory. Random.
    ClientId, 16
);
id_type!(
    /// A source, opaque to anyone without the vault's keys: a keyed hash of its name.
    SourceId, 16
);
id_type!(
    /// First 16 bytes of an object key's commitment; what frames and associated data name.
    KeyId, 16
);
id_type!(
    /// BLAKE3 of plain bytes: a whole file, a chunk or a tree node.
    Digest, 32
);
id_type!(
    /// Keyed BLAKE3 of a chunk's plain digest: the name under which the index knows it.
    ChunkId, 32
);
id_type!(
    /// BLAKE3 of a stored object's bytes: packs, segments, need lists, snapshots, key objects.
    ObjectId, 32
);

/// A pack's id.
pub type PackId = ObjectId;
/// A segment's id.
pub type SegmentId = ObjectId;
/// A need list's id.
pub type NeedListId = ObjectId;
/// A snapshot's id.
pub type SnapshotId = ObjectId;

/// Microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Digest {
    /// BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl ObjectId {
    /// The id of an object with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Lower-case hexadecimal of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Fills `out` from hexadecimal digits; false unless `text` is exactly that long and only digits.
pub fn from_hex(text: &str, out: &mut [u8]) -> bool {
    if text.len() != 2 * out.len() {
        return false;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return false };
        *byte = (high * 16 + low) as u8;
    }
    true
}
