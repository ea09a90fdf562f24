//! Each operation that destroys something, straight against the guarded folder, with
//! a real keeper at the other end of the socket: what was there is kept.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;

use rustix::fs::{CWD, Mode as Bits, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tempfile::TempDir;
use virtiofsd::oslib::WritevFlags;

use super::tests::{ROOT, context, errno, guarded_with};
use super::*;
use crate::journal::{FILE, Journal, Operation, Record};
use crate::keep::{Keeper, SnapshotStart};
use crate::keeper::{Store, serve};

const SESSION: &str = "s-1";
const WRONLY: u32 = 1;
const RDWR: u32 = 2;
const TRUNC: u32 = 0o1000;
const APPEND: u32 = 0o2000;

/// What a guest writes.
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl ZeroCopyReader for Source<'_> {
    fn write_to_file_at(
        &mut self,
        f: &File,
        count: usize,
        off: u64,
        flags: Option<WritevFlags>,
    ) -> io::Result<usize> {
        let at = if flags.is_some() { f.metadata()?.len() } else { off };
        f.write_all_at(&self.0[..count], at)?;
        Ok(count)
    }
}

pub(super) fn write(
    fs: &Guarded,
    file: (u64, u64),
    data: &[u8],
    at: (u64, u32),
) -> io::Result<usize> {
    let size = u32::try_from(data.len()).unwrap();
    fs.write(context(), file.0, file.1, Source(data), size, at.0, None, false, false, at.1)
}

/// A shared folder with its keeper in threads of its own.
pub(super) struct Lab {
    temp: TempDir,
    fs: Option<Guarded>,
    store: Arc<Store>,
    lines: Vec<JoinHandle<()>>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with_quota(1 << 30)
    }

    fn with_quota(quota: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (folder, kept) = (temp.path().join("folder"), temp.path().join("kept"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&kept).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root: OwnedFd = openat(CWD, &folder, flags, Bits::empty()).unwrap();
        let store = Arc::new(Store::open(kept, root, quota).unwrap());
        store.begin(SESSION).unwrap();
        let mut lines = Vec::new();
        let ends = (0..2).map(|_| {
            let kind = SocketType::SEQPACKET;
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
            let store = Arc::clone(&store);
            lines.push(std::thread::spawn(move || serve(&store, &theirs).unwrap()));
            Mutex::new(ours)
        });
        let keeper = Keeper::over(ends.collect()).unwrap();
        let (fs, _) = guarded_with(&folder, Chown::Pretend, Some(keeper));
        Self { fs: Some(fs), store, lines, temp }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.temp.path().join("folder")
    }

    pub(super) fn put(&self, name: &str, content: &[u8]) -> u64 {
        fs::write(self.folder().join(name), content).unwrap();
        self.id(name)
    }

    pub(super) fn fs(&self) -> &Guarded {
        self.fs.as_ref().unwrap()
    }

    pub(super) fn id(&self, name: &str) -> u64 {
        let name = std::ffi::CString::new(name).unwrap();
        self.fs().lookup(context(), ROOT, &name).unwrap().inode
    }

    pub(super) fn open(&self, file: u64, flags: u32) -> (u64, u64) {
        (file, self.fs().open(context(), file, false, flags).unwrap().0.unwrap())
    }

    pub(super) fn close(&self, (file, handle): (u64, u64)) {
        self.fs().release(context(), file, 0, handle, false, false, None).unwrap();
    }

    /// Opens, writes, closes.
    pub(super) fn rewrite(&self, file: u64, flags: u32, data: &[u8], at: u64) {
        let open = self.open(file, flags);
        write(self.fs(), open, data, (at, flags)).unwrap();
        self.close(open);
    }

    /// The records once everything that was sent has arrived.
    pub(super) fn journal(&mut self) -> Vec<Record> {
        drop(self.fs.take());
        for line in self.lines.drain(..) {
            line.join().unwrap();
        }
        self.store.end(SESSION).unwrap();
        let journal = Journal::read(&self.kept().join(FILE)).unwrap();
        assert!(journal.is_complete());
        journal.records.into_iter().filter(|record| record.operation.changes()).collect()
    }

    fn kept(&self) -> PathBuf {
        self.temp.path().join("kept").join(SESSION)
    }

    fn object(&self, record: &Record) -> Vec<u8> {
        assert_ne!(record.object, 0, "nothing is kept: {record:?}");
        fs::read(self.kept().join(record.object.to_string())).unwrap()
    }

    /// Path and content of everything that was kept, in the order of the changes.
    fn versions(&mut self) -> Vec<(String, Vec<u8>)> {
        let records = self.journal();
        let kept = records.iter().filter(|record| record.object != 0);
        kept.map(|record| {
            let path = String::from_utf8(record.path.clone()).unwrap();
            (path, self.object(record))
        })
        .collect()
    }
}

fn version(path: &str, content: &[u8]) -> (String, Vec<u8>) {
    (path.to_owned(), content.to_vec())
}

fn size(size: u64) -> SetattrIn {
    SetattrIn { size, ..SetattrIn::default() }
}

#[test]
fn every_way_to_lose_content_keeps_it_first() {
    let mut lab = Lab::new();
    for name in ["write", "trunc", "cut", "punch", "copy", "unlink", "old", "new", "handle"] {
        lab.put(name, name.as_bytes());
    }
    let c = context;
    lab.rewrite(lab.id("write"), WRONLY, b"W", 0);
    let trunc = lab.open(lab.id("trunc"), WRONLY | TRUNC);
    lab.close(trunc);
    lab.fs().setattr(c(), lab.id("cut"), size(1), None, SetattrValid::SIZE).unwrap();
    let punch = lab.open(lab.id("punch"), RDWR);
    // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    lab.fs().fallocate(c(), punch.0, punch.1, 3, 0, 2).unwrap();
    let (from, to) = (lab.open(lab.id("write"), 0), lab.open(lab.id("copy"), WRONLY));
    lab.fs().copyfilerange(c(), from.0, from.1, 0, to.0, to.1, 1, 2, 0).unwrap();
    lab.fs().unlink(c(), ROOT, c"unlink").unwrap();
    lab.fs().rename(c(), ROOT, c"old", ROOT, c"new", 0).unwrap();
    let handle = lab.open(lab.id("handle"), RDWR);
    lab.fs().setattr(c(), handle.0, size(2), Some(handle.1), SetattrValid::SIZE).unwrap();

    let names = ["write", "trunc", "cut", "punch", "copy", "unlink", "new", "handle"];
    let want: Vec<_> = names.iter().map(|name| version(name, name.as_bytes())).collect();
    assert_eq!(lab.versions(), want);
    let left = fs::read(lab.folder().join("copy")).unwrap();
    assert_eq!(left, b"cWry", "and the operation was carried out");
}

#[test]
fn every_complete_version_is_kept_and_none_twice() {
    let mut lab = Lab::new();
    let file = lab.put("f", b"one");
    for next in [b"two", b"six"] {
        let open = lab.open(file, WRONLY);
        for at in 0..3 {
            write(lab.fs(), open, &next[at..=at], (at as u64, 0)).unwrap();
        }
        lab.close(open);
    }
    lab.fs().unlink(context(), ROOT, c"f").unwrap();
    let want = [version("f", b"one"), version("f", b"two"), version("f", b"six")];
    assert_eq!(lab.versions(), want);
}

#[test]
fn what_is_only_added_to_is_not_copied_and_its_end_before_is_known() {
    let mut lab = Lab::new();
    let file = lab.put("log", b"1\n");
    lab.rewrite(file, WRONLY | APPEND, b"2\n", 0);
    lab.rewrite(file, WRONLY, b"3\n", 4);
    lab.fs().setattr(context(), file, size(100), None, SetattrValid::SIZE).unwrap();
    lab.rewrite(file, WRONLY, b"x", 3);
    let records = lab.journal();
    let added: Vec<u64> = records
        .iter()
        .filter(|record| record.operation == Operation::Append)
        .map(|record| record.size_before)
        .collect();
    assert_eq!(added, [2, 4, 6]);
    let kept: Vec<_> = records.iter().filter(|record| record.object != 0).collect();
    assert_eq!(kept.len(), 1);
    let content = lab.object(kept[0]);
    assert_eq!((&content[..6], content.len()), (&b"1\n2\n3\n"[..], 100));
}

#[test]
fn a_file_that_is_written_and_overwritten_while_it_is_new_is_no_version() {
    let mut lab = Lab::new();
    let made = lab.fs().create(context(), ROOT, c"n", 0o644, false, RDWR, 0, Extensions::default());
    let (entry, handle, _) = made.unwrap();
    let open = (entry.inode, handle.unwrap());
    for content in [b"aaaa", b"bbbb"] {
        write(lab.fs(), open, content, (0, 0)).unwrap();
    }
    lab.close(open);
    lab.rewrite(entry.inode, WRONLY, b"c", 0);
    assert_eq!(lab.versions(), [version("n", b"bbbb")]);
}

#[test]
fn two_who_write_in_turns_lose_nothing_that_one_of_them_completed() {
    let mut lab = Lab::new();
    let file = lab.put("f", b"0000");
    let long = lab.open(file, RDWR);
    write(lab.fs(), long, b"1111", (0, 0)).unwrap();
    // Opened anew: what the first one wrote may be complete for whoever looks now.
    let short = lab.open(file, RDWR);
    write(lab.fs(), short, b"2222", (0, 0)).unwrap();
    lab.close(short);
    write(lab.fs(), long, b"3333", (0, 0)).unwrap();
    lab.close(long);
    let want = [version("f", b"0000"), version("f", b"1111"), version("f", b"2222")];
    assert_eq!(lab.versions(), want);
}

#[test]
fn a_removed_file_is_kept_as_a_link_and_cannot_be_changed_through_an_old_descriptor() {
    let mut lab = Lab::new();
    let file = lab.put("f", b"content");
    let inode = fs::metadata(lab.folder().join("f")).unwrap().ino();
    // A descriptor of it is kept, as of any file that was changed by descriptor.
    let mode = SetattrIn { mode: 0o640, ..SetattrIn::default() };
    lab.fs().setattr(context(), file, mode, None, SetattrValid::MODE).unwrap();
    lab.fs().unlink(context(), ROOT, c"f").unwrap();
    let object = lab.kept().join("1");
    let facts = fs::metadata(&object).unwrap();
    assert_eq!((facts.ino(), facts.nlink()), (inode, 1), "it is a link");
    // The guest does not reach it any more.
    assert_eq!(errno(lab.fs().open(context(), file, false, RDWR)), Some(Errno::STALE));
    assert_eq!(errno(lab.fs().getattr(context(), file, None)), Some(Errno::STALE));
    assert_eq!(lab.versions(), [version("f", b"content")]);
}

#[test]
fn a_file_that_somebody_has_open_is_copied_when_its_name_goes() {
    let mut lab = Lab::new();
    let file = lab.put("f", b"content");
    let inode = fs::metadata(lab.folder().join("f")).unwrap().ino();
    let open = lab.open(file, RDWR);
    lab.fs().unlink(context(), ROOT, c"f").unwrap();
    assert_ne!(fs::metadata(lab.kept().join("1")).unwrap().ino(), inode);
    write(lab.fs(), open, b"CHANGED", (0, 0)).unwrap();
    lab.close(open);
    assert_eq!(lab.versions()[0], version("f", b"content"));
}

#[test]
fn a_kept_link_is_made_a_copy_before_its_file_changes() {
    // As when an open overtakes the removal: the keeper must notice by itself.
    let lab = Lab::new();
    lab.put("f", b"content");
    let path = lab.folder().join("f");
    let file: OwnedFd = File::options().read(true).write(true).open(&path).unwrap().into();
    let record = Record { size_before: 7, ..Record::new(Operation::Remove, b"f".to_vec()) };
    let keep = |wish| lab.store.keep(wish, record.clone(), &file);
    assert_eq!(keep(crate::wire::Wish::KeepFromRemoval), crate::wire::Answer::Kept);
    let object = lab.kept().join("1");
    assert_eq!(fs::metadata(&object).unwrap().nlink(), 2);
    fs::remove_file(&path).unwrap();
    assert_eq!(keep(crate::wire::Wish::KeepFromWriting), crate::wire::Answer::Kept);
    rustix::io::pwrite(&file, b"CHANGED", 0).unwrap();
    assert_eq!(fs::read(&object).unwrap(), b"content");
    assert_eq!(fs::read_dir(lab.kept()).unwrap().count(), 2, "journal and one object");
}

#[test]
fn a_file_that_took_the_name_on_the_host_is_not_kept_for_the_one_that_was_shown() {
    let lab = Lab::new();
    lab.put("f", b"shown");
    let path = lab.folder().join("f");
    let file: OwnedFd = File::open(&path).unwrap().into();
    fs::rename(&path, lab.folder().join("elsewhere")).unwrap();
    fs::write(&path, b"other").unwrap();
    let record = Record { size_before: 5, ..Record::new(Operation::Remove, b"f".to_vec()) };
    let kept = lab.store.keep(crate::wire::Wish::KeepFromRemoval, record, &file);
    assert_eq!(kept, crate::wire::Answer::Kept);
    assert_eq!(fs::read(lab.kept().join("1")).unwrap(), b"shown");
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1, "nothing hangs on the other one");
}

#[test]
fn a_removal_that_fails_leaves_no_link_behind() {
    let mut lab = Lab::new();
    lab.put("f", b"content");
    fs::create_dir(lab.folder().join("d")).unwrap();
    // A directory cannot replace a file: the look came first, the refusal after it.
    let refused = lab.fs().rename(context(), ROOT, c"d", ROOT, c"f", 0);
    assert_eq!(errno(refused), Some(Errno::NOTDIR));
    let live = fs::metadata(lab.folder().join("f")).unwrap();
    assert_eq!(live.nlink(), 1);
    let file = lab.id("f");
    lab.rewrite(file, WRONLY, b"C", 0);
    let versions = lab.versions();
    assert!(versions.iter().all(|kept| *kept == version("f", b"content")), "{versions:?}");
    assert_eq!(fs::read(lab.folder().join("f")).unwrap(), b"Content");
}

#[test]
fn the_last_of_two_names_keeps_what_both_led_to() {
    let mut lab = Lab::new();
    lab.put("f", b"content");
    fs::hard_link(lab.folder().join("f"), lab.folder().join("g")).unwrap();
    lab.fs().unlink(context(), ROOT, c"f").unwrap();
    lab.fs().unlink(context(), ROOT, c"g").unwrap();
    assert_eq!(lab.versions(), [version("g", b"content")]);
}

#[test]
fn two_names_that_go_at_the_same_time_keep_what_both_led_to() {
    for _ in 0..200 {
        let mut lab = Lab::new();
        let (a, b) = (lab.folder().join("a"), lab.folder().join("b"));
        for directory in [&a, &b] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(a.join("f"), b"content").unwrap();
        fs::hard_link(a.join("f"), b.join("f")).unwrap();
        let both = [lab.id("a"), lab.id("b")];
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for parent in both {
                let (fs, start) = (lab.fs(), &start);
                scope.spawn(move || {
                    start.wait();
                    fs.unlink(context(), parent, c"f").unwrap();
                });
            }
        });
        let versions = lab.versions();
        assert_eq!(versions.len(), 1);
        assert_eq!(versions[0].1, b"content");
    }
}

#[test]
fn renaming_a_file_to_itself_or_to_its_other_name_keeps_nothing() {
    let mut lab = Lab::new();
    lab.put("f", b"content");
    fs::hard_link(lab.folder().join("f"), lab.folder().join("g")).unwrap();
    let fs = lab.fs();
    fs.rename(context(), ROOT, c"f", ROOT, c"f", 0).unwrap();
    fs.rename(context(), ROOT, c"f", ROOT, c"g", 0).unwrap();
    fs.unlink(context(), ROOT, c"g").unwrap();
    assert_eq!(std::fs::metadata(lab.folder().join("f")).unwrap().nlink(), 1);
    assert_eq!(lab.versions(), []);
    let mut lab = Lab::new();
    lab.put("only", b"content");
    lab.fs().rename(context(), ROOT, c"only", ROOT, c"only", 0).unwrap();
    assert_eq!(std::fs::metadata(lab.folder().join("only")).unwrap().nlink(), 1);
    lab.fs().unlink(context(), ROOT, c"only").unwrap();
    assert_eq!(lab.versions(), [version("only", b"content")]);
}

#[test]
fn what_the_vault_has_is_written_down_and_not_kept() {
    let mut lab = Lab::new();
    for name in ["old", "changed"] {
        lab.put(name, b"content");
    }
    // As long ago as the margin asks for.
    while {
        let changed = fs::metadata(lab.folder().join("changed")).unwrap();
        SnapshotStart::now().real - (changed.ctime() * 1_000_000_000 + changed.ctime_nsec())
            < 1_100_000_000
    } {
        std::thread::yield_now();
    }
    let start = SnapshotStart::now();
    lab.fs().folder.keeper().unwrap().trust(Some(start)).unwrap();
    let changed = lab.id("changed");
    lab.rewrite(changed, WRONLY, b"C", 0);
    lab.fs().unlink(context(), ROOT, c"old").unwrap();
    lab.fs().unlink(context(), ROOT, c"changed").unwrap();
    let records = lab.journal();
    let of = |operation, path: &[u8]| {
        records.iter().find(|r| r.operation == operation && r.path == path).unwrap()
    };
    assert_eq!(of(Operation::Overwrite, b"changed").object, 0);
    assert_eq!(of(Operation::Remove, b"old").object, 0);
    assert_eq!(lab.object(of(Operation::Remove, b"changed")), b"Content");
}

#[test]
fn without_room_the_operation_is_refused_and_nothing_is_lost() {
    let mut lab = Lab::with_quota(4096);
    lab.put("small", b"fits");
    lab.put("large", &[b'x'; 20_000]);
    let c = context;
    assert_eq!(errno(lab.fs().unlink(c(), ROOT, c"large")), Some(Errno::NOSPC));
    let open = lab.open(lab.id("large"), RDWR);
    assert_eq!(errno(write(lab.fs(), open, b"y", (0, 0))), Some(Errno::NOSPC));
    let cut = lab.fs().setattr(c(), open.0, size(0), None, SetattrValid::SIZE);
    assert_eq!(errno(cut), Some(Errno::NOSPC));
    let truncating = lab.fs().open(c(), open.0, false, WRONLY | TRUNC);
    assert_eq!(errno(truncating), Some(Errno::NOSPC));
    lab.put("other", b"o");
    let replaced = lab.fs().rename(c(), ROOT, c"other", ROOT, c"large", 0);
    assert_eq!(errno(replaced), Some(Errno::NOSPC));
    assert_eq!(fs::read(lab.folder().join("large")).unwrap(), [b'x'; 20_000]);
    let status = serde_json::to_value(lab.store.status()).unwrap();
    assert_eq!((&status["exhausted"], &status["refused"]), (&true.into(), &5.into()));
    // Adding is not destroying, and what fits is kept again.
    write(lab.fs(), open, b"z", (20_000, 0)).unwrap();
    lab.fs().unlink(c(), ROOT, c"small").unwrap();
    assert_eq!(serde_json::to_value(lab.store.status()).unwrap()["exhausted"], false);
    lab.close(open);
    assert_eq!(lab.versions(), [version("small", b"fits")]);
}

#[test]
fn links_attributes_and_holes_are_kept_too() {
    let mut lab = Lab::new();
    std::os::unix::fs::symlink("to/nowhere", lab.folder().join("l")).unwrap();
    let file = lab.put("f", b"content");
    let sparse = File::create(lab.folder().join("sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 40).unwrap();
    let c = context;
    lab.fs().setxattr(c(), file, c"user.a", b"1", 0, SetxattrFlags::empty()).unwrap();
    lab.fs().setxattr(c(), file, c"user.a", b"2", 0, SetxattrFlags::empty()).unwrap();
    let mode = SetattrIn { mode: 0o600, ..SetattrIn::default() };
    lab.fs().setattr(c(), file, mode, None, SetattrValid::MODE).unwrap();
    lab.rewrite(file, WRONLY, b"C", 0);
    lab.rewrite(lab.id("sparse"), WRONLY, b"C", 1 << 40);
    lab.fs().unlink(c(), ROOT, c"l").unwrap();
    let records = lab.journal();
    let of = |operation| records.iter().filter(move |r: &&Record| r.operation == operation);
    assert_eq!(of(Operation::Remove).next().unwrap().data, b"to/nowhere");
    let values: Vec<_> = of(Operation::ExtendedAttribute).map(|r| r.data.clone()).collect();
    assert_eq!(values, [b"".to_vec(), b"1".to_vec()]);
    assert_eq!(of(Operation::Attributes).next().unwrap().mode & 0o777, 0o644);
    let overwritten: Vec<_> = of(Operation::Overwrite).collect();
    assert_eq!(overwritten[0].mode & 0o777, 0o600);
    let mut value = [0; 8];
    let object = lab.kept().join(overwritten[0].object.to_string());
    let length = rustix::fs::getxattr(&object, "user.a", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"2");
    let object = File::open(lab.kept().join(overwritten[1].object.to_string())).unwrap();
    let facts = object.metadata().unwrap();
    assert_eq!(facts.len(), (1 << 40) + 3);
    assert!(facts.blocks() < 1024, "holes stay holes: {}", facts.blocks());
    let mut end = [0; 3];
    object.read_exact_at(&mut end, 1 << 40).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn the_journal_names_every_path_that_changed() {
    let mut lab = Lab::new();
    let (c, none) = (context, Extensions::default);
    let dir = lab.fs().mkdir(c(), ROOT, c"d", 0o755, 0, none()).unwrap().inode;
    let made = lab.fs().mknod(c(), dir, c"f", 0o100_644, 0, 0, none()).unwrap().inode;
    lab.fs().symlink(c(), c"t", dir, c"s", none()).unwrap();
    lab.fs().link(c(), made, ROOT, c"second").unwrap();
    lab.fs().rename(c(), dir, c"f", ROOT, c"moved", 0).unwrap();
    lab.fs().mkdir(c(), ROOT, c"e", 0o755, 0, none()).unwrap();
    lab.fs().rmdir(c(), ROOT, c"e").unwrap();
    lab.rewrite(made, WRONLY, b"x", 0);
    let records = lab.journal();
    assert!(records.iter().all(|r| (r.pid, r.uid) == (1, 1000) && r.time != 0));
    let close = records.iter().find(|r| r.operation == Operation::Close).unwrap();
    assert_eq!((close.path.as_slice(), close.size_after), (&b"moved"[..], 1));
    let journal = Journal { records, ..Journal::default() };
    let want = [&b"d"[..], b"d/f", b"d/s", b"e", b"moved", b"second"];
    assert_eq!(journal.changed_paths().into_keys().collect::<Vec<_>>(), want);
}

#[test]
fn a_file_that_is_forgotten_while_it_is_open_is_still_the_same_one() {
    let mut lab = Lab::new();
    let file = lab.put("f", b"0000");
    let early = lab.open(file, RDWR);
    write(lab.fs(), early, b"1111", (0, 0)).unwrap();
    // A hostile guest forgets what it has open and looks it up again.
    lab.fs().forget(context(), file, 1000);
    let again = lab.id("f");
    lab.rewrite(again, WRONLY, b"2222", 0);
    write(lab.fs(), early, b"3333", (0, 0)).unwrap();
    let want = [version("f", b"0000"), version("f", b"1111"), version("f", b"2222")];
    lab.close(early);
    assert_eq!(lab.versions(), want);
}

/// Where the tests of killed processes find what one of them left.
pub(super) fn kept_contents(store: &Path) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for session in fs::read_dir(store).unwrap() {
        let directory = session.unwrap().path();
        let journal = Journal::read(&directory.join(FILE)).unwrap();
        for record in journal.records.iter().filter(|record| record.object != 0) {
            contents.push(fs::read(directory.join(record.object.to_string())).unwrap());
        }
    }
    contents
}

#[test]
fn what_was_released_is_not_taken_for_kept() {
    let lab = Lab::new();
    lab.put("f", b"first");
    lab.fs().unlink(context(), ROOT, c"f").unwrap();
    assert!(lab.store.forget(SESSION).is_err(), "its session is not over");
    lab.store.end(SESSION).unwrap();
    // Another file gets the inode's number: here it is the very same one.
    fs::hard_link(lab.kept().join("1"), lab.folder().join("g")).unwrap();
    lab.store.forget(SESSION).unwrap();
    fs::remove_dir_all(lab.kept()).unwrap();
    lab.store.begin("s-2").unwrap();
    lab.id("g");
    lab.fs().unlink(context(), ROOT, c"g").unwrap();
    assert_eq!(fs::read(lab.temp.path().join("kept/s-2/1")).unwrap(), b"first");
}

#[test]
fn a_name_is_lost_before_another_takes_it_and_a_refusal_is_told() {
    const NOREPLACE: u32 = 1;
    const EXCHANGE: u32 = 2;
    let mut lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.put(name, b"content");
    }
    fs::create_dir(lab.folder().join("d")).unwrap();
    fs::write(lab.folder().join("d/x"), "x").unwrap();
    fs::hard_link(lab.folder().join("c"), lab.folder().join("twin")).unwrap();
    let rename =
        |from: &CStr, to: &CStr, flags| lab.fs().rename(context(), ROOT, from, ROOT, to, flags);
    rename(c"a", c"b", 0).unwrap();
    rename(c"c", c"b", NOREPLACE).unwrap_err();
    rename(c"c", c"b", EXCHANGE).unwrap();
    lab.fs().rmdir(context(), ROOT, c"d").unwrap_err();
    // One name of a file onto another name of it: nothing happens.
    rename(c"b", c"twin", 0).unwrap();
    lab.fs().unlink(context(), ROOT, c"twin").unwrap();
    let told: Vec<_> = lab
        .journal()
        .into_iter()
        .map(|record| {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (record.operation, text(record.path), text(record.other), text(record.data))
        })
        .collect();
    let expected = [
        (Operation::Replace, "b", "", ""),
        (Operation::Rename, "a", "b", ""),
        (Operation::Rename, "c", "b", ""),
        (Operation::Undone, "c", "b", ""),
        (Operation::Exchange, "c", "b", ""),
        (Operation::RemoveDirectory, "d", "", ""),
        (Operation::Undone, "d", "", ""),
        (Operation::Remove, "twin", "", "named"),
    ];
    let expected = expected.map(|(operation, path, other, data)| {
        (operation, path.to_owned(), other.to_owned(), data.to_owned())
    });
    assert_eq!(told, expected);
}
