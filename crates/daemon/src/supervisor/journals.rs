//! Journals of sessions: begun before a session may write, ended when it may no more; and
//! what happens when there is no room left to keep what a session destroys.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::SnapshotKind;
use ringfence_model::kept::KeptView;
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;
use ringfence_model::status::ShareMode;
use ringfence_share::SnapshotStart;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::keepers::{self, Kept};

/// Pause between two looks whether keepers have room.
const PERIOD: Duration = Duration::from_secs(2);

impl Daemon {
    /// Has a session's changes written down. `before` was taken before its opening snapshot
    /// was begun: what that has need not be kept again.
    ///
    /// # Errors
    /// When the keeper does not obey: the session must not write.
    pub(super) async fn begin_journal(
        &self,
        session: &Session,
        folder: &Folder,
        before: SnapshotStart,
    ) -> Result<(), ApiError> {
        let stored = match &session.opening_snapshot {
            Some(opening) => self.what_is_stored(folder, opening, before).await?,
            None => None,
        };
        self.release_oldest(session, folder).await;
        self.machines.begin_journal(&session.machine, &folder.id, &session.id).await?;
        self.machines.trust_snapshot(&session.machine, &folder.id, stored).await
    }

    /// A snapshot that could not read everything says nothing about any one file.
    async fn what_is_stored(
        &self,
        folder: &Folder,
        snapshot: &str,
        before: SnapshotStart,
    ) -> Result<Option<SnapshotStart>, ApiError> {
        let snapshot = self.vaults.find(folder, snapshot).await?;
        Ok(snapshot.unreadable.is_empty().then_some(before))
    }

    /// Makes room for what a session will destroy. Best effort: without room, what cannot
    /// be kept is not destroyed.
    async fn release_oldest(&self, session: &Session, folder: &Folder) {
        let Ok(sessions) = self.store.sessions() else { return };
        let here =
            |other: &&Session| other.folder.as_ref() == Some(&folder.id) && !other.state.is_final();
        let live: BTreeSet<String> =
            sessions.iter().filter(here).map(|session| session.id.to_string()).collect();
        // Others at work may share the journal of one that has ended.
        if live.iter().any(|id| id.as_str() != session.id.as_str()) {
            return;
        }
        let store = self.layout.kept(&folder.id);
        let released = tokio::task::spawn_blocking(move || keepers::make_room(&store, &live)).await;
        match released {
            Ok(Ok(())) => self.machines.recount_kept(&session.machine, &folder.id).await,
            Ok(Err(error)) => {
                tracing::warn!(folder = %folder.id, %error, "nothing kept could be released")
            }
            Err(error) => {
                tracing::error!(folder = %folder.id, %error, "releasing what was kept failed")
            }
        }
    }

    /// A session writes no more. Best effort: a journal without an end is not relied on.
    pub(super) async fn end_journal(&self, session: &Session, folder: &Folder) {
        let (machine, id) = (&session.machine, &session.id);
        if let Err(error) = self.machines.end_journal(machine, &folder.id, id).await {
            tracing::warn!(session = %id, %error, "its journal could not be ended");
        }
    }

    /// Looks whether what sessions destroy can still be kept. Where it cannot, the share is
    /// held until a snapshot has everything that is there. Ends with the daemon.
    pub async fn mind_keepers(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            for id in self.watched_sessions() {
                let Ok(session) = self.session(&id) else { continue };
                let Ok(Some(folder)) = self.folder_by_id(session.folder.as_ref()) else { continue };
                if self.machines.is_full(&session.machine, &folder.id).await {
                    self.hold_until_stored(&session, &folder).await;
                }
            }
        }
    }

    /// What a session destroyed and is kept, in the order of the losses.
    ///
    /// # Errors
    /// When there is no such session or its journal cannot be read.
    pub async fn kept(&self, id: &SessionId) -> Result<Vec<KeptView>, ApiError> {
        Ok(self.kept_versions(id).await?.into_iter().map(|kept| kept.view).collect())
    }

    /// The content of one version that a session destroyed.
    ///
    /// # Errors
    /// When there is no such session or no version of that number.
    pub async fn kept_content(&self, id: &SessionId, number: u64) -> Result<Body, ApiError> {
        let all = self.kept_versions(id).await?;
        let kept = all.into_iter().find(|kept| kept.view.number == number).ok_or_else(|| {
            let what = format!("session {id} has no kept version {number}");
            ApiError::new(ErrorKind::Failed, what).hint(format!("ringfence session kept {id}"))
        })?;
        let file = tokio::fs::File::open(&kept.file).await.map_err(failed)?;
        let content = tokio::io::AsyncReadExt::take(file, kept.view.bytes);
        Ok(Body::from_stream(tokio_util::io::ReaderStream::new(content)))
    }

    async fn kept_versions(&self, id: &SessionId) -> Result<Vec<Kept>, ApiError> {
        let session = self.session(id)?;
        let Some(folder) = session.folder else { return Ok(Vec::new()) };
        let (store, id) = (self.layout.kept(&folder), id.to_string());
        let found = tokio::task::spawn_blocking(move || keepers::versions(&store, &id)).await;
        Ok(found.map_err(failed)?.map_err(failed)?.unwrap_or_default())
    }

    pub(super) fn watched_sessions(&self) -> Vec<SessionId> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let open = watched.iter().filter(|(_, closed)| closed.borrow().is_none());
        open.map(|(id, _)| id.clone()).collect()
    }

    async fn hold_until_stored(&self, session: &Session, folder: &Folder) {
        let (id, machine) = (&session.id, &session.machine);
        tracing::error!(session = %id, "no room to keep what it destroys: its writes wait for a snapshot");
        let stored = async {
            self.machines.set_share(machine, &folder.id, ShareMode::Held).await?;
            // Nothing is in flight: what the snapshot reads is all there is.
            let before = SnapshotStart::now();
            let want = Want { whole: true, ..Want::new(SnapshotKind::Periodic, Some(session)) };
            let taken = self.snapshot(folder, want, &Report::nobody()).await?;
            let stored = self.what_is_stored(folder, &taken.id, before).await?;
            self.machines.trust_snapshot(machine, &folder.id, stored).await?;
            self.machines.recount_kept(machine, &folder.id).await;
            match stored {
                Some(_) => Ok(()),
                None => Err(ApiError::new(
                    ErrorKind::Vault,
                    "some entries of the folder cannot be read, so not everything is in the vault",
                )),
            }
        };
        match stored.await {
            Ok(()) => {
                // A session that is closing meanwhile sets the mode that it needs itself.
                let _switching = self.protect.switching.lock().await;
                let running = self.session(id).is_ok_and(|now| now.state.is_at_work());
                if running
                    && let Err(error) =
                        self.machines.set_share(machine, &folder.id, ShareMode::ReadWrite).await
                {
                    tracing::error!(session = %id, %error, "a held share could not be let go");
                }
            }
            Err(error) => {
                tracing::error!(session = %id, %error, "it stays held: ringfence session stop {id}");
            }
        }
    }
}
