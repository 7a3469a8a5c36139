//! A key slot: one way for one holder to come to its keys.
//!
//! A slot has an X25519 pair of its own. The holder's signing key and bundle are sealed to its public half, so that the
//! owner can seal a new bundle without knowing anyone's passphrase; the unlock method yields its secret half.

use zeroize::Zeroizing;

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{SlotId, Timestamp, WriterId};
use crate::keys::bundle::{Bundle, Grant};
use crate::keys::certificate::{signed, verified};
use crate::keys::share::{self, Share, Sharing};
use crate::keys::{KeyRing, Role, decode_text, encode_text, passphrase};
use crate::object::{self, ObjectKind};
use crate::suite::{
    KdfCost, ReadPublic, ReadSecret, Secret, SigningKey, forbidden, generate_read_pair, hpke_open, hpke_seal,
    open_once, public_of, random, seal_once, stretch,
};
use crate::vault_file::VaultFile;

const DOMAIN: &str = "shudao key slot";
const WHAT: &str = "key slot";

/// A slot's label is at most this long.
pub const LABEL_BYTES_MAX: usize = 255;
const IDENTITY_BYTES_MAX: usize = 4096;
const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// A sealed slot secret: 32 bytes and the tag.
const SEALED_SECRET_BYTES: usize = 48;

/// How a slot's secret is come by, as it stands in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Argon2id of a passphrase opens the sealed secret.
    Passphrase {
        /// Cost, within bounds.
        cost: KdfCost,
        /// Salt.
        salt: [u8; 32],
        /// The slot's secret, sealed.
        sealed: [u8; SEALED_SECRET_BYTES],
    },
    /// The secret is in the recipient's file.
    Recipient,
    /// Shares of a key open the sealed secret.
    Shares {
        /// How many are needed.
        threshold: u8,
        /// How many were made.
        count: u8,
        /// The slot's secret, sealed.
        sealed: [u8; SEALED_SECRET_BYTES],
    },
}

/// What a new slot is locked with.
#[derive(Debug)]
pub enum Lock<'a> {
    /// A passphrase at a cost.
    Passphrase(&'a str, KdfCost),
    /// A recipient's public key.
    Recipient(&'a ReadPublic),
    /// Shares: `threshold` of `count` are needed.
    Shares {
        /// How many are needed.
        threshold: u8,
        /// How many are made.
        count: u8,
    },
}

/// What a person brings to open a slot.
#[derive(Debug)]
pub enum Unlock<'a> {
    /// A passphrase.
    Passphrase(&'a str),
    /// A recipient's secret.
    Identity(&'a ReadSecret),
    /// Shares.
    Shares(&'a [Share]),
}

/// A slot to make.
#[derive(Debug)]
pub struct NewSlot<'a> {
    /// The ring it opens.
    pub ring: &'a KeyRing,
    /// For people.
    pub label: &'a str,
    /// What it is locked with.
    pub lock: Lock<'a>,
    /// When it is made; informs, never decides.
    pub created: Timestamp,
}

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Stays the same when the slot is sealed anew.
    pub id: SlotId,
    /// The role it opens.
    pub role: Role,
    /// Whose keys.
    pub holder: WriterId,
    /// For people.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Hash of the `vault.json` it belongs to.
    pub vault_file: [u8; 32],
    /// How it opens.
    pub method: Method,
    /// The newest generation of the public read key inside: tells whether a rotation has come to this slot, and which one.
    pub reads: (u32, ReadPublic),
    public: ReadPublic,
    identity: Vec<u8>,
    bundle: Vec<u8>,
}

impl KeySlot {
    /// Makes a slot for `new.ring`, and the shares if it is locked with shares. `owner` must be the owner's ring of the
    /// vault of `file`; [`KeySlot::sign`] makes the object.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] without the owner's ring, [`Kind::Input`] for impossible shares or a label that a reader
    /// would refuse.
    pub fn create(owner: &KeyRing, file: &VaultFile, new: &NewSlot<'_>) -> Result<(Self, Vec<Share>)> {
        require_owner(owner, file)?;
        let id = SlotId(random());
        let mut shares = Vec::new();
        let (public, method) = match &new.lock {
            Lock::Recipient(public) => ((*public).clone(), Method::Recipient),
            Lock::Passphrase(text, cost) => {
                let (public, secret) = generate_read_pair();
                let salt = random();
                let key = stretch(passphrase::canonical(text).as_bytes(), &salt, *cost)?;
                let sealed = seal_secret(&key, &secret_context(file, id, &public), &secret);
                (public, Method::Passphrase { cost: *cost, salt, sealed })
            }
            Lock::Shares { threshold, count } => {
                let (public, secret) = generate_read_pair();
                let (threshold, count, key) = (*threshold, *count, Secret::generate());
                shares = share::split(&key, &Sharing { vault: file.vault, slot: id, threshold, count })?;
                let sealed = seal_secret(&key, &secret_context(file, id, &public), &secret);
                (public, Method::Shares { threshold, count, sealed })
            }
        };
        encode_text(&mut Encoder::new(), new.label, LABEL_BYTES_MAX)?;
        let grant =
            Grant { role: new.ring.role, holder: new.ring.writer_id(), predecessors: &new.ring.predecessors };
        let mut slot = Self {
            id,
            role: grant.role,
            holder: grant.holder,
            label: new.label.to_owned(),
            created: new.created,
            vault_file: file.hash(),
            method,
            reads: owner.read_public.clone(),
            public,
            identity: Vec::new(),
            bundle: Vec::new(),
        };
        slot.identity =
            hpke_seal(&slot.public, &slot.info(file, "identity"), &[], &new.ring.signing.seed().0);
        slot.seal_bundle(owner, file, &grant)?;
        Ok((slot, shares))
    }

    /// The same slot with the keys of `owner`'s ring as it is now, after a rotation. `predecessors` are those of the
    /// holder's certificate. The holder opens it as before.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] without the owner's ring; [`Kind::Damaged`] if the slot is another vault's.
    pub fn reseal(&self, owner: &KeyRing, file: &VaultFile, predecessors: &[WriterId]) -> Result<Self> {
        require_owner(owner, file)?;
        self.belongs_to(file)?;
        let mut slot = self.clone();
        slot.seal_bundle(owner, file, &Grant { role: self.role, holder: self.holder, predecessors })?;
        Ok(slot)
    }

    fn seal_bundle(&mut self, owner: &KeyRing, file: &VaultFile, grant: &Grant<'_>) -> Result<()> {
        let plain = Bundle::derive(owner, grant)?.encode(file);
        self.reads = owner.read_public.clone();
        self.bundle = hpke_seal(&self.public, &self.info(file, "bundle"), &[], &plain);
        if self.bundle.len() > BUNDLE_BYTES_MAX {
            return Err(Error::new(Kind::Input, "seal key bundle: too many generations and predecessors"));
        }
        Ok(())
    }

    /// The object's bytes, signed by the owner; its name is `keys/` and their BLAKE3.
    pub fn sign(&self, file: &VaultFile, owner: &SigningKey) -> Vec<u8> {
        let mut out = object::start(ObjectKind::KeySlot, file.vault);
        out.raw(&self.id.0).u8(self.role.number()).raw(&self.holder.0).bytes(self.label.as_bytes());
        out.i64(self.created.0).raw(&self.vault_file).raw(&self.public.0);
        out.u32(self.reads.0).raw(&self.reads.1.0);
        match &self.method {
            Method::Passphrase { cost, salt, sealed } => {
                let (memory_kib, passes, lanes) = cost.parameters();
                out.u8(1).u32(memory_kib).u32(passes).u32(lanes).raw(salt).raw(sealed);
            }
            Method::Recipient => {
                out.u8(2);
            }
            Method::Shares { threshold, count, sealed } => {
                out.u8(3).u8(*threshold).u8(*count).raw(sealed);
            }
        }
        out.bytes(&self.identity).bytes(&self.bundle);
        signed(out, DOMAIN, owner)
    }

    /// Reads a slot, verifies the owner's signature and that it belongs to this very `vault.json`.
    ///
    /// # Errors
    /// [`Kind::Damaged`], or [`Kind::Unsupported`] for a newer version.
    pub fn decode(bytes: &[u8], file: &VaultFile) -> Result<Self> {
        let body = verified(bytes, DOMAIN, &file.owner, WHAT)?;
        let mut input = object::open(body, ObjectKind::KeySlot, file.vault, WHAT)?;
        let id = SlotId(input.array()?);
        let role = Role::from_number(input.u8()?).ok_or_else(|| input.error("has an unknown role"))?;
        let slot = Self {
            id,
            role,
            holder: WriterId(input.array()?),
            label: decode_text(&mut input, LABEL_BYTES_MAX)?,
            created: Timestamp(input.i64()?),
            vault_file: input.array()?,
            public: ReadPublic(input.array()?),
            reads: (input.u32()?, ReadPublic(input.array()?)),
            method: decode_method(&mut input)?,
            identity: input.bytes(IDENTITY_BYTES_MAX)?.to_vec(),
            bundle: input.bytes(BUNDLE_BYTES_MAX)?.to_vec(),
        };
        input.finish()?;
        slot.belongs_to(file)?;
        Ok(slot)
    }

    /// The keys, or `None` if `unlock` does not open this slot.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it opens and what is inside contradicts the slot or `vault.json`; [`Kind::Input`] for
    /// shares that are too few or repeated.
    pub fn open(&self, unlock: &Unlock<'_>, file: &VaultFile) -> Result<Option<KeyRing>> {
        match self.unlock(unlock, file)? {
            Some(secret) => self.unseal(&secret, file).map(Some),
            None => Ok(None),
        }
    }

    fn unlock(&self, unlock: &Unlock<'_>, file: &VaultFile) -> Result<Option<ReadSecret>> {
        let context = secret_context(file, self.id, &self.public);
        let secret = match (&self.method, unlock) {
            (Method::Passphrase { cost, salt, sealed }, Unlock::Passphrase(text)) => {
                let key = stretch(passphrase::canonical(text).as_bytes(), salt, *cost)?;
                open_secret(&key, &context, sealed)
            }
            (Method::Recipient, Unlock::Identity(secret)) => Some((*secret).clone()),
            (Method::Shares { sealed, threshold, .. }, Unlock::Shares(shares)) => {
                let mine: Vec<Share> = shares
                    .iter()
                    .filter(|share| share.vault == file.vault && share.slot == self.id)
                    .filter(|share| share.threshold == *threshold)
                    .cloned()
                    .collect();
                if mine.is_empty() {
                    return Ok(None);
                }
                open_secret(&share::combine(&mine)?, &context, sealed)
            }
            _ => None,
        };
        Ok(secret.filter(|secret| public_of(secret) == self.public))
    }

    fn unseal(&self, secret: &ReadSecret, file: &VaultFile) -> Result<KeyRing> {
        let contradicts = |problem: &str| Error::damaged(format!("open key slot {}: {problem}", self.id));
        let part = |part: &str, sealed: &[u8]| {
            hpke_open(secret, &self.info(file, part), &[], sealed)
                .map(Zeroizing::new)
                .ok_or_else(|| contradicts("what is sealed in it is not authentic"))
        };
        let identity = part("identity", &self.identity)?;
        let seed =
            identity.as_slice().try_into().map_err(|_| contradicts("its signing key has a wrong length"))?;
        let signing = SigningKey::from_seed(Secret(seed));
        let bundle = Bundle::decode(&part("bundle", &self.bundle)?, file)?;
        let holder = signing.verify_key().writer_id();
        if (bundle.role(), bundle.holder(), holder) != (self.role, self.holder, self.holder) {
            return Err(contradicts("its keys are another holder's"));
        }
        if self.role == Role::Owner && signing.verify_key() != file.owner {
            return Err(contradicts("its signing key is not the owner that vault.json names"));
        }
        let ring = bundle.with_signing(signing);
        if ring.read_public != self.reads {
            return Err(contradicts("its keys are of another generation than it says"));
        }
        Ok(ring)
    }

    fn belongs_to(&self, file: &VaultFile) -> Result<()> {
        if self.vault_file == file.hash() {
            return Ok(());
        }
        Err(Error::damaged(format!(
            "read key slot {}: it belongs to another vault.json; that file was replaced",
            self.id
        )))
    }

    fn info(&self, file: &VaultFile, part: &str) -> Vec<u8> {
        let domain = format!("shudao slot {part}");
        [domain.as_bytes(), &[0], &file.vault.0, &self.id.0, &self.vault_file].concat()
    }
}

/// The keys in one slot's object, or `None` if `unlock` does not open it.
///
/// # Errors
/// As [`KeySlot::decode`] and [`KeySlot::open`].
pub fn open_slot(slot_bytes: &[u8], unlock: &Unlock<'_>, file: &VaultFile) -> Result<Option<KeyRing>> {
    KeySlot::decode(slot_bytes, file)?.open(unlock, file)
}

/// The keys in the first of these slot objects that `unlock` opens.
///
/// # Errors
/// If none opens: what was wrong with a slot that could not even be tried, or else [`Kind::WrongKey`].
pub fn open_slots<'a>(
    slots: impl IntoIterator<Item = &'a [u8]>,
    unlock: &Unlock<'_>,
    file: &VaultFile,
) -> Result<KeyRing> {
    let mut worst = Error::new(Kind::WrongKey, "open the vault: this opens none of its key slots");
    for bytes in slots {
        match open_slot(bytes, unlock, file) {
            Ok(Some(ring)) => return Ok(ring),
            Ok(None) => {}
            Err(error) => {
                worst =
                    error.context("open the vault: a key slot cannot be used, and no other opens with this");
            }
        }
    }
    Err(worst)
}

fn require_owner(owner: &KeyRing, file: &VaultFile) -> Result<()> {
    if owner.role != Role::Owner || owner.vault != file.vault || owner.signing.verify_key() != file.owner {
        return Err(forbidden("make key slots"));
    }
    Ok(())
}

fn decode_method(input: &mut Decoder<'_>) -> Result<Method> {
    match input.u8()? {
        1 => {
            let cost = KdfCost::new(input.u32()?, input.u32()?, input.u32()?)
                .ok_or_else(|| input.error("its passphrase parameters are out of bounds"))?;
            Ok(Method::Passphrase { cost, salt: input.array()?, sealed: input.array()? })
        }
        2 => Ok(Method::Recipient),
        3 => {
            let (threshold, count) = (input.u8()?, input.u8()?);
            if threshold == 0 || threshold > count {
                return Err(input.error("its shares are impossible"));
            }
            Ok(Method::Shares { threshold, count, sealed: input.array()? })
        }
        _ => Err(input.error("has an unknown unlock method")),
    }
}

fn secret_context(file: &VaultFile, id: SlotId, public: &ReadPublic) -> Vec<u8> {
    [&b"shudao slot secret\0"[..], &file.vault.0, &id.0, &public.0].concat()
}

fn seal_secret(key: &Secret, context: &[u8], secret: &ReadSecret) -> [u8; SEALED_SECRET_BYTES] {
    seal_once(key, context, &secret.0.0).try_into().expect("32 bytes and the tag are 48")
}

fn open_secret(key: &Secret, context: &[u8], sealed: &[u8]) -> Option<ReadSecret> {
    let plain = Zeroizing::new(open_once(key, context, sealed)?);
    Some(ReadSecret(Secret(plain.as_slice().try_into().ok()?)))
}

#[cfg(test)]
mod tests;
