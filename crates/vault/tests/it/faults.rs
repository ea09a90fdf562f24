//! Killed at any moment, and full disks: nothing is lost, and the next attempt works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_vault::{
    Guard, Labels, PruneRequest, RestoreRequest, Selection, SnapshotKind, SnapshotRequest, Vault,
    VaultError, VaultKey, resume_restore,
};

use crate::lab::{Lab, assert_same, differences, is_root, run};

/// Set for a child: which part of this file it is to play.
const PART: &str = "RINGFENCE_VAULT_TEST_PART";

pub(crate) fn rounds() -> u32 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 300 } else { 20 }
}

/// The other half of the tests below, run as a process of its own.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split('\t').collect();
    let dir = Path::new(words[1]);
    let open = || {
        let key = VaultKey::load(&dir.join("id.key")).unwrap();
        Vault::open(&dir.join("vault"), &key).unwrap()
    };
    let now = jiff::Timestamp::from_second(1_900_000_000).unwrap();
    let snapshot = |kind| SnapshotRequest::new(&dir.join("folder"), Labels::new(kind), now);
    match words[0] {
        "snapshot" => {
            open().snapshot(&snapshot(SnapshotKind::Periodic)).unwrap();
        }
        "restore" => {
            let vault = open();
            let guard = vault.snapshot(&snapshot(SnapshotKind::BeforeRestore)).unwrap();
            let plan = vault
                .plan_restore(&RestoreRequest {
                    snapshot: words[2].parse().unwrap(),
                    target: dir.join("folder"),
                    selection: Selection::All,
                    delete_extra: true,
                    guard: Guard::Snapshot(guard.snapshot.id),
                })
                .unwrap();
            let report =
                vault.apply(&plan, &dir.join("staging"), None, Default::default()).unwrap();
            assert_eq!(report.kept_conflicts, []);
        }
        "resume" => {
            resume_restore(&dir.join("staging"), None).unwrap();
        }
        "prune" => {
            let forget = words[2].split(',').filter(|id| !id.is_empty());
            let request = PruneRequest {
                marked_for: Duration::ZERO,
                ..PruneRequest::new(forget.map(|id| id.parse().unwrap()).collect())
            };
            open().prune(&request).unwrap();
        }
        "unreadable" => crate::hostile::unreadable_entries_keep_their_stored_version(),
        "stale" => crate::whole::stale_content_is_marked_in_the_snapshot(),
        other => panic!("no part {other}"),
    }
}

/// A command that runs [`child`] in the given part.
pub(crate) fn play(part: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "faults::child", "--nocapture"])
        .env(PART, part.join("\t"))
        .stdout(Stdio::null());
    command
}

/// Runs a part and kills it after `after`; gives whether it was killed in time.
pub(crate) fn killed(part: &[&str], after: Duration) -> bool {
    let mut child = play(part).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < after {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Spreads the kills over the time an undisturbed run takes.
pub(crate) fn moment(round: u32, whole: Duration) -> Duration {
    whole.mul_f64(f64::from(round.wrapping_mul(7919) % 101) / 90.0)
}

fn fill(folder: &Path, seed: u32) {
    for n in 0..120u32 {
        let dir = folder.join(format!("d{}", n % 7));
        fs::create_dir_all(&dir).unwrap();
        let mut word = seed.wrapping_mul(31).wrapping_add(n) | 1;
        let bytes: Vec<u8> = (0..(n * 300))
            .map(|_| {
                word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (word >> 24) as u8
            })
            .collect();
        fs::write(dir.join(format!("f{n}")), bytes).unwrap();
    }
}

#[test]
fn a_snapshot_killed_at_any_moment_harms_nothing() {
    let lab = Lab::new();
    fill(&lab.folder, 0);
    let first = lab.snapshot(SnapshotKind::Opening);
    let reference = lab.reference("first");
    let dir = lab.dir.path().to_str().unwrap();
    fill(&lab.folder, 1);
    let start = Instant::now();
    assert!(play(&["snapshot", dir]).status().unwrap().success());
    let whole = start.elapsed();
    let mut hit = 0;
    for round in 0..rounds() {
        fill(&lab.folder, round + 2);
        hit += u32::from(killed(&["snapshot", dir], moment(round, whole)));
        let report = lab.vault.check(round % 5 == 0).unwrap();
        assert!(report.is_clean(), "round {round}: {report:#?}");
        assert!(lab.vault.snapshots().unwrap().damaged.is_empty());
        if round % 4 == 3 {
            let state = lab.reference(&format!("state{round}"));
            let made = lab.snapshot(SnapshotKind::Periodic);
            assert_same(&state, &lab.restore_elsewhere(&made, &format!("back{round}")));
        }
    }
    assert!(hit > rounds() / 3, "only {hit} children were killed in time");
    assert_same(&reference, &lab.restore_elsewhere(&first, "first-again"));
    lab.assert_whole();
}

#[test]
fn a_restore_killed_at_any_moment_is_completed() {
    let lab = Lab::new();
    fill(&lab.folder, 0);
    lab.write("only-in-a/x", "a");
    let a = lab.snapshot(SnapshotKind::Manual);
    let reference_a = lab.reference("a");
    fs::remove_dir_all(lab.path("only-in-a")).unwrap();
    fs::remove_dir_all(lab.path("d1")).unwrap();
    fill(&lab.folder, 9);
    fs::hard_link(lab.path("d2/f2"), lab.path("twin")).unwrap();
    let b = lab.snapshot(SnapshotKind::Manual);
    let reference_b = lab.reference("b");
    let dir = lab.dir.path().to_str().unwrap();
    let ids = [a.snapshot.id.to_string(), b.snapshot.id.to_string()];
    let references = [&reference_a, &reference_b];
    let start = Instant::now();
    assert!(play(&["restore", dir, &ids[0]]).status().unwrap().success());
    let whole = start.elapsed();
    let mut present = 0;
    let (mut hit, mut resumed) = (0, 0);
    for round in 0..rounds() {
        let to = 1 - present;
        hit += u32::from(killed(&["restore", dir, &ids[to]], moment(round, whole)));
        let waits = lab.staging().join("redo.log").exists();
        if round % 3 == 0 && waits {
            killed(&["resume", dir], moment(round + 50, whole / 4));
        }
        let waits = lab.staging().join("redo.log").exists();
        let report = resume_restore(&lab.staging(), None).unwrap();
        assert_eq!(report.is_some(), waits, "round {round}");
        if let Some(report) = report {
            resumed += 1;
            assert_eq!(report.kept_conflicts, [], "round {round}");
        }
        // Either nothing happened, or all of it: nothing in between.
        if differences(references[to], &lab.folder).is_empty() {
            present = to;
        } else {
            assert!(!waits, "round {round}: a resumed restore is not complete");
            assert_same(references[present], &lab.folder);
        }
        assert!(!lab.staging().exists() || fs::read_dir(lab.staging()).unwrap().count() == 0);
    }
    eprintln!("{hit} of {} killed in time, {resumed} resumed", rounds());
    assert!(hit > rounds() / 3, "only {hit} children were killed in time");
    lab.assert_whole();
}

/// The moment between packs and the index that names them is short: set up by hand what
/// a writer leaves that is stopped there.
#[test]
fn packs_that_no_index_came_to_name_are_swept_and_no_others() {
    let lab = Lab::new();
    fill(&lab.folder, 0);
    lab.snapshot(SnapshotKind::Opening);
    let data = lab.vault.dir().join("data");
    let packs = || {
        let dirs = fs::read_dir(&data).unwrap().map(|d| d.unwrap().path());
        let files = dirs.flat_map(|d| fs::read_dir(d).unwrap()).map(|f| f.unwrap().path());
        files.collect::<Vec<_>>()
    };
    let named = packs();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (left, foreign) = ("ab".repeat(32), "ac".repeat(32));
    for orphan in [&left, &foreign] {
        let dir = data.join(&orphan[..2]);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(orphan), "never named").unwrap();
    }
    let mut list = named.iter().map(name).collect::<Vec<_>>().join("\n");
    // One that was announced and had no place yet, nor a directory for it.
    let mut unplaced = (0..=255u8).map(|n| format!("{n:02x}").repeat(32));
    let unplaced = unplaced.find(|name| !data.join(&name[..2]).exists()).unwrap();
    list.push_str(&format!("\n{left}\n{unplaced}\ncut sho"));
    fs::write(lab.vault.dir().join("tmp/entering"), list).unwrap();
    fill(&lab.folder, 1);
    lab.snapshot(SnapshotKind::Periodic);
    let after = packs();
    assert!(named.iter().all(|pack| after.contains(pack)), "a pack in use is gone");
    assert!(!after.iter().any(|pack| name(pack) == left), "an orphan stays");
    assert!(after.iter().any(|pack| name(pack) == foreign), "nobody knows what that was");
    assert_eq!(fs::read_dir(lab.vault.dir().join("tmp")).unwrap().count(), 0);
}

/// A small file system of its own; gone with the value.
pub(crate) struct Small(pub(crate) PathBuf);

impl Small {
    pub(crate) fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
                .arg(&path)
                .status()
                .is_ok_and(|s| s.success());
        if !mounted {
            eprintln!("SKIPPED: a small file system can only be mounted as root");
        }
        mounted.then_some(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

pub(crate) fn noise(length: usize, mut word: u64) -> Vec<u8> {
    let step = |_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word >> 32) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn a_full_disk_under_the_vault_is_a_clear_error_and_harms_nothing() {
    let top = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(top.path().join("small"), "24m") else { return };
    let folder = top.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let key = VaultKey::generate().unwrap();
    let vault = Vault::create(&small.0.join("vault"), &key).unwrap();
    let now = jiff::Timestamp::from_second(1_900_000_000).unwrap();
    let request = SnapshotRequest::new(&folder, Labels::new(SnapshotKind::Manual), now);
    fs::write(folder.join("small"), "kept").unwrap();
    let first = vault.snapshot(&request).unwrap();
    for (n, length) in [60 << 20, 40 << 20, 33 << 20].into_iter().enumerate() {
        fs::write(folder.join("large"), noise(length, 7 + n as u64)).unwrap();
        let error = vault.snapshot(&request).unwrap_err();
        assert!(matches!(error, VaultError::NoSpace { .. }), "{error:?}");
        assert!(vault.check(true).unwrap().is_clean());
        assert_eq!(vault.find("latest").unwrap().id, first.snapshot.id);
    }
    fs::remove_file(folder.join("large")).unwrap();
    fs::write(folder.join("next"), "works").unwrap();
    let next = vault.snapshot(&request).unwrap();
    assert!(!next.unchanged);
    let mut content = Vec::new();
    vault.read_file(next.snapshot.id, b"next", &mut content).unwrap();
    assert_eq!(content, b"works");
    // Filled to the last block by somebody else.
    let _ = fs::write(small.0.join("filler"), vec![1u8; 64 << 20]);
    fs::write(folder.join("next"), "later").unwrap();
    let error = vault.snapshot(&request).unwrap_err();
    assert!(matches!(error, VaultError::NoSpace { .. }), "{error:?}");
    fs::remove_file(small.0.join("filler")).unwrap();
    assert!(!vault.snapshot(&request).unwrap().unchanged);
    assert!(vault.check(true).unwrap().is_clean());
}

#[test]
fn a_full_disk_under_a_restore_leaves_the_folder_as_it_was() {
    let top = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(top.path().join("small"), "40m") else { return };
    let folder = small.0.join("folder");
    fs::create_dir(&folder).unwrap();
    let vault = Vault::create(&top.path().join("vault"), &VaultKey::generate().unwrap()).unwrap();
    let now = jiff::Timestamp::from_second(1_900_000_000).unwrap();
    let request = SnapshotRequest::new(&folder, Labels::new(SnapshotKind::Manual), now);
    fs::write(folder.join("large"), noise(20 << 20, 3)).unwrap();
    fs::write(folder.join("a"), "1").unwrap();
    let opening = vault.snapshot(&request).unwrap();
    fs::write(folder.join("large"), noise(25 << 20, 4)).unwrap();
    fs::write(folder.join("a"), "2").unwrap();
    let guard = vault.snapshot(&request).unwrap();
    let reference = top.path().join("reference");
    run("cp", ["-a".as_ref(), folder.as_os_str(), reference.as_os_str()]);
    let plan = vault
        .plan_restore(&RestoreRequest {
            snapshot: opening.snapshot.id,
            target: folder.clone(),
            selection: Selection::All,
            delete_extra: true,
            guard: Guard::Snapshot(guard.snapshot.id),
        })
        .unwrap();
    let staging = small.0.join("staging");
    let error = vault.apply(&plan, &staging, None, Default::default()).unwrap_err();
    assert!(matches!(error, VaultError::NoSpace { .. }), "{error:?}");
    assert_same(&reference, &folder);
    // Nothing stays behind that would keep the disk full.
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}
