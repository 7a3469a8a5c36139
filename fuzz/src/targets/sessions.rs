//! What interrupted sessions leave.

use shudao_mover::backup::decode_journal;
use shudao_vault::id::SessionId;
use shudao_vault::resume::{Checkpoint, Place};

use crate::fixture::{VAULT, owner, signed_anew, with_trailer};

/// Where the corpus's checkpoints stand.
pub(crate) const PLACE: Place = Place { session: SessionId([4; SessionId::LEN]), k: 3 };

pub(crate) fn checkpoint(bytes: &[u8]) -> bool {
    let key = owner().signing.verify_key();
    let body = &bytes[..bytes.len().saturating_sub(32)];
    let anew = with_trailer(&signed_anew(body, "shudao session checkpoint", &owner().signing));
    drop(Checkpoint::open(&anew, PLACE, owner(), &key));
    Checkpoint::open(bytes, PLACE, owner(), &key).is_ok()
}

/// What is sealed in a checkpoint, in the clear.
pub(crate) fn contents(bytes: &[u8]) -> bool {
    // One spelling only.
    Checkpoint::decode(bytes).is_ok_and(|checkpoint| checkpoint.encode() == bytes)
}

/// A journal's file, and what the packs in it say of themselves.
pub(crate) fn journal(bytes: &[u8]) -> bool {
    decode_journal(bytes, VAULT).is_some_and(|(_, packs)| {
        for pack in &packs {
            drop(pack.contents(owner()));
        }
        !packs.is_empty()
    })
}
