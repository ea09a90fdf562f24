//! What the exit check found of each session, and what of a folder it holds back: kept so that
//! a kill -9 at any point leaves nothing half held and nothing forgotten.

use std::path::PathBuf;

use ringfence_model::exit_check::{ExitCheck, HeldPath};
use ringfence_model::name::{FolderId, SessionId};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// What is held back from one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeldFile {
    /// Each path once.
    pub paths: Vec<HeldPath>,
}

impl Store {
    /// What is held back from a folder.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn held(&self, folder: &FolderId) -> Result<HeldFile, StoreError> {
        Ok(Self::read(&self.layout.held(folder))?.unwrap_or_default())
    }

    /// Writes it down. The caller keeps others from doing so meanwhile.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_held(&self, folder: &FolderId, held: &HeldFile) -> Result<(), StoreError> {
        Self::write(&self.layout.held(folder), held)
    }

    fn exit_check_file(&self, id: &SessionId) -> PathBuf {
        self.layout.session(id).join("exit-check.json")
    }

    /// What the exit check of a session found; `None`: it was not made.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn exit_check(&self, id: &SessionId) -> Result<Option<ExitCheck>, StoreError> {
        Self::read(&self.exit_check_file(id))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_exit_check(&self, id: &SessionId, check: &ExitCheck) -> Result<(), StoreError> {
        Self::write(&self.exit_check_file(id), check)
    }
}
