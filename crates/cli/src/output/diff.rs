//! A difference between two states, for eyes. Contents and names are hostile. Pure.

use ringfence_model::bytes::visible;
use ringfence_model::history::{Change, ChangeKind, DiffView};

use super::style::{Paint, Style};
use super::words;

/// The paths with their letters, then the texts.
#[must_use]
pub fn render(diff: &DiffView, stat: bool, style: &Style) -> String {
    if diff.changes.is_empty() {
        return format!("nothing differs between {} and {}\n", state(&diff.from), state(&diff.to));
    }
    let mut out = String::new();
    if stat || diff.texts.is_empty() {
        for change in &diff.changes {
            out.push_str(&line(change, style));
        }
        out.push('\n');
        out.push_str(&totals(diff));
        return out;
    }
    let mut texts = diff.texts.iter().peekable();
    for change in &diff.changes {
        out.push_str(&line(change, style));
        if let Some(text) = texts.next_if(|text| text.path == change.path) {
            match &text.note {
                Some(note) => out.push_str(&format!("    ({})\n", visible(note))),
                None => out.push_str(&unified(&text.unified, style)),
            }
        }
    }
    // Texts of paths that are not in the list would be a fault of the daemon's; show them.
    for text in texts {
        out.push_str(&format!("{}\n{}", visible(&text.path.path), unified(&text.unified, style)));
    }
    out.push('\n');
    out.push_str(&totals(diff));
    out
}

fn line(change: &Change, style: &Style) -> String {
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
    format!(
        "{} {}{}\n",
        style.paint(paint, &change.change.letter().to_string()),
        visible(&change.path.path),
        style.paint(Paint::Faint, &sizes)
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
    let count = |kinds: &[ChangeKind]| {
        diff.changes.iter().filter(|c| kinds.contains(&c.change)).count() as u64
    };
    format!(
        "{} added, {} changed, {} deleted, {} with other mode or times ({} to {})\n",
        words::number(count(&[ChangeKind::Added])),
        words::number(count(&[ChangeKind::Modified, ChangeKind::TypeChanged])),
        words::number(count(&[ChangeKind::Deleted])),
        words::number(count(&[ChangeKind::Metadata])),
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
    use ringfence_model::history::TextDiff;

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
