//! What people type or paste.

use shudao_vault::keys::passphrase::{canonical, passphrase_strength_bits};
use shudao_vault::keys::recipient::{identity_line, parse_identity, parse_recipient, recipient_line};
use shudao_vault::keys::share::{Share, combine};
use shudao_vault::retention::Policy;
use shudao_vault::store::Address;
use shudao_vault::store::lock::Retention;

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// One share a line, put together as far as they can be.
pub(crate) fn share(bytes: &[u8]) -> bool {
    let shares: Vec<Share> = text(bytes).lines().filter_map(|line| line.parse().ok()).collect();
    combine(&shares).is_ok()
}

pub(crate) fn recipient(bytes: &[u8]) -> bool {
    let text = text(bytes);
    parse_recipient(&text).is_ok_and(|public| recipient_line(&public) == text.trim())
}

pub(crate) fn identity(bytes: &[u8]) -> bool {
    let text = text(bytes);
    parse_identity(&text).is_ok_and(|secret| identity_line(&secret) == text.trim())
}

/// What an address shows of itself is an address, and its own.
pub(crate) fn address(bytes: &[u8]) -> bool {
    let Ok(address) = Address::parse(&text(bytes)) else { return false };
    drop(format!("{address:?}"));
    let shown = address.to_string();
    drop(Address::parse(&shown));
    !shown.is_empty()
}

/// A policy is read back from how it writes itself.
pub(crate) fn policy(bytes: &[u8]) -> bool {
    let Ok(policy) = text(bytes).parse::<Policy>() else { return false };
    assert_eq!(policy.to_string().parse::<Policy>().ok(), Some(policy), "a policy writes itself legibly");
    true
}

pub(crate) fn passphrase(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let once = canonical(&text);
    assert_eq!(*canonical(&once), *once, "a canonical passphrase is its own canonical form");
    passphrase_strength_bits(&text) > 0
}

/// The two headers of a lock, a line each.
pub(crate) fn retention(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let (mode, until) = text.split_once('\n').unwrap_or((&text, ""));
    Retention::from_headers(mode, until).is_ok_and(|lock| lock.covers(&lock))
}
