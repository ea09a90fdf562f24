//! Makes the folder the root of all names: nothing else on the host has one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

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

/// Mount points below the folder that came along, relative to it.
pub(super) type Left = Vec<PathBuf>;

pub(super) fn enter(spec: &ShareSpec, facts: Facts) -> Result<Left, ConfineError> {
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
    let came_along = if bind(MsFlags::empty()).is_ok() {
        false
    } else {
        bind(MsFlags::MS_REC).map_err(|errno| missing(errno.into()))?;
        true
    };

    let (root, now) = open_folder(spec)?;
    same(now)?;
    let left = if came_along {
        mounted_below(&root).map_err(ConfineError::step("listing mounts below the folder"))?
    } else {
        Vec::new()
    };
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
    mount(NONE, "/", NONE, flags, NONE).map_err(ConfineError::step("restricting the root"))?;
    Ok(left)
}

fn mounted_below(root: &OwnedFd) -> io::Result<Left> {
    mounts_below(&fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()))?)
}

/// What is mounted below a directory in this process's view, relative to it.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(below(&fs::read("/proc/self/mountinfo")?, directory))
}

/// The mount points of a `mountinfo` table that lie below a folder.
fn below(table: &[u8], folder: &Path) -> Left {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .filter_map(|point| {
            let point = PathBuf::from(OsString::from_vec(unescape(point)));
            let relative = point.strip_prefix(folder).ok()?;
            (!relative.as_os_str().is_empty()).then(|| relative.to_owned())
        })
        .collect()
}

/// Blanks, tabs, newlines and backslashes are written as `\ooo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_folder_are_found() {
        let table = b"\
22 1 8:1 / / rw - ext4 /dev/sda rw
23 22 0:5 / /home/a\\040b/c rw - tmpfs none rw
24 22 8:1 /x /home/a\\040b rw - ext4 /dev/sda rw
25 22 0:6 / /home/a\\040bc rw - tmpfs none rw
26 22 0:7 / /home/a\\040b/d/e\\134 rw - tmpfs none rw
";
        let found = below(table, Path::new("/home/a b"));
        assert_eq!(found, [Path::new("c"), Path::new("d/e\\")]);
    }
}
