//! What has the folder's place: the folder, or something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ringfence_vault::{FolderProblem, SnapshotKind, SnapshotMode, VaultError, WalkReason};

use crate::lab::{Lab, is_root, run};

/// The refusal, and that it left no trace.
#[track_caller]
fn refused(lab: &Lab, root: &Path) -> FolderProblem {
    let before = lab.vault.snapshots().unwrap().snapshots.len();
    let mut request = lab.request(SnapshotKind::Periodic);
    request.root = root.into();
    let error = lab.vault.snapshot(&request).unwrap_err();
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), before);
    match error {
        VaultError::Folder { what, path } => {
            assert_eq!(path, root);
            what
        }
        other => panic!("{other}"),
    }
}

fn mount(over: &Path) -> bool {
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(over)
            .status()
            .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("SKIPPED: mounting needs root");
    }
    mounted
}

#[test]
fn what_is_no_folder_is_never_an_empty_snapshot() {
    let lab = Lab::new();
    lab.write("a/b", "1");
    lab.snapshot(SnapshotKind::Opening);
    let away = lab.dir.path().join("away");
    fs::rename(&lab.folder, &away).unwrap();
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::Missing);
    symlink(&away, &lab.folder).unwrap();
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::Link);
    assert_eq!(refused(&lab, &lab.folder.join("")), FolderProblem::Link);
    fs::remove_file(&lab.folder).unwrap();
    fs::write(&lab.folder, "file").unwrap();
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::NotADirectory);
    fs::remove_file(&lab.folder).unwrap();
    fs::create_dir(&lab.folder).unwrap();
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::EmptyInItsPlace);
    // With something in it it is a folder again, and told to be another one.
    lab.write("new", "n");
    let made = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(made.mode, SnapshotMode::Walk(WalkReason::NoChangeList));
    fs::remove_dir_all(&lab.folder).unwrap();
    fs::rename(&away, &lab.folder).unwrap();
    assert!(!lab.snapshot(SnapshotKind::Manual).unchanged);
}

#[test]
fn a_mount_that_comes_or_goes_is_never_taken_for_the_folder() {
    let lab = Lab::new();
    lab.write("a/b", "1");
    lab.snapshot(SnapshotKind::Opening);
    if !mount(&lab.folder) {
        return;
    }
    lab.write("elsewhere", "2");
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::MountedOver);
    // Unless somebody says that it is right.
    let mut request = lab.request(SnapshotKind::Manual);
    request.replaced = true;
    let made = lab.vault.snapshot(&request).unwrap();
    assert_eq!((made.counts.files, made.unchanged), (1, false));
    assert!(lab.snapshot(SnapshotKind::Periodic).unchanged);
    run("umount", [&lab.folder]);
    assert_eq!(refused(&lab, &lab.folder), FolderProblem::Unmounted);
}
