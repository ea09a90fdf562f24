//! Makes the folder the root of all names: nothing else on the host has one.

use std::io;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{fchdir, pivot_root};
use rustix::fs::StatVfsMountFlags;

use super::{ConfineError, Facts, open_folder};
use crate::ops::Access;
use crate::spec::{Protection, ShareSpec};

const NONE: Option<&str> = None;

fn missing(source: io::Error) -> ConfineError {
    ConfineError::Missing {
        protection: Protection::Namespaces,
        what: "mounting in a name space of its own",
        source,
        cure: "on Ubuntu, AppArmor takes the rights of unprivileged user name spaces away: allow \
               this program (kernel.apparmor_restrict_unprivileged_userns); in a container, \
               allow mounting",
    }
}

pub(super) fn enter(spec: &ShareSpec, facts: Facts) -> Result<(), ConfineError> {
    // What is mounted here must not show outside, nor the other way round.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(|errno| missing(errno.into()))?;

    // The descriptor from before belongs to the old name space. A directory
    // that was put in its place meanwhile is noticed by device and inode.
    let same = |now: Facts| {
        if (now.0, now.1) == (facts.0, facts.1) {
            Ok(())
        } else {
            Err(ConfineError::Folder {
                path: format!("{:?}", spec.folder),
                why: "was replaced while the share started".to_owned(),
            })
        }
    };
    same(open_folder(spec)?.1)?;
    let bind = |recursive| {
        let flags = MsFlags::MS_BIND | recursive;
        mount(Some(&spec.folder), &spec.folder, NONE, flags, NONE)
    };
    // Mounts below the folder stay behind. In a user's name space they are
    // locked to their place; then they come along, and are not crossed.
    bind(MsFlags::empty())
        .or_else(|_| bind(MsFlags::MS_REC))
        .map_err(|errno| missing(errno.into()))?;

    let (root, now) = open_folder(spec)?;
    same(now)?;
    fchdir(&root).map_err(ConfineError::step("entering the folder"))?;
    pivot_root(".", ".").map_err(ConfineError::step("making the folder the root"))?;
    // Both roots are stacked on one another; the upper one is the old.
    umount2(".", MntFlags::MNT_DETACH).map_err(ConfineError::step("leaving the old root"))?;
    nix::unistd::chdir("/").map_err(ConfineError::step("entering the new root"))?;

    let present = rustix::fs::statvfs("/").map_err(ConfineError::step("looking at the root"))?;
    let mut flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    if spec.access == Access::Ro || present.f_flag.contains(StatVfsMountFlags::RDONLY) {
        flags |= MsFlags::MS_RDONLY;
    }
    mount(NONE, "/", NONE, flags, NONE).map_err(ConfineError::step("restricting the root"))
}
