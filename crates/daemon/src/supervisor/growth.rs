//! How large the vaults are and will be: noted once an hour, shown in status, asked about
//! early. Owns the noting; the forecast is in the model. Must not: delete anything.

use std::sync::Arc;
use std::time::Duration;

use ringfence_model::config::Config;
use ringfence_model::folder::Folder;
use ringfence_model::growth::{Pressure, Sample, VaultSize, limit_of};
use ringfence_model::size::Size;
use ringfence_model::status::{FolderStatus, Problem, Severity};

use super::{Daemon, folders};
use crate::host::{clock, facts};

/// Pause between two looks whether an hour has passed.
const PERIOD: Duration = Duration::from_secs(600);

impl Daemon {
    /// Notes the vaults' sizes. Ends with the daemon.
    pub async fn note_growth(self: Arc<Self>) {
        loop {
            self.note_sizes().await;
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Notes the sizes that are due.
    pub async fn note_sizes(&self) {
        let folders = self.store.folders().unwrap_or_default().folders;
        for folder in folders {
            // None is made here: that is the business of the first snapshot.
            if !self.layout.vault(&folder.id).join("config").exists() {
                continue;
            }
            let (at, mut growth) =
                (clock::now(), self.store.growth(&folder.id).unwrap_or_default());
            if !growth.is_due(at) {
                continue;
            }
            match self.vaults.size(&folder).await {
                Ok(bytes) => growth.note(Sample { at, bytes }),
                // Said where it matters: by the next snapshot or check.
                Err(error) => {
                    tracing::warn!(folder = %folder.id, %error, "the vault's size is not known");
                    continue;
                }
            }
            if let Err(error) = self.store.set_growth(&folder.id, &growth) {
                tracing::error!(folder = %folder.id, %error, "the vault's size could not be written down");
            }
        }
    }

    /// A vault's size against its limit, as last noted.
    pub(super) fn vault_size(&self, folder: &Folder, config: &Config) -> Option<VaultSize> {
        let vault = self.layout.vault(&folder.id);
        let limit = config.limit_of(&folders::rules_of(&folder.path, config));
        let limit = limit_of(limit, facts::disk_size(&vault)?);
        self.store.growth(&folder.id).ok()?.forecast(limit)
    }
}

/// What status asks about a vault's size; nothing while there is time.
pub(super) fn problem(folder: &FolderStatus) -> Option<Problem> {
    let size = folder.size?;
    let path = folder.path.display();
    let (bytes, limit) = (Size::bytes(size.bytes), Size::bytes(size.limit));
    let (severity, message) = match (size.pressure(), size.days_left) {
        (Pressure::Fine, _) => return None,
        (Pressure::Over, _) => (
            Severity::Error,
            format!(
                "the vault of {path} holds {bytes}, over its limit of {limit}; snapshots go on"
            ),
        ),
        (Pressure::Near, Some(days)) => (
            Severity::Warning,
            format!(
                "the vault of {path} holds {bytes} of {limit}, and is full in {days} days at the pace of late"
            ),
        ),
        (Pressure::Near, None) => {
            (Severity::Warning, format!("the vault of {path} holds {bytes} of {limit}"))
        }
    };
    let command = format!(
        "ringfence backup prune {path} (or a larger `limit` in [folder.backup]: ringfence config show)"
    );
    Some(Problem { severity, message, command: Some(command) })
}
