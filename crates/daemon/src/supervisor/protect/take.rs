//! Taking one snapshot of a folder, whoever wants it: the one way to do it. Owns the order:
//! the folder is there, its changes are taken, the vault stores them, what came of it is
//! written down, and shares are held or let go.

use std::sync::Arc;

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::session::Session;
use ringfence_model::status::ShareMode;
use ringfence_vault::Cancel;

use super::guard::{Guard, makes_way};
use super::schedule::{Job, Moment, Outcome, Walk};
use super::shrink::{self, Counted};
use crate::host::clock;
use crate::store::{Held, ProtectionRecord};
use crate::supervisor::Daemon;
use crate::supervisor::folders;
use crate::supervisor::report::Report;
use crate::vaults::{Changes, How};
use crate::watch::{Dirty, Mode, RootLost};

/// What snapshot is wanted.
#[derive(Clone, Copy)]
pub(in crate::supervisor) struct Want<'a> {
    /// Why.
    pub(in crate::supervisor) kind: SnapshotKind,
    /// For which session.
    pub(in crate::supervisor) session: Option<&'a Session>,
    /// Whether everything is looked at, whatever is known to have changed.
    pub(in crate::supervisor) whole: bool,
}

impl<'a> Want<'a> {
    /// One that looks at what changed, where that is known.
    pub(in crate::supervisor) const fn new(
        kind: SnapshotKind,
        session: Option<&'a Session>,
    ) -> Self {
        Self { kind, session, whole: false }
    }

    /// One that looks at everything.
    pub(in crate::supervisor) const fn whole(kind: SnapshotKind) -> Self {
        Self { kind, session: None, whole: true }
    }
}

/// One attempt.
struct Attempt<'a> {
    want: Want<'a>,
    /// Set for the scheduler's own: how it is accounted for.
    job: Option<Job>,
    cancel: Cancel,
}

/// Why an attempt stored nothing.
enum Miss {
    Lost(RootLost),
    GaveWay,
    Failed(ApiError),
}

impl Daemon {
    /// Takes a snapshot that somebody waits for.
    ///
    /// # Errors
    /// When the folder is not there or its vault fails; what was saved before is intact.
    pub(in crate::supervisor) async fn snapshot(
        &self,
        folder: &Folder,
        want: Want<'_>,
        report: &Report,
    ) -> Result<SnapshotView, ApiError> {
        let guard = self.protect.guard(folder);
        guard.make_way(want.whole);
        let _turn = self.vaults.turn(&folder.id).await;
        self.snapshot_in_turn(&guard, want, report).await
    }

    /// As [`Self::snapshot`], for a caller that holds the vault's turn already.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub(in crate::supervisor) async fn snapshot_in_turn(
        &self,
        guard: &Arc<Guard>,
        want: Want<'_>,
        report: &Report,
    ) -> Result<SnapshotView, ApiError> {
        let attempt = Attempt { want, job: None, cancel: Cancel::default() };
        match self.attempt(guard, attempt, report).await {
            Ok(view) => Ok(view),
            Err(Miss::Failed(error)) => Err(error),
            Err(Miss::Lost(lost)) => Err(lost_error(&guard.folder, &lost)),
            Err(Miss::GaveWay) => Err(ApiError::new(ErrorKind::Interrupted, "it was stopped")),
        }
    }

    /// Takes a snapshot that the schedule asks for.
    pub(super) async fn scheduled(&self, guard: &Arc<Guard>, job: Job) {
        let _turn = self.vaults.turn(&guard.folder.id).await;
        let cancel = Cancel::default();
        if let Job::Walk(walk) = job
            && makes_way(walk)
        {
            guard.state().walking = Some(cancel.clone());
        }
        let whole = matches!(job, Job::Walk(_));
        let session = self.only_session(guard);
        let want = Want { kind: SnapshotKind::Periodic, session: session.as_ref(), whole };
        let attempt = Attempt { want, job: Some(job), cancel };
        let outcome = self.attempt(guard, attempt, &Report::nobody()).await;
        guard.state().walking = None;
        let path = guard.folder.path.display();
        match outcome {
            Ok(_) | Err(Miss::GaveWay) => {}
            Err(Miss::Lost(lost)) => tracing::error!(folder = %path, %lost, "not backed up"),
            Err(Miss::Failed(error)) => tracing::error!(folder = %path, %error, "not backed up"),
        }
    }

    /// The session that a change while it works is put down to: the only one at work.
    fn only_session(&self, guard: &Guard) -> Option<Session> {
        if !guard.has_session() {
            return None;
        }
        let mut here = self.store.sessions().ok()?.into_iter().filter(|session| {
            session.folder.as_ref() == Some(&guard.folder.id) && session.state.is_at_work()
        });
        here.next().filter(|_| here.next().is_none())
    }

    async fn attempt(
        &self,
        guard: &Arc<Guard>,
        attempt: Attempt<'_>,
        report: &Report,
    ) -> Result<SnapshotView, Miss> {
        let began = self.protect.now();
        let (job, outcome) = self.store_changes(guard, &attempt, began, report).await;
        let ended = self.protect.now();
        let before = self.store.protection(&guard.folder.id).unwrap_or_default();
        let changed = |view: &SnapshotView| before.snapshot.as_ref() != Some(&view.id);
        let came_out = match &outcome {
            Ok(view) => Outcome::Stored { changed: changed(view) },
            Err(Miss::Lost(_)) => Outcome::Lost,
            Err(Miss::GaveWay) => Outcome::GaveWay,
            Err(Miss::Failed(_)) => Outcome::Failed,
        };
        {
            let mut state = guard.state();
            state.plan.came_out(job, came_out, (began.steady, ended.steady));
            state.lost = match &outcome {
                Err(Miss::Lost(lost)) => Some(lost.clone()),
                Ok(_) => None,
                Err(_) => state.lost.take(),
            };
            if let (Ok(view), Job::Walk(_)) = (&outcome, job) {
                tracing::debug!(folder = %guard.folder.path.display(), snapshot = %view.id, "walked");
                state.walked = Some(began.wall);
            }
        }
        let alarmed = before.shrunken.is_some();
        if let Some(record) = record_of(guard, before, &outcome, began) {
            if let (Some(shrunken), false) = (&record.shrunken, alarmed) {
                self.pin_full(&guard.folder, shrunken);
            }
            if let Err(error) = self.store.set_protection(&guard.folder.id, &record) {
                tracing::error!(folder = %guard.folder.id, %error, "protection could not be written down");
            }
        }
        if !matches!(outcome, Err(Miss::GaveWay)) {
            self.switch_shares(guard, outcome.is_ok()).await;
        }
        self.protect.told.notify_one();
        outcome
    }

    /// Stores what changed; with what it turned out to be.
    async fn store_changes(
        &self,
        guard: &Arc<Guard>,
        attempt: &Attempt<'_>,
        began: Moment,
        report: &Report,
    ) -> (Job, Result<SnapshotView, Miss>) {
        let Attempt { want, job, cancel } = attempt;
        let walk = match job {
            Some(Job::Walk(walk)) => *walk,
            _ => Walk::Asked,
        };
        let polled = *job != Some(Job::Changes { polled: false });
        if let Err(lost) = look(guard).await {
            return (Job::Walk(walk), Err(Miss::Lost(lost)));
        }
        let taken = guard.take(polled).await;
        let base = guard.state().base.clone();
        let changes = match &base {
            Some(base) if !want.whole && !taken.dirty().is_everything() => {
                Some(changes(base, taken.dirty()))
            }
            _ => None,
        };
        let folder = &guard.folder;
        let rules = folders::rules_of(&folder.path, &self.config.last_good());
        let how = How {
            changes,
            cancel: cancel.clone(),
            excludes: rules.exclude.iter().map(ToString::to_string).collect(),
            background: job.is_some(),
            at: began.wall,
        };
        let outcome = self.vaults.snapshot(folder, (want.kind, want.session), how, report).await;
        match outcome {
            Ok(done) => {
                let (view, mut not_covered) = (done.view, done.not_covered);
                let known = taken.stored();
                {
                    let mut state = guard.state();
                    state.base = Some(view.id.clone());
                    if !done.walked {
                        not_covered.excluded = std::mem::take(&mut state.not_covered.excluded);
                    }
                    state.not_covered = not_covered;
                }
                if let (true, Some(base)) = (done.walked, base) {
                    self.count_missed(guard, (&base, &view.id), known).await;
                }
                let job = if done.walked { Job::Walk(walk) } else { Job::Changes { polled } };
                (job, Ok(view))
            }
            Err(_) if cancel.is_cancelled() => (Job::Walk(walk), Err(Miss::GaveWay)),
            Err(error) => (Job::Walk(walk), Err(Miss::Failed(error))),
        }
    }

    /// Counts what a walk found that nobody had told of.
    async fn count_missed(&self, guard: &Guard, (base, new): (&str, &str), known: Dirty) {
        let watched = guard.view().is_some_and(|view| view.mode == Mode::Watching);
        if base == new || known.is_everything() || !watched {
            return;
        }
        let changes = match self.vaults.diff(&guard.folder, base, Some(new)).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "what a walk found could not be counted");
                return;
            }
        };
        // What changed while it walked is told of as well.
        let later = guard.take(false).await;
        let missed: Vec<Vec<u8>> = changes
            .iter()
            .filter_map(|change| change.path.to_bytes())
            .filter(|path| !known.covers(path) && !later.dirty().covers(path))
            .collect();
        if let Some(first) = missed.first() {
            let first = ringfence_model::bytes::visible(&String::from_utf8_lossy(first));
            let folder = guard.folder.path.display();
            tracing::warn!(%folder, count = missed.len(), %first, "changes that only a walk found");
            guard.state().missed += missed.len() as u64;
        }
    }

    /// While the vault fails, the shares of sessions take no writes: nothing is written that
    /// nothing protects. After the next success they do again.
    async fn switch_shares(&self, guard: &Guard, stored: bool) {
        let nothing_held = guard.state().held.is_empty();
        if nothing_held && (stored || !guard.has_session()) {
            return;
        }
        // A session that is being closed must not get its share back.
        let _switching = self.protect.switching.lock().await;
        let folder = &guard.folder;
        let here = |session: &Session| {
            session.folder.as_ref() == Some(&folder.id)
                && session.state.is_at_work()
                && session.opening_snapshot.is_some()
        };
        let sessions = self.store.sessions().unwrap_or_default();
        for session in sessions.iter().filter(|session| here(session)) {
            let machine = &session.machine;
            if stored && !session.stricter.is_empty() {
                // It stays held, for the sake of a rule.
                guard.state().held.remove(machine);
                continue;
            }
            let mode = if stored { ShareMode::ReadWrite } else { ShareMode::Held };
            if stored && !guard.state().held.contains(machine) {
                continue;
            }
            if let Err(error) = self.machines.set_share(machine, &folder.id, mode).await {
                tracing::error!(%machine, %error, "a share could not be switched");
                continue;
            }
            let mut state = guard.state();
            if stored {
                state.held.remove(machine);
            } else if state.held.insert(machine.clone()) {
                tracing::error!(session = %session.id, "no snapshot: the share's writes wait");
            }
        }
        let mut state = guard.state();
        if stored {
            // Their sessions are over.
            state.held.clear();
        }
        let held = !state.held.is_empty();
        state.plan.set_held(held);
    }
}

/// Whether the folder is there, found out on a thread that may wait for a disk.
pub(super) async fn look(guard: &Arc<Guard>) -> Result<(), RootLost> {
    let guard = Arc::clone(guard);
    let looked = tokio::task::spawn_blocking(move || guard.check_root()).await;
    looked.unwrap_or_else(|error| Err(RootLost::Unreadable(error.to_string())))
}

/// What is written down after an attempt; `None` where nothing is to be.
fn record_of(
    guard: &Guard,
    before: ProtectionRecord,
    outcome: &Result<SnapshotView, Miss>,
    began: Moment,
) -> Option<ProtectionRecord> {
    let error = match outcome {
        Ok(view) => {
            let held = Held { files: view.files, bytes: view.bytes };
            let now = Counted { snapshot: &view.id, held, at: began.wall };
            let known = before.shrunken.is_some();
            let (fullest, shrunken) = shrink::judge(before.fullest, before.shrunken, now);
            if let (Some(shrunken), false) = (&shrunken, known) {
                let folder = guard.folder.path.display();
                tracing::error!(%folder, left = shrunken.left, before = shrunken.held.files, "most of it is gone");
            }
            return Some(ProtectionRecord {
                snapshot: Some(view.id.clone()),
                until: Some(began.wall),
                error: None,
                fullest,
                shrunken,
                not_covered: guard.state().not_covered.clone(),
            });
        }
        Err(Miss::GaveWay) => return None,
        Err(Miss::Lost(lost)) => lost_error(&guard.folder, lost).message,
        Err(Miss::Failed(error)) => error.message.clone(),
    };
    Some(ProtectionRecord { error: Some(error), ..before })
}

fn changes(base: &str, dirty: &Dirty) -> Changes {
    Changes {
        since: base.to_owned(),
        entries: dirty.entries().iter().cloned().collect(),
        whole: dirty.whole().iter().cloned().collect(),
    }
}

/// What a person is told about a folder that is not where it was registered.
pub(in crate::supervisor) fn lost_error(folder: &Folder, lost: &RootLost) -> ApiError {
    let path = folder.path.display();
    let kept = format!(
        "nothing was stored, and its vault is kept; to get it back: \
         ringfence restore --at latest --to DIR --folder {path}"
    );
    match lost {
        RootLost::Missing => {
            ApiError::new(ErrorKind::Failed, format!("{path} is not there any more: {lost}"))
                .hint(kept)
                .hint("if you moved it: ringfence folder add ITS-NEW-PLACE")
        }
        RootLost::Unreadable(_) => {
            ApiError::new(ErrorKind::Failed, format!("{path}: {lost}")).hint(kept)
        }
        RootLost::Link | RootLost::NoDirectory | RootLost::Another | RootLost::OtherDisk => {
            ApiError::new(
                ErrorKind::Refused,
                format!("{path} is not the directory that was registered: {lost}"),
            )
            .hint(format!("if that is right: ringfence folder add {path}"))
            .hint(kept)
        }
    }
}

/// The present moment, by both clocks.
pub(super) fn moment(born: std::time::Instant) -> Moment {
    Moment { steady: born.elapsed(), wall: clock::now() }
}
