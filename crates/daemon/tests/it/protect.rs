//! Folders are protected by themselves: no session, nobody who asks.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_model::api::{DiffRequest, HistoryQuery, RestoreRequest};
use ringfence_model::bytes::encode;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::status::{FolderStatus, Protection, Severity, WatchMode, WatchStatus};
use ringfence_testkit::project::differences;
use ringfenced::supervisor::Daemon;
use ringfenced::supervisor::report::Report;

use crate::Lab;

/// Longer than anything here may take on a loaded host.
const PATIENCE: Duration = Duration::from_secs(90);

impl Lab {
    /// Registers the project and has it protected.
    pub(crate) async fn protected(&self) -> FolderStatus {
        self.daemon.add_folder(&self.project, &Report::nobody()).await.expect("added");
        tokio::spawn(Arc::clone(&self.daemon).protect_folders());
        self.settled().await
    }

    /// Watching, and everything that is known to have changed is stored.
    async fn settled(&self) -> FolderStatus {
        self.until(|folder| {
            let watch = watch(folder);
            watch.mode == WatchMode::Watching && watch.pending == Some(0) && !watch.busy
        })
        .await
    }

    /// The project's status, once it is as wanted.
    pub(crate) async fn until(&self, holds: impl Fn(&FolderStatus) -> bool) -> FolderStatus {
        until(&self.daemon, &self.project, holds).await
    }

    pub(crate) async fn snapshots(&self) -> Vec<SnapshotView> {
        let query = HistoryQuery { folder: self.project.clone(), path_b64: None, limit: None };
        let history = self.daemon.history(query).await.expect("history");
        history.snapshots.into_iter().map(|entry| entry.snapshot).collect()
    }

    /// What the newest snapshot holds, put beside the project.
    async fn stored(&self, name: &str) -> std::path::PathBuf {
        let to = self.directory.path().join(name);
        let request = RestoreRequest {
            folder: self.project.clone(),
            at: Some("latest".into()),
            to: Some(to.clone()),
            paths: Vec::new(),
            dry_run: false,
        };
        self.daemon.restore(request, &Report::nobody()).await.expect("restored");
        to
    }

    /// The problems of this severity that name the project.
    async fn problems(&self, severity: Severity) -> Vec<String> {
        let name = self.project.display().to_string();
        let problems = self.daemon.status().await.expect("status").problems.into_iter();
        let here = problems.filter(|it| it.severity == severity && it.message.contains(&name));
        here.map(|it| format!("{} → {}", it.message, it.command.unwrap_or_default())).collect()
    }
}

fn watch(folder: &FolderStatus) -> WatchStatus {
    folder.watch.clone().unwrap_or(WatchStatus {
        mode: WatchMode::Starting,
        protected_until: None,
        pending: None,
        busy: true,
        next: None,
        walked: None,
        missed: 0,
        shrunken: None,
    })
}

async fn until(
    daemon: &Daemon,
    project: &Path,
    holds: impl Fn(&FolderStatus) -> bool,
) -> FolderStatus {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        let folders = daemon.status().await.expect("status").folders;
        let folder = folders.into_iter().find(|folder| folder.path == project).expect("known");
        if holds(&folder) {
            return folder;
        }
        assert!(begun.elapsed() < PATIENCE, "it never came to that: {folder:?}");
    }
}

fn newest(folder: &FolderStatus) -> String {
    folder.last_snapshot.as_ref().expect("a snapshot").id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_stored_soon_and_by_itself() {
    let lab = Lab::new();
    let before = newest(&lab.protected().await);
    let begun = Instant::now();
    fs::write(lab.project.join("src/new"), "written by nobody's session").expect("written");
    let odd = std::ffi::OsStr::from_bytes(b"src/odd\n\xff");
    fs::write(lab.project.join(odd), "x").expect("written");
    let pending = lab.until(|folder| watch(folder).pending != Some(0)).await;
    let protected_until = watch(&pending).protected_until.expect("a time");
    let folder = lab.until(|folder| newest(folder) != before).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(4), "it waits for quiet: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(watch(&folder).protected_until > Some(protected_until));
    let newest = lab.snapshots().await.remove(0);
    assert_eq!((newest.kind, newest.session), (Some(SnapshotKind::Periodic), None));
    assert_eq!(differences(&lab.project, &lab.stored("stored").await).expect("compared"), "");
    // Nothing more happens of itself: reading for a snapshot is no change.
    let settled = lab.settled().await;
    assert_eq!((watch(&settled).missed, settled.error), (0, None));
    assert_eq!(lab.snapshots().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_move_are_stored_where_they_are_now() {
    let lab = Lab::new();
    let before = newest(&lab.protected().await);
    let at = |path: &str| lab.project.join(path);
    fs::create_dir_all(at("a/deep")).expect("made");
    fs::write(at("a/deep/one"), "one").expect("written");
    fs::rename(at("src"), at("a/src")).expect("moved");
    fs::create_dir(at("src")).expect("made anew");
    fs::write(at("src/other"), "other").expect("written");
    let first = newest(&lab.until(|folder| newest(folder) != before).await);
    lab.settled().await;
    // The trap of change lists: another directory under a name that is known.
    fs::remove_dir_all(at("src")).expect("removed");
    fs::rename(at("a"), at("src")).expect("moved");
    fs::write(at("src/deep/two"), "two").expect("written");
    lab.until(|folder| newest(folder) != first).await;
    lab.settled().await;
    assert_eq!(differences(&lab.project, &lab.stored("stored").await).expect("compared"), "");
    let watch = watch(&lab.settled().await);
    assert_eq!(watch.missed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_no_daemon_ran_is_stored_when_one_does() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::write(lab.project.join("meanwhile"), "x").expect("written");
    let next = Daemon::new(lab.daemon.layout.clone());
    tokio::spawn(Arc::clone(&next).protect_folders());
    let query = || HistoryQuery {
        folder: lab.project.clone(),
        path_b64: Some(encode(b"meanwhile")),
        limit: None,
    };
    until(&next, &lab.project, |folder| watch(folder).walked.is_some()).await;
    assert_eq!(next.history(query()).await.expect("history").snapshots.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_folder_raises_an_alarm_until_it_is_accepted_or_put_back() {
    let lab = Lab::new();
    let full = newest(&lab.protected().await);
    let aside = lab.reference("aside");
    let empty = || {
        for entry in fs::read_dir(&lab.project).expect("listed").flatten() {
            if entry.file_type().expect("kind").is_dir() {
                fs::remove_dir_all(entry.path()).expect("removed");
            } else {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
    };
    empty();
    let folder = lab.until(|folder| watch(folder).shrunken.is_some()).await;
    let shrunken = watch(&folder).shrunken.expect("an alarm");
    assert_eq!((&shrunken.snapshot, shrunken.left), (&full, 0));
    let problems = lab.problems(Severity::Error).await;
    assert!(problems[0].contains("suddenly holds 0 of"), "{problems:?}");
    for command in ["ringfence diff", "ringfence restore --at", "ringfence backup accept"] {
        assert!(problems[0].contains(command), "{problems:?}");
    }
    lab.settled().await;
    let pinned =
        lab.snapshots().await.into_iter().find(|one| one.id == full).and_then(|one| one.pinned);
    assert!(pinned.is_some_and(|why| why.ends_with("files became 0")), "no prune lets it go");
    let request = RestoreRequest {
        folder: lab.project.clone(),
        at: Some(full),
        to: None,
        paths: Vec::new(),
        dry_run: false,
    };
    lab.daemon.restore(request, &Report::nobody()).await.expect("restored");
    assert_eq!(differences(&aside, &lab.project).expect("compared"), "");
    lab.until(|folder| watch(folder).shrunken.is_none()).await;
    lab.settled().await;
    empty();
    lab.until(|folder| watch(folder).shrunken.is_some()).await;
    let accepted = lab.daemon.backup_accept(&lab.project).await.expect("accepted");
    assert_eq!(watch(&accepted).shrunken, None);
    assert_eq!(lab.problems(Severity::Error).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_away_is_an_alarm_and_never_an_empty_snapshot() {
    let lab = Lab::new();
    lab.protected().await;
    let count = lab.snapshots().await.len();
    let aside = lab.directory.path().join("aside");
    fs::rename(&lab.project, &aside).expect("moved");
    let gone = lab.until(|folder| folder.protection == Protection::Failing).await;
    let why = gone.error.expect("a reason");
    assert!(why.contains("moved or deleted"), "{why}");
    fs::create_dir(&lab.project).expect("another");
    fs::write(lab.project.join("stranger"), "x").expect("written");
    let error = lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect_err("refused");
    assert!(error.message.contains("another directory stands in its place"), "{error:?}");
    assert!(!lab.problems(Severity::Error).await.is_empty());
    assert_eq!(lab.snapshots().await.len(), count);
    fs::remove_dir_all(&lab.project).expect("removed");
    fs::rename(&aside, &lab.project).expect("moved back");
    lab.until(|folder| folder.protection == Protection::Protected).await;
    lab.settled().await;
    assert_eq!(differences(&lab.project, &lab.stored("stored").await).expect("compared"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_fails_is_said_and_tried_again_and_delays_nobody_else() {
    let lab = Lab::new();
    let other = lab.directory.path().join("other");
    fs::create_dir(&other).expect("made");
    let folder = lab.protected().await;
    lab.daemon.add_folder(&other, &Report::nobody()).await.expect("added");
    // Somebody else writes to the vault.
    let lock = File::open(folder.vault.join("ringfence.lock")).expect("the lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    fs::write(lab.project.join("new"), "x").expect("written");
    lab.until(|folder| folder.protection == Protection::Failing).await;
    fs::write(other.join("new"), "x").expect("written");
    let query =
        || HistoryQuery { folder: other.clone(), path_b64: Some(encode(b"new")), limit: None };
    let begun = Instant::now();
    while lab.daemon.history(query()).await.expect("history").snapshots.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the other folder waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failing = lab.until(|_| true).await;
    assert_eq!(failing.protection, Protection::Failing);
    let error = failing.error.expect("a reason");
    assert!(error.contains("another process is writing"), "{error}");
    drop(lock);
    lab.until(|folder| folder.protection == Protection::Protected).await;
    lab.settled().await;
    assert_eq!(differences(&lab.project, &lab.stored("stored").await).expect("compared"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_files_are_no_reason_to_look_at_them_all() {
    let lab = Lab::new();
    for directory in 0..200 {
        let directory = lab.project.join(format!("many/{directory}"));
        fs::create_dir_all(&directory).expect("made");
        for file in 0..100 {
            fs::write(directory.join(file.to_string()), file.to_string()).expect("written");
        }
    }
    let before = lab.protected().await;
    fs::write(lab.project.join("many/77/7"), "changed").expect("written");
    let after = lab.until(|folder| newest(folder) != newest(&before)).await;
    assert_eq!(watch(&after).walked, watch(&before).walked, "no walk was needed for one change");
    assert_eq!(watch(&lab.settled().await).missed, 0);
    let request = DiffRequest {
        folder: lab.project.clone(),
        from: Some("latest".into()),
        to: None,
        text: false,
        paths: Vec::new(),
    };
    assert_eq!(lab.daemon.diff(request).await.expect("compared").changes, []);
}
