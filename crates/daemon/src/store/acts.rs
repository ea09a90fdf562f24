//! What people did to a folder's backup and must not be forgotten by a restart: who
//! turned it off or paused it, and which snapshots are pinned. Beside it how its vault grew.

use std::path::PathBuf;

use ringfence_model::growth::Growth;
use ringfence_model::name::FolderId;
use ringfence_model::protection::{OptOut, Pause};
use ringfence_model::prune::Pin;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// One folder's record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderActs {
    /// Who turned its backup off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// The last pause, which may be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Snapshots that no prune lets go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

impl Store {
    fn growth_file(&self, folder: &FolderId) -> PathBuf {
        self.layout.state.join("growth").join(format!("{folder}.json"))
    }

    /// How large a folder's vault was of late.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn growth(&self, folder: &FolderId) -> Result<Growth, StoreError> {
        Ok(Self::read(&self.growth_file(folder))?.unwrap_or_default())
    }

    /// Writes how large it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_growth(&self, folder: &FolderId, growth: &Growth) -> Result<(), StoreError> {
        Self::write(&self.growth_file(folder), growth)
    }

    fn acts_file(&self, folder: &FolderId) -> PathBuf {
        self.layout.state.join("acts").join(format!("{folder}.json"))
    }

    /// What people did to a folder's backup.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn acts(&self, folder: &FolderId) -> Result<FolderActs, StoreError> {
        Ok(Self::read(&self.acts_file(folder))?.unwrap_or_default())
    }

    /// Writes it down. The caller keeps others from doing so meanwhile.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_acts(&self, folder: &FolderId, acts: &FolderActs) -> Result<(), StoreError> {
        Self::write(&self.acts_file(folder), acts)
    }
}
