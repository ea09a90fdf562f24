//! The folder, seen from its root descriptor and never by a path from outside:
//! finds the file behind a number and opens it beneath the root, without links
//! and without crossing mounts. Must not judge what is allowed (`guarded` does).
//!
//! A number is bound to device, inode and birth time. What is kept of it is the
//! place where it was last seen; a descriptor is opened from there when one
//! is needed, and checked against the identity before it is used. At most
//! `most_resident` of them are kept, so a guest may know far more files than the
//! process may open.

mod attr;
mod change;
mod content;
mod keeping;
mod losses;
mod names;
mod node;
mod owner;
#[cfg(test)]
mod tests;
mod xattr;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx};
use rustix::io::Errno;
use virtiofsd::filesystem::Entry;

use crate::keep::Keeper;
use crate::mass_loss::MassLoss;
pub(crate) use change::Caller;
pub(crate) use content::Listing;
pub(crate) use names::Names;
use node::{Ident, Node, Table};
pub(crate) use owner::Owners;

/// How long a guest may believe a name, its absence and its attributes: what
/// changes on the host is seen inside in less than a second.
pub(crate) const BELIEF: Duration = Duration::from_millis(900);

/// Descriptors that are not a guest's (sockets, queues, threads), and the
/// directories that a guest may open beyond its files.
const RESERVED: u64 = 384;

/// Directories that may be opened when every file handle is in use: a guest that
/// exhausts them must still be able to list and remove.
const SPARE_DIRECTORIES: usize = 128;

/// Longest chain of directories that is followed: more than PATH_MAX can name.
const DEEPEST: usize = 4096;

/// Sub-path of one `openat2` call; longer ones are opened in steps.
const LONGEST_STEP: usize = 3000;

const STAT: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// Every way that could lead out of the folder is closed in the kernel.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// An open file or directory of a guest.
#[derive(Debug)]
pub(crate) struct Handle {
    node: Arc<Node>,
    file: File,
    /// Directories: reading moves the descriptor's position.
    reading: Mutex<()>,
    /// Something was written, or cut off, through this handle.
    wrote: AtomicBool,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Beneath {
    table: Table,
    handles: RwLock<HashMap<u64, Arc<Handle>>>,
    last_handle: AtomicU64,
    most_handles: usize,
    /// `/proc/self/fd`: the way to open again what an `O_PATH` descriptor shows.
    own_fds: OwnedFd,
    mount: u64,
    /// Directories with the names in them that are mount points.
    covered: Vec<(Ident, CString)>,
    owners: owner::OwnerView,
    /// Without one nothing is written down or kept.
    keeper: Option<Keeper>,
    names: keeping::NameLocks,
    /// What is hidden and protected.
    rules: Arc<names::NameRules>,
    /// The guard against mass loss.
    losses: Mutex<MassLoss<Ident>>,
}

/// What a share is built from.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The folder's root, opened with `O_PATH | O_DIRECTORY`.
    pub(crate) root: OwnedFd,
    /// `/proc/self/fd`, opened with `O_PATH | O_DIRECTORY`.
    pub(crate) own_fds: OwnedFd,
    /// Paths below the root where other file systems are mounted: neither
    /// shown nor entered.
    pub(crate) mounts: Vec<PathBuf>,
    pub(crate) owners: Owners,
    /// Where what would be lost is kept.
    pub(crate) keeper: Option<Keeper>,
    /// What the folder hides and protects.
    pub(crate) names: Names,
    /// How many descriptors the process may have.
    pub(crate) most_descriptors: u64,
}

fn stat_fd(fd: impl AsFd) -> io::Result<Statx> {
    Ok(statx(fd, c"", AtFlags::EMPTY_PATH, STAT)?)
}

fn stat_at(dir: impl AsFd, name: &CStr) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(statx(dir, name, flags, STAT)?)
}

/// The directory and the name of a mount point; `None` below another one.
fn covered(root: &OwnedFd, path: &Path) -> Option<(Ident, CString)> {
    let name = CString::new(path.file_name()?.as_bytes()).ok()?;
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let stat = match parent {
        None => stat_fd(root).ok()?,
        Some(parent) => {
            let fd = openat2(root, parent, flags, Mode::empty(), BENEATH).ok()?;
            stat_fd(&fd).ok()?
        }
    };
    Some((Ident::of(&stat), name))
}

/// A file that is no longer where it was: the guest looks its path up again.
fn stale(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => {
            Errno::STALE.into()
        }
        // The guest is told of its own limit, not of ours.
        Some(Errno::MFILE) => Errno::NFILE.into(),
        _ => error,
    }
}

impl Beneath {
    /// # Errors
    /// The root cannot be looked at.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let stat = stat_fd(&parts.root)?;
        let covered = parts.mounts.iter().filter_map(|path| covered(&parts.root, path)).collect();
        let most = parts.most_descriptors.saturating_sub(RESERVED);
        let most_resident = (most / 4).min(4096);
        Ok(Self {
            mount: stat.stx_mnt_id,
            covered,
            table: Table::new(parts.root, &stat, usize::try_from(most_resident).unwrap_or(4096)),
            handles: RwLock::new(HashMap::new()),
            last_handle: AtomicU64::new(0),
            // Pinned descriptors are half as many again at most.
            most_handles: usize::try_from(most - most_resident - most_resident / 2)
                .unwrap_or(usize::MAX),
            own_fds: parts.own_fds,
            owners: owner::OwnerView::new(parts.owners),
            keeper: parts.keeper,
            names: keeping::NameLocks::new(),
            losses: Mutex::default(),
            rules: Arc::new(names::NameRules::new(parts.names)),
        })
    }

    /// Closes what can be opened again, so that everything is looked up afresh.
    pub(crate) fn refresh(&self) {
        self.table.close_all();
    }

    /// The guest is gone: forgets what it knew and closes what it had open.
    pub(crate) fn reset(&self) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.table.clear();
    }

    /// The names from the nearest directory that is open down to the node.
    fn way_to(&self, node: &Arc<Node>) -> io::Result<(Arc<OwnedFd>, Vec<CString>)> {
        let mut names = Vec::new();
        let mut at = Arc::clone(node);
        loop {
            let place = at.place();
            names.push(place.name);
            if names.len() > DEEPEST {
                return Err(Errno::STALE.into());
            }
            at = self.table.get(place.parent).map_err(|_| Errno::STALE)?;
            if let Some(fd) = at.fd() {
                names.reverse();
                return Ok((fd, names));
            }
        }
    }

    /// An `O_PATH` descriptor of a node, kept or opened from its place.
    fn path_fd(&self, node: &Arc<Node>) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = node.fd() {
            return Ok(fd);
        }
        let (mut dir, names) = self.way_to(node)?;
        let mut step = Vec::new();
        let mut names = names.iter().peekable();
        while let Some(name) = names.next() {
            if !step.is_empty() {
                step.push(b'/');
            }
            step.extend_from_slice(name.to_bytes());
            if names.peek().is_some() && step.len() < LONGEST_STEP {
                continue;
            }
            let path = CString::new(std::mem::take(&mut step)).map_err(|_| Errno::INVAL)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat2(&*dir, path, flags, Mode::empty(), BENEATH)
                .map_err(|errno| stale(errno.into()))?;
            dir = Arc::new(fd);
        }
        if Ident::of(&stat_fd(&*dir)?) != node.ident {
            return Err(Errno::STALE.into());
        }
        self.table.keep(node, Arc::clone(&dir));
        Ok(dir)
    }

    /// The descriptor of a directory that a guest named.
    fn dir(&self, id: u64) -> io::Result<(Arc<Node>, Arc<OwnedFd>)> {
        let node = self.table.get(id)?;
        if node.kind != 0o040_000 {
            return Err(Errno::NOTDIR.into());
        }
        let fd = self.path_fd(&node)?;
        Ok((node, fd))
    }

    /// What the node is now, at the least expense.
    fn stat_node(&self, node: &Arc<Node>) -> io::Result<Statx> {
        if node.kind == 0o040_000 {
            return stat_fd(&*self.path_fd(node)?);
        }
        if let Some(fd) = node.fd() {
            return stat_fd(&*fd);
        }
        let place = node.place();
        let (_, dir) = self.dir(place.parent).map_err(stale)?;
        let stat = stat_at(&*dir, &place.name).map_err(stale)?;
        if Ident::of(&stat) != node.ident {
            return Err(Errno::STALE.into());
        }
        Ok(stat)
    }

    /// Opens a node for reading or writing; never anything but a regular file or a directory.
    fn open_node(&self, node: &Arc<Node>, flags: OFlags) -> io::Result<File> {
        // Not to wait for anybody, should the name be a FIFO by now.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        match node.kind {
            0o040_000 => {
                let fd = self.path_fd(node)?;
                let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                Ok(openat2(&*fd, c".", flags, Mode::empty(), BENEATH)
                    .map_err(|errno| stale(errno.into()))?
                    .into())
            }
            0o100_000 => {
                if let Some(fd) = node.fd() {
                    return self.open_again(fd.as_fd(), flags);
                }
                let place = node.place();
                let (_, dir) = self.dir(place.parent).map_err(stale)?;
                let flags = flags | OFlags::NOFOLLOW;
                let fd = openat2(&*dir, &*place.name, flags, Mode::empty(), BENEATH)
                    .map_err(|errno| stale(errno.into()))?;
                if Ident::of(&stat_fd(&fd)?) != node.ident {
                    return Err(Errno::STALE.into());
                }
                Ok(fd.into())
            }
            // Links, FIFOs, sockets and devices are the guest kernel's own affair.
            _ => Err(Errno::NXIO.into()),
        }
    }

    /// Opens what an `O_PATH` descriptor shows; its kind is known and no link.
    fn open_again(&self, fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<File> {
        let name = fd.as_raw_fd().to_string();
        let file = rustix::fs::openat(&self.own_fds, name, flags, Mode::empty())
            .map_err(|errno| stale(errno.into()))?;
        Ok(file.into())
    }

    /// The entry of a name, and one look-up more; `None` where there is none
    /// (or it is hidden, or another file system is mounted on it).
    fn entry(&self, dir: &OwnedFd, parent: u64, name: &CStr) -> io::Result<Option<Entry>> {
        let stat = match stat_at(dir, name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_dir = u32::from(stat.stx_mode) & 0o170_000 == 0o040_000;
        if stat.stx_mnt_id != self.mount || self.is_hidden(dir, name, stat.stx_ino, is_dir)? {
            return Ok(None);
        }
        let node = self.table.seen(&stat, parent, name)?;
        Ok(Some(self.entry_of(&node, &stat)))
    }

    fn entry_of(&self, node: &Node, stat: &Statx) -> Entry {
        Entry {
            inode: node.id,
            generation: 0,
            attr: self.attr(stat),
            attr_timeout: BELIEF,
            entry_timeout: BELIEF,
        }
    }

    /// Looks a name up. An absent one is answered with number 0: the guest may
    /// believe that too, and a name that goes while a listing is made does not
    /// fail the listing.
    pub(crate) fn lookup(&self, parent: u64, name: &CStr) -> io::Result<Entry> {
        let (_, dir) = self.dir(parent)?;
        Ok(self.entry(&dir, parent, name)?.unwrap_or(Entry {
            inode: 0,
            generation: 0,
            attr: virtiofsd::fuse::Attr::default(),
            attr_timeout: Duration::ZERO,
            entry_timeout: BELIEF,
        }))
    }

    /// Takes look-ups back.
    pub(crate) fn forget(&self, id: u64, count: u64) {
        self.table.forget(id, count);
    }

    fn add_handle(&self, node: Arc<Node>, file: File) -> io::Result<u64> {
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        let spare = if node.kind == 0o040_000 { SPARE_DIRECTORIES } else { 0 };
        if handles.len() >= self.most_handles + spare {
            return Err(Errno::NFILE.into());
        }
        node.handles.fetch_add(1, Ordering::Relaxed);
        let id = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Handle { node, file, reading: Mutex::new(()), wrote: AtomicBool::new(false) };
        handles.insert(id, Arc::new(handle));
        Ok(id)
    }

    /// The handle of this number, which must belong to this node.
    fn handle(&self, id: u64, node: u64) -> io::Result<Arc<Handle>> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        match handles.get(&id) {
            Some(handle) if handle.node.id == node => Ok(Arc::clone(handle)),
            _ => Err(Errno::BADF.into()),
        }
    }

    /// Closes a handle.
    pub(crate) fn release(&self, node: u64, id: u64, who: Caller) -> io::Result<()> {
        let handle = {
            let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
            match handles.get(&id) {
                Some(handle) if handle.node.id == node => handles.remove(&id),
                _ => None,
            }
        };
        // The file is closed after the lock is free again.
        let handle = handle.ok_or(Errno::BADF)?;
        self.complete(&handle, who);
        handle.node.handles.fetch_sub(1, Ordering::Relaxed);
        drop(handle);
        // A guest that forgot the file before it closed it.
        self.table.drop_forgotten(node);
        Ok(())
    }

    /// The keeper, where there is one.
    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }
}
