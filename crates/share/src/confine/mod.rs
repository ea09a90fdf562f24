//! Makes the process harmless before it serves one byte: name spaces with the
//! folder as the root of all names, an owner's rights on the folder owner's
//! files and on nothing else, Landlock, a system-call filter, limits.
//! Knows nothing of FUSE. Order matters and is explained in [`enter`].

mod ids;
mod keeper;
mod landlock;
mod mounts;
mod seccomp;

pub use mounts::mounts_below;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

pub(crate) use ids::{Mapping, map_for};
pub(crate) use keeper::enter_keeper;
pub(crate) use seccomp::{Filter, filter_all_threads};

use crate::ops::Access;
use crate::spec::{Confinement, Landlock, Protection, ShareSpec};

/// Why a share is not confined, or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The folder cannot be shared.
    #[error("folder {path}: {why}")]
    Folder {
        /// The folder's path, escaped.
        path: String,
        /// Why.
        why: String,
    },
    /// Started by root without a uid of its own.
    #[error(
        "a share that root starts needs `run_as`: a uid and gid that are neither root's nor another machine's"
    )]
    NoUid,
    /// A protection that this kernel or its configuration lacks.
    #[error("{what} is not available ({source}): {cure}")]
    Missing {
        /// Which one.
        protection: Protection,
        /// The same in words.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// How to enable it.
        cure: &'static str,
    },
    /// A step failed that has no known cure.
    #[error("confining the share: {step}: {source}")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ConfineError {
    fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { step, source: source.into() }
    }

    /// The protection that is missing, where that is the reason.
    #[must_use]
    pub fn missing(&self) -> Option<Protection> {
        match self {
            Self::Missing { protection, .. } => Some(*protection),
            _ => None,
        }
    }
}

/// A process that is confined but for the system-call filter, which comes once
/// its threads are there.
#[derive(Debug)]
pub(crate) struct Inside {
    /// The folder.
    pub(crate) root: OwnedFd,
    /// `/proc/self/fd`.
    pub(crate) own_fds: OwnedFd,
    /// Mount points below the folder, relative to it, that could not be left behind.
    pub(crate) mounts: Vec<PathBuf>,
    /// Owner of what is made in the folder.
    pub(crate) owner: (u32, u32),
    /// Most descriptors that may be open.
    pub(crate) descriptors: u64,
    uid: u32,
    namespaces: bool,
    landlock: Landlock,
}

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Device, inode, uid, gid.
type Facts = (u64, u64, u32, u32);

fn open_folder(spec: &ShareSpec) -> Result<(OwnedFd, Facts), ConfineError> {
    let refuse = |why: String| ConfineError::Folder { path: format!("{:?}", spec.folder), why };
    let fd = openat(CWD, &spec.folder, DIRECTORY, Mode::empty()).map_err(|errno| {
        refuse(match errno {
            Errno::NOTDIR | Errno::LOOP => "is not a directory (a link is not followed)".to_owned(),
            other => io::Error::from(other).to_string(),
        })
    })?;
    let stat = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|errno| refuse(io::Error::from(errno).to_string()))?;
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    if spec.identity.is_some_and(|identity| identity != (device, stat.stx_ino)) {
        return Err(refuse(
            "another directory is there than the one that was decided on".to_owned(),
        ));
    }
    Ok((fd, (device, stat.stx_ino, stat.stx_uid, stat.stx_gid)))
}

fn limits() -> Result<u64, ConfineError> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })
        .map_err(ConfineError::step("raising the limit of descriptors"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(ConfineError::step("forbidding core dumps"))?;
    // The kernel's own ceiling where the limit is "unlimited".
    Ok(hard.unwrap_or(1 << 20))
}

/// Gives up everything but the folder. The process must have one thread.
///
/// 1. Limits, and `/proc/self/fd` while it has a name.
/// 2. As root: mounts first (root may leave mounts below the folder behind), then
///    the user name space, whose ids a helper with root's rights maps. As a user:
///    the user name space first, since only it gives the right to mount.
/// 3. The folder becomes the root of all names.
/// 4. Ids and capabilities, then Landlock, which needs no_new_privs.
pub(crate) fn enter(spec: &ShareSpec) -> Result<Inside, ConfineError> {
    let descriptors = limits()?;
    let (_, facts) = open_folder(spec)?;
    let (_, _, folder_uid, folder_gid) = facts;
    let own_fds = openat(
        CWD,
        c"/proc/self/fd",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(ConfineError::step("opening /proc/self/fd"))?;
    rustix::process::umask(Mode::empty());

    let may_lack = |protection| spec.without.contains(&protection);
    let root_started = rustix::process::geteuid().is_root();
    let as_root = if root_started {
        Some(spec.run_as.filter(|uid| *uid != 0).ok_or(ConfineError::NoUid)?)
    } else {
        None
    };
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let owner = if root_started { (folder_uid, folder_gid) } else { own };
    let uid = as_root.unwrap_or(own.0);

    let namespaces = match as_root {
        Some(run_as) => ids::enter_as_root(run_as, owner, || mounts::enter(spec, facts)),
        None => ids::enter_as_user(own, || mounts::enter(spec, facts)),
    };
    let (namespaces, mounts) = match namespaces {
        Ok(left) => (true, left),
        Err(ConfineError::Missing { .. }) if may_lack(Protection::Namespaces) => {
            if root_started {
                ids::become_owner(owner)?;
            }
            (false, Vec::new())
        }
        Err(error) => return Err(error),
    };
    let root = if namespaces {
        openat(CWD, c"/", DIRECTORY, Mode::empty())
            .map_err(ConfineError::step("opening the new root"))?
    } else {
        open_folder(spec)?.0
    };

    rustix::thread::set_no_new_privs(true).map_err(ConfineError::step("no_new_privs"))?;
    drop_capabilities(in_name_space(namespaces), namespaces)?;
    // Not to be traced, and no core: its memory holds the folder's content.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(ConfineError::step("forbidding dumps"))?;
    let landlock = match landlock::restrict(&root, spec.access == Access::Ro) {
        Ok(status) => status,
        Err(ConfineError::Missing { .. }) if may_lack(Protection::Landlock) => Landlock::None,
        Err(error) => return Err(error),
    };
    Ok(Inside { root, own_fds, mounts, owner, descriptors, uid, namespaces, landlock })
}

/// Keeps CAP_DAC_OVERRIDE in the name space: the guest's kernel judges by the
/// permission bits, and its root must be able to remove a read-only directory.
/// The host's kernel honours it for files only whose owner is mapped, that is,
/// the folder's owner's.
fn in_name_space(namespaces: bool) -> CapabilitySet {
    if namespaces { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() }
}

/// Keeps these capabilities and no way to any other. The bounding set can only be
/// emptied by who has the right to.
fn drop_capabilities(keep: CapabilitySet, bounding: bool) -> Result<(), ConfineError> {
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    if bounding {
        for (_, capability) in CapabilitySet::all().iter_names() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // A capability that this kernel does not know yet.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => {
                    return Err(ConfineError::Step {
                        step: "emptying the bounding set",
                        source: errno.into(),
                    });
                }
            }
        }
    }
    rustix::thread::set_capabilities(None, sets)
        .map_err(ConfineError::step("dropping capabilities"))
}

/// What a report needs beyond what the kernel tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    uid: u32,
    namespaces: bool,
    landlock: Landlock,
    descriptors: u64,
}

impl Inside {
    /// For a report once everything is in force.
    pub(crate) fn report_later(&self) -> Report {
        Report {
            uid: self.uid,
            namespaces: self.namespaces,
            landlock: self.landlock,
            descriptors: self.descriptors,
        }
    }
}

impl Report {
    /// What holds the calling thread at this moment.
    pub(crate) fn now(self) -> Confinement {
        let effective = rustix::thread::capabilities(None)
            .map_or(CapabilitySet::empty(), |sets| sets.effective);
        Confinement {
            uid: self.uid,
            namespaces: self.namespaces,
            landlock: self.landlock,
            capabilities: effective.iter_names().map(|(name, _)| format!("CAP_{name}")).collect(),
            seccomp: match rustix::thread::secure_computing_mode() {
                Ok(rustix::thread::SecureComputingMode::Filter) => 2,
                Ok(rustix::thread::SecureComputingMode::Strict) => 1,
                _ => 0,
            },
            no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
            descriptors: self.descriptors,
        }
    }
}
