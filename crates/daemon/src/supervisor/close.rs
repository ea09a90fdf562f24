//! The way out of a session: its processes are gone, the guest's cache is flushed, the share
//! turns read-only, the closing snapshot is taken, the share answers nothing.
//!
//! Every session has one follower, which closes it at the end; a restarted daemon starts
//! the followers again. The snapshots while it works are `protect`'s business.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ringfence_model::api::RunSummary;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::{Access, Folder};
use ringfence_model::history::{ChangeCounts, SnapshotKind};
use ringfence_model::name::{FolderId, MachineName, SessionId};
use ringfence_model::session::{Exit, Session, SessionState};
use ringfence_model::status::ShareMode;
use tokio::sync::watch;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::host::clock;
use crate::host::process::ProcessId;
use crate::session::record;

/// Pause before a close that could not be written down is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Pause between two looks for the end of a session's command.
const LOOK: Duration = Duration::from_millis(50);

impl Daemon {
    /// Watches a session until it is closed. One watcher a session, however often called.
    pub(super) fn watch(self: &Arc<Self>, id: &SessionId) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.contains_key(id) {
            return;
        }
        let (sender, receiver) = watch::channel(None);
        watched.insert(id.clone(), receiver);
        drop(watched);
        let (daemon, id) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            loop {
                let closed = daemon.follow(&id).await;
                if let Err(error) = &closed {
                    tracing::error!(%id, %error, "a session could not be closed properly");
                }
                // Nobody may have waited.
                let _ = sender.send(Some(closed));
                if daemon.is_over(&id) {
                    break;
                }
                // Its end could not be written down, on a full disk for instance: whoever waited was
                // told so, and it is tried until it stands there.
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    /// Waits until a session is over and closed.
    ///
    /// # Errors
    /// When there is no such session or it could not be closed properly.
    pub async fn close(
        self: &Arc<Self>,
        id: &SessionId,
        report: &Report,
    ) -> Result<RunSummary, ApiError> {
        let session = self.session(id)?;
        if session.state.is_final() && self.watched_session(id).is_none() {
            return self.summary(session).await;
        }
        self.watch(id);
        report.progress("closing snapshot", None);
        let Some(mut receiver) = self.watched_session(id) else {
            return self.summary(session).await;
        };
        let closed = receiver.wait_for(Option::is_some).await.map(|closed| closed.clone());
        match closed {
            Ok(Some(outcome)) => outcome,
            _ => Err(ApiError::new(
                ErrorKind::Daemon,
                "the daemon ended before the session was closed",
            )
            .hint(format!("ringfence session show {id}"))),
        }
    }

    /// Whether nothing is left to be done for a session. One that cannot be read may have an end to come.
    fn is_over(&self, id: &SessionId) -> bool {
        self.store
            .session(id)
            .is_ok_and(|session| session.is_none_or(|session| session.state.is_final()))
    }

    /// Ends a session's processes. Closing follows by itself.
    ///
    /// # Errors
    /// When the session cannot be found.
    pub async fn stop_session(self: &Arc<Self>, id: &SessionId) -> Result<(), ApiError> {
        let session = self.session(id)?;
        self.refuse_what_waits(&session).await;
        if !session.state.is_final()
            && let Some(process) = self.process_of(id)
        {
            process.end(Duration::from_secs(10)).await;
        }
        Ok(())
    }

    /// One session.
    ///
    /// # Errors
    /// When there is none of that id, or its record cannot be read.
    pub fn session(&self, id: &SessionId) -> Result<Session, ApiError> {
        self.store.session(id).map_err(failed)?.ok_or_else(|| {
            ApiError::new(ErrorKind::Failed, format!("there is no session {id}"))
                .hint("ringfence session list")
        })
    }

    /// All sessions, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn sessions(&self) -> Result<Vec<Session>, ApiError> {
        let mut sessions = self.store.sessions().map_err(failed)?;
        sessions.reverse();
        Ok(sessions)
    }

    /// What a session wrote to its terminal, as far as it is kept.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn session_log(&self, id: &SessionId) -> Result<Vec<u8>, ApiError> {
        record::output(&self.layout.session(id)).map_err(failed)
    }

    async fn follow(self: &Arc<Self>, id: &SessionId) -> Result<RunSummary, ApiError> {
        let session = self.session(id)?;
        let folder = self.folder_by_id(session.folder.as_ref())?;
        if let Some(process) = self.process_of(id) {
            // Only a session that may write has anything to protect while it works.
            let writable = folder.as_ref().filter(|_| self.granted_access(&session) == Access::Rw);
            let protected = writable.filter(|_| session.opening_snapshot.is_some());
            let _at_work = protected.map(|folder| self.protect.guard(folder).at_work());
            self.command_over(id, process).await;
        }
        // What was written down of it meanwhile stays.
        self.finish(self.session(id)?, folder).await
    }

    /// Returns when a session's command is over: its process may still be delivering output.
    async fn command_over(&self, id: &SessionId, process: ProcessId) {
        let directory = self.layout.session(id);
        let mut look = tokio::time::interval(LOOK);
        let gone = process.gone();
        tokio::pin!(gone);
        loop {
            tokio::select! {
                () = &mut gone => return,
                _ = look.tick() => {
                    if matches!(record::exit(&directory), Ok(Some(_))) {
                        return;
                    }
                }
            }
        }
    }

    async fn finish(
        self: &Arc<Self>,
        mut session: Session,
        folder: Option<Folder>,
    ) -> Result<RunSummary, ApiError> {
        let ended = record::exit(&self.layout.session(&session.id)).map_err(failed)?;
        session.exit = Some(ended.as_ref().map_or(Exit::Lost, |ended| ended.exit));
        session.ended = Some(ended.map_or_else(clock::now, |ended| ended.ended));
        session.state = SessionState::Closing;
        {
            // Whoever switches shares for a vault's sake leaves this one alone from here on.
            let _switching = self.protect.switching.lock().await;
            self.store.set_session(&session).map_err(failed)?;
        }
        let closed = match &folder {
            Some(folder) => match self.close_folder(&mut session, folder).await {
                Ok(()) => self.check_exit(&session, folder).await,
                error => error,
            },
            None => Ok(()),
        };
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.id);
        session.state = match &closed {
            Ok(()) => broken.map_or(SessionState::Ended, |reason| SessionState::Failed { reason }),
            Err(error) => SessionState::Failed { reason: error.message.clone() },
        };
        self.store.set_session(&session).map_err(failed)?;
        closed?;
        if let Some(folder) = folder {
            // Behind: nobody waits for it.
            let daemon = Arc::clone(self);
            tokio::spawn(async move { daemon.store_kept(&folder).await });
        }
        self.summary(session).await
    }

    async fn close_folder(&self, session: &mut Session, folder: &Folder) -> Result<(), ApiError> {
        let machine = session.machine.clone();
        // The guest may be dead or lie: what it does not flush in time is lost to it alone.
        self.machines.sync(&machine, &folder.id).await;
        let alone = !self.in_use(&machine, &folder.id, &session.id);
        // One that may not see it any more is not answered, not even now.
        if alone && session.stricter.is_empty() {
            self.machines.set_share(&machine, &folder.id, ShareMode::ReadOnly).await?;
        }
        self.end_journal(session, folder).await;
        let snapshot = async {
            if session.closing_snapshot.is_some() {
                // Taken before the daemon died; since then something may have been held back.
                Ok(session.closing_snapshot.clone())
            } else if session.opening_snapshot.is_some() {
                // What a share that crashed did last is not taken on trust.
                let whole = self.is_broken(&session.id);
                let want = Want { whole, ..Want::new(SnapshotKind::Closing, Some(session)) };
                self.snapshot(folder, want, &Report::nobody()).await.map(|view| Some(view.id))
            } else {
                Ok(None)
            }
        };
        // Where the guest obeys, so that nothing inside stumbles over it; closed in any case.
        let unmounted = async {
            if alone {
                self.machines.unmount_folder(&machine, &folder.id).await;
            }
        };
        let (snapshot, ()) = tokio::join!(snapshot, unmounted);
        if let Ok(Some(id)) = &snapshot {
            session.closing_snapshot = Some(id.clone());
            self.store.set_session(session).map_err(failed)?;
        }
        if alone {
            self.machines.set_share(&machine, &folder.id, ShareMode::Closed).await?;
        }
        snapshot.map(drop)
    }

    fn is_broken(&self, id: &SessionId) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// The session's own process, while it lives.
    pub(super) fn process_of(&self, id: &SessionId) -> Option<ProcessId> {
        // A record that cannot be read names no process; the close then says `lost`.
        record::process(&self.layout.session(id)).ok().flatten().filter(|process| process.lives())
    }

    /// Whether any session that is not over has this folder in this machine.
    pub(super) fn any_session(&self, machine: &MachineName, folder: &FolderId) -> bool {
        self.store.sessions().map_or(true, |sessions| {
            sessions.iter().any(|session| {
                session.machine == *machine
                    && session.folder.as_ref() == Some(folder)
                    && !session.state.is_final()
            })
        })
    }

    /// Whether another session that is not over has this folder in this machine.
    pub(super) fn in_use(&self, machine: &MachineName, folder: &FolderId, but: &SessionId) -> bool {
        // An unreadable record counts as a session at work: nothing is closed under it.
        self.store.sessions().map_or(true, |sessions| {
            sessions.iter().any(|session| {
                session.id != *but
                    && session.machine == *machine
                    && session.folder.as_ref() == Some(folder)
                    && (session.state == SessionState::Preparing || session.state.is_at_work())
            })
        })
    }

    pub(super) fn folder_by_id(&self, id: Option<&FolderId>) -> Result<Option<Folder>, ApiError> {
        let Some(id) = id else { return Ok(None) };
        Ok(self
            .store
            .folders()
            .map_err(failed)?
            .folders
            .into_iter()
            .find(|folder| folder.id == *id))
    }

    async fn summary(&self, session: Session) -> Result<RunSummary, ApiError> {
        let exit_check = self.exit_of(&session)?;
        let folder = self.folder_by_id(session.folder.as_ref())?;
        let changes = match (folder, &session.opening_snapshot, &session.closing_snapshot) {
            (Some(_), Some(opening), Some(closing)) if opening == closing => {
                Some(ChangeCounts::default())
            }
            (Some(folder), Some(opening), Some(closing)) => {
                let changes = self.vaults.diff(&folder, opening, Some(closing)).await?;
                Some(ChangeCounts::of(&changes))
            }
            _ => None,
        };
        Ok(RunSummary { session, changes, exit_check })
    }
}
