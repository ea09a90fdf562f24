//! Secrets: their names and where each is read. Owns the words; a value never stands here, and
//! who reads one, and for how long, is the daemon's.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::visible;
use crate::name::{ProfileName, SecretName};

/// A secret of the configuration: where it is read and how a session gets to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name, by which profiles and folders speak of it.
    pub name: SecretName,
    /// Where it is read.
    pub source: SecretSource,
    /// The environment variable that has it inside.
    pub variable: String,
}

/// Where a secret is read, when a session that carries it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The desktop's keyring.
    Keyring {
        /// The attribute `service` of the entry.
        service: String,
        /// The attribute `account` of the entry.
        account: String,
    },
    /// A file; absolute.
    File(PathBuf),
    /// What a program prints; its first word is the program, and no shell is between.
    Command(Vec<String>),
    /// A variable in the environment of the daemon.
    Environment(String),
}

/// How a session gets to use a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Its processes have the value in this variable, and could tell it to anybody whom they reach.
    Environment(String),
}

/// One secret, as `profile show` tells of it: `GET /v1/secrets`. Its value is nowhere here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// Where it is read, in words.
    pub source: String,
    /// The environment variable that has it inside.
    pub variable: String,
    /// The profiles whose sessions carry it.
    pub profiles: Vec<ProfileName>,
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyring { service, account } => {
                write!(f, "the keyring's entry {}/{}", visible(service), visible(account))
            }
            Self::File(path) => write!(f, "the file {}", visible(&path.to_string_lossy())),
            Self::Command(words) => {
                write!(f, "the command `{}`", visible(words.first().map_or("", String::as_str)))
            }
            Self::Environment(variable) => write!(f, "the daemon's variable {variable}"),
        }
    }
}

impl Secret {
    /// How a session gets to use it.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        Delivery::Environment(self.variable.clone())
    }

    /// The variable of a secret that does not say: its name in capitals, `-` as `_`.
    #[must_use]
    pub fn default_variable(name: &SecretName) -> String {
        name.as_str().to_ascii_uppercase().replace('-', "_")
    }
}

/// Whether a text can be the name of an environment variable.
#[must_use]
pub fn is_variable(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 200
        && text.bytes().all(plain)
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_in_words_and_in_one_line() {
        let words = |source: SecretSource| source.to_string();
        let entry = SecretSource::Keyring { service: "api".into(), account: "ann".into() };
        assert_eq!(words(entry), "the keyring's entry api/ann");
        assert_eq!(words(SecretSource::File("/h/a\nb".into())), "the file /h/a\\nb");
        // Arguments are left out: people put tokens there.
        let command = SecretSource::Command(vec!["pass".into(), "hunter2".into()]);
        assert_eq!(words(command), "the command `pass`");
        assert_eq!(words(SecretSource::Environment("KEY".into())), "the daemon's variable KEY");
    }

    #[test]
    fn a_secret_s_variable_follows_its_name() {
        let name = SecretName::new("anthropic-api-key").expect("a name");
        assert_eq!(Secret::default_variable(&name), "ANTHROPIC_API_KEY");
        for good in ["A", "_x1", "PATH_2"] {
            assert!(is_variable(good), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "Ä", &"A".repeat(201)] {
            assert!(!is_variable(bad), "{bad}");
        }
    }
}
