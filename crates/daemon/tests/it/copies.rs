//! Second copies as the daemon keeps them, and a folder back from nothing but key and copy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_model::api::{BackupCopyRequest, HistoryQuery, RecoverRequest};
use ringfence_model::error::ErrorKind;
use ringfence_model::status::CopyStatus;
use ringfence_testkit::project;
use ringfenced::supervisor::report::{Report, Told};

use crate::Lab;

impl Lab {
    /// Writes the configuration: every folder is copied there.
    fn copies_to(&self, target: &str) {
        let text = format!("[defaults.backup]\ncopy = [\"{target}\"]\ncopy_rate = \"1GiB\"\n");
        fs::write(self.directory.path().join("home/config/config.toml"), text).expect("written");
    }

    fn disk(&self) -> PathBuf {
        let disk = self.directory.path().join("disk");
        fs::create_dir_all(&disk).expect("made");
        disk
    }

    async fn copy(&self) -> Result<Vec<CopyStatus>, ringfence_model::error::ApiError> {
        let request = BackupCopyRequest { folder: self.project.clone(), start_over: false };
        self.daemon.copy_now(&request, &Report::nobody()).await
    }

    async fn copies(&self) -> Vec<CopyStatus> {
        self.daemon.status().await.expect("status").folders[0].copies.clone()
    }

    fn key(&self) -> String {
        self.daemon.backup_key(&self.project).expect("key").key
    }
}

fn recover(target: &Path, key: &str, to: &Path, register: bool) -> RecoverRequest {
    RecoverRequest {
        target: target.display().to_string(),
        key: key.to_owned(),
        to: to.to_owned(),
        at: None,
        list_only: false,
        register,
    }
}

#[tokio::test]
async fn a_copy_is_made_by_itself_and_shown_with_its_age() {
    let lab = Lab::new();
    let disk = lab.disk();
    lab.copies_to(disk.to_str().expect("text"));
    tokio::spawn(std::sync::Arc::clone(&lab.daemon).keep_copies());
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let began = Instant::now();
    while lab.copies().await[0].last.is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", lab.copies().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let made = lab.copies().await.remove(0);
    assert_eq!((made.behind, &made.error), (0, &None));
    assert!(made.age_seconds.is_some_and(|age| (0..60).contains(&age)), "{made:?}");
    assert!(Path::new(&made.target).join("config").is_file(), "{made:?}");
    assert_eq!(fs::metadata(&made.target).expect("there").permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_copy_that_fails_says_why_and_how_far_it_is_behind() {
    let lab = Lab::new();
    let disk = lab.disk();
    lab.copies_to(disk.to_str().expect("text"));
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    lab.copy().await.expect("copied");
    fs::rename(&disk, lab.directory.path().join("away")).expect("unmounted");
    // The directory in which it was mounted stays, as it does.
    fs::create_dir(&disk).expect("made");
    for text in ["one", "two"] {
        fs::write(lab.project.join("notes.txt"), text).expect("written");
        lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    }
    let error = lab.copy().await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::Vault);
    assert!(error.hints.iter().any(|hint| hint.contains("--start-over")), "{error:?}");
    let failing = lab.copies().await.remove(0);
    assert_eq!(failing.behind, 2);
    assert!(failing.last.is_some() && failing.error.is_some_and(|e| e.contains("not there")));
    let status = lab.daemon.status().await.expect("status");
    assert!(status.problems.iter().any(|p| p.message.contains("second copy")), "{status:?}");
    assert_eq!(fs::read_dir(&disk).expect("lists").count(), 0, "the empty place was not filled");
    let request = BackupCopyRequest { folder: lab.project.clone(), start_over: true };
    lab.daemon.copy_now(&request, &Report::nobody()).await.expect("begun anew");
    assert_eq!(lab.copies().await[0].behind, 0);
}

#[tokio::test]
async fn no_copy_lies_where_an_agent_could_reach_it() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let inside = lab.project.join("copies");
    for place in [inside.as_path(), lab.directory.path()] {
        lab.copies_to(place.to_str().expect("text"));
        let error = lab.copy().await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    }
    assert!(!inside.exists());
    // Nor may the place of copies become a folder later, nor what lies around it.
    let disk = lab.disk();
    lab.copies_to(disk.join("copies").to_str().expect("text"));
    for folder in [disk.join("copies"), disk.clone()] {
        fs::create_dir_all(&folder).expect("made");
        let error = lab.daemon.add_folder(&folder, &Report::nobody()).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn a_folder_comes_back_on_a_computer_that_has_nothing_but_key_and_copy() {
    let lab = Lab::new();
    let disk = lab.disk();
    lab.copies_to(disk.to_str().expect("text"));
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::write(lab.project.join("later.txt"), "later").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    lab.copy().await.expect("copied");
    let key = lab.key();

    let fresh = Lab::new();
    let to = fresh.directory.path().join("back");
    let state = fresh.directory.path().join("home/state");
    let wrong = "aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa";
    for key in [wrong, "", "hello there"] {
        let request = recover(&disk, key, &to, true);
        let error = fresh.daemon.recover_copy(request, &Report::nobody()).await.expect_err("key");
        assert_eq!(error.kind, ErrorKind::Vault, "{error}");
    }
    let vaults = fs::read_dir(state.join("vaults")).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!((vaults, to.exists()), (0, false), "a wrong key left something");

    let listed = RecoverRequest { list_only: true, ..recover(&disk, &key, &to, false) };
    let view = fresh.daemon.recover_copy(listed, &Report::nobody()).await.expect("listed");
    assert_eq!((view.snapshots.len(), view.restored), (2, None));
    assert_eq!((view.folder, to.exists()), (lab.project.clone(), false));

    let only = recover(&disk, &key, &to, false);
    let view = fresh.daemon.recover_copy(only, &Report::nobody()).await.expect("restored");
    assert_eq!(project::differences(&lab.project, &to).expect("compares"), "");
    assert!(!view.registered);
    let left = fs::read_dir(state.join("recovering")).expect("lists").count();
    assert_eq!(left, 0, "what was fetched stayed behind");

    let again = recover(&disk, &key, &to, true);
    let error = fresh.daemon.recover_copy(again, &Report::nobody()).await.expect_err("not empty");
    assert!(error.message.contains("not empty"), "{error}");

    let kept = fresh.directory.path().join("kept");
    let view = fresh
        .daemon
        .recover_copy(recover(&disk, &key, &kept, true), &Report::nobody())
        .await
        .expect("recovered");
    assert!(view.registered);
    assert_eq!(project::differences(&lab.project, &kept).expect("compares"), "");
    let query = HistoryQuery { folder: kept.clone(), path: None };
    let history = fresh.daemon.history(query).await.expect("history");
    assert!(history.len() >= 2, "{history:?}");
    assert_eq!(fresh.daemon.backup_key(&kept).expect("key").key, key);
    let status = fresh.daemon.status().await.expect("status");
    let own = lab.daemon.status().await.expect("status");
    assert_eq!(status.folders[0].id, own.folders[0].id);
    // A second time it is there already, and nothing of it is touched.
    let error = fresh
        .daemon
        .recover_copy(
            recover(&disk, &key, &fresh.directory.path().join("x"), true),
            &Report::nobody(),
        )
        .await
        .expect_err("twice");
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn several_copies_in_one_place_are_told_apart() {
    let lab = Lab::new();
    let disk = lab.disk();
    lab.copies_to(disk.to_str().expect("text"));
    let other = lab.directory.path().join("other");
    project::make(&other).expect("project");
    for folder in [&lab.project, &other] {
        lab.daemon.add_folder(folder, &Report::nobody()).await.expect("added");
        let request = BackupCopyRequest { folder: folder.clone(), start_over: false };
        lab.daemon.copy_now(&request, &Report::nobody()).await.expect("copied");
    }
    let to = lab.directory.path().join("back");
    let request = recover(&disk, &lab.key(), &to, false);
    let error = lab.daemon.recover_copy(request, &Report::nobody()).await.expect_err("which");
    assert_eq!((error.kind, error.hints.len()), (ErrorKind::Usage, 2), "{error:?}");
    let nothing = recover(lab.directory.path(), &lab.key(), &to, false);
    let error = lab.daemon.recover_copy(nothing, &Report::nobody()).await.expect_err("none");
    assert!(error.message.contains("no copy lies at"), "{error}");
}

#[tokio::test]
async fn what_losing_the_key_means_is_said_once() {
    let lab = Lab::new();
    for times in [1, 0] {
        let (report, mut told) = Report::channel();
        lab.daemon.add_folder(&lab.project, &report).await.expect("added");
        drop(report);
        let mut said = 0;
        while let Some(item) = told.recv().await {
            said += u32::from(matches!(item, Told::Note(note) if note.contains("nobody can read")));
        }
        assert_eq!(said, times);
    }
}
