//! `vault.json`: what a vault is, and the key on which everything signed in it hangs.
//!
//! Layout: `docs/format/keys.md` section 1. Written once, never changed.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{VaultId, WriterId, from_hex, to_hex};
use crate::object::FORMAT_VERSION;
use crate::suite::VerifyKey;

/// The name of the one suite that this build knows.
pub const SUITE_NAME: &str = "std-1";

const MAGIC: &str = "shudao vault";
const BYTES_MAX: usize = 4096;

/// The contents of `vault.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultFile {
    /// The vault.
    pub vault: VaultId,
    /// Format version that the vault was made with.
    pub format: u8,
    /// Name of the cryptographic suite.
    pub suite: String,
    /// The owner's verification key.
    pub owner: VerifyKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    magic: String,
    vault: String,
    format: u64,
    suite: String,
    owner: String,
}

/// The fields that decide whether this build may read the rest.
#[derive(Deserialize)]
struct Preamble {
    magic: String,
    format: u64,
    suite: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checksum {
    blake3: String,
}

impl VaultFile {
    /// The file of a new vault of this build's format and suite.
    pub fn new(vault: VaultId, owner: VerifyKey) -> Self {
        Self { vault, format: FORMAT_VERSION, suite: SUITE_NAME.to_owned(), owner }
    }

    /// The holder id of the owner's key; in hexadecimal it is the fingerprint that people compare.
    pub fn owner_id(&self) -> WriterId {
        self.owner.writer_id()
    }

    /// BLAKE3 of the encoded file, which every key slot binds.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.encode()).as_bytes()
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = line(&Description {
            magic: MAGIC.to_owned(),
            vault: self.vault.to_hex(),
            format: u64::from(self.format),
            suite: self.suite.clone(),
            owner: to_hex(&self.owner.0),
        });
        let blake3 = to_hex(blake3::hash(text.as_bytes()).as_bytes());
        text.push_str(&line(&Checksum { blake3 }));
        text.into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a newer format or another suite, [`Kind::Damaged`] for everything else that is not
    /// exactly what [`VaultFile::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |problem: &str| Error::damaged(format!("decode vault.json: {problem}"));
        if bytes.len() > BYTES_MAX {
            return Err(damaged("is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text"))?;
        let end = text.find('\n').ok_or_else(|| damaged("ends too early"))? + 1;
        let (first, second) = text.split_at(end);
        let checksum: Checksum =
            serde_json::from_str(second).map_err(|cause| damaged("has no checksum line").because(cause))?;
        if checksum.blake3 != to_hex(blake3::hash(first.as_bytes()).as_bytes()) {
            return Err(damaged("its checksum does not match"));
        }
        let preamble: Preamble =
            serde_json::from_str(first).map_err(|cause| damaged("is not a description").because(cause))?;
        if preamble.magic != MAGIC {
            return Err(damaged("does not begin with the vault's magic"));
        }
        if preamble.format > u64::from(FORMAT_VERSION) || preamble.suite != SUITE_NAME {
            let message = format!(
                "decode vault.json: format {}, suite {:?}: a newer shudao is needed",
                preamble.format, preamble.suite
            );
            return Err(Error::new(Kind::Unsupported, message));
        }
        let read: Description =
            serde_json::from_str(first).map_err(|cause| damaged("has unknown fields").because(cause))?;
        let (mut vault, mut owner) = ([0; VaultId::LEN], [0; 32]);
        if !from_hex(&read.vault, &mut vault) || !from_hex(&read.owner, &mut owner) {
            return Err(damaged("has an id that is not hexadecimal"));
        }
        let file = Self {
            vault: VaultId(vault),
            format: FORMAT_VERSION,
            suite: read.suite,
            owner: VerifyKey(owner),
        };
        // One spelling only: what people compare by hash must not have two forms.
        if file.encode() == bytes { Ok(file) } else { Err(damaged("is not in its canonical form")) }
    }
}

fn line<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string(value).expect("strings and numbers have a JSON form");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> VaultFile {
        VaultFile::new(VaultId([7; 16]), VerifyKey([9; 32]))
    }

    fn with_checksum(first: &str) -> Vec<u8> {
        let blake3 = to_hex(blake3::hash(first.as_bytes()).as_bytes());
        format!("{first}{}", line(&Checksum { blake3 })).into_bytes()
    }

    #[test]
    fn the_file_reads_as_it_was_written() {
        let bytes = sample().encode();
        assert_eq!(VaultFile::decode(&bytes).unwrap(), sample());
        assert_eq!(sample().hash(), *blake3::hash(&bytes).as_bytes());
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(VaultFile::decode(&bad).is_err(), "byte {at} bit {bit}");
            }
            assert!(VaultFile::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn other_forms_are_refused_by_kind() {
        let good = String::from_utf8(sample().encode()).unwrap();
        let first = good.lines().next().unwrap();
        let cases = [
            (first.replace("\"format\":0", "\"format\":9,\"new\":1"), Kind::Unsupported),
            (first.replace("std-1", "gm-1"), Kind::Unsupported),
            (first.replace("shudao vault", "shudao volt"), Kind::Damaged),
            (first.replace("\"format\":0", "\"format\":0,\"new\":1"), Kind::Damaged),
            (first.replace("\"format\":0", "\"format\": 0"), Kind::Damaged),
            (first.replace("0909", "09"), Kind::Damaged),
        ];
        for (text, kind) in cases {
            let error = VaultFile::decode(&with_checksum(&format!("{text}\n"))).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, text: String) {
            let _ = VaultFile::decode(&bytes);
            let _ = VaultFile::decode(&with_checksum(&format!("{text}\n")));
        }
    }
}
