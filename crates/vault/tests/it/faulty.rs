//! A file system over a real directory that fails or lies when it is told to, and knows what
//! was written and never synced. It holds nothing back and caches nothing: what the vault
//! asks of its disk arrives here one call after the other.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// What can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Look,
    List,
    Open,
    Read,
    Create,
    Write,
    Sync,
    Rename,
    MakeDir,
    Remove,
}

/// Calls that fail: of those of these kinds the one with this number, counted from the
/// moment when it was told so, and if it lasts all later ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) ops: &'static [Op],
    pub(crate) errno: Errno,
    pub(crate) lasts: bool,
}

#[derive(Default)]
struct Told {
    fault: Option<(Fault, usize)>,
    counted: usize,
    struck: usize,
    /// Files and directories that changed since they were last synced.
    unsynced: BTreeSet<PathBuf>,
    /// Names under which files were made.
    made: BTreeSet<PathBuf>,
    /// What is read of files with this in their path is not what was written.
    rotten: Option<&'static str>,
    /// When everything says that it changed last.
    changed_at: Option<SystemTime>,
}

/// Numbers by which the kernel knows paths.
struct Table {
    paths: HashMap<u64, PathBuf>,
    next: u64,
}

struct Fs {
    real: PathBuf,
    told: Arc<Mutex<Told>>,
    table: Mutex<Table>,
    open: Mutex<HashMap<u64, (u64, Arc<File>)>>,
    listed: Mutex<HashMap<u64, Vec<(FileType, std::ffi::OsString)>>>,
    handles: AtomicU64,
}

/// The mounted file system; unmounted when dropped.
pub(crate) struct Faulty {
    session: Option<BackgroundSession>,
    told: Arc<Mutex<Told>>,
    at: PathBuf,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faulty {
    /// Shows `real` at `at`; says so and gives nothing where there is no FUSE.
    pub(crate) fn mount(real: &Path, at: &Path) -> Option<Self> {
        let able = File::options().read(true).write(true).open("/dev/fuse");
        if let Err(why) = able {
            eprintln!("SKIPPED: a disk that fails needs FUSE: {why}");
            return None;
        }
        let told = Arc::new(Mutex::new(Told::default()));
        let fs = Fs {
            real: real.into(),
            told: Arc::clone(&told),
            table: Mutex::new(Table { paths: HashMap::from([(1, PathBuf::new())]), next: 2 }),
            open: Mutex::default(),
            listed: Mutex::default(),
            handles: AtomicU64::new(1),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::NoSuid, MountOption::FSName("faulty".into())];
        let session = fuser::spawn_mount(fs, at, &config).unwrap();
        Some(Self { session: Some(session), told, at: at.into() })
    }

    /// From now on the call with the given number fails.
    pub(crate) fn fail(&self, fault: Fault, at: usize) {
        let mut told = locked(&self.told);
        (told.fault, told.counted, told.struck) = (Some((fault, at)), 0, 0);
    }

    /// All is well again. Gives how many calls of the fault's kinds there were, and how
    /// many of them failed.
    pub(crate) fn heal(&self) -> (usize, usize) {
        let mut told = locked(&self.told);
        told.fault = None;
        (told.counted, told.struck)
    }

    /// From now on what is read of files with this in their path is not what was written.
    pub(crate) fn rot(&self, part: &'static str) {
        locked(&self.told).rotten = Some(part);
    }

    /// From now on everything says that it changed last at this time, and at no other.
    pub(crate) fn say_changed(&self, at: SystemTime) {
        locked(&self.told).changed_at = Some(at);
    }

    /// The names under which files were made so far; later ones came by renaming.
    pub(crate) fn made(&self) -> Vec<PathBuf> {
        locked(&self.told).made.iter().cloned().collect()
    }

    /// What a power cut would take away, of all that is meant to stay.
    pub(crate) fn unsynced(&self) -> Vec<PathBuf> {
        let stays = |path: &&PathBuf| {
            let mut parts = path.components().skip(1);
            let second = parts.next().map(|part| part.as_os_str().to_owned());
            second.is_none_or(|name| name != "tmp" && name != "ringfence.lock")
        };
        locked(&self.told).unsynced.iter().filter(stays).cloned().collect()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.heal();
        // Forced, so that a file which some thread still has open is not waited for: its last
        // word would be for a server that ends with this very process.
        let flags = rustix::mount::UnmountFlags::FORCE | rustix::mount::UnmountFlags::DETACH;
        let forced = rustix::mount::unmount(&self.at, flags).is_ok();
        let session = self.session.take().unwrap();
        if session.umount_and_join().is_err() && !forced {
            let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

type Answer<T> = Result<T, Errno>;

impl Fs {
    /// Whether a call may go on.
    fn allow(&self, op: Op) -> Answer<()> {
        let mut told = locked(&self.told);
        let Some((fault, at)) = told.fault.filter(|(fault, _)| fault.ops.contains(&op)) else {
            return Ok(());
        };
        let number = told.counted;
        told.counted += 1;
        if number == at || (fault.lasts && number > at) {
            told.struck += 1;
            return Err(fault.errno);
        }
        Ok(())
    }

    fn changed(&self, path: &Path) {
        locked(&self.told).unsynced.insert(path.into());
    }

    fn entry_changed(&self, path: &Path) {
        self.changed(path.parent().unwrap_or(Path::new("")));
    }

    fn synced(&self, path: &Path) {
        locked(&self.told).unsynced.remove(path);
    }

    fn path(&self, number: INodeNo) -> Answer<PathBuf> {
        locked(&self.table).paths.get(&number.0).cloned().ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Answer<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.real.join(path)
    }

    /// The attributes of a path, which gets a number if it has none.
    fn known(&self, path: &Path) -> Answer<FileAttr> {
        let meta = fs::symlink_metadata(self.real(path))?;
        let mut table = locked(&self.table);
        let found = table.paths.iter().find(|(_, known)| *known == path).map(|(n, _)| *n);
        let number = found.unwrap_or(table.next);
        if found.is_none() {
            table.next += 1;
            table.paths.insert(number, path.into());
        }
        Ok(self.attributes(number, &meta))
    }

    fn attributes(&self, number: u64, meta: &Metadata) -> FileAttr {
        let ctime = locked(&self.told).changed_at.unwrap_or(SystemTime::UNIX_EPOCH);
        FileAttr { ctime, ..attributes(number, meta) }
    }

    fn remove(
        &self,
        parent: INodeNo,
        name: &OsStr,
        how: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Answer<()> {
        self.allow(Op::Remove)?;
        let path = self.child(parent, name)?;
        how(&self.real(&path))?;
        self.forget_path(&path);
        Ok(())
    }

    fn forget_path(&self, path: &Path) {
        locked(&self.table).paths.retain(|_, known| !known.starts_with(path));
        locked(&self.told).unsynced.retain(|known| !known.starts_with(path));
    }

    fn handle(&self, number: u64, file: File) -> FileHandle {
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        locked(&self.open).insert(handle, (number, Arc::new(file)));
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> Answer<Arc<File>> {
        let open = locked(&self.open);
        open.get(&handle.0).map(|(_, file)| Arc::clone(file)).ok_or(Errno::EBADF)
    }

    fn attributes_of(&self, number: INodeNo) -> Answer<FileAttr> {
        if let Ok(path) = self.path(number) {
            return Ok(self.attributes(number.0, &fs::symlink_metadata(self.real(&path))?));
        }
        // Removed, but still open.
        let open = locked(&self.open);
        let file = open.values().find(|(n, _)| *n == number.0).ok_or(Errno::ENOENT)?;
        Ok(self.attributes(number.0, &file.1.metadata()?))
    }

    fn renamed(&self, from: &Path, to: &Path) -> Answer<()> {
        self.allow(Op::Rename)?;
        fs::rename(self.real(from), self.real(to))?;
        let moved = |known: &Path| known.strip_prefix(from).map(|rest| tidy(to, rest));
        let mut table = locked(&self.table);
        table.paths.retain(|_, known| known != to);
        for known in table.paths.values_mut() {
            if let Ok(now) = moved(known) {
                *known = now;
            }
        }
        drop(table);
        let mut told = locked(&self.told);
        told.unsynced.remove(to);
        told.unsynced =
            told.unsynced.iter().map(|known| moved(known).unwrap_or(known.clone())).collect();
        drop(told);
        self.entry_changed(to);
        Ok(())
    }

    fn opened(&self, number: INodeNo, flags: OpenFlags) -> Answer<FileHandle> {
        self.allow(Op::Open)?;
        let path = self.real(&self.path(number)?);
        let writes = flags.0 & 0o3 != 0;
        Ok(self.handle(number.0, File::options().read(true).write(writes).open(path)?))
    }

    fn created(&self, path: &Path, mode: u32) -> Answer<(FileAttr, FileHandle)> {
        self.allow(Op::Create)?;
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(mode);
        let file = options.open(self.real(path))?;
        let attributes = self.known(path)?;
        locked(&self.told).made.insert(path.into());
        self.changed(path);
        if path.file_name().is_some_and(|name| name != "ringfence.lock") {
            self.entry_changed(path);
        }
        Ok((attributes, self.handle(attributes.ino.0, file)))
    }

    fn read_at(
        &self,
        number: INodeNo,
        handle: FileHandle,
        (offset, size): (u64, u32),
    ) -> Answer<Vec<u8>> {
        self.allow(Op::Read)?;
        let (file, mut bytes) = (self.file(handle)?, vec![0; size as usize]);
        let mut length = 0;
        while length < bytes.len() {
            match file.read_at(&mut bytes[length..], offset + length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        bytes.truncate(length);
        let rotten = locked(&self.told).rotten;
        let is_rotten = |path: PathBuf| {
            rotten.is_some_and(|part| path.to_str().is_some_and(|path| path.contains(part)))
        };
        if self.path(number).is_ok_and(is_rotten)
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= 1;
        }
        Ok(bytes)
    }

    fn listing(&self, number: INodeNo) -> Answer<FileHandle> {
        self.allow(Op::List)?;
        let mut all = Vec::new();
        for entry in fs::read_dir(self.real(&self.path(number)?))? {
            let entry = entry?;
            all.push((kind(&entry.metadata()?), entry.file_name()));
        }
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        locked(&self.listed).insert(handle, all);
        Ok(FileHandle(handle))
    }
}

/// Joins without the slash that an empty rest would leave.
fn tidy(to: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { to.into() } else { to.join(rest) }
}

fn kind(meta: &Metadata) -> FileType {
    FileType::from_std(meta.file_type()).unwrap_or(FileType::RegularFile)
}

fn attributes(number: u64, meta: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: meta.len(),
        blocks: meta.blocks(),
        atime: meta.accessed().unwrap_or(SystemTime::UNIX_EPOCH),
        mtime: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(meta),
        perm: (meta.mode() & 0o7777) as u16,
        nlink: meta.nlink() as u32,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The kernel believes no answer for longer than the call.
const NOT_AT_ALL: Duration = Duration::ZERO;

fn done(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, answer: Answer<FileAttr>) {
    match answer {
        Ok(found) => reply.entry(&NOT_AT_ALL, &found, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Fs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.allow(Op::Look).and_then(|()| self.known(&self.child(parent, name)?));
        entry(reply, found);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.allow(Op::Look).and_then(|()| self.attributes_of(number)) {
            Ok(found) => reply.attr(&NOT_AT_ALL, &found),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            self.allow(Op::Write)?;
            let path = self.path(number)?;
            if let Some(size) = size {
                File::options().write(true).open(self.real(&path))?.set_len(size)?;
                self.changed(&path);
            }
            if let Some(mode) = mode {
                fs::set_permissions(self.real(&path), fs::Permissions::from_mode(mode))?;
            }
            if let Some(modified) = modified {
                let time = match modified {
                    TimeOrNow::SpecificTime(time) => time,
                    TimeOrNow::Now => SystemTime::now(),
                };
                File::open(self.real(&path))?.set_modified(time)?;
            }
            self.attributes_of(number)
        };
        match set() {
            Ok(found) => reply.attr(&NOT_AT_ALL, &found),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            self.allow(Op::MakeDir)?;
            let path = self.child(parent, name)?;
            fs::DirBuilder::new().mode(mode).create(self.real(&path))?;
            self.entry_changed(&path);
            self.known(&path)
        };
        entry(reply, make());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.remove(parent, name, |real| fs::remove_file(real)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.remove(parent, name, |real| fs::remove_dir(real)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename =
            || self.renamed(&self.child(parent, name)?, &self.child(new_parent, new_name)?);
        done(reply, rename());
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(number, flags) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let direct = FopenFlags::FOPEN_DIRECT_IO;
        match self.child(parent, name).and_then(|path| self.created(&path, mode)) {
            Ok((found, handle)) => {
                reply.created(&NOT_AT_ALL, &found, Generation(0), handle, direct);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_at(number, handle, (offset, size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            self.allow(Op::Write)?;
            self.file(handle)?.write_all_at(data, offset)?;
            self.path(number).iter().for_each(|path| self.changed(path));
            Ok(())
        };
        match write() {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        locked(&self.open).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.allow(Op::Sync);
        if let (Ok(()), Ok(path)) = (synced, self.path(number)) {
            self.synced(&path);
        }
        done(reply, synced);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.allow(Op::Sync);
        if let (Ok(()), Ok(path)) = (synced, self.path(number)) {
            self.synced(&path);
        }
        done(reply, synced);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.listing(number) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = locked(&self.listed);
        let Some(all) = listed.get(&handle.0) else { return reply.error(Errno::EBADF) };
        for (at, (kind, name)) in all.iter().enumerate().skip(offset as usize) {
            // The number is not looked at by anybody here.
            if reply.add(INodeNo(u64::MAX), at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        locked(&self.listed).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::statvfs(&self.real) {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }
}
