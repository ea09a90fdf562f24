//! The vault's files on disk: the storage half that rustic_core is given. Owns
//! permissions, durability, the free-space floor and the commit point of a snapshot;
//! knows nothing about what the bytes mean.
//!
//! Order of a commit: packs are written and synced aside; when an index file comes
//! they take their places, then the index does; then directories are synced, then the
//! snapshot file is written, and its directory is synced last. A snapshot that is
//! visible is therefore whole, and what a failed or killed writer leaves lies aside,
//! where the next writer sweeps it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use rustic_core::{
    ALL_FILE_TYPES, BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult,
    WriteBackend,
};

use crate::copy::Source;
use crate::error::{At, Result, VaultError, is_no_space};
use crate::removal::Doomed;

const CONFIG: &str = "config";
const TEMPORARY: &str = "tmp";
/// In [`TEMPORARY`]: packs that are about to take their places, until an index names them.
const ENTERING: &str = "entering";
/// In [`TEMPORARY`]: there while somebody writes, and after a writer who was stopped, or
/// failed, before all names that it gave were on disk.
const WRITING: &str = "writing";
/// Stock restic keeps its locks here and expects the directory.
const LOCKS: &str = "locks";
const LOCK_FILE: &str = "ringfence.lock";
/// Never more than this is kept free for others, and never more than a fiftieth of the disk.
const FLOOR: u64 = 256 * 1024 * 1024;

/// Storage of one vault.
#[derive(Debug)]
pub(crate) struct Storage {
    dir: PathBuf,
    sequence: AtomicU64,
    state: Mutex<State>,
    /// While the vault is being made out of a copy: where packs come from that are not here yet.
    source: OnceLock<Source>,
}

#[derive(Debug, Default)]
struct State {
    /// Directories that got a new name since they were last synced.
    unsynced: BTreeSet<PathBuf>,
    /// While a snapshot is being made: its file is held here and can be read back,
    /// but is not in the vault yet.
    held: Option<Held>,
    /// Set when a write was refused for lack of room.
    no_space: Option<u64>,
    /// The snapshot file written last.
    written: Option<Id>,
    /// Packs that are written and synced, but not in the vault before an index names them.
    waiting: Vec<(Id, PathBuf)>,
    /// Packs opened last: trees lie side by side in few of them.
    open: Vec<(Id, Arc<File>)>,
    /// What a run with the permission to remove has hidden so far; `None`: there is none.
    doomed: Option<Doomed>,
}

/// Snapshot files that no pass but the next may see: every pass builds on the one before.
#[derive(Debug, Default)]
struct Held(Vec<(Id, Bytes)>);

/// The right to write, given back when dropped.
#[derive(Debug)]
pub(crate) struct WriteLock<'a> {
    storage: &'a Storage,
    #[expect(dead_code, reason = "the open file holds the lock")]
    file: File,
}

impl Drop for WriteLock<'_> {
    fn drop(&mut self) {
        if self.storage.state().unsynced.is_empty() {
            let _ = fs::remove_file(self.storage.writing());
        }
    }
}

impl Storage {
    /// Storage in `dir`, which need not exist yet.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            sequence: AtomicU64::new(0),
            state: Mutex::default(),
            source: OnceLock::new(),
        }
    }

    /// Packs that are not here are fetched from there from now on.
    pub(crate) fn fetch_from(&self, source: Source) {
        // Set once, when the vault is opened; a second source would be another vault.
        let _ = self.source.set(source);
    }

    /// Where missing packs are fetched from.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.get()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the writer's lock without waiting, sweeps what a crashed writer left, and puts
    /// on disk what it named: all that can be seen from here on would survive a power cut.
    pub(crate) fn lock(&self) -> Result<WriteLock<'_>> {
        let path = self.dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .at("open the lock file", &path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(VaultError::Busy { path: self.dir.clone() });
            }
            Err(e) => return Err(e).at("lock", &path),
        }
        if let Ok(entries) = fs::read_dir(self.dir.join(TEMPORARY)) {
            // All but the list of packs that may lie in their places unnamed, and the mark.
            let kept = |name: &OsStr| name == ENTERING || name == WRITING;
            for entry in entries.flatten().filter(|entry| !kept(&entry.file_name())) {
                let _ = fs::remove_file(entry.path());
            }
        }
        // A thread of an attempt that failed may have set packs aside after its release:
        // their files were swept just now.
        self.state().waiting.clear();
        self.mark_writing().at("mark the beginning of writing in", &self.dir)?;
        self.sync().at("sync", &self.dir)?;
        Ok(WriteLock { storage: self, file })
    }

    fn writing(&self) -> PathBuf {
        self.dir.join(TEMPORARY).join(WRITING)
    }

    /// Leaves the mark of a writer. Where one is already, any name may have been given
    /// without being on disk. The mark itself is never synced: it tells of processes that
    /// were killed, and a power cut takes with it the names that it would tell of.
    fn mark_writing(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.writing()) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let mut doubtful = vec![self.dir.clone()];
                for kind in ALL_FILE_TYPES {
                    doubtful.push(self.dir.join(kind.dirname()));
                }
                for sub in fs::read_dir(self.dir.join(FileType::Pack.dirname()))? {
                    doubtful.push(sub?.path());
                }
                doubtful.retain(|path| path.is_dir());
                self.state().unsynced.extend(doubtful);
                Ok(())
            }
            // A vault that is only being made has no such directory, and no names in doubt.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Makes the directories of a vault.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.create().map_err(|e| {
            self.take_no_space().unwrap_or_else(|| VaultError::Engine {
                doing: "making the vault's directories",
                detail: e.display_log(),
            })
        })
    }

    /// Refuses a directory that holds anything but the beginnings of a vault.
    pub(crate) fn refuse_foreign(&self) -> Result<()> {
        self.refuse_foreign_names(&[])?;
        let used = [FileType::Snapshot, FileType::Index, FileType::Pack]
            .iter()
            .any(|kind| self.entries(*kind).is_ok_and(|found| !found.is_empty()));
        if used { Err(VaultError::Exists { path: self.dir.clone() }) } else { Ok(()) }
    }

    /// Refuses a directory that holds anything but a vault or a part of one.
    pub(crate) fn refuse_other_than_vault(&self) -> Result<()> {
        self.refuse_foreign_names(&[CONFIG, "config.part"])
    }

    fn refuse_foreign_names(&self, also: &[&str]) -> Result<()> {
        let entries = fs::read_dir(&self.dir).at("list", &self.dir)?;
        let ours = ["data", "index", "keys", "snapshots", LOCKS, TEMPORARY, LOCK_FILE];
        for entry in entries {
            let name = entry.at("list", &self.dir)?.file_name();
            if !ours.iter().chain(also).any(|o| name == *o) {
                return Err(VaultError::Exists { path: self.dir.clone() });
            }
        }
        Ok(())
    }

    /// Removes the key of a vault whose making was cut short: it has no configuration
    /// yet, so nothing was ever stored under it.
    pub(crate) fn clear_unfinished(&self) -> Result<()> {
        let keys = self.dir.join(FileType::Key.dirname());
        for entry in fs::read_dir(&keys).at("list", &keys)? {
            let path = entry.at("list", &keys)?.path();
            fs::remove_file(&path).at("remove", &path)?;
        }
        Ok(())
    }

    /// From now on the snapshot file is held back until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.state().held.get_or_insert_default();
    }

    /// Forgets a held snapshot file, and packs that no index came to name.
    pub(crate) fn release(&self) {
        let waiting = {
            let mut state = self.state();
            state.held = None;
            std::mem::take(&mut state.waiting)
        };
        for (_, path) in waiting {
            let _ = fs::remove_file(path);
        }
    }

    /// The snapshot file that was written last.
    pub(crate) fn last_snapshot(&self) -> Option<Id> {
        self.state().written
    }

    /// Whether a write was refused for lack of room since the last call, as the error to report.
    pub(crate) fn take_no_space(&self) -> Option<VaultError> {
        let free = self.state().no_space.take()?;
        Some(VaultError::NoSpace { path: self.dir.clone(), free, floor: self.floor().1 })
    }

    /// Puts every name on disk that was given so far.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let unsynced = std::mem::take(&mut self.state().unsynced);
        for (done, dir) in unsynced.iter().enumerate() {
            if let Err(e) = File::open(dir).and_then(|d| d.sync_all()) {
                self.state().unsynced.extend(unsynced.iter().skip(done).cloned());
                return Err(e);
            }
        }
        Ok(())
    }

    /// From now on removals are gathered in this, or refused again; what was gathered
    /// before. Only [`crate::removal`] calls it.
    pub(crate) fn gather_removals(&self, doomed: Option<Doomed>) -> Option<Doomed> {
        std::mem::replace(&mut self.state().doomed, doomed)
    }

    /// Closes the packs that were opened last, so that removed ones free their room.
    pub(crate) fn let_go_of_packs(&self) {
        self.state().open.clear();
    }

    /// Refuses while stock restic is at work, which says so by a lock of its own.
    pub(crate) fn refuse_stock_restic(&self) -> Result<()> {
        let locks = self.dir.join(LOCKS);
        match fs::read_dir(&locks).at("list", &locks)?.next() {
            None => Ok(()),
            Some(_) => Err(VaultError::StockRestic { path: self.dir.clone() }),
        }
    }

    /// Bytes in all files of the vault, as their lengths say.
    pub(crate) fn size(&self) -> Result<u64> {
        let mut total = 0;
        for kind in ALL_FILE_TYPES {
            let listed = self.list_with_size(kind).map_err(|e| VaultError::Damaged {
                path: self.dir.clone(),
                what: e.display_log(),
            })?;
            total += listed.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
        }
        Ok(total)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, kind: FileType, id: &Id) -> PathBuf {
        match kind {
            FileType::Config => self.dir.clone(),
            FileType::Pack => self.dir.join(kind.dirname()).join(&id.to_hex()[0..2]),
            _ => self.dir.join(kind.dirname()),
        }
    }

    /// Where a file of the repository lies.
    pub(crate) fn path(&self, kind: FileType, id: &Id) -> PathBuf {
        let directory = self.directory(kind, id);
        match kind {
            FileType::Config => directory.join(CONFIG),
            _ => directory.join(id.to_hex().as_str()),
        }
    }

    /// As [`Self::path`], for a file that somebody else will put there.
    pub(crate) fn make_place(&self, kind: FileType, id: &Id) -> Result<PathBuf> {
        let directory = self.directory(kind, id);
        make_dir(&directory).at("make the directory", &directory)?;
        self.state().unsynced.insert(directory);
        Ok(self.path(kind, id))
    }

    /// Free bytes and the floor.
    fn floor(&self) -> (u64, u64) {
        room(&self.dir)
    }

    fn write(&self, kind: FileType, id: &Id, content: &BytesList) -> io::Result<()> {
        let (free, floor) = self.floor();
        if free.saturating_sub(content.size() as u64) < floor {
            self.state().no_space = Some(free);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(TEMPORARY).join(format!("{}-{number}", std::process::id()));
        let result = self.write_through(kind, id, content, &temporary);
        if let Err(error) = &result {
            let _ = fs::remove_file(&temporary);
            if is_no_space(error) {
                self.state().no_space = Some(0);
            }
        }
        result
    }

    fn write_through(
        &self,
        kind: FileType,
        id: &Id,
        content: &BytesList,
        temporary: &Path,
    ) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        for part in content.slice() {
            file.write_all(part)?;
        }
        file.sync_all()?;
        if kind == FileType::Pack {
            self.state().waiting.push((*id, temporary.to_path_buf()));
            return Ok(());
        }
        if kind == FileType::Index {
            let waiting = std::mem::take(&mut self.state().waiting);
            self.announce(&waiting)?;
            for (pack, path) in waiting {
                self.enter(FileType::Pack, &pack, &path)?;
            }
            self.sync()?;
        }
        self.enter(kind, id, temporary)?;
        self.sync()?;
        if kind == FileType::Index {
            let _ = fs::remove_file(self.entering());
        }
        if kind == FileType::Snapshot {
            self.state().written = Some(*id);
        }
        Ok(())
    }

    fn entering(&self) -> PathBuf {
        self.dir.join(TEMPORARY).join(ENTERING)
    }

    /// Writes down which packs are about to take their places, beside those that an
    /// earlier attempt left so. Not synced: after a power cut they may stay, at worst as
    /// wasted room, and every snapshot would pay for the sync.
    fn announce(&self, packs: &[(Id, PathBuf)]) -> io::Result<()> {
        let lines: String =
            packs.iter().map(|(id, _)| format!("{}\n", id.to_hex().as_str())).collect();
        let mut list =
            OpenOptions::new().create(true).append(true).mode(0o600).open(self.entering())?;
        list.write_all(lines.as_bytes())
    }

    /// Packs that took their places and may never have been named by an index, since
    /// their writer was stopped in between. Usually none.
    pub(crate) fn unnamed(&self) -> Vec<Id> {
        let list = fs::read_to_string(self.entering()).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes these packs, which no index names, and forgets the list of all that may be
    /// unnamed. Under the writer's lock only.
    pub(crate) fn sweep(&self, unnamed: &[Id]) -> Result<()> {
        for id in unnamed {
            let path = self.path(FileType::Pack, id);
            match fs::remove_file(&path) {
                Ok(()) => {
                    self.state().unsynced.insert(self.directory(FileType::Pack, id));
                }
                // Its writer was stopped before the pack had a place, perhaps before that
                // place's directory was made.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).at("remove", &path),
            }
        }
        let list = self.entering();
        fs::remove_file(&list).at("remove", &list)
    }

    /// Gives a complete file its place.
    fn enter(&self, kind: FileType, id: &Id, temporary: &Path) -> io::Result<()> {
        let directory = self.directory(kind, id);
        if kind == FileType::Pack && !directory.is_dir() {
            make_dir(&directory)?;
            self.state().unsynced.insert(self.dir.join(kind.dirname()));
        }
        fs::rename(temporary, self.path(kind, id))?;
        self.state().unsynced.insert(directory);
        Ok(())
    }

    fn open_pack(&self, id: &Id) -> io::Result<Arc<File>> {
        const KEPT: usize = 16;
        if let Some((_, file)) = self.state().open.iter().find(|(i, _)| i == id) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.open_or_fetch(id)?);
        let mut state = self.state();
        if state.open.len() >= KEPT {
            state.open.remove(0);
        }
        state.open.push((*id, Arc::clone(&file)));
        Ok(file)
    }

    fn open_or_fetch(&self, id: &Id) -> io::Result<File> {
        let path = self.path(FileType::Pack, id);
        match (File::open(&path), self.source.get()) {
            (Err(e), Some(source)) if e.kind() == io::ErrorKind::NotFound => {
                self.make_place(FileType::Pack, id)
                    .and_then(|path| source.fetch(FileType::Pack, id, &path))
                    .map_err(io::Error::other)?;
                File::open(&path)
            }
            (opened, _) => opened,
        }
    }

    /// All files of a kind with their lengths.
    pub(crate) fn entries(&self, kind: FileType) -> io::Result<Vec<(Id, u32)>> {
        let mut found = Vec::new();
        let top = self.dir.join(kind.dirname());
        if kind == FileType::Config {
            return match fs::metadata(self.dir.join(CONFIG)) {
                Ok(meta) => {
                    Ok(vec![(Id::default(), u32::try_from(meta.len()).unwrap_or(u32::MAX))])
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(found),
                Err(e) => Err(e),
            };
        }
        if kind == FileType::Pack {
            for sub in fs::read_dir(&top)? {
                let sub = sub?;
                if sub.file_type()?.is_dir() {
                    list_into(&sub.path(), &mut found)?;
                }
            }
        } else {
            list_into(&top, &mut found)?;
        }
        if let Some(doomed) = self.state().doomed.as_mut() {
            found.retain(|(id, _)| !doomed.holds(kind, id));
        }
        Ok(found)
    }

    fn held(&self, kind: FileType, id: &Id) -> Option<Bytes> {
        if kind != FileType::Snapshot {
            return None;
        }
        let state = self.state();
        let held = state.held.as_ref()?.0.iter().find(|(held, _)| held == id)?;
        Some(held.1.clone())
    }

    fn failure(&self, doing: &'static str, path: &Path, error: io::Error) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, "cannot {doing} `{path}`", error)
            .attach_context("doing", doing)
            .attach_context("path", path.to_string_lossy())
    }
}

/// Free bytes on the file system of `dir`, and how many of them are left to others; a file
/// system that does not say counts as roomy.
pub(crate) fn room(dir: &Path) -> (u64, u64) {
    rustix::fs::statvfs(dir).map_or((u64::MAX, 0), |s| {
        let unit = s.f_frsize.max(1);
        (s.f_bavail.saturating_mul(unit), FLOOR.min(s.f_blocks.saturating_mul(unit) / 50))
    })
}

fn list_into(dir: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Whatever is not named by a hash is not ours: restic's rule too.
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<Id>().ok()) else {
            continue;
        };
        let meta = entry.metadata()?;
        if meta.is_file() {
            found.push((id, u32::try_from(meta.len()).unwrap_or(u32::MAX)));
        }
    }
    Ok(())
}

/// As [`list_into`], without lengths.
fn names(dir: &Path) -> io::Result<Vec<Id>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|n| n.parse::<Id>().ok());
        if entry.file_type()?.is_file() {
            found.extend(id);
        }
    }
    Ok(found)
}

fn make_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

impl ReadBackend for Storage {
    fn location(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let listed = match tpe {
            // There are thousands of these after a while, and their lengths cost a call each.
            FileType::Snapshot | FileType::Index => names(&self.dir.join(tpe.dirname())),
            _ => self.entries(tpe).map(|all| all.into_iter().map(|(id, _)| id).collect()),
        };
        let mut listed: Vec<Id> =
            listed.map_err(|e| self.failure("list", &self.dir.join(tpe.dirname()), e))?;
        if let Some(doomed) = self.state().doomed.as_mut() {
            listed.retain(|id| !doomed.holds(tpe, id));
        }
        Ok(listed)
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.entries(tpe).map_err(|e| self.failure("list", &self.dir.join(tpe.dirname()), e))
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        if let Some(bytes) = self.held(tpe, id) {
            return Ok(bytes);
        }
        let path = self.path(tpe, id);
        fs::read(&path).map(Bytes::from).map_err(|e| self.failure("read", &path, e))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = self.path(tpe, id);
        let read = || -> io::Result<Bytes> {
            let file = if tpe == FileType::Pack {
                self.open_pack(id)?
            } else {
                Arc::new(File::open(&path)?)
            };
            // A damaged index may name any length: ask the file before reserving memory.
            let end = u64::from(offset) + u64::from(length);
            if end > file.metadata()?.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut buffer = vec![0; length as usize];
            file.read_exact_at(&mut buffer, offset.into())?;
            Ok(buffer.into())
        };
        read().map_err(|e| self.failure("read part of", &path, e))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.path(tpe, id).to_string_lossy().into_owned()
    }
}

impl WriteBackend for Storage {
    fn create(&self) -> RusticResult<()> {
        let make = || -> io::Result<()> {
            make_dir(&self.dir)?;
            for kind in ALL_FILE_TYPES {
                make_dir(&self.dir.join(kind.dirname()))?;
            }
            make_dir(&self.dir.join(TEMPORARY))?;
            make_dir(&self.dir.join(LOCKS))?;
            let mut state = self.state();
            state.unsynced.insert(self.dir.clone());
            state.unsynced.insert(self.dir.join(FileType::Pack.dirname()));
            if let Some(parent) = self.dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                state.unsynced.insert(parent.into());
            }
            Ok(())
        };
        make().map_err(|e| {
            if is_no_space(&e) {
                self.state().no_space = Some(0);
            }
            self.failure("make", &self.dir, e)
        })
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        if tpe == FileType::Snapshot
            && let Some(held) = self.state().held.as_mut()
        {
            held.0.push((*id, content.slice().concat().into()));
            return Ok(());
        }
        self.write(tpe, id, &content).map_err(|e| self.failure("write", &self.path(tpe, id), e))
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let gathered = self.state().doomed.as_mut().is_some_and(|doomed| doomed.add(tpe, *id));
        if gathered {
            return Ok(());
        }
        // Only a run that has the permission removes, and nobody a key.
        Err(self.failure("remove", &self.path(tpe, id), io::ErrorKind::PermissionDenied.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::removal::Removal;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_are_private_and_removal_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        let id = Id::random();
        storage.write_bytes(FileType::Pack, &id, false, vec![1, 2, 3].into()).unwrap();
        assert!(storage.list(FileType::Pack).unwrap().is_empty(), "no index names it yet");
        storage.write_bytes(FileType::Index, &Id::random(), false, vec![0].into()).unwrap();
        assert!(storage.remove(FileType::Pack, &id, false).is_err());
        assert_eq!(
            storage.read_partial(FileType::Pack, &id, false, 1, 2).unwrap().as_ref(),
            [2, 3]
        );
        assert!(storage.read_partial(FileType::Pack, &id, false, 1, u32::MAX).is_err());
        assert_eq!(fs::metadata(storage.dir()).unwrap().mode() & 0o777, 0o700);
        let file = storage.path(FileType::Pack, &id);
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(storage.dir().join(TEMPORARY)).unwrap().count(), 0);
    }

    #[test]
    fn a_held_snapshot_is_readable_but_not_on_disk() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        let id = Id::random();
        storage.hold();
        storage.write_bytes(FileType::Snapshot, &id, false, vec![7].into()).unwrap();
        assert!(
            storage.list(FileType::Snapshot).unwrap().is_empty(),
            "readers on other threads see it"
        );
        assert_eq!(storage.read_full(FileType::Snapshot, &id).unwrap().as_ref(), [7]);
        assert_eq!(fs::read_dir(storage.dir().join("snapshots")).unwrap().count(), 0);
        storage.release();
        assert!(storage.list(FileType::Snapshot).unwrap().is_empty());
    }

    #[test]
    fn packs_without_an_index_do_not_stay() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        storage.write_bytes(FileType::Pack, &Id::random(), false, vec![1].into()).unwrap();
        let aside = || fs::read_dir(storage.dir().join(TEMPORARY)).unwrap().count();
        assert_eq!(aside(), 1);
        storage.release();
        assert_eq!(aside(), 0);
        // And those of a writer that was killed go when the next one begins.
        storage.write_bytes(FileType::Pack, &Id::random(), false, vec![1].into()).unwrap();
        drop(Storage::new(storage.dir()).lock().unwrap());
        assert_eq!(aside(), 0);
    }

    #[test]
    fn removals_are_hidden_first_and_carried_out_or_forgotten() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        let (id, key) = (Id::random(), Id::random());
        storage.write_bytes(FileType::Snapshot, &id, false, vec![1, 2].into()).unwrap();
        storage.write_bytes(FileType::Key, &key, false, vec![0].into()).unwrap();
        let listed = || storage.list(FileType::Snapshot).unwrap().len();
        let there = || storage.path(FileType::Snapshot, &id).exists();
        let removal = Removal::permit(&storage);
        storage.remove(FileType::Snapshot, &id, false).unwrap();
        assert!(storage.remove(FileType::Key, &key, false).is_err());
        assert_eq!((listed(), there()), (0, true));
        drop(removal);
        assert_eq!((listed(), there()), (1, true));
        assert!(storage.remove(FileType::Snapshot, &id, false).is_err());
        let removal = Removal::permit(&storage);
        storage.remove(FileType::Snapshot, &id, false).unwrap();
        assert_eq!(removal.carry_out().unwrap(), 2);
        assert_eq!((listed(), there()), (0, false));
        assert!(storage.remove(FileType::Snapshot, &id, false).is_err(), "for one run only");
        assert!(storage.path(FileType::Key, &key).exists());
    }

    #[test]
    fn a_writer_that_was_stopped_leaves_a_mark_and_the_next_one_takes_it_away() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        storage.sync().unwrap();
        let stopped = storage.lock().unwrap();
        storage.state().unsynced.insert(storage.dir().join("index"));
        drop(stopped);
        assert!(storage.writing().exists(), "names are not on disk, and nobody is told");
        let next = Storage::new(storage.dir());
        let lock = next.lock().unwrap();
        assert!(next.state().unsynced.is_empty());
        drop(lock);
        assert!(!storage.writing().exists());
    }

    #[test]
    fn one_writer_at_a_time() {
        let top = tempfile::tempdir().unwrap();
        let storage = Storage::new(&top.path().join("v"));
        storage.create().unwrap();
        let first = storage.lock().unwrap();
        assert!(matches!(storage.lock(), Err(VaultError::Busy { .. })));
        drop(first);
        storage.lock().unwrap();
    }
}
