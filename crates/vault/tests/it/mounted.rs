//! Snapshots as a file system, seen through the kernel by tools that are not ours.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_vault::{Mounted, SnapshotKind, Vault, VaultError, VaultKey};

use crate::lab::{Lab, bytes_name, run};

/// Mounts the lab's vault; says so and gives nothing where that cannot be done at all.
fn mounted(lab: &Lab, at: &Path) -> Option<Mounted> {
    let able = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    if !able {
        eprintln!("SKIPPED: /dev/fuse cannot be opened here");
        return None;
    }
    fs::create_dir_all(at).unwrap();
    Some(try_mount(lab, at).unwrap())
}

fn try_mount(lab: &Lab, at: &Path) -> Result<Mounted, VaultError> {
    let key = VaultKey::from_password(lab.key.reveal()).unwrap();
    let vault = Vault::open(lab.vault.dir(), &key).unwrap();
    let naming = Box::new(|s: &ringfence_vault::Snapshot| format!("at-{}", s.id.short()));
    ringfence_vault::mount(Arc::new(vault), at, naming)
}

fn directory(lab: &Lab, at: &Path) -> PathBuf {
    at.join(format!("at-{}", lab.vault.find("latest").unwrap().id.short()))
}

/// What rsync would change, by content, kind, mode, owner, time, link and device.
fn differences(a: &Path, b: &Path) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    let options = ["-nac", "--delete", "--itemize-changes", "--modify-window=-1"];
    let paths = [slash(a), slash(b)];
    let all = options.iter().map(|o| (*o).to_owned()).chain(paths);
    String::from_utf8_lossy(&run("rsync", all).stdout).into_owned()
}

#[test]
fn every_snapshot_is_there_as_it_was() {
    let lab = Lab::new();
    let noise: Vec<u8> =
        (0..9_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    lab.write("big", &noise);
    lab.write("a/deep/er/file", "text");
    lab.write("empty", "");
    fs::create_dir(lab.path("nothing")).unwrap();
    fs::write(lab.folder.join(bytes_name(b"line\nbreak \xff")), "odd").unwrap();
    symlink("/etc/passwd", lab.path("out")).unwrap();
    symlink("nowhere", lab.path("dangling")).unwrap();
    fs::set_permissions(lab.path("empty"), fs::Permissions::from_mode(0o4755)).unwrap();
    run("mkfifo", [lab.path("pipe")]);
    for n in 0..3000 {
        lab.write(&format!("many/{n}"), n.to_string());
    }
    lab.snapshot(SnapshotKind::Manual);
    let first = lab.reference("first");
    let at = lab.dir.path().join("mnt");
    let Some(mount) = mounted(&lab, &at) else { return };
    let seen = directory(&lab, &at);
    assert_eq!(differences(&first, &seen), "");

    // Pieces out of the middle are the right ones.
    let mut file = fs::File::open(seen.join("big")).unwrap();
    for offset in [8_999_000u64, 1, 4_194_303, 5_000_000] {
        let mut piece = [0; 1000];
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut piece).unwrap();
        assert_eq!(piece[..], noise[offset as usize..offset as usize + 1000]);
    }
    assert_eq!(fs::read_link(seen.join("out")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::symlink_metadata(seen.join("empty")).unwrap().mode() & 0o7777, 0o4755);

    // A later snapshot comes into sight, and the link moves on to it.
    lab.write("later", "new");
    lab.snapshot(SnapshotKind::Manual);
    let later = directory(&lab, &at);
    let began = Instant::now();
    while fs::read_to_string(at.join("latest/later")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", fs::read_dir(&at));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fs::read_link(at.join("latest")).unwrap(), later.file_name().unwrap());
    assert_eq!(fs::read_dir(&at).unwrap().count(), 3);
    assert_eq!(differences(&first, &seen), "");
    drop(file);
    mount.unmount().unwrap();
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
}

#[test]
fn nothing_in_it_can_be_changed_run_or_become_root() {
    let lab = Lab::new();
    lab.write("run.sh", "#!/bin/sh\n");
    fs::set_permissions(lab.path("run.sh"), fs::Permissions::from_mode(0o6777)).unwrap();
    lab.snapshot(SnapshotKind::Manual);
    let at = lab.dir.path().join("mnt");
    let Some(mount) = mounted(&lab, &at) else { return };
    let seen = directory(&lab, &at);
    let read_only = |error: std::io::Error| error.kind() == std::io::ErrorKind::ReadOnlyFilesystem;
    assert!(fs::write(seen.join("new"), "x").is_err_and(read_only));
    assert!(fs::write(seen.join("run.sh"), "x").is_err_and(read_only));
    assert!(fs::remove_file(seen.join("run.sh")).is_err_and(read_only));
    assert!(fs::create_dir(at.join("x")).is_err_and(read_only));
    let run = std::process::Command::new(seen.join("run.sh")).status();
    assert!(run.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied));
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.contains(at.to_str().unwrap())).unwrap();
    let options: Vec<&str> = line.split(' ').nth(3).unwrap().split(',').collect();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(&option), "no {option} in {line}");
    }
    assert!(!options.contains(&"allow_other"), "{line}");
    mount.unmount().unwrap();
}

#[test]
fn damage_is_an_error_of_reading_and_hides_nothing_else() {
    let lab = Lab::new();
    lab.write("small", "whole");
    lab.snapshot(SnapshotKind::Manual);
    let before: Vec<PathBuf> = packs(&lab);
    lab.write("large", vec![7; 100_000]);
    lab.snapshot(SnapshotKind::Manual);
    let at = lab.dir.path().join("mnt");
    let Some(mount) = mounted(&lab, &at) else { return };
    let seen = directory(&lab, &at);
    assert_eq!(fs::read_to_string(seen.join("small")).unwrap(), "whole");
    for pack in packs(&lab).iter().filter(|pack| !before.contains(pack)) {
        let mut content = fs::read(pack).unwrap();
        content.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(pack, content).unwrap();
    }
    let broken = fs::read(seen.join("large"));
    assert!(broken.is_err_and(|e| e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())));
    assert_eq!(fs::read_to_string(seen.join("small")).unwrap(), "whole");
    mount.unmount().unwrap();
}

fn packs(lab: &Lab) -> Vec<PathBuf> {
    let data = lab.vault.dir().join("data");
    let output = run("find", [data.to_str().unwrap(), "-type", "f"]);
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

#[test]
fn it_is_mounted_on_an_empty_directory_only_and_notices_its_end() {
    let lab = Lab::new();
    lab.snapshot(SnapshotKind::Manual);
    let at = lab.dir.path().join("mnt");
    let Some(mount) = mounted(&lab, &at) else { return };
    assert!(matches!(try_mount(&lab, &at), Err(VaultError::Mount { .. })), "twice");
    assert!(matches!(try_mount(&lab, &lab.dir.path().join("none")), Err(VaultError::Mount { .. })));
    assert!(matches!(try_mount(&lab, lab.dir.path()), Err(VaultError::Mount { .. })), "not empty");
    assert!(!mount.is_over());
    run("umount", [&at]);
    let began = Instant::now();
    while !mount.is_over() {
        assert!(began.elapsed() < Duration::from_secs(10), "it did not notice");
        std::thread::sleep(Duration::from_millis(20));
    }
    mount.unmount().unwrap();
}
