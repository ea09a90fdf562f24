//! Folders and their rules, and snapshots on request.

use std::path::Path;

use ringfence_model::api::{BackupKeyView, FolderSetRequest};
use ringfence_model::error::ApiError;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::pattern::Pattern;
use ringfence_model::status::FolderStatus;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed, folders};
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
        if let Some(profiles) = &request.profiles {
            let names = profiles.iter().map(ToString::to_string).collect();
            self.config.edit_folder(&folder.path, &FolderEdit::Profiles(names))?;
        }
        if let Some(access) = request.access {
            self.config.edit_folder(&folder.path, &FolderEdit::Access(access))?;
        }
        let words = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        if let Some(hide) = &request.hide {
            self.config.edit_folder(&folder.path, &FolderEdit::Hide(words(hide)))?;
        }
        if let Some(protect) = &request.protect {
            self.config.edit_folder(&folder.path, &FolderEdit::Protect(words(protect)))?;
        }
        if let Some(action) = request.exit_check {
            self.config.edit_folder(&folder.path, &FolderEdit::ExitCheck(action))?;
        }
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

    /// The configuration in force, defaults filled in, as TOML.
    ///
    /// # Errors
    /// When the file is broken.
    pub fn resolved_config(&self) -> Result<String, ApiError> {
        let config = self.config.current()?;
        let limits = self.default_limits(&config);
        let mut text = format!(
            "# {}\n[defaults]\nengine = \"qemu\"\ncpus = {}\nmemory = \"{}\"\ndisk = \"{}\"\nnetwork = \"{}\"\n",
            self.config.path().display(),
            limits.cpus,
            limits.memory,
            limits.disk,
            config.defaults.network.unwrap_or_default().as_str()
        );
        for folder in self.store.folders().map_err(failed)?.folders {
            let rules = folders::rules_of(&folder.path, &config);
            let quoted = toml::Value::String(folder.path.display().to_string());
            text.push_str(&format!(
                "\n[[folder]]\npath = {quoted}\naccess = \"{}\"\n",
                rules.access
            ));
            if let Some(profiles) = &rules.profiles {
                let names: Vec<String> =
                    profiles.iter().map(|selector| format!("\"{selector}\"")).collect();
                text.push_str(&format!("profiles = [{}]\n", names.join(", ")));
            }
            text.push_str(&format!(
                "[folder.backup]\nenabled = {}\nkeep = \"{}\"\n",
                rules.backup,
                config.keep_of(&rules)
            ));
            if let Some(limit) = config.limit_of(&rules) {
                text.push_str(&format!("limit = \"{limit}\"\n"));
            }
        }
        Ok(text)
    }
}
