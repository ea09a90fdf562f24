//! A vault's key on paper: a word that shows mistakes in copying it, and reading a key back
//! from whatever a person has. Owns no file; prints nothing.

use sha2::{Digest as _, Sha256};

use crate::error::{Result, VaultError};
use crate::key::{GROUP, GROUPS, KeyFile, VaultKey, is_key_letter};

/// Nothing that holds one key is longer.
const MAX_TEXT: usize = 64 * 1024;

impl VaultKey {
    /// A word that belongs to this key and hardly to one that was copied wrongly: for the
    /// recovery sheet. It tells nothing about the key that helps to guess it.
    #[must_use]
    pub fn check_word(&self) -> String {
        check_word(self.reveal())
    }

    /// Reads a key as a person has it: a stored key, a recovery sheet, or the key as typed,
    /// with its check word or without.
    ///
    /// # Errors
    /// When there is none in it, or the check word is that of another key.
    pub fn read(text: &str) -> Result<Self> {
        let none = VaultError::Request("there is no key in that: it has eight groups of five");
        if text.len() > MAX_TEXT {
            return Err(none);
        }
        if let Ok(stored) = serde_json::from_str::<KeyFile>(text) {
            return Self::from_password(&stored.password);
        }
        let lower = text.to_lowercase();
        let words: Vec<&str> = lower
            .split(|c: char| c.is_whitespace() || c == '-')
            .filter(|word| !word.is_empty())
            .collect();
        let is_group = |word: &&str| word.len() == GROUP && word.bytes().all(is_key_letter);
        // Eight groups in a row, more only where the check word says which.
        let starts = (0..words.len().saturating_sub(GROUPS - 1))
            .filter(|at| words[*at..*at + GROUPS].iter().all(is_group));
        let candidates: Vec<usize> = starts.collect();
        let password = |at: usize| words[at..at + GROUPS].join("-");
        let is_checked = |at: &usize| words.contains(&check_word(&password(*at)).as_str());
        let checked = candidates.iter().copied().find(is_checked);
        match (checked, candidates.as_slice()) {
            (Some(at), _) => Self::from_password(&password(at)),
            (None, [at]) if words.len() == GROUPS => Self::from_password(&password(*at)),
            (None, [_, ..]) => Err(VaultError::Request(
                "the key was copied wrongly: its check word is that of another key",
            )),
            // A vault of somebody's own making may have any password.
            (None, []) if words.len() == 1 && text.trim().len() < GROUPS * GROUP => {
                Self::from_password(text)
            }
            (None, []) => Err(none),
        }
    }
}

/// Three syllables out of the hash of a key.
fn check_word(password: &str) -> String {
    const FIRST: &[u8; 16] = b"bdfghjklmnprstvz";
    const SECOND: &[u8; 4] = b"aiou";
    let hash = Sha256::digest(password.as_bytes());
    hash.iter()
        .take(3)
        .flat_map(|byte| [FIRST[usize::from(byte >> 4)], SECOND[usize::from(byte & 3)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_whatever_holds_it() {
        let key = VaultKey::generate().unwrap();
        let (text, word) = (key.reveal(), key.check_word());
        assert_eq!(word.len(), 6);
        for held in [
            text.to_owned(),
            format!("{text}\n"),
            format!("{text} {word}"),
            text.to_uppercase().replace('-', "  "),
            format!("Folder /home/ann/shop\n\nKey      {text}\nCheck    {word}\n\nrestic -r x"),
            format!("{{\"schema\":1,\"password\":\"{text}\"}}"),
        ] {
            assert_eq!(VaultKey::read(&held).unwrap().reveal(), text, "{held}");
        }
    }

    #[test]
    fn a_key_that_was_copied_wrongly_is_found_out_without_being_quoted() {
        let key = VaultKey::generate().unwrap();
        let (text, word) = (key.reveal(), key.check_word());
        let wrong = text.replacen(|c: char| c != 'a', "a", 1);
        let error = VaultKey::read(&format!("{wrong} {word}")).unwrap_err().to_string();
        assert!(error.contains("copied wrongly") && !error.contains(&wrong), "{error}");
        for nothing in ["", "  ", "abc def", &text[..20].replace('-', " "), &"x".repeat(100_000)] {
            assert!(VaultKey::read(nothing).is_err(), "{nothing:.20}");
        }
    }

    #[test]
    fn most_mistakes_change_the_check_word() {
        let words: std::collections::BTreeSet<String> =
            (0..500).map(|n| check_word(&format!("key {n}"))).collect();
        assert!(words.len() > 480, "{}", words.len());
    }
}
