//! What a check or a repair of a vault found, as text. Pure.

use jiff::Timestamp;
use ringfence_model::bytes::visible;
use ringfence_model::health::{CheckProblem, CheckView, RepairView, TouchedSnapshot};

use super::style::{Paint, Style};
use super::words;

/// So many touched snapshots are shown; the JSON has them all.
const SHOWN: usize = 5;

/// How a check came out.
#[must_use]
pub fn check(view: &CheckView, now: Timestamp, style: &Style) -> String {
    let mut looked = words::count(view.snapshots, "snapshot");
    if view.bytes_read > 0 {
        looked.push_str(&format!(" and {} of data", words::size(view.bytes_read)));
    }
    if view.problems.is_empty() {
        return format!("{looked} looked at: {}\n", style.paint(Paint::Good, "no problem found"));
    }
    let count = words::count(view.problems.len() as u64, "problem");
    let paint = if view.is_good() { Paint::Weak } else { Paint::Bad };
    let mut out = format!("{looked} looked at: {}\n", style.paint(paint, &count));
    for found in &view.problems {
        problem(&mut out, found, now, style);
    }
    out
}

fn problem(out: &mut String, problem: &CheckProblem, now: Timestamp, style: &Style) {
    let paint = if problem.error { Paint::Bad } else { Paint::Weak };
    let name = style.paint(paint, &visible(&problem.name));
    out.push_str(&format!("{name}: {}\n", visible(&problem.what)));
    for touched in problem.snapshots.iter().take(SHOWN) {
        snapshot(out, touched, now);
    }
    let more = problem.touched.saturating_sub(SHOWN as u64);
    if more > 0 {
        out.push_str(&format!("  and {more} more: --json lists them\n"));
    }
}

fn snapshot(out: &mut String, touched: &TouchedSnapshot, now: Timestamp) {
    let id = words::short(&touched.id);
    let age = touched.time.map(|time| format!(" ({})", words::ago(time, now))).unwrap_or_default();
    if touched.whole {
        out.push_str(&format!("  snapshot {id}{age}: nothing of it can be restored\n"));
        return;
    }
    let count = match touched.entries {
        1 => "1 entry".to_owned(),
        many => format!("{} entries", words::number(many)),
    };
    out.push_str(&format!("  snapshot {id}{age}: {count} cannot be restored\n"));
    for path in &touched.paths {
        out.push_str(&format!("    {}\n", visible(&path.path)));
    }
    if touched.entries > touched.paths.len() as u64 && !touched.paths.is_empty() {
        out.push_str("    …\n");
    }
}

/// What a repair will do, or did.
#[must_use]
pub fn repair(view: &RepairView, now: Timestamp, style: &Style) -> String {
    let mut out = String::new();
    if !view.applied {
        out.push_str(&check(&view.check, now, style));
    }
    if !view.steps.is_empty() {
        let title = if view.applied { "Done:" } else { "To repair it:" };
        out.push_str(&format!("{}\n", style.paint(Paint::Strong, title)));
        for step in &view.steps {
            out.push_str(&format!("  {}\n", visible(step)));
        }
    }
    if !view.healed.is_empty() {
        let healed: Vec<_> = view.healed.iter().map(|id| words::short(id)).collect();
        let text = format!("Whole again: {}", healed.join(", "));
        out.push_str(&format!("{}\n", style.paint(Paint::Good, &text)));
    }
    if view.applied {
        out.push_str(&check(&view.check, now, style));
    } else if !view.beyond.is_empty() {
        out.push_str(&format!("{}\n", style.paint(Paint::Bad, "Nothing here can mend:")));
        for what in &view.beyond {
            out.push_str(&format!("  {}\n", visible(what)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;

    fn damaged() -> CheckView {
        CheckView {
            snapshots: 7,
            bytes_read: 5 << 20,
            problems: vec![
                CheckProblem {
                    error: true,
                    name: "pack-damaged".into(),
                    what: "pack 12ab34cd: its content is not what was written\x07".into(),
                    file: Some("data/12/12ab".into()),
                    touched: 7,
                    snapshots: (0..7u8)
                        .map(|n| TouchedSnapshot {
                            id: format!("{n}").repeat(64),
                            time: Timestamp::from_second(1_800_000_000).ok().filter(|_| n > 0),
                            whole: n == 0,
                            entries: u64::from(n),
                            paths: vec![BytePath::from_bytes(b"src/a\x1bb")],
                        })
                        .collect(),
                },
                CheckProblem {
                    error: false,
                    name: "pack-unused".into(),
                    what: "pack 99999999: no index names it".into(),
                    file: None,
                    touched: 0,
                    snapshots: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn what_is_wrong_and_what_is_done_about_it() {
        let now = Timestamp::from_second(1_800_003_600).expect("a time");
        let style = Style::plain();
        let plan = RepairView {
            applied: false,
            steps: vec!["move data/12/12ab aside, into set-aside".into()],
            beyond: vec!["snapshot 77777777: it is gone".into()],
            healed: Vec::new(),
            check: damaged(),
        };
        let done = RepairView {
            applied: true,
            healed: vec!["3".repeat(64)],
            check: CheckView { problems: Vec::new(), ..damaged() },
            ..plan.clone()
        };
        let all = [repair(&plan, now, &style), repair(&done, now, &style)];
        insta::assert_snapshot!("repair", all.join("---\n"));
    }
}
