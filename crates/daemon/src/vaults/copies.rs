//! Copies as the daemon makes them: targets with their logins, on threads of low priority, and
//! a vault out of a copy.
//!
//! Must not: decide when; that is the supervisor's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence_model::copy::{CopyPlace, CopyTarget};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::size::Size;
use ringfence_vault::{
    Cancel, CopyOutcome, CopyRequest, Guard, Login, RestoreRequest, S3Bucket, Selection, Target,
    Vault, VaultError, VaultKey, Web,
};

use super::{Vaults, background, blocking, convert, secrets, sftp, vault_error};
use crate::host::{clock, facts};
use crate::supervisor::report::Report;

/// Region of stores that have none.
const REGION: &str = "us-east-1";

/// How a copy is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copying {
    /// It was there before.
    pub(crate) expected: bool,
    /// At most so much a second.
    pub(crate) rate: Size,
}

/// A vault that is being made out of a copy.
pub(crate) struct Recovered {
    /// The vault; what it lacks is fetched when it is read.
    pub(crate) vault: Arc<Vault>,
    /// Its snapshots, the newest first.
    pub(crate) snapshots: Vec<SnapshotView>,
    /// The folder that the newest was made of.
    pub(crate) folder: PathBuf,
}

impl Vaults {
    /// A target with what is needed to reach it.
    pub(crate) fn target(&self, target: &CopyTarget) -> Result<Target, ApiError> {
        let home = facts::environment().home.unwrap_or_else(|| PathBuf::from("/"));
        let secret = secrets::read(&self.layout.copy_secrets(), &home, target)?;
        let web = Web { authorities: secret.authorities };
        let login = |name: Option<String>, secret: Option<String>| {
            name.zip(secret).map(|(name, secret)| Login { name, secret })
        };
        let shown = target.to_string();
        match &target.place {
            CopyPlace::Disk(dir) => Ok(Target::disk(shown, dir.clone())),
            CopyPlace::Sftp { user, host, port, path } => {
                let ssh = sftp::Login {
                    user: user.clone(),
                    host: host.clone(),
                    port: *port,
                    identity: secret.identity,
                    known_hosts: secret.known_hosts,
                };
                Ok(Target::sftp(shown, path, ssh.connect(facts::variable("SSH_AUTH_SOCK"))))
            }
            CopyPlace::S3 { endpoint, bucket, prefix } => {
                let bucket = S3Bucket {
                    endpoint: endpoint.clone(),
                    bucket: bucket.clone(),
                    prefix: prefix.clone(),
                    region: secret.region.unwrap_or_else(|| REGION.to_owned()),
                };
                let login = login(secret.access_key, secret.secret_key);
                Target::s3(shown, bucket, login, &web, Arc::new(clock::now))
            }
            CopyPlace::Rest { url } => {
                Target::rest(shown, url, login(secret.user, secret.password), &web)
            }
        }
        .map_err(|error| vault_error(&error))
    }

    /// Brings one copy of a folder's vault up to date. No snapshot waits for it.
    pub(crate) async fn copy(
        &self,
        folder: &Folder,
        target: &CopyTarget,
        how: Copying,
        report: &Report,
    ) -> Result<CopyOutcome, ApiError> {
        let vault = self.vault(folder).await?;
        let place = self.target(target)?;
        let request = CopyRequest {
            expected: how.expected,
            bytes_per_second: Some(how.rate.as_bytes()),
            progress: Some(convert::progress(report, format!("copying to {target}"))),
            cancel: Cancel::default(),
        };
        background(move || vault.copy_to(&place, &request)).await.map_err(|error| {
            let api = vault_error(&error);
            match error {
                VaultError::CopyGone { .. } => api.hint(format!(
                    "is the disk mounted? To begin it anew: ringfence backup copy --start-over {}",
                    folder.path.display()
                )),
                VaultError::ForeignCopy { .. } => {
                    api.hint("name another place for copies: ringfence config check")
                }
                _ => api,
            }
        })
    }

    /// Where a copy lies that a person means: the target itself, or the only one in it.
    pub(crate) async fn find_copy(&self, named: &CopyTarget) -> Result<CopyTarget, ApiError> {
        let place = self.target(named)?;
        let looked = blocking(move || {
            if place.is_repository()? {
                return Ok(None);
            }
            place.directories().map(|names| Some(names.unwrap_or_default()))
        });
        let looked = looked.await.map_err(|error| vault_error(&error))?;
        let Some(names) = looked else { return Ok(named.clone()) };
        let mut found = Vec::new();
        for name in names {
            if ringfence_model::name::FolderId::new(name.as_str()).is_err() {
                continue;
            }
            let below = named.below(&name);
            let place = self.target(&below)?;
            // What cannot be read is somebody else's.
            if blocking(move || place.is_repository()).await.unwrap_or(false) {
                found.push(below);
            }
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(ApiError::new(ErrorKind::Vault, format!("no copy lies at {named}")).hint(
                "name the copy itself, as it stands on the recovery sheet; its name ends with the folder's id",
            )),
            several => {
                let error = ApiError::new(
                    ErrorKind::Usage,
                    format!("{} copies lie at {named}; name one of them", several.len()),
                );
                Err(several.iter().take(20).fold(error, |error, copy| {
                    error.hint(format!("ringfence backup recover {copy} --to DIR"))
                }))
            }
        }
    }

    /// Opens a copy as a vault in `dir`. Nothing at the copy is changed.
    pub(crate) async fn open_copy(
        &self,
        copy: &CopyTarget,
        key: VaultKey,
        dir: PathBuf,
        report: &Report,
    ) -> Result<Recovered, ApiError> {
        let place = self.target(copy)?;
        let progress = convert::progress(report, format!("reading {copy}"));
        let opened = blocking(move || {
            let made = !dir.exists();
            let vault = Vault::recover(&dir, &key, &place, Some(progress), Cancel::default());
            if vault.is_err() && made {
                // Only what was fetched just now.
                let _ = std::fs::remove_dir_all(&dir);
            }
            let vault = vault?;
            let all = vault.snapshots()?;
            let folder = all.snapshots.first().map(|s| s.folder.clone()).unwrap_or_default();
            let snapshots = all.snapshots.iter().map(convert::snapshot).collect();
            Ok(Recovered { vault: Arc::new(vault), snapshots, folder })
        });
        opened.await.map_err(|error| match error {
            VaultError::WrongKey { .. } => {
                ApiError::new(ErrorKind::Vault, format!("the key does not open the copy {copy}"))
                    .hint("each folder has a key of its own; nothing was changed")
            }
            error => vault_error(&error),
        })
    }

    /// Restores one snapshot of a recovered vault into an empty directory.
    pub(crate) async fn restore_copy(
        &self,
        recovered: &Recovered,
        at: Option<&str>,
        folder: &Folder,
        report: &Report,
    ) -> Result<SnapshotView, ApiError> {
        let vault = Arc::clone(&recovered.vault);
        // One that was only taken to save what a restore replaced is not what is meant.
        let last = recovered
            .snapshots
            .iter()
            .find(|view| view.kind != Some(SnapshotKind::BeforeRestore))
            .map_or_else(|| "latest".to_owned(), |view| view.id.clone());
        let at = at.map_or(last, ToOwned::to_owned);
        let (to, staging) = (folder.path.clone(), self.staging(folder, &folder.path));
        let progress = convert::progress(report, format!("restoring to {}", to.display()));
        let restored = blocking(move || {
            let snapshot = match at.parse::<jiff::Timestamp>() {
                Ok(time) => vault.find_at(time)?,
                Err(_) => vault.find(&at)?,
            };
            let plan = vault.plan_restore(&RestoreRequest {
                snapshot: snapshot.id,
                target: to,
                selection: Selection::All,
                delete_extra: false,
                guard: Guard::Nothing,
            })?;
            vault.apply(&plan, &staging, Some(progress), Cancel::default())?;
            Ok(convert::snapshot(&snapshot))
        });
        restored.await.map_err(|error| vault_error(&error))
    }

    /// Fetches what a recovered vault still lacks, and stores its key for good.
    pub(crate) async fn keep_copy(
        &self,
        recovered: Recovered,
        key: VaultKey,
        key_file: PathBuf,
        report: &Report,
    ) -> Result<(), ApiError> {
        let progress = convert::progress(report, "fetching the rest of the vault".into());
        let kept = blocking(move || {
            recovered.vault.complete(Some(progress), Cancel::default())?;
            match VaultKey::load(&key_file) {
                Ok(known) if known.reveal() == key.reveal() => Ok(()),
                _ => {
                    if let Some(directory) = key_file.parent() {
                        make_private(directory)?;
                    }
                    key.store(&key_file)
                }
            }
        });
        kept.await.map_err(|error| vault_error(&error))
    }
}

fn make_private(directory: &Path) -> Result<(), VaultError> {
    crate::host::files::private_directory(directory).map_err(|source| VaultError::Io {
        doing: "make the directory",
        path: directory.to_owned(),
        source,
    })
}

/// When the youngest snapshot file of a vault was written, as its file system says.
pub(crate) fn youngest(vault: &Path) -> Option<jiff::Timestamp> {
    written(vault).max()
}

/// How many snapshot files of a vault were written after that.
pub(crate) fn younger(vault: &Path, than: Option<jiff::Timestamp>) -> u64 {
    written(vault).filter(|time| than.is_none_or(|than| *time > than)).count() as u64
}

fn written(vault: &Path) -> impl Iterator<Item = jiff::Timestamp> {
    let entries = std::fs::read_dir(vault.join("snapshots")).ok().into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()?.try_into().ok())
}
