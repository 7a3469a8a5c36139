//! Shamir's shares of a slot's key: any `threshold` of them give it back, fewer say nothing about it.
//!
//! The arithmetic is in GF(2^8) with x^8+x^4+x^3+x+1 and neither branches on nor indexes by secret bytes.

use std::fmt;
use std::str::FromStr;

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{SlotId, VaultId};
use crate::keys::recipient::{checked_hex, from_checked_hex};
use crate::suite::{Secret, random};

const PREFIX: &str = "shudao-share-1:";
const SHARE_BYTES: usize = VaultId::LEN + SlotId::LEN + 2 + 32;

/// One share. Its text form is one line that carries vault, slot and a checksum.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    /// The vault.
    pub vault: VaultId,
    /// The slot that the shares open together.
    pub slot: SlotId,
    /// How many shares are needed.
    pub threshold: u8,
    /// This share's place, from 1.
    pub index: u8,
    value: Secret,
}

/// What the shares of one slot have in common. `1 <= threshold <= count`.
#[derive(Debug, Clone, Copy)]
pub struct Sharing {
    /// The vault.
    pub vault: VaultId,
    /// The slot.
    pub slot: SlotId,
    /// How many shares are needed.
    pub threshold: u8,
    /// How many are made.
    pub count: u8,
}

/// Splits `secret`.
///
/// # Errors
/// [`Kind::Input`] unless `1 <= threshold <= count`.
pub fn split(secret: &Secret, sharing: &Sharing) -> Result<Vec<Share>> {
    let Sharing { vault, slot, threshold, count } = *sharing;
    if threshold == 0 || threshold > count {
        return Err(Error::new(Kind::Input, format!("make shares: {threshold} of {count} is not possible")));
    }
    let coefficients: Vec<Secret> = (1..threshold).map(|_| Secret(random())).collect();
    let share = |index: u8| {
        let mut value = Secret([0; 32]);
        for coefficient in coefficients.iter().rev().chain([secret]) {
            for (out, term) in value.0.iter_mut().zip(coefficient.0) {
                *out = multiply(*out, index) ^ term;
            }
        }
        Share { vault, slot, threshold, index, value }
    };
    Ok((1..=count).map(share).collect())
}

/// The secret that `shares` give together.
///
/// # Errors
/// [`Kind::Input`] if they are too few, repeat a place, or do not belong together. Shares of other values give another
/// secret, which opens nothing.
pub fn combine(shares: &[Share]) -> Result<Secret> {
    let refused = |problem: String| Error::new(Kind::Input, format!("combine shares: {problem}"));
    let first = shares.first().ok_or_else(|| refused("none given".to_owned()))?;
    let belongs = |share: &Share| {
        (share.vault, share.slot, share.threshold) == (first.vault, first.slot, first.threshold)
    };
    if !shares.iter().all(belongs) {
        return Err(refused("they are not of one slot".to_owned()));
    }
    let needed = usize::from(first.threshold);
    if shares.len() < needed {
        return Err(refused(format!("{needed} are needed, {} given", shares.len())));
    }
    let used = &shares[..needed];
    let mut secret = Secret([0; 32]);
    for (at, share) in used.iter().enumerate() {
        let mut weight = 1;
        for (other_at, other) in used.iter().enumerate() {
            if other_at != at {
                if other.index == share.index {
                    return Err(refused(format!("share {} is given twice", share.index)));
                }
                weight = multiply(weight, multiply(other.index, inverse(other.index ^ share.index)));
            }
        }
        for (out, value) in secret.0.iter_mut().zip(share.value.0) {
            *out ^= multiply(value, weight);
        }
    }
    Ok(secret)
}

/// The product in GF(2^8), in the same steps for all values.
fn multiply(mut left: u8, mut right: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= left & (right & 1).wrapping_neg();
        left = (left << 1) ^ (0x1b & (left >> 7).wrapping_neg());
        right >>= 1;
    }
    product
}

/// The inverse, `value` to the power 254; zero for zero.
fn inverse(value: u8) -> u8 {
    let mut square = value;
    let mut product = 1;
    for _ in 0..7 {
        square = multiply(square, square);
        product = multiply(product, square);
    }
    product
}

impl fmt::Display for Share {
    /// The line to hand to its keeper. It is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Encoder::new();
        out.raw(&self.vault.0).raw(&self.slot.0).u8(self.threshold).u8(self.index).raw(&self.value.0);
        f.write_str(&checked_hex(PREFIX, out.as_slice()))
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of slot {})", self.index, self.slot.short())
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::new(Kind::Input, "read a share: the line is mistyped or not a share");
        let bytes = from_checked_hex::<SHARE_BYTES>(PREFIX, text).ok_or_else(refused)?;
        let mut input = Decoder::new(&bytes[..], "share");
        let share = Self {
            vault: VaultId(input.array()?),
            slot: SlotId(input.array()?),
            threshold: input.u8()?,
            index: input.u8()?,
            value: Secret(input.array()?),
        };
        if share.threshold == 0 || share.index == 0 { Err(refused()) } else { Ok(share) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    fn sharing(threshold: u8, count: u8) -> Sharing {
        Sharing { vault: VaultId([1; 16]), slot: SlotId([2; 16]), threshold, count }
    }

    #[test]
    fn the_field_is_a_field() {
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        for a in 0..=255u8 {
            assert_eq!(multiply(a, 1), a);
            assert_eq!(multiply(a, inverse(a)), u8::from(a != 0));
            for b in 0..=255u8 {
                assert_eq!(multiply(a, b), multiply(b, a));
                assert_eq!(multiply(a, b ^ 0x35), multiply(a, b) ^ multiply(a, 0x35));
            }
        }
    }

    proptest! {
        #[test]
        fn any_threshold_of_the_shares_gives_the_secret_and_fewer_do_not(
            secret: [u8; 32],
            (threshold, chosen) in (1u8..=8).prop_flat_map(|threshold| {
                let all: Vec<usize> = (0..10).collect();
                (Just(threshold), subsequence(all, usize::from(threshold)).prop_shuffle())
            }),
        ) {
            let shares = split(&Secret(secret), &sharing(threshold, 10)).unwrap();
            let chosen: Vec<Share> = chosen.iter().map(|at| shares[*at].clone()).collect();
            prop_assert_eq!(combine(&chosen).unwrap().0, secret);
            prop_assert!(combine(&chosen[1..]).is_err());
            let lying: Vec<Share> = chosen[1..].iter().map(|share| Share { threshold: threshold - 1, ..share.clone() }).collect();
            if threshold > 1 {
                prop_assert_ne!(combine(&lying).unwrap().0, secret);
            }
        }

        #[test]
        fn share_lines_round_trip_and_notice_typing_errors(value: [u8; 32], at: prop::sample::Index, junk: String) {
            let share = split(&Secret(value), &sharing(2, 3)).unwrap().remove(1);
            let text = share.to_string();
            prop_assert_eq!(format!(" {text}\n").parse::<Share>().unwrap(), share);
            let mut typed = text.clone().into_bytes();
            let at = at.index(typed.len());
            typed[at] = if typed[at] == b'7' { b'8' } else { b'7' };
            prop_assert!(String::from_utf8(typed).unwrap().parse::<Share>().is_err());
            prop_assert!(junk.parse::<Share>().is_err());
        }
    }

    #[test]
    fn shares_that_do_not_belong_together_are_refused() {
        let secret = Secret([5; 32]);
        let shares = split(&secret, &sharing(2, 3)).unwrap();
        assert!(combine(&[]).is_err());
        assert!(combine(&[shares[0].clone(), shares[0].clone()]).is_err());
        let stranger = Share { slot: SlotId([9; 16]), ..shares[1].clone() };
        assert!(combine(&[shares[0].clone(), stranger]).is_err());
        assert!(split(&secret, &sharing(0, 3)).is_err());
        assert!(split(&secret, &sharing(4, 3)).is_err());
    }
}
