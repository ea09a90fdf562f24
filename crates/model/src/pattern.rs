//! A pattern for paths, in the language of a `.gitignore`. Owns what is a pattern; what it
//! fits is decided where paths are.

use std::fmt;
use std::str::FromStr;

use globset::GlobBuilder;
use serde::{Deserialize, Deserializer, Serialize};

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no pattern: {why}")]
pub struct PatternError {
    text: String,
    why: String,
}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refuse = |why: String| PatternError { text: text.to_owned(), why };
        let glob = text.strip_prefix('!').unwrap_or(text);
        if glob.trim().is_empty() || text.starts_with('#') {
            return Err(refuse("it says nothing".into()));
        }
        if text.contains(['\n', '\0']) {
            return Err(refuse("it has a line break or a zero byte".into()));
        }
        GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .allow_unclosed_class(false)
            .build()
            .map_err(|error| refuse(error.kind().to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_understands_is_a_pattern_and_what_says_nothing_is_none() {
        for good in
            ["target/", "*.o", "/build", "a/**/z", "!keep.o", "\\#x", "{a,b}", "[a-z]*", "ä b"]
        {
            assert_eq!(good.parse::<Pattern>().expect(good).as_str(), good);
        }
        for bad in ["", "  ", "!", "# comment", "a/[z-", "[z-a]", "{a", "a\nb", "a\\"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
