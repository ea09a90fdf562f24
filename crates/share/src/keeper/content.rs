//! Copies of content: by reference where the file system can, else the bytes,
//! holes left out. Must not look at names.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, XattrFlags};
use rustix::io::Errno;

use crate::journal::LONGEST_DATA;
use crate::rules;

/// Bytes of one step.
const STEP: u64 = 1 << 20;

/// Copies the first `length` bytes of a file into an empty one.
///
/// # Errors
/// What the file systems say, ENOSPC among it.
pub(super) fn copy(from: BorrowedFd<'_>, to: &File, length: u64) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return to.set_len(length);
    }
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) if data < length => data,
            // Nothing but a hole to the end.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap_or(length);
        at = hole.min(length);
        copy_range(from, to, data, at)?;
    }
    to.set_len(length)
}

fn copy_range(from: BorrowedFd<'_>, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let length = usize::try_from((end - at).min(64 * STEP)).unwrap_or(1);
        let (mut from_at, mut to_at) = (at, at);
        match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), length) {
            // Shorter than it was a moment ago.
            Ok(0) => return Ok(()),
            Ok(copied) => at += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                return copy_bytes(from, to, at, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_bytes(from: BorrowedFd<'_>, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let size = usize::try_from((end - at).min(STEP)).unwrap_or(1);
    let mut buffer = vec![0; size];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        match rustix::io::pread(from, &mut buffer[..most], at) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all_at(&buffer[..read], at)?;
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Copies the extended attributes that a guest can see and change.
///
/// # Errors
/// What the file systems say; that they have no attributes is none.
pub(super) fn copy_attributes(from: BorrowedFd<'_>, to: &File) -> io::Result<()> {
    let mut names = vec![0; 1024];
    let length = loop {
        match rustix::fs::flistxattr(from, &mut names[..]) {
            // Most files have none.
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() < LONGEST_DATA => names.resize(LONGEST_DATA, 0),
            Err(errno) => return Err(errno.into()),
        }
    };
    for name in names[..length].split(|byte| *byte == 0) {
        if !rules::xattr_visible(name) {
            continue;
        }
        let mut value = vec![0; LONGEST_DATA];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
