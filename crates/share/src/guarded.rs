//! Every FUSE operation, in one place: what it needs (`ops`), whether the mode
//! lets it in (`gate`), whether a guest may ask for it at all (`rules`), and
//! only then the folder (`beneath`). No operation is left to the trait's
//! defaults. The folder tells the journal, once a request has come so far.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SerializableFileSystem, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, SetattrIn};
use virtiofsd::soft_idmap::Id;

use crate::beneath::{Beneath, Caller, Listing};
use crate::gate::{Admitted, Gate};
use crate::mass_loss::Halted;
use crate::ops::{self, Need, Op};
use crate::rules;
use crate::spec::Chown;

/// The guarded folder as virtiofsd's server drives it.
#[derive(Debug)]
pub(crate) struct Guarded {
    gate: Arc<Gate>,
    folder: Arc<Beneath>,
    chown: Chown,
}

/// Supplies the zeroes of a structure that has private padding.
struct Zeroes;

impl FileSystem for Zeroes {
    type Inode = u64;
    type Handle = u64;
    type DirIter = Listing;
}

fn caller(ctx: &Context) -> Caller {
    Caller { pid: ctx.pid.cast_unsigned(), uid: ctx.uid.into_inner(), gid: ctx.gid.into_inner() }
}

fn unsupported<T>() -> io::Result<T> {
    Err(Errno::NOSYS.into())
}

impl Guarded {
    pub(crate) fn new(gate: Arc<Gate>, folder: Arc<Beneath>, chown: Chown) -> Self {
        Self { gate, folder, chown }
    }

    fn enter(&self, op: Op) -> io::Result<Admitted<'_>> {
        self.gate.enter(ops::need(op))
    }

    /// A rule's refusal is counted and becomes the answer.
    fn rule<T>(&self, judged: Result<T, Errno>) -> io::Result<T> {
        judged.map_err(|errno| {
            self.gate.count_denied();
            errno.into()
        })
    }

    fn named(&self, op: Op, name: &CStr) -> io::Result<Admitted<'_>> {
        let admitted = self.enter(op)?;
        self.rule(rules::name(name))?;
        Ok(admitted)
    }

    /// Carries out what may destroy something. Where the guard against mass loss halts it,
    /// nothing was done: it is no longer in flight, and comes again when somebody decided.
    fn destroying<T>(&self, need: Need, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let op = self.gate.enter(need)?;
            match act() {
                Err(error) if Halted::is(&error) => {
                    self.gate.freeze_if(|| self.folder.is_halted());
                    drop(op);
                }
                answer => return answer,
            }
        }
    }

    /// A security label would be a `security.*` attribute.
    fn unlabelled(&self, extensions: &Extensions) -> io::Result<()> {
        match extensions.secctx {
            Some(_) => self.rule(Err(Errno::PERM)),
            None => Ok(()),
        }
    }
}

impl FileSystem for Guarded {
    type Inode = u64;
    type Handle = u64;
    type DirIter = Listing;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        let _op = self.enter(Op::Init)?;
        // Not wanted, ever: WRITEBACK_CACHE (late writes escape the journal),
        // HAS_INODE_DAX and DIRECT_IO_ALLOW_MMAP (so do mappings), POSIX_LOCKS and
        // FLOCK_LOCKS (locks stay in the guest), POSIX_ACL, SECURITY_CTX,
        // EXPORT_SUPPORT (look-ups of `.` and `..`).
        let want = FsOptions::DO_READDIRPLUS
            | FsOptions::READDIRPLUS_AUTO
            | FsOptions::PARALLEL_DIROPS
            | FsOptions::AUTO_INVAL_DATA
            | FsOptions::ATOMIC_O_TRUNC
            // The host takes set-id bits away on every write, since the share has
            // no CAP_FSETID: the guest need not ask before each one.
            | FsOptions::HANDLE_KILLPRIV_V2;
        Ok(want & capable)
    }

    fn destroy(&self) {
        self.folder.reset();
    }

    fn lookup(&self, _ctx: Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        let _op = self.named(Op::Lookup, name)?;
        self.folder.lookup(parent, name)
    }

    fn forget(&self, _ctx: Context, inode: u64, count: u64) {
        if let Ok(_op) = self.enter(Op::Forget) {
            self.folder.forget(inode, count);
        }
    }

    fn batch_forget(&self, _ctx: Context, requests: Vec<(u64, u64)>) {
        if let Ok(_op) = self.enter(Op::BatchForget) {
            for (inode, count) in requests {
                self.folder.forget(inode, count);
            }
        }
    }

    fn getattr(
        &self,
        _ctx: Context,
        inode: u64,
        handle: Option<u64>,
    ) -> io::Result<(Attr, Duration)> {
        let _op = self.enter(Op::Getattr)?;
        self.folder.getattr(inode, handle)
    }

    fn setattr(
        &self,
        ctx: Context,
        inode: u64,
        attr: SetattrIn,
        handle: Option<u64>,
        valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        let who = caller(&ctx);
        let owns = valid.intersects(SetattrValid::UID | SetattrValid::GID);
        let answer = self.destroying(ops::need(Op::Setattr), || {
            if owns && self.chown == Chown::Strict {
                return Err(Errno::PERM.into());
            }
            self.folder.setattr(inode, &attr, handle, valid, who)
        });
        if owns && self.chown == Chown::Pretend && answer.is_ok() {
            self.gate.count_chown_ignored();
        }
        if let Err(error) = &answer
            && Errno::from_io_error(error) == Some(Errno::PERM)
        {
            self.gate.count_denied();
        }
        answer
    }

    fn readlink(&self, _ctx: Context, inode: u64) -> io::Result<Vec<u8>> {
        let _op = self.enter(Op::Readlink)?;
        self.folder.readlink(inode)
    }

    fn symlink(
        &self,
        ctx: Context,
        linkname: &CStr,
        parent: u64,
        name: &CStr,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let _op = self.named(Op::Symlink, name)?;
        self.unlabelled(&extensions)?;
        self.folder.symlink(linkname, parent, name, caller(&ctx))
    }

    fn mknod(
        &self,
        ctx: Context,
        inode: u64,
        name: &CStr,
        mode: u32,
        _rdev: u32,
        _umask: u32,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let _op = self.named(Op::Mknod, name)?;
        self.unlabelled(&extensions)?;
        self.rule(rules::node_kind(mode))?;
        self.rule(rules::file_mode(mode))?;
        self.folder.mknod(inode, name, mode, caller(&ctx))
    }

    fn mkdir(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        _umask: u32,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let _op = self.named(Op::Mkdir, name)?;
        self.unlabelled(&extensions)?;
        self.folder.mkdir(parent, name, mode, caller(&ctx))
    }

    fn unlink(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let who = caller(&ctx);
        self.destroying(ops::need(Op::Unlink), || {
            self.rule(rules::name(name))?;
            self.folder.unlink(parent, name, who)
        })
    }

    fn rmdir(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let _op = self.named(Op::Rmdir, name)?;
        self.folder.rmdir(parent, name, caller(&ctx))
    }

    fn rename(
        &self,
        ctx: Context,
        olddir: u64,
        oldname: &CStr,
        newdir: u64,
        newname: &CStr,
        flags: u32,
    ) -> io::Result<()> {
        let who = caller(&ctx);
        self.destroying(ops::need(Op::Rename), || {
            self.rule(rules::name(oldname))?;
            self.rule(rules::name(newname))?;
            self.folder.rename((olddir, oldname), (newdir, newname), flags, who)
        })
    }

    fn link(&self, ctx: Context, inode: u64, newparent: u64, newname: &CStr) -> io::Result<Entry> {
        let _op = self.named(Op::Link, newname)?;
        self.folder.link(inode, newparent, newname, caller(&ctx))
    }

    fn open(
        &self,
        ctx: Context,
        inode: u64,
        _kill_priv: bool,
        flags: u32,
    ) -> io::Result<(Option<u64>, OpenOptions)> {
        let who = caller(&ctx);
        let open = || self.folder.open(inode, flags, who);
        let handle = self.destroying(ops::open_need(flags), open)?;
        Ok((Some(handle), OpenOptions::empty()))
    }

    fn create(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        _kill_priv: bool,
        flags: u32,
        _umask: u32,
        extensions: Extensions,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        let who = caller(&ctx);
        let (entry, handle) = self.destroying(ops::need(Op::Create), || {
            self.rule(rules::name(name))?;
            self.unlabelled(&extensions)?;
            self.rule(rules::file_mode(mode))?;
            self.folder.create(parent, name, (mode, flags), who)
        })?;
        Ok((entry, Some(handle), OpenOptions::empty()))
    }

    fn read<W: ZeroCopyWriter>(
        &self,
        _ctx: Context,
        inode: u64,
        handle: u64,
        w: W,
        size: u32,
        offset: u64,
        _lock_owner: Option<u64>,
        _flags: u32,
    ) -> io::Result<usize> {
        let _op = self.enter(Op::Read)?;
        self.folder.read((inode, handle), w, size, offset)
    }

    fn write<R: ZeroCopyReader>(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        mut r: R,
        size: u32,
        offset: u64,
        _lock_owner: Option<u64>,
        delayed_write: bool,
        _kill_priv: bool,
        flags: u32,
    ) -> io::Result<usize> {
        let who = caller(&ctx);
        self.destroying(ops::need(Op::Write), || {
            let how = (flags, delayed_write);
            self.folder.write((inode, handle), &mut r, (size, offset), how, who)
        })
    }

    /// Nothing is kept back that a close could flush: the guest is told once
    /// that there is no such request, and saves it on every close.
    fn flush(&self, _ctx: Context, _inode: u64, _handle: u64, _lock_owner: u64) -> io::Result<()> {
        let _op = self.enter(Op::Flush)?;
        unsupported()
    }

    fn fsync(&self, _ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        let _op = self.enter(Op::Fsync)?;
        self.folder.fsync((inode, handle), datasync)
    }

    fn fallocate(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let who = caller(&ctx);
        self.destroying(ops::need(Op::Fallocate), || {
            self.folder.fallocate((inode, handle), mode, (offset, length), who)
        })
    }

    fn release(
        &self,
        ctx: Context,
        inode: u64,
        _flags: u32,
        handle: u64,
        _flush: bool,
        _flock_release: bool,
        _lock_owner: Option<u64>,
    ) -> io::Result<()> {
        let _op = self.enter(Op::Release)?;
        self.folder.release(inode, handle, caller(&ctx))
    }

    fn statfs(&self, ctx: Context, inode: u64) -> io::Result<nix::libc::statvfs64> {
        let _op = self.enter(Op::Statfs)?;
        let mut st = Zeroes.statfs(ctx, inode)?;
        self.folder.statfs(&mut st)?;
        Ok(st)
    }

    fn setxattr(
        &self,
        ctx: Context,
        inode: u64,
        name: &CStr,
        value: &[u8],
        flags: u32,
        _extra_flags: SetxattrFlags,
    ) -> io::Result<()> {
        let _op = self.enter(Op::Setxattr)?;
        self.rule(rules::xattr_change(name.to_bytes()))?;
        self.folder.setxattr(inode, name, value, flags, caller(&ctx))
    }

    fn getxattr(
        &self,
        _ctx: Context,
        inode: u64,
        name: &CStr,
        size: u32,
    ) -> io::Result<GetxattrReply> {
        let _op = self.enter(Op::Getxattr)?;
        self.folder.getxattr(inode, name, size)
    }

    fn listxattr(&self, _ctx: Context, inode: u64, size: u32) -> io::Result<ListxattrReply> {
        let _op = self.enter(Op::Listxattr)?;
        self.folder.listxattr(inode, size)
    }

    fn removexattr(&self, ctx: Context, inode: u64, name: &CStr) -> io::Result<()> {
        let _op = self.enter(Op::Removexattr)?;
        self.rule(rules::xattr_change(name.to_bytes()))?;
        self.folder.removexattr(inode, name, caller(&ctx))
    }

    fn opendir(
        &self,
        _ctx: Context,
        inode: u64,
        _flags: u32,
    ) -> io::Result<(Option<u64>, OpenOptions)> {
        let _op = self.enter(Op::Opendir)?;
        let handle = self.folder.opendir(inode)?;
        Ok((Some(handle), OpenOptions::empty()))
    }

    fn readdir(
        &self,
        _ctx: Context,
        inode: u64,
        handle: u64,
        size: u32,
        offset: u64,
    ) -> io::Result<Listing> {
        let _op = self.enter(Op::Readdir)?;
        self.folder.readdir((inode, handle), size, offset)
    }

    fn fsyncdir(&self, _ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        let _op = self.enter(Op::Fsyncdir)?;
        self.folder.fsync((inode, handle), datasync)
    }

    fn releasedir(&self, ctx: Context, inode: u64, _flags: u32, handle: u64) -> io::Result<()> {
        let _op = self.enter(Op::Releasedir)?;
        self.folder.release(inode, handle, caller(&ctx))
    }

    fn access(&self, _ctx: Context, inode: u64, mask: u32) -> io::Result<()> {
        let _op = self.gate.enter(ops::access_need(mask))?;
        self.folder.access(inode)
    }

    fn lseek(
        &self,
        _ctx: Context,
        inode: u64,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> io::Result<u64> {
        let _op = self.enter(Op::Lseek)?;
        self.folder.lseek((inode, handle), offset, whence)
    }

    fn copyfilerange(
        &self,
        ctx: Context,
        inode_in: u64,
        handle_in: u64,
        offset_in: u64,
        inode_out: u64,
        handle_out: u64,
        offset_out: u64,
        len: u64,
        flags: u64,
    ) -> io::Result<usize> {
        let who = caller(&ctx);
        self.destroying(ops::need(Op::CopyFileRange), || {
            if flags != 0 {
                return Err(Errno::INVAL.into());
            }
            self.folder.copy_file_range(
                ((inode_in, handle_in), offset_in),
                ((inode_out, handle_out), offset_out),
                len,
                who,
            )
        })
    }

    fn syncfs(&self, _ctx: Context, _inode: u64) -> io::Result<()> {
        let _op = self.enter(Op::Syncfs)?;
        self.folder.syncfs()
    }

    // Locks stay in the guest; the rest has no meaning for a folder.

    fn getlk(&self) -> io::Result<()> {
        let _op = self.enter(Op::Getlk)?;
        unsupported()
    }

    fn setlk(&self) -> io::Result<()> {
        let _op = self.enter(Op::Setlk)?;
        unsupported()
    }

    fn setlkw(&self) -> io::Result<()> {
        let _op = self.enter(Op::Setlkw)?;
        unsupported()
    }

    fn ioctl(&self) -> io::Result<()> {
        let _op = self.enter(Op::Ioctl)?;
        unsupported()
    }

    fn bmap(&self) -> io::Result<()> {
        let _op = self.enter(Op::Bmap)?;
        unsupported()
    }

    fn poll(&self) -> io::Result<()> {
        let _op = self.enter(Op::Poll)?;
        unsupported()
    }

    fn notify_reply(&self) -> io::Result<()> {
        let _op = self.enter(Op::NotifyReply)?;
        unsupported()
    }

    /// The server cannot answer a success: it must stay an error. Programs fall
    /// back to a named file.
    fn tmpfile(&self) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        let _op = self.enter(Op::Tmpfile)?;
        unsupported()
    }
}

/// A machine's state is saved only while no share is attached: the trait's
/// answer, "not supported", is the right one.
impl SerializableFileSystem for Guarded {}

#[cfg(test)]
mod bench_tests;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
