//! The folder as rustic_core reads it for a snapshot. Owns walking, opening and
//! reading; the decision what is clean comes from `scan`.
//!
//! Three facts about the engine (0.13.0) are used that its documentation does not
//! promise; the tests hold them fast, and the version is pinned:
//! - a directory node handed over under its *parent's* path is stored as it is, with
//!   the stored sub-tree it names;
//! - a file is not read when the parent snapshot has the same type, size, times and
//!   (with `ignore_inode` set, which the engine reads the other way round) inode;
//! - entries whose opening or reading fails vanish from the snapshot with a log line
//!   only: so every failure is noted here, and a snapshot with one is thrown away.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Seek};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{ReadSource, ReadSourceEntry, RusticResult, TreeId};

use crate::beneath::{Dir, MAX_DEPTH, join};
use crate::catalog::Remark;
use crate::engine::{Engine, Repo};
use crate::excludes::Excludes;
use crate::reader::Opening;
use crate::scan::{name_bytes, remark};
use crate::settle::Unsettled;
use crate::stat::{self, Stamp, Stat};
use crate::tally::{self, Tally};
use crate::twins::Twins;
use crate::watch::{Step, Watch};

/// Which stored directories may stand for live ones.
pub(crate) enum Reuse {
    /// The clean ones that a scan found.
    Clean(HashSet<Vec<u8>>),
    /// All but these.
    AllBut(HashSet<Vec<u8>>),
}

/// One pass over the folder.
pub(crate) struct Pass {
    pub(crate) engine: Arc<Engine>,
    pub(crate) repo: Arc<Repo>,
    pub(crate) root: Arc<Dir>,
    /// The tree to take stored nodes from.
    pub(crate) tree: Option<TreeId>,
    pub(crate) reuse: Arc<Reuse>,
    /// Files to read although their status is as stored.
    pub(crate) reread: Arc<HashSet<Vec<u8>>>,
    /// Files that an earlier pass failed to read, and why.
    pub(crate) denied: HashMap<Vec<u8>, String>,
    pub(crate) excludes: Arc<Excludes>,
    /// Entries whose change time is not before this are not settled.
    pub(crate) fresh: Stamp,
    pub(crate) watch: Watch,
    pub(crate) found: Mutex<Found>,
    /// Bytes read in this pass.
    pub(crate) read_bytes: AtomicU64,
}

/// What a pass found out while it ran.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) remarks: Vec<Remark>,
    /// What came and went against the tree that the pass was built on.
    pub(crate) tally: Tally,
    /// A stored directory could not be read, so the tally is not to be used.
    pub(crate) uncounted: bool,
    pub(crate) twins: Twins,
    pub(crate) unsettled: Unsettled,
    /// Entries handed over as leaves, and as directories that were entered.
    pub(crate) leaves: u64,
    pub(crate) entered: u64,
    /// Files that had to be read, and that were opened for it.
    pub(crate) to_read: u64,
    pub(crate) opened: u64,
    pub(crate) changed: Vec<Vec<u8>>,
    pub(crate) failed: Vec<(Vec<u8>, String)>,
}

impl Pass {
    pub(crate) fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_found(&self) -> Found {
        std::mem::take(&mut *self.found())
    }

    /// The stored sub-tree that may stand for a live directory. It is that of the same
    /// directory: another one may have taken its name since the scan.
    fn reusable(&self, path: &[u8], stat: &Stat, stored: &Node) -> Option<TreeId> {
        let reusable = match &*self.reuse {
            Reuse::Clean(clean) => clean.contains(path),
            Reuse::AllBut(dirty) => !dirty.contains(path),
        };
        stored.subtree.filter(|_| reusable && stat.is_directory_of(stored))
    }

    /// Counts stored entries that are gone, with all that was below them.
    fn gone(&self, node: &Node) {
        let mut found = self.found();
        found.tally.remove(node);
        found.twins.lose(node);
        drop(found);
        self.gone_below(node.subtree);
    }

    fn gone_below(&self, tree: Option<TreeId>) {
        let Some(tree) = tree else { return };
        let mut found = self.found();
        let mut see = |node: &Node| {
            found.tally.remove(node);
            found.twins.lose(node);
        };
        if tally::for_each_below((&self.engine, &self.repo), tree, &mut see).is_err() {
            found.uncounted = true;
        }
    }
}

/// The pass in the shape the engine wants.
pub(crate) struct Source(pub(crate) Arc<Pass>);

impl ReadSource for Source {
    type Open = Opening;
    type Iter = Walk;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk::new(Arc::clone(&self.0))
    }
}

/// One directory being walked.
struct Level {
    dir: Arc<Dir>,
    path: Vec<u8>,
    names: std::vec::IntoIter<OsString>,
    stored: Peekable<std::vec::IntoIter<Node>>,
}

/// Walks the folder, depth first, sorted by name.
pub(crate) struct Walk {
    pass: Arc<Pass>,
    levels: Vec<Level>,
}

type Item = ReadSourceEntry<Opening>;

impl Walk {
    fn new(pass: Arc<Pass>) -> Self {
        let root = Arc::clone(&pass.root);
        let tree = pass.tree;
        let mut walk = Self { pass, levels: Vec::new() };
        match root.names() {
            Ok(names) => walk.enter(root, Vec::new(), names, tree),
            // Not to be read at all: never an empty snapshot.
            Err(e) => walk.pass.found().failed.push((Vec::new(), e.to_string())),
        }
        walk
    }

    fn enter(&mut self, dir: Arc<Dir>, path: Vec<u8>, names: Vec<OsString>, tree: Option<TreeId>) {
        let names = self.pass.excludes.keep(&dir, &path, names);
        self.pass.watch.step(Step::Scanned(names.len() as u64));
        let stored = tree.map(|t| self.pass.engine.tree(&self.pass.repo, t));
        let stored = stored.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|_| {
            self.pass.found().uncounted = true;
            Vec::new()
        });
        self.levels.push(Level {
            dir,
            path,
            names: names.into_iter(),
            stored: stored.into_iter().peekable(),
        });
    }

    fn entry(&mut self, name: &OsStr, stored: Option<Node>) -> Option<Item> {
        let level = self.levels.last()?;
        let (dir, path) = (Arc::clone(&level.dir), join(&level.path, name));
        let stat = match dir.stat_at(name) {
            Ok(stat) => stat,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                stored.iter().for_each(|n| self.pass.found().twins.lose(n));
                return None;
            }
            Err(e) => return self.stand_in(&path, stored, &e),
        };
        if stat.ctime >= self.pass.fresh {
            self.pass.found().unsettled.note(&path);
        }
        if stat.is_dir() {
            stored.iter().for_each(|n| self.pass.found().twins.lose(n));
            return self.directory(&dir, name, path, (stat, stored));
        }
        self.pass.found().twins.meet(&stat, stored.as_ref());
        if stat.is_file() {
            return self.file(&dir, name, path, (stat, stored));
        }
        if let Some(node) = stored.filter(|n| stat.matches(n) && !stat.is_link()) {
            return Some(self.leaf(node, None));
        }
        let target = match stat.is_link().then(|| dir.read_link(name)).transpose() {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return self.stand_in(&path, None, &e),
        };
        let mut node = stat.node(name, target.as_deref());
        if let Ok(attributes) = dir.attributes_at(name) {
            stat::set_attributes(&mut node, &attributes);
        }
        Some(self.leaf(node, None))
    }

    fn directory(
        &mut self,
        parent: &Dir,
        name: &OsStr,
        path: Vec<u8>,
        (stat, stored): (Stat, Option<Node>),
    ) -> Option<Item> {
        let subtree = stored.as_ref().and_then(|n| n.subtree);
        let reusable = stored.as_ref().and_then(|n| self.pass.reusable(&path, &stat, n));
        if let Some(mut node) = stored.clone().filter(|n| reusable.is_some() && stat.matches(n)) {
            node.subtree = reusable;
            return Some(self.leaf(node, None));
        }
        let opened = if self.levels.len() >= MAX_DEPTH {
            Err(io::Error::other("nested too deeply"))
        } else {
            parent.open_dir(name).map(Arc::new)
        };
        let dir = match opened {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return Some(self.closed(stat.node(name, None), (&path, subtree), &e)),
        };
        let mut node = match stored {
            Some(stored) if stat.matches(&stored) => stored,
            _ => {
                let mut node = stat.node(name, None);
                match stat::attributes(&dir) {
                    Ok(attributes) => stat::set_attributes(&mut node, &attributes),
                    Err(e) => self.pass.found().remarks.push(remark(&path, &e, false)),
                }
                node
            }
        };
        if reusable.is_some() {
            node.subtree = reusable;
            return Some(self.leaf(node, None));
        }
        let names = match dir.names() {
            Ok(names) => names,
            Err(e) => return Some(self.closed(node, (&path, subtree), &e)),
        };
        node.subtree = None;
        self.pass.found().entered += 1;
        let place = PathBuf::from(OsStr::from_bytes(&path));
        self.enter(dir, path, names, subtree);
        Some(ReadSourceEntry { path: place, node, open: None })
    }

    /// A directory that cannot be entered: its stored content stands in, else it is empty.
    fn closed(
        &self,
        mut node: Node,
        (path, subtree): (&[u8], Option<TreeId>),
        e: &io::Error,
    ) -> Item {
        self.pass.found().remarks.push(remark(path, e, subtree.is_some()));
        if subtree.is_some() {
            node.subtree = subtree;
            return self.leaf(node, None);
        }
        self.pass.found().entered += 1;
        ReadSourceEntry { path: PathBuf::from(OsStr::from_bytes(path)), node, open: None }
    }

    fn file(
        &mut self,
        dir: &Arc<Dir>,
        name: &OsStr,
        path: Vec<u8>,
        (stat, stored): (Stat, Option<Node>),
    ) -> Option<Item> {
        let reread = self.pass.reread.contains(&path);
        if let Some(why) = self.pass.denied.get(&path) {
            let error = io::Error::other(why.clone());
            return self.stand_in(&path, stored, &error);
        }
        if let Some(node) = stored.as_ref().filter(|n| stat.matches(n) && !reread)
            && Engine::has_content(&self.pass.repo, node.content.as_deref().unwrap_or_default())
        {
            let node = node.clone();
            return Some(self.leaf(node, Some(Opening::none(&self.pass, &path))));
        }
        let (file, stat) = match dir.open_file(name, &stat) {
            Ok(opened) => opened,
            // Swapped between the two calls: look once more, at what is there now.
            Err(_) => match dir.stat_at(name).and_then(|s| dir.open_file(name, &s)) {
                Ok(opened) => opened,
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => {
                    return None;
                }
                Err(e) => return self.stand_in(&path, stored, &e),
            },
        };
        let mut node = stat.node(name, None);
        match stat::attributes(&file) {
            Ok(attributes) => stat::set_attributes(&mut node, &attributes),
            Err(e) => self.pass.found().remarks.push(remark(&path, &e, false)),
        }
        if let Some(stored) = stored.as_ref().filter(|n| engine_matches(n, &node)) {
            // The engine would not read it. If that is right (only its mode, owner or
            // number of names differ) the stored content goes with the new metadata;
            // else one nanosecond makes the engine read.
            let content = stored.content.as_deref().unwrap_or_default();
            let mut copy = io::BufReader::new(&file);
            if Engine::content_is(&self.pass.repo, content, &mut copy) {
                return Some(self.leaf(node, Some(Opening::none(&self.pass, &path))));
            }
            if let Err(e) = (&file).rewind() {
                return self.stand_in(&path, Some(stored.clone()), &e);
            }
            let nanosecond = jiff::SignedDuration::from_nanos(1);
            node.meta.ctime = node.meta.ctime.and_then(|t| t.checked_sub(nanosecond).ok());
        }
        self.pass.found().to_read += 1;
        let open = Opening { pass: Arc::clone(&self.pass), path, file: Some((file, stat)) };
        Some(self.leaf(node, Some(open)))
    }

    /// The stored version stands in for a file that cannot be read. A file that was
    /// never stored is left out and only reported: an empty one would be a lie.
    fn stand_in(&self, path: &[u8], stored: Option<Node>, error: &io::Error) -> Option<Item> {
        let usable = stored.filter(|n| {
            n.is_dir()
                || Engine::has_content(&self.pass.repo, n.content.as_deref().unwrap_or_default())
        });
        self.pass.found().remarks.push(remark(path, error, usable.is_some()));
        let open = usable.as_ref().filter(|n| n.is_file()).map(|_| Opening::none(&self.pass, path));
        usable.map(|node| self.leaf(node, open))
    }

    fn leaf(&self, node: Node, open: Option<Opening>) -> Item {
        self.pass.found().leaves += 1;
        let parent = self.levels.last().map_or(b"".as_slice(), |l| &l.path);
        let parent = Path::new(OsStr::from_bytes(parent));
        // The engine cuts the name off a file's path, but not off a directory's.
        let path = if node.is_dir() { parent.into() } else { parent.join(node.name()) };
        ReadSourceEntry { path, node, open }
    }
}

impl Iterator for Walk {
    type Item = RusticResult<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.pass.watch.cancel.is_cancelled() {
                return None;
            }
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                level.stored.by_ref().for_each(|n| self.pass.gone(&n));
                self.levels.pop();
                continue;
            };
            while let Some(node) =
                level.stored.next_if(|n| name_bytes(n).as_slice() < name.as_bytes())
            {
                self.pass.gone(&node);
            }
            let stored = level.stored.next_if(|n| name_bytes(n) == name.as_bytes());
            let below = stored.as_ref().and_then(|n| n.subtree);
            stored.iter().for_each(|n| self.pass.found().tally.remove(n));
            let item = self.entry(&name, stored);
            item.iter().for_each(|i| self.pass.found().tally.add(&i.node));
            // A directory that is one still keeps what is below it, or is entered, and
            // then it is counted there.
            if !item.as_ref().is_some_and(|i| i.node.is_dir()) {
                self.pass.gone_below(below);
            }
            if let Some(item) = item {
                return Some(Ok(item));
            }
        }
    }
}

/// Whether the engine takes a file for unchanged and does not read it.
fn engine_matches(stored: &Node, node: &Node) -> bool {
    let (a, b) = (&stored.meta, &node.meta);
    stored.is_file() && (a.size, a.mtime, a.ctime, a.inode) == (b.size, b.mtime, b.ctime, b.inode)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
