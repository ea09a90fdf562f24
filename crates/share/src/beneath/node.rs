//! The table of inodes that a guest knows: who they are, where they were last
//! seen, and which of them hold a descriptor. Must not open or look anything up itself.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::keeping::Version;
use rustix::fs::Statx;
use rustix::io::Errno;

/// The number of the root, as FUSE fixes it.
pub(crate) const ROOT: u64 = 1;

/// References that the table itself has of a node.
const IN_MAPS: usize = 2;

/// Most inodes that a guest may know at a time: about 400 bytes each.
const MOST_NODES: usize = 2_000_000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What makes a file the same file: an inode number can be used again, the
/// time of birth tells the two apart (zero where the file system has none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ident {
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) birth: (i64, u32),
}

impl Ident {
    pub(crate) fn of(stat: &Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            birth: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        }
    }
}

/// Where a node was last seen.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) parent: u64,
    pub(crate) name: CString,
}

/// One inode that a guest knows.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) ident: Ident,
    /// The `S_IFMT` bits, which never change.
    pub(crate) kind: u32,
    place: Mutex<Place>,
    /// An `O_PATH` descriptor, if one is kept.
    fd: Mutex<Option<Arc<OwnedFd>>>,
    /// Used since the sweep last came by.
    recent: AtomicBool,
    /// The name is gone or not the only one: the descriptor is all there is.
    pinned: AtomicBool,
    /// Handles that are open on it.
    pub(crate) handles: AtomicU32,
    /// How safe its last complete version is. Held for reading while content changes.
    pub(crate) version: RwLock<Version>,
    lookups: Mutex<u64>,
}

impl Node {
    pub(crate) fn place(&self) -> Place {
        lock(&self.place).clone()
    }

    pub(crate) fn is_at(&self, parent: u64, name: &CStr) -> bool {
        let place = lock(&self.place);
        place.parent == parent && place.name.as_c_str() == name
    }

    /// The kept descriptor.
    pub(crate) fn fd(&self) -> Option<Arc<OwnedFd>> {
        let fd = lock(&self.fd).clone();
        if fd.is_some() {
            self.recent.store(true, Ordering::Relaxed);
        }
        fd
    }
}

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<u64, Arc<Node>>,
    by_ident: HashMap<Ident, Arc<Node>>,
    last_id: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Table {
    maps: RwLock<Maps>,
    /// Numbers of nodes that keep a descriptor, in the order of the sweep; may
    /// hold numbers that are gone.
    resident: Mutex<VecDeque<u64>>,
    most_resident: usize,
    pinned: AtomicUsize,
}

impl Table {
    /// A table with the root, which keeps its descriptor for ever.
    pub(crate) fn new(root: OwnedFd, stat: &Statx, most_resident: usize) -> Self {
        let node = Arc::new(Node {
            id: ROOT,
            ident: Ident::of(stat),
            kind: u32::from(stat.stx_mode) & 0o170_000,
            place: Mutex::new(Place { parent: ROOT, name: CString::default() }),
            fd: Mutex::new(Some(Arc::new(root))),
            recent: AtomicBool::new(true),
            pinned: AtomicBool::new(true),
            handles: AtomicU32::new(0),
            version: RwLock::new(Version::default()),
            lookups: Mutex::new(1),
        });
        let mut maps = Maps { last_id: ROOT, ..Maps::default() };
        maps.by_ident.insert(node.ident, Arc::clone(&node));
        maps.by_id.insert(ROOT, node);
        Self {
            maps: RwLock::new(maps),
            resident: Mutex::new(VecDeque::new()),
            most_resident: most_resident.max(16),
            pinned: AtomicUsize::new(0),
        }
    }

    pub(crate) fn get(&self, id: u64) -> Result<Arc<Node>, Errno> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.get(&id).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn find(&self, ident: Ident) -> Option<Arc<Node>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_ident.get(&ident).cloned()
    }

    /// Counts one more look-up of what was just seen at a place.
    pub(crate) fn seen(&self, stat: &Statx, parent: u64, name: &CStr) -> Result<Arc<Node>, Errno> {
        let ident = Ident::of(stat);
        let known = |maps: &Maps| {
            let node = maps.by_ident.get(&ident)?;
            *lock(&node.lookups) += 1;
            Some(Arc::clone(node))
        };
        let found = known(&self.maps.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(node) = found {
            self.moved(&node, parent, name);
            return Ok(node);
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = known(&maps) {
            drop(maps);
            self.moved(&node, parent, name);
            return Ok(node);
        }
        if maps.by_id.len() >= MOST_NODES {
            return Err(Errno::NFILE);
        }
        maps.last_id += 1;
        let node = Arc::new(Node {
            id: maps.last_id,
            ident,
            kind: u32::from(stat.stx_mode) & 0o170_000,
            place: Mutex::new(Place { parent, name: name.to_owned() }),
            fd: Mutex::new(None),
            recent: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            handles: AtomicU32::new(0),
            version: RwLock::new(Version::default()),
            lookups: Mutex::new(1),
        });
        maps.by_id.insert(node.id, Arc::clone(&node));
        maps.by_ident.insert(ident, Arc::clone(&node));
        Ok(node)
    }

    /// Notes where a node is now. A node with a place needs no pinned descriptor.
    pub(crate) fn moved(&self, node: &Node, parent: u64, name: &CStr) {
        if node.id == ROOT {
            return;
        }
        {
            let mut place = lock(&node.place);
            if place.parent != parent || place.name.as_c_str() != name {
                *place = Place { parent, name: name.to_owned() };
            }
        }
        if node.pinned.swap(false, Ordering::Relaxed) {
            self.pinned.fetch_sub(1, Ordering::Relaxed);
            // It may be swept again like any other.
            lock(&self.resident).push_back(node.id);
        }
    }

    /// Keeps a descriptor, and closes others that were not used lately.
    pub(crate) fn keep(&self, node: &Node, fd: Arc<OwnedFd>) {
        {
            let mut slot = lock(&node.fd);
            node.recent.store(true, Ordering::Relaxed);
            if slot.replace(fd).is_some() {
                return;
            }
        }
        let mut resident = lock(&self.resident);
        resident.push_back(node.id);
        // Each round clears one mark or closes one descriptor; two rounds
        // through the queue therefore always make room.
        let mut rounds = resident.len() * 2;
        while resident.len() > self.most_resident && rounds > 0 {
            rounds -= 1;
            let Some(id) = resident.pop_front() else {
                break;
            };
            let Ok(other) = self.get(id) else {
                continue; // forgotten: its descriptor is closed already
            };
            if other.pinned.load(Ordering::Relaxed) {
                continue; // counted apart
            }
            if id == node.id || other.recent.swap(false, Ordering::Relaxed) {
                resident.push_back(id);
            } else {
                *lock(&other.fd) = None;
            }
        }
    }

    /// Makes the kept descriptor stay until the guest forgets the node. Returns
    /// false where too many are pinned already.
    pub(crate) fn pin(&self, node: &Node) -> bool {
        if node.pinned.load(Ordering::Relaxed) {
            return true;
        }
        if self.pinned.fetch_add(1, Ordering::Relaxed) >= self.most_resident / 2 {
            self.pinned.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if node.pinned.swap(true, Ordering::Relaxed) {
            self.pinned.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Takes look-ups back; a node without any is gone. A guest that takes back
    /// more than it has gets no more than that.
    pub(crate) fn forget(&self, id: u64, count: u64) {
        if id == ROOT || id == 0 {
            return;
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = maps.by_id.get(&id) else {
            return;
        };
        let left = {
            let mut lookups = lock(&node.lookups);
            *lookups = lookups.saturating_sub(count);
            *lookups
        };
        // Whoever still works with the node, or has it open, must meet the same one
        // as whoever looks it up anew: it knows which version is safe.
        if left == 0
            && Arc::strong_count(node) == IN_MAPS
            && let Some(node) = maps.by_id.remove(&id)
        {
            maps.by_ident.remove(&node.ident);
            if node.pinned.load(Ordering::Relaxed) {
                self.pinned.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Drops a node that the guest forgot while it was in use.
    pub(crate) fn drop_forgotten(&self, id: u64) {
        if self.get(id).is_ok_and(|node| *lock(&node.lookups) == 0) {
            self.forget(id, 0);
        }
    }

    /// Closes a node's descriptor: the file lost its last name, and nobody has it open.
    pub(crate) fn close(&self, node: &Node) {
        if !node.pinned.load(Ordering::Relaxed) {
            *lock(&node.fd) = None;
        }
    }

    /// Closes every descriptor that can be opened again from its place.
    pub(crate) fn close_all(&self) {
        // The queue's lock is taken before the table's everywhere.
        let mut resident = lock(&self.resident);
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        for node in maps.by_id.values() {
            if !node.pinned.load(Ordering::Relaxed) {
                *lock(&node.fd) = None;
            }
        }
        resident.clear();
    }

    /// Forgets everything but the root: the guest has unmounted.
    pub(crate) fn clear(&self) {
        let mut resident = lock(&self.resident);
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.retain(|id, _| *id == ROOT);
        maps.by_ident.retain(|_, node| node.id == ROOT);
        resident.clear();
        self.pinned.store(0, Ordering::Relaxed);
    }

    /// Descriptors that are kept, the root's not counted.
    #[cfg(test)]
    pub(crate) fn resident(&self) -> usize {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.values().filter(|node| node.id != ROOT && lock(&node.fd).is_some()).count()
    }
}
