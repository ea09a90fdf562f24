//! How well a folder is protected, as status shows it. Says only what is known.

use ringfence_model::folder::Folder;
use ringfence_model::size::Size;
use ringfence_model::status::{Problem, Severity, ShrunkenStatus, WatchMode, WatchStatus};

use super::guard::wall_of;
use super::schedule::{Facts, Moment, Notice, Rule};
use super::take::lost_error;
use crate::store::{ProtectionRecord, Shrunken};
use crate::supervisor::Daemon;
use crate::watch::{Mode, View};

impl Daemon {
    /// Why a folder is not where it was registered, where that is known.
    pub(in crate::supervisor) fn why_lost(&self, folder: &Folder) -> Option<String> {
        let guard = self.protect.known(&folder.id)?;
        let lost = guard.state().lost.clone()?;
        Some(lost_error(folder, &lost).message)
    }

    /// What the scheduler knows of a folder; `None` where it does not protect it.
    pub(in crate::supervisor) fn watch_status(
        &self,
        folder: &Folder,
        record: &ProtectionRecord,
    ) -> Option<WatchStatus> {
        let rule = self.rule(folder);
        if rule == Rule::Off {
            return None;
        }
        let guard = self.protect.known(&folder.id)?;
        let now = self.protect.now();
        let facts = guard.facts(rule, self.protect.born);
        let view = guard.view();
        let state = guard.state();
        let going = state.plan.is_running();
        let due = (!going && !state.plan.is_lost()).then(|| state.plan.due(&facts));
        Some(WatchStatus {
            mode: mode_of(view.as_ref()),
            protected_until: until(&facts, state.plan.is_failing(), record, now),
            pending: view.as_ref().and_then(|view| view.count),
            busy: going,
            next: due.map(|due| wall_of(due.max(now.steady), now)),
            walked: state.walked,
            missed: state.missed,
            shrunken: record.shrunken.as_ref().map(shrunken),
        })
    }
}

fn mode_of(view: Option<&View>) -> WatchMode {
    match view.map(|view| &view.mode) {
        Some(Mode::Starting) => WatchMode::Starting,
        Some(Mode::Watching) => WatchMode::Watching,
        Some(Mode::Partly { left, why }) => {
            WatchMode::Partly { left: left.clone(), why: why.to_string() }
        }
        Some(Mode::Polling(why)) => WatchMode::Polling { why: why.to_string() },
        Some(Mode::Lost(lost)) => WatchMode::Lost { why: lost.to_string() },
        None => WatchMode::Polling { why: "no watcher could be started".into() },
    }
}

/// The moment up to which everything is in the vault: while everything is heard of, that
/// is the moment before the first change that is not.
fn until(
    facts: &Facts,
    failing: bool,
    record: &ProtectionRecord,
    now: Moment,
) -> Option<jiff::Timestamp> {
    let stored = record.until?;
    if failing || facts.unknown || facts.notice != Notice::All {
        return Some(stored);
    }
    let quiet = facts.dirty.map_or(now.wall, |(first, _)| wall_of(first, now));
    // A clock that was set back must not promise what is to come.
    Some(stored.max(quiet).min(now.wall))
}

fn shrunken(record: &Shrunken) -> ShrunkenStatus {
    ShrunkenStatus {
        snapshot: record.snapshot.clone(),
        time: record.at,
        files: record.held.files,
        bytes: record.held.bytes,
        left: record.left,
        left_bytes: record.left_bytes,
    }
}

/// What needs attention about a folder beyond what its protection says.
pub(in crate::supervisor) fn problems(path: &std::path::Path, watch: &WatchStatus) -> Vec<Problem> {
    let path = path.display();
    let mut problems = Vec::new();
    let mut tell = |severity, message, command| {
        problems.push(Problem { severity, message, command });
    };
    if let Some(shrunken) = &watch.shrunken {
        let id: String = shrunken.snapshot.chars().take(8).collect();
        tell(
            Severity::Error,
            // Where not the files are gone but what was in them, their number says nothing.
            if shrunken.left.saturating_mul(2) < shrunken.files || shrunken.left == 0 {
                format!(
                    "{path} suddenly holds {} of {} files; the snapshot before is kept",
                    shrunken.left, shrunken.files
                )
            } else {
                format!(
                    "{path} suddenly holds {} of {} in its files; the snapshot before is kept",
                    Size::bytes(shrunken.left_bytes),
                    Size::bytes(shrunken.bytes)
                )
            },
            Some(format!(
                "ringfence diff {id} now --folder {path} · put it back: ringfence restore --at {id} \
                 --folder {path} · it is right: ringfence backup accept {path}"
            )),
        );
    }
    match &watch.mode {
        WatchMode::Partly { left, why } => tell(
            Severity::Warning,
            format!(
                "{path} is not watched whole ({why}): {} looked at every few minutes instead",
                match left.as_slice() {
                    [one] => format!("{one} is"),
                    many => format!("{} directories are", many.len()),
                }
            ),
            Some(MORE_WATCHES.into()),
        ),
        WatchMode::Polling { why } => tell(
            Severity::Warning,
            format!("{path} is not watched ({why}): it is looked at every few minutes instead"),
            Some(MORE_WATCHES.into()),
        ),
        WatchMode::Starting | WatchMode::Watching | WatchMode::Lost { .. } => {}
    }
    if watch.missed > 0 {
        tell(
            Severity::Warning,
            format!("{path}: {} changes were found late, by a safety walk only", watch.missed),
            None,
        );
    }
    problems
}

/// Raises the host's limit.
pub(in crate::supervisor) const MORE_WATCHES: &str = "sysctl fs.inotify.max_user_watches=1048576";
