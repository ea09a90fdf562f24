//! The words of a retention rule, read strictly: a typo must not let snapshots go.

use super::{Keep, Period, Stay, Unit};
use crate::config::nearest;

/// What is wrong with a rule's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeepError {
    /// Where, in bytes from the beginning of the rule.
    pub offset: usize,
    /// What, with the nearest known word.
    pub message: String,
}

/// Largest count of a unit.
const MOST: u32 = 9_999;
const EVERYTHING: &str = "everything";
const FOR: &str = "for";

fn error(offset: usize, message: impl Into<String>) -> KeepError {
    KeepError { offset, message: message.into() }
}

/// One word or comma and where it begins.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    offset: usize,
    text: &'a str,
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (offset, c) in ends {
        if c != ',' && !c.is_whitespace() {
            start.get_or_insert(offset);
            continue;
        }
        if let Some(start) = start.take() {
            found.push(Token { offset: start, text: &text[start..offset] });
        }
        if c == ',' {
            found.push(Token { offset, text: "," });
        }
    }
    found
}

pub(super) fn parse(text: &str) -> Result<Keep, KeepError> {
    let tokens = tokens(text);
    let mut everything = None;
    let mut steps: Vec<(Period, Stay)> = Vec::new();
    let mut next = 0;
    for clause in tokens.split(|token| token.text == ",") {
        let [word, rest @ ..] = clause else {
            // Pointed at: the comma behind the gap, or the last one.
            let comma = tokens.get(next).or_else(|| tokens.last());
            let offset = comma.map_or(0, |comma| comma.offset);
            return Err(error(offset, "a step is missing: write `everything for 2 days, daily`"));
        };
        next += clause.len() + 1;
        let stay = stay(word, rest)?;
        let Some(before) = everything else {
            everything = Some(first(word, stay)?);
            continue;
        };
        let period = period(word)?;
        if let Some((earlier, _)) = steps.last().filter(|(earlier, _)| *earlier >= period) {
            let message = if *earlier == period {
                format!("`{}` stands there twice", period.adverb())
            } else {
                format!(
                    "`{}` must come before `{}`: the steps go from short periods to long ones",
                    period.adverb(),
                    earlier.adverb()
                )
            };
            return Err(error(word.offset, message));
        }
        let before = steps.last().map_or(before, |(_, stay)| *stay);
        match (before.seconds(), stay.seconds()) {
            (None, _) => {
                let message =
                    "the step before this one has no end (`for …`), so this one never applies";
                return Err(error(word.offset, message));
            }
            (Some(before), Some(this)) if this <= before => {
                let message =
                    format!("`{}{stay}` must last longer than the step before it", period.adverb());
                return Err(error(word.offset, message));
            }
            _ => steps.push((period, stay)),
        }
    }
    let everything = everything.ok_or_else(|| error(0, "the rule is empty"))?;
    Ok(Keep { everything, steps })
}

fn first(word: &Token<'_>, stay: Stay) -> Result<Stay, KeepError> {
    if word.text != EVERYTHING {
        let message = if period(word).is_ok() {
            format!("the rule must begin with `{EVERYTHING} for …`")
        } else {
            unknown(word.text, &[EVERYTHING])
        };
        return Err(error(word.offset, message));
    }
    Ok(stay)
}

fn period(word: &Token<'_>) -> Result<Period, KeepError> {
    if word.text == EVERYTHING {
        return Err(error(word.offset, format!("`{EVERYTHING}` can only be the first step")));
    }
    let known = Period::ALL.map(Period::adverb);
    let found = Period::ALL.into_iter().find(|period| period.adverb() == word.text);
    found.ok_or_else(|| error(word.offset, unknown(word.text, &known)))
}

/// `for 2 weeks`, or nothing.
fn stay(word: &Token<'_>, rest: &[Token<'_>]) -> Result<Stay, KeepError> {
    let after = |token: &Token<'_>| token.offset + token.text.len();
    match rest {
        [] => Ok(Stay::Forever),
        [token, ..] if token.text != FOR => {
            let message = format!(
                "`{}` after `{}`: write `{} for 2 weeks`, and a comma between two steps",
                token.text, word.text, word.text
            );
            Err(error(token.offset, message))
        }
        [token] => Err(error(after(token), "a number and a unit are missing after `for`")),
        [_, number] => {
            count(number)?;
            Err(error(after(number), format!("a unit is missing after `{}`", number.text)))
        }
        [_, number, unit] => {
            let count = count(number)?;
            Ok(Stay::For(count, self::unit(unit)?))
        }
        [_, _, _, more, ..] => {
            let message = format!("`{}` is one word too many; a comma separates steps", more.text);
            Err(error(more.offset, message))
        }
    }
}

fn count(token: &Token<'_>) -> Result<u32, KeepError> {
    let digits = token.text.bytes().all(|byte| byte.is_ascii_digit());
    let number = token.text.parse().ok().filter(|number| digits && (1..=MOST).contains(number));
    number.ok_or_else(|| {
        error(token.offset, format!("`{}` must be a whole number from 1 to {MOST}", token.text))
    })
}

fn unit(token: &Token<'_>) -> Result<Unit, KeepError> {
    let singular = token.text.strip_suffix('s').unwrap_or(token.text);
    let found = Unit::ALL.into_iter().find(|unit| unit.word() == singular);
    let plurals: Vec<String> = Unit::ALL.iter().map(|unit| format!("{}s", unit.word())).collect();
    let known: Vec<&str> = plurals.iter().map(String::as_str).collect();
    found.ok_or_else(|| error(token.offset, unknown(token.text, &known)))
}

fn unknown(word: &str, known: &[&str]) -> String {
    let list: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    let expected = match known {
        [_] => format!("expected {}", list.join("")),
        _ => format!("expected one of {}", list.join(", ")),
    };
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("unknown word `{word}`, {expected}; did you mean `{nearest}`?"),
        None => format!("unknown word `{word}`, {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::DEFAULT_KEEP;
    use proptest::prelude::*;

    #[test]
    fn the_default_is_the_documented_sentence() {
        assert_eq!(Keep::parse(DEFAULT_KEEP), Ok(Keep::default()));
        assert_eq!(Keep::default().to_string(), DEFAULT_KEEP);
        let spaced = " everything  for 1 hour ,daily for 1 week, yearly ";
        let keep = Keep::parse(spaced).expect("spaces do not matter");
        assert_eq!(keep.to_string(), "everything for 1 hour, daily for 1 week, yearly");
        assert_eq!(Keep::parse("everything").expect("for ever").everything(), Stay::Forever);
    }

    #[test]
    fn mistakes_name_their_place_and_the_nearest_word() {
        let cases = [
            "",
            ",",
            "everything for 2 days,",
            "evrything for 2 days",
            "daily for 2 weeks",
            "everything for 2 days, dayly for 2 weeks",
            "everything for 2 days, daily for 2 weks",
            "everything for 2 days, daily for two weeks",
            "everything for 2 days, daily for 0 weeks",
            "everything for 2 days, daily 2 weeks",
            "everything for 2 days daily for 2 weeks",
            "everything for",
            "everything for 2",
            "everything for 0 hours",
            "everything for 2 weeks, hourly for 2 weeks",
            "everything for 2 days, daily for 2 weeks, hourly for 2 months",
            "everything for 2 days, daily for 2 weeks, daily for 2 months",
            "everything for 2 days, daily, monthly",
            "everything for 2 days, everything for 3 days",
            "everything for 99999 days",
        ];
        let rendered: Vec<String> = cases
            .iter()
            .map(|case| {
                let error = Keep::parse(case).expect_err(case);
                format!("{case}\n{}^ {}", " ".repeat(error.offset), error.message)
            })
            .collect();
        insta::assert_snapshot!(rendered.join("\n\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(
            text in "(everything|hourly|daily|weekly|monthly|yearly|for|,| |1|2|9|hours?|days?|weeks?|months|é){0,20}"
        ) {
            match Keep::parse(&text) {
                Ok(keep) => prop_assert_eq!(Keep::parse(&keep.to_string()), Ok(keep)),
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }
    }
}
