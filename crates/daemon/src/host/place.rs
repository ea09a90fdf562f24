//! Where directories are: by path, and in the file system that is mounted there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ringfence_model::admit::{Place, Volume};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// What is mounted where, at one moment.
#[derive(Debug)]
pub struct Mounts(Vec<Mount>);

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Mounts {
    /// As they are now; none where the kernel does not say.
    #[must_use]
    pub fn now() -> Self {
        let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Where a path leads. What does not exist yet lies where it would be made.
    #[must_use]
    pub fn place(&self, path: &Path) -> Place {
        let (there, rest) = existing(path);
        let volume = self.volume(&there, &rest);
        Place { path: join(&there, &rest), volume }
    }

    fn volume(&self, there: &Path, rest: &Path) -> Option<Volume> {
        let stat = statx(CWD, there, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let mount = self.0.iter().find(|mount| mount.id == stat.stx_mnt_id)?;
        let inside = there.strip_prefix(&mount.point).ok()?;
        let path = join(&join(&mount.root, inside), rest);
        Some(Volume { device: mount.device.clone(), path })
    }
}

/// Without the `/` that `join` puts behind a path for an empty one.
fn join(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

/// The canonical path of as much of a path as exists, and the rest of it.
fn existing(path: &Path) -> (PathBuf, PathBuf) {
    for there in path.ancestors() {
        match fs::canonicalize(there) {
            Ok(canonical) => {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                return (canonical, rest.to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Not ours to look into: it is where it says that it is.
            Err(_) => return (path.to_owned(), PathBuf::new()),
        }
    }
    (path.to_owned(), PathBuf::new())
}

/// One line of `/proc/self/mountinfo`: id, parent, device, root, mount point, and more.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    let (root, point) = (path_of(fields.next()?), path_of(fields.next()?));
    Some(Mount { id, device, root, point })
}

/// A path in which the kernel wrote blanks and the like as `\040`.
fn path_of(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = br"36 35 98:0 /sub\040dir /mnt/a\134b rw,noatime shared:1 - ext4 /dev/x rw";
        let expected = Mount {
            id: 36,
            device: "98:0".into(),
            root: "/sub dir".into(),
            point: "/mnt/a\\b".into(),
        };
        assert_eq!(mount(line), Some(expected));
        assert_eq!(mount(b"nonsense"), None);
        assert_eq!(mount(b""), None);
    }

    #[test]
    fn links_lead_to_one_place_and_what_is_not_there_yet_has_one() {
        let directory = tempfile::tempdir().expect("directory");
        let base = fs::canonicalize(directory.path()).expect("canonical");
        fs::create_dir_all(base.join("real/child")).expect("made");
        std::os::unix::fs::symlink("real", base.join("link")).expect("link");
        let mounts = Mounts::now();
        let (real, link) = (mounts.place(&base.join("real")), mounts.place(&base.join("link")));
        assert_eq!(real, link);
        assert!(real.volume.is_some(), "{real:?}");
        let later = mounts.place(&base.join("link/later/deep"));
        assert_eq!(later.path, base.join("real/later/deep"));
        assert_eq!(real.ways_to(&later).len(), 1, "{later:?}");
        assert!(real.holds(&mounts.place(&base.join("real/child"))));
    }
}
