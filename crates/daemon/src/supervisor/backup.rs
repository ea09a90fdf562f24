//! Folders and their rules, and snapshots on request.

use std::path::Path;

use ringfence_model::api::{BackupKeyView, FolderSetRequest};
use ringfence_model::config::FOLDER_KEYS;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::machine::LimitWords;
use ringfence_model::pattern::Pattern;
use ringfence_model::profile::Network;
use ringfence_model::status::FolderStatus;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::config_file::FolderEdit;
use crate::store::ProtectionRecord;

impl Daemon {
    /// Registers a directory and takes its first snapshot.
    ///
    /// # Errors
    /// When it cannot be a folder or its snapshot fails; it then stays registered.
    pub async fn add_folder(
        &self,
        directory: &Path,
        report: &Report,
    ) -> Result<FolderStatus, ApiError> {
        let returned = self.waits_for_return(directory)?;
        let folder = self.register(directory)?;
        if returned {
            let vault = self.layout.vault(&folder.id);
            report.note(format!("its earlier snapshots are there again: {}", vault.display()));
        }
        self.config.current()?;
        if self.standing(&folder).around_sessions() {
            self.snapshot(&folder, Want::whole(SnapshotKind::Manual), report).await?;
        }
        self.protect.tell();
        self.folder_status(&folder)
    }

    /// Changes a folder's rules in the configuration file.
    ///
    /// # Errors
    /// When the folder is unknown or the file cannot be edited.
    pub async fn set_folder(&self, request: &FolderSetRequest) -> Result<FolderStatus, ApiError> {
        let folder = self.registered(&request.path)?;
        self.config.edit_folder(&folder.path, &edits(request)?)?;
        self.folder_status(&folder)
    }

    /// Takes a snapshot now, for which everything is looked at.
    ///
    /// # Errors
    /// When the folder is unknown or the snapshot fails.
    pub async fn backup_now(
        &self,
        directory: &Path,
        report: &Report,
    ) -> Result<SnapshotView, ApiError> {
        let folder = self.registered(directory)?;
        self.snapshot(&folder, Want::whole(SnapshotKind::Manual), report).await
    }

    /// Accepts that most files of a folder are gone: a person looked, and it is right.
    ///
    /// # Errors
    /// When the folder is unknown or its record cannot be written.
    pub async fn backup_accept(&self, directory: &Path) -> Result<FolderStatus, ApiError> {
        let folder = self.registered(directory)?;
        // The record is written by whoever takes a snapshot, so this takes its turn.
        let turn = self.vaults.turn(&folder.id).await;
        let record = self.store.protection(&folder.id).map_err(failed)?;
        let accepted = ProtectionRecord { fullest: None, shrunken: None, ..record };
        self.store.set_protection(&folder.id, &accepted).map_err(failed)?;
        drop(turn);
        tracing::warn!(folder = %folder.path.display(), "fewer files accepted by a person");
        self.folder_status(&folder)
    }

    /// The password of a folder's vault. A secret.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn backup_key(&self, directory: &Path) -> Result<BackupKeyView, ApiError> {
        let folder = self.registered(directory)?;
        let key = self.vaults.key(&folder)?;
        let copies = self.copy_statuses(&folder, &self.config.last_good())?;
        Ok(BackupKeyView {
            key: key.reveal().to_owned(),
            check_word: key.check_word(),
            vault: self.layout.vault(&folder.id),
            copies: copies.into_iter().map(|copy| copy.target).collect(),
            id: folder.id,
            folder: folder.path,
        })
    }
}

/// The changes that a request asks for, in an order in which each finds what it needs.
fn edits(request: &FolderSetRequest) -> Result<Vec<FolderEdit>, ApiError> {
    let words = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
    let more = &request.more;
    let mut edits = Vec::new();
    edits.extend(unset(&more.unset, &FOLDER_KEYS)?.map(FolderEdit::Unset));
    edits.extend(request.profiles.clone().map(FolderEdit::Profiles));
    edits.extend(more.deny.clone().map(FolderEdit::Deny));
    edits.extend(request.access.map(FolderEdit::Access));
    edits.extend(request.hide.as_deref().map(|hide| FolderEdit::Hide(words(hide))));
    edits.extend(request.protect.as_deref().map(|names| FolderEdit::Protect(words(names))));
    edits.extend(request.exit_check.map(FolderEdit::ExitCheck));
    if let Some(network) = more.network {
        edits.push(FolderEdit::Network(network));
        // The hosts belong to that one ceiling.
        if network != Network::Allowlist {
            edits.push(FolderEdit::Unset("allow".into()));
        }
    }
    edits.extend(more.allow.clone().map(FolderEdit::Allow));
    if more.limits != LimitWords::default() {
        edits.push(FolderEdit::Limits(more.limits));
    }
    edits.extend(more.secrets.clone().map(FolderEdit::Secrets));
    edits.extend(more.share_anyway.clone().map(FolderEdit::ShareAnyway));
    Ok(edits)
}

/// Keys that may be unset.
///
/// # Errors
/// When one is no such key.
pub(super) fn unset<'a>(
    keys: &'a [String],
    known: &[&str],
) -> Result<impl Iterator<Item = String> + use<'a>, ApiError> {
    match keys.iter().find(|key| !known.contains(&key.as_str())) {
        None => Ok(keys.iter().cloned()),
        Some(key) => {
            let message = format!("`{key}` cannot be unset; one of {}", known.join(", "));
            Err(ApiError::new(ErrorKind::Usage, message))
        }
    }
}
