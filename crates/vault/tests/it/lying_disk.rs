//! Disks that say one thing and hold another: content that changed under stamps that did not,
//! and what reads back other than it was written. None of it is taken on trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ringfence_vault::{
    Cancel, ConflictWhy, CopyRequest, Guard, Labels, RehearsalRequest, RestoreRequest, Selection,
    SnapshotId, SnapshotKind, SnapshotRequest, Target, Vault, VaultError, VaultKey,
};

use crate::faulty::Faulty;

/// A folder and its vault, and beside them a disk that may hold either.
struct Lab {
    // Unmounted before its directory goes.
    disk: Faulty,
    top: tempfile::TempDir,
    taken: std::cell::Cell<i64>,
}

impl Lab {
    fn new() -> Option<Self> {
        let top = tempfile::Builder::new().prefix("lying-disk").tempdir().unwrap();
        for name in ["real/folder", "disk", "good/folder"] {
            fs::create_dir_all(top.path().join(name)).unwrap();
        }
        let disk = Faulty::mount(&top.path().join("real"), &top.path().join("disk"))?;
        Some(Self { disk, top, taken: std::cell::Cell::new(1_800_000_000) })
    }

    fn at(&self, place: &str) -> PathBuf {
        self.top.path().join(place)
    }

    fn vault(&self, place: &str) -> Vault {
        Vault::create(&self.at(place), &VaultKey::generate().unwrap()).unwrap()
    }

    fn request(&self, folder: &Path) -> SnapshotRequest {
        self.taken.set(self.taken.get() + 60);
        let now = jiff::Timestamp::from_second(self.taken.get()).unwrap();
        SnapshotRequest::new(folder, Labels::new(SnapshotKind::Periodic), now)
    }

    /// Changes a file behind the disk's back: length and times stay what they were.
    fn change_unseen(&self, name: &str, content: &str) {
        let path = self.at("real/folder").join(name);
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.len(), content.len() as u64);
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }
}

fn read(vault: &Vault, snapshot: SnapshotId, path: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    vault.read_file(snapshot, path, &mut content).unwrap();
    content
}

/// No tick of any file clock lies between this and the look that is about to begin.
fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

#[test]
fn a_change_that_leaves_every_stamp_alone_is_caught_while_the_stamps_are_young() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("disk/folder"), lab.vault("vault"));
    fs::write(lab.at("real/folder/f"), "one").unwrap();
    lab.disk.say_changed(soon());
    vault.snapshot(&lab.request(&folder)).unwrap();
    lab.change_unseen("f", "two");
    let second = vault.snapshot(&lab.request(&folder)).unwrap();
    assert_eq!(read(&vault, second.snapshot.id, b"f"), b"two");
    // What says that it changed long ago is believed: that is what makes looking cheap.
    lab.disk.say_changed(SystemTime::UNIX_EPOCH);
    let third = vault.snapshot(&lab.request(&folder)).unwrap();
    lab.change_unseen("f", "six");
    let fourth = vault.snapshot(&lab.request(&folder)).unwrap();
    assert_eq!((fourth.unchanged, fourth.snapshot.id), (true, third.snapshot.id));
}

#[test]
fn a_version_behind_young_stamps_is_not_taken_away() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("disk/folder"), lab.vault("vault"));
    fs::write(lab.at("real/folder/f"), "opening").unwrap();
    let opening = vault.snapshot(&lab.request(&folder)).unwrap().snapshot.id;
    fs::write(lab.at("real/folder/f"), "one").unwrap();
    lab.disk.say_changed(soon());
    let guard = vault.snapshot(&lab.request(&folder)).unwrap().snapshot.id;
    let request = RestoreRequest {
        snapshot: opening,
        target: folder,
        selection: Selection::All,
        delete_extra: true,
        guard: Guard::Snapshot(guard),
    };
    let held = vault.plan_restore(&request).unwrap();
    assert_eq!(held.kept_conflicts, [], "the snapshot has it");
    lab.change_unseen("f", "two");
    let plan = vault.plan_restore(&request).unwrap();
    let kept: Vec<_> = plan.kept_conflicts.iter().map(|c| (c.path.lossy(), c.why)).collect();
    assert_eq!(kept, [("f".to_owned(), ConflictWhy::HeldByNoSnapshot)]);
}

#[test]
fn what_is_said_to_be_stored_is_synced_and_came_whole() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("good/folder"), lab.vault("disk/vault"));
    for round in 0..3 {
        fs::write(folder.join("f"), format!("content {round}")).unwrap();
        assert!(!vault.snapshot(&lab.request(&folder)).unwrap().unchanged);
        assert_eq!(lab.disk.unsynced(), Vec::<PathBuf>::new(), "round {round}");
    }
    // Whoever reads, or is killed, meets no file of a snapshot, index or pack in the making.
    let in_place = |path: &PathBuf| {
        ["snapshots", "index", "data"].iter().any(|kind| path.starts_with(format!("vault/{kind}")))
    };
    let made = lab.disk.made();
    assert!(!made.is_empty() && !made.iter().any(in_place), "{made:?}");
}

#[test]
fn a_snapshot_that_does_not_read_back_is_not_said_to_be_stored() {
    for rotten in ["vault/data", "vault/index", "vault/snapshots"] {
        let Some(lab) = Lab::new() else { return };
        let (folder, vault) = (lab.at("good/folder"), lab.vault("disk/vault"));
        fs::write(folder.join("f"), "content").unwrap();
        lab.disk.rot(rotten);
        let error = vault.snapshot(&lab.request(&folder)).unwrap_err();
        let typed = matches!(error, VaultError::Damaged { .. } | VaultError::Engine { .. });
        assert!(typed, "{rotten}: {error:?}");
    }
}

#[test]
fn what_does_not_read_back_from_staging_is_not_put_in_place() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("disk/folder"), lab.vault("vault"));
    for name in ["f", "g"] {
        fs::write(lab.at("real/folder").join(name), "stored").unwrap();
    }
    let stored = vault.snapshot(&lab.request(&folder)).unwrap().snapshot.id;
    fs::remove_file(lab.at("real/folder/f")).unwrap();
    let request = RestoreRequest {
        snapshot: stored,
        target: folder.clone(),
        selection: Selection::Paths(vec![b"f".to_vec()]),
        delete_extra: false,
        guard: Guard::Nothing,
    };
    let plan = vault.plan_restore(&request).unwrap();
    assert_eq!(plan.created.len(), 1);
    lab.disk.rot("staging/");
    let staging = lab.at("disk/staging");
    let error = vault.apply(&plan, &staging, None, Default::default()).unwrap_err();
    assert!(error.to_string().contains("did not read back"), "{error}");
    let left = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["g"]);
    lab.disk.rot("nowhere");
    vault.apply(&plan, &staging, None, Default::default()).unwrap();
    assert_eq!(fs::read(folder.join("f")).unwrap(), b"stored");
}

fn rehearsal(lab: &Lab, folder: &str, scratch: &str) -> RehearsalRequest {
    RehearsalRequest {
        folder: Some(lab.at(folder)),
        scratch: lab.at(scratch),
        seed: 1,
        cancel: Cancel::default(),
    }
}

#[test]
fn a_rehearsal_compares_with_the_folder() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("disk/folder"), lab.vault("vault"));
    fs::write(lab.at("real/folder/f"), "one").unwrap();
    vault.snapshot(&lab.request(&folder)).unwrap();
    let request = rehearsal(&lab, "disk/folder", "scratch");
    let done = vault.rehearse(&request).unwrap().unwrap();
    assert_eq!((done.files, done.compared, done.failures.len()), (1, 1, 0), "{done:?}");
    lab.change_unseen("f", "two");
    let done = vault.rehearse(&request).unwrap().unwrap();
    let [(path, why)] = done.failures.as_slice() else { panic!("{done:?}") };
    assert!(path.lossy() == "f" && why.contains("something else"), "{done:?}");
}

#[test]
fn a_rehearsal_compares_what_it_restored() {
    let Some(lab) = Lab::new() else { return };
    let (folder, vault) = (lab.at("good/folder"), lab.vault("vault"));
    fs::write(folder.join("f"), "one").unwrap();
    vault.snapshot(&lab.request(&folder)).unwrap();
    let request = rehearsal(&lab, "good/folder", "disk/scratch");
    let done = vault.rehearse(&request).unwrap().unwrap();
    assert_eq!((done.files, done.failures.len()), (1, 0), "{done:?}");
    // Read back from staging it was whole; in its place it is not any more.
    lab.disk.rot("scratch/folder/");
    let done = vault.rehearse(&request).unwrap().unwrap();
    let why = done.failures.first().map(|(_, why)| why.as_str());
    assert_eq!((done.files, why), (0, Some("its content is not what was stored")));
}

#[test]
fn a_copy_that_does_not_read_back_is_not_complete() {
    for rotten in ["copy/snapshots", "copy/index", "copy/keys"] {
        let Some(lab) = Lab::new() else { return };
        let (folder, vault) = (lab.at("good/folder"), lab.vault("vault"));
        fs::write(folder.join("f"), "content").unwrap();
        vault.snapshot(&lab.request(&folder)).unwrap();
        let target = Target::disk("disk", lab.at("disk/copy"));
        lab.disk.rot(rotten);
        let error = vault.copy_to(&target, &CopyRequest::default()).unwrap_err();
        assert!(error.to_string().contains("reads back differently"), "{rotten}: {error}");
        lab.disk.rot("nowhere");
        vault.copy_to(&target, &CopyRequest::default()).unwrap();
    }
}
