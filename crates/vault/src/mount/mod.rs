//! Snapshots as a file system to look at: one directory for each, read-only. This file owns
//! what is mounted how; `fs` answers the kernel, `table` keeps the numbers it knows.
//!
//! What the snapshots hold was written by an agent. Nothing of it is followed, run or
//! believed: the mount has no set-uid, no devices and no execution, links are shown as they
//! are, and only the user who mounted it gets in.

mod fs;
mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};

use crate::catalog::Snapshot;
use crate::error::{Result, VaultError};
use crate::vault::Vault;

/// How a snapshot's directory is called.
pub type Naming = Box<dyn Fn(&Snapshot) -> String + Send + Sync>;

/// A mounted vault.
pub struct Mounted {
    session: BackgroundSession,
    at: PathBuf,
}

impl Mounted {
    /// Unmounts it. Where something still stands in it, it vanishes from the tree at once and
    /// ends with this process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn unmount(self) -> io::Result<()> {
        let Err(error) = self.session.umount_and_join() else { return Ok(()) };
        // Somebody unmounted it already.
        if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
            return Ok(());
        }
        let detached = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        detached.map_err(|_| error)
    }

    /// Whether somebody unmounted it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.guard.is_finished()
    }
}

/// Mounts the snapshots of a vault at an empty directory.
///
/// # Errors
/// [`VaultError::Mount`] when the directory cannot be mounted on, or a mount there is dead.
pub fn mount(vault: Arc<Vault>, at: &Path, naming: Naming) -> Result<Mounted> {
    let fails = |what: String| VaultError::Mount { path: at.to_owned(), what };
    match std::fs::read_dir(at) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(fails("it is not empty".into()));
            }
        }
        // What remains of a mount whose process was killed.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            return Err(VaultError::DeadMount { path: at.to_owned() });
        }
        Err(e) => return Err(fails(e.to_string())),
    }
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::NoAtime,
        MountOption::FSName("ringfence".into()),
        MountOption::Subtype("snapshots".into()),
    ];
    let session = fuser::spawn_mount(fs::Snapshots::new(vault, naming)?, at, &config)
        .map_err(|e| fails(e.to_string()))?;
    Ok(Mounted { session, at: at.to_owned() })
}
