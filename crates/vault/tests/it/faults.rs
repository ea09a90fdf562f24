//! Full disks, and what a stopped writer leaves: nothing is lost, and the next attempt works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_vault::{
    Guard, Labels, RestoreRequest, Selection, SnapshotKind, SnapshotRequest, Vault, VaultError,
    VaultKey,
};

use crate::lab::{Lab, assert_same, is_root, run};

fn fill(folder: &Path, seed: u64) {
    for n in 0..20 {
        let dir = folder.join(format!("d{}", n % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(9_000, seed * 977 + n + 1)).unwrap();
    }
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
