//! Snapshots, differences and restores through the daemon, with real vaults.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use ringfence_model::api::{
    DiffRequest, HistoryQuery, RestoreRequest, ShowQuery, UndeleteRequest, UndoRequest,
};
use ringfence_model::bytes::{BytePath, encode};
use ringfence_model::error::ErrorKind;
use ringfence_model::history::{ChangeCounts, ChangeKind, EntryKind};
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
        paths: Vec::new(),
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
    let query = HistoryQuery { folder: lab.project.clone(), path_b64: None, limit: None };
    let history = lab.daemon.history(query).await.expect("history");
    let oldest = history.snapshots.last().expect("one").snapshot.id.clone();
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
    let request = UndoRequest {
        folder: lab.project.clone(),
        session: None,
        all: false,
        deletions: false,
        since: None,
        paths: Vec::new(),
        dry_run: false,
    };
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

#[tokio::test]
async fn a_history_tells_what_changed_also_of_a_path_that_is_no_text() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let odd = lab.project.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::write(&odd, "longer now").expect("written");
    fs::write(lab.project.join("new"), "n").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    fs::remove_file(&odd).expect("removed");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    let query = |path: Option<&[u8]>| HistoryQuery {
        folder: lab.project.clone(),
        path_b64: path.map(encode),
        limit: None,
    };
    let all = lab.daemon.history(query(None)).await.expect("history");
    let changes: Vec<_> = all.snapshots.iter().map(|entry| entry.changes).collect();
    let counts =
        |added, changed, deleted| Some(ChangeCounts { added, changed, deleted, metadata: 0 });
    assert_eq!(changes, [counts(0, 0, 1), counts(1, 1, 0), None]);
    let one = lab.daemon.history(query(Some(b"caf\xe9"))).await.expect("history");
    let states: Vec<_> = one
        .snapshots
        .iter()
        .map(|entry| entry.path.as_ref().map(|path| (path.change, path.size)).expect("a path"))
        .collect();
    let wanted = [
        (ChangeKind::Deleted, None),
        (ChangeKind::Modified, Some(10)),
        (ChangeKind::Added, Some(9)),
    ];
    assert_eq!(states, wanted);
}

#[tokio::test]
async fn what_was_deleted_comes_back_from_the_newest_snapshot_that_has_it() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::write(lab.project.join("src/main.rs"), "newer").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    let before = lab.reference("before");
    fs::remove_dir_all(lab.project.join("src")).expect("removed");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("snapshot");
    let request = |path: &[u8], dry_run| UndeleteRequest {
        folder: lab.project.clone(),
        path: BytePath::from_bytes(path),
        snapshot: None,
        dry_run,
    };
    let nobody = Report::nobody();
    let plan = lab.daemon.undelete(request(b"src", true), &nobody).await.expect("a plan");
    assert_eq!((plan.create.len(), plan.replace.len(), plan.delete.len()), (2, 0, 0), "{plan:?}");
    assert!(!lab.project.join("src").exists(), "a dry run touched something");
    lab.daemon.undelete(request(b"src", false), &nobody).await.expect("brought back");
    let (before, now) = (before.join("src"), lab.project.join("src"));
    assert_eq!(differences(&before, &now).expect("compared"), "");
    // What is there is not touched, also when it is a link that leads nowhere.
    for there in [&b"src"[..], b"src/main.rs", b"dangling"] {
        let error = lab.daemon.undelete(request(there, false), &nobody).await.expect_err("there");
        assert!(error.message.contains("is there"), "{error:?}");
        assert!(!error.hints.is_empty());
    }
    let error = lab.daemon.undelete(request(b"never", false), &nobody).await.expect_err("never");
    assert_eq!(error.kind, ErrorKind::Vault);
    assert!(error.message.contains("no snapshot of"), "{error:?}");
    // What only a restore took away is undeleted as well.
    fs::write(lab.project.join("short-lived"), "s").expect("written");
    lab.daemon.restore(restore(&lab), &nobody).await.expect("restored");
    assert!(!lab.project.join("short-lived").exists());
    lab.daemon.undelete(request(b"short-lived", false), &nobody).await.expect("brought back");
    assert_eq!(fs::read(lab.project.join("short-lived")).expect("read"), b"s");
}

#[tokio::test]
async fn entries_of_a_snapshot_are_looked_at_without_restoring_them() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let look = |path: &[u8]| {
        lab.daemon.entry(ShowQuery {
            folder: lab.project.clone(),
            snapshot: "latest".into(),
            path_b64: encode(path),
        })
    };
    let top = look(b"").await.expect("the folder");
    let names = top.entries.expect("a directory");
    let names: Vec<_> = names.iter().map(|entry| entry.path.to_bytes().expect("bytes")).collect();
    assert!(names.contains(&b"caf\xe9".to_vec()), "{names:?}");
    let link = look(b"dangling").await.expect("a link");
    assert_eq!(
        (link.entry.kind, link.entry.target.as_deref()),
        (EntryKind::Link, Some("/nowhere"))
    );
    let file = look(b".env").await.expect("a file");
    assert_eq!((file.entry.mode, file.entries), (0o600, None));
    let error = look(b"src/missing").await.expect_err("missing");
    assert!(error.hints.iter().any(|hint| hint.contains("ringfence history")), "{error:?}");
}

#[tokio::test]
async fn a_difference_can_be_of_one_path_and_says_what_it_leaves_out() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::write(lab.project.join("src/main.rs"), "changed\n").expect("written");
    fs::write(lab.project.join("srcs"), "not below src").expect("written");
    fs::write(lab.project.join("blob"), b"\0\x01").expect("written");
    let diff = |paths: &[&[u8]]| DiffRequest {
        folder: lab.project.clone(),
        from: Some("latest".into()),
        to: None,
        text: true,
        paths: paths.iter().map(|path| BytePath::from_bytes(path)).collect(),
    };
    let one = lab.daemon.diff(diff(&[b"src"])).await.expect("diff");
    let paths: Vec<_> = one.changes.iter().map(|change| change.path.path.as_str()).collect();
    assert_eq!(paths, ["src/main.rs"]);
    let all = lab.daemon.diff(diff(&[])).await.expect("diff");
    assert_eq!(all.changes.len(), 3, "{all:?}");
    let blob = all.texts.iter().find(|text| text.path.path == "blob").expect("named");
    assert_eq!(blob.note.as_deref(), Some("binary"));
    let new = all.texts.iter().find(|text| text.path.path == "srcs").expect("text");
    assert!(new.unified.starts_with("--- /dev/null\n+++ b/srcs\n"), "{new:?}");
    let error =
        lab.daemon.diff(DiffRequest { from: Some("1999-01-01T00:00:00Z".into()), ..diff(&[]) });
    let error = error.await.expect_err("too old");
    assert!(error.message.contains("no snapshot is so old"), "{error:?}");
}
