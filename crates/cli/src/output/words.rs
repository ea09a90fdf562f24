//! Numbers, ages and names as people read them. Pure.

use jiff::Timestamp;
use ringfence_model::size::Size;

use super::style::Style;

/// `1,204`
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `1,204 files`
#[must_use]
pub fn count(count: u64, one: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{} {one}{many}", number(count))
}

/// `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`
#[must_use]
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// `12 min ago`
#[must_use]
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second().saturating_sub(time.as_second())))
}

/// `14:05`, or with the date where that is another one than today's.
#[must_use]
pub fn clock(time: Timestamp, now: Timestamp, style: &Style) -> String {
    let local =
        |time: Timestamp| time.to_zoned(style.zone.clone().unwrap_or(jiff::tz::TimeZone::UTC));
    let (time, now) = (local(time), local(now));
    let form = if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.strftime(form).to_string()
}

/// `1.5GiB`
#[must_use]
pub fn size(bytes: u64) -> String {
    Size::bytes(bytes).to_string()
}

/// The first digits of a snapshot's or image's id: enough to type.
#[must_use]
pub fn short(id: &str) -> String {
    ringfence_model::bytes::visible(&id.chars().take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ages() {
        assert_eq!(
            [0, 7, 999, 1000, 12_345, 1_234_567].map(number),
            ["0", "7", "999", "1,000", "12,345", "1,234,567"]
        );
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(1204, "file"), "1,204 files");
        assert_eq!(
            [-3, 0, 59, 60, 3599, 3600, 3900, 86_400, 190_000].map(duration),
            ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "1 h 5 min", "1 d", "2 d 4 h"]
        );
        assert_eq!(short("0123456789abcdef"), "01234567");
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
        let style = Style { zone: Some(zone), ..Style::plain() };
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-23T00:30:00Z");
        assert_eq!(clock(at("2026-11-22T23:05:00Z"), now, &style), "00:05");
        assert_eq!(clock(at("2026-11-22T22:05:00Z"), now, &style), "2026-11-22 23:05");
        assert_eq!(clock(at("2026-11-22T22:05:00Z"), now, &Style::plain()), "2026-11-22 22:05");
    }
}
