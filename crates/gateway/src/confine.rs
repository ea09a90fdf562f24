//! Takes away from this process everything a gateway does not need: files, other
//! users, privileges, most system calls. Called once, with one thread, before the
//! first byte of a guest is read; what it needs is open by then. The network
//! namespace stays the host's, because the gateway makes the outgoing connections.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, chdir, getegid, geteuid, pivot_root, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::seccomp;
use crate::spec::{Guard, User};

/// Descriptors: 512 TCP, 256 UDP and 64 inbound connections, DNS and echo.
const MAX_DESCRIPTORS: u64 = 2048;
/// Writable memory, in bytes. What the limits elsewhere add up to is below it.
const MAX_DATA: u64 = 1 << 30;

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Started as root without a user to become.
    #[error("a gateway does not run as root: the specification names no user to become")]
    Root,
    /// A guard that this host does not give.
    #[error("this host gives no {guard} ({what}: {source}); a rule can name the exception")]
    Missing {
        /// Which.
        guard: Guard,
        /// The step that failed.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Any other step.
    #[error("confining the gateway: {what}: {source}")]
    Step {
        /// The step that failed.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Confines this process. Returns the guards that are missing, which `without` allows.
///
/// # Errors
/// When a step fails, or a guard is missing that `without` does not name.
pub(crate) fn confine(
    user: Option<User>,
    ssh_port: u16,
    without: &[Guard],
) -> Result<Vec<Guard>, ConfineError> {
    let mut missing = Vec::new();
    let mut allow_missing = |error: ConfineError| match error {
        ConfineError::Missing { guard, .. } if without.contains(&guard) => {
            missing.push(guard);
            Ok(())
        }
        other => Err(other),
    };
    limits()?;
    become_user(user)?;
    namespaces().or_else(&mut allow_missing)?;
    drop_privileges()?;
    landlock(ssh_port).or_else(&mut allow_missing)?;
    seccomp::apply().map_err(|error| step("system call filter", io::Error::other(error)))?;
    Ok(missing)
}

fn step(what: &'static str, source: impl Into<io::Error>) -> ConfineError {
    ConfineError::Step { what, source: source.into() }
}

fn limits() -> Result<(), ConfineError> {
    let limit = |resource, most: u64, what| {
        let (_, hard) = getrlimit(resource).map_err(|error| step(what, error))?;
        let most = most.min(hard);
        setrlimit(resource, most, most).map_err(|error| step(what, error))
    };
    limit(Resource::RLIMIT_NOFILE, MAX_DESCRIPTORS, "limit of descriptors")?;
    limit(Resource::RLIMIT_DATA, MAX_DATA, "limit of memory")?;
    limit(Resource::RLIMIT_CORE, 0, "no core dumps")?;
    limit(Resource::RLIMIT_MEMLOCK, 0, "no locked memory")
}

fn become_user(user: Option<User>) -> Result<(), ConfineError> {
    let Some(User { uid, gid }) = user else {
        return if geteuid().is_root() || getegid().as_raw() == 0 {
            Err(ConfineError::Root)
        } else {
            Ok(())
        };
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if geteuid().is_root() {
        setgroups(&[]).map_err(|error| step("leaving groups", error))?;
        setresgid(gid, gid, gid).map_err(|error| step("changing group", error))?;
        setresuid(uid, uid, uid).map_err(|error| step("changing user", error))?;
    } else if (geteuid(), getegid()) != (uid, gid) {
        return Err(step("changing user", io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

fn namespaces() -> Result<(), ConfineError> {
    let missing = |what| {
        move |source: io::Error| ConfineError::Missing { guard: Guard::UserNamespace, what, source }
    };
    // A change of user made /proc/self root's; the maps are written there.
    nix::sys::prctl::set_dumpable(true).map_err(|error| step("own /proc entries", error))?;
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .map_err(|errno| missing("new user namespace")(errno.into()))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
    ] {
        std::fs::write(file, text).map_err(missing("identity in the user namespace"))?;
    }
    empty_root().map_err(|errno| missing("empty root directory")(errno.into()))
}

/// Puts an empty, read-only file system where the host's was.
fn empty_root() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    // Any directory would do; this one is there on every Linux.
    let place = "/proc";
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("size=4k,nr_inodes=2,mode=0555"))?;
    chdir(place)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    let read_only = flags | MsFlags::MS_RDONLY | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(NONE, "/", NONE, read_only, NONE)
}

fn drop_privileges() -> Result<(), ConfineError> {
    let failed = |what| move |error: rustix::io::Errno| step(what, error);
    let held = rustix::thread::capabilities(None).map_err(failed("reading capabilities"))?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            match rustix::thread::capability_is_in_bounding_set(capability) {
                Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)
                    .map_err(failed("dropping capabilities"))?,
                Ok(false) => {}
                // Newer than this kernel.
                Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(step("reading capabilities", error)),
            }
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("dropping capabilities"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(failed("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no new privileges"))?;
    nix::sys::prctl::set_dumpable(false).map_err(|error| step("no core dumps", error))
}

/// No file, no foreign abstract socket, no foreign signal; listening on one port only.
/// File access is required, the rest is taken where the kernel knows it.
fn landlock(ssh_port: u16) -> Result<(), ConfineError> {
    let missing =
        |what, source: io::Error| ConfineError::Missing { guard: Guard::Landlock, what, source };
    let abi = ABI::V6;
    let apply = || -> Result<RulesetStatus, landlock::RulesetError> {
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rule(NetPort::new(ssh_port, AccessNet::BindTcp))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match apply() {
        Ok(RulesetStatus::NotEnforced) => {
            Err(missing("restricting files", io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP)))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(missing("restricting files", io::Error::other(error))),
    }
}
