//! The paragraph after a run: how it ended, what it changed, how to take it back. Pure.

use ringfence_model::api::RunSummary;
use ringfence_model::bytes::visible;
use ringfence_model::session::Exit;

use super::style::Style;
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
        let folder = style.path(folder);
        let (added, changed, deleted) = (summary.added, summary.changed, summary.deleted);
        if added + changed + deleted == 0 {
            out.push_str(&format!(" Nothing changed in {folder}."));
        } else {
            out.push_str(&format!(
                " {} changed, {} added, {} deleted in {folder}. Look: ringfence diff · put it all back: ringfence undo",
                words::count(changed, "file"),
                words::number(added),
                words::number(deleted),
            ));
        }
    }
    if let (Some(check), Some(folder)) = (&summary.exit_check, &session.folder_path) {
        let folder = style.argument(folder);
        out.push_str(&exit_check::lines(check, (&folder, session.id.as_str()), false, style));
    }
    out
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
                opening_snapshot: None,
                closing_snapshot: None,
            },
            added: 1,
            changed: 3,
            deleted: 1204,
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
        (quiet.added, quiet.changed, quiet.deleted) = (0, 0, 0);
        quiet.exit_check = None;
        quiet.session.exit = Some(Exit::Lost);
        insta::assert_snapshot!("summary_lost", render(&quiet, "sh", &style));
    }
}
