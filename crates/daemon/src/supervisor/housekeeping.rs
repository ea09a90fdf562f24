//! What goes on by itself: idle machines are stopped, idle vaults give back memory, gateways
//! hear of new resolvers. What may take long has a loop of its own: the watchdog minds the others.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use super::Daemon;
use super::pulse::Round;
use super::report::Report;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// A machine without a session for so long is stopped; its disk stays.
const IDLE: Duration = Duration::from_secs(30 * 60);

impl Daemon {
    /// Looks after what nobody asks for. Ends with the daemon.
    pub async fn keep_house(self: Arc<Self>) {
        let mut resolvers = changed(RESOLVERS);
        loop {
            tokio::time::sleep(self.pulse.rest(PERIOD)).await;
            let now = changed(RESOLVERS);
            if now != resolvers {
                resolvers = now;
                let text = std::fs::read_to_string(RESOLVERS).unwrap_or_default();
                self.machines.announce_resolvers(&text).await;
            }
            self.vaults.let_rest();
            self.pulse.beat(Round::House);
        }
    }

    /// Stops machines that nobody uses. Ends with the daemon.
    pub async fn mind_idle(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            self.stop_idle().await;
        }
    }

    /// Ends sessions whose share was lost: a folder that does not answer is no place to work.
    pub async fn hear_of_lost_shares(self: Arc<Self>) {
        let taken = self.lost_shares.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut lost) = taken else { return };
        while let Some((machine, folder)) = lost.recv().await {
            for session in self.store.sessions().unwrap_or_default() {
                let uses = session.machine == machine && session.folder.as_ref() == Some(&folder);
                if !uses || session.state.is_final() {
                    continue;
                }
                let reason =
                    "the process that showed it the folder ended; it was stopped".to_owned();
                self.broken
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(session.id.clone(), reason);
                let daemon = Arc::clone(&self);
                tokio::spawn(async move {
                    if let Err(error) = daemon.stop_session(&session.id).await {
                        tracing::error!(id = %session.id, %error, "a session could not be stopped");
                    }
                });
            }
        }
    }

    async fn stop_idle(&self) {
        let Ok(sessions) = self.store.sessions() else { return };
        for name in self.machines.idle(IDLE) {
            let busy =
                sessions.iter().any(|session| session.machine == name && !session.state.is_final());
            if busy {
                self.machines.touch(&name);
                continue;
            }
            tracing::info!(%name, "no session for {} min: stopping", IDLE.as_secs() / 60);
            if let Err(error) = self.machines.stop(&name, &Report::nobody()).await {
                tracing::warn!(%name, %error, "an idle machine could not be stopped");
            }
        }
    }
}

/// Where the host names its resolvers.
const RESOLVERS: &str = "/etc/resolv.conf";

fn changed(file: &str) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|facts| facts.modified()).ok()
}
