//! Snapshots on request, history and differences.

use std::path::Path;

use ringfence_model::api::{BackupKeyView, DiffRequest, FolderSetRequest, HistoryQuery};
use ringfence_model::bytes::BytePath;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{
    Change, ChangeKind, DiffView, SnapshotKind, SnapshotView, TextDiff,
};
use ringfence_model::session::SessionState;
use ringfence_model::status::FolderStatus;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed, folders};
use crate::config_file::FolderEdit;
use crate::store::ProtectionRecord;
use crate::vaults;

/// Larger files are not compared as text.
const MAX_TEXT: u64 = 1024 * 1024;
/// Most files that are compared as text in one difference.
const MAX_TEXTS: usize = 500;

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

    /// The snapshots of a folder, newest first; of a file: those in which it changed.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<SnapshotView>, ApiError> {
        let folder = self.registered(&query.folder)?;
        let (mut snapshots, damaged) = self.vaults.snapshots(&folder).await?;
        self.mark_pinned(&folder, &mut snapshots);
        for sentence in damaged {
            tracing::error!(folder = %folder.path.display(), "{sentence}");
        }
        let Some(path) = query.path else { return Ok(snapshots) };
        let wanted = BytePath::from_path(&path);
        let mut kept = Vec::new();
        for (index, snapshot) in snapshots.iter().enumerate() {
            let changed = match snapshots.get(index + 1) {
                Some(earlier) => {
                    let changes =
                        self.vaults.diff(&folder, &earlier.id, Some(&snapshot.id)).await?;
                    changes.iter().any(|change| is_or_below(&change.path, &wanted))
                }
                None => {
                    let bytes = wanted.to_bytes().unwrap_or_default();
                    self.vaults.read(&folder, &snapshot.id, bytes, 0).await.is_ok()
                }
            };
            if changed {
                kept.push(snapshot.clone());
            }
        }
        Ok(kept)
    }

    /// What changed between two states.
    ///
    /// # Errors
    /// When a state is unknown or the vault cannot be read.
    pub async fn diff(&self, request: DiffRequest) -> Result<DiffView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let from = match &request.from {
            Some(from) => from.clone(),
            None => self.before_last_session(&folder)?,
        };
        let from = self.vaults.find(&folder, &from).await?.id.to_string();
        let to = match &request.to {
            Some(to) => Some(self.vaults.find(&folder, to).await?.id.to_string()),
            None => None,
        };
        let changes = self.vaults.diff(&folder, &from, to.as_deref()).await?;
        let texts = if request.text {
            self.texts(&folder, &changes, &from, to.as_deref()).await?
        } else {
            Vec::new()
        };
        Ok(DiffView { from, to: to.unwrap_or_else(|| "now".into()), changes, texts })
    }

    /// The opening snapshot of the last session in a folder, or the newest snapshot.
    fn before_last_session(&self, folder: &Folder) -> Result<String, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let last = sessions.iter().rev().find(|session| {
            session.folder.as_ref() == Some(&folder.id)
                && session.opening_snapshot.is_some()
                && !matches!(session.state, SessionState::Preparing)
        });
        Ok(last
            .and_then(|session| session.opening_snapshot.clone())
            .unwrap_or_else(|| "latest".into()))
    }

    async fn texts(
        &self,
        folder: &Folder,
        changes: &[Change],
        from: &str,
        to: Option<&str>,
    ) -> Result<Vec<TextDiff>, ApiError> {
        let mut texts = Vec::new();
        let is_file =
            |change: &&Change| change.size_before.is_some() || change.size_after.is_some();
        let wanted =
            changes.iter().filter(|change| change.change != ChangeKind::Metadata).filter(is_file);
        for change in wanted.take(MAX_TEXTS) {
            let Some(bytes) = change.path.to_bytes() else { continue };
            let side = |snapshot: Option<String>, there: bool| {
                let bytes = bytes.clone();
                async move {
                    match snapshot {
                        _ if !there => Ok(Some(Vec::new())),
                        Some(snapshot) => {
                            self.vaults.read(folder, &snapshot, bytes, MAX_TEXT).await
                        }
                        None => Ok(vaults::read_live(&folder.path, &bytes, MAX_TEXT)),
                    }
                }
            };
            let before = side(Some(from.to_owned()), change.size_before.is_some()).await?;
            let after = side(to.map(ToOwned::to_owned), change.size_after.is_some()).await?;
            texts.push(text_diff(&change.path, before, after));
        }
        Ok(texts)
    }

    /// Streams one file of a snapshot.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn show(
        &self,
        query: crate::server::ShowQuery,
    ) -> Result<axum::body::Body, ApiError> {
        let folder = self.registered(&query.folder)?;
        let path = ringfence_model::bytes::decode(&query.path_b64)
            .ok_or_else(|| ApiError::new(ErrorKind::Usage, "the path is not valid base64"))?;
        let (near, far) = tokio::io::duplex(256 * 1024);
        let writer = tokio_util::io::SyncIoBridge::new(near);
        self.vaults.stream(&folder, &query.snapshot, path, writer).await?;
        Ok(axum::body::Body::from_stream(tokio_util::io::ReaderStream::new(far)))
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
            config.defaults.network.as_str()
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

fn is_or_below(path: &BytePath, wanted: &BytePath) -> bool {
    let (Some(path), Some(wanted)) = (path.to_path(), wanted.to_path()) else { return false };
    path.starts_with(&wanted)
}

fn text_diff(path: &BytePath, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> TextDiff {
    let note = |note: &str| TextDiff {
        path: path.clone(),
        unified: String::new(),
        note: Some(note.into()),
    };
    let (Some(before), Some(after)) = (before, after) else {
        return note("too large or not readable");
    };
    let (Ok(before), Ok(after)) = (String::from_utf8(before), String::from_utf8(after)) else {
        return note("binary");
    };
    if before.contains('\0') || after.contains('\0') {
        return note("binary");
    }
    let shown = ringfence_model::bytes::visible(&path.path);
    let unified = similar::TextDiff::from_lines(&before, &after)
        .unified_diff()
        .header(&format!("a/{shown}"), &format!("b/{shown}"))
        .to_string();
    TextDiff { path: path.clone(), unified, note: None }
}
