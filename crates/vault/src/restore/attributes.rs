//! Sets mode, owner, extended attributes and times of one entry from its stored
//! node. Owns the order these must go in; follows no link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustic_core::repofile::Node;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::beneath::Dir;
use crate::stat::{self, Stamp, Stat, stamp, unix_mode};

/// Sets all metadata of `name` in `dir` (of `dir` itself where `name` is empty).
/// Gives what could not be set for want of privilege.
pub(crate) fn set_all(dir: &Dir, name: &OsStr, node: &Node) -> io::Result<Vec<String>> {
    let mut imperfect = Vec::new();
    let entry = Handle::open(dir, name)?;
    let found = Stat::of(&entry.fd)?;
    entry.set_owner(node, &found, &mut imperfect)?;
    entry.set_attributes(node, &mut imperfect)?;
    if let Some(mode) = node.meta.mode.filter(|_| !node.is_symlink()) {
        entry.set_mode(unix_mode(mode))?;
    }
    if let Some(time) = node.meta.mtime {
        entry.set_time(stamp(time))?;
    }
    Ok(imperfect)
}

/// Sets mode and modification time of a directory.
pub(crate) fn settle(dir: &Dir, name: &OsStr, mode: u32, mtime: Stamp) -> io::Result<()> {
    let entry = Handle::open(dir, name)?;
    entry.set_mode(mode)?;
    entry.set_time(mtime)
}

/// One entry, pinned by a descriptor that needs no permission on it. It is addressed
/// through `/proc/self/fd`, so that no name is looked up again.
struct Handle<'a> {
    fd: OwnedFd,
    dir: &'a Dir,
    name: &'a OsStr,
    path: String,
    link: bool,
}

impl<'a> Handle<'a> {
    fn open(dir: &'a Dir, name: &'a OsStr) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let real = if name.is_empty() { OsStr::new(".") } else { name };
        let fd = rustix::fs::openat(dir, real, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let link = Stat::of(&fd)?.is_link();
        Ok(Self { fd, dir, name: real, path, link })
    }

    fn set_owner(&self, node: &Node, found: &Stat, imperfect: &mut Vec<String>) -> io::Result<()> {
        let (uid, gid) = (node.meta.uid.unwrap_or(found.uid), node.meta.gid.unwrap_or(found.gid));
        if (uid, gid) == (found.uid, found.gid) {
            return Ok(());
        }
        let set = |uid: Option<u32>, gid: Option<u32>| {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(&self.fd, "", uid, gid, AtFlags::EMPTY_PATH)
        };
        match set(Some(uid), Some(gid)) {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::INVAL) => {
                // Not for everybody; a group of one's own may still be possible.
                if set(None, Some(gid)).is_err() || uid != found.uid {
                    imperfect.push(format!("owner {uid}:{gid} not permitted"));
                }
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn set_attributes(&self, node: &Node, imperfect: &mut Vec<String>) -> io::Result<()> {
        let wanted = stat::stored_attributes(node);
        let at = self.attribute_path();
        let at = OsStr::from_bytes(&at);
        let present = stat::link_attributes(at).unwrap_or_default();
        for (name, _) in present.iter().filter(|(n, _)| !wanted.iter().any(|(w, _)| w == n)) {
            // A label that the system insists on is not ours to fight.
            let removed = rustix::fs::lremovexattr(at, name.as_str());
            if removed.is_err() && name.starts_with("user.") {
                imperfect.push(format!("attribute {name} could not be removed"));
            }
        }
        for (name, value) in wanted.iter().filter(|w| !present.contains(w)) {
            match rustix::fs::lsetxattr(at, name.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    imperfect.push(format!("attribute {name} not permitted"));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// A path whose last component is the entry itself. Descriptors of links cannot be
    /// followed through `/proc`, so a link is named in its directory.
    fn attribute_path(&self) -> Vec<u8> {
        if !self.link {
            // The trailing dot resolves the descriptor without following anything else.
            return if Stat::of(&self.fd).is_ok_and(|s| s.is_dir()) {
                format!("{}/.", self.path).into_bytes()
            } else {
                self.in_directory()
            };
        }
        self.in_directory()
    }

    fn in_directory(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", {
            use std::os::fd::AsFd;
            self.dir.as_fd().as_raw_fd()
        })
        .into_bytes();
        path.extend_from_slice(self.name.as_bytes());
        path
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        rustix::fs::chmodat(CWD, self.path.as_str(), Mode::from_raw_mode(mode), AtFlags::empty())?;
        Ok(())
    }

    fn set_time(&self, (seconds, nanos): Stamp) -> io::Result<()> {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        if self.link {
            rustix::fs::utimensat(self.dir, self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        } else {
            rustix::fs::utimensat(CWD, self.path.as_str(), &times, AtFlags::empty())?;
        }
        Ok(())
    }
}
