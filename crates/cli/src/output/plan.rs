//! What a restore or an undo will do, shown before it is done. Pure.

use jiff::{Timestamp, Zoned};
use ringfence_model::bytes::{BytePath, visible};
use ringfence_model::history::PlanView;

use super::style::{Paint, Style};
use super::words;

/// Paths shown of each kind without `-v`.
const SHOWN: usize = 5;

/// The plan: counts first, then the first paths of each kind (all with `full`).
#[must_use]
pub fn render(plan: &PlanView, full: bool, now: &Zoned, style: &Style) -> String {
    let target = style.path(std::path::Path::new(&plan.target));
    let what = match plan.paths.as_slice() {
        [] => target,
        [one] => format!("{} in {target}", visible(&one.path)),
        several => format!("{} in {target}", words::count(several.len() as u64, "path")),
    };
    let said = |time: Timestamp| {
        let local = time.to_zoned(now.time_zone().clone());
        let form = if local.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        format!("{} ({})", local.strftime(form), words::ago(time, now.timestamp()))
    };
    let mut out = format!("Putting {what} back to ");
    if let Some(moment) = plan.moment {
        out.push_str(&format!("what it was at {}, from ", said(moment)));
    }
    out.push_str(&format!("snapshot {}", words::short(&plan.snapshot)));
    if let Some(taken) = plan.snapshot_time {
        out.push_str(&format!(" of {}", said(taken)));
    }
    if !plan.sources.is_empty() {
        out.push_str(" and what was kept after it");
    }
    out.push_str(":\n");
    if plan.is_empty() {
        out.push_str("  nothing differs\n");
    }
    let kinds = [
        ("create", Paint::Good, &plan.create),
        ("replace", Paint::Weak, &plan.replace),
        ("delete", Paint::Bad, &plan.delete),
        ("set mode or times of", Paint::Faint, &plan.metadata),
        (
            "leave alone, because the host changed them meanwhile (--all takes them too):",
            Paint::Bad,
            &plan.conflicts,
        ),
    ];
    for (verb, paint, paths) in kinds {
        if paths.is_empty() {
            continue;
        }
        let size = if verb == "create" && plan.bytes > 0 {
            format!(", {} to write in all", words::size(plan.bytes))
        } else {
            String::new()
        };
        let count = words::count(paths.len() as u64, "path");
        out.push_str(&format!("  {} {count}{size}\n", style.paint(paint, verb)));
        push_paths(&mut out, paths, full);
    }
    if !plan.sources.is_empty() {
        let count = words::count(plan.sources.len() as u64, "path");
        out.push_str(&format!("  not from that snapshot: {count}\n"));
        let shown = if full { plan.sources.len() } else { SHOWN.min(plan.sources.len()) };
        for one in &plan.sources[..shown] {
            out.push_str(&format!("    {}: {}\n", visible(&one.path.path), visible(&one.source)));
        }
        push_rest(&mut out, plan.sources.len() - shown);
    }
    for note in &plan.notes {
        out.push_str(&format!("  note: {}\n", visible(note)));
    }
    out
}

fn push_paths(out: &mut String, paths: &[BytePath], full: bool) {
    let shown = if full { paths.len() } else { SHOWN.min(paths.len()) };
    for path in &paths[..shown] {
        // The folder itself has the empty path.
        let shown = if path.path.is_empty() { "." } else { &path.path };
        out.push_str(&format!("    {}\n", visible(shown)));
    }
    push_rest(out, paths.len() - shown);
}

fn push_rest(out: &mut String, rest: usize) {
    if rest > 0 {
        let rest = words::number(rest as u64);
        out.push_str(&format!("    … and {rest} more (-v shows all)\n"));
    }
}

/// What was done, and how to take it back.
#[must_use]
pub fn done(plan: &PlanView, style: &Style) -> String {
    let target = std::path::Path::new(&plan.target);
    let mut out = format!(
        "Done: {} created, {} replaced, {} deleted in {}.",
        words::number(plan.create.len() as u64),
        words::number(plan.replace.len() as u64),
        words::number(plan.delete.len() as u64),
        style.path(target)
    );
    if !plan.conflicts.is_empty() {
        out.push_str(&format!(
            " {} left alone, because the host changed them meanwhile (--all takes them too).",
            words::count(plan.conflicts.len() as u64, "path")
        ));
    }
    out.push_str(&take_back(plan, style));
    out
}

/// How to take back what was done; empty where nothing was.
pub(super) fn take_back(plan: &PlanView, style: &Style) -> String {
    let Some(before) = &plan.before else { return String::new() };
    format!(
        " To take this back: ringfence restore --folder {} --at {}",
        style.argument(std::path::Path::new(&plan.target)),
        words::short(before)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::history::PathSource;

    fn paths(names: &[&str]) -> Vec<BytePath> {
        names.iter().map(|name| BytePath::from_bytes(name.as_bytes())).collect()
    }

    fn sample() -> PlanView {
        PlanView {
            snapshot: "0123456789abcdef".into(),
            snapshot_time: Some("2026-11-23T13:05:00Z".parse().expect("time")),
            moment: None,
            sources: Vec::new(),
            target: "/home/ann/code/shop".into(),
            paths: Vec::new(),
            create: paths(&["a", "b", "c", "d", "e", "f", "evil\x1b[2J"]),
            replace: paths(&["src/main.rs"]),
            delete: paths(&["node_modules/.x"]),
            metadata: paths(&["run.sh"]),
            conflicts: paths(&["notes.md"]),
            bytes: 5 * 1024 * 1024,
            notes: vec!["what the host changed while the session ran cannot be told apart".into()],
            applied: false,
            before: Some("fedcba9876543210".into()),
        }
    }

    #[test]
    fn a_plan_before_and_after() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        let now = "2026-11-23T14:30:00[Europe/Berlin]".parse().expect("a time");
        insta::assert_snapshot!("plan_short", render(&sample(), false, &now, &style));
        assert!(render(&sample(), true, &now, &style).contains("evil\\u{1b}[2J"));
        insta::assert_snapshot!("plan_done", done(&sample(), &style));
        let source = PathSource {
            path: BytePath::from_bytes(b"src/main.rs"),
            source: "kept at 14:11:02, before it was overwritten".into(),
        };
        let moment = PlanView {
            moment: Some("2026-11-23T13:10:00Z".parse().expect("time")),
            sources: vec![source],
            ..sample()
        };
        insta::assert_snapshot!("plan_moment", render(&moment, false, &now, &style));
        let nothing = PlanView { target: "/home/ann/code/shop".into(), ..PlanView::default() };
        let one = PlanView { paths: paths(&["src/evil\x1b[2J"]), ..nothing.clone() };
        let title = "Putting src/evil\\u{1b}[2J in ~/code/shop back";
        assert!(render(&one, false, &now, &style).starts_with(title));
        assert!(render(&nothing, false, &now, &style).contains("nothing differs"));
    }
}
