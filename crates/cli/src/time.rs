//! Which state a person means: a snapshot, a time, or before a session. Pure: the
//! present moment and the time zone are passed in.
//!
//! What is no single past moment (a whole day, an hour that the clocks ran through twice)
//! is an error that says what to write instead: a restore must not guess.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::AmbiguousOffset;
use jiff::{Span, Timestamp, ToSpan as _, Zoned};
use ringfence_model::name::SessionId;

/// A state of a folder, as far as the text alone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The folder as it is.
    Now,
    /// The newest snapshot.
    Latest,
    /// A snapshot by its id or the id's first digits.
    Snapshot(String),
    /// The newest snapshot that is not younger.
    At(Timestamp),
    /// The state in which a session found the folder; its id, or the beginning or end of it.
    Before(SessionId),
    /// The state in which a session left the folder.
    After(SessionId),
    /// The state right before one operation of a session, by its number.
    Operation(SessionId, u64),
}

/// Reads `--at`, and the two sides of `diff`.
///
/// # Errors
/// A sentence that names every form, or what is ambiguous and how to say it.
pub fn parse(text: &str, now: &Zoned) -> Result<Moment, String> {
    let lower = text.to_lowercase().replace(',', " ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.as_slice() {
        ["now"] => return Ok(Moment::Now),
        ["latest"] => return Ok(Moment::Latest),
        ["before", "operation", number, "of", "session", session]
        | ["before", "operation", number, "of", session] => {
            let number = number.parse().map_err(|_| format!("`{number}` is no number"))?;
            return Ok(Moment::Operation(session_id(session)?, number));
        }
        ["before", "session", session] | ["before", session] => {
            return session_id(session).map(Moment::Before);
        }
        ["after", "session", session] | ["after", session] => {
            return session_id(session).map(Moment::After);
        }
        [id] if (4..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            return Ok(Moment::Snapshot((*id).to_owned()));
        }
        _ => {}
    }
    if let Ok(time) = text.trim().parse::<Timestamp>() {
        return past(time, text, now);
    }
    if let Some((&"ago", spans)) = words.split_last() {
        return ago(spans, now).map(Moment::At).ok_or_else(|| forms(text));
    }
    local_time(&words, text, now)
}

fn session_id(text: &str) -> Result<SessionId, String> {
    SessionId::new(text).map_err(|error| error.to_string())
}

/// A day, a time of day, or both, as the clock on the wall showed them.
fn local_time(words: &[&str], text: &str, now: &Zoned) -> Result<Moment, String> {
    let words: Vec<&str> =
        words.iter().copied().filter(|word| !matches!(*word, "at" | "on" | "last")).collect();
    let said = match words.as_slice() {
        // `2026-11-23T14:05` is one word for both.
        [both] if both.contains('t') && both.parse::<DateTime>().is_ok() => {
            both.parse::<DateTime>().ok().map(|both| (Some(both.date()), Some(both.time())))
        }
        [first, rest @ ..] => match (day(first, now), rest) {
            (Some(date), []) => Some((Some(date), None)),
            (Some(date), rest) => time_of_day(rest).map(|time| (Some(date), Some(time))),
            (None, _) => time_of_day(&words).map(|time| (None, Some(time))),
        },
        [] => None,
    };
    match said {
        Some((Some(date), Some(time))) => past(local(date.to_datetime(time), now)?, text, now),
        Some((Some(_), None)) => Err(format!(
            "`{}` is a whole day, so it is not clear which state of it is meant: \
             say a time as well, such as `{0} 18:00`",
            words.join(" ")
        )),
        Some((None, Some(time))) => {
            let today = local(now.date().to_datetime(time), now)?;
            if today <= now.timestamp() {
                return Ok(Moment::At(today));
            }
            // A time of day that is still to come means yesterday's.
            let yesterday = now.date().yesterday().map_err(|_| forms(text))?;
            past(local(yesterday.to_datetime(time), now)?, text, now)
        }
        _ => Err(forms(text)),
    }
}

/// `today`, `yesterday`, `monday` (the last one before today), `2026-11-23`.
fn day(word: &str, now: &Zoned) -> Option<Date> {
    let weekday = match word {
        "today" => return Some(now.date()),
        "yesterday" => return now.date().yesterday().ok(),
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        // Only in full: `20261123` could as well be a snapshot.
        _ => return word.contains('-').then(|| word.parse().ok()).flatten(),
    };
    now.date().nth_weekday(-1, weekday).ok()
}

/// `14:05`, `14:05:09`, `9am`, `9:30 pm`, `noon`, `midnight`.
fn time_of_day(words: &[&str]) -> Option<Time> {
    let (text, half) = match words {
        ["noon"] => return Some(Time::constant(12, 0, 0, 0)),
        ["midnight"] => return Some(Time::midnight()),
        [text] => {
            let half = ["am", "pm"].into_iter().find(|half| text.ends_with(half));
            (text.trim_end_matches("am").trim_end_matches("pm"), half)
        }
        [text, half @ ("am" | "pm")] => (*text, Some(*half)),
        _ => return None,
    };
    let mut numbers = text.split(':');
    let number = |part: Option<&str>| match part {
        None => Some(0),
        Some(digits) if matches!(digits.len(), 1 | 2) => digits.parse::<i8>().ok(),
        Some(_) => None,
    };
    let (hour, minute, second) = (numbers.next(), numbers.next(), numbers.next());
    // `9` alone is no time, `9am` is.
    if numbers.next().is_some() || (minute.is_none() && half.is_none()) {
        return None;
    }
    let hour = match (number(hour)?, half) {
        (hour, None) => hour,
        (hour @ 1..=12, Some("am")) => hour % 12,
        (hour @ 1..=12, Some(_)) => hour % 12 + 12,
        _ => return None,
    };
    Time::new(hour, number(minute)?, number(second)?, 0).ok()
}

/// What the clock on the wall showed as a moment; an error where it showed it never or twice.
fn local(civil: DateTime, now: &Zoned) -> Result<Timestamp, String> {
    let shown = civil.strftime("%Y-%m-%d %H:%M");
    let ambiguous = now.time_zone().to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            ambiguous.unambiguous().map_err(|_| format!("{shown} is no time"))
        }
        AmbiguousOffset::Gap { .. } => Err(format!(
            "there was no {shown}: the clocks were put forward over it; say a time before or after, \
             or one such as `2 hours ago`"
        )),
        AmbiguousOffset::Fold { before, after } => {
            let exact = civil.strftime("%Y-%m-%dT%H:%M:%S");
            Err(format!(
                "{shown} came twice, because the clocks were put back: say `{exact}{before}` for the first \
                 or `{exact}{after}` for the second"
            ))
        }
    }
}

fn past(time: Timestamp, text: &str, now: &Zoned) -> Result<Moment, String> {
    if time > now.timestamp() {
        return Err(format!(
            "`{}` is still to come; say a time that is past, such as `14:05` or `10 minutes ago`",
            text.trim()
        ));
    }
    Ok(Moment::At(time))
}

fn forms(text: &str) -> String {
    format!(
        "`{text}` is no state of a folder: write `latest`, the first digits of a snapshot's id, \
         `14:05`, `yesterday 9:00`, `2026-11-23 14:05`, `10 minutes ago`, `2 days ago` or \
         `before session ID`"
    )
}

/// `10 minutes`, `2h`, `an hour`, `1 day 2 hours`: counted back from now, days by the calendar.
fn ago(words: &[&str], now: &Zoned) -> Option<Timestamp> {
    let mut words = words.iter().copied().filter(|word| *word != "and").peekable();
    words.peek()?;
    let mut time = now.clone();
    while let Some(word) = words.next() {
        let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (number, unit) = word.split_at(digits);
        let (number, unit) = match (number, unit) {
            ("", "a" | "an") => (1, words.next()?),
            (number, "") => (number.parse().ok()?, words.next()?),
            (number, unit) => (number.parse().ok()?, unit),
        };
        time = time.checked_sub(span(number, unit)?).ok()?;
    }
    Some(time.timestamp())
}

fn span(number: i64, unit: &str) -> Option<Span> {
    if !(0..=1_000_000).contains(&number) {
        return None;
    }
    let unit = if unit.len() > 1 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
    Some(match unit {
        "s" | "sec" | "second" => number.seconds(),
        "m" | "min" | "minute" => number.minutes(),
        "h" | "hour" => number.hours(),
        "d" | "day" => number.days(),
        "w" | "week" => Span::new().try_weeks(number).ok()?,
        "month" => Span::new().try_months(number).ok()?,
        "y" | "year" => Span::new().try_years(number).ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zoned(text: &str) -> Zoned {
        text.parse().expect("a time")
    }

    /// A Monday.
    fn now() -> Zoned {
        zoned("2026-11-23T14:30:00[Europe/Berlin]")
    }

    #[track_caller]
    fn at(text: &str, now: &Zoned) -> String {
        match parse(text, now) {
            Ok(Moment::At(time)) => time.to_string(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_form_is_read_in_the_persons_time_zone() {
        for (text, time) in [
            ("14:05", "2026-11-23T13:05:00Z"),
            ("14:05:09", "2026-11-23T13:05:09Z"),
            ("9:00", "2026-11-23T08:00:00Z"),
            ("9am", "2026-11-23T08:00:00Z"),
            ("at 9:30 am", "2026-11-23T08:30:00Z"),
            ("12 am", "2026-11-22T23:00:00Z"),
            ("12pm", "2026-11-23T11:00:00Z"),
            ("noon", "2026-11-23T11:00:00Z"),
            // Still to come today.
            ("23:00", "2026-11-22T22:00:00Z"),
            ("yesterday 9:00", "2026-11-22T08:00:00Z"),
            ("Yesterday, 9:00", "2026-11-22T08:00:00Z"),
            ("yesterday at noon", "2026-11-22T11:00:00Z"),
            ("today 9:00", "2026-11-23T08:00:00Z"),
            ("sunday 18:00", "2026-11-22T17:00:00Z"),
            // Today is a Monday: the last one before it.
            ("last monday 8:00", "2026-11-16T07:00:00Z"),
            ("tue 8pm", "2026-11-17T19:00:00Z"),
            ("10 minutes ago", "2026-11-23T13:20:00Z"),
            ("1 hour ago", "2026-11-23T12:30:00Z"),
            ("an hour ago", "2026-11-23T12:30:00Z"),
            ("2h ago", "2026-11-23T11:30:00Z"),
            ("1h 10m ago", "2026-11-23T12:20:00Z"),
            ("1 hour and 10 minutes ago", "2026-11-23T12:20:00Z"),
            ("1 day ago", "2026-11-22T13:30:00Z"),
            ("2 days ago", "2026-11-21T13:30:00Z"),
            ("2 weeks ago", "2026-11-09T13:30:00Z"),
            ("a month ago", "2026-10-23T12:30:00Z"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20T10:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20 10:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20 at 10:00", "2026-11-20T09:00:00Z"),
            // Before the clocks changed the offset was another.
            ("2026-07-01 10:00", "2026-07-01T08:00:00Z"),
        ] {
            assert_eq!(at(text, &now()), time, "{text}");
        }
    }

    #[test]
    fn a_change_of_the_clocks_is_never_guessed_over() {
        // Back at 03:00 on 25 October: 02:30 comes twice.
        let now = zoned("2026-10-25T12:00:00[Europe/Berlin]");
        let error = parse("2:30", &now).expect_err("ambiguous");
        assert!(error.contains("came twice"), "{error}");
        let both: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
        assert_eq!(
            both.iter().map(|text| at(text, &now)).collect::<Vec<_>>(),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
            "{error}"
        );
        // A day by the calendar has 25 hours here, and 24 hours are 24 hours.
        assert_eq!(at("1 day ago", &now), "2026-10-24T10:00:00Z");
        assert_eq!(at("24 hours ago", &now), "2026-10-24T11:00:00Z");
        // Forward at 02:00 on 29 March: there is no 02:30.
        let now = zoned("2026-03-29T12:00:00[Europe/Berlin]");
        let error = parse("today 2:30", &now).expect_err("no such time");
        assert!(error.contains("no 2026-03-29 02:30"), "{error}");
        assert_eq!(at("9 hours ago", &now), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn snapshots_and_sessions() {
        assert_eq!(parse(" latest ", &now()), Ok(Moment::Latest));
        assert_eq!(parse("NOW", &now()), Ok(Moment::Now));
        assert_eq!(parse("1A2b3c", &now()), Ok(Moment::Snapshot("1a2b3c".into())));
        let session = SessionId::new("20261123-1").expect("an id");
        assert_eq!(parse("before session 20261123-1", &now()), Ok(Moment::Before(session.clone())));
        let operation = Ok(Moment::Operation(session.clone(), 12));
        assert_eq!(parse("before operation 12 of session 20261123-1", &now()), operation);
        assert_eq!(parse("before operation 12 of 20261123-1", &now()), operation);
        assert!(parse("before operation x of 20261123-1", &now()).is_err());
        assert_eq!(parse("before 20261123-1", &now()), Ok(Moment::Before(session.clone())));
        assert_eq!(parse("after session 20261123-1", &now()), Ok(Moment::After(session)));
    }

    #[test]
    fn anything_else_names_the_forms() {
        for text in [
            "",
            "abc",
            "yesterdayish",
            "14:99",
            "9",
            "13pm",
            "0am",
            "1:2:3:4",
            "10 potatoes ago",
            "ago",
            "10 ago",
            "before ../x",
            "before",
            "2026-13-01 10:00",
            "tomorrow",
            "99999999999 years ago",
        ] {
            let error = parse(text, &now()).expect_err(text);
            assert!(
                error.contains("is no state of a folder") || error.contains("session id"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_to_come_or_a_whole_day_is_refused_with_an_example() {
        for text in ["2031-01-01T00:00:00Z", "today 15:00", "2026-11-23 23:00"] {
            let error = parse(text, &now()).expect_err(text);
            assert!(
                error.contains("still to come") && error.contains("`10 minutes ago`"),
                "{error}"
            );
        }
        for text in ["yesterday", "today", "2026-11-20", "last friday"] {
            let error = parse(text, &now()).expect_err(text);
            assert!(error.contains("whole day") && error.contains(" 18:00`"), "{error}");
        }
    }

    const ZONES: [&str; 5] =
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9:TZ+ -]|ago|before|weeks|yesterday|pm|é){0,30}") {
            let _ = parse(&text, &now());
        }

        /// Whatever is understood is not in the future, in any zone at any moment.
        #[test]
        fn no_moment_is_to_come(
            zone in prop::sample::select(&ZONES[..]),
            seconds in 0i64..4_000_000_000,
            text in prop::sample::select(&[
                "14:05", "2:30", "11:59pm", "yesterday 2:15", "sunday 2:30", "3 days ago",
                "90 minutes ago", "2 months ago", "today 0:00",
            ][..]),
        ) {
            let now = Timestamp::from_second(seconds).expect("a time").in_tz(zone).expect("a zone");
            if let Ok(Moment::At(time)) = parse(text, &now) {
                prop_assert!(time <= now.timestamp());
            }
        }

        /// What `history` shows can be typed back, wherever it is not ambiguous.
        #[test]
        fn a_shown_time_is_read_back(
            zone in prop::sample::select(&ZONES[..]),
            seconds in 0i64..2_000_000_000,
        ) {
            let then = Timestamp::from_second(seconds).expect("a time").in_tz(zone).expect("a zone");
            let now = zoned("2040-01-01T00:00:00[UTC]").with_time_zone(then.time_zone().clone());
            match parse(&then.strftime("%Y-%m-%d %H:%M:%S").to_string(), &now) {
                Ok(moment) => prop_assert_eq!(moment, Moment::At(then.timestamp())),
                Err(error) => prop_assert!(error.contains("came twice"), "{}", error),
            }
        }
    }
}
