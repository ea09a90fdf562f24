//! A folder's own file, out of a snapshot alone: nothing live is read, no link is followed.

use ringfence_model::config::{HINT_FILE, MOST_HINT};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_vault::EntryKind;

use super::{Vaults, blocking, vault_error};

/// What a snapshot has under the file's name.
pub(crate) struct StoredHint {
    /// The snapshot.
    pub(crate) snapshot: String,
    /// The file's bytes; `None`: it has none.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Vaults {
    /// The folder's own file as it was in a snapshot.
    ///
    /// # Errors
    /// When there is no such snapshot, or what has the name is no small regular file.
    pub(crate) async fn hint(
        &self,
        folder: &Folder,
        snapshot: &str,
    ) -> Result<StoredHint, ApiError> {
        let id = self.find(folder, snapshot).await?.id;
        let vault = self.vault(folder).await?;
        let found = blocking(move || {
            let view = vault.view(id)?;
            let Some(entry) = view.looker()?.entry(HINT_FILE.as_bytes()) else {
                return Ok(Ok(None));
            };
            if entry.kind != EntryKind::File || entry.size > MOST_HINT {
                return Ok(Err(()));
            }
            let mut bytes = Vec::new();
            view.read(HINT_FILE.as_bytes(), &mut bytes)?;
            Ok(Ok(Some(bytes)))
        });
        let bytes = found.await.map_err(|error| vault_error(&error))?.map_err(|()| {
            let file = folder.path.join(HINT_FILE);
            let what =
                format!("{} is not a regular file of at most {MOST_HINT} bytes", file.display());
            ApiError::new(ErrorKind::Config, what)
        })?;
        Ok(StoredHint { snapshot: id.to_string(), bytes })
    }
}
