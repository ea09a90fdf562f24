//! Which state a person means: a snapshot, a time, or before a session. Pure.

use jiff::civil::{Date, DateTime, Time};
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
    /// The state in which a session found the folder.
    Before(SessionId),
}

/// Reads `--at`, and the two sides of `diff`.
///
/// # Errors
/// A sentence that names every form.
pub fn parse(text: &str, now: &Zoned) -> Result<Moment, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "now" => return Ok(Moment::Now),
        "latest" => return Ok(Moment::Latest),
        _ => {}
    }
    if let Some(session) = lower.strip_prefix("before ") {
        let session = session.trim();
        let session = session.strip_prefix("session ").unwrap_or(session).trim();
        return SessionId::new(session).map(Moment::Before).map_err(|error| error.to_string());
    }
    if (4..=64).contains(&lower.len()) && lower.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Moment::Snapshot(lower));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return past(time, now);
    }
    if let Some(ago) = lower.strip_suffix("ago") {
        let span = span(ago.trim()).ok_or_else(|| forms(text))?;
        let time = now.checked_sub(span).map_err(|_| forms(text))?;
        return past(time.timestamp(), now);
    }
    let local = |civil: DateTime| {
        civil
            .to_zoned(now.time_zone().clone())
            .map(|zoned| zoned.timestamp())
            .map_err(|_| forms(text))
    };
    if text.len() <= 8 && text.contains(':') {
        let time: Time = text.parse().map_err(|_| forms(text))?;
        let today = local(now.date().to_datetime(time))?;
        if today <= now.timestamp() {
            return Ok(Moment::At(today));
        }
        // A time of day that is still to come means yesterday's.
        let yesterday = now.date().yesterday().map_err(|_| forms(text))?;
        return past(local(yesterday.to_datetime(time))?, now);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return past(local(civil)?, now);
    }
    if let Ok(date) = text.parse::<Date>() {
        return past(local(date.to_datetime(Time::midnight()))?, now);
    }
    Err(forms(text))
}

fn past(time: Timestamp, now: &Zoned) -> Result<Moment, String> {
    if time > now.timestamp() {
        return Err(format!("{time} is in the future"));
    }
    Ok(Moment::At(time))
}

fn forms(text: &str) -> String {
    format!(
        "`{text}` is no state of a folder: write `latest`, the first digits of a snapshot's id, \
         `14:05`, `2026-11-23 14:05`, `10 minutes ago` or `before session ID`"
    )
}

/// `10 minutes`, `2h`, `1 day`.
fn span(text: &str) -> Option<Span> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok().filter(|number| *number <= 1_000_000)?;
    let unit = unit.trim();
    let unit = if unit.len() > 1 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
    Some(match unit {
        "s" | "sec" | "second" => number.seconds(),
        "m" | "min" | "minute" => number.minutes(),
        "h" | "hour" => number.hours(),
        "d" | "day" => number.days(),
        "w" | "week" => i64::checked_mul(number, 7)?.days(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Zoned {
        "2026-11-23T14:30:00[Europe/Berlin]".parse().expect("a time")
    }

    fn at(text: &str) -> String {
        match parse(text, &now()) {
            Ok(Moment::At(time)) => time.to_string(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_form_is_read_in_the_persons_time_zone() {
        assert_eq!(at("14:05"), "2026-11-23T13:05:00Z");
        assert_eq!(at("14:05:09"), "2026-11-23T13:05:09Z");
        assert_eq!(at("23:00"), "2026-11-22T22:00:00Z", "still to come today");
        assert_eq!(at("10 minutes ago"), "2026-11-23T13:20:00Z");
        assert_eq!(at("1 hour ago"), "2026-11-23T12:30:00Z");
        assert_eq!(at("2h ago"), "2026-11-23T11:30:00Z");
        assert_eq!(at("1 day ago"), "2026-11-22T13:30:00Z");
        assert_eq!(at("2 weeks ago"), "2026-11-09T13:30:00Z");
        assert_eq!(at("2026-11-20T10:00:00Z"), "2026-11-20T10:00:00Z");
        assert_eq!(at("2026-11-20T10:00:00+01:00"), "2026-11-20T09:00:00Z");
        assert_eq!(at("2026-11-20 10:00"), "2026-11-20T09:00:00Z");
        assert_eq!(at("2026-11-20"), "2026-11-19T23:00:00Z");
        // A day before the clocks changed has another offset.
        assert_eq!(at("2026-07-01 10:00"), "2026-07-01T08:00:00Z");
    }

    #[test]
    fn snapshots_and_sessions() {
        assert_eq!(parse("latest", &now()), Ok(Moment::Latest));
        assert_eq!(parse("NOW", &now()), Ok(Moment::Now));
        assert_eq!(parse("1A2b3c", &now()), Ok(Moment::Snapshot("1a2b3c".into())));
        let session = SessionId::new("20261123-1").expect("an id");
        assert_eq!(parse("before session 20261123-1", &now()), Ok(Moment::Before(session.clone())));
        assert_eq!(parse("before 20261123-1", &now()), Ok(Moment::Before(session)));
    }

    #[test]
    fn anything_else_names_the_forms() {
        for text in ["", "abc", "yesterdayish", "14:99", "10 potatoes ago", "ago", "before ../x"] {
            assert!(parse(text, &now()).is_err(), "{text}");
        }
        assert_eq!(
            parse("2031-01-01T00:00:00Z", &now()),
            Err("2031-01-01T00:00:00Z is in the future".into())
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9:TZ+ -]|ago|before|weeks|é){0,30}") {
            let _ = parse(&text, &now());
        }
    }
}
