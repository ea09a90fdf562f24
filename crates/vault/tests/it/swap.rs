//! A process swaps files of the folder for links, pipes and directories while snapshots
//! are taken: nothing from outside the folder gets into any of them, and none hangs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringfence_vault::{ChangeSet, EntryKind, Point, SnapshotId, SnapshotKind, Vault};
use rustix::fs::{CWD, Mode, RenameFlags};

use crate::children::begun;
use crate::lab::Lab;
use crate::stock_restic::restic;

const SECRET: &[u8] = b"the secret outside the folder";
/// A name that exists outside only.
const OUTSIDE_NAME: &str = "only-outside";
/// Beside the folder: grows by one byte whenever everything was swapped.
const COUNTER: &str = "swaps";
/// Nothing here takes a fraction of this, on any machine: whoever needs more hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Names that change places, over and over. A directory and a link to the one outside
/// lie on the way to a file of the same name.
const PAIRS: [(&str, &str); 7] = [
    ("file", "swap-file"),
    ("dir", "swap-dir"),
    ("pipe", "piped"),
    ("was-file", "was-dir"),
    ("way/below", "way/elsewhere"),
    ("file", "pipe"),
    ("deep/er", "deep/link"),
];
/// What a change list names: every place at which something may have changed.
const NAMED: [&str; 14] = [
    "file",
    "swap-file",
    "dir",
    "swap-dir",
    "pipe",
    "piped",
    "was-file",
    "was-dir",
    "way",
    "way/below",
    "way/elsewhere",
    "made",
    "deep",
    "deep/er",
];

/// The part of the hostile process.
pub(crate) fn swap_for_ever(folder: &Path) {
    let outside = folder.with_file_name("outside");
    let made = folder.join("made");
    let mut counter = fs::File::create(folder.with_file_name(COUNTER)).unwrap();
    for count in 1u64.. {
        for (a, b) in PAIRS {
            let (a, b) = (folder.join(a), folder.join(b));
            let _ = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
        }
        // Removed and made anew as something else.
        let _ = fs::remove_file(&made).or_else(|_| fs::remove_dir_all(&made));
        match count % 5 {
            0 => fs::write(&made, "harmless").unwrap(),
            1 => symlink(outside.join("file"), &made).unwrap(),
            2 => symlink(&outside, &made).unwrap(),
            3 => rustix::fs::mkfifoat(CWD, &made, Mode::from(0o600)).unwrap(),
            _ => {
                fs::create_dir(&made).unwrap();
                fs::write(made.join("file"), "harmless").unwrap();
            }
        }
        counter.write_all(b".").unwrap();
    }
}

/// Ends the hostile process with the test.
struct Swapping(Child);

impl Drop for Swapping {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hostile_folder() -> Lab {
    let lab = Lab::new();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), SECRET).unwrap();
    fs::write(outside.join(OUTSIDE_NAME), SECRET).unwrap();
    for name in ["file", "dir/file", "piped", "was-file", "was-dir/file", "way/below/file"] {
        lab.write(name, "harmless");
    }
    lab.write("deep/er/and/deeper/file", "harmless");
    symlink(outside.join("file"), lab.path("swap-file")).unwrap();
    for name in ["swap-dir", "way/elsewhere", "deep/link"] {
        symlink(&outside, lab.path(name)).unwrap();
    }
    rustix::fs::mkfifoat(CWD, lab.path("pipe"), Mode::from(0o600)).unwrap();
    lab
}

/// Runs `act` on a thread of its own; who does not come back in time hangs.
fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    wait.recv_timeout(HANGS).unwrap_or_else(|why| panic!("{what}: {why}"))
}

fn assert_harmless(vault: &Vault, id: SnapshotId, dir: &[u8]) {
    for entry in vault.list_dir(id, dir).unwrap() {
        let path = entry.path.lossy();
        assert!(!path.ends_with(OUTSIDE_NAME), "{path} was listed from outside");
        match entry.kind {
            EntryKind::Directory => assert_harmless(vault, id, &entry.path.0),
            EntryKind::File => {
                let mut bytes = Vec::new();
                vault.read_file(id, &entry.path.0, &mut bytes).unwrap();
                assert!(!leaks(&bytes), "{path} leaked");
            }
            _ => {}
        }
    }
}

fn leaks(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

/// The same, as stock restic gives it back.
fn assert_harmless_to_restic(lab: &Lab, id: SnapshotId, name: &str) {
    let target = lab.dir.path().join(name);
    restic(lab, &["restore", &id.to_string(), "--target", target.to_str().unwrap()]);
    let mut waiting = vec![target];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            assert_ne!(entry.file_name(), OUTSIDE_NAME);
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                assert!(!leaks(&fs::read(entry.path()).unwrap()), "{:?} leaked", entry.path());
            }
        }
    }
}

#[test]
fn swapped_links_never_lead_a_snapshot_outside() {
    let lab = hostile_folder();
    let vault = Arc::new(Vault::open(lab.vault.dir(), &lab.key).unwrap());
    let swapping = Swapping(begun(&["swap", lab.dir.path().to_str().unwrap()]));
    let (seconds, least) =
        if std::env::var_os("RINGFENCE_SOAK").is_some() { (60, 100) } else { (4, 8) };
    let start = Instant::now();
    let mut taken: Vec<SnapshotId> = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) || taken.len() < least {
        // Every other one by a change list, which opens other things.
        let mut request = lab.request(SnapshotKind::Periodic);
        request.changes = taken.last().filter(|_| taken.len() % 2 == 1).map(|since| {
            let mut changes = ChangeSet::new(*since);
            NAMED.iter().for_each(|name| changes.entry(*name));
            changes
        });
        let writer = Arc::clone(&vault);
        let made = in_time("a snapshot hung", move || writer.snapshot(&request));
        taken.push(made.unwrap().snapshot.id);
        // A comparison opens files too.
        let (reader, folder, first) = (Arc::clone(&vault), lab.folder.clone(), taken[0]);
        let compare = move || reader.diff(Point::Folder(&folder), Point::Snapshot(first)).map(drop);
        in_time("a comparison hung", compare).unwrap();
    }
    drop(swapping);
    let swaps = fs::metadata(lab.dir.path().join(COUNTER)).unwrap().len();
    assert!(swaps > taken.len() as u64, "{swaps} swaps during {} snapshots", taken.len());
    eprintln!("{swaps} swaps, {} snapshots", taken.len());
    taken.iter().for_each(|id| assert_harmless(&vault, *id, b""));
    for (n, at) in [0, taken.len() / 2, taken.len() - 1].into_iter().enumerate() {
        assert_harmless_to_restic(&lab, taken[at], &format!("by-restic{n}"));
    }
    lab.assert_whole();
}
