//! What of a session the host might run or obey later, and what is held back. Pure.

use ringfence_model::bytes::visible;
use ringfence_model::exit_check::{ApproveView, Danger, ExitCheck, Hazard, HazardState, HeldPath};

use super::style::{Paint, Style};
use super::{plan, words};

/// Hazards that the summary after a run names of each kind.
const SHOWN: usize = 8;

/// The lines about a session's hazards, each begun by a line's end; `all`: every one of them.
/// `folder` is the folder as an argument of a command, `session` the session's id.
#[must_use]
pub fn lines(
    check: &ExitCheck,
    (folder, session): (&str, &str),
    all: bool,
    style: &Style,
) -> String {
    let of = |wanted: &[HazardState], dangers: &[Danger]| -> Vec<&Hazard> {
        let fits = |f: &&Hazard| wanted.contains(&f.state) && dangers.contains(&f.danger);
        check.hazards.iter().filter(fits).collect()
    };
    let any = [Danger::RunsByItself, Danger::RunsWhenUsed, Danger::Obeyed];
    let told = [HazardState::Told, HazardState::Kept];
    let groups = [
        (
            Paint::Bad,
            "To be held back, and still in the folder (ringfence status says why):".to_owned(),
            of(&[HazardState::Waiting], &any),
        ),
        (
            Paint::Bad,
            format!(
                "Held back, so that the host does not run or obey it; let it in: ringfence folder approve {folder}"
            ),
            of(&[HazardState::Held], &any),
        ),
        (
            Paint::Bad,
            "In the folder, and the host runs it by itself; look at it first:".to_owned(),
            of(&told, &[Danger::RunsByItself]),
        ),
        (
            Paint::Weak,
            "The host may run or obey these changed files later; look at them first:".to_owned(),
            of(&told, &[Danger::RunsWhenUsed, Danger::Obeyed]),
        ),
        (
            Paint::Faint,
            "Was held back, and is settled:".to_owned(),
            of(&[HazardState::Settled], &any),
        ),
    ];
    let mut out = String::new();
    for (paint, heading, hazards) in groups.into_iter().filter(|(.., found)| !found.is_empty()) {
        out.push_str(&format!("\n{}", style.paint(paint, &heading)));
        let shown = if all { hazards.len() } else { SHOWN.min(hazards.len()) };
        for hazard in &hazards[..shown] {
            out.push_str(&format!("\n  {}", line(hazard)));
        }
        if shown < hazards.len() {
            let rest = words::number((hazards.len() - shown) as u64);
            out.push_str(&format!("\n  … and {rest} more: ringfence session show {session}"));
        }
    }
    if check.more > 0 {
        let more = words::number(check.more);
        out.push_str(&format!("\nThere are {more} more hazards than are told one by one."));
    }
    for note in &check.notes {
        out.push_str(&format!("\nnote: {}", visible(note)));
    }
    out
}

fn line(hazard: &Hazard) -> String {
    let (path, why) = (visible(&hazard.path.path), visible(&hazard.why));
    let kept = match hazard.state {
        HazardState::Kept => "; the host has changed it since, so it was not held back",
        _ => "",
    };
    if hazard.entries == 1 {
        format!("{path} ({}: {why}{kept})", hazard.kind.words())
    } else {
        let entries = words::number(hazard.entries);
        format!("{path}/ ({}: {entries} in it{kept})", hazard.kind.words())
    }
}

/// What is held back, path by path, with the session and the reason.
#[must_use]
pub fn held(held: &[HeldPath]) -> String {
    held.iter()
        .map(|held| {
            let (path, why) = (visible(&held.path.path), visible(&held.why));
            let path = if path.is_empty() { ".".to_owned() } else { path };
            let waiting = match &held.waiting {
                Some(why) => format!("; still in the folder: {}", visible(why)),
                None => String::new(),
            };
            let (kind, session) = (held.kind.words(), &held.session);
            format!("  {path} ({kind}: {why}; session {session}{waiting})\n")
        })
        .collect()
}

/// What approving would do, before it is done.
#[must_use]
pub fn plan(view: &ApproveView, drop: bool, style: &Style) -> String {
    let target = style.path(std::path::Path::new(&view.plan.target));
    let heading = if drop {
        format!("Forgetting what is held back from {target}; its snapshots keep it:")
    } else {
        format!("Letting into {target} what sessions left and is held back:")
    };
    let mut out = format!("{heading}\n{}", held(&view.held));
    if !view.plan.conflicts.is_empty() {
        let paint = style.paint(Paint::Bad, "leave alone");
        out.push_str(&format!(
            "  {paint}, because the host has changed them since (--all takes them too):\n"
        ));
        for path in &view.plan.conflicts {
            out.push_str(&format!("    {}\n", visible(&path.path)));
        }
    }
    for note in &view.plan.notes {
        out.push_str(&format!("  note: {}\n", visible(note)));
    }
    out
}

/// What was done, and how to take it back.
#[must_use]
pub fn done(view: &ApproveView, drop: bool, style: &Style) -> String {
    if drop {
        let session = view.held.first().map(|held| held.session.to_string()).unwrap_or_default();
        return format!(
            "{} forgotten. What a session left can still be had: ringfence restore --at 'after session {session}' PATH",
            words::count(view.held.len() as u64, "path")
        );
    }
    let mut out = format!("{} let in.", words::count(view.held.len() as u64, "path"));
    if !view.plan.conflicts.is_empty() {
        out.push_str(&format!(
            " {} left alone and still held, because the host has changed them since (--all takes them too).",
            words::count(view.plan.conflicts.len() as u64, "path")
        ));
    }
    out.push_str(&plan::take_back(&view.plan, style));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;
    use ringfence_model::exit_check::HazardKind;
    use ringfence_model::history::PlanView;
    use ringfence_model::name::SessionId;

    fn hazard(path: &str, kind: HazardKind, danger: Danger, state: HazardState) -> Hazard {
        let path = BytePath::from_bytes(path.as_bytes());
        Hazard { path, kind, danger, why: "why\x1b[2J".into(), entries: 1, state }
    }

    pub(crate) fn sample() -> ExitCheck {
        use Danger::{Obeyed, RunsByItself, RunsWhenUsed};
        use HazardKind::{Agent, Build, Executable, GitConfig, GitHook};
        use HazardState::{Held, Kept, Settled, Told, Waiting};
        let mut hazards = vec![
            hazard(".git/hooks/evil\x07", GitHook, RunsByItself, Held),
            hazard(".git/config", GitConfig, RunsByItself, Kept),
            hazard("a/.git/config", GitConfig, RunsByItself, Waiting),
            hazard("b/.git/config", GitConfig, RunsByItself, Settled),
            hazard("AGENTS.md", Agent, Obeyed, Told),
        ];
        hazards
            .extend((0..12).map(|n| hazard(&format!("m/{n}/Makefile"), Build, RunsWhenUsed, Told)));
        let group = hazard("target", Executable, RunsWhenUsed, Told);
        hazards.insert(4, Hazard { entries: 1204, ..group });
        ExitCheck { hazards, more: 3, notes: vec!["n\x1bote".into()] }
    }

    #[test]
    fn worst_first_bounded_and_escaped() {
        let style = Style::plain();
        let short = lines(&sample(), ("~/shop", "s-1"), false, &style);
        assert!(!short.contains('\x1b') && !short.contains('\x07'), "{short}");
        insta::assert_snapshot!("exit_check_short", short);
        let long = lines(&sample(), ("~/shop", "s-1"), true, &style);
        assert_eq!(long.matches("Makefile").count(), 12, "{long}");
        assert_eq!(lines(&ExitCheck::default(), ("~/shop", "s-1"), false, &style), "");
    }

    #[test]
    fn a_release_before_and_after() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        let held = |path: &str, waiting: Option<&str>| HeldPath {
            path: BytePath::from_bytes(path.as_bytes()),
            kind: HazardKind::GitHook,
            why: "new".into(),
            session: SessionId::new("s-1").expect("id"),
            before: "a".into(),
            after: "b".into(),
            since: "2026-11-23T13:00:00Z".parse().expect("time"),
            waiting: waiting.map(str::to_owned),
        };
        let plan = PlanView {
            target: "/home/ann/shop".into(),
            conflicts: vec![BytePath::from_bytes(b".git/config")],
            before: Some("0123456789".into()),
            ..PlanView::default()
        };
        let all = vec![held(".git/hooks/e\x1b[2J", None), held("x", Some("no room"))];
        let view = ApproveView { held: all, plan };
        let text = [super::plan(&view, false, &style), done(&view, false, &style)].join("\n");
        insta::assert_snapshot!("approve", text);
        let text = [super::plan(&view, true, &style), done(&view, true, &style)].join("\n");
        insta::assert_snapshot!("approve_drop", text);
    }
}
