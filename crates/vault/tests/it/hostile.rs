//! A folder that fights back: unreadable, moving and very deep entries, mounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_vault::{Point, SnapshotKind};

use crate::lab::{Lab, assert_same, is_root};

/// Runs `act` over and over beside `work`.
fn beside<T>(act: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            act();
        }
    });
    let result = work();
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    result
}

/// Also run by `children::child` under another user, for whom modes count.
pub(crate) fn unreadable_entries_keep_their_stored_version() {
    let lab = Lab::new();
    lab.write("file", "one");
    lab.write("dir/inner", "two");
    lab.write("other", "x");
    let first = lab.snapshot(SnapshotKind::Opening);
    let reference = lab.reference("reference");
    let chmod = |name: &str, mode| {
        fs::set_permissions(lab.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(lab.path("file"), "newer").unwrap();
    lab.write("never-stored", "z");
    for name in ["file", "dir", "never-stored"] {
        chmod(name, 0o000);
    }
    fs::write(lab.path("other"), "y").unwrap();
    let second = lab.snapshot(SnapshotKind::Closing);
    assert!(!second.unchanged);
    let remarks: Vec<_> =
        second.unreadable.iter().map(|r| (r.path.lossy(), r.previous_kept)).collect();
    assert_eq!(
        remarks,
        [("dir".to_owned(), true), ("file".to_owned(), true), ("never-stored".to_owned(), false)]
    );
    assert_eq!(second.snapshot.unreadable, second.unreadable);
    let read = |path: &[u8]| {
        let mut bytes = Vec::new();
        lab.vault.read_file(second.snapshot.id, path, &mut bytes).map(|_| bytes)
    };
    assert_eq!(read(b"file").unwrap(), b"one", "looks deleted or empty");
    assert_eq!(read(b"dir/inner").unwrap(), b"two");
    assert_eq!(read(b"other").unwrap(), b"y");
    assert!(read(b"never-stored").is_err());
    // It stays reported, and is read again once it can be.
    assert!(!lab.snapshot(SnapshotKind::Manual).unreadable.is_empty());
    for (name, mode) in [("file", 0o644), ("dir", 0o755), ("never-stored", 0o644)] {
        chmod(name, mode);
    }
    let third = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(third.unreadable, []);
    let mut bytes = Vec::new();
    lab.vault.read_file(third.snapshot.id, b"file", &mut bytes).unwrap();
    assert_eq!(bytes, b"newer");
    // A directory closed to its owner is no obstacle for a restore.
    chmod("dir", 0o500);
    fs::remove_file(lab.path("never-stored")).unwrap();
    let report = lab.restore(&first);
    assert_eq!(report.kept_conflicts, []);
    assert_same(&reference, &lab.folder);
    lab.assert_whole();
}

#[test]
fn unreadable_entries() {
    for_whom_modes_count("unreadable", unreadable_entries_keep_their_stored_version);
}

#[test]
fn stale_content() {
    for_whom_modes_count("stale", crate::whole::stale_content_is_marked_in_the_snapshot);
}

/// Nothing is unreadable to root, so another user plays the part then.
fn for_whom_modes_count(part: &str, act: fn()) {
    if !is_root() {
        return act();
    }
    let place = tempfile::Builder::new().prefix("nobody").tempdir().unwrap();
    let nobody = 65_534;
    std::os::unix::fs::chown(place.path(), Some(nobody), Some(nobody)).unwrap();
    // The test program itself may lie where that user cannot reach it.
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let played = crate::children::play(&[part, place.path().to_str().unwrap()]);
    let mut command = std::process::Command::new(&program);
    command.args(played.get_args());
    for (name, value) in played.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.env("TMPDIR", place.path()).uid(nobody).gid(nobody).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("1 passed"), "the other user ran nothing");
}

#[test]
fn a_file_that_moves_while_it_is_read_is_reported_and_stored_consistently() {
    let lab = Lab::new();
    let path: PathBuf = lab.path("hot");
    fs::write(&path, vec![b'0'; 8 << 20]).unwrap();
    lab.write("calm", "calm");
    let flip = AtomicU64::new(0);
    let writer = path.clone();
    let act = move || {
        use std::os::unix::fs::FileExt;
        let n = flip.fetch_add(1, Ordering::Relaxed);
        let Ok(file) = fs::File::options().write(true).open(&writer) else { return };
        file.write_all_at(&n.to_le_bytes(), (n * 4096) % (8 << 20)).unwrap();
        if n.is_multiple_of(64) {
            file.set_len((7 << 20) + (n % 1000) * 1000).unwrap();
        }
    };
    let outcome = beside(act, || lab.snapshot(SnapshotKind::Periodic));
    let changed: Vec<_> = outcome.changed_while_read.iter().map(|p| p.lossy()).collect();
    assert_eq!(changed, ["hot"]);
    let node = lab.vault.node(outcome.snapshot.id, b"hot").unwrap();
    let mut bytes = Vec::new();
    let length = lab.vault.read_file(outcome.snapshot.id, b"hot", &mut bytes).unwrap();
    assert_eq!(length, node.size, "size and content disagree");
    // At rest it is stored as it is, and no longer reported.
    let calm = lab.snapshot(SnapshotKind::Closing);
    assert!(!calm.unchanged);
    assert_eq!(calm.changed_while_read, []);
    assert_same(&lab.folder, &lab.restore_elsewhere(&calm, "calm"));
}

/// Many file systems, and all before Linux 6.13, stamp files a few milliseconds coarse:
/// a write right after a read can leave every stamp as it was.
#[test]
fn a_write_that_leaves_all_stamps_alone_is_caught_by_the_next_snapshot() {
    let lab = Lab::new();
    let coarse = is_root()
        && std::process::Command::new("mount")
            .args(["-t", "ramfs", "ramfs"])
            .arg(&lab.folder)
            .status()
            .is_ok_and(|s| s.success());
    if !coarse {
        eprintln!("SKIPPED in part: a file system with coarse stamps needs root");
    }
    let path = lab.path("f");
    fs::write(&path, 0u64.to_le_bytes()).unwrap();
    lab.write("other", "x");
    for round in 0..150u64 {
        let file = path.clone();
        let (started, go) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            go.recv().unwrap();
            // Stops at another moment each time, some of them right after a read.
            let until = Instant::now() + Duration::from_micros(round.wrapping_mul(7919) % 16_000);
            let (mut n, mode) = (round << 32, 0o600 + (round as u32 / 4 % 2) * 0o44);
            while Instant::now() < until {
                n += 1;
                let open = fs::File::options().write(true).open(&file).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&open, &n.to_le_bytes(), 0).unwrap();
            }
            if round % 4 == 0 {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            }
        });
        started.send(()).unwrap();
        lab.snapshot(SnapshotKind::Periodic);
        writer.join().unwrap();
        let last = lab.snapshot(SnapshotKind::Closing).snapshot.id;
        let mut stored = Vec::new();
        lab.vault.read_file(last, b"f", &mut stored).unwrap();
        assert_eq!(stored, fs::read(&path).unwrap(), "round {round}");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(lab.vault.node(last, b"f").unwrap().mode, mode, "round {round}");
    }
    if coarse {
        let unmounted = std::process::Command::new("umount").arg(&lab.folder).status().unwrap();
        assert!(unmounted.success());
    }
}

#[test]
fn mounts_below_the_folder_are_not_crossed() {
    let lab = Lab::new();
    lab.write("below/file", "under the mount");
    let mounted = is_root()
        && std::process::Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(lab.path("below"))
            .status()
            .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("SKIPPED: mounting needs root");
        return;
    }
    lab.write("below/elsewhere", "another file system");
    let outcome = lab.snapshot(SnapshotKind::Manual);
    let unmounted = std::process::Command::new("umount").arg(lab.path("below")).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(outcome.unreadable.len(), 1, "{:?}", outcome.unreadable);
    assert!(outcome.unreadable[0].why.contains("mounted"));
    assert!(lab.vault.list_dir(outcome.snapshot.id, b"below").unwrap().is_empty());
}

#[test]
fn very_deep_folders_do_not_break_anything() {
    let lab = Lab::new();
    let mut dir = rustix::fs::open(
        &lab.folder,
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..700 {
        rustix::fs::mkdirat(&dir, "deep-directory-name", rustix::fs::Mode::from(0o755)).unwrap();
        dir = rustix::fs::openat(
            &dir,
            "deep-directory-name",
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    lab.write("file", "f");
    let outcome = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(outcome.unreadable.len(), 1);
    assert!(outcome.unreadable[0].why.contains("deep"), "{:?}", outcome.unreadable);
    assert!(outcome.counts.directories >= 500);
    assert_eq!(
        lab.vault
            .diff(Point::Folder(&lab.folder), Point::Snapshot(outcome.snapshot.id))
            .unwrap()
            .entries
            .len(),
        0
    );
    lab.assert_whole();
}
