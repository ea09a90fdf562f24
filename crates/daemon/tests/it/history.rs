//! Snapshots, differences and restores through the daemon, with real vaults.

use std::fs;

use ringfence_model::api::{DiffRequest, RestoreRequest, UndoRequest};
use ringfence_model::bytes::BytePath;
use ringfence_model::history::ChangeKind;
use ringfence_testkit::project::differences;
use ringfenced::supervisor::report::Report;

use crate::Lab;

fn restore(lab: &Lab) -> RestoreRequest {
    RestoreRequest {
        folder: lab.project.clone(),
        at: None,
        to: None,
        paths: Vec::new(),
        dry_run: false,
    }
}

#[tokio::test]
async fn a_destroyed_folder_comes_back_identical_and_the_restore_can_be_taken_back() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let first = lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    let before = lab.reference("before");
    fs::write(lab.project.join("src/main.rs"), "broken").expect("written");
    fs::remove_file(lab.project.join(".env")).expect("removed");
    fs::write(lab.project.join("new"), "new").expect("written");
    let broken = lab.reference("broken");

    let diff = DiffRequest {
        folder: lab.project.clone(),
        from: Some(first.id.clone()),
        to: None,
        text: true,
    };
    let diff = lab.daemon.diff(diff).await.expect("diff");
    let of = |kind| diff.changes.iter().filter(|change| change.change == kind).count();
    assert_eq!(
        (of(ChangeKind::Added), of(ChangeKind::Deleted), of(ChangeKind::Modified)),
        (1, 1, 1)
    );
    assert!(
        diff.texts.iter().any(|text| text.unified.contains("-fn main() {}\n+broken")),
        "{diff:?}"
    );

    let request = RestoreRequest { at: Some(first.id), dry_run: true, ..restore(&lab) };
    let plan = lab.daemon.restore(request.clone(), &Report::nobody()).await.expect("plan");
    assert!(!plan.applied);
    assert_eq!(
        differences(&broken, &lab.project).expect("compared"),
        "",
        "a dry run touched something"
    );

    let request = RestoreRequest { dry_run: false, ..request };
    let done = lab.daemon.restore(request, &Report::nobody()).await.expect("restored");
    assert_eq!(differences(&before, &lab.project).expect("compared"), "");

    let back = RestoreRequest { at: done.before, ..restore(&lab) };
    lab.daemon.restore(back, &Report::nobody()).await.expect("taken back");
    assert_eq!(differences(&broken, &lab.project).expect("compared"), "");
}

#[tokio::test]
async fn single_paths_and_other_places() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let before = lab.reference("before");
    fs::remove_dir_all(lab.project.join("src")).expect("removed");
    fs::remove_file(lab.project.join("link")).expect("removed");
    let only = RestoreRequest { paths: vec![BytePath::from_bytes(b"src")], ..restore(&lab) };
    lab.daemon.restore(only, &Report::nobody()).await.expect("restored");
    assert!(lab.project.join("src/main.rs").is_file());
    assert!(fs::symlink_metadata(lab.project.join("link")).is_err());

    let elsewhere = lab.directory.path().join("elsewhere/deep");
    let first = lab
        .daemon
        .history(ringfence_model::api::HistoryQuery { folder: lab.project.clone(), path: None });
    let oldest = first.await.expect("history").last().expect("one").id.clone();
    let request = RestoreRequest { at: Some(oldest), to: Some(elsewhere.clone()), ..restore(&lab) };
    lab.daemon.restore(request.clone(), &Report::nobody()).await.expect("restored");
    assert_eq!(differences(&before, &elsewhere).expect("compared"), "");
    let error = lab.daemon.restore(request, &Report::nobody()).await.expect_err("not empty");
    assert!(error.message.contains("not empty"), "{error:?}");
}

#[tokio::test]
async fn nothing_to_undo_is_said() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let request =
        UndoRequest { folder: lab.project.clone(), session: None, all: false, dry_run: false };
    let error = lab.daemon.undo(request, &Report::nobody()).await.expect_err("no session");
    assert!(error.message.contains("nothing to undo"), "{error:?}");
}

#[tokio::test]
async fn a_lost_key_is_an_error_and_changes_nothing() {
    let lab = Lab::new();
    let status = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let key = lab.directory.path().join(format!("home/state/keys/{}.key", status.id));
    fs::rename(&key, key.with_extension("aside")).expect("moved");
    let second = ringfenced::supervisor::Daemon::new(lab.daemon.layout.clone());
    let error = second.backup_now(&lab.project, &Report::nobody()).await.expect_err("no key");
    assert_eq!(error.kind, ringfence_model::error::ErrorKind::Vault);
    assert!(!key.exists(), "a new key was made for an old vault");
}
