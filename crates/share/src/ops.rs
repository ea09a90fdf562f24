//! The table of operations: what each FUSE request needs, and what each mode
//! answers to it. Pure, so that it can be read and tested as a whole; the
//! journal hooks in at the same classification. Must not do I/O.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What the share answers at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every request fails with ENOTCONN, also on handles that are open.
    Closed,
    /// Reading only: each change fails with EROFS, also through handles that
    /// were opened for writing earlier.
    Ro,
    /// Reading and writing.
    Rw,
    /// Requests wait until the mode changes (a restore moves files meanwhile).
    Held,
}

/// Whether the folder's rules allow writing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// The share can never be set to [`Mode::Rw`].
    Ro,
    /// The share may be set to [`Mode::Rw`].
    Rw,
}

/// Every request that a guest can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of the FUSE requests; the table below says the rest"
)]
pub enum Op {
    Init,
    Destroy,
    Lookup,
    Forget,
    BatchForget,
    Getattr,
    Setattr,
    Readlink,
    Symlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Link,
    Open,
    Create,
    Read,
    Write,
    Flush,
    Fsync,
    Fallocate,
    Release,
    Statfs,
    Setxattr,
    Getxattr,
    Listxattr,
    Removexattr,
    Opendir,
    Readdir,
    Fsyncdir,
    Releasedir,
    Access,
    Lseek,
    CopyFileRange,
    Syncfs,
    Getlk,
    Setlk,
    Setlkw,
    Ioctl,
    Bmap,
    Poll,
    NotifyReply,
    Tmpfile,
}

impl Op {
    /// All operations, for tests and for the reference.
    pub const ALL: [Self; 44] = [
        Self::Init,
        Self::Destroy,
        Self::Lookup,
        Self::Forget,
        Self::BatchForget,
        Self::Getattr,
        Self::Setattr,
        Self::Readlink,
        Self::Symlink,
        Self::Mknod,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Fsync,
        Self::Fallocate,
        Self::Release,
        Self::Statfs,
        Self::Setxattr,
        Self::Getxattr,
        Self::Listxattr,
        Self::Removexattr,
        Self::Opendir,
        Self::Readdir,
        Self::Fsyncdir,
        Self::Releasedir,
        Self::Access,
        Self::Lseek,
        Self::CopyFileRange,
        Self::Syncfs,
        Self::Getlk,
        Self::Setlk,
        Self::Setlkw,
        Self::Ioctl,
        Self::Bmap,
        Self::Poll,
        Self::NotifyReply,
        Self::Tmpfile,
    ];
}

/// What a request needs from the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Bookkeeping of the connection that shows nothing of the folder and
    /// changes nothing in it. Allowed in every mode: a mount that meets a
    /// closed share must not be dead for ever, and what is forgotten or
    /// released must be freed.
    Bookkeeping,
    /// Looks at names, attributes or content.
    Look,
    /// Changes names, attributes or content.
    Change,
}

/// What a request needs; `Open` and `Access` depend on their flags as well, see
/// [`open_need`] and [`access_need`].
#[must_use]
pub const fn need(op: Op) -> Need {
    match op {
        Op::Init
        | Op::Destroy
        | Op::Forget
        | Op::BatchForget
        | Op::Release
        | Op::Releasedir
        | Op::NotifyReply => Need::Bookkeeping,
        Op::Lookup
        | Op::Getattr
        | Op::Readlink
        | Op::Open
        | Op::Read
        | Op::Flush
        // Syncing makes durable what was accepted before the mode changed.
        | Op::Fsync
        | Op::Fsyncdir
        | Op::Syncfs
        | Op::Statfs
        | Op::Getxattr
        | Op::Listxattr
        | Op::Opendir
        | Op::Readdir
        | Op::Access
        | Op::Lseek
        | Op::Getlk
        | Op::Setlk
        | Op::Setlkw
        | Op::Ioctl
        | Op::Bmap
        | Op::Poll => Need::Look,
        Op::Setattr
        | Op::Symlink
        | Op::Mknod
        | Op::Mkdir
        | Op::Unlink
        | Op::Rmdir
        | Op::Rename
        | Op::Link
        | Op::Create
        | Op::Write
        | Op::Fallocate
        | Op::Setxattr
        | Op::Removexattr
        | Op::CopyFileRange
        | Op::Tmpfile => Need::Change,
    }
}

const O_ACCMODE: u32 = 0o3;
const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1000;
const W_OK: u32 = 2;

/// What opening with these `open(2)` flags needs.
#[must_use]
pub const fn open_need(flags: u32) -> Need {
    if flags & O_ACCMODE != 0 || flags & (O_CREAT | O_TRUNC) != 0 {
        Need::Change
    } else {
        Need::Look
    }
}

/// What an `access(2)` question with this mask needs.
#[must_use]
pub const fn access_need(mask: u32) -> Need {
    if mask & W_OK != 0 { Need::Change } else { Need::Look }
}

/// What the share does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Proceed,
    /// Wait until the mode changes, then ask again.
    Wait,
    /// Answer with this error.
    Refuse(Errno),
}

/// The answer of a mode to a need.
///
/// A closed share says ENOTCONN, as a FUSE mount does whose server is away: it
/// is not taken for a damaged disk (EIO), a permission (EACCES) or a reason
/// to look the path up again at once (ESTALE).
#[must_use]
pub const fn verdict(mode: Mode, need: Need) -> Verdict {
    match (mode, need) {
        (_, Need::Bookkeeping) | (Mode::Ro | Mode::Rw, Need::Look) | (Mode::Rw, Need::Change) => {
            Verdict::Proceed
        }
        (Mode::Closed, Need::Look | Need::Change) => Verdict::Refuse(Errno::NOTCONN),
        (Mode::Ro, Need::Change) => Verdict::Refuse(Errno::ROFS),
        (Mode::Held, Need::Look | Need::Change) => Verdict::Wait,
    }
}

/// The mode that operations meet. The guard against mass loss stops a share that could
/// write; one that is read-only or closed already destroys nothing.
#[must_use]
pub const fn effective(mode: Mode, frozen: bool) -> Mode {
    match (mode, frozen) {
        (Mode::Rw, true) => Mode::Held,
        (mode, _) => mode,
    }
}

/// Whether a folder with this access may be set to this mode.
#[must_use]
pub const fn may_set(access: Access, mode: Mode) -> bool {
    !matches!((access, mode), (Access::Ro, Mode::Rw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_listed_once() {
        for (at, op) in Op::ALL.iter().enumerate() {
            assert!(!Op::ALL[at + 1..].contains(op), "{op:?} twice");
        }
        assert_eq!(Op::ALL.len(), Op::Tmpfile as usize + 1);
    }

    #[test]
    fn a_closed_share_answers_nothing_of_the_folder() {
        for op in Op::ALL {
            let verdict = verdict(Mode::Closed, need(op));
            if need(op) == Need::Bookkeeping {
                assert_eq!(verdict, Verdict::Proceed, "{op:?}");
            } else {
                assert_eq!(verdict, Verdict::Refuse(Errno::NOTCONN), "{op:?}");
            }
        }
    }

    #[test]
    fn a_read_only_share_refuses_exactly_the_changes() {
        let changes = [
            Op::Setattr,
            Op::Symlink,
            Op::Mknod,
            Op::Mkdir,
            Op::Unlink,
            Op::Rmdir,
            Op::Rename,
            Op::Link,
            Op::Create,
            Op::Write,
            Op::Fallocate,
            Op::Setxattr,
            Op::Removexattr,
            Op::CopyFileRange,
            Op::Tmpfile,
        ];
        for op in Op::ALL {
            let want =
                if changes.contains(&op) { Verdict::Refuse(Errno::ROFS) } else { Verdict::Proceed };
            assert_eq!(verdict(Mode::Ro, need(op)), want, "{op:?}");
            assert_eq!(verdict(Mode::Rw, need(op)), Verdict::Proceed, "{op:?}");
        }
    }

    #[test]
    fn opening_for_writing_truncating_or_creating_is_a_change() {
        assert_eq!(open_need(0), Need::Look);
        assert_eq!(open_need(0o200_000), Need::Look); // O_DIRECTORY
        for flags in [1, 2, 3, O_TRUNC, O_CREAT, O_CREAT | 0o200] {
            assert_eq!(open_need(flags), Need::Change, "{flags:o}");
        }
        assert_eq!(access_need(4), Need::Look);
        assert_eq!(access_need(2), Need::Change);
    }

    #[test]
    fn a_read_only_folder_never_becomes_writable() {
        assert!(!may_set(Access::Ro, Mode::Rw));
        for mode in [Mode::Closed, Mode::Ro, Mode::Held] {
            assert!(may_set(Access::Ro, mode));
        }
        assert!(may_set(Access::Rw, Mode::Rw));
    }
}
