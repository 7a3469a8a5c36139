//! What the owner says about another holder's key: its role, its rights, whose trees it may reuse.

use crate::codec::Encoder;
use crate::error::{Error, Kind, Result};
use crate::id::{Timestamp, VaultId, WriterId};
use crate::keys::{Role, decode_ascending, decode_text, encode_text};
use crate::object::{self, ObjectKind};
use crate::suite::{Signature, SigningKey, VerifyKey};

const DOMAIN: &str = "shudao certificate";
const WHAT: &str = "certificate";

/// A certificate's name for people is at most this long.
pub const NAME_BYTES_MAX: usize = 255;
/// A holder has at most this many predecessors.
pub const PREDECESSORS_MAX: usize = 256;
const SIGNATURE_BYTES: usize = 64;

/// What a key may do in the log: bits, so that a role is only a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rights(pub u32);

impl Rights {
    /// Begin a session.
    pub const BEGIN: Self = Self(1);
    /// Commit a snapshot.
    pub const COMMIT: Self = Self(1 << 1);
    /// Keep a condemned name.
    pub const KEEP: Self = Self(1 << 2);
    /// Say that a session has seen a condemn.
    pub const SEEN: Self = Self(1 << 3);
    /// Replace old packs by compacted ones.
    pub const REPLACES: Self = Self(1 << 4);
    /// Fence a session.
    pub const FENCE: Self = Self(1 << 5);
    /// Condemn names.
    pub const CONDEMN: Self = Self(1 << 6);
    /// Sweep condemned names.
    pub const SWEEP: Self = Self(1 << 7);
    /// Note that swept keys were deleted.
    pub const SWEPT: Self = Self(1 << 8);
    /// Pin a snapshot.
    pub const PIN: Self = Self(1 << 9);
    /// Unpin a snapshot.
    pub const UNPIN: Self = Self(1 << 10);
    /// Report bad frames.
    pub const BAD: Self = Self(1 << 11);
    /// Forget what the owner's retention lets go.
    pub const FORGET_EXPIRED: Self = Self(1 << 12);
    /// Forget any snapshot.
    pub const FORGET: Self = Self(1 << 13);
    /// Vouch for packs and segments.
    pub const VOUCH: Self = Self(1 << 14);

    /// What a courier, whom nobody certified, may do in a session of its own.
    pub const COURIER: Self = Self(Self::COMMIT.0 | Self::KEEP.0 | Self::SEEN.0);

    const KNOWN: u32 = (1 << 15) - 1;

    /// The preset of a role.
    pub const fn of_role(role: Role) -> Self {
        match role {
            Role::Writer => Self(0b1111),
            Role::Keeper => Self((1 << 13) - 1),
            Role::Owner => Self(Self::KNOWN),
        }
    }

    /// Whether all of `right` is granted.
    pub const fn allow(self, right: Self) -> bool {
        self.0 & right.0 == right.0
    }

    /// Whether a bit is granted that this version does not know: its holder may speak of the future.
    pub const fn has_unknown(self) -> bool {
        self.0 & !Self::KNOWN != 0
    }
}

/// A writer's or keeper's certificate, signed by the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The holder's verification key; its id is the holder's.
    pub key: VerifyKey,
    /// Writer or keeper; the owner needs no certificate.
    pub role: Role,
    /// What the key may do in the log.
    pub rights: Rights,
    /// For people; at most 255 bytes, no control characters.
    pub name: String,
    /// Writers whose trees the holder may read and reuse; strictly ascending.
    pub predecessors: Vec<WriterId>,
    /// When it was made; informs, never decides.
    pub created: Timestamp,
}

impl Certificate {
    /// A certificate with the role's preset of rights.
    pub fn new(key: VerifyKey, role: Role, name: impl Into<String>, created: Timestamp) -> Self {
        let rights = Rights::of_role(role);
        Self { key, role, rights, name: name.into(), predecessors: Vec::new(), created }
    }

    /// The holder's id.
    pub fn holder(&self) -> WriterId {
        self.key.writer_id()
    }

    /// The object's bytes, signed by the owner; its name is `keys/` and their BLAKE3.
    ///
    /// # Errors
    /// [`Kind::Input`] for a name or predecessors that a reader would refuse.
    pub fn sign(&self, vault: VaultId, owner: &SigningKey) -> Result<Vec<u8>> {
        let ascending = self.predecessors.is_sorted_by(|left, right| left < right);
        if self.predecessors.len() > PREDECESSORS_MAX || !ascending || self.role == Role::Owner {
            let message =
                "certify a key: it is a writer or keeper, its predecessors ascend and are at most 256";
            return Err(Error::new(Kind::Input, message));
        }
        let mut out = object::start(ObjectKind::Certificate, vault);
        out.raw(&self.key.0).u8(self.role.number()).u32(self.rights.0);
        encode_text(&mut out, &self.name, NAME_BYTES_MAX)?;
        out.i64(self.created.0).varint(self.predecessors.len() as u64);
        for predecessor in &self.predecessors {
            out.raw(&predecessor.0);
        }
        Ok(signed(out, DOMAIN, owner))
    }

    /// Reads a certificate and verifies the owner's signature.
    ///
    /// # Errors
    /// [`Kind::Damaged`], or [`Kind::Unsupported`] for a newer version.
    pub fn decode(bytes: &[u8], vault: VaultId, owner: &VerifyKey) -> Result<Self> {
        let body = verified(bytes, DOMAIN, owner, WHAT)?;
        let mut input = object::open(body, ObjectKind::Certificate, vault, WHAT)?;
        let key = VerifyKey(input.array()?);
        let role = Role::from_number(input.u8()?).filter(|role| *role != Role::Owner);
        let role =
            role.ok_or_else(|| input.error("has a role that needs no certificate, or an unknown one"))?;
        let rights = Rights(input.u32()?);
        let name = decode_text(&mut input, NAME_BYTES_MAX)?;
        let created = Timestamp(input.i64()?);
        let predecessors =
            decode_ascending(&mut input, WriterId::LEN, |input| Ok(WriterId(input.array()?)), |id| *id)?;
        if predecessors.len() > PREDECESSORS_MAX || key == *owner {
            return Err(input.error("has too many predecessors, or is of the owner's own key"));
        }
        input.finish()?;
        Ok(Self { key, role, rights, name, predecessors, created })
    }
}

/// Appends the signature over everything so far.
pub(crate) fn signed(out: Encoder, domain: &str, key: &SigningKey) -> Vec<u8> {
    let mut bytes = out.finish();
    let signature = key.sign(domain, &bytes);
    bytes.extend_from_slice(&signature.0);
    bytes
}

/// What stands before the signature at the end of `bytes`, if it is `key`'s.
pub(crate) fn verified<'a>(
    bytes: &'a [u8],
    domain: &str,
    key: &VerifyKey,
    what: &'static str,
) -> Result<&'a [u8]> {
    let (body, signature) = split_signature(bytes, what)?;
    if key.verifies(domain, body, &signature) {
        Ok(body)
    } else {
        Err(Error::damaged(format!(
            "verify {what}: it was altered, or its signer is not who must have signed it"
        )))
    }
}

/// Takes the signature off the end of `bytes`.
pub(crate) fn split_signature<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a [u8], Signature)> {
    bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .map(|(body, signature)| (body, Signature(*signature)))
        .ok_or_else(|| Error::damaged(format!("decode {what}: ends too early")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VAULT: VaultId = VaultId([3; 16]);

    fn owner() -> SigningKey {
        SigningKey::from_seed(crate::suite::Secret([1; 32]))
    }

    fn certificates() -> impl Strategy<Value = Certificate> {
        let predecessors = proptest::collection::btree_set(any::<[u8; 16]>(), 0..5);
        (any::<[u8; 32]>(), any::<bool>(), any::<u32>(), "\\PC{0,60}", any::<i64>(), predecessors).prop_map(
            |(key, keeper, rights, name, created, predecessors)| Certificate {
                key: VerifyKey(key),
                role: if keeper { Role::Keeper } else { Role::Writer },
                rights: Rights(rights),
                name,
                predecessors: predecessors.into_iter().map(WriterId).collect(),
                created: Timestamp(created),
            },
        )
    }

    proptest! {
        #[test]
        fn certificates_round_trip_and_notice_every_change(
            certificate in certificates(), at: prop::sample::Index, bit in 0u8..8,
        ) {
            let bytes = certificate.sign(VAULT, &owner()).unwrap();
            let read = Certificate::decode(&bytes, VAULT, &owner().verify_key()).unwrap();
            prop_assert_eq!(read, certificate);
            let mut bad = bytes.clone();
            bad[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(Certificate::decode(&bad, VAULT, &owner().verify_key()).is_err());
            prop_assert!(Certificate::decode(&bytes[..at.index(bytes.len())], VAULT, &owner().verify_key()).is_err());
        }

        #[test]
        fn signed_junk_never_panics(junk: Vec<u8>, headed: bool) {
            let mut out = if headed { object::start(ObjectKind::Certificate, VAULT) } else { Encoder::new() };
            out.raw(&junk);
            let _ = Certificate::decode(&signed(out, DOMAIN, &owner()), VAULT, &owner().verify_key());
        }
    }

    #[test]
    fn only_the_vaults_owner_certifies_and_never_itself_or_another_owner() {
        let key = SigningKey::generate().verify_key();
        let certificate = Certificate::new(key, Role::Writer, "host-1", Timestamp(1));
        let bytes = certificate.sign(VAULT, &SigningKey::generate()).unwrap();
        assert!(Certificate::decode(&bytes, VAULT, &owner().verify_key()).is_err());
        let bytes = certificate.sign(VaultId([4; 16]), &owner()).unwrap();
        assert!(Certificate::decode(&bytes, VAULT, &owner().verify_key()).is_err());
        let own = Certificate { key: owner().verify_key(), ..certificate.clone() };
        let bytes = own.sign(VAULT, &owner()).unwrap();
        assert!(Certificate::decode(&bytes, VAULT, &owner().verify_key()).is_err());
        assert!(Certificate { role: Role::Owner, ..certificate.clone() }.sign(VAULT, &owner()).is_err());
        assert!(Certificate { name: "a\nb".into(), ..certificate }.sign(VAULT, &owner()).is_err());
    }

    #[test]
    fn roles_grow_in_rights_and_none_but_the_owner_forgets_freely() {
        let [writer, keeper, owner] = [Role::Writer, Role::Keeper, Role::Owner].map(Rights::of_role);
        assert!(keeper.allow(writer) && owner.allow(keeper));
        for right in [Rights::KEEP, Rights::SEEN, Rights::BEGIN, Rights::COMMIT] {
            assert!(writer.allow(right));
        }
        for right in [Rights::BAD, Rights::SWEEP, Rights::PIN, Rights::FORGET_EXPIRED, Rights::REPLACES] {
            assert!(keeper.allow(right) && !writer.allow(right));
        }
        for right in [Rights::FORGET, Rights::VOUCH] {
            assert!(owner.allow(right) && !keeper.allow(right));
        }
        assert!(!owner.has_unknown() && Rights(1 << 15).has_unknown());
    }
}
