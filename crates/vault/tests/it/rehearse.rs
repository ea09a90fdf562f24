//! A rehearsal restores for real, compares, leaves nothing behind, and notices.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ringfence_vault::{Cancel, RehearsalRequest, Rehearsed, SnapshotKind, VaultError};

use crate::damage::{Story, files_in, flip};
use crate::lab::Lab;

fn request(lab: &Lab, seed: u64) -> RehearsalRequest {
    RehearsalRequest {
        folder: Some(lab.folder.clone()),
        scratch: lab.dir.path().join("scratch"),
        seed,
        cancel: Cancel::default(),
    }
}

fn rehearse(lab: &Lab, seed: u64) -> Rehearsed {
    let before = files_in(lab.vault.dir());
    let done = lab.vault.rehearse(&request(lab, seed)).unwrap().unwrap();
    assert!(!lab.dir.path().join("scratch").exists(), "scratch stayed behind");
    assert_eq!(files_in(lab.vault.dir()), before);
    done
}

/// Change times must be older than two ticks of the file clock to be trusted.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(60));
}

#[test]
fn a_sample_is_restored_and_compared_with_the_folder() {
    let lab = Lab::new();
    assert!(lab.vault.rehearse(&request(&lab, 1)).unwrap().is_none(), "no snapshot yet");
    for n in 0..60 {
        lab.write(&format!("d{}/f{n}", n % 7), vec![n as u8; 100 + n]);
    }
    fs::set_permissions(lab.path("d1"), fs::Permissions::from_mode(0o500)).unwrap();
    settle();
    let made = lab.snapshot(SnapshotKind::Manual);
    let done = rehearse(&lab, 1);
    assert_eq!((done.snapshot, done.files, done.compared), (made.snapshot.id, 20, 20));
    assert!(done.failures.is_empty() && done.bytes >= 2000);
    // Files that changed since are compared with the snapshot alone.
    for n in 0..60 {
        lab.write(&format!("d{}/f{n}", n % 7), "changed");
    }
    let done = rehearse(&lab, 2);
    assert_eq!((done.files, done.compared), (20, 0));
    assert!(done.failures.is_empty());
    fs::set_permissions(lab.path("d1"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_cannot_be_restored_is_a_failure() {
    let story = Story::new();
    settle();
    assert!(rehearse(&story.lab, 3).failures.is_empty());
    let pack = &story.packs[1].0;
    flip(pack, 100);
    let done = rehearse(&story.lab, 3);
    assert_eq!(done.failures.len(), 1, "{done:#?}");
    fs::remove_file(pack).unwrap();
    let done = rehearse(&story.lab, 3);
    assert_eq!(done.failures[0].0.lossy(), "d/b", "{done:#?}");
    assert_eq!(done.files, 0);
}

#[test]
fn a_rehearsal_can_be_stopped_and_leaves_nothing() {
    let lab = Lab::new();
    lab.write("a", "1");
    lab.snapshot(SnapshotKind::Manual);
    let request = request(&lab, 1);
    request.cancel.cancel();
    let error = lab.vault.rehearse(&request).unwrap_err();
    assert!(matches!(error, VaultError::Cancelled), "{error}");
    assert!(!request.scratch.exists());
}

#[test]
fn packs_are_read_back_and_a_changed_one_is_told_from_one_that_is_gone() {
    let story = Story::new();
    let vault = &story.lab.vault;
    let packs = vault.packs().unwrap();
    assert_eq!(packs.len(), 6);
    let names: Vec<_> = packs.iter().map(|(name, _)| name.clone()).collect();
    let read = vault.read_packs(&names, &Cancel::default()).unwrap();
    assert_eq!((read.whole.len(), read.bad.len()), (6, 0));
    assert_eq!(read.bytes, packs.iter().map(|(_, size)| size).sum::<u64>());
    flip(&story.packs[0].0, 5);
    fs::remove_file(&story.packs[1].0).unwrap();
    let read = vault.read_packs(&names, &Cancel::default()).unwrap();
    assert_eq!(read.whole.len(), 4);
    assert!(story.packs[0].0.ends_with(&read.bad[0]) && read.bad.len() == 1);
}
