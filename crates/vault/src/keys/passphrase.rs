//! Passphrases: generating them, judging them, and the sheet of paper that keeps one.

use zeroize::Zeroizing;

use crate::id::to_hex;
use crate::suite::random;
use crate::vault_file::VaultFile;

/// 32 characters that are not taken for each other when read aloud or from paper.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 6;
const GROUP_CHARACTERS: usize = 3;

/// What a generated passphrase is worth.
pub const GENERATED_BITS: u32 = 90;

/// Below this estimate a passphrase deserves a warning.
pub const WEAK_BELOW_BITS: u32 = 64;

/// A fresh passphrase of 90 random bits: six groups of three characters.
pub fn generate_passphrase() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; GROUPS * GROUP_CHARACTERS]> = Zeroizing::new(random());
    let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_CHARACTERS + 1)));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % GROUP_CHARACTERS == 0 {
            text.push('-');
        }
        text.push(ALPHABET[usize::from(byte % 32)] as char);
    }
    text
}

/// The form of a passphrase that opens slots: one that looks generated may be typed in lower case, with blanks for
/// dashes and with the usual confusions; any other stands as it is.
pub fn canonical(passphrase: &str) -> Zeroizing<String> {
    generated_form(passphrase).unwrap_or_else(|| Zeroizing::new(passphrase.to_owned()))
}

fn generated_form(passphrase: &str) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_CHARACTERS + 1)));
    let mut groups = 0;
    for group in passphrase.split(['-', ' ']).filter(|group| !group.is_empty()) {
        if group.len() != GROUP_CHARACTERS || groups == GROUPS {
            return None;
        }
        if groups > 0 {
            text.push('-');
        }
        for character in group.chars() {
            let character = match character.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            if !character.is_ascii() || !ALPHABET.contains(&(character as u8)) {
                return None;
            }
            text.push(character);
        }
        groups += 1;
    }
    (groups == GROUPS).then_some(text)
}

/// An upper estimate of a passphrase's strength in bits, from its length, the kinds of characters in it and how often
/// they repeat. It knows no dictionary: a low figure proves weakness, a high one proves nothing.
pub fn passphrase_strength_bits(passphrase: &str) -> u32 {
    if generated_form(passphrase).is_some() {
        return GENERATED_BITS;
    }
    let any = |test: fn(char) -> bool| passphrase.chars().any(test);
    let pool = [
        (any(|c| c.is_ascii_lowercase()), 26),
        (any(|c| c.is_ascii_uppercase()), 26),
        (any(|c| c.is_ascii_digit()), 10),
        (any(|c| c.is_ascii() && !c.is_ascii_alphanumeric()), 33),
        (any(|c| !c.is_ascii()), 1000),
    ];
    let pool: u32 = pool.iter().filter(|(present, _)| *present).map(|(_, size)| size).sum();
    let characters: Vec<char> = passphrase.chars().collect();
    let mut distinct = characters.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let counted = characters.len().min(2 * distinct.len());
    let steps = |pair: &[char]| (pair[1] as i64 - pair[0] as i64).abs() <= 1;
    let runs = characters.windows(2).filter(|pair| steps(pair)).count();
    let counted = counted.saturating_sub(runs / 2).min(256);
    (counted as f64 * f64::from(pool.max(1)).log2()) as u32
}

/// The owner's fingerprint for people: the holder id in groups of four digits.
pub fn fingerprint(file: &VaultFile) -> String {
    let digits = to_hex(&file.owner_id().0);
    let groups: Vec<&str> = (0..digits.len()).step_by(4).map(|at| &digits[at..at + 4]).collect();
    groups.join(" ")
}

/// The text of a recovery kit, to be printed and locked away; it is never stored in the vault.
pub fn recovery_kit(file: &VaultFile, passphrase: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "SHUDAO RECOVERY KIT\n\n\
         Vault        {}\n\
         Owner's key  {}\n\
         Passphrase   {passphrase}\n\n\
         This passphrase opens everything in the vault. Print this sheet, lock it away, delete the file.\n\
         To use it, give the passphrase wherever shudao asks for the vault's password. Upper and lower case do\n\
         not matter; blanks may stand for dashes. Compare the owner's key with what `shudao vault info` shows.\n",
        file.vault,
        fingerprint(file)
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::VaultId;
    use crate::suite::VerifyKey;

    #[test]
    fn generated_passphrases_differ_and_forgive_typing() {
        let text = generate_passphrase();
        assert_ne!(text, generate_passphrase());
        assert_eq!(text.len(), 23);
        assert_eq!(canonical(&text), text);
        assert_eq!(passphrase_strength_bits(&text), 90);
        let typed = text.to_lowercase().replace('-', "  ").replace('0', "o").replace('1', "l");
        assert_eq!(canonical(&format!(" {typed} ")), text);
    }

    #[test]
    fn other_passphrases_stand_as_they_are() {
        for text in [
            "",
            "correct horse",
            "ABC-DEF",
            "abc-def-ghj-kmn-pqr-stu",
            "日本-日本",
            "a b c d e f",
            "aé-bcd-bcd-bcd-bcd-bcd",
        ] {
            assert_eq!(*canonical(text), text);
        }
    }

    #[test]
    fn short_or_repeating_passphrases_are_weak() {
        for weak in
            ["", "a", "password", "12345678901234567890", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Tr0ub4dor"]
        {
            assert!(passphrase_strength_bits(weak) < WEAK_BELOW_BITS, "{weak}");
        }
        for strong in ["quick-Vexing.zebra 17 jumps", "kW8#vR2!mZ5^tQ"] {
            assert!(passphrase_strength_bits(strong) >= WEAK_BELOW_BITS, "{strong}");
        }
    }

    #[test]
    fn a_recovery_kit_names_vault_owner_and_passphrase() {
        let file = VaultFile::new(VaultId([0xab; 16]), VerifyKey([1; 32]));
        let kit = recovery_kit(&file, "PASS");
        for part in ["abababababab", "PASS", &fingerprint(&file)] {
            assert!(kit.contains(part), "{part}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_its_canonical_form_is_final(text: String) {
            passphrase_strength_bits(&text);
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
