//! What people approved of folders' own files: the text itself, so that it counts also when the
//! snapshot that it was read from is let go.

use std::path::PathBuf;

use ringfence_model::name::FolderId;
use ringfence_model::protection::Actor;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// The approved file of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedHint {
    /// The snapshot in which it was read.
    pub snapshot: String,
    /// When somebody approved it.
    pub approved: jiff::Timestamp,
    /// Who did.
    pub by: Actor,
    /// What stands in it.
    pub text: String,
}

/// The record; `None`: there is no file, and somebody approved that.
#[derive(Debug, Default, Serialize, Deserialize)]
struct HintFile {
    hint: Option<ApprovedHint>,
}

impl Store {
    fn hint_file(&self, folder: &FolderId) -> PathBuf {
        self.layout.state.join("hints").join(format!("{folder}.json"))
    }

    /// The approved file of a folder.
    ///
    /// # Errors
    /// When the record cannot be read: then nobody knows what it keeps from whom.
    pub fn hint(&self, folder: &FolderId) -> Result<Option<ApprovedHint>, StoreError> {
        let record: Option<HintFile> = Self::read(&self.hint_file(folder))?;
        Ok(record.and_then(|record| record.hint))
    }

    /// Writes it down. The caller keeps others from doing so meanwhile.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn set_hint(
        &self,
        folder: &FolderId,
        hint: Option<ApprovedHint>,
    ) -> Result<(), StoreError> {
        Self::write(&self.hint_file(folder), &HintFile { hint })
    }
}
