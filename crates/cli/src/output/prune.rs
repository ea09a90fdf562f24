//! What a prune will let go, why the rest stays, and what that frees. Pure.

use std::collections::BTreeMap;

use ringfence_model::bytes::visible;
use ringfence_model::prune::{Judged, PruneView};

use super::style::{Paint, Style};
use super::words;

/// Snapshots shown of each kind without `-v`.
const SHOWN: usize = 5;

/// The plan: the rule, what goes (the first few, or all with `full`), why the rest stays
/// (counted by reason, or each with `full`), and what is freed when.
#[must_use]
pub fn render(plan: &PruneView, full: bool, style: &Style) -> String {
    let folder = style.path(&plan.folder);
    let mut out =
        format!("Snapshots of {folder} are kept as the rule says: {}\n", visible(&plan.rule));
    if plan.forget.is_empty() {
        out.push_str("  all snapshots stay\n");
    } else {
        let count = words::count(plan.forget.len() as u64, "snapshot");
        out.push_str(&format!("  {} {count}\n", style.paint(Paint::Bad, "let go")));
        push_each(&mut out, &plan.forget, full);
    }
    let count = words::count(plan.keep.len() as u64, "snapshot");
    out.push_str(&format!("  {} {count}\n", style.paint(Paint::Good, "keep")));
    if full {
        push_each(&mut out, &plan.keep, true);
    } else {
        push_reasons(&mut out, &plan.keep);
    }
    out.push_str(&format!(
        "  of {} in the vault, {} can be freed now and {} by a prune a day later\n",
        words::size(plan.vault_bytes),
        words::size(plan.freed_now),
        words::size(plan.freed_later)
    ));
    if plan.rewritten > 0 {
        let rewritten = words::size(plan.rewritten);
        out.push_str(&format!(
            "  {rewritten} are written anew, and need that much room until then\n"
        ));
    }
    out
}

fn push_each(out: &mut String, judged: &[Judged], full: bool) {
    let shown = if full { judged.len() } else { SHOWN.min(judged.len()) };
    for one in &judged[..shown] {
        let kind = one.kind.map_or("other", |kind| kind.word());
        let time = one.time.strftime("%F %R UTC");
        let why = visible(&one.why.join("; "));
        out.push_str(&format!("    {} {time} {kind}: {why}\n", words::short(&one.id)));
    }
    if shown < judged.len() {
        let rest = words::number((judged.len() - shown) as u64);
        out.push_str(&format!("    … and {rest} more (-v shows all)\n"));
    }
}

/// How many stay for each reason; one may stay for several.
fn push_reasons(out: &mut String, judged: &[Judged]) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for why in judged.iter().flat_map(|one| &one.why) {
        // One line for all sessions.
        let why =
            if why.starts_with("an end of session") { "ends of the last sessions" } else { why };
        *counts.entry(why).or_default() += 1;
    }
    for (why, count) in counts {
        out.push_str(&format!("    {} {}\n", words::number(count), visible(why)));
    }
}

/// What was done, and what comes next.
#[must_use]
pub fn done(view: &PruneView, style: &Style) -> String {
    let mut out = format!(
        "Done: {} let go, {} freed; the vault was checked before and after.",
        words::count(view.forget.len() as u64, "snapshot"),
        words::size(view.freed_now)
    );
    if view.freed_later > 0 {
        out.push_str(&format!(
            " {} more can be freed in a day: ringfence backup prune {}",
            words::size(view.freed_later),
            style.argument(&view.folder)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::history::SnapshotKind;

    #[test]
    fn a_plan_before_and_after() {
        let judged = |id: &str, why: &[&str]| Judged {
            id: format!("{id}456789abcdef"),
            time: "2026-11-20T09:00:00Z".parse().expect("time"),
            kind: Some(SnapshotKind::Periodic),
            session: None,
            why: why.iter().map(|why| (*why).to_owned()).collect(),
        };
        let plan = PruneView {
            folder: "/home/ann/code/shop".into(),
            rule: "everything for 2 days, daily".into(),
            forget: (0..7)
                .map(|n| judged(&format!("a{n}"), &["b1 is later in the same day"]))
                .collect(),
            keep: vec![
                judged("b0", &["the newest", "young: everything is kept"]),
                judged("b1", &["an end of session s-1", "young: everything is kept"]),
                judged("b2", &["an end of session s-2", "pinned: evil\x1b[2J"]),
            ],
            vault_bytes: 80 << 20,
            freed_now: 5 << 20,
            freed_later: 20 << 20,
            rewritten: 1 << 20,
            applied: false,
        };
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        let nothing = PruneView { forget: Vec::new(), freed_now: 0, rewritten: 0, ..plan.clone() };
        assert!(nothing.is_empty() && !plan.is_empty());
        let all = [
            render(&plan, false, &style),
            render(&plan, true, &style),
            render(&nothing, false, &style),
            done(&plan, &style),
        ];
        insta::assert_snapshot!("prune", all.join("\n"));
    }
}
