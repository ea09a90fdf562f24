//! Restore and undo: a plan first, a snapshot of the present state before anything is touched,
//! shares held meanwhile.

use std::path::Path;
use std::sync::Arc;

use ringfence_model::api::{RestoreRequest, UndeleteRequest, UndoRequest};
use ringfence_model::bytes::visible;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{PlanView, SnapshotKind};
use ringfence_model::name::FolderId;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::ShareMode;

use super::goals::Goal;
use super::moments;
use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::vaults;

impl Daemon {
    /// Puts back a state of a folder, or of some of its paths, here or elsewhere.
    ///
    /// # Errors
    /// When the state is unknown, the present one cannot be saved first, or writing fails.
    pub async fn restore(
        self: &Arc<Self>,
        request: RestoreRequest,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let paths = vaults::exact(&request.paths)?;
        let goal = match request.at.as_deref() {
            Some(at) => match moments::moment(at) {
                Some(moment) => Goal::Moment { moment, paths },
                None => Goal::State { snapshot: self.vaults.find(&folder, at).await?, paths },
            },
            None => Goal::State { snapshot: self.newest_with(&folder, &paths).await?, paths },
        };
        let mut plan = match &request.to {
            Some(target) => {
                self.restore_elsewhere(&folder, &goal, target, request.dry_run, report).await
            }
            None => self.restore_here(&folder, &goal, request.dry_run, report).await,
        }?;
        if plan.applied && request.to.is_none() {
            self.after_restore(&folder).await?;
        }
        plan.paths = request.paths;
        Ok(plan)
    }

    /// The newest state that has all these paths. A snapshot that was only taken to save what
    /// a restore replaces is not what somebody means who names no state.
    async fn newest_with(
        &self,
        folder: &Folder,
        paths: &[Vec<u8>],
    ) -> Result<ringfence_vault::Snapshot, ApiError> {
        let meant = |snapshot: &ringfence_vault::Snapshot| {
            use ringfence_vault::SnapshotKind::{BeforeRestore, BeforeUndo};
            !matches!(snapshot.labels.kind, BeforeRestore | BeforeUndo)
        };
        match self.vaults.newest_with(folder, paths, meant).await? {
            Some(snapshot) => Ok(snapshot),
            None => self.vaults.find(folder, "latest").await,
        }
    }

    /// Brings back a path that is gone, from the newest snapshot that has it.
    ///
    /// # Errors
    /// When it is there, or no snapshot has it.
    pub async fn undelete(
        self: &Arc<Self>,
        request: UndeleteRequest,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let paths = vaults::exact(std::slice::from_ref(&request.path))?;
        let shown = visible(&request.path.path);
        let path = paths.first().filter(|path| !path.is_empty()).ok_or_else(|| {
            ApiError::new(ErrorKind::Usage, "the folder itself is there, so it is not undeleted")
                .hint("put all of it back: ringfence restore --at latest")
        })?;
        if vaults::is_there(&folder.path, path) {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!("`{shown}` is there, so nothing has to be undeleted"),
            )
            .hint(format!("its earlier versions: ringfence history {shown}"))
            .hint(format!("go back to one: ringfence restore --at SNAPSHOT {shown}")));
        }
        // What a restore took away is in the snapshot before it: here every kind counts.
        let snapshot = match &request.snapshot {
            Some(snapshot) => Some(self.vaults.find(&folder, snapshot).await?),
            None => self.vaults.newest_with(&folder, &paths, |_| true).await?,
        };
        let goal = Goal::Undelete { snapshot, path: path.clone() };
        let mut plan = self.restore_here(&folder, &goal, request.dry_run, report).await?;
        if plan.applied {
            self.after_restore(&folder).await?;
        }
        plan.paths = vec![request.path];
        Ok(plan)
    }

    /// Puts back what a session changed.
    ///
    /// # Errors
    /// As [`Self::restore`]; also when no session can be undone.
    pub async fn undo(
        self: &Arc<Self>,
        request: UndoRequest,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let mut session = self.session_to_undo(&folder, request.session.as_ref())?;
        let frozen = session.state == SessionState::Frozen;
        if frozen && !request.dry_run {
            // It is ended first, with a snapshot of what it left.
            self.stop_session(&session.id).await?;
            session = self.close(&session.id, report).await?.session;
        } else if !frozen && !session.state.is_final() {
            let running = format!("session {} still runs in {}", session.id, folder.path.display());
            return Err(ApiError::new(ErrorKind::Failed, running)
                .hint(format!("end it first: ringfence session stop {}", session.id)));
        }
        let Some(opening) = &session.opening_snapshot else {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!(
                    "session {} began without a snapshot (--unprotected), so it cannot be undone",
                    session.id
                ),
            )
            .hint("other states: ringfence history"));
        };
        let opening = self.vaults.find(&folder, opening).await?;
        let closing = match &session.closing_snapshot {
            Some(closing) => Some(self.vaults.find(&folder, closing).await?.id),
            None => None,
        };
        let paths = vaults::exact(&request.paths)?;
        let whole = !request.deletions && request.since.is_none() && paths.is_empty();
        let goal = if request.deletions {
            Goal::Deletions { session: session.id.clone(), opening, paths }
        } else {
            Goal::Undo { opening, closing, all: request.all, since: request.since, paths }
        };
        let mut plan = self.restore_here(&folder, &goal, request.dry_run, report).await?;
        if plan.applied && whole {
            self.after_undo(&folder, &session.id).await?;
        } else if plan.applied {
            self.after_restore(&folder).await?;
        }
        plan.paths = request.paths;
        if !request.deletions {
            plan.notes.push(note_on_authorship(&session, closing.is_some()));
        }
        if session.state == SessionState::Frozen {
            plan.notes.push(format!("session {} is frozen; it is ended first", session.id));
        }
        Ok(plan)
    }

    fn session_to_undo(
        &self,
        folder: &Folder,
        wanted: Option<&ringfence_model::name::SessionId>,
    ) -> Result<Session, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let here = |session: &&Session| session.folder.as_ref() == Some(&folder.id);
        let found = match wanted {
            Some(id) => sessions.iter().filter(here).find(|session| session.id == *id),
            None => sessions.iter().rev().filter(here).find(|session| {
                // Its exit says that it ran; one that never ran changed nothing.
                session.exit.is_some()
                    || !session.state.is_final() && session.state != SessionState::Preparing
            }),
        };
        found.cloned().ok_or_else(|| {
            let what = match wanted {
                Some(id) => format!("there is no session {id} in {}", folder.path.display()),
                None => format!(
                    "no session has run in {}, so there is nothing to undo",
                    folder.path.display()
                ),
            };
            ApiError::new(ErrorKind::Failed, what)
                .hint("ringfence history · ringfence restore --at SNAPSHOT")
        })
    }

    pub(super) async fn restore_here(
        self: &Arc<Self>,
        folder: &Folder,
        goal: &Goal,
        dry_run: bool,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        self.same_directory(folder)?;
        self.vaults.can_stage(folder, &folder.path)?;
        if dry_run {
            let _turn = self.vaults.turn(&folder.id).await;
            report.progress("comparing", None);
            let present = self.present(folder, goal, report).await?;
            let settled = self.settle(folder, goal, present.as_deref()).await?;
            let plan = self.vaults.plan(folder, &settled.what, &folder.path).await?;
            return Ok(settled.explained(plan));
        }
        self.while_held(folder, self.restore_held(folder, goal, report)).await
    }

    /// Does something while nothing inside writes to a folder; what it tries to write waits.
    ///
    /// # Errors
    /// When a share does not obey: then nothing is done. Else what was done says.
    pub(super) async fn while_held<T>(
        &self,
        folder: &Folder,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let mut held: Vec<(FolderId, Held)> = Vec::new();
        let mut refused = None;
        for id in self.sharing_files_with(folder) {
            match self.machines.hold(&id).await {
                Ok(shares) => held.push((id, shares)),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let outcome = match refused {
            Some(error) => Err(error),
            None => work.await,
        };
        for (id, machine, mode) in held
            .into_iter()
            .flat_map(|(id, shares)| shares.into_iter().map(move |(m, mode)| (id.clone(), m, mode)))
        {
            if let Err(error) = self.machines.set_share(&machine, &id, mode).await {
                tracing::error!(%machine, %error, "a held share could not be let go");
            }
        }
        outcome
    }

    /// A folder, those in it and those around it: a session in one works on files of the others.
    fn sharing_files_with(&self, folder: &Folder) -> Vec<FolderId> {
        let overlaps = |other: &&Folder| {
            other.path.starts_with(&folder.path) || folder.path.starts_with(&other.path)
        };
        let every = self.every_folder();
        let ids: Vec<FolderId> =
            every.iter().filter(overlaps).map(|other| other.id.clone()).collect();
        // Its own share is held also where the list of folders cannot be read.
        if ids.contains(&folder.id) { ids } else { vec![folder.id.clone()] }
    }

    async fn restore_held(
        &self,
        folder: &Folder,
        goal: &Goal,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let guard = self.protect.guard(folder);
        let _turn = self.vaults.turn(&folder.id).await;
        self.finish_begun(folder, &folder.path, report).await?;
        let want = Want::whole(SnapshotKind::BeforeRestore);
        let before = self.snapshot_in_turn(&guard, want, report).await.map_err(|mut error| {
            error.message = format!(
                "the present state could not be saved, so nothing was put back: {}",
                error.message
            );
            error
        })?;
        report.progress("putting back", None);
        let settled = self.settle(folder, goal, Some(&before.id)).await?;
        let (what, before) = (&settled.what, before.id.clone());
        let plan = self.vaults.apply(folder, what, &folder.path, Some(&before), report).await?;
        let mut plan = settled.explained(plan);
        plan.applied = true;
        plan.before = Some(before);
        Ok(plan)
    }

    async fn restore_elsewhere(
        &self,
        folder: &Folder,
        goal: &Goal,
        target: &Path,
        dry_run: bool,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let shown = target.display();
        let fail = |why: String| ApiError::new(ErrorKind::Failed, format!("{shown} {why}"));
        if !target.is_absolute() {
            return Err(fail("must be an absolute path".into()));
        }
        if let Ok(mut entries) = std::fs::read_dir(target) {
            if entries.next().is_some() {
                return Err(fail("is not empty, and a restore elsewhere never overwrites".into())
                    .hint("name a directory that does not exist yet"));
            }
        } else if !dry_run {
            std::fs::create_dir_all(target)
                .map_err(|error| fail(format!("cannot be made: {error}")))?;
        }
        let _turn = self.vaults.turn(&folder.id).await;
        let present = self.present(folder, goal, report).await?;
        let settled = self.settle(folder, goal, present.as_deref()).await?;
        if dry_run && !target.exists() {
            let plan = self.vaults.plan_new(folder, &settled.what, target).await?;
            return Ok(settled.explained(plan));
        }
        let target = std::fs::canonicalize(target).map_err(failed)?;
        if dry_run {
            let plan = self.vaults.plan(folder, &settled.what, &target).await?;
            return Ok(settled.explained(plan));
        }
        self.vaults.can_stage(folder, &target)?;
        self.finish_begun(folder, &target, report).await?;
        report.progress("restoring", None);
        let plan = self.vaults.apply(folder, &settled.what, &target, None, report).await?;
        let mut plan = settled.explained(plan);
        plan.applied = true;
        Ok(plan)
    }

    /// Completes an earlier restore that was cut short, before another one begins.
    pub(super) async fn finish_begun(
        &self,
        folder: &Folder,
        target: &Path,
        report: &Report,
    ) -> Result<(), ApiError> {
        if self.vaults.finish(folder, target).await? {
            report.note("an earlier restore had been interrupted; it was completed first");
        }
        Ok(())
    }

    /// Completes restores that a crash interrupted.
    pub(super) async fn finish_restores(&self) {
        for folder in self.every_folder() {
            let _turn = self.vaults.turn(&folder.id).await;
            match self.vaults.finish(&folder, &folder.path).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!(folder = %folder.path.display(), "completed an interrupted restore")
                }
                Err(error) => {
                    tracing::error!(folder = %folder.path.display(), %error, "an interrupted restore could not be completed");
                }
            }
        }
    }
}

fn note_on_authorship(session: &Session, has_closing: bool) -> String {
    if has_closing {
        format!(
            "who changed a path between {} and the end of the session cannot be told: \
             changes made on the host meanwhile are undone too",
            session.started.strftime("%H:%M:%S")
        )
    } else {
        "the session has no closing snapshot: everything since its start is put back".into()
    }
}

/// A share that was held, and how it answered before.
pub(super) type Held = Vec<(ringfence_model::name::MachineName, ShareMode)>;
