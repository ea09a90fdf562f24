//! Rules that become stricter while sessions run: a session that has more than they allow now
//! stands still until somebody decides.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ringfence_model::admit::stricter;
use ringfence_model::config::Config;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Access;
use ringfence_model::name::SessionId;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{Problem, Severity, ShareMode};

use super::losses::beside;
use super::{Daemon, failed};

/// Pause between two looks at whether anything was changed.
const PERIOD: Duration = Duration::from_secs(1);

/// By what a change is noticed.
type Noticed = (Arc<Config>, Option<SystemTime>, Vec<SessionId>);

impl Daemon {
    /// Notices rules that changed. Ends with the daemon.
    pub async fn mind_rules(self: Arc<Self>) {
        let mut last: Option<Noticed> = None;
        loop {
            let now = self.noticed();
            let same = last.as_ref().is_some_and(|(config, folders, sessions)| {
                Arc::ptr_eq(config, &now.0) && (folders, sessions) == (&now.1, &now.2)
            });
            if !same && !now.2.is_empty() {
                match self.freeze_what_has_more().await {
                    Ok(()) => last = Some(now),
                    Err(error) => tracing::error!(%error, "rules cannot be compared with sessions"),
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn noticed(&self) -> Noticed {
        let changed = |file: &Path| std::fs::metadata(file).and_then(|facts| facts.modified()).ok();
        let mut sessions = self.watched_sessions();
        sessions.sort();
        (self.config.last_good(), changed(&self.layout.folders_file()), sessions)
    }

    /// Freezes every session that was given more than the rules allow now.
    ///
    /// # Errors
    /// When the state cannot be read, or a share does not obey.
    pub async fn freeze_what_has_more(&self) -> Result<(), ApiError> {
        let _one_at_a_time = self.admission.lock().await;
        let facts = self.facts(&self.config.last_good())?;
        let world = facts.world();
        for open in &facts.open {
            let mut found = stricter(&world, open);
            found.retain(|reason| !open.granted.agreed.contains(reason));
            if let Some(id) = open.session.as_ref().filter(|_| !found.is_empty()) {
                self.freeze(id, found).await?;
            }
        }
        Ok(())
    }

    async fn freeze(&self, id: &SessionId, reasons: Vec<String>) -> Result<(), ApiError> {
        let _switching = self.protect.switching.lock().await;
        let session = self.session(id)?;
        let mut with_it = self.store.sessions().map_err(failed)?;
        with_it.retain(|other| {
            let has_the_share = session.folder.is_some() && beside(&session, other);
            other.state == SessionState::Running && (other.id == *id || has_the_share)
        });
        if !with_it.iter().any(|other| other.id == *id) {
            return Ok(());
        }
        // The share first: what is asked of it from here on waits.
        if let Some(folder) = &session.folder
            && let Err(error) =
                self.machines.set_share(&session.machine, folder, ShareMode::Held).await
        {
            tracing::error!(session = %id, %error, "its share cannot be held: it is closed");
            self.machines.set_share(&session.machine, folder, ShareMode::Closed).await?;
        }
        for mut other in with_it {
            other.state = SessionState::Frozen;
            other.stricter = if other.id == *id {
                reasons.clone()
            } else {
                vec![format!("it has its folder in common with session {id}, which is frozen")]
            };
            tracing::error!(session = %other.id, reasons = other.stricter.join("; "), "frozen: the rules became stricter");
            self.store.set_session(&other).map_err(failed)?;
        }
        Ok(())
    }

    /// Somebody agreed that a session goes on with what it was given.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(super) fn agree(&self, session: &mut Session) -> Result<(), ApiError> {
        let reasons = std::mem::take(&mut session.stricter);
        if let Some(mut granted) = self.store.granted(&session.id).map_err(failed)? {
            granted.agreed.extend(reasons);
            self.store.set_granted(&session.id, &granted).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets a share answer again that was held for a rule's sake.
    ///
    /// # Errors
    /// When it does not obey.
    pub(super) async fn let_go_on(&self, session: &Session) -> Result<(), ApiError> {
        let Some(folder) = &session.folder else { return Ok(()) };
        let mode = match self.granted_access(session) {
            Access::Rw => ShareMode::ReadWrite,
            Access::Ro => ShareMode::ReadOnly,
        };
        self.machines.set_share(&session.machine, folder, mode).await
    }
}

/// What is to be seen of a session that has more than the rules allow.
pub(super) fn problem(session: &Session) -> Option<Problem> {
    if session.stricter.is_empty() || session.state != SessionState::Frozen {
        return None;
    }
    let id = &session.id;
    let what = if session.folder.is_some() { "undo" } else { "stop" };
    Some(Problem {
        severity: Severity::Error,
        message: format!(
            "session {id} is frozen, because the rules became stricter: {} (to let it go on as it \
             is: ringfence session resume {id})",
            session.stricter.join("; ")
        ),
        command: Some(format!("ringfence session {what} {id}")),
    })
}
