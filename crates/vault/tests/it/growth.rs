//! Thousands of snapshots: what each of them costs, and the memory of whoever takes them,
//! must not grow with how many there are.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence_vault::{
    ChangeSet, Labels, SnapshotId, SnapshotKind, SnapshotRequest, Vault, VaultKey,
};

use crate::children::{killed, moment, play};
use crate::lab::{Lab, assert_same};
use crate::stock_restic::restic;

/// Set for a child that takes snapshots: the lab's directory and how many.
const MANY: &str = "RINGFENCE_VAULT_TEST_MANY";
/// No vault has more index files than this after a snapshot, so long as they are small.
const MOST: usize = 140;

fn index_files(vault: &Path) -> usize {
    fs::read_dir(vault.join("index")).unwrap().count()
}

/// So many snapshots of one changed file each.
fn take(lab: &Lab, count: usize) {
    for n in 0..count {
        lab.write("changing", format!("{n} of {count}"));
        lab.snapshot(SnapshotKind::Periodic);
    }
}

#[test]
fn hundreds_of_snapshots_are_named_by_few_index_files() {
    let lab = Lab::new();
    lab.write("kept/a", "a".repeat(10_000));
    let first = lab.snapshot(SnapshotKind::Manual);
    let state = lab.reference("first");
    for _ in 0..7 {
        take(&lab, 50);
        let count = index_files(lab.vault.dir());
        assert!(count <= MOST, "{count} index files");
    }
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), 351);
    lab.assert_whole();
    let said = restic(&lab, &["check", "--read-data"]);
    assert!(!said.contains("Duplicate") && !said.contains("hint"), "{said}");
    assert_same(&state, &lab.restore_elsewhere(&first, "first-again"));
    let newest = lab.snapshot(SnapshotKind::Manual);
    assert_same(&lab.folder, &lab.restore_elsewhere(&newest, "newest"));
}

#[test]
fn readers_meanwhile_see_all_that_was_there() {
    let lab = Lab::new();
    lab.write("kept/a", "a".repeat(10_000));
    let first = lab.snapshot(SnapshotKind::Manual).snapshot.id;
    take(&lab, 100);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As other processes do: nothing remembered, every list and file from disk.
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let key = VaultKey::load(&lab.dir.path().join("id.key")).unwrap();
                let vault = Vault::open(&lab.dir.path().join("vault"), &key).unwrap();
                let mut content = Vec::new();
                vault.read_file(first, b"kept/a", &mut content).unwrap();
                assert_eq!(content.len(), 10_000);
                let report = vault.check(false).unwrap();
                assert!(report.is_clean(), "{report:#?}");
                reads += 1;
            }
            reads
        });
        let writer = Writer::open(lab.dir.path());
        for n in 0..200 {
            writer.take(n);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 3);
    });
    assert!(index_files(lab.vault.dir()) <= MOST);
}

#[test]
fn killed_at_any_moment_of_a_merge_nothing_is_lost() {
    let lab = Lab::new();
    let dir = lab.dir.path().to_str().unwrap();
    lab.write("kept/a", "a".repeat(10_000));
    let first = lab.snapshot(SnapshotKind::Manual);
    let state = lab.reference("first");
    take(&lab, 127);
    let saved = lab.dir.path().join("saved");
    let copy = |from: &Path, to: &Path| {
        let _ = fs::remove_dir_all(to);
        crate::lab::run("cp", ["-a".as_ref(), from.as_os_str(), to.as_os_str()]);
    };
    copy(lab.vault.dir(), &saved);
    lab.write("changing", "the one whose snapshot merges");
    assert!(play(&["snapshot", dir]).status().unwrap().success());
    assert!(index_files(lab.vault.dir()) < 10, "this snapshot was to merge");
    let mut halfway = 0;
    let rounds = if std::env::var_os("RINGFENCE_SOAK").is_some() { 300 } else { 20 };
    for round in 0..rounds {
        copy(&saved, lab.vault.dir());
        if round % 3 == 0 {
            killed(&["snapshot", dir], moment(round));
        } else {
            kill_merging(&["snapshot", dir], lab.vault.dir(), Duration::from_micros(300) * round);
        }
        let count = index_files(lab.vault.dir());
        halfway += u32::from(count > 129 || (3..128).contains(&count));
        let report = lab.vault.check(round % 5 == 0).unwrap();
        assert!(report.is_clean(), "round {round}: {report:#?}");
        if round % 5 == 0 {
            restic(&lab, &["check"]);
        }
        lab.write("changing", format!("after round {round}"));
        lab.snapshot(SnapshotKind::Periodic);
        lab.snapshot(SnapshotKind::Manual);
        let report = lab.vault.check(false).unwrap();
        assert!(report.is_clean(), "round {round}, after the next: {report:#?}");
    }
    assert!(halfway > 0, "nobody was killed between the merged file and the last removal");
    assert_same(&state, &lab.restore_elsewhere(&first, "first-again"));
    restic(&lab, &["check", "--read-data"]);
}

#[test]
fn the_thousandth_snapshot_costs_what_the_first_did() {
    let lab = Lab::new();
    for n in 0..200 {
        lab.write(&format!("d{}/f{n}", n % 20), format!("{n}").repeat(50));
    }
    lab.snapshot(SnapshotKind::Opening);
    let count = if std::env::var_os("RINGFENCE_SOAK").is_some() { 10_000 } else { 400 };
    // A process of its own: its memory and its reads are nobody else's.
    let played = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "growth::many_in_one_process", "--nocapture"])
        .env(MANY, format!("{count}\t{}", lab.dir.path().display()))
        .stdout(Stdio::null())
        .status();
    assert!(played.unwrap().success());
    lab.assert_whole();
    restic(&lab, &["check"]);
}

/// The other half of the test above.
#[test]
fn many_in_one_process() {
    let Ok(asked) = std::env::var(MANY) else { return };
    let (count, dir) = asked.split_once('\t').unwrap();
    let writer = Writer::open(Path::new(dir));
    let mut reads = Vec::new();
    let mut files = 0;
    let mut settled = 0;
    for n in 0..count.parse().unwrap() {
        let before = own("/proc/self/io", "syscr:");
        writer.take(n);
        reads.push(own("/proc/self/io", "syscr:") - before);
        files = files.max(index_files(writer.vault.dir()));
        if n == 200 {
            settled = own("/proc/self/status", "VmRSS:");
        }
    }
    // As many as lie between two merges, so that all of them are in the middle alike.
    let medians: Vec<u64> = reads
        .chunks_exact(128)
        .map(|chunk| {
            let mut chunk = chunk.to_vec();
            chunk.sort_unstable();
            chunk[chunk.len() / 2]
        })
        .collect();
    let (first, last) = (medians[0], medians[medians.len() - 1]);
    let grown = own("/proc/self/status", "VmRSS:").saturating_sub(settled);
    eprintln!(
        "reads a snapshot: {first} at first, {last} at last; {files} index files at most; {grown} KiB more memory"
    );
    assert!(last * 10 <= first * 13, "reads a snapshot, by and by: {medians:?}");
    assert!(files <= MOST, "{files} index files");
    assert!(grown < 50 * 1024, "{grown} KiB more memory than after 200 snapshots");
}

/// The first number in the line of a file of /proc that begins so.
fn own(file: &str, line: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let rest = text.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a part, and kills it so long after its merge began to show in the vault.
fn kill_merging(part: &[&str], vault: &Path, after: Duration) {
    let mut child = play(part).stderr(Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if !(127..=129).contains(&index_files(vault)) {
            std::thread::sleep(after);
            break;
        }
    }
    // It may have ended by now.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Takes snapshots as the daemon does: one process, by a list of what changed.
struct Writer {
    dir: PathBuf,
    vault: Vault,
    latest: Cell<SnapshotId>,
}

impl Writer {
    fn open(dir: &Path) -> Self {
        let key = VaultKey::load(&dir.join("id.key")).unwrap();
        let vault = Vault::open(&dir.join("vault"), &key).unwrap();
        let latest = Cell::new(vault.find("latest").unwrap().id);
        Self { dir: dir.into(), vault, latest }
    }

    fn take(&self, n: u32) {
        let folder = self.dir.join("folder");
        fs::write(folder.join("listed"), n.to_string()).unwrap();
        let now = jiff::Timestamp::from_second(1_850_000_000 + i64::from(n)).unwrap();
        let labels = Labels::new(SnapshotKind::Periodic);
        let mut request = SnapshotRequest::new(&folder, labels, now);
        let mut changes = ChangeSet::new(self.latest.get());
        changes.entry("listed");
        request.changes = Some(changes);
        let outcome = self.vault.snapshot(&request).unwrap();
        assert!(!outcome.unchanged);
        self.latest.set(outcome.snapshot.id);
    }
}
