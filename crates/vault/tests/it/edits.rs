//! What may happen to a folder between two snapshots, as values that can be made at
//! random and carried out. The language of all property tests here.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid};

use crate::lab::bytes_name;

/// One edit; numbers stand for places, see [`place`].
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Write(u8, Vec<u8>, bool),
    /// Some bytes inside a file change, in place.
    Patch(u8, u16, u8),
    Truncate(u8, u16),
    Remove(u8),
    Rename(u8, u8),
    /// Two entries change places.
    Exchange(u8, u8),
    Link(u8, u8),
    HardLink(u8, u8),
    Pipe(u8),
    Mode(u8, u32),
    Owner(u8, u32),
    /// The modification time, in seconds and nanoseconds.
    Time(u8, i64, u32),
    MakeDir(u8),
    /// A file grows by a hole.
    Append(u8, u16),
    /// A file of so many times 64 KiB that is a hole but for a few bytes.
    Sparse(u8, u8),
    SameSizeOldTime(u8),
    Attribute(u8, Vec<u8>),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let two = || (any::<u8>(), any::<u8>());
    // Before 1970, and later than 32 bits of seconds reach.
    let time = (any::<u8>(), -2_000_000_000i64..6_000_000_000, 0u32..1_000_000_000);
    prop_oneof![
        4 => (any::<u8>(), bytes(), any::<bool>()).prop_map(|(a, b, c)| Edit::Write(a, b, c)),
        2 => (any::<u8>(), any::<u16>(), any::<u8>()).prop_map(|(a, b, c)| Edit::Patch(a, b, c)),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(a, b)| Edit::Truncate(a, b)),
        2 => any::<u8>().prop_map(Edit::Remove),
        2 => two().prop_map(|(a, b)| Edit::Rename(a, b)),
        1 => two().prop_map(|(a, b)| Edit::Exchange(a, b)),
        1 => two().prop_map(|(a, b)| Edit::Link(a, b)),
        1 => two().prop_map(|(a, b)| Edit::HardLink(a, b)),
        1 => any::<u8>().prop_map(Edit::Pipe),
        1 => (any::<u8>(), 0o400u32..0o7777).prop_map(|(a, b)| Edit::Mode(a, b | 0o700)),
        1 => (any::<u8>(), 0u32..3).prop_map(|(a, b)| Edit::Owner(a, b * 1000)),
        1 => time.prop_map(|(a, b, c)| Edit::Time(a, b, c)),
        1 => any::<u8>().prop_map(Edit::MakeDir),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(a, b)| Edit::Append(a, b)),
        1 => (any::<u8>(), 1u8..40).prop_map(|(a, b)| Edit::Sparse(a, b)),
        1 => any::<u8>().prop_map(Edit::SameSizeOldTime),
        1 => (any::<u8>(), bytes()).prop_map(|(a, b)| Edit::Attribute(a, b)),
    ]
}

/// A small world of names, so that edits meet: three levels, some names odd.
fn place(root: &Path, n: u8) -> PathBuf {
    let long = [b'l'; 255];
    let names: [&[u8]; 7] = [b"a", b"b", b"odd\n\xff", b".hidden", b"A", b"z \"\\", &long];
    let pick = |k: u8| bytes_name(names[usize::from(k) % names.len()]);
    match n % 3 {
        0 => root.join(pick(n / 3)),
        1 => root.join(pick(n / 3)).join(pick(n / 21)),
        _ => root.join(pick(n / 3)).join(pick(n / 21)).join(pick(n / 8)),
    }
}

/// The paths that a watcher of the directories would name for an edit, asked before and
/// after it: where the entries really are, since a link may lie on the way. A name made
/// by linking changes the other names' status, of which a watcher hears nothing.
pub(crate) fn named(root: &Path, edit: &Edit) -> Vec<Vec<u8>> {
    let places = match edit {
        Edit::Rename(a, b) | Edit::Exchange(a, b) => vec![*a, *b],
        Edit::Link(_, n)
        | Edit::HardLink(_, n)
        | Edit::Write(n, ..)
        | Edit::Patch(n, ..)
        | Edit::Truncate(n, _)
        | Edit::Remove(n)
        | Edit::Pipe(n)
        | Edit::Mode(n, _)
        | Edit::Owner(n, _)
        | Edit::Time(n, ..)
        | Edit::MakeDir(n)
        | Edit::Append(n, _)
        | Edit::Sparse(n, _)
        | Edit::SameSizeOldTime(n)
        | Edit::Attribute(n, _) => vec![*n],
    };
    let mut found = Vec::new();
    for n in places {
        let path = place(root, n);
        let parent = fs::canonicalize(path.parent().unwrap());
        let entry = parent.map(|p| p.join(path.file_name().unwrap()));
        for real in [Ok(path.clone()), entry, fs::canonicalize(&path)].into_iter().flatten() {
            if let Ok(below) = real.strip_prefix(root) {
                found.push(below.as_os_str().as_bytes().to_vec());
            }
        }
    }
    found
}

/// Whether all that lies below the named paths may be new to a watcher.
pub(crate) fn moves(edit: &Edit) -> bool {
    matches!(edit, Edit::Rename(..) | Edit::Exchange(..))
}

/// Most edits fail now and then (a file where a directory should be): that is fine.
pub(crate) fn carry_out(root: &Path, edit: &Edit) -> std::io::Result<()> {
    match edit {
        Edit::Write(n, bytes, large) => {
            let path = place(root, *n);
            fs::create_dir_all(path.parent().unwrap())?;
            regular(&path)?;
            fs::write(path, if *large { bytes.repeat(4000) } else { bytes.clone() })
        }
        Edit::Patch(n, at, byte) => {
            let file = writable(&place(root, *n))?;
            let length = file.metadata()?.len().max(1);
            file.write_all_at(&[*byte; 3], u64::from(*at) % length)
        }
        Edit::Truncate(n, length) => {
            let file = writable(&place(root, *n))?;
            let present = file.metadata()?.len();
            file.set_len(present.min(u64::from(*length)))
        }
        Edit::Remove(n) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Edit::Rename(a, b) => fs::rename(place(root, *a), place(root, *b)),
        Edit::Exchange(a, b) => {
            let (a, b) = (place(root, *a), place(root, *b));
            Ok(rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
        }
        Edit::Link(a, b) => symlink(place(Path::new(".."), *a), place(root, *b)),
        Edit::HardLink(a, b) => fs::hard_link(place(root, *a), place(root, *b)),
        Edit::Pipe(n) => Ok(rustix::fs::mkfifoat(CWD, place(root, *n), Mode::from(0o640))?),
        Edit::Mode(n, mode) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_symlink() {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))
        }
        Edit::Owner(n, id) => {
            let (uid, gid) = (Uid::from_raw(*id), Gid::from_raw(*id / 2));
            let (path, no_link) = (place(root, *n), AtFlags::SYMLINK_NOFOLLOW);
            Ok(rustix::fs::chownat(CWD, path, Some(uid), Some(gid), no_link)?)
        }
        Edit::Time(n, seconds, nanos) => {
            let time = Timespec { tv_sec: *seconds, tv_nsec: (*nanos).into() };
            let times = Timestamps { last_access: time, last_modification: time };
            let path = place(root, *n);
            Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        }
        Edit::MakeDir(n) => fs::create_dir_all(place(root, *n)),
        Edit::Append(n, length) => {
            let file = writable(&place(root, *n))?;
            file.set_len(file.metadata()?.len() + u64::from(*length))
        }
        Edit::Sparse(n, blocks) => {
            let path = place(root, *n);
            fs::create_dir_all(path.parent().unwrap())?;
            regular(&path)?;
            let (file, length) = (fs::File::create(path)?, u64::from(*blocks) << 16);
            file.set_len(length)?;
            file.write_all_at(b"not zero", length / 2)
        }
        Edit::SameSizeOldTime(n) => {
            let path = place(root, *n);
            let meta = fs::symlink_metadata(&path)?;
            if !meta.is_file() || meta.len() == 0 {
                return Ok(());
            }
            let mut bytes = fs::read(&path)?;
            bytes[0] ^= 0x55;
            fs::write(&path, bytes)?;
            fs::File::options().write(true).open(&path)?.set_modified(meta.modified()?)
        }
        Edit::Attribute(n, value) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_symlink() {
                return Ok(());
            }
            rustix::fs::setxattr(path, "user.p", value, rustix::fs::XattrFlags::empty())?;
            Ok(())
        }
    }
}

/// Opening a pipe for writing would wait for a reader that never comes.
fn regular(path: &Path) -> std::io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => Err(std::io::ErrorKind::InvalidInput.into()),
        _ => Ok(()),
    }
}

fn writable(path: &Path) -> std::io::Result<fs::File> {
    regular(path)?;
    fs::File::options().write(true).open(path)
}
