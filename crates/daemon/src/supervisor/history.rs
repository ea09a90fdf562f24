//! Looking back: history, differences, single files of old states.

use std::path::Path;

use axum::body::Body;
use ringfence_model::api::{DiffRequest, HistoryQuery, ShowQuery};
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::health::LeftOut;
use ringfence_model::history::{DiffView, HistoryView, ShowView};
use ringfence_model::session::SessionState;

use super::{Daemon, failed};
use crate::vaults::{self, Comparison};

/// Leaving out less than this is not worth the trouble…
const MANY_BYTES: u64 = 64 * 1024 * 1024;
/// … unless it is that many files and directories.
const MANY_ENTRIES: u64 = 5000;
/// Bytes of a file on the way from a vault to whoever asked.
const ON_THE_WAY: usize = 256 * 1024;

impl Daemon {
    /// The snapshots of a folder, newest first; of a path: those in which it changed.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryView, ApiError> {
        let folder = self.registered(&query.folder)?;
        let path = vaults::decoded(query.path_b64.as_deref().unwrap_or_default())?;
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut view = self.vaults.history(&folder, path, limit).await?;
        self.mark_pinned(&folder, view.snapshots.iter_mut().map(|entry| &mut entry.snapshot));
        Ok(view)
    }

    /// Directories of a folder that are worth leaving out of its backup, the largest first:
    /// a tool makes them again, and they are large.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn worth_leaving_out(&self, directory: &Path) -> Result<Vec<LeftOut>, ApiError> {
        let mut found = self.vaults.giants(&self.registered(directory)?).await?;
        found.retain(|one| one.bytes >= MANY_BYTES || one.entries >= MANY_ENTRIES);
        Ok(found)
    }

    /// What changed between two states.
    ///
    /// # Errors
    /// When a state is unknown or the vault cannot be read.
    pub async fn diff(&self, request: DiffRequest) -> Result<DiffView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let from = match &request.from {
            Some(from) => from.clone(),
            None => self.before_last_session(&folder)?,
        };
        let from = self.vaults.find(&folder, &from).await?.id;
        let to = match &request.to {
            Some(to) => Some(self.vaults.find(&folder, to).await?.id),
            None => None,
        };
        let paths = vaults::exact(&request.paths)?;
        self.vaults.compare(&folder, Comparison { from, to, text: request.text, paths }).await
    }

    /// The opening snapshot of the last session in a folder, or the newest snapshot.
    fn before_last_session(&self, folder: &Folder) -> Result<String, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let last = sessions.iter().rev().find(|session| {
            session.folder.as_ref() == Some(&folder.id)
                && session.opening_snapshot.is_some()
                && !matches!(session.state, SessionState::Preparing)
        });
        Ok(last
            .and_then(|session| session.opening_snapshot.clone())
            .unwrap_or_else(|| "latest".into()))
    }

    /// One path of a snapshot; of a directory also what is in it.
    ///
    /// # Errors
    /// When there is no such path.
    pub async fn entry(&self, query: ShowQuery) -> Result<ShowView, ApiError> {
        let folder = self.registered(&query.folder)?;
        let path = vaults::decoded(&query.path_b64)?;
        self.vaults.look(&folder, &query.snapshot, path).await
    }

    /// Streams one file of a snapshot.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn show(&self, query: ShowQuery) -> Result<Body, ApiError> {
        let folder = self.registered(&query.folder)?;
        let path = vaults::decoded(&query.path_b64)?;
        self.stream_of(&folder, &query.snapshot, path).await
    }

    /// One file of a snapshot, piece by piece.
    pub(super) async fn stream_of(
        &self,
        folder: &Folder,
        snapshot: &str,
        path: Vec<u8>,
    ) -> Result<Body, ApiError> {
        let (near, far) = tokio::io::duplex(ON_THE_WAY);
        let writer = tokio_util::io::SyncIoBridge::new(near);
        self.vaults.stream(folder, snapshot, path, writer).await?;
        Ok(Body::from_stream(tokio_util::io::ReaderStream::new(far)))
    }
}
