//! What is wrong with a configuration, the place of it, and how a person is told.

use std::ops::Range;
use std::path::{Path, PathBuf};

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
            message,
        }
    }

    pub(super) fn at(file: &Path, text: &str, mistake: Mistake) -> Self {
        let Some(span) = mistake.span else { return Self::of_file(file, mistake.message) };
        let start = boundary(text, span.start);
        let end = boundary(text, span.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let mut excerpt = text[line_start..].lines().next().unwrap_or_default().to_owned();
        let column = text[line_start..start].chars().count() + 1;
        // What goes on in the next line is marked to the end of this one.
        let wrong = text[start..end].lines().next().unwrap_or_default();
        let width = wrong.trim_end().chars().count().max(1);
        if mistake.private {
            excerpt = excerpt.chars().take(column - 1).collect();
            excerpt.push('…');
        }
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            width: if mistake.private { 1 } else { width },
            excerpt,
            message: mistake.message,
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
            " ".repeat(self.column - 1),
            "^".repeat(self.width),
        )
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

/// Adds the nearest known key to serde's "unknown field `x`, expected one of …".
pub(super) fn with_nearest_key(message: &str) -> String {
    let message = message.trim();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(wrong) = quoted.next().filter(|_| message.starts_with("unknown")) else {
        return message.to_owned();
    };
    match nearest(wrong, quoted) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
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
