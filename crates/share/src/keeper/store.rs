//! What is kept: per session a directory with its journal and, under numbers, the
//! content that was about to be lost. Owns the quota and the ways of keeping.
//! Must not believe what a share says beyond what the kernel confirms: a record's
//! words are written down, never acted upon outside of the folder.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use serde::Serialize;

use super::content;
use crate::journal::{self, Journal, Operation, Record, Writer};
use crate::wire::{Answer, Wish};

/// Most links that are remembered; what goes beyond is copied.
const MOST_LINKS: usize = 500_000;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How much is kept, as the control socket shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    /// Sessions whose changes are written down.
    sessions: Vec<String>,
    /// Bytes that are kept for this folder.
    used: u64,
    /// How many may be.
    quota: u64,
    /// The last operation was refused because there was no room.
    exhausted: bool,
    /// Operations refused because their content could not be kept.
    refused: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Store {
    /// The directory of everything that is kept for the folder.
    root: PathBuf,
    folder: OwnedFd,
    quota: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: Option<Open>,
    used: u64,
    exhausted: bool,
    refused: u64,
    /// Inodes of which a kept object is a link: they must be copied before they change.
    links: HashMap<(u64, u64), Object>,
}

/// The directory that is added to at present.
#[derive(Debug)]
struct Open {
    sessions: BTreeSet<String>,
    first: String,
    journal: Writer,
    directory: Arc<OwnedFd>,
    last_object: u64,
    last_sequence: u64,
    dirty: bool,
}

#[derive(Clone, Debug)]
struct Object {
    directory: Arc<OwnedFd>,
    number: u64,
}

impl Object {
    fn name(&self) -> String {
        self.number.to_string()
    }
}

impl Open {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        self.journal.append(record)?;
        self.last_sequence = self.last_sequence.max(record.sequence);
        self.dirty = true;
        Ok(())
    }

    fn mark(&mut self, operation: Operation, session: &str, time: i64) -> io::Result<()> {
        let mut record = Record::new(operation, session.as_bytes().to_vec());
        record.sequence = self.last_sequence + 1;
        record.time = time;
        self.append(&record)
    }
}

fn nanoseconds_now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// A session's id becomes the name of a directory.
fn is_session(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !id.is_empty() && id.len() <= 64 && id.bytes().all(good) && !id.starts_with('-')
}

impl Store {
    /// What is kept below `root`, an existing private directory.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(crate) fn open(root: PathBuf, folder: OwnedFd, quota: u64) -> io::Result<Self> {
        let store = Self {
            root,
            folder,
            quota,
            state: Mutex::new(State {
                open: None,
                used: 0,
                exhausted: false,
                refused: 0,
                links: HashMap::new(),
            }),
        };
        store.recount()?;
        Ok(store)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic ends the process (see `run`): a poisoned lock is never met.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts anew what is kept: the daemon has released something.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub(crate) fn recount(&self) -> io::Result<()> {
        let mut used = 0;
        for session in std::fs::read_dir(&self.root)? {
            let session = session?;
            if session.file_type()?.is_dir() {
                for object in std::fs::read_dir(session.path())? {
                    used += bytes_on_disk(&object?.path())?;
                }
            }
        }
        let mut state = self.state();
        state.used = used;
        state.exhausted = false;
        Ok(())
    }

    /// Believes no longer that an inode is kept in the directory of a session that ended: what
    /// is kept there will go, and the inode's number to another file.
    ///
    /// # Errors
    /// The id is none, its directory cannot be looked at, or the session has not ended.
    pub(crate) fn forget(&self, session: &str) -> io::Result<()> {
        if !is_session(session) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a session's id"));
        }
        let of = |facts: Stat| (facts.st_dev, facts.st_ino);
        let path = self.root.join(session);
        let gone = of(rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)?);
        let mut state = self.state();
        if state.open.as_ref().is_some_and(|open| open.first == session) {
            return Err(io::Error::other("its journal is still written"));
        }
        state.links.retain(|_, object| fstat(&object.directory).is_ok_and(|it| of(it) != gone));
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state();
        Status {
            sessions: state
                .open
                .as_ref()
                .map(|open| open.sessions.iter().cloned().collect())
                .unwrap_or_default(),
            used: state.used,
            quota: self.quota,
            exhausted: state.exhausted,
            refused: state.refused,
        }
    }

    /// Writes down from now on what a session changes; on disk when this returns.
    ///
    /// # Errors
    /// The id is none, or the directory or journal cannot be made.
    pub(crate) fn begin(&self, session: &str) -> io::Result<()> {
        if !is_session(session) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a session's id"));
        }
        let mut state = self.state();
        let directory = self.root.join(session);
        match rustix::fs::mkdirat(CWD, &directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let file = directory.join(journal::FILE);
        let now = nanoseconds_now();
        match &mut state.open {
            Some(open) if open.first != session => {
                // Two sessions behind one share cannot be told apart: one journal for both.
                let mut pointer = Writer::open(&file)?;
                let mut record = Record::new(Operation::With, open.first.as_bytes().to_vec());
                record.time = now;
                pointer.append(&record)?;
                pointer.sync()?;
                open.mark(Operation::Begin, session, now)?;
                open.journal.sync()?;
                open.sessions.insert(session.to_owned());
            }
            Some(open) => {
                open.sessions.insert(session.to_owned());
            }
            None => {
                let writer = Writer::open(&file)?;
                let known = Journal::read(&file)?;
                let last_sequence = known.records.last().map_or(0, |record| record.sequence);
                let mut open = Open {
                    sessions: BTreeSet::from([session.to_owned()]),
                    first: session.to_owned(),
                    journal: writer,
                    last_object: highest_number(&directory)?,
                    directory: Arc::new(openat(
                        CWD,
                        &directory,
                        DIRECTORY | OFlags::NOFOLLOW,
                        Mode::empty(),
                    )?),
                    last_sequence,
                    dirty: false,
                };
                open.mark(Operation::Begin, session, now)?;
                open.journal.sync()?;
                state.open = Some(open);
            }
        }
        for made in [&directory, &self.root] {
            File::open(made)?.sync_all()?;
        }
        Ok(())
    }

    /// Ends a session's part; what was written down is on disk when this returns.
    ///
    /// # Errors
    /// The journal cannot be written: it stays incomplete, and says so to whoever reads it.
    pub(crate) fn end(&self, session: &str) -> io::Result<()> {
        let mut state = self.state();
        let Some(open) = &mut state.open else { return Ok(()) };
        if !open.sessions.remove(session) {
            return Ok(());
        }
        open.mark(Operation::End, session, nanoseconds_now())?;
        open.journal.sync()?;
        if open.sessions.is_empty() {
            state.open = None;
        }
        Ok(())
    }

    /// Writes a record down.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(crate) fn note(&self, record: &Record) -> io::Result<()> {
        match &mut self.state().open {
            Some(open) => open.append(record),
            // A file that is closed after the session's end.
            None => Ok(()),
        }
    }

    /// Puts what was written down on disk, if that was not done already.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let handle = {
            let mut state = self.state();
            let Some(open) = state.open.as_mut().filter(|open| open.dirty) else { return Ok(()) };
            open.dirty = false;
            open.journal.handle()?
        };
        // Without the lock: whoever writes goes on.
        handle.sync_data()
    }

    /// Keeps what an operation is about to destroy, and writes both down.
    pub(crate) fn keep(&self, wish: Wish, record: Record, file: &OwnedFd) -> Answer {
        let outcome = self.try_keep(wish, record, file);
        let mut state = self.state();
        match outcome {
            Ok(()) => {
                state.exhausted = false;
                Answer::Kept
            }
            Err(error) => {
                state.refused += 1;
                if matches!(Errno::from_io_error(&error), Some(Errno::NOSPC | Errno::DQUOT)) {
                    state.exhausted = true;
                    Answer::NoSpace
                } else {
                    drop(state);
                    super::complain(&format!("keeping a file's content: {error}"));
                    Answer::Failed
                }
            }
        }
    }

    fn try_keep(&self, wish: Wish, mut record: Record, file: &OwnedFd) -> io::Result<()> {
        let facts = fstat(file)?;
        if rustix::fs::FileType::from_raw_mode(facts.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        let inode = (facts.st_dev, facts.st_ino);
        let known = self.state().links.get(&inode).cloned();
        if let Some(object) = known {
            // Kept as a link that still shares the inode: nothing has changed since.
            if wish != Wish::KeepFromRemoval {
                self.unshare(&object, inode, file)?;
            }
            record.object = object.number;
            return self.write_down(&record);
        }
        if wish == Wish::LivesOn {
            return self.note(&record);
        }
        let length = record.size_before.min(facts.st_size.cast_unsigned());
        let bytes = length.min(facts.st_blocks.cast_unsigned().saturating_mul(512));
        let object = self.reserve(bytes)?;
        let kept = self.preserve(wish, &record, file, (&facts, length), &object);
        let kept = kept.and_then(|()| {
            record.object = object.number;
            self.write_down(&record)
        });
        if kept.is_err() {
            // Nothing was promised; what is half there must not look like a version.
            let _ = rustix::fs::unlinkat(&object.directory, object.name(), AtFlags::empty());
            let mut state = self.state();
            state.used = state.used.saturating_sub(bytes);
            state.links.remove(&inode);
        }
        kept
    }

    /// Room and a number for one more object.
    fn reserve(&self, bytes: u64) -> io::Result<Object> {
        let mut state = self.state();
        let after = state.used.saturating_add(bytes);
        if after > self.quota {
            return Err(Errno::NOSPC.into());
        }
        let Some(open) = &mut state.open else {
            return Err(io::Error::other("no session may write at present"));
        };
        open.last_object += 1;
        let object = Object { directory: Arc::clone(&open.directory), number: open.last_object };
        state.used = after;
        Ok(object)
    }

    fn preserve(
        &self,
        wish: Wish,
        record: &Record,
        file: &OwnedFd,
        (facts, length): (&Stat, u64),
        object: &Object,
    ) -> io::Result<()> {
        let may_link = wish == Wish::KeepFromRemoval
            && facts.st_nlink == 1
            && length == facts.st_size.cast_unsigned()
            && self.state().links.len() < MOST_LINKS;
        if may_link && self.link(&record.path, facts, object).is_ok() {
            let inode = (facts.st_dev, facts.st_ino);
            self.state().links.insert(inode, object.clone());
            // The file system orders it before the removal by itself.
            return Ok(());
        }
        let to = new_file(object, &object.name())?;
        content::copy(file.as_fd(), &to, length)?;
        content::copy_attributes(file.as_fd(), &to)?;
        to.sync_data()
    }

    /// One more name, in the store, for the file at a path of the folder: but only
    /// if it is the very file that the share showed.
    fn link(&self, path: &[u8], facts: &Stat, object: &Object) -> io::Result<()> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b"."[..], path),
        };
        let parent = openat2(&self.folder, parent, DIRECTORY, Mode::empty(), BENEATH)?;
        let (directory, new) = (&object.directory, object.name());
        rustix::fs::linkat(&parent, name, directory, &new, AtFlags::empty())?;
        let linked = rustix::fs::statat(directory, &new, AtFlags::SYMLINK_NOFOLLOW)?;
        if (linked.st_dev, linked.st_ino, linked.st_nlink) == (facts.st_dev, facts.st_ino, 2) {
            return Ok(());
        }
        rustix::fs::unlinkat(directory, &new, AtFlags::empty())?;
        Err(Errno::STALE.into())
    }

    /// Turns a kept link into a copy of its own.
    fn unshare(&self, object: &Object, inode: (u64, u64), file: &OwnedFd) -> io::Result<()> {
        let temporary = format!("{}.new", object.number);
        let _ = rustix::fs::unlinkat(&object.directory, &temporary, AtFlags::empty());
        let to = new_file(object, &temporary)?;
        let length = fstat(file)?.st_size.cast_unsigned();
        content::copy(file.as_fd(), &to, length)?;
        content::copy_attributes(file.as_fd(), &to)?;
        to.sync_data()?;
        let flags = rustix::fs::RenameFlags::empty();
        rustix::fs::renameat_with(
            &object.directory,
            &temporary,
            &object.directory,
            object.name(),
            flags,
        )?;
        self.state().links.remove(&inode);
        Ok(())
    }

    fn write_down(&self, record: &Record) -> io::Result<()> {
        match &mut self.state().open {
            Some(open) => open.append(record),
            None => Err(io::Error::other("no session may write at present")),
        }
    }
}

fn new_file(object: &Object, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(openat(&object.directory, name, flags, mode)?.into())
}

/// Bytes that an entry takes on the disk.
fn bytes_on_disk(path: &Path) -> io::Result<u64> {
    Ok(std::fs::symlink_metadata(path)?.blocks().saturating_mul(512))
}

fn highest_number(directory: &Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.split('.').next()?.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}
