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
use std::fs::File;
use std::io::{self, Read, Seek};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{ReadSource, ReadSourceEntry, ReadSourceOpen, RusticResult, TreeId};

use crate::beneath::{Dir, MAX_DEPTH, join};
use crate::catalog::{Counts, Remark};
use crate::engine::{Engine, Repo, engine_error};
use crate::scan::{add, name_bytes, remark, sum};
use crate::stat::{self, Stat};
use crate::watch::{Step, Watch};

/// Which stored directories may stand for live ones.
pub(crate) enum Reuse {
    /// The clean ones that a scan found.
    Clean(HashMap<Vec<u8>, Counts>),
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
    pub(crate) reuse: Reuse,
    /// Files to read although their status is as stored.
    pub(crate) reread: HashSet<Vec<u8>>,
    /// Files that an earlier pass failed to read, and why.
    pub(crate) denied: HashMap<Vec<u8>, String>,
    pub(crate) watch: Watch,
    pub(crate) found: Mutex<Found>,
    /// Bytes read in this pass.
    pub(crate) read_bytes: AtomicU64,
}

/// What a pass found out while it ran.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) remarks: Vec<Remark>,
    pub(crate) counts: Counts,
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
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_found(&self) -> Found {
        std::mem::take(&mut *self.found())
    }

    fn reusable(&self, path: &[u8]) -> Option<Counts> {
        match &self.reuse {
            Reuse::Clean(clean) => clean.get(path).copied(),
            Reuse::AllBut(dirty) => (!dirty.contains(path)).then(Counts::default),
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
        self.pass.watch.step(Step::Scanned(names.len() as u64));
        let stored = tree.and_then(|t| self.pass.engine.tree(&self.pass.repo, t).ok());
        self.levels.push(Level {
            dir,
            path,
            names: names.into_iter(),
            stored: stored.unwrap_or_default().into_iter().peekable(),
        });
    }

    fn entry(&mut self, name: &OsStr, stored: Option<Node>) -> Option<Item> {
        let level = self.levels.last()?;
        let (dir, path) = (Arc::clone(&level.dir), join(&level.path, name));
        let stat = match dir.stat_at(name) {
            Ok(stat) => stat,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return self.stand_in(&path, stored, &e),
        };
        if stat.is_dir() {
            return self.directory(&dir, name, path, (stat, stored));
        }
        add(&mut self.pass.found().counts, &stat);
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
        self.pass.found().counts.directories += 1;
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
        if let (Some(held), Some(tree)) = (self.pass.reusable(&path), subtree) {
            sum(&mut self.pass.found().counts, &held);
            // The scan has counted the directory itself.
            if matches!(self.pass.reuse, Reuse::Clean(_)) {
                self.pass.found().counts.directories -= 1;
            }
            node.subtree = Some(tree);
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
                self.levels.pop();
                continue;
            };
            while level.stored.next_if(|n| name_bytes(n).as_slice() < name.as_bytes()).is_some() {}
            let stored = level.stored.next_if(|n| name_bytes(n) == name.as_bytes());
            if let Some(item) = self.entry(&name, stored) {
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

/// A file about to be read; without a descriptor where the engine must not read.
pub(crate) struct Opening {
    pass: Arc<Pass>,
    path: Vec<u8>,
    file: Option<(File, Stat)>,
}

impl Opening {
    fn none(pass: &Arc<Pass>, path: &[u8]) -> Self {
        Self { pass: Arc::clone(pass), path: path.to_vec(), file: None }
    }
}

impl ReadSourceOpen for Opening {
    type Reader = Reader;

    fn open(self) -> RusticResult<Reader> {
        let Some((file, stat)) = self.file else {
            let why = "the engine wanted to read a file that is stored already".to_owned();
            self.pass.found().failed.push((self.path, why));
            return Err(engine_error("unexpected read"));
        };
        self.pass.found().opened += 1;
        Ok(Reader { left: stat.size, ended: false, file, stat, path: self.path, pass: self.pass })
    }
}

/// Yields exactly as many bytes as the file's status promised, so that the stored
/// size and content agree even for a file that changes meanwhile (which is noted).
pub(crate) struct Reader {
    pass: Arc<Pass>,
    path: Vec<u8>,
    file: File,
    stat: Stat,
    left: u64,
    ended: bool,
}

impl Reader {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true)
            && Stat::of(&self.file).is_ok_and(|now| !now.same_read(&self.stat))
        {
            self.pass.found().changed.push(self.path.clone());
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || self.pass.watch.cancel.is_cancelled() {
            self.end();
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let part = &mut buffer[..most];
        let got = loop {
            match self.file.read(part) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let got = match got {
            Ok(0) => {
                // Shorter than it was: the rest reads as zeros, as in an archive.
                part.fill(0);
                most
            }
            Ok(got) => got,
            Err(e) => {
                self.pass.found().failed.push((self.path.clone(), remark(&[], &e, false).why));
                return Err(e);
            }
        };
        self.left -= got as u64;
        self.pass.read_bytes.fetch_add(got as u64, Ordering::Relaxed);
        self.pass.watch.step(Step::Read(got as u64));
        if self.left == 0 {
            self.end();
        }
        Ok(got)
    }
}
