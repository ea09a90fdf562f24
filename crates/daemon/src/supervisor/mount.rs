//! A vault to look at: who may have it where, and the process that shows it.

use std::path::Path;
use std::time::Duration;

use ringfence_model::api::{MountRequest, MountView};
use ringfence_model::error::{ApiError, ErrorKind};

use super::{Daemon, failed};
use crate::host::{child, files};
use crate::mount::{Ready, Spec};

/// Deriving a key and reading a large index take some seconds on a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    /// Mounts a folder's snapshots at an empty directory.
    ///
    /// # Errors
    /// When the directory is none, lies where an agent could see it, or cannot be mounted on.
    pub async fn mount_snapshots(&self, request: &MountRequest) -> Result<MountView, ApiError> {
        let folder = self.registered(&request.folder)?;
        // A vault that was never opened has no key to open it with.
        self.vaults.vault(&folder).await?;
        self.unseen(&request.at)?;
        let directory = self.layout.run.join("b");
        files::private_directory(&directory).map_err(failed)?;
        let socket = directory.join(format!("{}.sock", short_name(&request.at)));
        files::remove_if_there(&socket).map_err(failed)?;
        let spec = Spec {
            vault: self.layout.vault(&folder.id),
            key_file: self.layout.vault_key(&folder.id),
            at: request.at.clone(),
            socket: socket.clone(),
        };
        let log = self.layout.state.join("logs/mount.log");
        let started = child::start::<_, Ready>("mount", &spec, &log, PATIENCE).await;
        let (process, ready) = started.map_err(|error| {
            let at = request.at.display();
            ApiError::new(ErrorKind::Vault, error.to_string()).hint(format!(
                "an empty directory is needed; a dead mount goes with: fusermount3 -u {at}"
            ))
        })?;
        tracing::info!(?process, at = %ready.mounted.display(), "snapshots mounted");
        Ok(MountView { at: ready.mounted, folder: folder.path, socket })
    }

    /// What is mounted in a folder could be seen by an agent in it.
    fn unseen(&self, at: &Path) -> Result<(), ApiError> {
        let folders = self.store.folders().map_err(failed)?.folders;
        let real = std::fs::canonicalize(at).unwrap_or_else(|_| at.to_owned());
        let own = self.layout.own().map(Path::to_path_buf);
        let places = folders.into_iter().map(|folder| folder.path).chain(own);
        for place in places {
            if real.starts_with(&place) || place.starts_with(&real) {
                return Err(ApiError::new(
                    ErrorKind::Refused,
                    format!(
                        "snapshots cannot be mounted at {}: it overlaps with {}",
                        at.display(),
                        place.display()
                    ),
                )
                .hint("name an empty directory elsewhere: ringfence backup mount ~/snapshots"));
            }
        }
        Ok(())
    }
}

/// A short name for a place: the path of a socket has at most 107 bytes.
fn short_name(at: &Path) -> String {
    use sha2::{Digest as _, Sha256};
    use std::os::unix::ffi::OsStrExt as _;
    let hash = Sha256::digest(at.as_os_str().as_bytes());
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
