//! Drives every operation of the trait in every mode, on a real directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode as Bits, OFlags, openat};
use virtiofsd::filesystem::SecContext;
use virtiofsd::oslib::{ReadvFlags, WritevFlags};

use super::*;
use crate::beneath::{Names, Owners, Parts};
use crate::keep::Keeper;
use crate::ops::{Access, Mode, Need};

struct Nothing;

impl ZeroCopyWriter for Nothing {
    fn read_from_file_at(
        &mut self,
        _f: &File,
        _count: usize,
        _off: u64,
        _flags: Option<ReadvFlags>,
    ) -> io::Result<usize> {
        Ok(0)
    }
}

impl ZeroCopyReader for Nothing {
    fn write_to_file_at(
        &mut self,
        _f: &File,
        _count: usize,
        _off: u64,
        _flags: Option<WritevFlags>,
    ) -> io::Result<usize> {
        Ok(0)
    }
}

const O_RDWR: u32 = 2;
pub(super) const ROOT: u64 = 1;

pub(super) fn context() -> Context {
    Context { uid: 1000.into(), gid: 1000.into(), pid: 1 }
}

fn guarded(path: &Path, chown: Chown) -> (Guarded, Arc<Gate>) {
    guarded_with(path, chown, None)
}

pub(super) fn guarded_with(
    path: &Path,
    chown: Chown,
    keeper: Option<Keeper>,
) -> (Guarded, Arc<Gate>) {
    guarded_by(path, chown, keeper, Names::default())
}

pub(super) fn guarded_names(path: &Path, names: Names) -> Guarded {
    guarded_by(path, Chown::Pretend, None, names).0
}

fn guarded_by(
    path: &Path,
    chown: Chown,
    keeper: Option<Keeper>,
    names: Names,
) -> (Guarded, Arc<Gate>) {
    let directory = |path: &Path| -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Bits::empty()).unwrap()
    };
    let meta = fs::metadata(path).unwrap();
    let folder = Beneath::new(Parts {
        root: directory(path),
        own_fds: directory(Path::new("/proc/self/fd")),
        mounts: Vec::new(),
        owners: Owners {
            host_uid: meta.uid(),
            host_gid: meta.gid(),
            guest_uid: 1000,
            guest_gid: 1000,
        },
        keeper,
        names,
        most_descriptors: 4096,
    })
    .unwrap();
    let gate = Arc::new(Gate::new(Access::Rw, Mode::Rw).unwrap());
    (Guarded::new(Arc::clone(&gate), Arc::new(folder), chown), gate)
}

pub(super) fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

/// A file and a directory that are open since before the mode changed.
struct Open {
    file: u64,
    writing: u64,
    listing: u64,
}

fn open(fs: &Guarded) -> Open {
    let file = fs.lookup(context(), ROOT, c"f").unwrap().inode;
    let writing = fs.open(context(), file, false, O_RDWR).unwrap().0.unwrap();
    let listing = fs.opendir(context(), ROOT, 0).unwrap().0.unwrap();
    Open { file, writing, listing }
}

/// Asks for every operation that has an answer, once.
fn ask_all(fs: &Guarded, open: &Open) -> Vec<(Op, Option<Errno>)> {
    let (c, f, h) = (context, open.file, open.writing);
    let none = Extensions::default;
    let size = SetattrIn { size: 1, ..SetattrIn::default() };
    vec![
        (Op::Init, errno(fs.init(FsOptions::all()))),
        (Op::Lookup, errno(fs.lookup(c(), ROOT, c"f"))),
        (Op::Getattr, errno(fs.getattr(c(), f, Some(h)))),
        (Op::Setattr, errno(fs.setattr(c(), f, size, Some(h), SetattrValid::SIZE))),
        (Op::Readlink, errno(fs.readlink(c(), f))),
        (Op::Symlink, errno(fs.symlink(c(), c"t", ROOT, c"s", none()))),
        (Op::Mknod, errno(fs.mknod(c(), ROOT, c"n", 0o100_644, 0, 0, none()))),
        (Op::Mkdir, errno(fs.mkdir(c(), ROOT, c"d", 0o755, 0, none()))),
        (Op::Unlink, errno(fs.unlink(c(), ROOT, c"none"))),
        (Op::Rmdir, errno(fs.rmdir(c(), ROOT, c"none"))),
        (Op::Rename, errno(fs.rename(c(), ROOT, c"none", ROOT, c"other", 0))),
        (Op::Link, errno(fs.link(c(), f, ROOT, c"l"))),
        (Op::Open, errno(fs.open(c(), f, false, 0))),
        (Op::Create, errno(fs.create(c(), ROOT, c"c", 0o644, false, 1, 0, none()))),
        (Op::Read, errno(fs.read(c(), f, h, Nothing, 1, 0, None, 0))),
        (Op::Write, errno(fs.write(c(), f, h, Nothing, 1, 0, None, false, false, 0))),
        (Op::Flush, errno(fs.flush(c(), f, h, 0))),
        (Op::Fsync, errno(fs.fsync(c(), f, false, h))),
        (Op::Fallocate, errno(fs.fallocate(c(), f, h, 0, 0, 1))),
        (Op::Statfs, errno(fs.statfs(c(), ROOT))),
        (Op::Setxattr, errno(fs.setxattr(c(), f, c"user.a", b"1", 0, SetxattrFlags::empty()))),
        (Op::Getxattr, errno(fs.getxattr(c(), f, c"user.b", 9))),
        (Op::Listxattr, errno(fs.listxattr(c(), f, 0))),
        (Op::Removexattr, errno(fs.removexattr(c(), f, c"user.b"))),
        (Op::Opendir, errno(fs.opendir(c(), ROOT, 0))),
        (Op::Readdir, errno(fs.readdir(c(), ROOT, open.listing, 4096, 0))),
        (Op::Fsyncdir, errno(fs.fsyncdir(c(), ROOT, false, open.listing))),
        (Op::Access, errno(fs.access(c(), f, 4))),
        (Op::Lseek, errno(fs.lseek(c(), f, h, 0, 3))),
        (Op::CopyFileRange, errno(fs.copyfilerange(c(), f, h, 0, f, h, 100, 1, 0))),
        (Op::Syncfs, errno(fs.syncfs(c(), ROOT))),
        (Op::Getlk, errno(fs.getlk())),
        (Op::Setlk, errno(fs.setlk())),
        (Op::Setlkw, errno(fs.setlkw())),
        (Op::Ioctl, errno(fs.ioctl())),
        (Op::Bmap, errno(fs.bmap())),
        (Op::Poll, errno(fs.poll())),
        (Op::NotifyReply, errno(fs.notify_reply())),
        (Op::Tmpfile, errno(fs.tmpfile())),
        (Op::Release, errno(fs.release(c(), f, 0, h, false, false, None))),
        (Op::Releasedir, errno(fs.releasedir(c(), ROOT, 0, open.listing))),
    ]
}

fn folder() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "content").unwrap();
    temp
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_operation_obeys_the_table_in_every_mode() {
    for mode in [Mode::Closed, Mode::Ro, Mode::Rw] {
        let temp = folder();
        let (fs, gate) = guarded(temp.path(), Chown::Pretend);
        let open = open(&fs);
        gate.set(mode, || {}).unwrap();
        let answers = ask_all(&fs, &open);
        let asked: HashSet<Op> = answers.iter().map(|(op, _)| *op).collect();
        for op in Op::ALL {
            let silent = matches!(op, Op::Destroy | Op::Forget | Op::BatchForget);
            assert_eq!(asked.contains(&op), !silent, "{op:?} is not asked for");
        }
        for (op, answer) in answers {
            let want = match (mode, ops::need(op)) {
                (_, Need::Bookkeeping) => None,
                (Mode::Closed, _) => Some(Errno::NOTCONN),
                (Mode::Ro, Need::Change) => Some(Errno::ROFS),
                _ => None,
            };
            if let Some(want) = want {
                assert_eq!(answer, Some(want), "{op:?} in {mode:?}");
            } else {
                assert!(
                    answer != Some(Errno::NOTCONN) && answer != Some(Errno::ROFS),
                    "{op:?} in {mode:?}: {answer:?}"
                );
            }
        }
        if mode == Mode::Rw {
            assert_eq!(names(temp.path()), ["c", "d", "f", "l", "n", "s"]);
        } else {
            assert_eq!(names(temp.path()), ["f"]);
            assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"content");
        }
    }
}

#[test]
fn a_handle_opened_for_writing_writes_no_more_once_read_only() {
    let temp = folder();
    let (fs, gate) = guarded(temp.path(), Chown::Pretend);
    let open = open(&fs);
    gate.set(Mode::Ro, || {}).unwrap();
    let write = |fs: &Guarded| {
        errno(fs.write(context(), open.file, open.writing, Nothing, 1, 0, None, true, false, 0))
    };
    assert_eq!(write(&fs), Some(Errno::ROFS));
    for flags in [1, 2, 0o1000, 0o1002] {
        assert_eq!(errno(fs.open(context(), open.file, false, flags)), Some(Errno::ROFS));
    }
    assert_eq!(errno(fs.access(context(), open.file, 2)), Some(Errno::ROFS));
    gate.set(Mode::Rw, || {}).unwrap();
    assert_eq!(write(&fs), None);
}

#[test]
fn late_writes_mappings_locks_and_labels_are_not_offered() {
    let temp = folder();
    let (fs, _) = guarded(temp.path(), Chown::Pretend);
    let offered = fs.init(FsOptions::all()).unwrap();
    let never = FsOptions::WRITEBACK_CACHE
        | FsOptions::HAS_INODE_DAX
        | FsOptions::DIRECT_IO_ALLOW_MMAP
        | FsOptions::POSIX_LOCKS
        | FsOptions::FLOCK_LOCKS
        | FsOptions::POSIX_ACL
        | FsOptions::SECURITY_CTX
        | FsOptions::EXPORT_SUPPORT
        | FsOptions::ZERO_MESSAGE_OPEN;
    assert!(!offered.intersects(never), "{offered:?}");
    assert_eq!(fs.init(FsOptions::empty()).unwrap(), FsOptions::empty());
}

#[test]
fn what_a_guest_may_not_ask_for_is_refused_and_counted() {
    let temp = folder();
    let (fs, gate) = guarded(temp.path(), Chown::Strict);
    let c = context;
    let none = Extensions::default;
    let labelled = || Extensions { secctx: Some(SecContext::default()), ..Extensions::default() };
    let file = fs.lookup(c(), ROOT, c"f").unwrap().inode;
    let mode = |mode| SetattrIn { mode, ..SetattrIn::default() };
    let refusals = [
        errno(fs.mknod(c(), ROOT, c"x", 0o020_666, 0x103, 0, none())),
        errno(fs.mknod(c(), ROOT, c"x", 0o060_666, 0x103, 0, none())),
        errno(fs.mknod(c(), ROOT, c"x", 0o104_755, 0, 0, none())),
        errno(fs.create(c(), ROOT, c"x", 0o2755, false, 2, 0, none())),
        errno(fs.create(c(), ROOT, c"x", 0o644, false, 2, 0, labelled())),
        errno(fs.mkdir(c(), ROOT, c"x", 0o755, 0, labelled())),
        errno(fs.symlink(c(), c"t", ROOT, c"x", labelled())),
        errno(fs.setattr(c(), file, mode(0o104_644), None, SetattrValid::MODE)),
        errno(fs.setattr(c(), file, mode(0), None, SetattrValid::UID)),
        errno(fs.setxattr(c(), file, c"security.capability", b"1", 0, SetxattrFlags::empty())),
        errno(fs.removexattr(c(), file, c"trusted.x")),
    ];
    for (at, refusal) in refusals.iter().enumerate() {
        assert_eq!(*refusal, Some(Errno::PERM), "number {at}");
    }
    assert_eq!(gate.status().denied, refusals.len() as u64);
    for name in [c".", c"..", c"a/b", c""] {
        for answer in [
            errno(fs.lookup(c(), ROOT, name)),
            errno(fs.mkdir(c(), ROOT, name, 0o755, 0, none())),
            errno(fs.rename(c(), ROOT, c"f", ROOT, name, 0)),
            errno(fs.rename(c(), ROOT, name, ROOT, c"g", 0)),
            errno(fs.unlink(c(), ROOT, name)),
            errno(fs.link(c(), file, ROOT, name)),
        ] {
            assert_eq!(answer, Some(Errno::INVAL), "{name:?}");
        }
    }
    assert_eq!(names(temp.path()), ["f"]);
    // A white-out is a device node in disguise.
    let whiteout = fs.rename(c(), ROOT, c"f", ROOT, c"g", 1 << 2);
    assert_eq!(errno(whiteout), Some(Errno::INVAL));
}

#[test]
fn a_pretended_chown_is_counted() {
    let temp = folder();
    let (fs, gate) = guarded(temp.path(), Chown::Pretend);
    let file = fs.lookup(context(), ROOT, c"f").unwrap().inode;
    let attr = SetattrIn { uid: 33.into(), ..SetattrIn::default() };
    let (seen, _) = fs.setattr(context(), file, attr, None, SetattrValid::UID).unwrap();
    assert_eq!(seen.uid.into_inner(), 33);
    assert_eq!(gate.status().chown_ignored, 1);
}

#[test]
fn after_an_unmount_nothing_is_open() {
    let temp = folder();
    let (fs, _) = guarded(temp.path(), Chown::Pretend);
    let open = open(&fs);
    fs.destroy();
    assert_eq!(errno(fs.getattr(context(), open.file, None)), Some(Errno::BADF));
    assert_eq!(
        errno(fs.read(context(), open.file, open.writing, Nothing, 1, 0, None, 0)),
        Some(Errno::BADF)
    );
    assert!(fs.lookup(context(), ROOT, c"f").unwrap().inode > open.file);
}
