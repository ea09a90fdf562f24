//! Attributes: what a guest sees of them and what it may change. Owners are
//! never changed on the host.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, Statx, Timespec, Timestamps};
use rustix::io::Errno;
use virtiofsd::filesystem::SetattrValid;
use virtiofsd::fuse::{Attr, SetattrIn};
use virtiofsd::soft_idmap::Id;

use super::change::Caller;
use super::node::{Ident, Node};
use super::{BELIEF, Beneath, stat_fd};
use crate::rules;

/// Seconds since 1970 as FUSE carries them.
fn seconds(seconds: i64) -> u64 {
    seconds.cast_unsigned()
}

impl Beneath {
    /// What the guest sees of a file.
    pub(super) fn attr(&self, stat: &Statx) -> Attr {
        let (uid, gid) = self.owners.seen(Ident::of(stat), stat.stx_uid, stat.stx_gid);
        Attr {
            ino: stat.stx_ino,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: seconds(stat.stx_atime.tv_sec),
            mtime: seconds(stat.stx_mtime.tv_sec),
            ctime: seconds(stat.stx_ctime.tv_sec),
            atimensec: stat.stx_atime.tv_nsec,
            mtimensec: stat.stx_mtime.tv_nsec,
            ctimensec: stat.stx_ctime.tv_nsec,
            mode: u32::from(stat.stx_mode),
            nlink: stat.stx_nlink,
            uid: uid.into(),
            gid: gid.into(),
            // Device nodes that the host has are shown without their device.
            rdev: 0,
            blksize: stat.stx_blksize,
            flags: 0,
        }
    }

    /// Attributes of a node, by its handle where one is given.
    pub(crate) fn getattr(&self, id: u64, handle: Option<u64>) -> io::Result<(Attr, Duration)> {
        let stat = match handle.map(|handle| self.handle(handle, id)) {
            Some(Ok(handle)) => stat_fd(&handle.file)?,
            // A handle of another node, or none of ours: the node decides.
            Some(Err(_)) | None => self.stat_node(&self.table.get(id)?)?,
        };
        Ok((self.attr(&stat), BELIEF))
    }

    /// Changes size, permission bits and times; owners only seemingly.
    ///
    /// # Errors
    /// EPERM for set-id bits on anything but a directory, and what the host says.
    pub(crate) fn setattr(
        &self,
        id: u64,
        attr: &SetattrIn,
        handle: Option<u64>,
        valid: SetattrValid,
        who: Caller,
    ) -> io::Result<(Attr, Duration)> {
        let node = self.table.get(id)?;
        // Judged first: a refused change must not be half made.
        let mode = if valid.contains(SetattrValid::MODE) {
            Some(rules::new_mode(node.kind, attr.mode)?)
        } else {
            None
        };
        let times = times(attr, valid);
        if mode.is_some() || times.is_some() || valid.contains(SetattrValid::SIZE) {
            self.may_change(&node)?;
        }
        if valid.contains(SetattrValid::SIZE) {
            self.truncate(&node, attr.size, handle, who)?;
        }
        if mode.is_some() || times.is_some() {
            self.note_attributes(&node, who);
            let fd = self.path_fd(&node)?;
            if let Some(mode) = mode {
                self.chmod(&fd, mode)?;
            }
            if let Some(times) = times {
                rustix::fs::utimensat(&*fd, c"", &times, AtFlags::EMPTY_PATH)?;
            }
        }
        let stat = self.stat_node(&node)?;
        if valid.intersects(SetattrValid::UID | SetattrValid::GID) {
            let shown = self.owners.seen(node.ident, stat.stx_uid, stat.stx_gid);
            let pick = |flag, id: u32| valid.contains(flag).then_some(id);
            self.owners.ask(
                node.ident,
                shown,
                (
                    pick(SetattrValid::UID, attr.uid.into_inner()),
                    pick(SetattrValid::GID, attr.gid.into_inner()),
                ),
            );
        }
        Ok((self.attr(&stat), BELIEF))
    }

    fn truncate(
        &self,
        node: &Arc<Node>,
        size: u64,
        handle: Option<u64>,
        who: Caller,
    ) -> io::Result<()> {
        let open = handle.and_then(|handle| self.handle(handle, node.id).ok());
        let (handle, own) = match open {
            Some(handle) => (handle, None),
            None => {
                if node.kind == 0o040_000 {
                    return Err(Errno::ISDIR.into());
                }
                let opened = self.open(node.id, 1, who)?;
                (self.handle(opened, node.id)?, Some(opened))
            }
        };
        handle.wrote.store(true, Ordering::Relaxed);
        let cut = self.changing((node, &handle.file), size, who, || {
            Ok(rustix::fs::ftruncate(&handle.file, size)?)
        });
        drop(handle);
        if let Some(own) = own {
            self.release(node.id, own, who)?;
        }
        cut
    }

    /// Through `/proc/self/fd`: the descriptor is what is changed, whatever its
    /// name has become meanwhile.
    fn chmod(&self, fd: &OwnedFd, mode: u32) -> io::Result<()> {
        let name = fd.as_raw_fd().to_string();
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(&self.own_fds, name, mode, AtFlags::empty())?)
    }
}

fn times(attr: &SetattrIn, valid: SetattrValid) -> Option<Timestamps> {
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    let one = |set, now, secs: u64, nanos: u32| {
        let (tv_sec, tv_nsec) = if valid.contains(now) {
            (0, UTIME_NOW)
        } else if valid.contains(set) {
            // A nanosecond count out of range must not be read as "now" or "omit".
            (secs.cast_signed(), i64::from(nanos.min(999_999_999)))
        } else {
            (0, UTIME_OMIT)
        };
        Timespec { tv_sec, tv_nsec }
    };
    let any = SetattrValid::ATIME
        | SetattrValid::MTIME
        | SetattrValid::ATIME_NOW
        | SetattrValid::MTIME_NOW;
    valid.intersects(any).then(|| Timestamps {
        last_access: one(SetattrValid::ATIME, SetattrValid::ATIME_NOW, attr.atime, attr.atimensec),
        last_modification: one(
            SetattrValid::MTIME,
            SetattrValid::MTIME_NOW,
            attr.mtime,
            attr.mtimensec,
        ),
    })
}
