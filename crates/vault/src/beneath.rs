//! Directories of a folder, opened so that no link, mount or swapped name leads out
//! of it. Owns every open below a folder, for reading and for restoring; decides
//! nothing about what is stored or restored.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::error::{At, FolderProblem, Result, VaultError};
use crate::stat::{self, Attributes, Stat};

/// Deeper directories are reported, not followed: one descriptor is held for each level.
pub(crate) const MAX_DEPTH: usize = 512;

const STAY: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Dir {
    /// Opens a folder by its path; the last component must be a directory, not a link.
    pub(crate) fn open_root(path: &Path) -> Result<Self> {
        let refuse = |what| Err(VaultError::Folder { path: path.into(), what });
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A slash at the end would have a link followed.
        let bare = path.components().as_path();
        match rustix::fs::open(bare, flags, Mode::empty()) {
            Ok(fd) => Ok(Self(fd)),
            Err(Errno::NOTDIR | Errno::LOOP) if bare.is_symlink() => refuse(FolderProblem::Link),
            Err(Errno::NOTDIR | Errno::LOOP) => refuse(FolderProblem::NotADirectory),
            Err(Errno::NOENT) => refuse(FolderProblem::Missing),
            Err(e) => Err(e).at("open the folder", path),
        }
    }

    /// Opens the directory `name` in this one.
    pub(crate) fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat2(&self.0, name, flags, Mode::empty(), STAY)?))
    }

    /// Opens the file `name` for reading, never waiting (a FIFO), never following a
    /// link, and only if it still is the one that `expected` describes.
    pub(crate) fn open_file(&self, name: &OsStr, expected: &Stat) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat2(&self.0, name, flags, Mode::empty(), STAY);
        // Reading must not disturb access times; only an owner may ask for that.
        let fd = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?,
            other => other?,
        };
        let found = Stat::of(&fd)?;
        if !found.is_file() || (found.dev, found.ino) != (expected.dev, expected.ino) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file took its name"));
        }
        Ok((File::from(fd), found))
    }

    /// Status of `name`, not following a link.
    pub(crate) fn stat_at(&self, name: &OsStr) -> io::Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Ok(Stat::from(&rustix::fs::statat(&self.0, name, flags)?))
    }

    /// Status of this directory.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.0)
    }

    /// Whether a file system is mounted exactly here; kernels before 5.8 do not say.
    pub(crate) fn is_mount(&self) -> io::Result<Option<bool>> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        let found = rustix::fs::statx(&self.0, "", flags, StatxFlags::empty())?;
        let says = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        Ok(says.then(|| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
    }

    /// Another descriptor of this directory.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Where the link `name` points.
    pub(crate) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let target: CString = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Extended attributes of `name`, not following a link and opening nothing (a
    /// device or a pipe must not be opened).
    pub(crate) fn attributes_at(&self, name: &OsStr) -> io::Result<Attributes> {
        let mut path = format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        stat::link_attributes(OsStr::from_bytes(&path))
    }

    /// Names in this directory, sorted by their bytes.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        // A description of its own, so that the position is not shared.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.0, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut reader = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Directories below a folder, opened by path. Quick for paths in walking order, since
/// the way to the last one is kept open.
#[derive(Debug)]
pub(crate) struct Places {
    root: Dir,
    open: Vec<(Vec<u8>, Dir)>,
}

impl Places {
    pub(crate) fn new(root: Dir) -> Self {
        Self { root, open: Vec::new() }
    }

    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// Opens the directory at `path`; `b""` is the folder itself.
    pub(crate) fn dir(&mut self, path: &[u8]) -> io::Result<&Dir> {
        let leads =
            |p: &[u8]| p == path || (path.starts_with(p) && path.get(p.len()) == Some(&b'/'));
        let keep = self.open.iter().take_while(|(p, _)| leads(p)).count();
        self.open.truncate(keep);
        let done = self.open.last().map_or(0, |(p, _)| p.len());
        let rest = path.get(done..).unwrap_or_default();
        for part in rest.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            if self.open.len() >= MAX_DEPTH {
                return Err(io::Error::other("nested too deeply"));
            }
            let (at, here) = match self.open.last() {
                Some((at, dir)) => (at.as_slice(), dir),
                None => (b"".as_slice(), &self.root),
            };
            let name = OsStr::from_bytes(part);
            let next = (join(at, name), here.open_dir(name)?);
            self.open.push(next);
        }
        Ok(self.open.last().map_or(&self.root, |(_, dir)| dir))
    }

    /// Forgets a directory that was removed or made anew, and those below it.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        let below =
            |p: &[u8]| p == path || (p.starts_with(path) && p.get(path.len()) == Some(&b'/'));
        if let Some(first) = self.open.iter().position(|(p, _)| below(p)) {
            self.open.truncate(first);
        }
    }
}

/// Adds a name to a path below a folder.
pub(crate) fn join(path: &[u8], name: &OsStr) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name.as_bytes());
    joined
}

/// Splits a path below a folder into its directory and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
        None => (b"", OsStr::from_bytes(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_fifos_are_not_opened() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("secret"), "s").unwrap();
        let folder = top.path().join("folder");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("file"), "f").unwrap();
        symlink("../secret", folder.join("link")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("fifo"), Mode::from(0o600)).unwrap();
        let root = Dir::open_root(&folder).unwrap();
        let file = root.stat_at(OsStr::new("file")).unwrap();
        assert!(root.open_file(OsStr::new("file"), &file).is_ok());
        assert!(root.open_file(OsStr::new("link"), &file).is_err());
        // Not even where the link leads to the very file that is meant.
        symlink("file", folder.join("alias")).unwrap();
        assert!(root.open_file(OsStr::new("alias"), &file).is_err());
        let fifo = root.stat_at(OsStr::new("fifo")).unwrap();
        assert!(root.open_file(OsStr::new("fifo"), &fifo).is_err());
        assert!(root.open_dir(OsStr::new("up")).is_err());
        assert!(root.open_dir(OsStr::new("..")).is_err());
        symlink(&folder, top.path().join("alias")).unwrap();
        for alias in ["alias", "alias/", "alias/."] {
            let opened = Dir::open_root(&top.path().join(alias));
            let what = FolderProblem::Link;
            assert!(
                matches!(opened, Err(VaultError::Folder { what: w, .. }) if w == what),
                "{alias}"
            );
        }
        assert_eq!(root.names().unwrap(), ["alias", "fifo", "file", "link", "sub", "up"]);
        let mut places = Places::new(root);
        assert!(places.dir(b"sub").is_ok());
        assert!(places.dir(b"up/folder").is_err());
        assert!(places.dir(b"").is_ok());
    }

    #[test]
    fn paths_are_joined_and_split() {
        assert_eq!(join(b"", OsStr::new("a")), b"a");
        assert_eq!(join(b"a", OsStr::new("b")), b"a/b");
        assert_eq!(split(b"a/b/c"), (b"a/b".as_slice(), OsStr::new("c")));
        assert_eq!(split(b"a"), (b"".as_slice(), OsStr::new("a")));
    }
}
