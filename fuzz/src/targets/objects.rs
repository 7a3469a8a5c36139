//! Primitive values, what all objects share, and `vault.json`.

use shudao_vault::codec::Decoder;
use shudao_vault::id::to_hex;
use shudao_vault::object::{self, ObjectKind};
use shudao_vault::vault_file::VaultFile;

use crate::fixture::VAULT;

/// Reads primitive values in the order that the input itself asks for: an odd byte says which comes next.
pub(crate) fn codec(bytes: &[u8]) -> bool {
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
            return false;
        }
    }
    true
}

pub(crate) fn header(bytes: &[u8]) -> bool {
    object::open(bytes, ObjectKind::Segment, VAULT, "object").is_ok()
}

pub(crate) fn trailer(bytes: &[u8]) -> bool {
    object::without_trailer(bytes, "object").is_ok()
}

pub(crate) fn vault_file(bytes: &[u8]) -> bool {
    let accepted = VaultFile::decode(bytes).is_ok();
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let checksum = format!("{{\"blake3\":\"{}\"}}\n", to_hex(blake3::hash(first).as_bytes()));
    drop(VaultFile::decode(&[first, checksum.as_bytes()].concat()));
    accepted
}
