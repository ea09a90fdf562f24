//! Files of ours: written so that a crash leaves the old or the new content, never half.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest state file that is read; ours are a few KiB.
const MAX_RECORD: u64 = 16 * 1024 * 1024;

/// Makes a directory and its missing parents with mode 0700.
///
/// # Errors
/// Any error of the file system but that it exists.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file by temporary file, fsync, rename and fsync of the directory.
///
/// # Errors
/// Any error of the file system; the old content then stays.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = directory_of(path)?;
    private_directory(directory)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempfile_in(directory)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// Writes a record as JSON, 0600. One that stands there already is only made durable, which
/// costs next to nothing where it is.
///
/// # Errors
/// As [`replace`].
pub fn write_record<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    text.push(b'\n');
    if made_durable_as_it_is(path, &text).unwrap_or(false) {
        return Ok(());
    }
    replace(path, &text, 0o600)
}

fn made_durable_as_it_is(path: &Path, content: &[u8]) -> io::Result<bool> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let mut there = Vec::with_capacity(content.len() + 1);
    (&file).take(content.len() as u64 + 1).read_to_end(&mut there)?;
    if there != content || file.metadata()?.mode() & 0o7777 != 0o600 {
        return Ok(false);
    }
    file.sync_all()?;
    File::open(directory_of(path)?)?.sync_all()?;
    Ok(true)
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::other("a file needs a directory"))
}

/// Reads a record; `None` when the file does not exist.
///
/// # Errors
/// Any error of the file system; [`io::ErrorKind::InvalidData`] when it is not such a record.
pub fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })
}

/// Opens a log for appending, 0600; a log over `limit` bytes is first moved aside to `.1`.
///
/// # Errors
/// Any error of the file system.
pub fn open_log(path: &Path, limit: u64) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        private_directory(directory)?;
    }
    if fs::metadata(path).is_ok_and(|facts| facts.len() > limit) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Removes a file; that it is missing is no error.
///
/// # Errors
/// Any other error of the file system.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Which file a path is, whatever takes its name later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of what has the path now; a link is not followed.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn of(path: &Path) -> io::Result<Self> {
        let facts = fs::symlink_metadata(path)?;
        Ok(Self { device: facts.dev(), inode: facts.ino() })
    }

    /// Removes a path, unless it is another file by now.
    ///
    /// # Errors
    /// Any error of the file system but that it is missing.
    pub fn remove(self, path: &Path) -> io::Result<()> {
        match Self::of(path) {
            Ok(now) if now == self => remove_if_there(path),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_file_that_is_meant_is_removed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("socket");
        fs::write(&path, b"ours").expect("writes");
        let ours = Identity::of(&path).expect("there");
        // Kept under another name, so that its number is not given to the next file.
        fs::rename(&path, directory.path().join("aside")).expect("moved");
        ours.remove(&path).expect("nothing to do");
        fs::write(&path, b"of another").expect("writes");
        ours.remove(&path).expect("nothing to do");
        assert!(path.exists());
        Identity::of(&path).expect("there").remove(&path).expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn records_are_private_and_whole() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("a/b.json");
        assert_eq!(read_record::<Vec<u8>>(&path).expect("reads"), None);
        write_record(&path, &vec![1u8, 2]).expect("writes");
        assert_eq!(read_record(&path).expect("reads"), Some(vec![1u8, 2]));
        // Whoever has the old content keeps it whole: nothing is written in place.
        let old = directory.path().join("old");
        fs::hard_link(&path, &old).expect("linked");
        write_record(&path, &vec![3u8]).expect("writes");
        assert_eq!(read_record(&path).expect("reads"), Some(vec![3u8]));
        assert_eq!(read_record(&old).expect("reads"), Some(vec![1u8, 2]));
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("lists").count(), 1);
        // The same again is the same file, private again if it was not.
        let inode = |path: &Path| fs::metadata(path).expect("metadata").ino();
        let before = inode(&path);
        write_record(&path, &vec![3u8]).expect("writes");
        assert_eq!(inode(&path), before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        write_record(&path, &vec![3u8]).expect("writes");
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o7777, 0o600);
        fs::write(&path, b"{").expect("writes");
        let error = read_record::<Vec<u8>>(&path).expect_err("not a record");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
