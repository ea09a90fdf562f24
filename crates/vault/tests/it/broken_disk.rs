//! The disk under the vault fails, at each of the calls that an operation makes: that is
//! an error with a type, what was stored before stays whole, nothing is said to be stored
//! that is not there and synced, and once the disk is well the next attempt works.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fuser::Errno;
use ringfence_vault::{
    Guard, Labels, PruneRequest, RestoreRequest, Selection, SnapshotId, SnapshotKind,
    SnapshotRequest, Vault, VaultError, VaultKey,
};

use crate::faults::noise;
use crate::faulty::{Fault, Faulty, Op};
use crate::lab::{assert_same, run};

const EVERY: &[Op] = &[
    Op::Look,
    Op::List,
    Op::Open,
    Op::Read,
    Op::Create,
    Op::Write,
    Op::Sync,
    Op::Rename,
    Op::MakeDir,
    Op::Remove,
];
const CHANGES: &[Op] = &[Op::Create, Op::Write, Op::Rename, Op::MakeDir, Op::Remove];
const GROWS: &[Op] = &[Op::Create, Op::Write, Op::MakeDir];

/// A single failure of one kind of call, and disks that are gone for a while.
const FAULTS: [Fault; 10] = [
    once("a failed read", &[Op::Read]),
    once("a failed open", &[Op::Open, Op::Create]),
    once("a failed listing", &[Op::List]),
    once("a failed look", &[Op::Look]),
    once("a failed write", &[Op::Write]),
    once("a failed sync", &[Op::Sync]),
    once("a failed rename", &[Op::Rename]),
    Fault { name: "a full disk", ops: GROWS, errno: Errno::ENOSPC, lasts: true },
    Fault { name: "a read-only disk", ops: CHANGES, errno: Errno::EROFS, lasts: true },
    Fault { name: "a vanished disk", ops: EVERY, errno: Errno::EIO, lasts: true },
];

const fn once(name: &'static str, ops: &'static [Op]) -> Fault {
    Fault { name, ops, errno: Errno::EIO, lasts: false }
}

/// A folder on a good disk, its vault on one that can fail.
struct Bench {
    // Unmounted before its directory goes.
    disk: Faulty,
    top: tempfile::TempDir,
    folder: PathBuf,
    vault: Vault,
    key: VaultKey,
    /// Finished snapshots and copies of what they hold, the oldest first.
    known: Vec<(SnapshotId, PathBuf)>,
    made: u64,
}

impl Bench {
    fn new() -> Option<Self> {
        let top = tempfile::Builder::new().prefix("broken-disk").tempdir().unwrap();
        for name in ["real", "disk", "folder"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        let disk = Faulty::mount(&top.path().join("real"), &top.path().join("disk"))?;
        let key = VaultKey::generate().unwrap();
        let vault = Vault::create(&top.path().join("disk/vault"), &key).unwrap();
        let folder = top.path().join("folder");
        let mut bench = Self { disk, top, folder, vault, key, known: Vec::new(), made: 0 };
        bench.edit();
        bench.snapshot_works("the first");
        Some(bench)
    }

    /// New content of some files, old of others.
    fn edit(&mut self) {
        self.made += 1;
        for n in 0..6 {
            let dir = self.folder.join(format!("d{}", n % 2));
            fs::create_dir_all(&dir).unwrap();
            if n < 2 || self.made == 1 {
                fs::write(dir.join(format!("f{n}")), noise(7_000, self.made * 31 + n)).unwrap();
            }
        }
        fs::write(self.folder.join("number"), self.made.to_string()).unwrap();
    }

    fn request(&self) -> SnapshotRequest {
        let time = 1_800_000_000 + i64::try_from(self.made).unwrap();
        let now = jiff::Timestamp::from_second(time).unwrap();
        SnapshotRequest::new(&self.folder, Labels::new(SnapshotKind::Periodic), now)
    }

    fn copy(&self) -> PathBuf {
        let copy = self.top.path().join(format!("state{}", self.made));
        if !copy.exists() {
            run("cp", ["-a".as_ref(), self.folder.as_os_str(), copy.as_os_str()]);
        }
        copy
    }

    /// The vault as another process finds it.
    fn fresh(&self) -> Vault {
        Vault::open(self.vault.dir(), &self.key).unwrap()
    }

    /// Notes a snapshot of the folder as it is, if it is a new one.
    fn learn(&mut self, id: SnapshotId) {
        if self.known.last().is_none_or(|(last, _)| *last != id) {
            self.known.push((id, self.copy()));
        }
    }

    /// Takes a snapshot on a good disk, by the vault that has seen the bad one.
    fn snapshot_works(&mut self, after: &str) {
        let made = self.vault.snapshot(&self.request()).unwrap_or_else(|e| panic!("{after}: {e}"));
        self.learn(made.snapshot.id);
        self.assert_said_truly(made.snapshot.id, after);
    }

    /// What was said to be stored is there for another process, is what the folder was,
    /// and would survive a power cut.
    fn assert_said_truly(&self, id: SnapshotId, what: &str) {
        assert_eq!(self.disk.unsynced(), Vec::<PathBuf>::new(), "{what}: said, but not synced");
        let latest = self.fresh().find("latest").unwrap().id;
        assert_eq!(latest, id, "{what}: said, but not there");
        self.assert_whole(what);
        self.assert_restores(self.known.len() - 1, what);
    }

    /// All that is known is listed, and nothing is missing or damaged.
    fn assert_whole(&self, what: &str) {
        let vault = self.fresh();
        let report = vault.check(true).unwrap();
        assert!(report.is_clean(), "{what}: {report:#?}");
        let listed = vault.snapshots().unwrap();
        assert!(listed.damaged.is_empty(), "{what}: {:?}", listed.damaged);
        let listed: Vec<_> = listed.snapshots.iter().rev().map(|s| s.id).collect();
        let known: Vec<_> = self.known.iter().map(|(id, _)| *id).collect();
        assert_eq!(listed, known, "{what}");
    }

    fn restore(&self, number: usize) -> RestoreRequest {
        RestoreRequest {
            snapshot: self.known[number].0,
            target: self.top.path().join("back"),
            selection: Selection::All,
            delete_extra: true,
            guard: Guard::Nothing,
        }
    }

    fn assert_restores(&self, number: usize, what: &str) {
        let request = self.restore(number);
        fs::create_dir(&request.target).unwrap();
        let vault = self.fresh();
        let plan = vault.plan_restore(&request).unwrap();
        let staging = self.top.path().join("staging");
        vault
            .apply(&plan, &staging, None, Default::default())
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_same(&self.known[number].1, &request.target);
        fs::remove_dir_all(request.target).unwrap();
    }
}

/// An error that says what was wrong, by its type and in words.
fn assert_typed(error: &VaultError, fault: Fault, what: &str) {
    let text = error.to_string();
    assert!(!text.contains("panicked"), "{what}: {text}");
    let typed = match error {
        VaultError::NoSpace { .. } => fault.errno == Errno::ENOSPC,
        VaultError::Io { .. } | VaultError::Engine { .. } | VaultError::Damaged { .. } => {
            fault.errno != Errno::ENOSPC
        }
        // A vault whose beginning cannot be looked at.
        VaultError::NotAVault { .. } => fault.errno == Errno::EIO,
        _ => false,
    };
    assert!(typed, "{what}: {error:?}");
}

/// Calls `act` with each fault at one call after the other, until there are no more calls
/// that could fail; in the short form at some of them. `act` gives how many calls of the
/// fault's kinds there were and how many failed.
fn each(act: &mut dyn FnMut(Fault, usize, &str) -> (usize, usize)) {
    let whole = std::env::var_os("RINGFENCE_SOAK").is_some();
    for fault in FAULTS {
        let (calls, _) = act(fault, usize::MAX, &format!("no {}", fault.name));
        let step = if whole { 1 } else { calls.div_ceil(3).max(1) };
        let mut struck = 0;
        for at in (0..calls).rev().step_by(step) {
            let what = format!("{} at call {at} of {calls}", fault.name);
            struck += usize::from(act(fault, at, &what).1 > 0);
        }
        eprintln!("{}: struck {struck} times, of {calls} calls", fault.name);
        assert!(struck > 0 || calls == 0, "{} never came", fault.name);
    }
}

/// By the vault that has seen the bad disk, or by one that was opened since.
fn snapshots_onto_a_failing_disk(another_process: bool) {
    let Some(mut bench) = Bench::new() else { return };
    each(&mut |fault, at, what| {
        bench.edit();
        bench.disk.fail(fault, at);
        let made = bench.vault.snapshot(&bench.request());
        let calls = bench.disk.heal();
        match made {
            Ok(made) => {
                bench.learn(made.snapshot.id);
                bench.assert_said_truly(made.snapshot.id, what);
            }
            Err(error) => {
                assert!(calls.1 > 0, "{what}: {error}");
                assert_typed(&error, fault, what);
                // Told as a failure, it may be there all the same; then it is whole.
                bench.learn(bench.fresh().find("latest").unwrap().id);
                bench.assert_whole(what);
                bench.assert_restores(bench.known.len() - 1, what);
            }
        }
        bench.assert_restores(bench.made as usize * 7 % bench.known.len(), what);
        if another_process {
            bench.vault = bench.fresh();
        }
        bench.snapshot_works(what);
        while bench.known.len() > 8 {
            let (id, _) = bench.known.remove(1);
            bench.vault.prune(&PruneRequest::new(vec![id])).unwrap();
        }
        calls
    });
    (0..bench.known.len()).for_each(|n| bench.assert_restores(n, "at the end"));
}

#[test]
fn a_snapshot_onto_a_failing_disk_says_nothing_that_is_not_so() {
    snapshots_onto_a_failing_disk(false);
}

#[test]
fn nor_does_the_next_process_after_one_that_failed() {
    snapshots_onto_a_failing_disk(true);
}

#[test]
fn a_prune_on_a_failing_disk_harms_nothing_that_is_listed() {
    let Some(mut bench) = Bench::new() else { return };
    each(&mut |fault, at, what| {
        while bench.known.len() < 4 {
            bench.edit();
            bench.snapshot_works(what);
        }
        let request = PruneRequest {
            marked_for: Duration::ZERO,
            ..PruneRequest::new(vec![bench.known[1].0])
        };
        bench.disk.fail(fault, at);
        let pruned = bench.vault.prune(&request);
        let calls = bench.disk.heal();
        if let Err(error) = &pruned {
            assert!(calls.1 > 0, "{what}: {error}");
            assert_typed(error, fault, what);
        }
        let listed = bench.fresh().snapshots().unwrap().snapshots;
        let gone = !listed.iter().any(|snapshot| snapshot.id == bench.known[1].0);
        assert!(gone || pruned.is_err(), "{what}: said to be forgotten");
        if gone {
            bench.known.remove(1);
        }
        bench.assert_whole(what);
        bench.assert_restores(bench.made as usize % bench.known.len(), what);
        bench.vault.prune(&request).unwrap_or_else(|e| panic!("after {what}: {e}"));
        bench.known.retain(|(id, _)| *id != request.forget[0]);
        bench.assert_whole(what);
        calls
    });
    (0..bench.known.len()).for_each(|n| bench.assert_restores(n, "at the end"));
}

#[test]
fn a_restore_from_a_failing_disk_leaves_the_folder_as_it_was() {
    let Some(mut bench) = Bench::new() else { return };
    bench.edit();
    bench.snapshot_works("the second");
    let staging = bench.top.path().join("staging");
    let both = [bench.known[0].1.clone(), bench.known[1].1.clone()];
    let target = bench.top.path().join("target");
    run("cp", ["-a".as_ref(), both[1].as_os_str(), target.as_os_str()]);
    let mut present = 1;
    each(&mut |fault, at, what| {
        let to = 1 - present;
        let vault = bench.fresh();
        let restore = |guard| {
            let request = RestoreRequest {
                snapshot: bench.known[to].0,
                target: target.clone(),
                selection: Selection::All,
                delete_extra: true,
                guard: Guard::Snapshot(guard),
            };
            let plan = vault.plan_restore(&request)?;
            let report = vault.apply(&plan, &staging, None, Default::default())?;
            Ok([plan.kept_conflicts, report.kept_conflicts].concat())
        };
        let mut guard = bench.request();
        guard.root = target.clone();
        guard.replaced = true;
        let guard = vault.snapshot(&guard).unwrap().snapshot.id;
        bench.disk.fail(fault, at);
        let restored: Result<_, VaultError> = restore(guard);
        let calls = bench.disk.heal();
        match &restored {
            Err(error) => {
                assert!(calls.1 > 0, "{what}: {error}");
                assert_typed(error, fault, what);
                assert_same(&both[present], &target);
                let left = fs::read_dir(&staging).map_or(0, Iterator::count);
                assert_eq!(left, 0, "{what}: something stays in staging");
            }
            // Where the guard could not be read, nothing is taken away, and it is said.
            Ok(kept) if !kept.is_empty() => assert!(calls.1 > 0, "{what}: {kept:?}"),
            Ok(_) => assert_same(&both[to], &target),
        }
        if !matches!(&restored, Ok(kept) if kept.is_empty()) {
            let kept = restore(guard).unwrap_or_else(|e| panic!("after {what}: {e}"));
            assert_eq!(kept, [], "after {what}");
        }
        assert_same(&both[to], &target);
        present = to;
        calls
    });
}

#[test]
fn a_vault_on_a_failing_disk_is_neither_opened_nor_made_by_halves() {
    let Some(bench) = Bench::new() else { return };
    each(&mut |fault, at, what| {
        bench.disk.fail(fault, at);
        let opened = Vault::open(bench.vault.dir(), &bench.key).and_then(|v| v.snapshots());
        let calls = bench.disk.heal();
        match opened {
            // The one that could not be read is not passed over in silence.
            Ok(all) => {
                assert_eq!(all.snapshots.len() + all.damaged.len(), 1, "{what}");
                assert!(all.damaged.is_empty() || calls.1 > 0, "{what}");
            }
            Err(error) => {
                assert!(calls.1 > 0, "{what}: {error}");
                assert_typed(&error, fault, what);
            }
        }
        bench.assert_whole(what);
        calls
    });
    each(&mut |fault, at, what| {
        let dir = bench.top.path().join("disk/new");
        bench.disk.fail(fault, at);
        let made = Vault::create(&dir, &bench.key);
        let calls = bench.disk.heal();
        if let Err(error) = &made {
            assert!(calls.1 > 0, "{what}: {error}");
            assert_typed(error, fault, what);
            assert!(
                Vault::open(&dir, &bench.key).is_ok() || Vault::create(&dir, &bench.key).is_ok(),
                "{what}: what it left is neither a vault nor can it become one"
            );
        }
        let vault = Vault::open(&dir, &bench.key).unwrap_or_else(|e| panic!("{what}: {e}"));
        let first = vault.snapshot(&bench.request()).unwrap();
        assert_eq!(bench.disk.unsynced(), Vec::<PathBuf>::new(), "{what}");
        assert_eq!(vault.find("latest").unwrap().id, first.snapshot.id);
        fs::remove_dir_all(dir).unwrap();
        calls
    });
}

#[test]
fn a_check_of_a_failing_disk_is_not_clean() {
    let Some(bench) = Bench::new() else { return };
    let reads = [Op::Read, Op::Open, Op::List];
    each(&mut |fault, at, what| {
        // What works at the second attempt was read after all; so here it goes on failing.
        let fault = Fault { lasts: fault.ops.iter().any(|op| reads.contains(op)), ..fault };
        bench.disk.fail(fault, at);
        let report = bench.vault.check(true);
        let calls = bench.disk.heal();
        match report {
            Ok(report) if fault.lasts && calls.1 > 0 => {
                assert!(!report.is_clean(), "{what}: said to be clean");
            }
            Ok(report) => assert!(report.is_clean() || calls.1 > 0, "{what}: {report:#?}"),
            Err(error) => assert_typed(&error, fault, what),
        }
        bench.assert_whole(what);
        calls
    });
}
