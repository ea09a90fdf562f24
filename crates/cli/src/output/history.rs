//! Histories for eyes: one line a snapshot, what changed in it, how to go on. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ringfence_model::history::{
    ChangeCounts, ChangeKind, EntryKind, HistoryEntry, HistoryView, PathChange, SnapshotView,
};

use super::style::{Paint, Style};
use super::table::{Entry, maybe, painted, table, text};
use super::words;

/// The snapshots of a folder.
#[must_use]
pub fn of_folder(view: &HistoryView, now: Timestamp, zone: &TimeZone, style: &Style) -> String {
    let oldest = view.snapshots.len().saturating_sub(1);
    let rows = view.snapshots.iter().enumerate().map(|(index, entry)| {
        let [id, time, age] = when(&entry.snapshot, now, zone);
        vec![
            id,
            time,
            age,
            maybe(why(&entry.snapshot)),
            changes(entry.changes, index == oldest),
            text(words::number(entry.snapshot.files)),
            text(words::size(entry.snapshot.bytes)),
            maybe(entry.snapshot.profile.as_ref()),
            maybe(entry.snapshot.session.as_ref()),
        ]
    });
    let header =
        ["SNAPSHOT", "TIME", "AGE", "WHY", "CHANGED", "FILES", "SIZE", "PROFILE", "SESSION"];
    table(style, &header, rows.collect())
}

/// The snapshots in which a path changed.
#[must_use]
pub fn of_path(view: &HistoryView, now: Timestamp, zone: &TimeZone, style: &Style) -> String {
    let rows = view.snapshots.iter().map(|entry| {
        let [id, time, age] = when(&entry.snapshot, now, zone);
        let path = entry.path.as_ref();
        vec![
            id,
            time,
            age,
            path.map_or_else(|| maybe(None::<&str>), |path| what_happened(entry, path)),
            maybe(path.and_then(|path| path.size).map(words::size)),
            maybe(why(&entry.snapshot)),
            maybe(entry.snapshot.profile.as_ref()),
            maybe(entry.snapshot.session.as_ref()),
        ]
    });
    let header = ["SNAPSHOT", "TIME", "AGE", "WHAT", "SIZE", "WHY", "PROFILE", "SESSION"];
    table(style, &header, rows.collect())
}

fn when(snapshot: &SnapshotView, now: Timestamp, zone: &TimeZone) -> [Entry; 3] {
    let local = snapshot.time.to_zoned(zone.clone());
    [
        text(words::short(&snapshot.id)),
        text(local.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        painted(Paint::Faint, words::ago(snapshot.time, now)),
    ]
}

fn why(snapshot: &SnapshotView) -> Option<String> {
    let kind = snapshot.kind.map(|kind| kind.word().to_owned());
    let pinned = snapshot.pinned.as_ref().map(|reason| format!("pinned: {reason}"));
    let parts: Vec<String> = kind.into_iter().chain(pinned).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn what_happened(entry: &HistoryEntry, path: &PathChange) -> Entry {
    match path.change {
        ChangeKind::Added => painted(Paint::Good, "added"),
        ChangeKind::Deleted => painted(Paint::Bad, "deleted"),
        ChangeKind::TypeChanged => painted(Paint::Weak, format!("now a {}", path.kind.word())),
        ChangeKind::Metadata if entry.changes.is_none_or(ChangeCounts::is_empty) => {
            painted(Paint::Faint, "mode or times")
        }
        ChangeKind::Modified | ChangeKind::Metadata if path.kind == EntryKind::Directory => {
            changes(entry.changes, false)
        }
        ChangeKind::Modified | ChangeKind::Metadata => painted(Paint::Weak, "changed"),
    }
}

/// `+3 ~12 -1`: added, changed, deleted. Modes and times are told only where they are all.
fn changes(counts: Option<ChangeCounts>, is_oldest: bool) -> Entry {
    let Some(counts) = counts else {
        return painted(Paint::Faint, if is_oldest { "first" } else { "not counted yet" });
    };
    if counts.is_empty() {
        return painted(Paint::Faint, "nothing");
    }
    let parts: Vec<String> = [('+', counts.added), ('~', counts.changed), ('-', counts.deleted)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(sign, count)| format!("{sign}{}", words::number(count)))
        .collect();
    if parts.is_empty() {
        return painted(Paint::Faint, "mode or times");
    }
    text(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::history::SnapshotKind;

    fn entry(id: &str, time: &str, changes: Option<ChangeCounts>) -> HistoryEntry {
        HistoryEntry {
            snapshot: SnapshotView {
                id: id.into(),
                time: time.parse().expect("time"),
                kind: Some(SnapshotKind::Opening),
                session: Some("261123-130000-ab12".into()),
                profile: Some("claude".into()),
                files: 1204,
                bytes: 5 << 20,
                pinned: None,
            },
            changes,
            path: None,
        }
    }

    #[test]
    fn of_a_folder_and_of_a_path() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().expect("time");
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let counts = ChangeCounts { added: 3, changed: 12, deleted: 1, metadata: 2 };
        let mut view = HistoryView {
            snapshots: vec![
                entry("0123456789abcdef", "2026-11-23T13:00:00Z", Some(counts)),
                entry("1123456789abcdef", "2026-11-23T12:00:00Z", Some(ChangeCounts::default())),
                entry("2123456789abcdef", "2026-11-22T12:00:00Z", None),
                entry("3123456789abcdef", "2026-11-21T12:00:00Z", None),
            ],
            damaged: Vec::new(),
        };
        view.snapshots[3].snapshot.pinned = Some("before the move\x1b[2J".into());
        insta::assert_snapshot!("history_folder", of_folder(&view, now, &zone, &Style::plain()));
        let path = |change, kind, size| Some(PathChange { change, kind, size });
        view.snapshots[0].path = path(ChangeKind::Modified, EntryKind::Directory, None);
        view.snapshots[1].path = path(ChangeKind::Deleted, EntryKind::File, None);
        view.snapshots[2].path = path(ChangeKind::Modified, EntryKind::File, Some(2048));
        view.snapshots[3].path = path(ChangeKind::Added, EntryKind::File, Some(12));
        insta::assert_snapshot!("history_path", of_path(&view, now, &zone, &Style::plain()));
    }
}
