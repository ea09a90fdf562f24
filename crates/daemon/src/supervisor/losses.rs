//! The guard against mass loss, as far as sessions go: begun with each of them, heard when a
//! share has halted one, ended by a person's decision. The counting is the share's.

use std::sync::Arc;
use std::time::Duration;

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::mass_loss::{GuardAction, GuardRule, MassLoss};
use ringfence_model::name::SessionId;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{Problem, Severity, ShareMode};
use ringfence_share::{Alarm, Reaction, Watch};

use super::{Daemon, failed, folders};
use crate::host::clock;

/// Pause between two looks for alarms. A share that halts waits for no look.
const PERIOD: Duration = Duration::from_secs(1);

impl Daemon {
    /// The rule of a folder.
    pub(super) fn guard_rule(&self, folder: &Folder) -> GuardRule {
        let config = self.config.last_good();
        config.guard_of(&folders::rules_of(&folder.path, &config))
    }

    /// That no session stands still in a folder: what another one does there could not be
    /// told from what somebody has to decide about.
    ///
    /// # Errors
    /// When one does.
    pub(super) fn nothing_frozen(&self, folder: &Folder) -> Result<(), ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let frozen = sessions.into_iter().find(|session| {
            session.folder.as_ref() == Some(&folder.id) && session.state == SessionState::Frozen
        });
        frozen.map_or(Ok(()), |session| Err(frozen_error(&session)))
    }

    /// Has a session's losses counted from now on, in the share that it has in common with
    /// others by the strictest of their rules.
    ///
    /// # Errors
    /// When the share does not obey, or stands still for another session.
    pub(super) async fn begin_guard(
        &self,
        session: &Session,
        folder: &Folder,
    ) -> Result<(), ApiError> {
        let (machine, id) = (&session.machine, &folder.id);
        let frozen = |alarm: Alarm| alarm.reaction == Reaction::Freeze;
        let mut others = self.store.sessions().map_err(failed)?;
        others.retain(|other| {
            other.id != session.id && other.state.is_at_work() && beside(session, other)
        });
        // An alarm that nobody is left to decide about is taken back.
        if let Some(other) = others.first()
            && self.machines.alarm(machine, id).await.is_some_and(frozen)
        {
            return Err(frozen_error(other));
        }
        let action = others.iter().map(|other| other.guard).fold(session.guard, GuardAction::max);
        let in_folder = match &session.opening_snapshot {
            Some(opening) => self.vaults.find(folder, opening).await?.counts.files,
            None => 0,
        };
        let rule = self.guard_rule(folder);
        let reaction = match action {
            GuardAction::Off => None,
            GuardAction::Warn => Some(Reaction::Warn),
            GuardAction::Freeze => Some(Reaction::Freeze),
        };
        let watch = reaction.map(|reaction| Watch {
            files: rule.threshold(in_folder),
            window: rule.seconds.saturating_mul(1000),
            reaction,
        });
        self.machines.guard_share(machine, id, watch).await
    }

    /// Hears of alarms. Ends with the daemon.
    pub async fn mind_losses(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            for id in self.watched_sessions() {
                if let Err(error) = self.hear_of_loss(&id).await {
                    tracing::error!(session = %id, %error, "its mass loss could not be written down");
                }
            }
        }
    }

    async fn hear_of_loss(&self, id: &SessionId) -> Result<(), ApiError> {
        let session = self.session(id)?;
        let Some(folder) =
            session.folder.as_ref().filter(|_| session.state == SessionState::Running)
        else {
            return Ok(());
        };
        if self.machines.alarm(&session.machine, folder).await.is_none() {
            return Ok(());
        }
        // Looked at anew where nobody can resume or close it meanwhile.
        let _switching = self.protect.switching.lock().await;
        let mut session = self.session(id)?;
        let alarm = match &session.folder {
            Some(folder) => self.machines.alarm(&session.machine, folder).await,
            None => None,
        };
        let Some(alarm) = alarm.filter(|_| session.state == SessionState::Running) else {
            return Ok(());
        };
        let next = match alarm.reaction {
            Reaction::Warn if session.mass_loss.is_some() => return Ok(()),
            Reaction::Warn => SessionState::Running,
            Reaction::Freeze => SessionState::Frozen,
        };
        if next != session.state && !session.state.may_become(&next) {
            return Ok(());
        }
        let files = alarm.files;
        tracing::error!(session = %id, files, state = next.word(), "it removes or rewrites too much at once");
        session.mass_loss = Some(MassLoss { files, at: clock::now() });
        session.state = next;
        self.store.set_session(&session).map_err(failed)
    }

    /// Lets a frozen session go on, and with it whoever shares its folder in its machine.
    ///
    /// # Errors
    /// When it is not frozen, or its share does not obey.
    pub async fn resume_session(&self, id: &SessionId) -> Result<Session, ApiError> {
        let _switching = self.protect.switching.lock().await;
        let session = self.session(id)?;
        let (SessionState::Frozen, Some(folder)) = (&session.state, &session.folder) else {
            let what = format!("session {id} is not frozen but {}", session.state.word());
            return Err(
                ApiError::new(ErrorKind::Failed, what).hint(format!("ringfence session show {id}"))
            );
        };
        let mut by_rule = false;
        for mut other in self.store.sessions().map_err(failed)? {
            if other.state == SessionState::Frozen && beside(&session, &other) {
                by_rule |= !other.stricter.is_empty();
                self.agree(&mut other)?;
                other.state = SessionState::Running;
                self.store.set_session(&other).map_err(failed)?;
            }
        }
        if by_rule {
            self.let_go_on(&session).await?;
        }
        if !by_rule || self.machines.alarm(&session.machine, folder).await.is_some() {
            // Last: should it fail, the alarm still stands and is heard again.
            self.machines.resume_share(&session.machine, folder).await?;
        }
        tracing::warn!(session = %id, "somebody agreed to what it does, or has; it goes on");
        self.session(id)
    }

    /// Takes a frozen session's share back before the session is ended: what waits is refused.
    /// Where another session has the same share, what waits may be its own, and goes on waiting.
    pub(super) async fn refuse_what_waits(&self, session: &Session) {
        let Some(folder) =
            session.folder.as_ref().filter(|_| session.state == SessionState::Frozen)
        else {
            return;
        };
        if self.in_use(&session.machine, folder, &session.id) {
            return;
        }
        let _switching = self.protect.switching.lock().await;
        // Whoever may not see it any more is not answered either.
        let mode =
            if session.stricter.is_empty() { ShareMode::ReadOnly } else { ShareMode::Closed };
        let refused = self.machines.set_share(&session.machine, folder, mode).await;
        if let Err(error) = refused {
            tracing::error!(session = %session.id, %error, "the share of a frozen session does not obey");
        }
    }
}

/// Whether two sessions have one share.
pub(super) fn beside(one: &Session, other: &Session) -> bool {
    one.machine == other.machine && one.folder == other.folder
}

/// What there is to do about a session that stands still.
fn frozen_error(session: &Session) -> ApiError {
    let id = &session.id;
    ApiError::new(ErrorKind::Frozen, format!("session {id} is frozen in this folder"))
        .hint(format!("put everything back: ringfence session undo {id}"))
        .hint(format!("let it go on: ringfence session resume {id}"))
}

/// What is to be seen of a session's mass loss.
pub(super) fn problem(session: &Session) -> Option<Problem> {
    let loss = session.mass_loss.filter(|_| session.state.is_at_work())?;
    let id = &session.id;
    let folder = session.folder_path.as_deref().unwrap_or_else(|| "".as_ref()).display();
    let files = loss.files;
    let frozen = session.state == SessionState::Frozen;
    if !frozen && session.guard == GuardAction::Freeze {
        // Somebody agreed.
        return None;
    }
    Some(if frozen {
        Problem {
            severity: Severity::Error,
            message: format!(
                "session {id} is frozen: it removed or rewrote {files} files of {folder} at once \
                 (to let it go on: ringfence session resume {id})"
            ),
            command: Some(format!("ringfence session undo {id}")),
        }
    } else {
        Problem {
            severity: Severity::Warning,
            message: format!("session {id} removed or rewrote {files} files of {folder} at once"),
            command: Some(format!("ringfence session stop {id}")),
        }
    })
}
