//! What happens before a change: the journal is told, and where content would be
//! lost the keeper has it first. Owns the question which version of a file is
//! already safe. Must not decide how content is kept.
//!
//! A version is complete when somebody who wrote to the file closes it, and it is
//! asked for anew whenever somebody opens it to write. Between the two the file may
//! be overwritten as often as it likes: what stood there before has been kept.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLockWriteGuard};

use rustix::fs::{Mode, OFlags, Statx, StatxTimestamp, openat2};
use rustix::io::Errno;

use super::change::Caller;
use super::node::{Ident, Node, ROOT, lock};
use super::{BENEATH, Beneath, DEEPEST, Handle, stat_at, stat_fd};
use crate::journal::{LONGEST_DATA, Operation, Record, STILL_NAMED};
use crate::keep::Keeper;
use crate::wire::Wish;

/// Nothing before this offset is the whole file; an operation that only adds
/// destroys from here on.
pub(super) const NOTHING: u64 = u64::MAX;

/// Directories share this many locks.
const NAME_LOCKS: usize = 64;

/// How safe the last complete version of a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// It stands in the file and nowhere else, as far as is known.
    #[default]
    Settled,
    /// It stands in the file, which has grown since: it is its first so many bytes.
    Growing(u64),
    /// It is kept, or the vault has it.
    Kept,
}

impl Version {
    /// Whether it is still to be had after everything from an offset on is lost.
    const fn outlives(self, from: u64) -> bool {
        match self {
            Self::Settled => false,
            Self::Growing(size) => from >= size,
            Self::Kept => true,
        }
    }
}

/// Locks of directories in which names are being removed or replaced: the file that
/// was looked at must be the one that loses its name.
#[derive(Debug)]
pub(super) struct NameLocks(Vec<Mutex<()>>);

impl NameLocks {
    pub(super) fn new() -> Self {
        Self((0..NAME_LOCKS).map(|_| Mutex::new(())).collect())
    }

    /// Locks one or two directories, always in the same order.
    pub(super) fn lock(
        &self,
        one: u64,
        other: u64,
    ) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let place = |id: u64| usize::try_from(id % NAME_LOCKS as u64).unwrap_or(0);
        let (one, other) = (place(one), place(other));
        let (first, second) = (one.min(other), one.max(other));
        let held = lock(&self.0[first]);
        (held, (second != first).then(|| lock(&self.0[second])))
    }
}

fn nanoseconds(time: StatxTimestamp) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
}

/// Notes what a file was before.
fn describe(record: &mut Record, stat: &Statx) {
    record.inode = stat.stx_ino;
    record.size_before = stat.stx_size;
    record.mode = u32::from(stat.stx_mode);
    record.modified = nanoseconds(stat.stx_mtime);
}

/// Writes a change down and carries it out; where it is refused that is written down too.
fn announced<T>(
    keeper: &Keeper,
    record: Record,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let undone = Record { operation: Operation::Undone, data: Vec::new(), ..record.clone() };
    keeper.note(record);
    let outcome = act();
    if outcome.is_err() {
        keeper.note(undone);
    }
    outcome
}

fn record(operation: Operation, path: Vec<u8>, who: Caller) -> Record {
    let mut record = Record::new(operation, path);
    (record.pid, record.uid) = (who.pid, who.uid);
    record
}

impl Beneath {
    /// The path of a name from the root, as far as it is known.
    pub(super) fn path_to(&self, parent: u64, name: &CStr) -> Vec<u8> {
        let mut names = vec![name.to_owned()];
        let mut at = parent;
        while at != ROOT && names.len() < DEEPEST {
            let Ok(node) = self.table.get(at) else { break };
            let place = node.place();
            names.push(place.name);
            at = place.parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
        }
        path
    }

    fn path_of(&self, node: &Node) -> Vec<u8> {
        if node.id == ROOT {
            return Vec::new();
        }
        let place = node.place();
        self.path_to(place.parent, &place.name)
    }

    /// Tells the journal of something that was made.
    pub(super) fn note_made(&self, operation: Operation, parent: u64, name: &CStr, who: Caller) {
        if let Some(keeper) = &self.keeper {
            keeper.note(record(operation, self.path_to(parent, name), who));
        }
    }

    /// Moves a name, or has two change places, and tells the journal before it.
    ///
    /// # Errors
    /// What the operation says: the journal hears that it was refused.
    pub(super) fn moving(
        &self,
        operation: Operation,
        ((parent, name), (new_parent, new_name)): ((u64, &CStr), (u64, &CStr)),
        who: Caller,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(keeper) = &self.keeper else { return act() };
        let mut record = record(operation, self.path_to(parent, name), who);
        record.other = self.path_to(new_parent, new_name);
        announced(keeper, record, act)
    }

    /// Removes a directory, and tells the journal before it.
    ///
    /// # Errors
    /// What the operation says: the journal hears that it was refused.
    pub(super) fn losing_directory(
        &self,
        dir: &OwnedFd,
        parent: u64,
        name: &CStr,
        who: Caller,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(keeper) = &self.keeper else { return act() };
        let mut record = record(Operation::RemoveDirectory, self.path_to(parent, name), who);
        if let Ok(stat) = stat_at(dir, name) {
            describe(&mut record, &stat);
        }
        announced(keeper, record, act)
    }

    /// Tells the journal of one more name of a node.
    pub(super) fn note_link(&self, node: &Node, parent: u64, name: &CStr, who: Caller) {
        if let Some(keeper) = &self.keeper {
            let mut record = record(Operation::Link, self.path_of(node), who);
            record.inode = node.ident.inode;
            record.other = self.path_to(parent, name);
            keeper.note(record);
        }
    }

    /// Tells the journal that permission bits or times are about to change.
    pub(super) fn note_attributes(&self, node: &std::sync::Arc<Node>, who: Caller) {
        if let Some(keeper) = &self.keeper {
            let mut record = record(Operation::Attributes, self.path_of(node), who);
            if let Ok(stat) = self.stat_node(node) {
                describe(&mut record, &stat);
            }
            keeper.note(record);
        }
    }

    /// Tells the journal that an extended attribute is about to change, with its value.
    pub(super) fn note_xattr(&self, node: &Node, file: &File, name: &CStr, who: Caller) {
        if let Some(keeper) = &self.keeper {
            let mut record = record(Operation::ExtendedAttribute, self.path_of(node), who);
            record.inode = node.ident.inode;
            record.other = name.to_bytes().to_vec();
            let mut value = vec![0; LONGEST_DATA];
            if let Ok(length) = rustix::fs::fgetxattr(file, name, &mut value[..]) {
                value.truncate(length);
                record.data = value;
            }
            keeper.note(record);
        }
    }

    /// Carries out an operation that destroys a file's content from an offset on,
    /// after the version that it destroys is safe. Until the operation is over,
    /// nobody can complete a version.
    ///
    /// # Errors
    /// ENOSPC and EIO where the version could not be kept: the operation was not
    /// carried out. Else what it says itself.
    pub(super) fn changing<T>(
        &self,
        (node, file): (&Node, &File),
        from: u64,
        who: Caller,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if self.keeper.is_none() {
            return act();
        }
        {
            let version = node.version.read().unwrap_or_else(PoisonError::into_inner);
            if version.outlives(from) {
                return act();
            }
        }
        let mut version = node.version.write().unwrap_or_else(PoisonError::into_inner);
        if !version.outlives(from) {
            *version = self.keep_version(*version, node, file, from, who)?;
        }
        let _version = RwLockWriteGuard::downgrade(version);
        act()
    }

    fn keep_version(
        &self,
        version: Version,
        node: &Node,
        file: &File,
        from: u64,
        who: Caller,
    ) -> io::Result<Version> {
        let Some(keeper) = &self.keeper else { return Ok(version) };
        let stat = stat_fd(file)?;
        // What was growing since its last version is about to lose that version.
        let destroys = matches!(version, Version::Growing(1..)) || from < stat.stx_size;
        if destroys {
            self.before_loss(&stat, || self.path_of(node))?;
        }
        let mut record = record(Operation::Overwrite, self.path_of(node), who);
        describe(&mut record, &stat);
        if let Version::Growing(size) = version {
            record.size_before = size;
        } else if from >= stat.stx_size {
            record.operation = Operation::Append;
            keeper.note(record);
            return Ok(Version::Growing(stat.stx_size));
        } else if keeper.is_stored(&stat) {
            keeper.note(record);
            self.note_rewritten(&stat);
            return Ok(Version::Kept);
        }
        if rustix::fs::fcntl_getfl(file)?.contains(OFlags::WRONLY) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let readable = self.open_again(file.as_fd(), flags)?;
            keeper.keep(Wish::KeepFromWriting, record, readable.as_fd())?;
        } else {
            keeper.keep(Wish::KeepFromWriting, record, file.as_fd())?;
        }
        self.note_rewritten(&stat);
        Ok(Version::Kept)
    }

    /// Somebody is about to write to a file anew: what stands in it may be what
    /// somebody else has just completed.
    pub(super) fn settle(&self, node: &Node) {
        if self.keeper.is_none() {
            return;
        }
        let settled = |version: Version| version == Version::Settled;
        if settled(*node.version.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        *node.version.write().unwrap_or_else(PoisonError::into_inner) = Version::Settled;
    }

    /// Nothing stood in a file that was just made.
    pub(super) fn made_empty(&self, node: &Node) {
        *node.version.write().unwrap_or_else(PoisonError::into_inner) = Version::Growing(0);
    }

    /// A file that was written to is being closed: a version is complete.
    pub(super) fn complete(&self, handle: &Handle, who: Caller) {
        let Some(keeper) = &self.keeper else { return };
        if !handle.wrote.load(Ordering::Relaxed) {
            return;
        }
        let mut version = handle.node.version.write().unwrap_or_else(PoisonError::into_inner);
        *version = Version::Settled;
        let mut record = record(Operation::Close, self.path_of(&handle.node), who);
        record.inode = handle.node.ident.inode;
        if let Ok(stat) = stat_fd(&handle.file) {
            record.size_after = stat.stx_size;
            record.mode = u32::from(stat.stx_mode);
        }
        keeper.note(record);
    }

    /// Carries out the removal or replacement of a name, after what only this name
    /// leads to is safe. The directory's lock is held.
    ///
    /// # Errors
    /// As [`Self::changing`].
    pub(super) fn losing<T>(
        &self,
        operation: Operation,
        (dir, parent, name): (&OwnedFd, u64, &CStr),
        who: Caller,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(keeper) = &self.keeper else { return act() };
        // What is not there, or on another file system, the operation itself refuses.
        let Ok(stat) = stat_at(dir, name) else { return act() };
        if stat.stx_mnt_id != self.mount {
            return act();
        }
        let mut record = record(operation, self.path_to(parent, name), who);
        describe(&mut record, &stat);
        match u32::from(stat.stx_mode) & 0o170_000 {
            0o100_000 => {}
            0o120_000 => {
                if !keeper.is_stored(&stat) {
                    record.data = rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes();
                }
                return announced(keeper, record, act);
            }
            _ => return announced(keeper, record, act),
        }
        let ident = Ident::of(&stat);
        let known = self.table.find(ident);
        let looked_up = known.is_none();
        let node = match known {
            Some(node) => node,
            None => self.table.seen(&stat, parent, name)?,
        };
        let outcome = self.losing_file(record, (dir, name), &node, act);
        if looked_up {
            let id = node.id;
            drop(node);
            self.table.forget(id, 1);
        }
        outcome
    }

    fn losing_file<T>(
        &self,
        mut record: Record,
        (dir, name): (&OwnedFd, &CStr),
        node: &Node,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(keeper) = &self.keeper else { return act() };
        let mut version = node.version.write().unwrap_or_else(PoisonError::into_inner);
        // Looked at only now: until the lock was had, somebody may have completed a
        // version, or removed another name of the same file.
        let stat = stat_at(dir, name)?;
        if Ident::of(&stat) != node.ident {
            return Err(Errno::STALE.into());
        }
        describe(&mut record, &stat);
        let stored = *version == Version::Settled && keeper.is_stored(&stat);
        if stat.stx_nlink > 1 {
            // Another name still leads to the content.
            record.data = STILL_NAMED.to_vec();
            return announced(keeper, record, act);
        }
        if stored || stat.stx_size == 0 {
            return announced(keeper, record, act);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(dir, name, flags, Mode::empty(), BENEATH)?;
        // The host may put another file there at any time.
        if Ident::of(&stat_fd(&file)?) != node.ident {
            return Err(Errno::STALE.into());
        }
        // Open nowhere in the share: then a link is enough, where one can be made.
        let open = node.handles.load(Ordering::Relaxed) > 0;
        let wish = if open { Wish::KeepFromWriting } else { Wish::KeepFromRemoval };
        let mut undone = record.clone();
        keeper.keep(wish, record, file.as_fd())?;
        let outcome = act();
        *version = Version::Settled;
        if outcome.is_ok() {
            // Nobody shall find the file again that may be one with what is kept.
            self.table.close(node);
        } else {
            undone.operation = Operation::Undone;
            keeper.keep(Wish::LivesOn, undone, file.as_fd())?;
        }
        outcome
    }
}
