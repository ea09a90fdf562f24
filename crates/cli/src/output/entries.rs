//! Entries of a snapshot for eyes, as `ls -l` would list them. Names are hostile. Pure.

use jiff::tz::TimeZone;
use ringfence_model::bytes::visible;
use ringfence_model::history::{EntryKind, EntryView};

use super::style::{Paint, Style};
use super::table::{maybe, painted, table, text};
use super::words;

/// One line an entry.
#[must_use]
pub fn render(entries: &[EntryView], zone: &TimeZone, style: &Style) -> String {
    if entries.is_empty() {
        return "The directory is empty.\n".to_owned();
    }
    let rows = entries
        .iter()
        .map(|entry| {
            let modified = entry
                .modified
                .map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string());
            vec![
                painted(Paint::Faint, mode(entry)),
                text(format!("{}:{}", entry.uid, entry.gid)),
                maybe((entry.kind == EntryKind::File).then(|| words::size(entry.size))),
                maybe(modified),
                text(name(entry)),
            ]
        })
        .collect();
    table(style, &["MODE", "OWNER", "SIZE", "MODIFIED", "NAME"], rows)
}

fn name(entry: &EntryView) -> String {
    let name = entry.path.path.rsplit('/').next().unwrap_or_default();
    match (entry.kind, &entry.target) {
        (EntryKind::Directory, _) => format!("{name}/"),
        (_, Some(target)) => format!("{name} -> {}", visible(target)),
        _ => name.to_owned(),
    }
}

/// `-rwxr-xr-x`
fn mode(entry: &EntryView) -> String {
    let kind = match entry.kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Link => 'l',
        EntryKind::Pipe => 'p',
        EntryKind::Socket => 's',
        EntryKind::Device => 'b',
    };
    let special = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    let mut out = String::from(kind);
    for (shift, (bit, letter)) in [6, 3, 0].into_iter().zip(special) {
        let bits = entry.mode >> shift;
        out.push(if bits & 4 == 0 { '-' } else { 'r' });
        out.push(if bits & 2 == 0 { '-' } else { 'w' });
        out.push(match (bits & 1 != 0, entry.mode & bit != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;

    #[test]
    fn hostile_names_move_no_cursor() {
        let entry = |path: &[u8], kind, mode, target: Option<&str>| EntryView {
            path: BytePath::from_bytes(path),
            kind,
            size: 2048,
            mode,
            uid: 1000,
            gid: 1000,
            modified: Some("2026-11-23T14:00:00Z".parse().expect("time")),
            target: target.map(Into::into),
        };
        let entries = [
            entry(b"d/evil\x1b[2J", EntryKind::File, 0o4755, None),
            entry(b"d/line\nbreak\xff", EntryKind::Directory, 0o1776, None),
            entry(b"d/link", EntryKind::Link, 0o777, Some("\u{202e}x\x07")),
        ];
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        insta::assert_snapshot!("entries", render(&entries, &zone, &Style::plain()));
        assert_eq!(render(&[], &zone, &Style::plain()), "The directory is empty.\n");
    }
}
