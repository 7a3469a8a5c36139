//! Certificates, key slots, the bundles in them, and wrapped keys.

use shudao_vault::codec::Decoder;
use shudao_vault::keys::bundle::Bundle;
use shudao_vault::keys::{Certificate, KeySlot, Unlock};
use shudao_vault::suite::WrappedKey;

use crate::fixture::{VAULT, file, identity, owner, signed_anew};

pub(crate) fn certificate(bytes: &[u8]) -> bool {
    let key = &owner().signing;
    drop(Certificate::decode(&signed_anew(bytes, "shudao certificate", key), VAULT, &key.verify_key()));
    Certificate::decode(bytes, VAULT, &key.verify_key()).is_ok()
}

/// A slot is also opened, with an identity: passphrases cost time and memory by intent.
pub(crate) fn slot(bytes: &[u8]) -> bool {
    if let Ok(slot) = KeySlot::decode(&signed_anew(bytes, "shudao key slot", &owner().signing), file()) {
        drop(slot.open(&Unlock::Identity(&identity()), file()));
    }
    KeySlot::decode(bytes, file()).is_ok()
}

pub(crate) fn bundle(bytes: &[u8]) -> bool {
    Bundle::decode(bytes, file()).is_ok()
}

pub(crate) fn wrapped(bytes: &[u8]) -> bool {
    match WrappedKey::decode(&mut Decoder::new(bytes, "wrapped key")) {
        Ok(wrapped) => {
            drop(owner().unwrap(&wrapped));
            true
        }
        Err(_) => false,
    }
}
