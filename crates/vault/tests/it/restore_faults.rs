//! What can be wrong where a restore writes: nothing is half-done, nothing leads outside.

use std::fs;
use std::os::unix::fs::symlink;

use ringfence_vault::{Guard, RestoreRequest, SnapshotKind, VaultError, check_staging};

use crate::faults::Small;
use crate::lab::{Lab, assert_same, run};

#[test]
fn a_read_only_target_is_an_error_and_stays_as_it_is() {
    let lab = Lab::new();
    let Some(small) = Small::mount(lab.dir.path().join("small"), "8m") else { return };
    let target = small.0.join("folder");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("a"), "present").unwrap();
    lab.write("a", "stored");
    let stored = lab.snapshot(SnapshotKind::Manual);
    let request = RestoreRequest {
        target: target.clone(),
        delete_extra: false,
        ..lab.restore_request(&stored, Guard::Nothing)
    };
    lab.write("b", "stored");
    let stored = lab.snapshot(SnapshotKind::Manual);
    let request = RestoreRequest { snapshot: stored.snapshot.id, ..request };
    let plan = lab.vault.plan_restore(&request).unwrap();
    assert_eq!(plan.created.len(), 1);
    run("mount", ["-o".as_ref(), "remount,ro".as_ref(), small.0.as_os_str()]);
    let staging = small.0.join("staging");
    let error = lab.vault.apply(&plan, &staging, None, Default::default()).unwrap_err();
    assert!(matches!(error, VaultError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("Read-only"), "{error}");
    // Prepared on a disk that can be written, into one that cannot any more: not possible
    // either, since that would be another mount.
    assert!(matches!(check_staging(&lab.staging(), &target), Err(VaultError::Staging { .. })));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"present");
}

#[test]
fn a_folder_that_became_a_link_meanwhile_is_not_restored_through() {
    let lab = Lab::new();
    lab.write("a", "1");
    let stored = lab.snapshot(SnapshotKind::Manual);
    fs::remove_file(lab.path("a")).unwrap();
    let guard = lab.snapshot(SnapshotKind::BeforeRestore).snapshot.id;
    let request = lab.restore_request(&stored, Guard::Snapshot(guard));
    let plan = lab.vault.plan_restore(&request).unwrap();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for replace in [false, true] {
        if replace {
            symlink(&outside, &lab.folder).unwrap();
        } else {
            fs::remove_dir(&lab.folder).unwrap();
        }
        let error = lab.vault.apply(&plan, &lab.staging(), None, Default::default()).unwrap_err();
        let expected = matches!(
            error,
            VaultError::Folder { .. } | VaultError::Io { .. } | VaultError::Staging { .. }
        );
        assert!(expected, "{error:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[test]
fn what_a_crash_left_in_staging_is_cleared_and_nothing_else() {
    let lab = Lab::new();
    lab.write("a", "1");
    let reference = lab.reference("reference");
    let stored = lab.snapshot(SnapshotKind::Manual);
    lab.write("a", "2");
    // A restore that was killed before its log was there.
    for sub in ["new", "old"] {
        fs::create_dir_all(lab.staging().join(sub)).unwrap();
        fs::write(lab.staging().join(sub).join("7"), "half").unwrap();
    }
    fs::write(lab.staging().join("redo.tmp"), "{").unwrap();
    assert_eq!(lab.restore(&stored).kept_conflicts, []);
    assert_same(&reference, &lab.folder);
    assert_eq!(fs::read_dir(lab.staging()).unwrap().count(), 0);
    // A log that cannot be read is kept, and said.
    fs::write(lab.staging().join("redo.log"), "not a log\n").unwrap();
    let error = ringfence_vault::resume_restore(&lab.staging(), None).unwrap_err();
    assert!(error.to_string().contains("unreadable"), "{error}");
    assert!(lab.staging().join("redo.log").exists());
}

#[test]
fn what_was_put_back_is_looked_at_again() {
    let lab = Lab::new();
    lab.write("d/a", "1");
    lab.write("b", "1");
    let stored = lab.snapshot(SnapshotKind::Manual);
    fs::remove_dir_all(lab.path("d")).unwrap();
    lab.write("b", "2");
    lab.write("extra", "2");
    let report = lab.restore(&stored);
    assert_eq!(report.disturbed, []);
    // Made: d and d/a; replaced: b; removed: extra; d's metadata, and the folder's own.
    assert!(report.verified >= 5, "{report:?}");
}
