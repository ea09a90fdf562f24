//! Identifiers as types that do not convert into each other.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a {what}: use 1 to {max} of a-z, 0-9 and '-', starting with a letter or digit"
)]
pub struct NameError {
    what: &'static str,
    text: String,
    max: usize,
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if first_ok && rest_ok && text.len() <= max {
        Ok(())
    } else {
        Err(NameError { what, text: text.chars().take(80).collect(), max })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks and wraps a text.
            ///
            /// # Errors
            /// When the text has characters or a length that a name may not have.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check($what, &text, $max)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<std::path::Path> for $type {
            fn as_ref(&self) -> &std::path::Path {
                std::path::Path::new(&self.0)
            }
        }
    };
}

name!(
    /// Names one virtual machine; also its host name, so at most 40 characters.
    MachineName, "machine name", 40
);
name!(
    /// Names a way to run a recipe.
    ProfileName, "profile name", 40
);
name!(
    /// Names an agent program's recipe.
    RecipeName, "recipe name", 40
);
name!(
    /// Names a secret; never its value.
    SecretName, "secret name", 40
);
name!(
    /// Identifies a registered folder and its vault for ever, also after the folder moved.
    FolderId, "folder id", 40
);
name!(
    /// Identifies one session; sorts by start time.
    SessionId, "session id", 40
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "shop-1", "0day", &"x".repeat(40)] {
            assert!(MachineName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "..", "a\n", "ä", &"x".repeat(41)] {
            assert!(MachineName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_in_json_is_an_error() {
        assert!(serde_json::from_str::<MachineName>("\"../x\"").is_err());
    }
}
