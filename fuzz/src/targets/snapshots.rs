//! Snapshot objects and what is sealed in them.

use shudao_vault::snapshot::{Contents, Snapshot, SnapshotOuter};

use crate::fixture::{VAULT, owner, signed_anew};

pub(crate) fn whole(bytes: &[u8]) -> bool {
    let key_of = |_| Some(owner().signing.verify_key());
    let anew = signed_anew(bytes, "shudao snapshot", &owner().signing);
    drop(SnapshotOuter::verify(&anew, VAULT, key_of));
    drop(Snapshot::decode(&anew, owner(), key_of));
    Snapshot::decode(bytes, owner(), key_of).is_ok()
}

/// What is sealed in a snapshot, in the clear.
pub(crate) fn contents(bytes: &[u8]) -> bool {
    Contents::decode(bytes).is_ok_and(|(contents, salt)| {
        // One spelling only.
        contents.encode(&salt).is_ok_and(|encoded| encoded == bytes)
    })
}
