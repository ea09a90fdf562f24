//! Patterns of names, in the language of a `.gitignore`: what a folder hides and protects.
//! Matched on bytes, case exact, against paths from the folder's root.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest pattern, in bytes.
const LONGEST: usize = 1000;

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
    negated: bool,
    directories_only: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty, or a comment.
    #[error("a pattern must name something")]
    SaysNothing,
    /// Nobody types that.
    #[error("a pattern has at most {LONGEST} bytes")]
    TooLong,
    /// `[a-z` or `[[:alpha:]]`.
    #[error("`[` begins a set of characters that has no end or is none, as in [a-z] or [!ab]")]
    Set,
    /// A `\` at the end.
    #[error("`\\` must be followed by what it takes literally")]
    Escape,
    /// `a//b`, `.`, `..`.
    #[error("`.`, `..` and empty names match nothing")]
    Name,
}

/// One name of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names, none included; at the end at least one.
    Deep,
    Name(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::One | Self::Many => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte)) != *negated
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > LONGEST {
            return Err(PatternError::TooLong);
        }
        // Blanks at the end count only behind a `\`.
        let trimmed = text.trim_end_matches(' ');
        let kept =
            trimmed.len() + usize::from(trimmed.ends_with('\\') && trimmed.len() < text.len());
        let mut rest = &text[..kept];
        if rest.is_empty() || rest.starts_with('#') {
            return Err(PatternError::SaysNothing);
        }
        let negated = rest.starts_with('!');
        rest = rest.strip_prefix('!').unwrap_or(rest);
        let directories_only = rest.ends_with('/');
        rest = rest.strip_suffix('/').unwrap_or(rest);
        let anchored = rest.contains('/');
        rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(PatternError::SaysNothing);
        }
        let mut parts = Vec::new();
        if !anchored {
            parts.push(Part::Deep);
        }
        for name in rest.split('/') {
            match name {
                "" | "." | ".." => return Err(PatternError::Name),
                "**" if parts.last() == Some(&Part::Deep) => {}
                "**" => parts.push(Part::Deep),
                name => parts.push(Part::Name(tokens(name.as_bytes())?)),
            }
        }
        Ok(Self { text: text.to_owned(), parts, negated, directories_only })
    }
}

fn tokens(name: &[u8]) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = name.get(at) {
        at += 1;
        tokens.push(match byte {
            b'?' => Token::One,
            b'*' => {
                while name.get(at) == Some(&b'*') {
                    at += 1;
                }
                Token::Many
            }
            b'\\' => {
                at += 1;
                Token::Byte(*name.get(at - 1).ok_or(PatternError::Escape)?)
            }
            b'[' => {
                let (set, length) = set(&name[at..])?;
                at += length;
                set
            }
            byte => Token::Byte(*byte),
        });
    }
    Ok(tokens)
}

/// What stands behind a `[`, and how long it is.
fn set(text: &[u8]) -> Result<(Token, usize), PatternError> {
    let mut at = 0;
    let byte_at = |at: &mut usize| {
        let byte = match text.get(*at) {
            Some(b'\\') => {
                *at += 1;
                text.get(*at)
            }
            byte => byte,
        };
        *at += 1;
        byte.copied().ok_or(PatternError::Set)
    };
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut ranges = Vec::new();
    while at == first || text.get(at) != Some(&b']') {
        // Classes by name are not worth a table: they are refused, not misread.
        if text.get(at) == Some(&b'[') && text.get(at + 1) == Some(&b':') {
            return Err(PatternError::Set);
        }
        let from = byte_at(&mut at)?;
        let is_range =
            text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|next| *next != b']');
        let to = if is_range {
            at += 1;
            byte_at(&mut at)?
        } else {
            from
        };
        if from > to {
            return Err(PatternError::Set);
        }
        ranges.push((from, to));
    }
    Ok((Token::Set { negated, ranges }, at + 1))
}

/// Whether items fit a sequence in which `many` takes any number of them: the newest one gets
/// one more as long as the rest does not fit, so that time is bounded by the product.
fn fits<P, I>(
    pattern: &[P],
    items: &[I],
    many: impl Fn(&P) -> bool,
    takes: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut at, mut item, mut again) = (0, 0, None);
    while item < items.len() {
        match pattern.get(at) {
            Some(part) if many(part) => {
                again = Some((at, item));
                at += 1;
            }
            Some(part) if takes(part, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => {
                let Some((many_at, from)) = again else { return false };
                again = Some((many_at, from + 1));
                at = many_at + 1;
                item = from + 1;
            }
        }
    }
    pattern[at..].iter().all(many)
}

impl Pattern {
    fn fits(&self, names: &[&[u8]], is_dir: bool) -> bool {
        if self.directories_only && !is_dir {
            return false;
        }
        let takes = |part: &Part, name: &&[u8]| match part {
            Part::Deep => true,
            Part::Name(tokens) => {
                fits(tokens, name, |token| *token == Token::Many, |token, byte| token.takes(*byte))
            }
        };
        // What ends in `**` means what is inside, not the directory itself.
        let names = match (self.parts.last(), names.split_last()) {
            (Some(Part::Deep), Some((_, above))) => above,
            (Some(Part::Deep), None) => return false,
            _ => names,
        };
        fits(&self.parts, names, |part| *part == Part::Deep, takes)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

/// Whether a path from the folder's root, or a directory that it lies in, fits the patterns:
/// the last one that says something about a name decides, and what lies in a directory that
/// fits cannot be taken out again.
#[must_use]
pub fn matches(patterns: &[Pattern], path: &[u8], is_dir: bool) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    (1..=names.len()).any(|end| {
        let is_dir = is_dir || end < names.len();
        let last = patterns.iter().rev().find(|pattern| pattern.fits(&names[..end], is_dir));
        last.is_some_and(|pattern| !pattern.negated)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(patterns: &[&str]) -> Vec<Pattern> {
        patterns.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (patterns, path, is_dir, expected) in [
            (&[".env"][..], ".env", false, true),
            (&[".env"], "a/b/.env", false, true),
            (&[".env"], ".env.local", false, false),
            (&[".env"], ".ENV", false, false),
            (&[".env"], ".env/inside", false, true),
            (&["/.env"], "a/.env", false, false),
            (&["a/b"], "a/b", false, true),
            (&["a/b"], "c/a/b", false, false),
            (&["secrets/"], "secrets", true, true),
            (&["secrets/"], "secrets", false, false),
            (&["secrets/"], "x/secrets/key", false, true),
            (&["secrets/**"], "secrets", true, false),
            (&["secrets/**"], "secrets/a/b", false, true),
            (&["**/x"], "x", false, true),
            (&["**/x"], "a/b/x", false, true),
            (&["a/**/b"], "a/b", false, true),
            (&["a/**/b"], "a/x/y/b", false, true),
            (&["a/**/b"], "ab", false, false),
            (&["*.pem"], "keys/a.pem", false, true),
            (&["*.pem"], "a.pem.txt", false, false),
            (&["/*.pem"], "keys/a.pem", false, false),
            (&["k?y"], "key", false, true),
            (&["k?y"], "ky", false, false),
            (&["[a-c]x"], "bx", false, true),
            (&["[!a-c]x"], "bx", false, false),
            (&["[]]x"], "]x", false, true),
            (&["[a-]x"], "-x", false, true),
            (&["\\*"], "*", false, true),
            (&["\\*"], "a", false, false),
            (&["\\#x"], "#x", false, true),
            (&["x  "], "x", false, true),
            (&["x\\ "], "x ", false, true),
            (&[".env*", "!.env.example"], ".env.example", false, false),
            (&[".env*", "!.env.example"], ".env.local", false, true),
            (&["d", "!d/keep"], "d/keep", false, true),
            (&["a**c"], "abbc", false, true),
        ] {
            assert_eq!(
                matches(&all(patterns), path.as_bytes(), is_dir),
                expected,
                "{patterns:?} {path}"
            );
        }
        assert!(matches(&all(&["caf?"]), b"caf\xe9", false), "names are bytes");
        assert!(!matches(&[], b"a", false));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, error) in [
            ("", PatternError::SaysNothing),
            ("   ", PatternError::SaysNothing),
            ("/", PatternError::SaysNothing),
            ("# x", PatternError::SaysNothing),
            ("[a", PatternError::Set),
            ("[z-a]", PatternError::Set),
            ("[[:alpha:]]", PatternError::Set),
            ("a\\", PatternError::Escape),
            ("a//b", PatternError::Name),
            ("../x", PatternError::Name),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(error), "{text}");
        }
        assert_eq!("x".repeat(LONGEST + 1).parse::<Pattern>(), Err(PatternError::TooLong));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = all(&[&"*a".repeat(300)]);
        assert!(!matches(&pattern, &[b'b'; 255], false));
        let deep = all(&[&format!("{}x", "**/a/".repeat(100))]);
        assert!(!matches(&deep, &b"a/".repeat(200), false));
    }

    proptest! {
        #[test]
        fn a_pattern_is_its_text(text in "[a*?/!\\[\\]\\\\ .#-]{0,12}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern));
            }
        }

        #[test]
        fn what_lies_in_a_directory_that_fits_fits(
            text in "[ab*?/]{1,6}",
            path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
        ) {
            if let Ok(pattern) = text.parse::<Pattern>() {
                let patterns = [pattern];
                if matches(&patterns, path.as_bytes(), true) {
                    let inside = format!("{path}/x");
                    prop_assert!(matches(&patterns, inside.as_bytes(), false));
                }
            }
        }
    }
}
