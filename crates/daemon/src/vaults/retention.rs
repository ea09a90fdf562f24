//! Letting snapshots go: what it would free, and doing it.
//!
//! Must not: choose which. That is decided by the keep rule and agreed to by a person.

use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_vault::{PruneForecast, PruneReport, PruneRequest, SnapshotId};

use super::{Vaults, blocking, convert, vault_error};
use crate::supervisor::report::Report;

impl Vaults {
    /// Bytes in a folder's vault.
    pub(crate) async fn size(&self, folder: &Folder) -> Result<u64, ApiError> {
        let vault = self.vault(folder).await?;
        blocking(move || vault.size()).await.map_err(|error| vault_error(&error))
    }

    /// What letting these snapshots go would free.
    pub(crate) async fn forecast_prune(
        &self,
        folder: &Folder,
        forget: &[String],
    ) -> Result<PruneForecast, ApiError> {
        let vault = self.vault(folder).await?;
        let request = PruneRequest::new(ids(forget)?);
        blocking(move || vault.forecast_prune(&request)).await.map_err(|error| {
            vault_error(&error)
                .hint(format!("look closer: ringfence backup check {}", folder.path.display()))
        })
    }

    /// Lets them go. The caller holds the writer's turn.
    pub(crate) async fn prune_in_turn(
        &self,
        folder: &Folder,
        forget: &[String],
        report: &Report,
    ) -> Result<PruneReport, ApiError> {
        let vault = self.vault(folder).await?;
        let mut request = PruneRequest::new(ids(forget)?);
        request.progress = Some(convert::progress(report, "pruning".into()));
        blocking(move || vault.prune(&request)).await.map_err(|error| {
            vault_error(&error)
                .hint(format!("look closer: ringfence backup check {}", folder.path.display()))
        })
    }
}

fn ids(forget: &[String]) -> Result<Vec<SnapshotId>, ApiError> {
    let ids = forget.iter().map(|id| id.parse::<SnapshotId>());
    ids.collect::<Result<_, _>>().map_err(|error| vault_error(&error))
}
