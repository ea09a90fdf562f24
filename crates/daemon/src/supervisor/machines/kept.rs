//! The keepers beside a machine's shares: told when sessions begin and end, asked for room.

use std::io;
use std::path::PathBuf;

use ringfence_model::error::ApiError;
use ringfence_model::folder::Access;
use ringfence_model::name::{FolderId, MachineName, SessionId};
use ringfence_model::status::ShareMode;
use ringfence_share::SnapshotStart;

use super::{Machines, machine_error};
use crate::keepers::{self, KeeperSockets};
use crate::shares;
use crate::store::ShareRuntime;

impl Machines {
    /// The share of a folder that may write, while it lives.
    fn writing_share(&self, name: &MachineName, folder: &FolderId) -> io::Result<ShareRuntime> {
        self.shares_of(name)
            .remove(folder)
            .filter(|share| share.process.lives() && share.access == Access::Rw)
            .ok_or_else(|| io::Error::other("the folder's share has ended"))
    }

    /// Where that share listens.
    pub(super) fn writing_control(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) -> Result<PathBuf, ApiError> {
        let share = self.writing_share(name, folder).map_err(|error| machine_error(name, error))?;
        Ok(self.share_sockets(name, &share).control)
    }

    fn keeper_of(&self, name: &MachineName, folder: &FolderId) -> io::Result<KeeperSockets> {
        let share = self.writing_share(name, folder)?;
        Ok(KeeperSockets::of(&self.sockets(name), &share.device))
    }

    /// Whether a share may be used once more: nobody uses it without its keeper.
    pub(super) async fn may_go_on(&self, name: &MachineName, share: &ShareRuntime) -> bool {
        if share.access == Access::Ro {
            return true;
        }
        let kept = KeeperSockets::of(&self.sockets(name), &share.device);
        if keepers::get(&kept.control).await.is_ok() {
            return true;
        }
        // One that a session works with notices at its next change, and ends that session.
        let control = self.share_sockets(name, share).control;
        !shares::get(&control).await.is_ok_and(|mode| mode == ShareMode::Closed)
    }

    /// Has a session's changes written down.
    ///
    /// # Errors
    /// When the keeper does not obey: nothing may be written then.
    pub(in crate::supervisor) async fn begin_journal(
        &self,
        name: &MachineName,
        folder: &FolderId,
        session: &SessionId,
    ) -> Result<(), ApiError> {
        let begun = async {
            let keeper = self.keeper_of(name, folder)?;
            keepers::begin(&keeper.control, session).await
        };
        begun.await.map(drop).map_err(|error| {
            machine_error(name, error)
                .hint(format!("start it afresh: ringfence machine stop {name}"))
        })
    }

    /// A session writes no more. One that could only read has no journal.
    ///
    /// # Errors
    /// When the keeper is gone or cannot write.
    pub(in crate::supervisor) async fn end_journal(
        &self,
        name: &MachineName,
        folder: &FolderId,
        session: &SessionId,
    ) -> io::Result<()> {
        if self.shares_of(name).get(folder).is_some_and(|share| share.access == Access::Ro) {
            return Ok(());
        }
        let keeper = self.keeper_of(name, folder)?;
        keepers::end(&keeper.control, session).await.map(drop)
    }

    /// Tells a share from when on what it destroys must be kept.
    ///
    /// # Errors
    /// When the share does not obey.
    pub(in crate::supervisor) async fn trust_snapshot(
        &self,
        name: &MachineName,
        folder: &FolderId,
        stored: Option<SnapshotStart>,
    ) -> Result<(), ApiError> {
        let told = shares::stored(&self.writing_control(name, folder)?, stored).await;
        told.map_err(|error| machine_error(name, error))
    }

    /// Tells the keeper, if there still is one, that what a session left will be released.
    ///
    /// # Errors
    /// When it still writes there: then nothing of it may go.
    pub(in crate::supervisor) async fn forget_kept(
        &self,
        name: &MachineName,
        folder: &FolderId,
        session: &SessionId,
    ) -> io::Result<()> {
        match self.keeper_of(name, folder) {
            Ok(keeper) => keepers::forget(&keeper.control, session).await.map(drop),
            // With its share it has ended.
            Err(_) => Ok(()),
        }
    }

    /// Has a keeper count anew. Best effort: it would only believe that it has less room.
    pub(in crate::supervisor) async fn recount_kept(&self, name: &MachineName, folder: &FolderId) {
        let counted = async {
            let keeper = self.keeper_of(name, folder)?;
            keepers::recount(&keeper.control).await
        };
        if let Err(error) = counted.await {
            tracing::warn!(%name, %folder, %error, "a keeper did not count anew");
        }
    }

    /// Whether something could not be destroyed because there was no room to keep it.
    pub(in crate::supervisor) async fn is_full(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) -> bool {
        let Ok(keeper) = self.keeper_of(name, folder) else { return false };
        keepers::get(&keeper.control).await.is_ok_and(|report| report.exhausted)
    }
}
