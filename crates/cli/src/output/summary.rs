//! The paragraph after a run: how it ended, what it changed, how to take it back. Pure.

use ringfence_model::api::RunSummary;
use ringfence_model::bytes::visible;
use ringfence_model::session::Exit;

use super::style::{Paint, Style};
use super::{exit_check, words};

/// The paragraph. `who` is the profile's name, or the command's.
#[must_use]
pub fn render(summary: &RunSummary, who: &str, style: &Style) -> String {
    let session = &summary.session;
    let mut out = format!("{} {}", visible(who), ending(session.exit));
    if let Some(ended) = session.ended.filter(|_| session.exit != Some(Exit::Lost)) {
        let seconds = ended.as_second().saturating_sub(session.started.as_second());
        out.push_str(&format!(" after {}", words::duration(seconds)));
    }
    out.push('.');
    if let Some(folder) = &session.folder_path {
        out.push_str(&changed(summary, &style.path(folder), style));
    }
    if let (Some(check), Some(folder)) = (&summary.exit_check, &session.folder_path) {
        let folder = style.argument(folder);
        out.push_str(&exit_check::lines(check, (&folder, session.id.as_str()), false, style));
    }
    out
}

fn changed(summary: &RunSummary, folder: &str, style: &Style) -> String {
    let Some(changes) = summary.changes else {
        let why = match summary.session.opening_snapshot {
            None => "there is no snapshot from before it",
            Some(_) => "no snapshot could be taken at its end; try again: ringfence backup now",
        };
        let unknown = format!("What it changed in {folder} is not known: {why}.");
        return format!(" {}", style.paint(Paint::Bad, &unknown));
    };
    if changes.is_empty() {
        return format!(" Nothing changed in {folder}.");
    }
    let [changed, added, deleted] = [
        words::count(changes.changed + changes.metadata, "file"),
        words::number(changes.added),
        words::number(changes.deleted),
    ];
    format!(
        " {changed} changed, {added} added, {deleted} deleted in {folder}. Look: ringfence diff · put it all back: ringfence undo"
    )
}

fn ending(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!("ended with exit code {code}"),
        Some(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
        Some(Exit::Lost) => "is lost: the machine stopped answering before it ended".into(),
        None => "ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;
    use ringfence_model::exit_check::{Danger, ExitCheck, Hazard, HazardKind, HazardState};
    use ringfence_model::history::ChangeCounts;
    use ringfence_model::mass_loss::GuardAction;
    use ringfence_model::name::{FolderId, MachineName, ProfileName, SessionId};
    use ringfence_model::session::{Session, SessionState};

    fn sample() -> RunSummary {
        RunSummary {
            session: Session {
                id: SessionId::new("20261123-1").expect("id"),
                profile: ProfileName::new("claude").expect("name"),
                machine: MachineName::new("shop").expect("name"),
                folder: Some(FolderId::new("f1").expect("id")),
                folder_path: Some("/home/ann/code/shop".into()),
                command: vec!["claude".into()],
                state: SessionState::Ended,
                started: "2026-11-23T13:00:00Z".parse().expect("time"),
                ended: Some("2026-11-23T13:12:30Z".parse().expect("time")),
                exit: Some(Exit::Code(0)),
                guard: GuardAction::Freeze,
                mass_loss: None,
                stricter: Vec::new(),
                opening_snapshot: Some("0a".repeat(32)),
                closing_snapshot: Some("0b".repeat(32)),
            },
            changes: Some(ChangeCounts { added: 1, changed: 3, deleted: 1204, metadata: 0 }),
            exit_check: Some(ExitCheck {
                hazards: vec![Hazard {
                    path: BytePath::from_bytes(b".git/hooks/pre-commit\x07"),
                    kind: HazardKind::GitHook,
                    danger: Danger::RunsByItself,
                    why: "git runs it by itself; new".into(),
                    entries: 1,
                    state: HazardState::Held,
                }],
                ..ExitCheck::default()
            }),
        }
    }

    #[test]
    fn one_paragraph() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        insta::assert_snapshot!("summary", render(&sample(), "claude", &style));
        let mut quiet = sample();
        quiet.changes = Some(ChangeCounts::default());
        quiet.exit_check = None;
        quiet.session.exit = Some(Exit::Lost);
        insta::assert_snapshot!("summary_lost", render(&quiet, "sh", &style));
    }

    #[test]
    fn what_no_snapshot_shows_is_not_called_nothing() {
        let mut unknown = RunSummary { changes: None, exit_check: None, ..sample() };
        unknown.session.closing_snapshot = None;
        let said = render(&unknown, "sh", &Style::plain());
        assert!(
            said.ends_with(
                "no snapshot could be taken at its end; try again: ringfence backup now."
            ),
            "{said}"
        );
        unknown.session.opening_snapshot = None;
        let said = render(&unknown, "sh", &Style::plain());
        assert!(said.ends_with("there is no snapshot from before it."), "{said}");
        assert!(!said.contains("Nothing changed"), "{said}");
    }
}
