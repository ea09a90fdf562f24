//! Drives the folder directly on a temporary directory: identity, places,
//! descriptors, owners, and a race that tries to get out.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use virtiofsd::filesystem::{DirectoryIterator, SetattrValid, ZeroCopyReader, ZeroCopyWriter};
use virtiofsd::fuse::SetattrIn;
use virtiofsd::oslib::{ReadvFlags, WritevFlags};
use virtiofsd::soft_idmap::Id;

use super::*;

const AGENT: Caller = Caller { pid: 7, uid: 1000, gid: 1000 };

fn directory(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).unwrap()
}

fn share_with(path: &Path, most_descriptors: u64) -> Beneath {
    let meta = fs::metadata(path).unwrap();
    Beneath::new(Parts {
        root: directory(path),
        own_fds: directory(Path::new("/proc/self/fd")),
        mounts: Vec::new(),
        owners: Owners {
            host_uid: meta.uid(),
            host_gid: meta.gid(),
            guest_uid: 1000,
            guest_gid: 1000,
        },
        keeper: None,
        names: Names::default(),
        most_descriptors,
    })
    .unwrap()
}

fn share(path: &Path) -> Beneath {
    share_with(path, 20_000)
}

fn errno<T>(result: io::Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => Errno::from_io_error(&error).unwrap(),
    }
}

/// The number of a path below the root.
fn id(share: &Beneath, path: &str) -> u64 {
    path.split('/').filter(|name| !name.is_empty()).fold(node::ROOT, |parent, name| {
        let entry = share.lookup(parent, &CString::new(name).unwrap()).unwrap();
        assert_ne!(entry.inode, 0, "{name} is not there");
        entry.inode
    })
}

struct Sink(Vec<u8>);

impl ZeroCopyWriter for Sink {
    fn read_from_file_at(
        &mut self,
        f: &File,
        count: usize,
        off: u64,
        _flags: Option<ReadvFlags>,
    ) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let mut buffer = vec![0; count];
        let length = f.read_at(&mut buffer, off)?;
        self.0.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

struct Source(&'static [u8]);

impl ZeroCopyReader for Source {
    fn write_to_file_at(
        &mut self,
        f: &File,
        count: usize,
        off: u64,
        flags: Option<WritevFlags>,
    ) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let bytes = &self.0[..count.min(self.0.len())];
        if flags == Some(WritevFlags::RWF_APPEND) {
            return f.write_at(bytes, f.metadata()?.len());
        }
        f.write_at(bytes, off)
    }
}

fn content(share: &Beneath, id: u64) -> io::Result<Vec<u8>> {
    let handle = share.open(id, 0, AGENT)?;
    let mut sink = Sink(Vec::new());
    let result = share.read((id, handle), &mut sink, 1 << 16, 0);
    share.release(id, handle, AGENT).unwrap();
    result.map(|_| sink.0)
}

fn names(share: &Beneath, id: u64) -> Vec<Vec<u8>> {
    let handle = share.opendir(id).unwrap();
    let mut names = Vec::new();
    let mut offset = 0;
    loop {
        let mut listing = share.readdir((id, handle), 4096, offset).unwrap();
        let before = names.len();
        while let Some(entry) = listing.next() {
            offset = entry.offset;
            names.push(entry.name.to_bytes().to_vec());
        }
        if names.len() == before {
            break;
        }
    }
    share.release(id, handle, AGENT).unwrap();
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    names
}

#[test]
fn makes_writes_reads_renames_and_removes() {
    let temp = tempfile::tempdir().unwrap();
    let share = share(temp.path());
    let dir = share.mkdir(1, c"d", 0o755, AGENT).unwrap().inode;
    let (entry, handle) = share.create(dir, c"f", (0o640, 2), AGENT).unwrap();
    let file = entry.inode;
    assert_eq!(
        share.write((file, handle), Source(b"hello"), (5, 0), (2, false), AGENT).unwrap(),
        5
    );
    assert_eq!(
        share.write((file, handle), Source(b"!!"), (2, 0), (0o2002, false), AGENT).unwrap(),
        2
    );
    assert_eq!(fs::read(temp.path().join("d/f")).unwrap(), b"hello!!");
    let mode = fs::metadata(temp.path().join("d/f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);

    share.rename((dir, c"f"), (1, c"g"), 0, AGENT).unwrap();
    assert_eq!(content(&share, file).unwrap(), b"hello!!");
    share.unlink(1, c"g", AGENT).unwrap();
    // The handle lives on, and attributes through the number alone do too.
    assert_eq!(share.getattr(file, None).unwrap().0.nlink, 0);
    let mut sink = Sink(Vec::new());
    share.read((file, handle), &mut sink, 100, 0).unwrap();
    assert_eq!(sink.0, b"hello!!");
    share.release(file, handle, AGENT).unwrap();
    assert_eq!(errno(share.release(file, handle, AGENT)), Errno::BADF);
    share.rmdir(1, c"d", AGENT).unwrap();
    assert!(names(&share, 1).is_empty());
}

#[test]
fn names_are_any_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let share = share(temp.path());
    let odd: &CStr = c"\xff\xfe \n\x1b[31m";
    share.mkdir(1, odd, 0o755, AGENT).unwrap();
    assert_eq!(names(&share, 1), [odd.to_bytes()]);
    assert_ne!(share.lookup(1, odd).unwrap().inode, 0);
}

#[test]
fn links_are_shown_and_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    symlink("/etc", temp.path().join("out")).unwrap();
    symlink("/etc/passwd", temp.path().join("file")).unwrap();
    let share = share(temp.path());
    let out = share.lookup(1, c"out").unwrap();
    assert_eq!(out.attr.mode & 0o170_000, 0o120_000);
    assert_eq!(share.readlink(out.inode).unwrap(), b"/etc");
    assert_eq!(errno(share.lookup(out.inode, c"passwd")), Errno::NOTDIR);
    let file = id(&share, "file");
    assert_eq!(errno(share.open(file, 0, AGENT)), Errno::NXIO);
    assert_eq!(errno(share.create(1, c"file", (0o644, 1), AGENT)), Errno::NXIO);
}

#[test]
fn a_file_replaced_on_the_host_is_stale_and_found_afresh() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    fs::write(&path, "old").unwrap();
    let share = share(temp.path());
    let old = id(&share, "f");
    fs::write(temp.path().join("new"), "new").unwrap();
    fs::rename(temp.path().join("new"), &path).unwrap();
    assert_eq!(errno(share.open(old, 0, AGENT)), Errno::STALE);
    assert_eq!(errno(share.getattr(old, None)), Errno::STALE);
    assert_eq!(content(&share, id(&share, "f")).unwrap(), b"new");
}

#[test]
fn truncation_never_hits_a_file_that_took_the_name() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "old").unwrap();
    let share = share(temp.path());
    let old = id(&share, "f");
    fs::remove_file(temp.path().join("f")).unwrap();
    fs::write(temp.path().join("keep"), "precious").unwrap();
    fs::rename(temp.path().join("keep"), temp.path().join("f")).unwrap();
    assert_eq!(errno(share.open(old, 0o1001, AGENT)), Errno::STALE);
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"precious");
}

#[test]
fn another_name_of_a_file_survives_the_first() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "x").unwrap();
    let share = share(temp.path());
    let file = id(&share, "a");
    assert_eq!(share.link(file, 1, c"b", AGENT).unwrap().inode, file);
    // The last look was at `b`; make the place `a` again, then lose it.
    assert_eq!(id(&share, "a"), file);
    share.unlink(1, c"a", AGENT).unwrap();
    assert_eq!(content(&share, file).unwrap(), b"x");
    assert_eq!(share.getattr(file, None).unwrap().0.nlink, 1);
}

#[test]
fn set_id_is_refused_and_nothing_is_half_changed() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "four").unwrap();
    let share = share(temp.path());
    let file = id(&share, "f");
    let change = SetattrIn { mode: 0o104_755, size: 0, ..SetattrIn::default() };
    let both = SetattrValid::MODE | SetattrValid::SIZE;
    assert_eq!(errno(share.setattr(file, &change, None, both, AGENT)), Errno::PERM);
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"four");
    let change = SetattrIn {
        mode: 0o100_600,
        size: 2,
        mtime: 1_000_000_000,
        mtimensec: 5,
        ..SetattrIn::default()
    };
    let (attr, _) = share.setattr(file, &change, None, both | SetattrValid::MTIME, AGENT).unwrap();
    assert_eq!((attr.mode & 0o7777, attr.size), (0o600, 2));
    assert_eq!((attr.mtime, attr.mtimensec), (1_000_000_000, 5));
}

#[test]
fn chown_is_seen_inside_and_not_made_outside() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "").unwrap();
    let before = fs::metadata(temp.path().join("f")).unwrap();
    let share = share(temp.path());
    let file = id(&share, "f");
    let change = SetattrIn { uid: 999.into(), gid: 999.into(), ..SetattrIn::default() };
    let (attr, _) =
        share.setattr(file, &change, None, SetattrValid::UID | SetattrValid::GID, AGENT).unwrap();
    assert_eq!((attr.uid.into_inner(), attr.gid.into_inner()), (999, 999));
    let after = fs::metadata(temp.path().join("f")).unwrap();
    assert_eq!(
        (before.uid(), before.gid(), before.ctime_nsec()),
        (after.uid(), after.gid(), after.ctime_nsec())
    );
    // What a container's user makes is its own inside, the owner's outside.
    let entry = share.mkdir(1, c"data", 0o700, Caller { pid: 7, uid: 999, gid: 998 }).unwrap();
    assert_eq!(entry.attr.uid.into_inner(), 999);
    assert_eq!(fs::metadata(temp.path().join("data")).unwrap().uid(), before.uid());
    let root = share.mkdir(1, c"by-root", 0o700, Caller { pid: 7, uid: 0, gid: 0 }).unwrap();
    assert_eq!(root.attr.uid.into_inner(), 1000);
}

#[test]
fn few_descriptors_serve_many_files_in_deep_trees() {
    let temp = tempfile::tempdir().unwrap();
    let share = share_with(temp.path(), 384 + 200);
    let mut files = Vec::new();
    for at in 0..60 {
        let mut dir = 1;
        for depth in 0..4 {
            let name = CString::new(format!("d{at}-{depth}")).unwrap();
            dir = share.mkdir(dir, &name, 0o755, AGENT).unwrap().inode;
        }
        let (entry, handle) = share.create(dir, c"f", (0o644, 1), AGENT).unwrap();
        share.release(entry.inode, handle, AGENT).unwrap();
        files.push(entry.inode);
    }
    for round in 0..3 {
        for file in &files {
            assert_eq!(content(&share, *file).unwrap(), b"", "round {round}");
            assert!(share.getattr(*file, None).is_ok());
        }
    }
    assert!(share.table.resident() <= 51, "{} kept", share.table.resident());
    // Renaming a directory far above does not lose what lies below it.
    share.rename((1, c"d0-0"), (1, c"renamed"), 0, AGENT).unwrap();
    share.refresh();
    assert_eq!(share.table.resident(), 0);
    assert_eq!(content(&share, files[0]).unwrap(), b"");
}

#[test]
fn too_many_opens_are_refused_and_the_share_lives() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "x").unwrap();
    let share = share_with(temp.path(), 384 + 80);
    let file = id(&share, "f");
    let mut handles = Vec::new();
    let refused = loop {
        match share.open(file, 0, AGENT) {
            Ok(handle) => handles.push(handle),
            Err(error) => break Errno::from_io_error(&error).unwrap(),
        }
        assert!(handles.len() < 100);
    };
    assert_eq!(refused, Errno::NFILE);
    // Listing still works.
    assert_eq!(names(&share, 1), [b"f"]);
    for handle in handles {
        share.release(file, handle, AGENT).unwrap();
    }
    assert_eq!(content(&share, file).unwrap(), b"x");
}

#[test]
fn forgetting_is_bounded_by_what_was_looked_up() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "x").unwrap();
    let share = share(temp.path());
    let file = id(&share, "f");
    assert_eq!(id(&share, "f"), file);
    share.forget(file, 1);
    assert!(share.getattr(file, None).is_ok());
    share.forget(file, u64::MAX);
    assert_eq!(errno(share.getattr(file, None)), Errno::BADF);
    // Neither the root nor a number that never was can be forgotten.
    share.forget(1, u64::MAX);
    share.forget(0, 1);
    share.forget(77, 1);
    assert!(share.getattr(1, None).is_ok());
    assert_ne!(id(&share, "f"), file, "numbers are not used again");
}

#[test]
fn foreign_handles_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "a").unwrap();
    fs::write(temp.path().join("b"), "b").unwrap();
    let share = share(temp.path());
    let (a, b) = (id(&share, "a"), id(&share, "b"));
    let handle = share.open(a, 0, AGENT).unwrap();
    let mut sink = Sink(Vec::new());
    assert_eq!(errno(share.read((b, handle), &mut sink, 1, 0)), Errno::BADF);
    assert_eq!(errno(share.read((a, handle + 1), &mut sink, 1, 0)), Errno::BADF);
    assert_eq!(errno(share.read((a, handle), &mut sink, 1, u64::MAX)), Errno::FBIG);
    assert_eq!(errno(share.open(1, 0, AGENT)), Errno::ISDIR);
    assert_eq!(errno(share.opendir(a)), Errno::NOTDIR);
}

#[test]
fn attributes_are_the_users_own_only() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "").unwrap();
    let share = share(temp.path());
    let file = id(&share, "f");
    share.setxattr(file, c"user.a", b"1", 0, AGENT).unwrap();
    assert_eq!(errno(share.setxattr(file, c"security.x", b"1", 0, AGENT)), Errno::PERM);
    assert_eq!(errno(share.setxattr(file, c"trusted.x", b"1", 0, AGENT)), Errno::PERM);
    match share.listxattr(file, 100).unwrap() {
        virtiofsd::filesystem::ListxattrReply::Names(names) => assert_eq!(names, b"user.a\0"),
        virtiofsd::filesystem::ListxattrReply::Count(_) => panic!("names were asked for"),
    }
    assert_eq!(errno(share.getxattr(file, c"user.none", 10)), Errno::NODATA);
    share.removexattr(file, c"user.a", AGENT).unwrap();
}

#[test]
fn mount_points_are_neither_listed_nor_entered() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("a/mp")).unwrap();
    fs::write(temp.path().join("a/f"), "").unwrap();
    let mut share = share(temp.path());
    share.covered = [Path::new("a/mp"), Path::new("gone/mp")]
        .into_iter()
        .filter_map(|path| covered(&directory(temp.path()), path))
        .collect();
    assert_eq!(names(&share, id(&share, "a")), [b"f"]);
    assert_eq!(names(&share, 1), [b"a"]);
    // /proc is another mount: a root above it must not lead into it.
    let root = self::share(Path::new("/"));
    assert_eq!(root.lookup(1, c"proc").unwrap().inode, 0);
}

/// A folder with `d/f` and `d/sub/f`, and a link `link` to a twin outside of it.
fn with_a_twin_outside() -> (tempfile::TempDir, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    for (root, text) in [(temp.path().join("d"), "fine"), (outside.path().to_owned(), "SECRET")] {
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("f"), text).unwrap();
        fs::write(root.join("sub/f"), text).unwrap();
    }
    symlink(outside.path(), temp.path().join("link")).unwrap();
    (temp, outside)
}

fn swap(folder: &Path) {
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(CWD, folder.join("d"), CWD, folder.join("link"), exchange).unwrap();
}

#[test]
fn a_directory_swapped_for_a_link_between_look_and_use_leads_nowhere() {
    let (temp, outside) = with_a_twin_outside();
    let share = share(temp.path());
    let (d, sub) = (id(&share, "d"), id(&share, "d/sub"));
    let (file, deep) = (id(&share, "d/f"), id(&share, "d/sub/f"));
    share.refresh();
    swap(temp.path());
    assert_eq!(errno(share.lookup(d, c"f")), Errno::STALE);
    assert_eq!(errno(share.opendir(sub)), Errno::STALE);
    for file in [file, deep] {
        assert_eq!(errno(content(&share, file)), Errno::STALE);
        assert_eq!(errno(share.open(file, 0o1001, AGENT)), Errno::STALE);
        assert_eq!(errno(share.getattr(file, None)), Errno::STALE);
        assert_eq!(errno(share.link(file, 1, c"stolen", AGENT)), Errno::STALE);
    }
    assert_eq!(errno(share.create(d, c"new", (0o644, 1), AGENT)), Errno::STALE);
    assert_eq!(errno(share.mkdir(sub, c"new", 0o755, AGENT)), Errno::STALE);
    assert_eq!(errno(share.unlink(d, c"f", AGENT)), Errno::STALE);
    assert_eq!(errno(share.rename((1, c"d"), (sub, c"in"), 0, AGENT)), Errno::STALE);
    assert_eq!(fs::read(outside.path().join("f")).unwrap(), b"SECRET");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    // Back in place, everything is what it was.
    swap(temp.path());
    assert_eq!(content(&share, deep).unwrap(), b"fine");
}

/// Ends the swapping thread, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread swaps a directory for a link to outside while another reads through it.
#[test]
fn a_swapped_directory_never_shows_the_outside() {
    let (temp, _outside) = with_a_twin_outside();
    let share = share(temp.path());
    let stop = AtomicBool::new(false);
    let (mut good, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swap(temp.path());
            }
        });
        let _stop = Stop(&stop);
        for round in 0..50_000 {
            if round % 3 != 0 {
                share.refresh();
            }
            let path: &[&CStr] = if round % 2 == 0 { &[c"d", c"f"] } else { &[c"d", c"sub", c"f"] };
            let mut at = Ok(1);
            for name in path {
                at = at.and_then(|parent| match share.lookup(parent, name) {
                    Ok(entry) if entry.inode == 0 => Err(Errno::NOENT.into()),
                    Ok(entry) => Ok(entry.inode),
                    Err(error) => Err(error),
                });
            }
            match at.and_then(|file| content(&share, file)) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"fine");
                    good += 1;
                }
                Err(_) => refused += 1,
            }
        }
    });
    assert!(good > 100 && refused > 100, "{good} read, {refused} refused: no race");
}
