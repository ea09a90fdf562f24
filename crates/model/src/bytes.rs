//! Paths inside a folder are bytes. In JSON they are `path` (readable) and,
//! only where that loses something, `path_b64` as well (`safety.md`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A path of any bytes, relative to a folder's root, as it travels in JSON.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct BytePath {
    /// Readable form; replacement characters stand for bytes that are not UTF-8.
    pub path: String,
    /// The exact bytes in base64, present only where `path` is lossy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
}

impl BytePath {
    /// Wraps raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { path: text.to_owned(), path_b64: None },
            Err(_) => Self {
                path: String::from_utf8_lossy(bytes).into_owned(),
                path_b64: Some(encode(bytes)),
            },
        }
    }

    /// Wraps a path.
    #[must_use]
    pub fn from_path(path: &Path) -> Self {
        Self::from_bytes(path.as_os_str().as_bytes())
    }

    /// The exact bytes; `None` when `path_b64` is not base64.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match &self.path_b64 {
            Some(text) => decode(text),
            None => Some(self.path.clone().into_bytes()),
        }
    }

    /// The path; `None` when `path_b64` is not base64.
    #[must_use]
    pub fn to_path(&self) -> Option<PathBuf> {
        self.to_bytes().map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes)))
    }
}

/// The directories on the way to a path, the outermost first: `a` and `a/b` of `a/b/c`.
pub fn directories_above(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// Whether a path is another one or lies below it. Everything lies below the empty path, the root.
#[must_use]
pub fn is_within(path: &[u8], above: &[u8]) -> bool {
    above.is_empty()
        || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Standard base64 with padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard base64 with padding; `None` for anything else.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Makes text from outside safe for a terminal: control characters, escapes and
/// direction overrides become visible, everything else stays.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let line = matches!(c, '\u{2028}' | '\u{2029}');
        if c.is_control() || bidi || line {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_lies_in_its_directories_and_in_no_other() {
        let above: Vec<&[u8]> = directories_above(b"a/b/c").collect();
        assert_eq!(above, [&b"a"[..], b"a/b"]);
        assert_eq!(directories_above(b"a").count(), 0);
        for (path, above, within) in [
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a/b", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(is_within(path.as_bytes(), above.as_bytes()), within, "{path} {above}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_travel(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let path = BytePath::from_bytes(&bytes);
            let json = serde_json::to_string(&path).expect("serialises");
            let back: BytePath = serde_json::from_str(&json).expect("parses");
            prop_assert_eq!(back.to_bytes(), Some(bytes.clone()));
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn decoding_never_panics(text in ".{0,40}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(visible("a\x1b[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\nc\\u{202e}d");
        assert_eq!(visible("\u{61c}\u{2028}\u{9b}"), "\\u{61c}\\u{2028}\\u{9b}");
        assert_eq!(visible("grün ✓"), "grün ✓");
    }
}
