//! Content: opening, reading, writing and listing.

use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;
use virtiofsd::filesystem::{DirEntry, DirectoryIterator, ZeroCopyReader, ZeroCopyWriter};
use virtiofsd::oslib::WritevFlags;
use virtiofsd::read_dir::ReadDir;

use super::Beneath;
use super::change::Caller;
use super::keeping::NOTHING;
use super::names::Unlisted;
use super::node::{Node, lock};
use crate::rules;

const O_APPEND: u32 = 0o2000;
const O_TRUNC: u32 = 0o1000;

/// One answer to a listing: more is asked for by the guest.
const LISTING: usize = 32 * 1024;

impl Beneath {
    /// Opens a file; truncates it only once it is known to be the right one.
    pub(crate) fn open(&self, id: u64, flags: u32, who: Caller) -> io::Result<u64> {
        let node = self.table.get(id)?;
        if node.kind == 0o040_000 {
            return Err(Errno::ISDIR.into());
        }
        let host_flags = OFlags::from_bits_retain(rules::host_open_flags(flags)?);
        if flags & 0o3 != 0 || flags & O_TRUNC != 0 {
            self.may_change(&node)?;
        }
        let file = self.open_node(&node, host_flags)?;
        if flags & 0o3 != 0 || flags & O_TRUNC != 0 {
            self.settle(&node);
        }
        if flags & O_TRUNC == 0 {
            return self.add_handle(node, file);
        }
        // The handle first: what is cut off shall be followed by its being closed.
        let handle = self.add_handle(Arc::clone(&node), file)?;
        let cut = self.handle(handle, id).and_then(|open| {
            open.wrote.store(true, Ordering::Relaxed);
            let file = &open.file;
            self.changing((&node, file), 0, who, || Ok(rustix::fs::ftruncate(file, 0)?))
        });
        match cut {
            Ok(()) => Ok(handle),
            Err(error) => {
                self.release(id, handle, who)?;
                Err(error)
            }
        }
    }

    pub(crate) fn opendir(&self, id: u64) -> io::Result<u64> {
        let node = self.table.get(id)?;
        if node.kind != 0o040_000 {
            return Err(Errno::NOTDIR.into());
        }
        let file = self.open_node(&node, OFlags::RDONLY)?;
        self.add_handle(node, file)
    }

    pub(crate) fn read<W: ZeroCopyWriter>(
        &self,
        (id, handle): (u64, u64),
        mut out: W,
        size: u32,
        offset: u64,
    ) -> io::Result<usize> {
        in_range(offset, u64::from(size))?;
        let handle = self.handle(handle, id)?;
        out.read_from_file_at(&handle.file, size as usize, offset, None)
    }

    /// Writes; to the end where the guest opened for appending and the write is
    /// not one of a mapping.
    pub(crate) fn write<R: ZeroCopyReader>(
        &self,
        (id, handle): (u64, u64),
        mut data: R,
        (size, offset): (u32, u64),
        (flags, mapped): (u32, bool),
        who: Caller,
    ) -> io::Result<usize> {
        in_range(offset, u64::from(size))?;
        let handle = self.handle(handle, id)?;
        let append = (flags & O_APPEND != 0 && !mapped).then_some(WritevFlags::RWF_APPEND);
        let from = if append.is_some() { NOTHING } else { offset };
        handle.wrote.store(true, Ordering::Relaxed);
        self.changing((&handle.node, &handle.file), from, who, || {
            data.write_to_file_at(&handle.file, size as usize, offset, append)
        })
    }

    pub(crate) fn readlink(&self, id: u64) -> io::Result<Vec<u8>> {
        let node = self.table.get(id)?;
        if node.kind != 0o120_000 {
            return Err(Errno::INVAL.into());
        }
        let place = node.place();
        let target = match node.fd() {
            Some(fd) => rustix::fs::readlinkat(&*fd, c"", Vec::new())?,
            None => {
                let (_, dir) = self.dir(place.parent).map_err(super::stale)?;
                rustix::fs::readlinkat(&*dir, &*place.name, Vec::new())?
            }
        };
        Ok(target.into_bytes())
    }

    pub(crate) fn readdir(
        &self,
        (id, handle): (u64, u64),
        size: u32,
        offset: u64,
    ) -> io::Result<Listing> {
        let handle = self.handle(handle, id)?;
        let _reading = lock(&handle.reading);
        let size = (size as usize).clamp(1024, LISTING);
        let covered = self
            .covered
            .iter()
            .filter(|(directory, _)| *directory == handle.node.ident)
            .map(|(_, name)| name.clone())
            .collect();
        Ok(Listing {
            entries: ReadDir::new(&handle.file, offset, vec![0; size])?,
            covered,
            unlisted: self.unlisted(&handle.node)?,
            name: CString::default(),
        })
    }

    /// Makes a file's or directory's content durable.
    pub(crate) fn fsync(&self, (id, handle): (u64, u64), data_only: bool) -> io::Result<()> {
        let handle = self.handle(handle, id)?;
        if data_only {
            rustix::fs::fdatasync(&handle.file)?;
        } else {
            rustix::fs::fsync(&handle.file)?;
        }
        Ok(())
    }

    /// Makes everything that was written durable.
    pub(crate) fn syncfs(&self) -> io::Result<()> {
        let root = self.table.get(super::node::ROOT)?;
        let file = self.open_node(&root, OFlags::RDONLY)?;
        Ok(rustix::fs::syncfs(&file)?)
    }

    pub(crate) fn fallocate(
        &self,
        (id, handle): (u64, u64),
        mode: u32,
        (offset, length): (u64, u64),
        who: Caller,
    ) -> io::Result<()> {
        in_range(offset, length)?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        let handle = self.handle(handle, id)?;
        // Without any of the others it only makes room.
        let adds = FallocateFlags::KEEP_SIZE.contains(mode);
        let from = if adds { NOTHING } else { offset };
        handle.wrote.store(true, Ordering::Relaxed);
        self.changing((&handle.node, &handle.file), from, who, || {
            Ok(rustix::fs::fallocate(&handle.file, mode, offset, length)?)
        })
    }

    /// Finds data and holes; other origins are the guest kernel's.
    pub(crate) fn lseek(
        &self,
        (id, handle): (u64, u64),
        offset: u64,
        whence: u32,
    ) -> io::Result<u64> {
        in_range(offset, 0)?;
        let handle = self.handle(handle, id)?;
        let to = match whence {
            3 => SeekFrom::Data(offset),
            4 => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(rustix::fs::seek(&handle.file, to)?)
    }

    pub(crate) fn copy_file_range(
        &self,
        ((id_in, handle_in), mut offset_in): ((u64, u64), u64),
        ((id_out, handle_out), mut offset_out): ((u64, u64), u64),
        length: u64,
        who: Caller,
    ) -> io::Result<usize> {
        in_range(offset_in, length)?;
        in_range(offset_out, length)?;
        let from = self.handle(handle_in, id_in)?;
        let to = self.handle(handle_out, id_out)?;
        // One answer carries 32 bits.
        let length = usize::try_from(length.min(1 << 30)).unwrap_or(1 << 30);
        to.wrote.store(true, Ordering::Relaxed);
        self.changing((&to.node, &to.file), offset_out, who, || {
            Ok(rustix::fs::copy_file_range(
                &from.file,
                Some(&mut offset_in),
                &to.file,
                Some(&mut offset_out),
                length,
            )?)
        })
    }

    /// Numbers of the file system that the folder is on.
    pub(crate) fn statfs(&self, st: &mut nix::libc::statvfs64) -> io::Result<()> {
        let root = self.table.get(super::node::ROOT)?;
        let from = rustix::fs::fstatvfs(&*self.path_fd(&root)?)?;
        st.f_bsize = from.f_bsize;
        st.f_frsize = from.f_frsize;
        st.f_blocks = from.f_blocks;
        st.f_bfree = from.f_bfree;
        st.f_bavail = from.f_bavail;
        st.f_files = from.f_files;
        st.f_ffree = from.f_ffree;
        st.f_favail = from.f_favail;
        st.f_namemax = from.f_namemax;
        Ok(())
    }

    /// Whether a node is there; the guest's kernel judges permissions.
    pub(crate) fn access(&self, id: u64) -> io::Result<()> {
        self.stat_node(&self.table.get(id)?).map(drop)
    }

    pub(super) fn xattr_file(&self, node: &Arc<Node>) -> io::Result<Option<std::fs::File>> {
        match node.kind {
            0o040_000 | 0o100_000 => self.open_node(node, OFlags::RDONLY).map(Some),
            _ => Ok(None),
        }
    }
}

/// Offsets that the host's calls take as signed numbers.
fn in_range(offset: u64, length: u64) -> Result<(), Errno> {
    match offset.checked_add(length) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(Errno::FBIG),
    }
}

/// Names of a directory, as read at one time, without those that are hidden or that another
/// file system is mounted on.
pub(crate) struct Listing {
    entries: ReadDir<Vec<u8>>,
    covered: Vec<CString>,
    unlisted: Option<Unlisted>,
    /// The entry shown last, where some are left out.
    name: CString,
}

impl DirectoryIterator for Listing {
    fn next(&mut self) -> Option<DirEntry<'_>> {
        if self.covered.is_empty() && self.unlisted.is_none() {
            return self.entries.next();
        }
        let (ino, offset, type_) = loop {
            let entry = self.entries.next()?;
            let (inode, kind) = (entry.ino, entry.type_);
            let left_out = self.covered.iter().any(|name| name.as_c_str() == entry.name)
                || self.unlisted.as_ref().is_some_and(|rest| rest.has(entry.name, inode, kind));
            if !left_out {
                self.name = entry.name.to_owned();
                break (entry.ino, entry.offset, entry.type_);
            }
        };
        Some(DirEntry { ino, offset, type_, name: &self.name })
    }
}
