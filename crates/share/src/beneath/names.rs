//! Names that a guest does not see (`hide`) or cannot change (`protect`). Judged by where the
//! kernel says that a directory is, never by what a guest remembers of it. Must not know
//! which patterns there are.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ringfence_model::admit::ShownNames;
use ringfence_model::bytes::directories_above;
use ringfence_model::folder::NameRules as ConfiguredNames;
use ringfence_model::pattern::Pattern;
use rustix::fs::{Dir, FileType, Mode, OFlags, openat2};
use rustix::io::Errno;

use super::node::{Node, ROOT};
use super::{BENEATH, Beneath, stat_at};

/// Deepest directory that is looked through: each takes a descriptor meanwhile.
const DEEPEST_LOOK: usize = 2000;

/// What a folder hides and protects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    groups: Vec<Group>,
    /// Directories by their exact paths, that do not exist for the guest.
    hidden: Vec<Vec<u8>>,
    /// Directories by their exact paths, that cannot be changed.
    read_only: Vec<Vec<u8>>,
}

/// Patterns, as they are meant in one folder: the shared one, one around it, or one in it.
#[derive(Clone, Debug)]
struct Group {
    /// The way from that folder down to the shared one.
    above: Vec<u8>,
    /// The way from the shared folder down to that one.
    below: Vec<u8>,
    hide: Gitignore,
    protect: Gitignore,
}

impl Names {
    /// # Errors
    /// What is wrong with a pattern.
    pub(crate) fn new(shown: &ShownNames) -> Result<Self, String> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let all = |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| bytes(path)).collect();
        let group = |above: &Path, below: &Path, names: &ConfiguredNames| {
            Ok(Group {
                above: bytes(above),
                below: bytes(below),
                hide: compiled(&names.hide)?,
                protect: compiled(&names.protect)?,
            })
        };
        let root = Path::new("");
        let own = [group(root, root, &shown.own)];
        let placed =
            shown.placed.iter().map(|placed| group(&placed.above, &placed.below, &placed.names));
        let groups = own.into_iter().chain(placed).collect::<Result<_, String>>()?;
        Ok(Self { groups, hidden: all(&shown.hidden), read_only: all(&shown.read_only) })
    }

    fn hide_nothing(&self) -> bool {
        self.hidden.is_empty() && self.groups.iter().all(|group| group.hide.is_empty())
    }

    fn protect_nothing(&self) -> bool {
        self.read_only.is_empty() && self.groups.iter().all(|group| group.protect.is_empty())
    }

    fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        lies_in(path, &self.hidden)
            || self.groups.iter().any(|group| group.fit(&group.hide, path, is_dir))
    }

    fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        lies_in(path, &self.read_only)
            || self.groups.iter().any(|group| group.fit(&group.protect, path, is_dir))
    }
}

impl Group {
    /// Whether a path of the shared folder fits patterns of this one's folder.
    fn fit(&self, patterns: &Gitignore, path: &[u8], is_dir: bool) -> bool {
        if patterns.is_empty() {
            return false;
        }
        let path = match (self.above.as_slice(), self.below.as_slice()) {
            (b"", b"") => path,
            (above, b"") => return fits(patterns, &below(above, path), is_dir),
            (_, way) => match path.strip_prefix(way).and_then(|rest| rest.strip_prefix(b"/")) {
                Some(rest) => rest,
                None => return false,
            },
        };
        fits(patterns, path, is_dir)
    }
}

/// Whether a path is one of these, or lies in one of them.
fn lies_in(path: &[u8], those: &[Vec<u8>]) -> bool {
    those.iter().any(|one| {
        path.strip_prefix(one.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    })
}

fn compiled(patterns: &[Pattern]) -> Result<Gitignore, String> {
    // Paths are given relative to the folder, and nothing is to be cut off them.
    let mut builder = GitignoreBuilder::new(".");
    builder.allow_unclosed_class(false);
    for pattern in patterns {
        builder
            .add_line(None, pattern.as_str())
            .map_err(|error| format!("`{pattern}`: {error}"))?;
    }
    builder.build().map_err(|error| error.to_string())
}

/// Whether a path fits, or a directory that it lies in: what lies in one that fits cannot be
/// taken out again.
fn fits(patterns: &Gitignore, path: &[u8], is_dir: bool) -> bool {
    if patterns.is_empty() || path.is_empty() {
        return false;
    }
    directories_above(path).chain([path]).any(|prefix| {
        let is_dir = is_dir || prefix.len() < path.len();
        let name = Path::new(OsStr::from_bytes(prefix));
        matches!(patterns.matched(name, is_dir), Match::Ignore(_))
    })
}

/// Inodes of files with several names of which one is hidden, or protected.
#[derive(Debug, Default)]
pub(super) struct Linked {
    hidden: HashSet<u64>,
    protected: HashSet<u64>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct NameRules {
    names: Names,
    linked: RwLock<Linked>,
}

/// What of one directory is not to be listed.
#[derive(Debug)]
pub(super) struct Unlisted {
    rules: Arc<NameRules>,
    directory: Vec<u8>,
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

impl NameRules {
    pub(super) fn new(names: Names) -> Self {
        Self { names, linked: RwLock::default() }
    }

    fn is_empty(&self) -> bool {
        self.names.hide_nothing() && self.names.protect_nothing()
    }

    fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        self.names.hides(path, is_dir)
    }

    fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        self.names.protects(path, is_dir)
    }

    fn hides_inode(&self, inode: u64) -> bool {
        self.linked.read().unwrap_or_else(PoisonError::into_inner).hidden.contains(&inode)
    }

    fn protects_inode(&self, inode: u64) -> bool {
        self.linked.read().unwrap_or_else(PoisonError::into_inner).protected.contains(&inode)
    }
}

impl Unlisted {
    /// Whether a listing leaves this entry out; `kind` is what the directory says it is.
    pub(super) fn has(&self, name: &CStr, inode: u64, kind: u32) -> bool {
        let name = name.to_bytes();
        if name == b"." || name == b".." {
            return false;
        }
        let path = below(&self.directory, name);
        // Some file systems do not say: then either will do.
        let (directory, unknown) = (kind == 4, kind == 0);
        self.rules.hides_inode(inode)
            || self.rules.hides(&path, directory || unknown)
            || unknown && self.rules.hides(&path, false)
    }
}

impl Beneath {
    /// Where a directory is now, from the folder's root; the root itself is empty.
    fn path_now(&self, dir: &OwnedFd) -> io::Result<Vec<u8>> {
        let look = |fd: &OwnedFd| -> io::Result<Vec<u8>> {
            let own = fd.as_raw_fd().to_string();
            Ok(rustix::fs::readlinkat(&self.own_fds, own, Vec::new())?.into_bytes())
        };
        let root = look(&*self.path_fd(&self.table.get(ROOT)?)?)?;
        let path = look(dir)?;
        let rest = path.strip_prefix(root.as_slice()).ok_or(Errno::STALE)?;
        Ok(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
    }

    /// What a listing of this directory leaves out, where anything can be.
    pub(super) fn unlisted(&self, node: &Arc<Node>) -> io::Result<Option<Unlisted>> {
        if self.rules.names.hide_nothing() {
            return Ok(None);
        }
        let directory = self.path_now(&*self.path_fd(node)?)?;
        Ok(Some(Unlisted { rules: Arc::clone(&self.rules), directory }))
    }

    /// Whether a name that is there is not to be seen.
    ///
    /// # Errors
    /// Where it is cannot be told.
    pub(super) fn is_hidden(
        &self,
        dir: &OwnedFd,
        name: &CStr,
        inode: u64,
        is_dir: bool,
    ) -> io::Result<bool> {
        if self.rules.names.hide_nothing() {
            return Ok(false);
        }
        let path = below(&self.path_now(dir)?, name.to_bytes());
        Ok(self.rules.hides(&path, is_dir) || self.rules.hides_inode(inode))
    }

    /// That a name may be made.
    ///
    /// # Errors
    /// EPERM where it is hidden or protected.
    pub(super) fn may_make(&self, dir: &OwnedFd, name: &CStr, is_dir: bool) -> io::Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let path = below(&self.path_now(dir)?, name.to_bytes());
        if self.rules.hides(&path, is_dir) || self.rules.protects(&path, is_dir) {
            return Err(Errno::PERM.into());
        }
        Ok(())
    }

    /// That a name may be removed, moved or replaced, with all that lies below it.
    ///
    /// # Errors
    /// ENOENT where it is hidden, EPERM where it is protected, EBUSY where it is a directory
    /// with such a name in it.
    pub(super) fn may_lose(&self, dir: &OwnedFd, name: &CStr) -> io::Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        // What is not there the operation itself refuses.
        let Ok(stat) = stat_at(dir, name) else { return Ok(()) };
        let is_dir = u32::from(stat.stx_mode) & 0o170_000 == 0o040_000;
        if self.is_hidden(dir, name, stat.stx_ino, is_dir)? {
            return Err(Errno::NOENT.into());
        }
        let path = below(&self.path_now(dir)?, name.to_bytes());
        if self.rules.protects(&path, is_dir) {
            return Err(Errno::PERM.into());
        }
        if is_dir && self.holds_some(dir, name, &path)? {
            return Err(Errno::BUSY.into());
        }
        Ok(())
    }

    /// That the content or the attributes of a node may be changed.
    ///
    /// # Errors
    /// EPERM where one of its names is protected.
    pub(super) fn may_change(&self, node: &Arc<Node>) -> io::Result<()> {
        if self.rules.names.protect_nothing() {
            return Ok(());
        }
        let is_dir = node.kind == 0o040_000;
        let path = if is_dir {
            self.path_now(&*self.path_fd(node)?)?
        } else {
            let place = node.place();
            let (_, dir) = self.dir(place.parent).map_err(super::stale)?;
            below(&self.path_now(&dir)?, place.name.to_bytes())
        };
        if self.rules.protects(&path, is_dir) || self.rules.protects_inode(node.ident.inode) {
            return Err(Errno::PERM.into());
        }
        Ok(())
    }

    /// Finds out which files with several names have a hidden or protected one. A guest makes
    /// no such names itself, so it is enough before a session begins.
    ///
    /// # Errors
    /// The folder cannot be looked through: nothing may be shown then.
    pub(crate) fn look_for_links(&self) -> io::Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let root = self.path_fd(&self.table.get(ROOT)?)?;
        let mut linked = Linked::default();
        let mut look = |dir: &OwnedFd, name: &CStr, path: &[u8], is_dir: bool| {
            let (hidden, protected) =
                (self.rules.hides(path, is_dir), self.rules.protects(path, is_dir));
            if (hidden || protected)
                && !is_dir
                && let Ok(stat) = stat_at(dir, name)
                && stat.stx_nlink > 1
            {
                if hidden {
                    linked.hidden.insert(stat.stx_ino);
                }
                if protected {
                    linked.protected.insert(stat.stx_ino);
                }
            }
            false
        };
        self.look_through(&root, c".", b"", &mut look)?;
        *self.rules.linked.write().unwrap_or_else(PoisonError::into_inner) = linked;
        Ok(())
    }

    fn holds_some(&self, dir: &OwnedFd, name: &CStr, path: &[u8]) -> io::Result<bool> {
        let mut found = |_: &OwnedFd, _: &CStr, path: &[u8], is_dir: bool| {
            self.rules.hides(path, is_dir) || self.rules.protects(path, is_dir)
        };
        self.look_through(dir, name, path, &mut found)
    }

    /// Asks about everything below a directory until something is found.
    fn look_through(
        &self,
        dir: &OwnedFd,
        name: &CStr,
        path: &[u8],
        found: &mut Found<'_>,
    ) -> io::Result<bool> {
        let mut open = Vec::new();
        open.extend(directory(dir, name, path.to_vec())?);
        while let Some((here, entries, path)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => stat_at(&*here, name)
                    .is_ok_and(|stat| u32::from(stat.stx_mode) & 0o170_000 == 0o040_000),
                _ => false,
            };
            let path = below(path, name.to_bytes());
            if found(here, name, &path, is_dir) {
                return Ok(true);
            }
            if is_dir {
                let inside = directory(here, name, path)?;
                if open.len() >= DEEPEST_LOOK {
                    return Err(Errno::NAMETOOLONG.into());
                }
                open.extend(inside);
            }
        }
        Ok(false)
    }
}

/// Asked about each entry: the directory, the name, the path, and whether it is a directory.
type Found<'a> = dyn FnMut(&OwnedFd, &CStr, &[u8], bool) -> bool + 'a;

/// A directory that is open to be looked through, with its path.
type Open = (OwnedFd, Dir, Vec<u8>);

fn directory(dir: &OwnedFd, name: &CStr, path: Vec<u8>) -> io::Result<Option<Open>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(dir, name, flags, Mode::empty(), BENEATH) {
        Ok(here) => {
            let entries = Dir::read_from(&here)?;
            Ok(Some((here, entries, path)))
        }
        // Gone meanwhile, another file system, which no share shows, or closed to the share
        // and so to everybody inside.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::admit::Placed;

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (patterns, path, is_dir, expected) in [
            (&[".env"][..], &b".env"[..], false, true),
            (&[".env"], b"a/b/.env", false, true),
            (&[".env"], b".env.local", false, false),
            (&[".env"], b".ENV", false, false),
            (&[".env"], b".env/inside", false, true),
            (&["/.env"], b"a/.env", false, false),
            (&["a/b"], b"c/a/b", false, false),
            (&["secrets/"], b"secrets", true, true),
            (&["secrets/"], b"secrets", false, false),
            (&["secrets/"], b"x/secrets/key", false, true),
            (&["secrets/**"], b"secrets", true, false),
            (&["secrets/**"], b"secrets/a/b", false, true),
            (&["a/**/b"], b"a/x/y/b", false, true),
            (&["*.pem"], b"keys/a.pem", false, true),
            (&["[!a-c]x"], b"bx", false, false),
            (&[".env*", "!.env.example"], b".env.example", false, false),
            (&["d", "!d/keep"], b"d/keep", false, true),
            (&["caf?"], b"caf\xe9", false, true),
            (&["*"], b"", true, false),
            (&[], b"a", false, false),
        ] {
            let all: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let found = fits(&compiled(&all).unwrap(), path, is_dir);
            assert_eq!(found, expected, "{patterns:?} {path:?}");
        }
    }

    #[test]
    fn other_folders_patterns_are_meant_where_those_folders_are() {
        let names = |text: &str| ConfiguredNames {
            hide: vec![text.parse().unwrap()],
            ..ConfiguredNames::default()
        };
        let placed = |above: &str, below: &str, text| Placed {
            above: above.into(),
            below: below.into(),
            names: names(text),
        };
        let names = Names::new(&ShownNames {
            own: names("own"),
            hidden: [PathBuf::from("a[b]/nda")].into(),
            read_only: [PathBuf::from("docs")].into(),
            placed: vec![
                placed("x/y", "", "/x/y/above"),
                placed("x/y", "", "!own"),
                placed("", "in/side", "/below"),
                placed("", "in/side", "deep"),
            ],
        })
        .unwrap();
        for (path, hidden) in [
            ("own", true),
            ("a[b]/nda", true),
            ("a[b]/nda/file", true),
            ("a[b]/nda2", false),
            ("ab/nda", false),
            ("a[b]", false),
            ("above", true),
            ("q/above", false),
            ("in/side/below", true),
            ("below", false),
            ("in/side/q/deep/er", true),
            ("in/sideways/deep", false),
            ("in/side", false),
        ] {
            assert_eq!(names.hides(path.as_bytes(), true), hidden, "{path}");
        }
        assert!(names.protects(b"docs/file", false) && !names.protects(b"docs.txt", false));
        assert!(!names.hide_nothing() && Names::default().hide_nothing());
    }
}
