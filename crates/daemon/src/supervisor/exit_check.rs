//! The exit check in its place: after a session's closing snapshot, before it is over. What is
//! held back is first written down, then put back to what it was before, by the vault's
//! restore; whoever is killed in between, the next daemon does the rest.
//!
//! The state is `held/ID.json` alone: a path that waits there is to be held, one that does not
//! is. Doing any step twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ringfence_model::bytes::{BytePath, visible};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::exit_check::{
    ExitAction, ExitCheck, HazardState, HeldPath, MOST_HELD, SessionView, covers, fold, is_held,
    worth_telling,
};
use ringfence_model::folder::Folder;
use ringfence_model::history::{PlanView, SnapshotKind};
use ringfence_model::name::SessionId;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{FolderStatus, Problem, Severity};

use super::goals::Goal;
use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::host::clock;
use crate::keepers;
use crate::vaults::{Ends, Looked};

/// Pause between two attempts to hold back what could not be.
const PERIOD: Duration = Duration::from_secs(60);
/// What a path says that nobody has tried to hold back yet.
const NOT_YET: &str = "it is being held back";
/// Paths that one sentence names.
const NAMED: usize = 3;
/// Held paths in a folder's status.
const SHOWN: usize = 50;

impl Daemon {
    /// Looks at what a session left, and holds back what is to be. What was done before a
    /// crash is not done again.
    ///
    /// # Errors
    /// When the snapshots cannot be read or the outcome cannot be written down. That something
    /// could not be held back is no error here: it waits, and status says so.
    pub(super) async fn check_exit(
        &self,
        session: &Session,
        folder: &Folder,
    ) -> Result<(), ApiError> {
        let action = self.exit_action(folder)?;
        let done = self.store.exit_check(&session.id).map_err(failed)?.is_some();
        if !done && action != Some(ExitAction::Off) {
            self.look_at_exit(session, folder, action).await?;
        }
        if let Err(error) = self.hold_back(folder).await {
            tracing::error!(session = %session.id, %error, "what it left could not be held back");
        }
        Ok(())
    }

    async fn look_at_exit(
        &self,
        session: &Session,
        folder: &Folder,
        action: Option<ExitAction>,
    ) -> Result<(), ApiError> {
        let ends = (&session.opening_snapshot, &session.closing_snapshot);
        let (Some(opening), Some(closing)) = ends else { return Ok(()) };
        let known = self.store.held(&folder.id).map_err(failed)?.paths;
        // While such a session was at work its opening state was taken back under it.
        let under_it =
            |held: &&HeldPath| held.session != session.id && session.started <= held.since;
        let rebased: BTreeMap<Vec<u8>, String> = known
            .iter()
            .filter(under_it)
            .filter_map(|held| Some((held.path.to_bytes()?, held.before.clone())))
            .collect();
        let looked = if opening == closing {
            Looked::default()
        } else {
            let ends = Ends {
                opening: opening.clone(),
                closing: closing.clone(),
                touched: self.touched_by(session, folder).await,
                rebased: rebased.clone().into_iter().collect(),
            };
            self.vaults.exit_check(folder, ends).await?
        };
        let mut hazards = looked.hazards;
        for hazard in &mut hazards {
            if is_held(action, hazard.kind, hazard.danger) {
                hazard.state = HazardState::Waiting;
            }
        }
        let waiting: Vec<_> =
            hazards.iter().filter(|found| found.state == HazardState::Waiting).collect();
        let paths: BTreeSet<Vec<u8>> =
            waiting.iter().filter_map(|hazard| hazard.path.to_bytes()).collect();
        let now = clock::now();
        let held: Vec<HeldPath> = fold(paths, MOST_HELD)
            .into_iter()
            .filter_map(|bytes| {
                let path = BytePath::from_bytes(&bytes);
                let first = waiting.iter().find(|hazard| covers(&path, &hazard.path))?;
                Some(HeldPath {
                    kind: first.kind,
                    why: first.why.clone(),
                    session: session.id.clone(),
                    before: rebased.get(&bytes).unwrap_or(opening).clone(),
                    after: closing.clone(),
                    since: now,
                    waiting: Some(NOT_YET.to_owned()),
                    path,
                })
            })
            .collect();
        self.change_held(folder, |paths| {
            paths.retain(|known| !held.iter().any(|new| new.covers(&known.path)));
            paths.extend(held);
        })?;
        let check = worth_telling(hazards, looked.notes);
        self.store.set_exit_check(&session.id, &check).map_err(failed)
    }

    /// What a session touched, by its journal; `None` where that does not have everything.
    async fn touched_by(&self, session: &Session, folder: &Folder) -> Option<keepers::Touched> {
        let (store, id) = (self.layout.kept(&folder.id), session.id.to_string());
        match tokio::task::spawn_blocking(move || keepers::touched(&store, &id)).await {
            Ok(Ok(touched)) => touched,
            Ok(Err(error)) => {
                tracing::warn!(session = %session.id, %error, "its journal cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Reads, changes and writes what is held of a folder, alone.
    pub(super) fn change_held(
        &self,
        folder: &Folder,
        change: impl FnOnce(&mut Vec<HeldPath>),
    ) -> Result<(), ApiError> {
        let _alone = self.held_file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.store.held(&folder.id).map_err(failed)?;
        let before = held.clone();
        change(&mut held.paths);
        if held == before {
            return Ok(());
        }
        self.store.set_held(&folder.id, &held).map_err(failed)
    }

    /// Puts back what waits to be held: afterwards the folder has it as it was before.
    ///
    /// # Errors
    /// When the restore cannot be prepared or carried out; what waits says why.
    pub(super) async fn hold_back(&self, folder: &Folder) -> Result<(), ApiError> {
        let waits = |held: &HeldPath| held.waiting.is_some();
        if !self.store.held(&folder.id).map_err(failed)?.paths.iter().any(waits) {
            return Ok(());
        }
        let outcome = self.put_back_waiting(folder).await;
        if let Err(error) = &outcome {
            let why = error.message.clone();
            self.change_held(folder, |paths| {
                for held in paths.iter_mut().filter(|held| held.waiting.is_some()) {
                    held.waiting = Some(why.clone());
                }
            })?;
        }
        outcome
    }

    async fn put_back_waiting(&self, folder: &Folder) -> Result<(), ApiError> {
        self.same_directory(folder)?;
        self.vaults.can_stage(folder, &folder.path)?;
        self.while_held(folder, self.put_back_held(folder)).await
    }

    async fn put_back_held(&self, folder: &Folder) -> Result<(), ApiError> {
        let nobody = Report::nobody();
        let _turn = self.vaults.turn(&folder.id).await;
        self.finish_begun(folder, &folder.path, &nobody).await?;
        let mut held = self.store.held(&folder.id).map_err(failed)?.paths;
        held.retain(|held| held.waiting.is_some());
        for ((before, after), paths) in by_states(&held) {
            let goal = self.between(folder, (&after, &before), &paths, false).await?;
            let what = self.settle(folder, &goal, None).await?.what;
            // The closing snapshot has what goes. Where an undo has put the same back since, that
            // cannot be told from it, so then another snapshot has to have it.
            let mut guard = after.clone();
            let mut left = PlanView::default();
            for attempt in 0..2 {
                self.vaults.apply(folder, &what, &folder.path, Some(&guard), &nobody).await?;
                left = self.vaults.plan(folder, &what, &folder.path).await?;
                if attempt == 1 || !paths.iter().any(|held| differs(&left, held)) {
                    break;
                }
                let watcher = self.protect.guard(folder);
                let want = Want::whole(SnapshotKind::BeforeRestore);
                guard = self.snapshot_in_turn(&watcher, want, &nobody).await?.id;
            }
            let (kept, done): (Vec<_>, Vec<_>) =
                paths.into_iter().partition(|held| differs(&left, held));
            self.settle_waiting(folder, &kept, &done)?;
        }
        Ok(())
    }

    /// Writes down what came of paths that waited. What the host has changed since stays its
    /// own; while a session is at work that may have been the session, and it goes on waiting.
    fn settle_waiting(
        &self,
        folder: &Folder,
        kept: &[HeldPath],
        done: &[HeldPath],
    ) -> Result<(), ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let others = |held: &HeldPath| {
            sessions.iter().any(|other| {
                other.folder.as_ref() == Some(&folder.id)
                    && other.id != held.session
                    && other.state.is_at_work()
            })
        };
        let kept = kept.iter().map(|held| (held, HazardState::Kept));
        let done = done.iter().map(|held| (held, HazardState::Held));
        for (held, state) in kept.chain(done) {
            let wait = state == HazardState::Kept && others(held);
            self.change_held(folder, |paths| {
                let own =
                    |known: &HeldPath| known.path == held.path && known.session == held.session;
                for known in paths.iter_mut().filter(|known| own(known)) {
                    known.waiting = wait.then(|| "a session at work has changed it".to_owned());
                }
                paths.retain(|known| !own(known) || state == HazardState::Held || wait);
            })?;
            tracing::warn!(
                folder = %folder.path.display(), path = %visible(&held.path.path), why = %held.why,
                session = %held.session, held = state == HazardState::Held, "the exit check"
            );
            if !wait {
                self.mark(&held.session, held, state)?;
            }
        }
        Ok(())
    }

    /// Writes into a session's record what became of a hazard.
    fn mark(&self, id: &SessionId, held: &HeldPath, state: HazardState) -> Result<(), ApiError> {
        let Some(mut check) = self.store.exit_check(id).map_err(failed)? else { return Ok(()) };
        let waits = |state| matches!(state, HazardState::Waiting | HazardState::Held);
        // A group is told by its directory, and held path by path.
        let inside = |path: &BytePath| held.covers(path) || covers(path, &held.path);
        for hazard in check.hazards.iter_mut().filter(|f| waits(f.state) && inside(&f.path)) {
            hazard.state = state;
        }
        self.store.set_exit_check(id, &check).map_err(failed)
    }

    /// A way from one state to the other for some paths, where the folder has them as in the
    /// first; with `all` also where it has not.
    pub(super) async fn between(
        &self,
        folder: &Folder,
        (from, to): (&str, &str),
        paths: &[HeldPath],
        all: bool,
    ) -> Result<Goal, ApiError> {
        let paths: Vec<Vec<u8>> = paths.iter().filter_map(|held| held.path.to_bytes()).collect();
        if paths.is_empty() {
            // No path at all would mean the whole folder.
            return Err(nothing_held(folder));
        }
        Ok(Goal::Undo {
            opening: self.vaults.find(folder, to).await?,
            closing: Some(self.vaults.find(folder, from).await?.id),
            all,
            since: None,
            paths,
        })
    }

    /// Before a session begins in a folder, what earlier ones left has to be settled.
    ///
    /// # Errors
    /// When it cannot be held back: nothing runs beside what is to be kept out.
    pub(super) async fn settle_exits(
        self: &Arc<Self>,
        folder: &Folder,
        report: &Report,
    ) -> Result<(), ApiError> {
        let closing = |session: &Session| {
            session.folder.as_ref() == Some(&folder.id) && session.state == SessionState::Closing
        };
        let sessions = self.store.sessions().map_err(failed)?;
        for session in sessions.into_iter().filter(closing) {
            report.progress(format!("session {} is being closed", session.id), None);
            // How that came out is told to whoever waits for that session.
            let _ = self.close(&session.id, &Report::nobody()).await;
        }
        self.hold_back(folder).await.map_err(|error| {
            let path = folder.path.display();
            let what = "what an earlier session left could not be held back";
            let mut refused = ApiError::new(error.kind, format!("{what}: {}", error.message));
            refused.causes = error.causes;
            refused.hint(format!("look, and accept it: ringfence folder approve {path}")).hint(
                format!("forget that it is to be held: ringfence folder approve --drop {path}"),
            )
        })
    }

    /// Holds back what an earlier daemon did not get to.
    pub(super) async fn finish_holds(&self) {
        for folder in self.every_folder() {
            if let Err(error) = self.hold_back(&folder).await {
                tracing::error!(folder = %folder.path.display(), %error, "it could not be held back");
            }
        }
    }

    /// Tries again what could not be held back. Ends with the daemon.
    pub async fn mind_holds(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            self.finish_holds().await;
        }
    }

    /// After a session was undone: what was held of it is no more, and what the undo brought
    /// back of another one's is held again.
    pub(super) async fn after_undo(&self, folder: &Folder, id: &SessionId) -> Result<(), ApiError> {
        let held = self.store.held(&folder.id).map_err(failed)?.paths;
        self.change_held(folder, |paths| paths.retain(|held| held.session != *id))?;
        let (undone, others): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|held| held.session == *id);
        for held in &undone {
            self.mark(id, held, HazardState::Settled)?;
        }
        let back = self.in_force(folder, others).await?;
        self.change_held(folder, |paths| {
            for held in paths.iter_mut().filter(|held| back.contains(held)) {
                held.waiting = Some(NOT_YET.to_owned());
            }
        })?;
        self.hold_back(folder).await
    }

    /// After a person put a state back: what that brought back is not held any more.
    pub(super) async fn after_restore(&self, folder: &Folder) -> Result<(), ApiError> {
        let held = self.store.held(&folder.id).map_err(failed)?.paths;
        let back = self.in_force(folder, held).await?;
        self.forget_held(folder, &back)
    }

    /// Takes paths off what is held.
    pub(super) fn forget_held(&self, folder: &Folder, gone: &[HeldPath]) -> Result<(), ApiError> {
        self.change_held(folder, |paths| paths.retain(|held| !gone.contains(held)))?;
        gone.iter().try_for_each(|held| self.mark(&held.session, held, HazardState::Settled))
    }

    /// Those of the held paths that the folder has as their session left them.
    async fn in_force(
        &self,
        folder: &Folder,
        held: Vec<HeldPath>,
    ) -> Result<Vec<HeldPath>, ApiError> {
        let mut back = Vec::new();
        for ((before, after), paths) in by_states(&held) {
            let goal = self.between(folder, (&before, &after), &paths, true).await?;
            let what = self.settle(folder, &goal, None).await?.what;
            let left = self.vaults.plan(folder, &what, &folder.path).await?;
            back.extend(paths.into_iter().filter(|held| !differs(&left, held)));
        }
        Ok(back)
    }

    /// A session as `session show` tells it.
    ///
    /// # Errors
    /// When there is none of that id, or its record cannot be read.
    pub fn session_view(&self, id: &SessionId) -> Result<SessionView, ApiError> {
        let session = self.session(id)?;
        let exit_check = self.exit_of(&session)?;
        Ok(SessionView { session, exit_check })
    }

    /// What the exit check found of a session.
    pub(super) fn exit_of(&self, session: &Session) -> Result<Option<ExitCheck>, ApiError> {
        self.store.exit_check(&session.id).map_err(failed)
    }

    /// Writes into a folder's status what is held back of it.
    pub(super) fn held_status(&self, folder: &Folder, status: &mut FolderStatus) {
        match self.store.held(&folder.id) {
            Ok(held) => {
                status.held_count = held.paths.len() as u64;
                status.held = held.paths.into_iter().take(SHOWN).collect();
            }
            Err(error) => {
                tracing::error!(folder = %folder.id, %error, "what is held back cannot be read");
                status.error.get_or_insert_with(|| format!("what is held back: {error}"));
            }
        }
    }
}

/// Held paths by the states between which they are held.
pub(super) fn by_states(held: &[HeldPath]) -> BTreeMap<(String, String), Vec<HeldPath>> {
    let mut groups: BTreeMap<(String, String), Vec<HeldPath>> = BTreeMap::new();
    for held in held {
        let states = (held.before.clone(), held.after.clone());
        groups.entry(states).or_default().push(held.clone());
    }
    groups
}

/// Whether a plan still finds a difference at a held path.
pub(super) fn differs(plan: &PlanView, held: &HeldPath) -> bool {
    let lists = [&plan.create, &plan.replace, &plan.delete, &plan.metadata, &plan.conflicts];
    lists.into_iter().flatten().any(|path| held.covers(path))
}

/// What status says about a folder's exit check; nothing where nothing is to be done.
pub(super) fn problems(folder: &FolderStatus) -> Vec<Problem> {
    let path = folder.path.display();
    let approve = || Some(format!("ringfence folder approve {path}"));
    let named = |held: &[&HeldPath]| {
        let names: Vec<String> = held
            .iter()
            .take(NAMED)
            .map(|held| format!("{} ({})", visible(&held.path.path), held.kind.words()))
            .collect();
        let rest = held.len().saturating_sub(NAMED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let (waiting, held): (Vec<_>, Vec<_>) =
        folder.held.iter().partition(|held| held.waiting.is_some());
    let mut problems = Vec::new();
    if let Some(why) = waiting.first().and_then(|held| held.waiting.as_deref()) {
        problems.push(Problem {
            severity: Severity::Error,
            message: format!(
                "{path}: to be held back, and still in the folder: {}: {why}",
                named(&waiting)
            ),
            command: approve(),
        });
    }
    if !held.is_empty() {
        problems.push(Problem {
            severity: Severity::Warning,
            message: format!("{path}: held back until you approve it: {}", named(&held)),
            command: approve(),
        });
    }
    if folder.exit_check == Some(ExitAction::Off) {
        problems.push(Problem {
            severity: Severity::Warning,
            message: format!("{path}: nothing looks at what sessions leave for the host to run"),
            command: Some(format!("ringfence folder set {path} --exit-check warn")),
        });
    }
    problems
}

/// Nothing is held back.
pub(super) fn nothing_held(folder: &Folder) -> ApiError {
    let what = format!("nothing of {} is held back", folder.path.display());
    ApiError::new(ErrorKind::Failed, what).hint("ringfence status")
}
