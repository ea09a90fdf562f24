//! What a keeper may still do: add to what it keeps and link files of the folder
//! there. It keeps its user, since what it keeps is the user's.

use rustix::fs::{CWD, Mode, openat};
use rustix::thread::CapabilitySet;

use std::os::fd::OwnedFd;

use super::{ConfineError, DIRECTORY, drop_capabilities, landlock, limits};
use crate::keeper::KeeperSpec;
use crate::spec::{Landlock, Protection};

/// A keeper that is confined but for the system-call filter.
#[derive(Debug)]
pub(crate) struct KeeperInside {
    /// The folder, to find there by path what the share shows by descriptor.
    pub(crate) folder: OwnedFd,
    pub(crate) landlock: Landlock,
}

/// Gives up everything but the folder and the store. The process must have one thread.
pub(crate) fn enter_keeper(spec: &KeeperSpec) -> Result<KeeperInside, ConfineError> {
    limits()?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let open = |path: &std::path::Path| {
        openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| ConfineError::Folder {
            path: format!("{path:?}"),
            why: std::io::Error::from(errno).to_string(),
        })
    };
    let (folder, store) = (open(&spec.folder)?, open(&spec.store)?);
    rustix::thread::set_no_new_privs(true).map_err(ConfineError::step("no_new_privs"))?;
    // Root's keeper links files of another user, in directories of another user.
    let keep = if rustix::process::geteuid().is_root() {
        CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER
    } else {
        CapabilitySet::empty()
    };
    drop_capabilities(keep, rustix::process::geteuid().is_root())?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(ConfineError::step("forbidding dumps"))?;
    let landlock = match landlock::restrict_keeper(&folder, &store) {
        Ok(status) => status,
        Err(ConfineError::Missing { .. }) if spec.without.contains(&Protection::Landlock) => {
            Landlock::None
        }
        Err(error) => return Err(error),
    };
    Ok(KeeperInside { folder, landlock })
}
