//! What is wrong with a configuration, the place of it, and how a person is told.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::bytes::visible;

/// What is wrong with a configuration file, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1; 0 where no place is known.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// How many characters of that line are wrong.
    pub width: usize,
    /// The text of that line.
    pub excerpt: String,
    /// What is wrong and, where there is one, the nearest known key.
    pub message: String,
}

/// What is wrong and where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The bytes that are wrong; `None` where no place is known.
    pub span: Option<Range<usize>>,
    /// What is wrong with them.
    pub message: String,
    /// Whether somebody may have put a password there, which is then not repeated.
    pub private: bool,
}

impl Mistake {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), private: false }
    }
}

impl ConfigError {
    /// A file of which nothing can be said but that it is wrong.
    #[must_use]
    pub fn of_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            excerpt: String::new(),
            message: visible(&message),
        }
    }

    pub(super) fn at(file: &Path, text: &str, mistake: Mistake) -> Self {
        let Some(span) = mistake.span else { return Self::of_file(file, mistake.message) };
        let start = boundary(text, span.start);
        let end = boundary(text, span.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count() + 1;
        // What goes on in the next line is marked to the end of this one.
        let wrong = text[start..end].lines().next().unwrap_or_default();
        let width = wrong.trim_end().chars().count().max(1);
        let shown = if may_hold_secrets(text, line_start, line) {
            Some(line.find('=').map_or(usize::MAX, |sign| line[..=sign].chars().count()))
        } else {
            mistake.private.then_some(column - 1)
        };
        let length = line.chars().count();
        let shown = shown.unwrap_or(length).min(length);
        // One sign for each, so that the marks stand below what they mean.
        let mut excerpt: String = line.chars().take(shown).map(one_visible).collect();
        if shown < length {
            excerpt.push('…');
        }
        let room = (excerpt.chars().count() + 1).saturating_sub(column);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            width: width.min(room).max(1),
            excerpt,
            message: visible(&mistake.message),
        }
    }

    fn render(&self) -> String {
        if self.line == 0 {
            return format!("{}: {}", self.file.display(), self.message);
        }
        format!(
            "{}:{}:{}: {}\n  | {}\n  | {}{}",
            self.file.display(),
            self.line,
            self.column,
            self.message,
            self.excerpt,
            " ".repeat((self.column - 1).min(self.excerpt.chars().count())),
            "^".repeat(self.width),
        )
    }
}

/// Whether a line's values could be secret: those of `[secret.NAME]`, where only the place of one
/// belongs, and of `env`. People put them there all the same, so nothing after `=` is repeated.
fn may_hold_secrets(text: &str, line_start: usize, line: &str) -> bool {
    let is_header = |line: &&str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        line.starts_with('[') && line.ends_with(']') && !line.contains(',')
    };
    let header = text[..line_start].lines().rev().map(str::trim_start).find(is_header);
    let header = header.unwrap_or_default().trim_start_matches('[').trim_start();
    let within = header.trim_end().trim_end_matches(']').trim_end();
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_secret = |name: &str| name == "secret" || name.starts_with("secret.");
    let is_env = |name: &str| name == "env" || name.starts_with("env.") || name.contains(".env");
    is_secret(within)
        || is_secret(key)
        || is_env(within)
        || is_env(key)
        || line.replace(' ', "").contains("env=")
}

/// A sign that moves nothing on a terminal.
fn one_visible(sign: char) -> char {
    let mut bytes = [0; 4];
    match sign {
        '\t' => ' ',
        sign if visible(sign.encode_utf8(&mut bytes)).chars().eq([sign]) => sign,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// The nearest place at or before this one that does not stand within a character.
fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// What the parser says, in words for somebody who does not know parsers. `found` is the kind of
/// what stands there. Values are left out: they could be secret.
pub(super) fn in_words(message: &str, found: &str) -> String {
    let message = message.trim();
    if message.starts_with("wanted string or table") {
        return format!("here stands {found}, where a word in quotes belongs");
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let [wrong, known @ ..] = quoted.as_slice()
    {
        return unknown_key(wrong, known);
    }
    if message.starts_with("unknown variant")
        && let [wrong, known @ ..] = quoted.as_slice()
    {
        return not_one_of(wrong, known);
    }
    if message.starts_with("missing field")
        && let [missing] = quoted.as_slice()
    {
        return format!("`{missing}` is missing");
    }
    if message.starts_with("duplicate key") {
        return "this key is written twice".into();
    }
    let wrong = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "));
    if let Some((_, expected)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        return format!("here stands {found}, where {} belongs", kind(expected));
    }
    if message.starts_with("string values must be quoted") {
        return "a text must stand in quotes".into();
    }
    message.to_owned()
}

/// That a key is unknown among these.
fn unknown_key(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known.iter().copied()) {
        Some(known) => format!("unknown key `{wrong}`; did you mean `{known}`?"),
        None => format!("unknown key `{wrong}`; known here: {}", known.join(", ")),
    }
}

/// That a word is none of these.
fn not_one_of(wrong: &str, known: &[&str]) -> String {
    let known_words = known.join(", ");
    match nearest(wrong, known.iter().copied()) {
        Some(known) => {
            format!("`{wrong}` is not one of {known_words}; did you mean `{known}`?")
        }
        None => format!("`{wrong}` is not one of {known_words}"),
    }
}

/// A kind of value, from the parser's word for what it expected.
fn kind(word: &str) -> &str {
    match word {
        _ if word.starts_with("a string") => "a text in quotes",
        _ if word.starts_with("a sequence") => "a list in [ ]",
        _ if word.starts_with("a map") || word.starts_with("struct") => "a table",
        _ if word.starts_with("a boolean") => "true or false",
        "u32" | "u64" => "a whole number of 0 or more",
        "i64" => "a whole number",
        _ => word,
    }
}

/// The kind of what stands at a place.
pub(super) fn kind_at(text: &str, span: Option<Range<usize>>) -> &'static str {
    let token = span.and_then(|span| text.get(span)).unwrap_or_default();
    match token.chars().next() {
        Some('"' | '\'') => "a text",
        Some('{') => "a table",
        Some('[') if token.starts_with("[[") || token.lines().count() > 1 => "a table",
        Some('[') if !token.contains(['"', '\'', ',', '=']) => "a table",
        Some('[') => "a list",
        Some('t' | 'f') => "true or false",
        Some(c) if c.is_ascii_digit() && token.matches(['-', ':']).count() > 1 => "a date",
        Some('0'..='9' | '+' | '-') => "a number",
        _ => "something else",
    }
}

/// The known word that a wrong one was probably meant to be.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (distance(wrong, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .map(|(_, known)| known)
}

/// Levenshtein's distance between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
