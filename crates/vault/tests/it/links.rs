//! Names that are one file are one file again after undo and restore.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ringfence_vault::{
    ConflictWhy, Guard, RestorePlan, RestoreRequest, Selection, SnapshotKind, SnapshotOutcome,
    UndoRequest,
};

use crate::lab::{Lab, assert_same, run};

fn inode(lab: &Lab, name: &str) -> u64 {
    fs::metadata(lab.path(name)).unwrap().ino()
}

/// One file with these names.
fn linked(lab: &Lab, names: &[&str]) {
    lab.write(names[0], "shared");
    for name in &names[1..] {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        fs::hard_link(lab.path(names[0]), lab.path(name)).unwrap();
    }
}

fn plan_undo(lab: &Lab, opening: &SnapshotOutcome, closing: &SnapshotOutcome) -> RestorePlan {
    let guard = lab.snapshot(SnapshotKind::BeforeUndo).snapshot.id;
    let request = UndoRequest {
        opening: opening.snapshot.id,
        closing: closing.snapshot.id,
        root: lab.folder.clone(),
        selection: Selection::All,
        all: false,
        guard: Guard::Snapshot(guard),
    };
    lab.vault.plan_undo(&request).unwrap()
}

fn apply(lab: &Lab, plan: &RestorePlan) {
    let report = lab.vault.apply(plan, &lab.staging(), None, Default::default()).unwrap();
    assert_eq!(report.kept_conflicts, []);
}

/// Does `session` to a folder made by `make`, takes it back by an undo and by a full
/// restore, and compares with the beginning.
#[track_caller]
fn comes_back(make: impl Fn(&Lab), session: impl Fn(&Lab), one_file: &[&str]) {
    for undo in [true, false] {
        let lab = Lab::new();
        make(&lab);
        let reference = lab.reference("reference");
        let opening = lab.snapshot(SnapshotKind::Opening);
        session(&lab);
        let closing = lab.snapshot(SnapshotKind::Closing);
        if undo {
            let plan = plan_undo(&lab, &opening, &closing);
            assert_eq!(plan.kept_conflicts, []);
            apply(&lab, &plan);
        } else {
            assert_eq!(lab.restore(&opening).kept_conflicts, []);
        }
        for name in one_file {
            assert_eq!(inode(&lab, one_file[0]), inode(&lab, name), "{name}, undo: {undo}");
        }
        assert_same(&reference, &lab.folder);
    }
}

#[test]
fn a_renamed_name_is_one_file_with_the_others_again() {
    comes_back(
        |lab| linked(lab, &["notes.txt", "deep/er/hard-link.txt"]),
        |lab| fs::rename(lab.path("notes.txt"), lab.path("moved.txt")).unwrap(),
        &["notes.txt", "deep/er/hard-link.txt"],
    );
}

#[test]
fn a_removed_name_of_three_is_one_file_with_the_others_again() {
    comes_back(
        |lab| linked(lab, &["one", "d/two", "three"]),
        |lab| fs::remove_file(lab.path("d/two")).unwrap(),
        &["one", "d/two", "three"],
    );
}

#[test]
fn a_name_replaced_by_a_copy_is_one_file_with_the_others_again() {
    comes_back(
        |lab| linked(lab, &["one", "two", "three"]),
        |lab| {
            run("cp", ["-p".into(), lab.path("one"), lab.path("copy")]);
            fs::rename(lab.path("copy"), lab.path("two")).unwrap();
            // As many names as before, so the others do not differ.
            fs::hard_link(lab.path("one"), lab.path("four")).unwrap();
        },
        &["one", "two", "three"],
    );
}

#[test]
fn a_name_of_which_only_metadata_differs_is_joined_as_well() {
    comes_back(
        |lab| linked(lab, &["one", "two"]),
        |lab| {
            fs::rename(lab.path("one"), lab.path("moved")).unwrap();
            run("chmod", ["600".into(), lab.path("two")]);
        },
        &["one", "two"],
    );
}

#[test]
fn files_that_were_joined_are_apart_again() {
    let make = |lab: &Lab| {
        lab.write("a", "same");
        run("cp", ["-p".into(), lab.path("a"), lab.path("b")]);
    };
    let session = |lab: &Lab| {
        fs::remove_file(lab.path("b")).unwrap();
        fs::hard_link(lab.path("a"), lab.path("b")).unwrap();
    };
    // rsync does not tell a joined pair from two equal files by itself: ask for inodes.
    for undo in [true, false] {
        let lab = Lab::new();
        make(&lab);
        let reference = lab.reference("reference");
        let opening = lab.snapshot(SnapshotKind::Opening);
        session(&lab);
        let closing = lab.snapshot(SnapshotKind::Closing);
        if undo {
            apply(&lab, &plan_undo(&lab, &opening, &closing));
        } else {
            lab.restore(&opening);
        }
        assert_ne!(inode(&lab, "a"), inode(&lab, "b"), "undo: {undo}");
        assert_same(&reference, &lab.folder);
    }
}

#[test]
fn a_name_that_somebody_else_changed_since_stays() {
    let lab = Lab::new();
    linked(&lab, &["one", "two", "three"]);
    let opening = lab.snapshot(SnapshotKind::Opening);
    fs::rename(lab.path("one"), lab.path("moved")).unwrap();
    let closing = lab.snapshot(SnapshotKind::Closing);
    fs::remove_file(lab.path("two")).unwrap();
    lab.write("two", "person");
    let theirs = inode(&lab, "two");
    let plan = plan_undo(&lab, &opening, &closing);
    let why = plan.kept_conflicts.iter().find(|c| c.path.0 == b"two").map(|c| c.why);
    assert_eq!(why, Some(ConflictWhy::ChangedSince));
    lab.vault.apply(&plan, &lab.staging(), None, Default::default()).unwrap();
    assert_eq!(fs::read_to_string(lab.path("two")).unwrap(), "person");
    assert_eq!(inode(&lab, "two"), theirs);
    assert_eq!(fs::read_to_string(lab.path("one")).unwrap(), "shared");
}

#[test]
fn a_name_stays_without_a_guard_or_outside_the_selection() {
    let lab = Lab::new();
    linked(&lab, &["in/one", "in/two", "out"]);
    let opening = lab.snapshot(SnapshotKind::Opening);
    fs::rename(lab.path("in/one"), lab.path("moved")).unwrap();
    let before = inode(&lab, "out");
    let plan = lab.vault.plan_restore(&lab.restore_request(&opening, Guard::Nothing)).unwrap();
    let kept: Vec<_> = plan.kept_conflicts.iter().map(|c| (c.path.lossy(), c.why)).collect();
    for name in ["in/two", "out"] {
        let conflict = (name.to_owned(), ConflictWhy::HeldByNoSnapshot);
        assert!(kept.contains(&conflict), "{name}: {kept:?}");
    }
    assert_eq!(plan.replaced.len(), 0);
    let guard = lab.snapshot(SnapshotKind::BeforeRestore).snapshot.id;
    let request = RestoreRequest {
        selection: Selection::Paths(vec![b"in".to_vec()]),
        ..lab.restore_request(&opening, Guard::Snapshot(guard))
    };
    let plan = lab.vault.plan_restore(&request).unwrap();
    apply(&lab, &plan);
    assert_eq!(inode(&lab, "in/one"), inode(&lab, "in/two"));
    assert_eq!(inode(&lab, "out"), before);
    assert_eq!(inode(&lab, "moved"), before);
}
