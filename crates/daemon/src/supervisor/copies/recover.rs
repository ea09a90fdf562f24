//! A folder out of its copy, on a computer that knows nothing but the key. The copy is only
//! read; nothing that exists here is overwritten.

use std::path::{Path, PathBuf};

use ringfence_model::api::{RecoverRequest, RecoverView};
use ringfence_model::copy::CopyTarget;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::SnapshotKind;
use ringfence_model::name::FolderId;
use ringfence_vault::VaultKey;

use super::super::protect::Want;
use super::super::report::Report;
use super::super::{Daemon, failed, folders};
use crate::host::{clock, facts};
use crate::vaults::vault_error;

impl Daemon {
    /// Looks at a copy, restores a state of it into an empty directory, and with `register`
    /// protects that directory from now on, with the copy's vault.
    ///
    /// # Errors
    /// When the copy cannot be reached, the key is wrong, or something is in the way.
    pub async fn recover_copy(
        &self,
        request: RecoverRequest,
        report: &Report,
    ) -> Result<RecoverView, ApiError> {
        let home = facts::environment().home.unwrap_or_else(|| PathBuf::from("/"));
        let named = CopyTarget::parse(&request.target, &home)
            .map_err(|error| ApiError::new(ErrorKind::Usage, error.to_string()))?;
        let key = || VaultKey::read(&request.key).map_err(|error| vault_error(&error));
        key()?;
        report.progress(format!("looking at {named}"), None);
        let copy = self.vaults.find_copy(&named).await?;
        let id = copy
            .last_component()
            .and_then(|name| FolderId::new(name).ok())
            .unwrap_or_else(|| folders::new_id(&request.to));
        // What is protected from now on lies where vaults lie; what is only looked into does not.
        let dir = if request.register {
            self.may_recover_into(&request.to, &id)?;
            self.layout.vault(&id)
        } else {
            self.layout.recovering(&id)
        };
        let recovered = self.vaults.open_copy(&copy, key()?, dir.clone(), report).await?;
        let mut view = RecoverView {
            copy: copy.to_string(),
            folder: recovered.folder.clone(),
            to: request.to.clone(),
            snapshots: recovered.snapshots.clone(),
            restored: None,
            registered: false,
        };
        if !request.list_only {
            let to = empty_directory(&request.to)?;
            let folder =
                Folder { id: id.clone(), path: to, device: 0, inode: 0, registered: clock::now() };
            let at = request.at.as_deref();
            view.restored = Some(self.vaults.restore_copy(&recovered, at, &folder, report).await?);
            view.to = folder.path;
        }
        if request.register {
            self.vaults.keep_copy(recovered, key()?, self.layout.vault_key(&id), report).await?;
            let folder = self.register_as(&view.to, Some(id))?;
            self.snapshot(&folder, Want::whole(SnapshotKind::Manual), report).await?;
            self.protect.tell();
            view.registered = true;
        } else {
            drop(recovered);
            if let Err(error) = std::fs::remove_dir_all(&dir) {
                tracing::warn!(%error, dir = %dir.display(), "what was fetched could not be removed");
            }
        }
        Ok(view)
    }

    /// Said before anything is fetched.
    fn may_recover_into(&self, to: &Path, id: &FolderId) -> Result<(), ApiError> {
        let registered = self.store.folders().map_err(failed)?.folders;
        if let Some(known) = registered.iter().find(|folder| folder.id == *id) {
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!("this computer keeps that vault already, for {}", known.path.display()),
            )
            .hint(format!("ringfence restore --to DIR --folder {}", known.path.display())));
        }
        let place = super::resolved(to);
        self.may_register(&place)
    }
}

/// The directory, made if it is missing; one that holds something is refused.
fn empty_directory(to: &Path) -> Result<PathBuf, ApiError> {
    let fail = |why: String| ApiError::new(ErrorKind::Failed, format!("{} {why}", to.display()));
    if !to.is_absolute() {
        return Err(fail("must be an absolute path".into()));
    }
    if let Ok(mut entries) = std::fs::read_dir(to) {
        if entries.next().is_some() {
            return Err(fail("is not empty, and nothing is overwritten".into())
                .hint("name a directory that does not exist yet"));
        }
    } else {
        std::fs::create_dir_all(to).map_err(|error| fail(format!("cannot be made: {error}")))?;
    }
    std::fs::canonicalize(to).map_err(failed)
}
