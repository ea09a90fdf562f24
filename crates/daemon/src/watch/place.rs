//! Opening directories of a folder for watching: beneath its root, through no link, into no
//! other file system. Owns these opens; keeps none of them open, so that nobody is kept
//! from unmounting a disk.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::RootLost;

/// A longer path is opened in pieces: the kernel takes at most 4,096 bytes at once.
const MOST_AT_ONCE: usize = 4000;

const STAY: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder's own directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Canonical path.
    pub path: PathBuf,
    /// Device when it was registered.
    pub device: u64,
    /// Inode when it was registered.
    pub inode: u64,
}

impl Root {
    /// Whether the directory that was registered is still what stands at its path.
    ///
    /// # Errors
    /// What stands there instead.
    pub fn check(&self) -> Result<(), RootLost> {
        match rustix::fs::lstat(&self.path) {
            Ok(facts) => {
                let kind = FileType::from_raw_mode(facts.st_mode);
                self.judge(kind, (facts.st_dev, facts.st_ino))
            }
            Err(error) => Err(lost(error)),
        }
    }

    pub(super) fn open(&self) -> Result<OwnedFd, RootLost> {
        let root = rustix::fs::open(&self.path, DIRECTORY, Mode::empty()).map_err(lost)?;
        let facts = rustix::fs::fstat(&root).map_err(lost)?;
        self.judge(FileType::Directory, (facts.st_dev, facts.st_ino))?;
        Ok(root)
    }

    fn judge(&self, kind: FileType, (device, inode): (u64, u64)) -> Result<(), RootLost> {
        if kind == FileType::Symlink {
            return Err(RootLost::Link);
        }
        if kind != FileType::Directory {
            return Err(RootLost::NoDirectory);
        }
        match (device == self.device, inode == self.inode) {
            (true, true) => Ok(()),
            (true, false) => Err(RootLost::Another),
            (false, _) => Err(RootLost::OtherDisk),
        }
    }
}

fn lost(error: Errno) -> RootLost {
    match error {
        Errno::NOENT => RootLost::Missing,
        Errno::LOOP => RootLost::Link,
        Errno::NOTDIR => RootLost::NoDirectory,
        error => RootLost::Unreadable(error.to_string()),
    }
}

/// Opens a directory by its path below the root; `b""` is the root itself.
pub(super) fn open(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let open = |at: &OwnedFd, path: &[u8]| {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        rustix::fs::openat2(at, path, DIRECTORY, Mode::empty(), STAY)
    };
    let (mut rest, mut at) = (path, None);
    while rest.len() > MOST_AT_ONCE {
        let cut = rest[..MOST_AT_ONCE].iter().rposition(|byte| *byte == b'/');
        let cut = cut.ok_or(Errno::NAMETOOLONG)?;
        at = Some(open(at.as_ref().unwrap_or(root), &rest[..cut])?);
        rest = &rest[cut + 1..];
    }
    open(at.as_ref().unwrap_or(root), rest)
}

/// The path by which the kernel finds an open directory again, whatever its name is now.
pub(super) fn by_descriptor(directory: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string())
}

/// When something last changed directly in an open directory, in seconds since 1970.
pub(super) fn changed(directory: &OwnedFd) -> i64 {
    rustix::fs::fstat(directory).map_or(0, |facts| facts.st_mtime)
}

/// Hands the names of all directories in an open directory to `each`. An error ends it
/// early: what could not be listed cannot be backed up either, which the snapshot reports.
pub(super) fn subdirectories(directory: &OwnedFd, mut each: impl FnMut(&[u8])) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        let is_directory = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => stat_says_directory(directory, name),
            _ => false,
        };
        if is_directory && !matches!(name.to_bytes(), b"." | b"..") {
            each(name.to_bytes());
        }
    }
}

fn stat_says_directory(directory: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|facts| FileType::from_raw_mode(facts.st_mode) == FileType::Directory)
}

/// Shows a path for a log or a status; bytes that are no text are replaced.
pub(super) fn shown(path: &[u8]) -> String {
    let text = std::ffi::OsStr::from_bytes(path).to_string_lossy();
    ringfence_model::bytes::visible(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn root(path: &Path) -> Root {
        let facts = fs::metadata(path).expect("facts");
        Root { path: path.to_owned(), device: facts.dev(), inode: facts.ino() }
    }

    #[test]
    fn what_stands_in_the_folders_place_is_named() {
        let top = tempfile::tempdir().expect("directory");
        let path = top.path().join("folder");
        fs::create_dir(&path).expect("made");
        let root = root(&path);
        assert_eq!(root.check(), Ok(()));
        // Kept, so that its inode is not given away again.
        fs::rename(&path, top.path().join("aside")).expect("moved");
        assert_eq!(root.check(), Err(RootLost::Missing));
        fs::create_dir(&path).expect("made");
        assert_eq!(root.check(), Err(RootLost::Another));
        assert_eq!(root.open().err(), Some(RootLost::Another));
        fs::remove_dir(&path).expect("removed");
        symlink("aside", &path).expect("link");
        assert_eq!(root.check(), Err(RootLost::Link));
        assert_eq!(root.open().err(), Some(RootLost::NoDirectory));
        let elsewhere = Root { device: root.device + 1, ..root };
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        assert_eq!(elsewhere.check(), Err(RootLost::OtherDisk));
    }

    #[test]
    fn no_link_leads_out_and_no_path_is_too_long() {
        let top = tempfile::tempdir().expect("directory");
        fs::create_dir_all(top.path().join("folder/sub")).expect("made");
        fs::create_dir(top.path().join("outside")).expect("made");
        symlink("../outside", top.path().join("folder/link")).expect("link");
        let opened = root(&top.path().join("folder")).open().expect("opens");
        assert!(open(&opened, b"").is_ok() && open(&opened, b"sub").is_ok());
        assert!(open(&opened, b"link").is_err() && open(&opened, b"../outside").is_err());
        let mut names = Vec::new();
        subdirectories(&opened, |name| names.push(name.to_vec()));
        assert_eq!(names, [b"sub"]);
        let name = [b'x'; 250];
        let (mut at, mut path) = (open(&opened, b"sub").expect("opens"), b"sub".to_vec());
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, name.as_slice(), Mode::from(0o700)).expect("made");
            at = open(&at, &name).expect("opens");
            path.push(b'/');
            path.extend_from_slice(&name);
        }
        assert!(path.len() > 7000);
        assert!(open(&opened, &path).is_ok());
    }
}
