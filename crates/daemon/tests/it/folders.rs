//! What may become a folder, and what its rules are.

use std::fs;
use std::os::unix::fs::symlink;

use ringfence_model::api::{BackupSetRequest, FolderSetRequest};
use ringfence_model::error::ErrorKind;
use ringfence_model::folder::Access;
use ringfence_model::status::Protection;
use ringfenced::supervisor::report::Report;

use crate::Lab;

#[tokio::test]
async fn a_registered_folder_is_protected_at_once() {
    let lab = Lab::new();
    let status = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    assert_eq!(status.protection, Protection::Protected);
    assert!(status.vault.join("config").is_file());
    let again = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("again");
    assert_eq!(again.id, status.id);
}

#[tokio::test]
async fn what_cannot_be_a_folder_is_refused_with_a_way_out() {
    let lab = Lab::new();
    let base = lab.directory.path();
    symlink(&lab.project, base.join("link")).expect("link");
    fs::create_dir(base.join("line\nbreak")).expect("made");
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let cases = [
        (base.join("missing"), "cannot be a folder"),
        (lab.project.join(".env"), "is not a directory"),
        (base.join("link"), "is a link to"),
        (base.join("line\nbreak"), "control character"),
        (lab.project.join("src"), "lies inside the registered folder"),
        (base.join("home/state"), "which no agent may see"),
        ("/".into(), "whole computer"),
        ("/etc".into(), "operating system"),
    ];
    for (path, expected) in cases {
        let error = lab.daemon.add_folder(&path, &Report::nobody()).await.expect_err("refused");
        assert!(error.message.contains(expected), "{path:?}: {error:?}");
        assert!(!error.message.contains('\n'), "{error:?}");
    }
}

#[tokio::test]
async fn a_directory_that_took_the_name_is_not_the_folder() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::rename(&lab.project, lab.directory.path().join("aside")).expect("moved");
    fs::create_dir(&lab.project).expect("another");
    let error = lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.hints[0].contains("folder add"), "{error:?}");
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("accepted by hand");
}

#[tokio::test]
async fn a_backup_is_turned_off_by_the_folders_name_only() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let mut request =
        BackupSetRequest { folder: lab.project.clone(), enabled: false, name: Some("shap".into()) };
    let error = lab.daemon.backup_set(&request).await.expect_err("a typo");
    assert_eq!(error.kind, ErrorKind::Refused);
    request.name = Some("shop".into());
    let status = lab.daemon.backup_set(&request).await.expect("off");
    assert_eq!(status.protection, Protection::Off);
    let problems = lab.daemon.status().await.expect("status").problems;
    assert!(
        problems.iter().any(|problem| problem.message.contains("NOT backed up")),
        "{problems:?}"
    );
}

#[tokio::test]
async fn rules_are_written_into_the_configuration() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let request = FolderSetRequest {
        path: lab.project.join("src"),
        profiles: Some(vec!["label:self-hosted".to_owned().try_into().expect("selector")]),
        access: Some(Access::Ro),
    };
    let status = lab.daemon.set_folder(&request).await.expect("set");
    assert_eq!(status.access, Access::Ro);
    assert_eq!(status.profiles, Some(vec!["label:self-hosted".to_owned()]));
    assert!(lab.daemon.config.text().contains("self-hosted"));
}
