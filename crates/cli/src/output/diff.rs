//! A difference between two states, for eyes. Contents and names are hostile. Pure.

use ringfence_model::bytes::visible;
use ringfence_model::history::{Change, ChangeCounts, ChangeKind, DiffView, TextDiff};

use super::style::{Paint, Style};
use super::words;

/// The paths with their letters, then the texts; with `stat` only how many lines of each.
#[must_use]
pub fn render(diff: &DiffView, stat: bool, style: &Style) -> String {
    let mut out = String::new();
    if diff.changes.is_empty() {
        out.push_str(&format!(
            "nothing differs between {} and {}\n",
            state(&diff.from),
            state(&diff.to)
        ));
    }
    let mut texts = diff.texts.iter().peekable();
    for change in &diff.changes {
        let text = texts.next_if(|text| text.path == change.path);
        if stat {
            out.push_str(&line(change, text, style));
            continue;
        }
        out.push_str(&line(change, None, style));
        if let Some(text) = text {
            out.push_str(&body(text, style));
        }
    }
    // Texts of paths that are not in the list would be a fault of the daemon's; show them.
    for text in texts {
        out.push_str(&format!("{}\n{}", visible(&text.path.path), body(text, style)));
    }
    if !diff.changes.is_empty() {
        out.push('\n');
        out.push_str(&totals(diff));
    }
    for note in &diff.notes {
        out.push_str(&format!("note: {}\n", visible(note)));
    }
    out
}

fn body(text: &TextDiff, style: &Style) -> String {
    match &text.note {
        Some(note) => format!("    ({})\n", visible(note)),
        None => unified(&text.unified, style),
    }
}

/// ` +3 -1`, or why there are no lines to count.
fn lines(text: &TextDiff, style: &Style) -> String {
    if let Some(note) = &text.note {
        return style.paint(Paint::Faint, &format!("  ({})", visible(note)));
    }
    // The two lines of the header are no lines of the file.
    let count = |sign| text.unified.lines().skip(2).filter(|line| line.starts_with(sign)).count();
    let (added, removed) = (count('+'), count('-'));
    let mut out = String::from(" ");
    for (sign, number, paint) in [('+', added, Paint::Good), ('-', removed, Paint::Bad)] {
        if number > 0 {
            out.push(' ');
            out.push_str(&style.paint(paint, &format!("{sign}{}", words::number(number as u64))));
        }
    }
    if out == " " { String::new() } else { out }
}

fn line(change: &Change, text: Option<&TextDiff>, style: &Style) -> String {
    let paint = match change.change {
        ChangeKind::Added => Paint::Good,
        ChangeKind::Deleted => Paint::Bad,
        ChangeKind::Modified | ChangeKind::TypeChanged => Paint::Weak,
        ChangeKind::Metadata => Paint::Faint,
    };
    let sizes = match (change.size_before, change.size_after) {
        (Some(before), Some(after)) if before != after => {
            format!("  {} → {}", words::size(before), words::size(after))
        }
        (Some(size), None) | (None, Some(size)) => format!("  {}", words::size(size)),
        _ => String::new(),
    };
    // The folder itself has the empty path.
    let path = if change.path.path.is_empty() { "." } else { &change.path.path };
    format!(
        "{} {}{}{}\n",
        style.paint(paint, &change.change.letter().to_string()),
        visible(path),
        style.paint(Paint::Faint, &sizes),
        text.map(|text| lines(text, style)).unwrap_or_default()
    )
}

/// Unified text with colours; tabs stay, everything else that moves a cursor does not.
fn unified(text: &str, style: &Style) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let safe = line.split('\t').map(visible).collect::<Vec<_>>().join("\t");
        let paint = match line.as_bytes().first() {
            _ if line.starts_with("+++") || line.starts_with("---") => Some(Paint::Strong),
            Some(b'+') => Some(Paint::Good),
            Some(b'-') => Some(Paint::Bad),
            Some(b'@') => Some(Paint::Place),
            _ => None,
        };
        match paint {
            Some(paint) => out.push_str(&style.paint(paint, &safe)),
            None => out.push_str(&safe),
        }
        out.push('\n');
    }
    out
}

fn totals(diff: &DiffView) -> String {
    let counts = ChangeCounts::of(&diff.changes);
    format!(
        "{} added, {} changed, {} deleted, {} with other mode or times ({} to {})\n",
        words::number(counts.added),
        words::number(counts.changed),
        words::number(counts.deleted),
        words::number(counts.metadata),
        state(&diff.from),
        state(&diff.to)
    )
}

fn state(id: &str) -> String {
    if id == "now" { "now".into() } else { format!("snapshot {}", words::short(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;

    fn sample() -> DiffView {
        let change = |path: &[u8], change, size_before, size_after| Change {
            path: BytePath::from_bytes(path),
            change,
            size_before,
            size_after,
        };
        DiffView {
            from: "0123456789abcdef".into(),
            to: "now".into(),
            changes: vec![
                change(b"\xffraw", ChangeKind::Added, None, Some(12)),
                change(b"a.txt", ChangeKind::Modified, Some(10), Some(2048)),
                change(b"evil\x1b[2J", ChangeKind::Deleted, Some(3), None),
                change(b"logo.png", ChangeKind::Modified, Some(5), Some(5)),
                change(b"run.sh", ChangeKind::Metadata, None, None),
            ],
            texts: vec![
                TextDiff {
                    path: BytePath::from_bytes(b"a.txt"),
                    unified: "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-old\n+new\t\x1b]0;x\x07\n"
                        .into(),
                    note: None,
                },
                TextDiff {
                    path: BytePath::from_bytes(b"logo.png"),
                    unified: String::new(),
                    note: Some("binary".into()),
                },
            ],
            notes: vec!["1 entries cannot be read now: x\x1b[2J".into()],
        }
    }

    #[test]
    fn full_and_short() {
        insta::assert_snapshot!("diff_text", render(&sample(), false, &Style::plain()));
        insta::assert_snapshot!("diff_stat", render(&sample(), true, &Style::plain()));
        let none = DiffView { from: "0123456789".into(), to: "now".into(), ..DiffView::default() };
        insta::assert_snapshot!("diff_nothing", render(&none, false, &Style::plain()));
    }

    #[test]
    fn the_only_escapes_are_ours() {
        let text = render(&sample(), false, &Style { colour: true, ..Style::plain() });
        assert!(text.contains("\x1b[32m"));
        assert!(!text.contains("\x1b]0"));
        assert!(!text.contains("\x1b[2J"));
    }
}
