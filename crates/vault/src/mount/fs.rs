//! Answers the kernel's questions about a mounted vault. Owns the shape of the tree that is
//! seen; changes nothing, follows nothing.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use rustic_core::TreeId;
use rustic_core::repofile::{Node, NodeType};
use rustic_core::vfs::OpenFile;

use super::Naming;
use super::table::{Listing, Parsed, Place, Table};
use crate::browse::root_node;
use crate::engine::Repo;
use crate::error::Result;
use crate::stat::unix_mode;
use crate::vault::Vault;

/// The link to the newest snapshot.
const NEWEST: &str = "latest";
/// How long the kernel may believe an answer: snapshots never change, their list does.
const FOR_EVER: Duration = Duration::from_secs(3600);
const BRIEFLY: Duration = Duration::from_secs(1);
/// The list of snapshots is read again after this.
const FRESH: Duration = Duration::from_secs(5);
/// Files that may be open at one time.
const MOST_OPEN: usize = 1024;
/// Longest piece that is read at once; the kernel asks for less.
const MOST_READ: u32 = 1024 * 1024;

/// See the module's header.
pub(super) struct Snapshots {
    vault: Arc<Vault>,
    naming: Naming,
    table: Mutex<Table>,
    parsed: Mutex<Parsed>,
    listed: Mutex<Option<(Instant, Arc<Shown>)>>,
    open: Mutex<HashMap<u64, Arc<Open>>>,
    handles: AtomicU64,
}

/// The snapshots by the names of their directories.
struct Shown {
    roots: BTreeMap<String, Node>,
    newest: Option<String>,
}

struct Open {
    repo: Arc<Repo>,
    file: OpenFile,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    pub(super) fn new(vault: Arc<Vault>, naming: Naming) -> Result<Self> {
        let fs = Self {
            vault,
            naming,
            table: Mutex::new(Table::new()),
            parsed: Mutex::default(),
            listed: Mutex::default(),
            open: Mutex::default(),
            handles: AtomicU64::new(1),
        };
        fs.shown()?;
        Ok(fs)
    }

    fn shown(&self) -> Result<Arc<Shown>> {
        let mut listed = locked(&self.listed);
        if let Some((when, shown)) = &*listed
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(shown));
        }
        let all = self.vault.snapshots()?.snapshots;
        let name = |snapshot| {
            let name: String = (self.naming)(snapshot);
            let plain = !name.is_empty() && name != NEWEST && !name.starts_with('.');
            (plain && !name.contains(['/', '\0'])).then_some(name)
        };
        let newest = all.first().and_then(name);
        let roots = all.iter().filter_map(|s| Some((name(s)?, root_node(s)))).collect();
        let shown = Arc::new(Shown { roots, newest });
        *listed = Some((Instant::now(), Arc::clone(&shown)));
        Ok(shown)
    }

    /// Entries of a stored directory.
    fn listing(&self, tree: TreeId) -> Result<Arc<Listing>> {
        if let Some(known) = locked(&self.parsed).get(tree) {
            return Ok(known);
        }
        let engine = &self.vault.engine;
        let listing = Arc::new(Listing::new(engine.tree(&*engine.repo()?, tree)?));
        locked(&self.parsed).put(tree, Arc::clone(&listing));
        Ok(listing)
    }

    /// The stored entry at a place; `None` for what is not stored, or not there any more.
    fn node(&self, place: &Place) -> Result<Option<Node>> {
        Ok(match place {
            Place::Top | Place::Newest => None,
            Place::Snapshot(name) => self.shown()?.roots.get(name).cloned(),
            Place::Entry(tree, name) => self.listing(*tree)?.node(name).cloned(),
        })
    }

    fn attributes(&self, number: u64, place: &Place) -> Result<Option<FileAttr>> {
        Ok(match place {
            Place::Top => Some(own(number, FileType::Directory, 0o500)),
            Place::Newest => {
                let length = self.shown()?.newest.as_ref().map(String::len);
                length.map(|length| FileAttr {
                    size: length as u64,
                    ..own(number, FileType::Symlink, 0o777)
                })
            }
            _ => self.node(place)?.map(|node| stored(number, &node)),
        })
    }

    fn child(&self, parent: &Place, name: &[u8]) -> Result<Option<Place>> {
        Ok(match parent {
            Place::Top if name == NEWEST.as_bytes() => {
                self.shown()?.newest.as_ref().map(|_| Place::Newest)
            }
            Place::Top => {
                let name = str::from_utf8(name).unwrap_or_default();
                let known = self.shown()?.roots.contains_key(name);
                known.then(|| Place::Snapshot(name.to_owned()))
            }
            Place::Newest => None,
            place => match self.node(place)?.and_then(|node| node.subtree) {
                Some(tree) => {
                    let known = self.listing(tree)?.node(name).is_some();
                    known.then(|| Place::Entry(tree, name.to_vec()))
                }
                None => None,
            },
        })
    }

    fn place(&self, number: INodeNo) -> std::result::Result<Place, Errno> {
        locked(&self.table).place(u64::from(number)).ok_or(Errno::ENOENT)
    }

    fn looked_up(
        &self,
        parent: INodeNo,
        name: &OsStr,
    ) -> std::result::Result<(FileAttr, Duration), Errno> {
        let parent = self.place(parent)?;
        let place = self.child(&parent, name.as_bytes()).map_err(broken)?.ok_or(Errno::ENOENT)?;
        let mut attributes = self.attributes(0, &place).map_err(broken)?.ok_or(Errno::ENOENT)?;
        let believed = if parent == Place::Top { BRIEFLY } else { FOR_EVER };
        let number = locked(&self.table).look_up(place).ok_or(Errno::ENFILE)?;
        attributes.ino = INodeNo(number);
        Ok((attributes, believed))
    }

    fn opened(&self, number: INodeNo) -> std::result::Result<u64, Errno> {
        let place = self.place(number)?;
        let node = self.node(&place).map_err(broken)?.ok_or(Errno::EISDIR)?;
        if !node.is_file() {
            return Err(Errno::EINVAL);
        }
        if locked(&self.open).len() >= MOST_OPEN {
            return Err(Errno::ENFILE);
        }
        let engine = &self.vault.engine;
        let repo = engine.repo().map_err(broken)?;
        let file = engine.run("opening a file", || repo.open_file(&node)).map_err(broken)?;
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        locked(&self.open).insert(handle, Arc::new(Open { repo, file }));
        Ok(handle)
    }

    /// What a directory shows, in an order that stays the same.
    fn directory(&self, number: INodeNo) -> std::result::Result<Directory, Errno> {
        let place = self.place(number)?;
        if place == Place::Top {
            return Ok(Directory::Top(self.shown().map_err(broken)?));
        }
        let node = self.node(&place).map_err(broken)?;
        let tree = node.and_then(|node| node.subtree).ok_or(Errno::ENOTDIR)?;
        Ok(Directory::Stored(self.listing(tree).map_err(broken)?))
    }
}

/// A directory that is being listed.
enum Directory {
    Top(Arc<Shown>),
    Stored(Arc<Listing>),
}

impl Directory {
    /// Calls `each` for the entries from one on, until it has enough.
    fn from(&self, first: usize, each: &mut dyn FnMut(FileType, &[u8]) -> bool) {
        let mut dots = [&b"."[..], b".."].into_iter().skip(first);
        if dots.any(|dot| each(FileType::Directory, dot)) {
            return;
        }
        let first = first.saturating_sub(2);
        match self {
            Self::Top(shown) => {
                let newest = shown.newest.as_ref().map(|_| (FileType::Symlink, NEWEST));
                let all = shown.roots.keys().map(|name| (FileType::Directory, name.as_str()));
                all.chain(newest).skip(first).any(|(kind, name)| each(kind, name.as_bytes()));
            }
            Self::Stored(listing) => {
                let mut rest = listing.nodes.iter().skip(first);
                rest.any(|node| each(kind(node), node.name().as_bytes()));
            }
        }
    }
}

/// Damage in the vault is an error of reading, and told to whoever watches the log.
fn broken(error: crate::error::VaultError) -> Errno {
    tracing::warn!(%error, "a snapshot could not be read");
    Errno::EIO
}

fn own(number: u64, kind: FileType, perm: u16) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(node: &Node) -> FileType {
    match node.node_type {
        NodeType::File => FileType::RegularFile,
        NodeType::Dir => FileType::Directory,
        NodeType::Symlink { .. } => FileType::Symlink,
        NodeType::Fifo => FileType::NamedPipe,
        NodeType::Socket => FileType::Socket,
        NodeType::Dev { .. } => FileType::BlockDevice,
        NodeType::Chardev { .. } => FileType::CharDevice,
    }
}

fn stored(number: u64, node: &Node) -> FileAttr {
    let meta = &node.meta;
    let time =
        |time: Option<jiff::Timestamp>| time.map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
    let size = match &node.node_type {
        NodeType::Symlink { .. } => node.node_type.to_link().as_os_str().len() as u64,
        _ => meta.size,
    };
    FileAttr {
        size,
        blocks: size.div_ceil(512),
        atime: time(meta.atime),
        mtime: time(meta.mtime),
        ctime: time(meta.ctime),
        perm: (unix_mode(meta.mode.unwrap_or(0)) & 0o7777) as u16,
        nlink: u32::try_from(meta.links).unwrap_or(u32::MAX).max(1),
        uid: meta.uid.unwrap_or(0),
        gid: meta.gid.unwrap_or(0),
        ..own(number, kind(node), 0)
    }
}

impl Filesystem for Snapshots {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.looked_up(parent, name) {
            Ok((attributes, believed)) => reply.entry(&believed, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        locked(&self.table).forget(u64::from(number), lookups);
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let found = self.place(number).and_then(|place| {
            let found = self.attributes(u64::from(number), &place).map_err(broken)?;
            found.ok_or(Errno::ENOENT)
        });
        match found {
            Ok(attributes) => reply.attr(&BRIEFLY, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.place(number).and_then(|place| match place {
            Place::Newest => {
                let newest = self.shown().map_err(broken)?.newest.clone();
                newest.map(String::into_bytes).ok_or(Errno::ENOENT)
            }
            place => match self.node(&place).map_err(broken)? {
                Some(node) if node.is_symlink() => {
                    Ok(node.node_type.to_link().as_os_str().as_bytes().to_vec())
                }
                _ => Err(Errno::EINVAL),
            },
        });
        match target {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(number) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let open = locked(&self.open).get(&u64::from(handle)).cloned();
        let (Some(open), Ok(offset)) = (open, usize::try_from(offset)) else {
            return reply.error(Errno::EBADF);
        };
        let size = size.min(MOST_READ) as usize;
        let read = self
            .vault
            .engine
            .run("reading a file", || open.repo.read_file_at(&open.file, offset, size));
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(broken(error)),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        locked(&self.open).remove(&u64::from(handle));
        reply.ok();
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let directory = match self.directory(number) {
            Ok(directory) => directory,
            Err(error) => return reply.error(error),
        };
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut next = offset;
        directory.from(first, &mut |kind, name| {
            next += 1;
            // The number only tells entries apart here; it is given for good by a look-up.
            reply.add(INodeNo(next + 1), next, kind, OsStr::from_bytes(name))
        });
        reply.ok();
    }
}
