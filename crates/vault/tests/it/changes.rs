//! Snapshots from a change list: as good as a full walk, and never trusted too far.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ringfence_vault::{
    ChangeSet, Progress, SnapshotId, SnapshotKind, SnapshotMode, SnapshotOutcome, Step, Vault,
    VaultKey, WalkReason,
};

use crate::edits::{carry_out, edit, moves, named};
use crate::lab::{Lab, is_root, run};

/// What a vault that has never seen the folder makes of it.
fn full(lab: &Lab, name: &str) -> SnapshotOutcome {
    let dir = lab.dir.path().join(format!("fresh-{name}"));
    let vault = Vault::create(&dir, &VaultKey::generate().unwrap()).unwrap();
    vault.snapshot(&lab.request(SnapshotKind::Manual)).unwrap()
}

fn set(since: SnapshotId, paths: &[&str]) -> ChangeSet {
    let mut changes = ChangeSet::new(since);
    paths.iter().for_each(|path| changes.entry(*path));
    changes
}

fn take(lab: &Lab, changes: ChangeSet) -> SnapshotOutcome {
    let mut request = lab.request(SnapshotKind::Periodic);
    request.changes = Some(changes);
    lab.vault.snapshot(&request).unwrap()
}

/// Takes a snapshot by a list and asserts that it is what a full walk would have made.
#[track_caller]
fn same_as_full(lab: &Lab, changes: ChangeSet, name: &str) -> SnapshotOutcome {
    let quick = take(lab, changes);
    let full = full(lab, name);
    assert_eq!(quick.snapshot.tree_id(), full.snapshot.tree_id(), "{name}");
    assert_eq!(quick.counts, full.counts, "{name}");
    assert_eq!(quick.counts, quick.snapshot.counts, "{name}");
    quick
}

/// Long enough for the status of everything to be trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

/// A folder of some size, at rest, and its first snapshot.
fn settled(lab: &Lab) -> SnapshotOutcome {
    for n in 0..60 {
        lab.write(&format!("d{}/e{}/f{n}", n % 4, n % 3), format!("content {n}"));
    }
    settle();
    let first = lab.snapshot(SnapshotKind::Opening);
    assert_eq!(first.mode, SnapshotMode::First);
    first
}

fn read(lab: &Lab, id: SnapshotId, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    lab.vault.read_file(id, path.as_bytes(), &mut bytes).unwrap();
    bytes
}

#[test]
fn edits_named_in_a_list_make_the_tree_of_a_full_walk() {
    let lab = Lab::new();
    let mut last = settled(&lab).snapshot.id;
    let mut step = |name: &str, paths: &[&str], act: &dyn Fn()| {
        act();
        let made = same_as_full(&lab, set(last, paths), name);
        assert_eq!(made.mode, SnapshotMode::Changes, "{name}");
        assert!(!made.unchanged, "{name}");
        assert!(made.files_read < 30, "{name} read {}", made.files_read);
        last = made.snapshot.id;
    };
    step("edit", &["d1/e1/f1"], &|| lab.write("d1/e1/f1", "edited"));
    step("new file", &["d1/new"], &|| lab.write("d1/new", "n"));
    step("new directories", &["x"], &|| lab.write("x/y/z/file", "deep"));
    step("removed file", &["d1/new"], &|| fs::remove_file(lab.path("d1/new")).unwrap());
    step("removed tree", &["d3"], &|| fs::remove_dir_all(lab.path("d3")).unwrap());
    step("moved tree", &["d2", "x/moved"], &|| {
        fs::rename(lab.path("d2"), lab.path("x/moved")).unwrap();
    });
    // The naive trap: A is deleted and B takes its name.
    step("another takes the name", &["d0", "d1"], &|| {
        fs::remove_dir_all(lab.path("d0")).unwrap();
        fs::rename(lab.path("d1"), lab.path("d0")).unwrap();
    });
    step("a file takes a directory's name", &["d0"], &|| {
        fs::remove_dir_all(lab.path("d0")).unwrap();
        lab.write("d0", "file");
    });
    step("and the reverse", &["d0"], &|| {
        fs::remove_file(lab.path("d0")).unwrap();
        lab.write("d0/in", "file");
    });
    step("mode of a directory", &["x/y"], &|| {
        run("chmod", ["0700".into(), lab.path("x/y")]);
    });
    step("mode of the folder", &[""], &|| {
        run("chmod", ["0711".into(), lab.folder.clone()]);
    });
    lab.assert_whole();
}

#[test]
fn only_what_is_named_is_looked_at_and_a_walk_finds_the_rest() {
    let lab = Lab::new();
    let first = settled(&lab).snapshot.id;
    lab.write("d1/e1/f1", "edited");
    lab.write("d2/e2/f2", "missed");
    let quick = take(&lab, set(first, &["d1/e1/f1"]));
    assert_eq!(read(&lab, quick.snapshot.id, "d1/e1/f1"), b"edited");
    assert_eq!(read(&lab, quick.snapshot.id, "d2/e2/f2"), b"content 2");
    let walk = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(walk.mode, SnapshotMode::Walk(WalkReason::NoChangeList));
    assert_eq!(read(&lab, walk.snapshot.id, "d2/e2/f2"), b"missed");
    assert_eq!(walk.snapshot.tree_id(), full(&lab, "walk").snapshot.tree_id());
}

#[test]
fn a_subtree_that_must_be_walked_whole_is() {
    let lab = Lab::new();
    let first = settled(&lab).snapshot.id;
    lab.write("d1/e0/f9", "below");
    lab.write("d1/e1/f1", "below");
    let mut changes = ChangeSet::new(first);
    changes.whole("d1");
    let made = same_as_full(&lab, changes, "whole");
    assert_eq!(made.mode, SnapshotMode::Changes);
}

#[test]
fn an_audit_finds_what_the_list_had_missed() {
    let lab = Lab::new();
    let first = settled(&lab).snapshot.id;
    let audit = |changes| {
        settle();
        let mut request = lab.request(SnapshotKind::Periodic);
        (request.changes, request.audit) = (Some(changes), true);
        lab.vault.snapshot(&request).unwrap()
    };
    let named = |made: &SnapshotOutcome| {
        let missed = made.missed.clone().unwrap();
        assert_eq!(missed.count, missed.paths.len() as u64);
        missed.paths.iter().map(|p| p.lossy()).collect::<Vec<_>>()
    };
    let clean = audit(ChangeSet::new(first));
    assert!(clean.unchanged);
    assert_eq!(clean.mode, SnapshotMode::Walk(WalkReason::Audit));
    assert_eq!(named(&clean), [""; 0]);
    lab.write("d0/e0/f0", "named");
    lab.write("d1/e1/f1", "edited");
    lab.write("d2/e2/new/deep", "made");
    fs::remove_file(lab.path("d3/e1/f7")).unwrap();
    run("chmod", ["0700".into(), lab.path("d2/e1")]);
    let made = audit(set(first, &["d0/e0/f0"]));
    assert_eq!(named(&made), ["d1/e1/f1", "d2/e1", "d2/e2/new", "d3/e1/f7"]);
    assert_eq!(made.snapshot.tree_id(), full(&lab, "audit").snapshot.tree_id());
    // Named, or below what is to be walked: nothing missed.
    lab.write("d1/e1/f1", "again");
    lab.write("d2/e2/f2", "again");
    let mut changes = set(made.snapshot.id, &["d1/e1/f1"]);
    changes.whole("d2");
    assert_eq!(named(&audit(changes)), [""; 0]);
    // A list that could not have been used is not judged.
    assert_eq!(audit(ChangeSet::new(full(&lab, "other").snapshot.id)).missed, None);
}

#[derive(Default)]
struct Looks(AtomicU64);

impl Progress for Looks {
    fn step(&self, step: Step) {
        if let Step::Scanned(entries) = step {
            self.0.fetch_add(entries, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_list_without_changes_looks_at_nothing() {
    let lab = Lab::new();
    let first = settled(&lab);
    let size = lab.vault.size().unwrap();
    let looks = Arc::new(Looks::default());
    let mut request = lab.request(SnapshotKind::Periodic);
    request.changes = Some(ChangeSet::new(first.snapshot.id));
    request.progress = Some(looks.clone());
    let made = lab.vault.snapshot(&request).unwrap();
    assert!(made.unchanged);
    assert_eq!(made.snapshot.id, first.snapshot.id);
    assert_eq!((made.mode, made.counts), (SnapshotMode::Changes, first.counts));
    assert_eq!(looks.0.load(Ordering::Relaxed), 0, "entries were looked at");
    assert_eq!(lab.vault.size().unwrap(), size);
}

#[test]
fn a_list_that_cannot_be_enough_is_not_used() {
    let lab = Lab::new();
    let first = settled(&lab).snapshot.id;
    lab.write("d1/e1/f1", "edited");
    // Counted from a snapshot that this vault has never seen.
    let foreign = full(&lab, "foreign").snapshot.id;
    let made = same_as_full(&lab, ChangeSet::new(foreign), "unknown");
    assert_eq!(made.mode, SnapshotMode::Walk(WalkReason::UnknownSnapshot));
    assert!(!made.unchanged);
    // From an older snapshot than the latest: more than is needed, so good enough.
    settle();
    let made = same_as_full(&lab, set(first, &["d1/e1/f1"]), "older");
    assert!(made.unchanged);
    assert_eq!(made.mode, SnapshotMode::Changes);
    // Every file read, whatever the list says.
    let mut request = lab.request(SnapshotKind::Manual);
    request.changes = Some(ChangeSet::new(made.snapshot.id));
    request.reread = true;
    let reread = lab.vault.snapshot(&request).unwrap();
    assert_eq!(reread.mode, SnapshotMode::Walk(WalkReason::Reread));
    // Another directory in the folder's place.
    fs::rename(&lab.folder, lab.dir.path().join("old")).unwrap();
    run("cp", ["-a".into(), lab.dir.path().join("old"), lab.folder.clone()]);
    lab.write("d2/e2/f2", "in the new one");
    let made = same_as_full(&lab, ChangeSet::new(reread.snapshot.id), "replaced");
    assert_eq!(made.mode, SnapshotMode::Walk(WalkReason::FolderReplaced));
}

#[test]
fn names_of_one_file_are_kept_together() {
    let lab = Lab::new();
    lab.write("a/one", "shared");
    fs::create_dir_all(lab.path("b/c")).unwrap();
    fs::hard_link(lab.path("a/one"), lab.path("b/c/two")).unwrap();
    lab.write("d/other", "x");
    settle();
    let mut last = lab.snapshot(SnapshotKind::Opening).snapshot.id;
    let walk = SnapshotMode::Walk(WalkReason::HardLinks);
    let mut step = |name: &str, paths: &[&str], mode, act: &dyn Fn()| {
        act();
        // Else the young ones are looked at anyway.
        settle();
        let made = same_as_full(&lab, set(last, paths), name);
        assert_eq!(made.mode, mode, "{name}");
        last = made.snapshot.id;
    };
    step("written through one name", &["a/one"], walk, &|| lab.write("a/one", "longer"));
    step("both named", &["a/one", "b/c/two"], SnapshotMode::Changes, &|| {
        lab.write("a/one", "longer still");
    });
    step("a third name", &["d/three"], walk, &|| {
        fs::hard_link(lab.path("a/one"), lab.path("d/three")).unwrap();
    });
    step("one name removed with its directory", &["b"], walk, &|| {
        fs::remove_dir_all(lab.path("b")).unwrap();
    });
    step("one name replaced", &["d/three"], walk, &|| {
        lab.write("d/new", "n");
        fs::rename(lab.path("d/new"), lab.path("d/three")).unwrap();
    });
    step("a pair that is new", &["p"], SnapshotMode::Changes, &|| {
        lab.write("p/one", "pair");
        fs::hard_link(lab.path("p/one"), lab.path("p/two")).unwrap();
    });
    assert_eq!(fs::metadata(lab.path("a/one")).unwrap().nlink(), 1);
    lab.assert_whole();
}

#[test]
fn what_could_not_be_read_is_tried_again_unnamed() {
    let lab = Lab::new();
    lab.write("below/file", "under the mount");
    lab.write("d/other", "x");
    settle();
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
    let first = lab.snapshot(SnapshotKind::Opening);
    let quick = take(&lab, ChangeSet::new(first.snapshot.id));
    assert!(
        std::process::Command::new("umount").arg(lab.path("below")).status().unwrap().success()
    );
    assert_eq!(first.unreadable.len(), 1);
    assert_eq!(quick.unreadable.len(), 1, "forgotten, since nobody named it");
    assert_eq!(quick.snapshot.unreadable, quick.unreadable);
    let after = same_as_full(&lab, ChangeSet::new(quick.snapshot.id), "unmounted");
    assert_eq!((after.mode, after.unreadable), (SnapshotMode::Changes, Vec::new()));
    assert_eq!(read(&lab, after.snapshot.id, "below/file"), b"under the mount");
}

/// A write within the tick of the file clock in which the file was read leaves every
/// stamp as it was. If its event comes late, the next list does not name the file; a
/// walk after that must still find it.
#[test]
fn a_late_word_about_a_write_that_left_no_trace_loses_nothing() {
    let lab = Lab::new();
    let coarse = is_root()
        && std::process::Command::new("mount")
            .args(["-t", "ramfs", "ramfs"])
            .arg(&lab.folder)
            .status()
            .is_ok_and(|s| s.success());
    if !coarse {
        eprintln!("SKIPPED: a file system with coarse stamps needs root");
        return;
    }
    let path = lab.path("f");
    lab.write("other", "x");
    for round in 0..60u64 {
        fs::write(&path, round.to_le_bytes()).unwrap();
        let file = path.clone();
        let writer = std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_micros(round.wrapping_mul(7919) % 16_000);
            let mut n = round << 32;
            while Instant::now() < until {
                n += 1;
                let open = fs::File::options().write(true).open(&file).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&open, &n.to_le_bytes(), 0).unwrap();
            }
        });
        let during = lab.snapshot(SnapshotKind::Periodic);
        writer.join().unwrap();
        settle();
        let unnamed = take(&lab, ChangeSet::new(during.snapshot.id));
        let last = lab.snapshot(SnapshotKind::Closing);
        assert_ne!(unnamed.mode, SnapshotMode::First);
        let stored = read(&lab, last.snapshot.id, "f");
        assert_eq!(stored, fs::read(&path).unwrap(), "round {round}");
    }
    assert!(std::process::Command::new("umount").arg(&lab.folder).status().unwrap().success());
}

fn cases() -> u32 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 300 } else { 8 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn after_random_edits_a_list_makes_the_tree_of_a_full_walk(
        rounds in prop::collection::vec(prop::collection::vec(edit(), 1..20), 2..6),
    ) {
        let lab = Lab::new();
        lab.write("quiet/below/file", "never touched");
        let mut last = lab.snapshot(SnapshotKind::Opening).snapshot.id;
        for (n, edits) in rounds.iter().enumerate() {
            let mut changes = ChangeSet::new(last);
            for edit in edits {
                // As a watcher of directories sees it: also of an edit that failed midway.
                let before = named(&lab.folder, edit);
                let _ = carry_out(&lab.folder, edit);
                for path in before.into_iter().chain(named(&lab.folder, edit)) {
                    if moves(edit) { changes.whole(path) } else { changes.entry(path) }
                }
            }
            let made = same_as_full(&lab, changes, &n.to_string());
            last = made.snapshot.id;
        }
        lab.assert_whole();
    }
}
