//! Changes of the tree: making, removing, renaming and linking names. Each
//! name is one component beneath a directory that is known by descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Statx, openat2};
use rustix::io::Errno;
use virtiofsd::filesystem::Entry;

use super::node::{Ident, Node};
use super::{BENEATH, Beneath, stat_at, stat_fd};
use crate::journal::Operation;
use crate::rules;

/// Who asks for something, inside the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The process, as the guest's kernel says.
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether two names are one file: renaming one to the other loses nothing.
fn same_file(one: (&OwnedFd, &CStr), other: (&OwnedFd, &CStr)) -> bool {
    let ident = |(dir, name)| Some(Ident::of(&stat_at(dir, name).ok()?));
    ident(one).is_some_and(|one| ident(other) == Some(one))
}

impl Beneath {
    /// Notes what was just made, and answers with its entry.
    fn made(&self, dir: &OwnedFd, parent: u64, name: &CStr, who: Caller) -> io::Result<Entry> {
        let stat = stat_at(dir, name)?;
        Ok(self.made_with(&stat, parent, name, who)?.1)
    }

    fn made_with(
        &self,
        stat: &Statx,
        parent: u64,
        name: &CStr,
        who: Caller,
    ) -> io::Result<(Arc<Node>, Entry)> {
        self.owners.made(Ident::of(stat), who.uid, who.gid);
        self.note_own(stat);
        let node = self.table.seen(stat, parent, name)?;
        let entry = self.entry_of(&node, stat);
        Ok((node, entry))
    }

    pub(crate) fn mkdir(
        &self,
        parent: u64,
        name: &CStr,
        mode: u32,
        who: Caller,
    ) -> io::Result<Entry> {
        let (_, dir) = self.dir(parent)?;
        self.may_make(&dir, name, true)?;
        rustix::fs::mkdirat(&*dir, name, Mode::from_raw_mode(mode & 0o7777))?;
        self.note_made(Operation::MakeDirectory, parent, name, who);
        self.made(&dir, parent, name, who)
    }

    /// Makes a regular file, FIFO or socket; anything else was refused before.
    pub(crate) fn mknod(
        &self,
        parent: u64,
        name: &CStr,
        mode: u32,
        who: Caller,
    ) -> io::Result<Entry> {
        let kind = FileType::from_raw_mode(rules::node_kind(mode)?);
        let mode = Mode::from_raw_mode(rules::file_mode(mode)?);
        let (_, dir) = self.dir(parent)?;
        self.may_make(&dir, name, false)?;
        rustix::fs::mknodat(&*dir, name, kind, mode, 0)?;
        let regular = kind == FileType::RegularFile;
        let made = if regular { Operation::Create } else { Operation::MakeNode };
        self.note_made(made, parent, name, who);
        self.made(&dir, parent, name, who)
    }

    pub(crate) fn symlink(
        &self,
        target: &CStr,
        parent: u64,
        name: &CStr,
        who: Caller,
    ) -> io::Result<Entry> {
        let (_, dir) = self.dir(parent)?;
        self.may_make(&dir, name, false)?;
        rustix::fs::symlinkat(target, &*dir, name)?;
        self.note_made(Operation::MakeLink, parent, name, who);
        self.made(&dir, parent, name, who)
    }

    /// Makes and opens a file; one that exists is opened unless `O_EXCL` is given.
    pub(crate) fn create(
        &self,
        parent: u64,
        name: &CStr,
        (mode, flags): (u32, u32),
        who: Caller,
    ) -> io::Result<(Entry, u64)> {
        const O_EXCL: u32 = 0o200;
        let mode = Mode::from_raw_mode(rules::file_mode(mode)?);
        let host_flags = OFlags::from_bits_retain(rules::host_open_flags(flags)?)
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let (_, dir) = self.dir(parent)?;
        self.may_make(&dir, name, false)?;
        match openat2(&*dir, name, host_flags, mode, BENEATH) {
            Ok(fd) => {
                let stat = stat_fd(&fd)?;
                self.note_made(Operation::Create, parent, name, who);
                let (node, entry) = self.made_with(&stat, parent, name, who)?;
                self.made_empty(&node);
                match self.add_handle(node, fd.into()) {
                    Ok(handle) => Ok((entry, handle)),
                    Err(error) => {
                        self.forget(entry.inode, 1);
                        Err(error)
                    }
                }
            }
            Err(Errno::EXIST) if flags & O_EXCL == 0 => {
                let entry = self.entry(&dir, parent, name)?.ok_or(Errno::STALE)?;
                match self.open(entry.inode, flags, who) {
                    Ok(handle) => Ok((entry, handle)),
                    Err(error) => {
                        self.forget(entry.inode, 1);
                        Err(error)
                    }
                }
            }
            Err(Errno::MFILE) => Err(Errno::NFILE.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Before a name goes: a node that lives on without it (open handles, other
    /// names) keeps a descriptor, since its place will lead nowhere.
    fn before_losing(&self, dir: &OwnedFd, parent: u64, name: &CStr) -> Option<(Arc<Node>, Statx)> {
        let stat = stat_at(dir, name).ok()?;
        let node = self.table.find(Ident::of(&stat))?;
        let lives_on = stat.stx_nlink > 1 || node.handles.load(Ordering::Relaxed) > 0;
        if lives_on && node.kind == 0o100_000 && node.is_at(parent, name) {
            // Best effort: without a descriptor the guest looks the file up again.
            if self.path_fd(&node).is_ok() {
                self.table.pin(&node);
            }
        }
        Some((node, stat))
    }

    fn after_losing(&self, lost: Option<(Arc<Node>, Statx)>) {
        if let Some((node, stat)) = lost
            && (stat.stx_nlink <= 1 || node.kind == 0o040_000)
            && node.handles.load(Ordering::Relaxed) == 0
        {
            self.owners.gone(node.ident);
        }
    }

    pub(crate) fn unlink(&self, parent: u64, name: &CStr, who: Caller) -> io::Result<()> {
        let (_, dir) = self.dir(parent)?;
        let _locked = self.names.lock(parent, parent);
        self.may_lose(&dir, name)?;
        self.before_removal(&dir, parent, name)?;
        let lost = self.before_losing(&dir, parent, name);
        self.losing(Operation::Remove, (&dir, parent, name), who, || {
            Ok(rustix::fs::unlinkat(&*dir, name, AtFlags::empty())?)
        })?;
        self.after_losing(lost);
        Ok(())
    }

    pub(crate) fn rmdir(&self, parent: u64, name: &CStr, who: Caller) -> io::Result<()> {
        let (_, dir) = self.dir(parent)?;
        let _locked = self.names.lock(parent, parent);
        self.may_lose(&dir, name)?;
        let lost = self.before_losing(&dir, parent, name);
        self.losing_directory(&dir, parent, name, who, || {
            Ok(rustix::fs::unlinkat(&*dir, name, AtFlags::REMOVEDIR)?)
        })?;
        self.after_losing(lost);
        Ok(())
    }

    /// Renames or exchanges; white-outs (a device node) are refused.
    pub(crate) fn rename(
        &self,
        (old_parent, old_name): (u64, &CStr),
        (new_parent, new_name): (u64, &CStr),
        flags: u32,
        who: Caller,
    ) -> io::Result<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL.into());
        }
        let (_, old_dir) = self.dir(old_parent)?;
        let (_, new_dir) = self.dir(new_parent)?;
        let _locked = self.names.lock(old_parent, new_parent);
        let (old, new) = ((old_parent, old_name), (new_parent, new_name));
        self.may_rename((&old_dir, old_name), (&new_dir, new_name), flags)?;
        let same = same_file((&old_dir, old_name), (&new_dir, new_name));
        let exchanges = flags.contains(RenameFlags::EXCHANGE);
        let replaces = !flags.intersects(RenameFlags::EXCHANGE | RenameFlags::NOREPLACE) && !same;
        if replaces {
            self.before_removal(&new_dir, new_parent, new_name)?;
        }
        let operation = if exchanges { Operation::Exchange } else { Operation::Rename };
        // After what loses its name is written down: read backwards, the name comes back first.
        let rename = || {
            self.moving(operation, (old, new), who, || {
                Ok(rustix::fs::renameat_with(&*old_dir, old_name, &*new_dir, new_name, flags)?)
            })
        };
        let lost = if same && !exchanges {
            // One name of a file onto another name of it: nothing happens, or a refusal.
            rustix::fs::renameat_with(&*old_dir, old_name, &*new_dir, new_name, flags)?;
            None
        } else if !replaces {
            rename()?;
            None
        } else {
            let lost = self.before_losing(&new_dir, new_parent, new_name);
            self.losing(Operation::Replace, (&new_dir, new_parent, new_name), who, rename)?;
            lost
        };
        self.note_moved(old, new);
        let moved = self.note_place(&new_dir, new_parent, new_name);
        if exchanges {
            self.note_moved(new, old);
            self.note_place(&old_dir, old_parent, old_name);
        }
        // Renaming one name of a file onto another name of it does nothing.
        let same = |lost: &(Arc<Node>, Statx)| moved.is_some_and(|id| id == lost.0.ident);
        self.after_losing(lost.filter(|lost| !same(lost)));
        Ok(())
    }

    /// That the names on both sides may be lost and made.
    fn may_rename(
        &self,
        (old_dir, old_name): (&OwnedFd, &CStr),
        (new_dir, new_name): (&OwnedFd, &CStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        let is_dir = |dir: &OwnedFd, name: &CStr| {
            stat_at(dir, name).is_ok_and(|stat| u32::from(stat.stx_mode) & 0o170_000 == 0o040_000)
        };
        self.may_lose(old_dir, old_name)?;
        self.may_make(new_dir, new_name, is_dir(old_dir, old_name))?;
        self.may_lose(new_dir, new_name)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            self.may_make(old_dir, old_name, is_dir(new_dir, new_name))?;
        }
        Ok(())
    }

    fn note_place(&self, dir: &OwnedFd, parent: u64, name: &CStr) -> Option<Ident> {
        let ident = Ident::of(&stat_at(dir, name).ok()?);
        if let Some(node) = self.table.find(ident) {
            self.table.moved(&node, parent, name);
        }
        Some(ident)
    }

    /// Gives a node one more name.
    pub(crate) fn link(&self, id: u64, parent: u64, name: &CStr, who: Caller) -> io::Result<Entry> {
        let node = self.table.get(id)?;
        if node.kind == 0o040_000 {
            return Err(Errno::PERM.into());
        }
        let fd = self.path_fd(&node)?;
        let (_, dir) = self.dir(parent)?;
        self.may_make(&dir, name, false)?;
        // Through a name of another place it could be written.
        self.may_change(&node)?;
        // By descriptor, so that no other file can take the name's place.
        let own = fd.as_raw_fd().to_string();
        rustix::fs::linkat(&self.own_fds, own, &*dir, name, AtFlags::SYMLINK_FOLLOW)?;
        self.note_link(&node, parent, name, who);
        self.entry(&dir, parent, name)?.ok_or_else(|| Errno::STALE.into())
    }
}
