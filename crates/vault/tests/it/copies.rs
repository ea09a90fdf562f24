//! Second copies: to a directory and to real servers, interrupted, tampered with, and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_vault::{
    Cancel, CopyOutcome, CopyRequest, Guard, Login, Progress, RestoreRequest, Selection,
    SnapshotKind, Step, Target, Vault, VaultError, VaultKey,
};

use crate::lab::{Lab, assert_same, run};
use crate::servers;

/// A folder with some megabytes that do not compress, in two snapshots.
fn two_snapshots() -> Lab {
    let lab = Lab::new();
    let mut state = 1u64;
    let mut noise = |count: usize| -> Vec<u8> {
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .collect()
    };
    lab.write("src/main.rs", "fn main() {}");
    lab.write("big", noise(3_000_000));
    lab.snapshot(SnapshotKind::Manual);
    lab.write("second", noise(2_000_000));
    fs::remove_file(lab.path("big")).unwrap();
    lab.snapshot(SnapshotKind::Closing);
    lab
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let output = run("find", [dir.to_str().unwrap(), "-type", "f", "-printf", "%P\\n"]);
    let mut found: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect();
    found.sort();
    found
}

/// What a repository consists of: no locks, nothing temporary.
fn repository_files(dir: &Path) -> Vec<PathBuf> {
    let ours = |path: &PathBuf| path != Path::new("ringfence.lock");
    files(dir).into_iter().filter(ours).collect()
}

/// Stock restic finds the copy whole, to the last byte, with the vault's own password.
fn restic_checks(lab: &Lab, repository: &Path) {
    let password = lab.dir.path().join("password");
    fs::write(&password, lab.key.reveal()).unwrap();
    let (repository, password) = (repository.to_str().unwrap(), password.to_str().unwrap());
    let options = ["-r", repository, "--password-file", password, "--no-cache", "--no-lock"];
    run("restic", options.iter().chain(&["check", "--read-data"]));
    let listed = run("restic", options.iter().chain(&["snapshots", "--json"]));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for snapshot in lab.vault.snapshots().unwrap().snapshots {
        assert!(listed.contains(&snapshot.id.to_string()), "{snapshot:?} in {listed}");
    }
}

/// Stops a copy after so many bytes.
struct StopAfter {
    left: AtomicU64,
    cancel: Cancel,
}

impl Progress for StopAfter {
    fn step(&self, step: Step) {
        if let Step::Copied(count) = step {
            let left = self.left.load(Ordering::Relaxed).saturating_sub(count);
            self.left.store(left, Ordering::Relaxed);
            if left == 0 {
                self.cancel.cancel();
            }
        }
    }
}

fn stopped_after(bytes: u64) -> CopyRequest {
    let cancel = Cancel::default();
    let progress = StopAfter { left: AtomicU64::new(bytes), cancel: cancel.clone() };
    CopyRequest { progress: Some(Arc::new(progress)), cancel, ..CopyRequest::default() }
}

/// A vault made out of the copy alone, in a new place, with only the key.
fn recovered(lab: &Lab, target: &Target, name: &str) -> Result<Vault, VaultError> {
    let key = VaultKey::from_password(lab.key.reveal()).unwrap();
    Vault::recover(&lab.dir.path().join(name), &key, target, None, Cancel::default())
}

/// The newest snapshot of a vault, restored into a new directory.
fn newest(lab: &Lab, vault: &Vault, name: &str) -> Result<PathBuf, VaultError> {
    let target = lab.dir.path().join(name);
    fs::create_dir(&target).unwrap();
    let request = RestoreRequest {
        snapshot: vault.find("latest")?.id,
        target: target.clone(),
        selection: Selection::All,
        delete_extra: true,
        guard: Guard::Nothing,
    };
    let plan = vault.plan_restore(&request)?;
    vault.apply(&plan, &lab.dir.path().join("staging"), None, Cancel::default())?;
    Ok(target)
}

/// A server that only lets files be added refuses one whose upload was cut a moment ago, until
/// it has noticed that and taken the piece away.
fn after_a_cut(copy: impl Fn() -> Result<CopyOutcome, VaultError>) -> CopyOutcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match copy() {
            Err(VaultError::Copy { what, .. })
                if what.contains("403") && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return other.unwrap(),
        }
    }
}

/// What every target must do: stop, go on, add, send nothing twice, give all back.
fn whole_life(target: &Target, stored: Option<&Path>) {
    let lab = two_snapshots();
    let stopped = lab.vault.copy_to(target, &stopped_after(1_500_000));
    assert!(matches!(stopped, Err(VaultError::Cancelled)), "{stopped:?}");
    assert!(target.is_repository().unwrap());

    let first = after_a_cut(|| lab.vault.copy_to(target, &CopyRequest::default()));
    assert_eq!(first.snapshots, 2);
    assert!(first.files > 3 && first.bytes > 2_000_000, "{first:?}");
    let again = CopyRequest { expected: true, ..CopyRequest::default() };
    let nothing = lab.vault.copy_to(target, &again).unwrap();
    assert_eq!((nothing.files, nothing.snapshots), (0, 2));

    lab.write("third", "new");
    lab.snapshot(SnapshotKind::Manual);
    let more = lab.vault.copy_to(target, &again).unwrap();
    assert!((1..=6).contains(&more.files) && more.bytes < 100_000, "{more:?}");
    if let Some(stored) = stored {
        restic_checks(&lab, stored);
        let leftover = |path: &&PathBuf| path.starts_with("tmp");
        let there = repository_files(stored);
        assert!(there.iter().filter(leftover).count() <= 1, "{there:?}");
    }

    let vault = recovered(&lab, target, "recovered").unwrap();
    let back = newest(&lab, &vault, "back").unwrap();
    assert_same(&lab.folder, &back);
    let before = repository_files(vault.dir()).len();
    vault.complete(None, Cancel::default()).unwrap();
    let after = repository_files(vault.dir());
    assert!(before < after.len(), "the pack of what was deleted was not needed before");
    assert_eq!(after, repository_files(lab.vault.dir()));
    assert!(vault.check(true).unwrap().is_clean());
}

#[test]
fn a_directory() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("copy");
    whole_life(&Target::disk("disk", dir.clone()), Some(&dir));
}

#[test]
fn a_restic_rest_server_that_only_lets_add() {
    let Some((server, target)) = servers::rest() else { return };
    whole_life(&target, Some(&server.dir.path().join("data/ann")));
    assert_eq!(target.directories().unwrap(), None);
}

#[test]
fn an_s3_store() {
    let Some((server, target)) = servers::s3() else { return };
    whole_life(&target, Some(&server.dir.path().join("data/bucket/some/where")));
    let wrong = Login { name: "ringfence-test".into(), secret: "wrong".into() };
    let refused = servers::s3_target(&server, wrong).is_repository().unwrap_err().to_string();
    assert!(refused.contains("403"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
}

#[test]
fn another_computer_over_sftp() {
    let Some(sshd) = servers::sshd() else { return };
    whole_life(&sshd.target("copy"), Some(&sshd.data().join("copy")));
    assert_eq!(sshd.target(".").directories().unwrap(), Some(vec!["copy".to_owned()]));
    let error = sshd.target("not/there/yet").is_repository();
    assert!(!error.unwrap());
    let lab = two_snapshots();
    let refused = lab.vault.copy_to(&sshd.target("not/there/yet"), &CopyRequest::default());
    assert!(refused.unwrap_err().to_string().contains("does not exist there"));
}

#[test]
fn a_server_that_goes_away_is_an_error_and_the_copy_goes_on_afterwards() {
    let Some((server, target)) = servers::s3() else { return };
    let lab = two_snapshots();
    drop(server);
    let gone = lab.vault.copy_to(&target, &CopyRequest::default()).unwrap_err();
    assert!(matches!(gone, VaultError::Copy { .. }), "{gone}");
}

#[test]
fn what_lies_there_already_is_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::disk("disk", base.path().join("copy"));
    let (one, two) = (two_snapshots(), two_snapshots());
    one.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    let before = files(base.path());
    let foreign = two.vault.copy_to(&target, &CopyRequest::default()).unwrap_err();
    assert!(matches!(foreign, VaultError::ForeignCopy { .. }), "{foreign}");
    assert_eq!(files(base.path()), before);
}

#[test]
fn a_disk_that_is_not_there_is_not_begun_anew() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("mounted/copy");
    let lab = two_snapshots();
    let target = Target::disk("disk", dir.clone());
    let missing = lab.vault.copy_to(&target, &CopyRequest::default()).unwrap_err();
    assert!(missing.to_string().contains("is the disk mounted"), "{missing}");
    fs::create_dir(base.path().join("mounted")).unwrap();
    lab.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    fs::rename(base.path().join("mounted"), base.path().join("away")).unwrap();
    fs::create_dir(base.path().join("mounted")).unwrap();
    let expected = CopyRequest { expected: true, ..CopyRequest::default() };
    let gone = lab.vault.copy_to(&target, &expected).unwrap_err();
    assert!(matches!(gone, VaultError::CopyGone { .. }), "{gone}");
    assert_eq!(files(&base.path().join("mounted")), Vec::<PathBuf>::new());
}

fn some_pack(dir: &Path) -> PathBuf {
    let found = files(&dir.join("data"));
    let largest = |name: &&PathBuf| fs::metadata(dir.join("data").join(name)).unwrap().len();
    dir.join("data").join(found.iter().max_by_key(largest).unwrap())
}

fn flip(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
}

#[test]
fn damage_in_the_vault_does_not_spread() {
    let base = tempfile::tempdir().unwrap();
    let lab = two_snapshots();
    let pack = some_pack(lab.vault.dir());
    flip(&pack);
    let target = Target::disk("disk", base.path().join("copy"));
    let error = lab.vault.copy_to(&target, &CopyRequest::default()).unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    let there = files(base.path());
    assert!(!there.iter().any(|path| path.file_name() == pack.file_name()), "{there:?}");
    assert!(!there.iter().any(|path| path.starts_with("copy/snapshots")), "{there:?}");
}

#[test]
fn a_file_that_was_cut_short_at_the_copy_is_sent_again() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("copy");
    let target = Target::disk("disk", dir.clone());
    let lab = two_snapshots();
    lab.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    let pack = some_pack(&dir);
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(10).unwrap();
    let again = lab.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    assert_eq!(again.files, 1);
    restic_checks(&lab, &dir);
}

#[test]
fn a_changed_file_at_the_copy_is_not_believed() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("copy");
    let target = Target::disk("the disk", dir.clone());
    let lab = two_snapshots();
    lab.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    for name in files(&dir.join("data")) {
        flip(&dir.join("data").join(name));
    }
    let vault = recovered(&lab, &target, "recovered").unwrap();
    let error = newest(&lab, &vault, "back").unwrap_err().to_string();
    assert!(error.contains("is not what its name says"), "{error}");
    assert_eq!(files(&vault.dir().join("data")), Vec::<PathBuf>::new());
    assert_eq!(files(&lab.dir.path().join("back")), Vec::<PathBuf>::new());
}

#[test]
fn another_key_opens_no_copy_and_other_directories_are_not_overwritten() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::disk("disk", base.path().join("copy"));
    let lab = two_snapshots();
    lab.vault.copy_to(&target, &CopyRequest::default()).unwrap();
    let other = VaultKey::generate().unwrap();
    let dir = lab.dir.path().join("recovered");
    let wrong = Vault::recover(&dir, &other, &target, None, Cancel::default()).unwrap_err();
    assert!(matches!(wrong, VaultError::WrongKey { .. }), "{wrong}");
    // Another vault, and a directory of somebody's, stay as they are.
    let theirs = two_snapshots();
    fs::create_dir(lab.dir.path().join("letters")).unwrap();
    fs::write(lab.dir.path().join("letters/a"), "dear").unwrap();
    for dir in [theirs.vault.dir().to_owned(), lab.dir.path().join("letters")] {
        let before = files(&dir);
        let key = VaultKey::from_password(lab.key.reveal()).unwrap();
        let refused = Vault::recover(&dir, &key, &target, None, Cancel::default()).unwrap_err();
        assert!(matches!(refused, VaultError::Exists { .. }), "{refused}");
        assert_eq!(files(&dir), before);
    }
}

#[test]
fn a_rate_is_kept() {
    let base = tempfile::tempdir().unwrap();
    let target = Target::disk("disk", base.path().join("copy"));
    let lab = two_snapshots();
    let began = std::time::Instant::now();
    let request = CopyRequest { bytes_per_second: Some(4_000_000), ..CopyRequest::default() };
    let outcome = lab.vault.copy_to(&target, &request).unwrap();
    let least = outcome.bytes as f64 / 4_000_000.0 - 0.1;
    assert!(began.elapsed().as_secs_f64() > least, "{outcome:?} in {:?}", began.elapsed());
}
