//! Recipient and identity lines: an X25519 key pair kept in a file outside any vault.

use crate::error::{Error, Kind, Result};
use crate::id::{from_hex, to_hex};
use crate::suite::{ReadPublic, ReadSecret, Secret};

const RECIPIENT: &str = "shudao-recipient-1:";
const IDENTITY: &str = "shudao-identity-1:";
const CHECK_BYTES: usize = 4;

/// The line to give to a vault's owner.
pub fn recipient_line(public: &ReadPublic) -> String {
    checked_hex(RECIPIENT, &public.0)
}

/// The line to keep secret.
pub fn identity_line(secret: &ReadSecret) -> String {
    checked_hex(IDENTITY, &secret.0.0)
}

/// Reads a recipient line.
///
/// # Errors
/// [`Kind::Input`] if it is mistyped or something else.
pub fn parse_recipient(text: &str) -> Result<ReadPublic> {
    from_checked_hex(RECIPIENT, text)
        .map(|bytes| ReadPublic(*bytes))
        .ok_or_else(|| Error::new(Kind::Input, "read a recipient: the line is mistyped or not a recipient"))
}

/// Reads an identity line.
///
/// # Errors
/// [`Kind::Input`] if it is mistyped or something else.
pub fn parse_identity(text: &str) -> Result<ReadSecret> {
    from_checked_hex(IDENTITY, text)
        .map(|bytes| ReadSecret(Secret(*bytes)))
        .ok_or_else(|| Error::new(Kind::Input, "read an identity: the line is mistyped or not an identity"))
}

/// `prefix`, then `payload` and the first four bytes of BLAKE3 of both, in hexadecimal.
pub(crate) fn checked_hex(prefix: &str, payload: &[u8]) -> String {
    format!("{prefix}{}{}", to_hex(payload), to_hex(&check(prefix, payload)))
}

/// Undoes [`checked_hex`] for a payload of `N` bytes; surrounding white space is ignored.
pub(crate) fn from_checked_hex<const N: usize>(
    prefix: &str,
    text: &str,
) -> Option<zeroize::Zeroizing<[u8; N]>> {
    let digits = text.trim().strip_prefix(prefix)?;
    let (payload_digits, check_digits) = digits.split_at_checked(2 * N)?;
    let mut payload = zeroize::Zeroizing::new([0; N]);
    let mut found = [0; CHECK_BYTES];
    let right = from_hex(payload_digits, &mut payload[..])
        && from_hex(check_digits, &mut found)
        && found == check(prefix, &payload[..]);
    right.then_some(payload)
}

fn check(prefix: &str, payload: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(prefix.as_bytes()).update(payload);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::suite::{generate_read_pair, public_of};

    #[test]
    fn lines_round_trip_and_are_not_taken_for_each_other() {
        let (public, secret) = generate_read_pair();
        assert_eq!(public_of(&secret), public);
        let (recipient, identity) = (recipient_line(&public), identity_line(&secret));
        assert_eq!(parse_recipient(&format!("{recipient}\r\n")).unwrap(), public);
        assert_eq!(parse_identity(&identity).unwrap(), secret);
        assert!(parse_recipient(&identity).is_err());
        assert!(parse_identity(&recipient).is_err());
        assert!(parse_identity(&identity.replace("identity", "recipient")).is_err());
    }

    proptest! {
        #[test]
        fn mistyped_lines_are_refused(at: prop::sample::Index, junk: String) {
            let line = recipient_line(&ReadPublic([3; 32]));
            let mut typed = line.into_bytes();
            let at = at.index(typed.len());
            typed[at] = if typed[at] == b'0' { b'1' } else { b'0' };
            prop_assert!(parse_recipient(&String::from_utf8(typed).unwrap()).is_err());
            let junk = format!("shudao-recipient-1:{junk}");
            prop_assert!(parse_recipient(&junk).is_err());
        }
    }
}
