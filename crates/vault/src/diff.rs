//! What differs between two states of a folder: snapshots, or a snapshot and the
//! live folder. Owns the comparison; decides nothing about what to do with it.
//!
//! Cheap by construction: equal stored directories are skipped by their identity, and
//! a live entry whose status equals the stored one is not opened.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustic_core::TreeId;
use rustic_core::repofile::Node;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::beneath::{Dir, MAX_DEPTH, join};
use crate::browse::{Entry, root_node};
use crate::catalog::{self, EntryPath, Remark, Snapshot, SnapshotId};
use crate::engine::{Engine, Repo};
use crate::error::{At, Result, VaultError};
use crate::excludes::Excludes;
use crate::scan::{remark, young_from};
use crate::stat::{self, Stamp, Stat};
use crate::watch::{Step, Watch};

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub enum Point<'a> {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// The live folder at this path.
    Folder(&'a Path),
}

/// What differs in an entry that both sides have. In JSON a list of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u8);

impl Difference {
    /// Another kind of entry.
    pub const KIND: Self = Self(1);
    /// A file's bytes.
    pub const CONTENT: Self = Self(2);
    /// Where a link points, or which device.
    pub const TARGET: Self = Self(4);
    /// Permissions.
    pub const MODE: Self = Self(8);
    /// User or group.
    pub const OWNER: Self = Self(16);
    /// Modification time.
    pub const TIMES: Self = Self(32);
    /// Extended attributes.
    pub const ATTRIBUTES: Self = Self(64);
    /// How many names a file has.
    pub const LINKS: Self = Self(128);

    const WORDS: [(Self, &'static str); 8] = [
        (Self::KIND, "kind"),
        (Self::CONTENT, "content"),
        (Self::TARGET, "target"),
        (Self::MODE, "mode"),
        (Self::OWNER, "owner"),
        (Self::TIMES, "times"),
        (Self::ATTRIBUTES, "attributes"),
        (Self::LINKS, "links"),
    ];

    /// Whether any of `other` is in this.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn set(&mut self, what: Self, differs: bool) {
        if differs {
            self.0 |= what.0;
        }
    }

    /// Whether the entry itself differs, not only what is said about it.
    #[must_use]
    pub fn is_content(self) -> bool {
        self.has(Self(Self::KIND.0 | Self::CONTENT.0 | Self::TARGET.0))
    }

    /// Whether only a new version of the entry can settle it.
    pub(crate) fn needs_replacing(self) -> bool {
        self.has(Self(Self::KIND.0 | Self::CONTENT.0 | Self::TARGET.0 | Self::LINKS.0))
    }

    /// The words of all that differs.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(d, _)| self.has(*d)).map(|(_, word)| word)
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for word in self.words() {
            list.serialize_element(word)?;
        }
        list.end()
    }
}

/// What happened to an entry from the first state to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", content = "what", rename_all = "kebab-case")]
pub enum Change {
    /// Only the second state has it.
    Added,
    /// Only the first state has it.
    Removed,
    /// Both have it, and this differs.
    Modified(Difference),
}

/// One entry that differs.
#[derive(Clone, Debug, Serialize)]
pub struct DiffEntry {
    /// Where, below the folder.
    #[serde(flatten)]
    pub path: EntryPath,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
    /// The entry in the first state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Entry>,
    /// The entry in the second state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Entry>,
    #[serde(skip)]
    pub(crate) after_node: Option<Node>,
    /// The first state's status, where that is the live folder.
    #[serde(skip)]
    pub(crate) live: Option<Stat>,
}

impl DiffEntry {
    /// A directory of which only the modification time differs: it follows from what
    /// happened inside and is of little interest to people.
    #[must_use]
    pub fn is_directory_time(&self) -> bool {
        let dir = |e: &Option<Entry>| {
            e.as_ref().is_some_and(|e| e.kind == crate::browse::EntryKind::Directory)
        };
        self.change == Change::Modified(Difference::TIMES) && dir(&self.before) && dir(&self.after)
    }
}

/// A comparison of two states.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// What differs; directories before what is in them, else sorted by name.
    pub entries: Vec<DiffEntry>,
    /// Live entries that could not be looked at; nothing is said about them.
    pub unreadable: Vec<Remark>,
}

/// An opened side.
pub(crate) struct Side {
    place: Place,
    root: Node,
    stat: Option<Stat>,
    /// For a snapshot: status this young proves nothing.
    young: Option<Stamp>,
    /// For a snapshot: what was left out of it, on purpose.
    excludes: Option<Excludes>,
}

#[derive(Clone)]
enum Place {
    Nothing,
    Stored(TreeId),
    Live(Rc<Dir>),
}

/// An entry while it is compared.
struct Item {
    node: Node,
    stat: Option<Stat>,
}

/// Opens a side.
pub(crate) fn side(engine: &Engine, repo: &Repo, point: Point<'_>) -> Result<Side> {
    match point {
        Point::Snapshot(id) => stored(&catalog::load(engine, repo, id.0)?),
        Point::Folder(path) => {
            let dir = Dir::open_root(path)?;
            let stat = dir.stat().at("look at the folder", path)?;
            let mut root = stat.node("".as_ref(), None);
            stat::set_attributes(&mut root, &stat::attributes(&dir).unwrap_or_default());
            let place = Place::Live(Rc::new(dir));
            Ok(Side { place, root, stat: Some(stat), young: None, excludes: None })
        }
    }
}

/// A side that is a snapshot, or was put together over one.
pub(crate) fn stored(snapshot: &Snapshot) -> Result<Side> {
    Ok(Side {
        place: Place::Stored(snapshot.tree),
        root: root_node(snapshot),
        stat: None,
        young: snapshot.scanned.map(young_from),
        excludes: Some(Excludes::new(&snapshot.excludes)?),
    })
}

/// Compares two sides; at most one may be live. The folder itself is the entry with
/// the empty path. Of a live folder, what was left out of the snapshot is no part: it is
/// neither new nor to be removed.
pub(crate) fn compare(
    engine: &Engine,
    repo: &Repo,
    sides: (&Side, &Side),
    watch: &Watch,
) -> Result<Diff> {
    let mut entries = Vec::new();
    let unreadable = each(engine, repo, sides, watch, &mut |entry| entries.push(entry))?;
    Ok(Diff { entries, unreadable })
}

/// As [`compare`], but gives each entry to `to` as it is found, so that a large
/// difference need not be in memory. Gives what could not be looked at.
pub(crate) fn each(
    engine: &Engine,
    repo: &Repo,
    (before, after): (&Side, &Side),
    watch: &Watch,
    to: &mut dyn FnMut(DiffEntry),
) -> Result<Vec<Remark>> {
    if before.stat.is_some() && after.stat.is_some() {
        return Err(VaultError::Request("at least one side of a comparison must be a snapshot"));
    }
    let snapshot = if before.stat.is_some() { after } else { before };
    let (young, excludes) = (snapshot.young, snapshot.excludes.as_ref());
    let mut walk = Comparing { engine, repo, watch, young, excludes, to, unreadable: Vec::new() };
    let mut differs = visible(&before.root, &after.root);
    differs.set(Difference::LINKS, false);
    if !differs.is_empty() {
        let (a, b) = (item(&before.root, before.stat), item(&after.root, after.stat));
        walk.report(&[], Change::Modified(differs), (Some(&a), Some(&b)));
    }
    walk.directory(&[], (&before.place, &after.place), 0)?;
    Ok(walk.unreadable)
}

fn item(node: &Node, stat: Option<Stat>) -> Item {
    Item { node: node.clone(), stat }
}

struct Comparing<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    watch: &'a Watch,
    young: Option<Stamp>,
    excludes: Option<&'a Excludes>,
    to: &'a mut dyn FnMut(DiffEntry),
    unreadable: Vec<Remark>,
}

impl Comparing<'_> {
    fn directory(&mut self, path: &[u8], places: (&Place, &Place), depth: usize) -> Result<()> {
        self.watch.cancel.check()?;
        if let (Place::Stored(a), Place::Stored(b)) = places
            && a == b
        {
            return Ok(());
        }
        let (Some(before), Some(after)) = (self.list(path, places.0)?, self.list(path, places.1)?)
        else {
            return Ok(());
        };
        self.watch.step(Step::Scanned((before.len() + after.len()) as u64));
        let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
        loop {
            let (a, b) = match (before.peek(), after.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => (before.next(), None),
                (None, Some(_)) => (None, after.next()),
                (Some(a), Some(b)) => match a.node.name().cmp(&b.node.name()) {
                    std::cmp::Ordering::Less => (before.next(), None),
                    std::cmp::Ordering::Greater => (None, after.next()),
                    std::cmp::Ordering::Equal => (before.next(), after.next()),
                },
            };
            self.pair(path, (a, b), places, depth)?;
        }
    }

    fn pair(
        &mut self,
        path: &[u8],
        (a, b): (Option<Item>, Option<Item>),
        (from, to): (&Place, &Place),
        depth: usize,
    ) -> Result<()> {
        let Some(name) = a.as_ref().or(b.as_ref()).map(|i| i.node.name().into_owned()) else {
            return Ok(());
        };
        let here = join(path, &name);
        match (&a, &b) {
            (Some(x), Some(y)) => {
                let differs = self.differs(&here, &name, (x, y), (from, to));
                if !differs.is_empty() {
                    self.report(&here, Change::Modified(differs), (Some(x), Some(y)));
                }
            }
            (None, Some(_)) => self.report(&here, Change::Added, (None, b.as_ref())),
            _ => self.report(&here, Change::Removed, (a.as_ref(), None)),
        }
        let (sub_a, sub_b) = (self.below(&here, a, from), self.below(&here, b, to));
        if depth + 1 >= MAX_DEPTH {
            if !matches!((&sub_a, &sub_b), (Place::Nothing, Place::Nothing)) {
                let error = io::Error::other("nested too deeply");
                self.unreadable.push(remark(&here, &error, false));
            }
            return Ok(());
        }
        self.directory(&here, (&sub_a, &sub_b), depth + 1)
    }

    /// The directory behind an entry, or nothing.
    fn below(&mut self, path: &[u8], item: Option<Item>, place: &Place) -> Place {
        let Some(item) = item.filter(|i| i.node.is_dir()) else { return Place::Nothing };
        match place {
            Place::Nothing => Place::Nothing,
            Place::Stored(_) => item.node.subtree.map_or(Place::Nothing, Place::Stored),
            Place::Live(dir) => match dir.open_dir(&item.node.name()) {
                Ok(sub) => Place::Live(Rc::new(sub)),
                Err(e) => {
                    self.unreadable.push(remark(path, &e, false));
                    Place::Nothing
                }
            },
        }
    }

    fn list(&mut self, path: &[u8], place: &Place) -> Result<Option<Vec<Item>>> {
        match place {
            Place::Nothing => Ok(Some(Vec::new())),
            Place::Stored(tree) => {
                let nodes = self.engine.tree(self.repo, *tree)?;
                Ok(Some(nodes.into_iter().map(|node| Item { node, stat: None }).collect()))
            }
            Place::Live(dir) => match dir.names() {
                Ok(names) => {
                    Ok(Some(names.iter().filter_map(|n| self.live(dir, path, n)).collect()))
                }
                Err(e) => {
                    self.unreadable.push(remark(path, &e, false));
                    Ok(None)
                }
            },
        }
    }

    fn live(&mut self, dir: &Dir, path: &[u8], name: &OsStr) -> Option<Item> {
        if self.excludes.is_some_and(|excludes| excludes.leaves_out(dir, path, name)) {
            return None;
        }
        let stat = match dir.stat_at(name) {
            Ok(stat) => stat,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                self.unreadable.push(remark(&join(path, name), &e, false));
                return None;
            }
        };
        let target = if stat.is_link() { dir.read_link(name).ok() } else { None };
        Some(Item { node: stat.node(name, target.as_deref()), stat: Some(stat) })
    }

    fn differs(
        &mut self,
        path: &[u8],
        name: &OsStr,
        (a, b): (&Item, &Item),
        (from, to): (&Place, &Place),
    ) -> Difference {
        let (stat, live, stored, dir) = match (a.stat, b.stat, from, to) {
            (Some(stat), _, Place::Live(dir), _) => (stat, &a.node, &b.node, dir),
            (_, Some(stat), _, Place::Live(dir)) => (stat, &b.node, &a.node, dir),
            _ => return visible(&a.node, &b.node),
        };
        let old = self.young.is_some_and(|young| stat.ctime < young);
        let content = stored.content.as_deref().unwrap_or_default();
        let opened = || dir.open_file(name, &stat);
        if stat.matches(stored) {
            // Equal status settles it, unless it is too young to be trusted.
            let same = old
                || !stat.is_file()
                || opened()
                    .is_ok_and(|(mut f, _)| self.engine.reads_as(self.repo, content, &mut f));
            return if same { Difference::default() } else { Difference::CONTENT };
        }
        let mut live = live.clone();
        if let Ok(attributes) = dir.attributes_at(name) {
            stat::set_attributes(&mut live, &attributes);
        }
        let mut differs = visible(&live, stored);
        if stat.is_file() && stored.is_file() {
            let same = stat.size == stored.meta.size
                && match opened() {
                    Ok((mut file, _)) => self.engine.reads_as(self.repo, content, &mut file),
                    Err(e) => {
                        self.unreadable.push(remark(path, &e, false));
                        false
                    }
                };
            differs = Difference(differs.0 & !Difference::CONTENT.0);
            differs.set(Difference::CONTENT, !same);
        }
        differs
    }

    fn report(&mut self, path: &[u8], change: Change, (a, b): (Option<&Item>, Option<&Item>)) {
        let entry = |i: &Item| Entry::from_node(path.to_vec(), &i.node);
        (self.to)(DiffEntry {
            path: EntryPath(path.to_vec()),
            change,
            before: a.map(entry),
            after: b.map(entry),
            after_node: b.map(|i| i.node.clone()),
            live: a.and_then(|i| i.stat),
        });
    }
}

/// Compares what a user can see of two entries: not inodes, not change times.
pub(crate) fn visible(a: &Node, b: &Node) -> Difference {
    let mut differs = Difference::default();
    let (m, n) = (&a.meta, &b.meta);
    let same_kind = std::mem::discriminant(&a.node_type) == std::mem::discriminant(&b.node_type);
    differs.set(Difference::KIND, !same_kind);
    differs.set(Difference::TARGET, same_kind && a.node_type != b.node_type);
    let content = |node: &Node| node.content.clone().unwrap_or_default();
    differs.set(Difference::CONTENT, a.is_file() && b.is_file() && content(a) != content(b));
    differs.set(Difference::MODE, m.mode != n.mode && !(a.is_symlink() && b.is_symlink()));
    differs.set(Difference::OWNER, (m.uid, m.gid) != (n.uid, n.gid));
    differs.set(Difference::TIMES, m.mtime != n.mtime);
    differs.set(Difference::ATTRIBUTES, stat::stored_attributes(a) != stat::stored_attributes(b));
    let several = m.links > 1 || n.links > 1;
    differs.set(Difference::LINKS, several && same_kind && !a.is_dir() && m.links != n.links);
    differs
}

/// Stored entries found by path. Quick for paths in walking order.
pub(crate) struct Lookup<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    /// Directories from the folder down to the one used last.
    open: Vec<(Vec<u8>, Vec<Node>)>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(engine: &'a Engine, repo: &'a Repo, tree: TreeId) -> Result<Self> {
        let top = engine.tree(repo, tree)?;
        Ok(Self { engine, repo, open: vec![(Vec::new(), top)] })
    }

    pub(crate) fn find(&mut self, path: &[u8]) -> Option<Node> {
        while self.open.len() > 1 && !self.open.last().is_some_and(|(p, _)| inside(p, path)) {
            self.open.pop();
        }
        loop {
            let (at, nodes) = self.open.last()?;
            let rest = if at.is_empty() { path } else { path.get(at.len() + 1..)? };
            let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let name = OsStr::from_bytes(&rest[..end]);
            let at_index = nodes.binary_search_by(|n| (*n.name()).cmp(name)).ok()?;
            let node = &nodes[at_index];
            if end == rest.len() {
                return Some(node.clone());
            }
            let next = join(at, name);
            let below = self.engine.tree(self.repo, node.subtree?).ok()?;
            self.open.push((next, below));
        }
    }
}

/// Whether `path` lies below the directory `dir`.
pub(crate) fn inside(dir: &[u8], path: &[u8]) -> bool {
    dir.is_empty() || (path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_words() {
        let mut d = Difference::default();
        assert!(d.is_empty());
        d.set(Difference::MODE, true);
        d.set(Difference::CONTENT, true);
        assert_eq!(serde_json::to_string(&d).unwrap(), r#"["content","mode"]"#);
        assert!(d.needs_replacing());
        let json = serde_json::to_string(&Change::Modified(Difference::TIMES)).unwrap();
        assert_eq!(json, r#"{"change":"modified","what":["times"]}"#);
        assert_eq!(serde_json::to_string(&Change::Added).unwrap(), r#"{"change":"added"}"#);
    }

    #[test]
    fn inside_is_about_whole_names() {
        assert!(inside(b"", b"a"));
        assert!(inside(b"a", b"a/b"));
        assert!(!inside(b"a", b"ab"));
        assert!(!inside(b"a", b"a"));
    }
}
