//! A session's share and its folder's vault: what the share is told when the vault fails,
//! and in which order a session is closed. The share's end is played here; that the share
//! obeys is tested where it is made.

use std::fs::{self, File};
use std::sync::{Arc, Mutex};

use ringfence_model::admit::ShownNames;
use ringfence_model::folder::Access;
use ringfence_model::history::SnapshotKind;
use ringfence_model::mass_loss::GuardAction;
use ringfence_model::name::{MachineName, ProfileName, SessionId};
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{FolderStatus, Protection};
use ringfenced::host::process::ProcessId;
use ringfenced::store::{MachineRuntime, ShareRuntime, Store};
use ringfenced::supervisor::report::Report;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use crate::Lab;

/// Every mode that a share was switched to, and every `resume`, in order.
pub(crate) type Modes = Arc<Mutex<Vec<String>>>;

/// Answers as a share's control socket does, by what was heard so far.
fn play_share(listener: UnixListener, answer: fn(&[String]) -> Value) -> Modes {
    let modes = Modes::default();
    let heard = Arc::clone(&modes);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut line = String::new();
            if BufReader::new(read).read_line(&mut line).await.is_err() {
                continue;
            }
            let asked: Value = serde_json::from_str(&line).expect("a line of JSON");
            let line = {
                let mut heard = heard.lock().expect("unpoisoned");
                heard.extend(asked["set"].as_str().map(str::to_owned));
                heard.extend(asked["resume"].as_bool().map(|_| "resume".to_owned()));
                format!("{}\n", answer(&heard))
            };
            write.write_all(line.as_bytes()).await.expect("answered");
        }
    });
    modes
}

/// A session that is written down as one at work in the lab's folder, whose share answers so.
pub(crate) async fn at_work(
    lab: &Lab,
    answer: fn(&[String]) -> Value,
) -> (Modes, Session, FolderStatus) {
    let folder = lab.protected().await;
    let opening = folder.last_snapshot.as_ref().expect("a snapshot").id.clone();
    let layout = &lab.daemon.layout;
    let machine = MachineName::new("shop").expect("name");
    let own = ProcessId::of(std::process::id()).expect("lives");
    let sockets = layout.machine_run(&machine).join("q");
    fs::create_dir_all(&sockets).expect("made");
    let modes = play_share(UnixListener::bind(sockets.join("s0.ctl")).expect("listens"), answer);
    let store = Store::new(layout.clone());
    let mut runtime = MachineRuntime::default();
    let share = ShareRuntime {
        process: own,
        device: "s0".into(),
        tag: "s0".into(),
        guest_path: lab.project.clone(),
        access: Access::Rw,
        names: ShownNames::default(),
    };
    runtime.shares.insert(folder.id.clone(), share);
    store.set_runtime(&machine, &runtime).expect("written");
    let session = Session {
        id: SessionId::new("261125-1").expect("id"),
        profile: ProfileName::new("shell").expect("name"),
        machine,
        folder: Some(folder.id.clone()),
        folder_path: Some(lab.project.clone()),
        command: vec!["sh".into()],
        state: SessionState::Running,
        started: "2026-11-25T12:00:00Z".parse().expect("a time"),
        ended: None,
        exit: None,
        guard: GuardAction::Freeze,
        mass_loss: None,
        stricter: Vec::new(),
        opening_snapshot: Some(opening),
        closing_snapshot: None,
    };
    store.set_session(&session).expect("written");
    let record = layout.session(&session.id);
    let process = json!({ "schema": 1, "pid": own.pid, "start": own.start });
    fs::write(record.join("process.json"), process.to_string()).expect("written");
    Arc::clone(&lab.daemon).recover().await;
    (modes, session, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_while_the_vault_fails_and_a_close_ends_in_a_snapshot() {
    let lab = Lab::new();
    let (modes, session, folder) = at_work(&lab, |_| json!({})).await;
    let record = lab.daemon.layout.session(&session.id);

    let lock = File::open(folder.vault.join("ringfence.lock")).expect("the lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    fs::write(lab.project.join("by the agent"), "x").expect("written");
    let told = |expected: &'static [&str]| {
        let modes = Arc::clone(&modes);
        move |_: &_| *modes.lock().expect("unpoisoned") == expected
    };
    lab.until(told(&["held"])).await;
    drop(lock);
    let again = lab.until(told(&["held", "rw"])).await;
    assert_eq!(again.protection, Protection::Protected);
    let newest = lab.snapshots().await.remove(0);
    assert_eq!(newest.kind, Some(SnapshotKind::Periodic));
    assert_eq!(newest.session.as_deref(), Some("261125-1"), "the only one at work");

    fs::write(lab.project.join("the last word"), "x").expect("written");
    let exit =
        json!({ "schema": 1, "exit": { "code": 0 }, "reason": null, "ended": session.started });
    fs::write(record.join("exit.json"), exit.to_string()).expect("written");
    let summary = lab.daemon.close(&session.id, &Report::nobody()).await.expect("closed");
    assert_eq!(*modes.lock().expect("unpoisoned"), ["held", "rw", "ro", "closed"]);
    assert_eq!(summary.changes.expect("both snapshots").added, 2);
    let newest = lab.snapshots().await.remove(0);
    assert_eq!(summary.session.closing_snapshot, Some(newest.id));
    assert_eq!(newest.kind, Some(SnapshotKind::Closing));
}
