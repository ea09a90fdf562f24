//! What the file system says about an entry, and the stored node that says the same.
//! Owns the translation between the two and the question "is this still the same?";
//! opens nothing itself except attribute lists of descriptors it is given.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Seconds and nanoseconds since 1970, as the file system gives them.
pub(crate) type Stamp = (i64, u32);

/// Status of one entry, reduced to what is stored or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    pub(crate) mtime: Stamp,
    pub(crate) ctime: Stamp,
}

const TYPE: u32 = 0o170_000;

impl Stat {
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(fd)?))
    }

    pub(crate) fn from(s: &rustix::fs::Stat) -> Self {
        #[expect(clippy::unnecessary_cast, reason = "the field types differ between machines")]
        Self {
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            mode: s.st_mode as u32,
            uid: s.st_uid,
            gid: s.st_gid,
            links: s.st_nlink as u64,
            size: u64::try_from(s.st_size).unwrap_or(0),
            rdev: s.st_rdev as u64,
            mtime: (s.st_mtime as i64, s.st_mtime_nsec as u32),
            ctime: (s.st_ctime as i64, s.st_ctime_nsec as u32),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode & TYPE == 0o100_000
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.mode & TYPE == 0o040_000
    }

    pub(crate) fn is_link(&self) -> bool {
        self.mode & TYPE == 0o120_000
    }

    /// Whether `later` describes the same, untouched entry. A hard link made or
    /// removed elsewhere, and every rename, moves the change time, so it counts only
    /// for entries with one name that were not renamed in between.
    pub(crate) fn same_version(&self, later: &Self) -> bool {
        self.same_content(later) && (self.links > 1 || later.links > 1 || self.ctime == later.ctime)
    }

    /// As [`Self::same_version`], for an entry that was itself renamed in between.
    pub(crate) fn same_content(&self, later: &Self) -> bool {
        (self.dev, self.ino, self.mode & TYPE, self.size, self.mtime)
            == (later.dev, later.ino, later.mode & TYPE, later.size, later.mtime)
            || (self.is_dir() && later.is_dir() && (self.dev, self.ino) == (later.dev, later.ino))
    }

    /// Whether this is the very directory that a stored node was made from; its listing
    /// may differ.
    pub(crate) fn is_directory_of(&self, node: &Node) -> bool {
        self.is_dir() && node.is_dir() && node.meta.inode == self.ino
    }

    /// Whether a stored directory says the same as this one but for its times.
    pub(crate) fn same_but_times(&self, node: &Node) -> bool {
        let m = &node.meta;
        self.is_directory_of(node)
            && (m.mode, m.uid, m.gid) == (Some(go_mode(self.mode)), Some(self.uid), Some(self.gid))
    }

    /// Whether a file was left alone while it was read.
    pub(crate) fn same_read(&self, before: &Self) -> bool {
        (self.size, self.mtime, self.ctime) == (before.size, before.mtime, before.ctime)
    }

    /// The stored type of anything but a link.
    fn kind(&self) -> NodeType {
        match self.mode & TYPE {
            0o040_000 => NodeType::Dir,
            0o060_000 => NodeType::Dev { device: self.rdev },
            0o020_000 => NodeType::Chardev { device: self.rdev },
            0o010_000 => NodeType::Fifo,
            0o140_000 => NodeType::Socket,
            _ => NodeType::File,
        }
    }

    /// The node that stores this entry, without content and attributes.
    pub(crate) fn node(&self, name: &OsStr, target: Option<&OsStr>) -> Node {
        let kind = target.map_or_else(|| self.kind(), |t| NodeType::from_link(t.as_ref()));
        let dir = self.is_dir();
        let meta = Metadata {
            mode: Some(go_mode(self.mode)),
            mtime: Some(timestamp(self.mtime)),
            // Reading must not make an entry look changed, so no access time is kept;
            // restic's default is the same.
            atime: Some(timestamp(self.mtime)),
            ctime: Some(timestamp(self.ctime)),
            uid: Some(self.uid),
            gid: Some(self.gid),
            user: None,
            group: None,
            inode: self.ino,
            // Device numbers change with a reboot; mounts are not crossed, so inodes suffice.
            device_id: 0,
            size: if self.is_file() { self.size } else { 0 },
            links: if dir { 0 } else { self.links },
            extended_attributes: Vec::new(),
        };
        Node::new_node(name, kind, meta)
    }

    /// Whether a stored node was made from exactly this status: then its content and
    /// attributes are still what they were (every change of either moves `ctime`).
    pub(crate) fn matches(&self, node: &Node) -> bool {
        let m = &node.meta;
        let kind = match &node.node_type {
            NodeType::Symlink { .. } => self.is_link(),
            other => !self.is_link() && *other == self.kind(),
        };
        kind && m.inode == self.ino
            && m.mode == Some(go_mode(self.mode))
            && m.mtime == Some(timestamp(self.mtime))
            && m.ctime == Some(timestamp(self.ctime))
            && m.uid == Some(self.uid)
            && m.gid == Some(self.gid)
            && (!self.is_file() || m.size == self.size)
            && (self.is_dir() || m.links == self.links)
    }
}

/// A point in time as the format stores it; years beyond the format's are clamped.
pub(crate) fn timestamp((seconds, nanos): Stamp) -> Timestamp {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Timestamp::from_nanosecond(total).unwrap_or(if total < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// As [`timestamp`], of nanoseconds since 1970.
pub(crate) fn timestamp_of(nanoseconds: i64) -> Timestamp {
    let nanos = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0);
    timestamp((nanoseconds.div_euclid(1_000_000_000), nanos))
}

/// The reverse of [`timestamp`].
pub(crate) fn stamp(time: Timestamp) -> Stamp {
    let total = time.as_nanosecond();
    let seconds = i64::try_from(total.div_euclid(1_000_000_000)).unwrap_or(0);
    (seconds, u32::try_from(total.rem_euclid(1_000_000_000)).unwrap_or(0))
}

/// Type and special bits of a Unix mode and their places in the mode of the Go
/// language, which is what the repository format stores.
const GO_BITS: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
const GO_TYPES: [(u32, u32); 6] = [
    (0o040_000, 1 << 31),
    (0o120_000, 1 << 27),
    (0o060_000, 1 << 26),
    (0o020_000, (1 << 26) | (1 << 21)),
    (0o010_000, 1 << 25),
    (0o140_000, 1 << 24),
];

pub(crate) fn go_mode(mode: u32) -> u32 {
    let special: u32 = GO_BITS.iter().filter(|(u, _)| mode & u != 0).map(|(_, g)| g).sum();
    let kind = GO_TYPES.iter().find(|(u, _)| mode & TYPE == *u).map_or(0, |(_, g)| *g);
    (mode & 0o777) | special | kind
}

/// Permission bits (with set-uid, set-gid, sticky) of a stored mode.
pub(crate) fn unix_mode(go: u32) -> u32 {
    let special: u32 = GO_BITS.iter().filter(|(_, g)| go & g != 0).map(|(u, _)| u).sum();
    (go & 0o777) | special
}

/// Extended attributes of an open entry, sorted by name.
pub(crate) type Attributes = Vec<(String, Vec<u8>)>;

/// No attribute may be larger (the kernel's own limit).
const MAX_ATTRIBUTE: usize = 64 * 1024;

/// Reads the attributes of an open file or directory; none where there are none.
pub(crate) fn attributes(fd: impl AsFd) -> io::Result<Attributes> {
    collect(
        |buffer| rustix::fs::flistxattr(&fd, buffer),
        |name, buffer| rustix::fs::fgetxattr(&fd, name, buffer),
    )
}

/// Reads the attributes of a path whose last component is not followed.
pub(crate) fn link_attributes(path: &OsStr) -> io::Result<Attributes> {
    collect(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&str, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Attributes> {
    // Few entries have any, and few of those many. (An empty buffer, to ask for the
    // length first, would come back as "none" from this library.)
    let mut names = vec![0u8; 512];
    let length = match list(&mut names) {
        Err(Errno::RANGE) => {
            names.resize(MAX_ATTRIBUTE, 0);
            list(&mut names)?
        }
        Err(Errno::OPNOTSUPP | Errno::BADF) => return Ok(Vec::new()),
        other => other?,
    };
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut value = vec![0u8; MAX_ATTRIBUTE];
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // The format has room for UTF-8 names only.
        let Ok(name) = str::from_utf8(name) else { continue };
        match get(name, &mut value) {
            Ok(size) => found.push((name.to_owned(), value[..size].to_vec())),
            // Listed, but gone or not for us: as good as absent.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Puts attributes into a node. The engine does not name the type that holds them,
/// so they go through its JSON form.
pub(crate) fn set_attributes(node: &mut Node, attributes: &Attributes) {
    if attributes.is_empty() {
        return;
    }
    let list: Vec<_> = attributes
        .iter()
        .map(|(name, value)| serde_json::json!({"name": name, "value": STANDARD.encode(value)}))
        .collect();
    if let Ok(holder) =
        serde_json::from_value::<Metadata>(serde_json::json!({ "extended_attributes": list }))
    {
        node.meta.extended_attributes = holder.extended_attributes;
    }
}

/// Attributes of a stored node.
pub(crate) fn stored_attributes(node: &Node) -> Attributes {
    let mut found: Attributes = node
        .meta
        .extended_attributes
        .iter()
        .map(|a| (a.name.clone(), a.value.clone().unwrap_or_default()))
        .collect();
    found.sort();
    found
}

/// Whether a stored name is one component: any other could lead a restore astray.
pub(crate) fn is_plain_name(node: &Node) -> bool {
    is_component(node.name().as_bytes())
}

/// Whether a name is one component of a path.
pub(crate) fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_times_survive_the_round_trip() {
        for mode in [0o100_644, 0o104_755, 0o042_770, 0o041_777, 0o120_777, 0o020_600] {
            assert_eq!(unix_mode(go_mode(mode)), mode & 0o7777, "{mode:o}");
        }
        assert_eq!(go_mode(0o040_755), (1 << 31) | 0o755);
        for time in [(0, 0), (-1, 999_999_999), (1_700_000_000, 1), (-86_400, 5)] {
            assert_eq!(stamp(timestamp(time)), time);
        }
        assert_eq!(timestamp((i64::MAX, 0)), Timestamp::MAX);
        assert_eq!(timestamp((i64::MIN, 0)), Timestamp::MIN);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", ".", "..", "a/b", "/"] {
            let node = Node::new_node(OsStr::new(bad), NodeType::File, Metadata::default());
            assert!(!is_plain_name(&node), "{bad}");
        }
        let odd = OsStr::from_bytes(b"new\nline \xff\\");
        let node = Node::new_node(odd, NodeType::File, Metadata::default());
        assert!(is_plain_name(&node));
        assert_eq!(node.name().as_bytes(), odd.as_bytes());
    }

    #[test]
    fn attributes_are_read_however_many() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |name: &str| {
            let none = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(file.path(), name, b"v\0w", none)
        };
        assert_eq!(attributes(file.as_file()).unwrap(), []);
        if set("user.one").is_err() {
            return eprintln!("SKIPPED: no user attributes on this file system");
        }
        let one = vec![("user.one".to_owned(), b"v\0w".to_vec())];
        assert_eq!(attributes(file.as_file()).unwrap(), one);
        assert_eq!(link_attributes(file.path().as_os_str()).unwrap(), one);
        for n in 0..40 {
            set(&format!("user.a-rather-long-name-{n}")).unwrap();
        }
        assert_eq!(attributes(file.as_file()).unwrap().len(), 41);
    }

    #[test]
    fn attributes_go_into_a_node_and_come_out() {
        let mut node = Node::new_node(OsStr::new("a"), NodeType::File, Metadata::default());
        let list = vec![("user.a".to_owned(), vec![0, 255]), ("user.b".to_owned(), vec![])];
        set_attributes(&mut node, &list);
        assert_eq!(stored_attributes(&node), list);
    }
}
