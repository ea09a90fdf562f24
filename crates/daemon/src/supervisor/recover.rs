//! After a start of the daemon, whatever ended the last one: machines that live are adopted,
//! sessions are watched again, what was half-made is put out of the way.

use std::sync::Arc;

use ringfence_model::session::SessionState;

use super::Daemon;
use crate::host::clock;

impl Daemon {
    /// Finds again what an earlier daemon left. Called before the first request is answered;
    /// what takes long (closing sessions) goes on behind.
    pub async fn recover(self: Arc<Self>) {
        self.finish_restores().await;
        self.machines.adopt().await;
        let sessions = match self.store.sessions() {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::error!(%error, "sessions cannot be read");
                return;
            }
        };
        for mut session in sessions {
            match session.state {
                SessionState::Running | SessionState::Frozen | SessionState::Closing => {
                    self.watch(&session.id);
                }
                SessionState::Preparing => {
                    // Its process may have been started just before the daemon died.
                    if self.process_of(&session.id).is_some() {
                        session.state = SessionState::Running;
                    } else {
                        session.state = SessionState::Failed {
                            reason: "the daemon ended while it was being prepared".into(),
                        };
                        session.ended = Some(clock::now());
                    }
                    if let Err(error) = self.store.set_session(&session) {
                        tracing::error!(id = %session.id, %error, "a session cannot be written");
                    }
                    if session.state == SessionState::Running {
                        self.watch(&session.id);
                    }
                }
                SessionState::Ended | SessionState::Failed { .. } => {}
            }
        }
        self.machines.close_unused(|machine, folder| self.any_session(machine, folder)).await;
        let folders = self.store.folders().map(|file| file.folders).unwrap_or_default();
        tokio::spawn(async move {
            for folder in folders {
                self.store_kept(&folder).await;
            }
        });
    }
}
