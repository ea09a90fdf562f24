//! The exit check around a session: what is found in its changes, what is held back, and how
//! that is let in, undone, or finished by the next daemon. The share's end is played.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use ringfence_model::api::{
    ApproveRequest, FolderSetRequest, RestoreRequest, RunSummary, UndoRequest,
};
use ringfence_model::document::Document;
use ringfence_model::exit_check::{ExitAction, HazardKind, HazardState};
use ringfence_model::name::SessionId;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::{FolderStatus, Severity};
use ringfence_share::journal::{self, Operation, Record, Writer};
use ringfenced::store::{HeldFile, Store};
use ringfenced::supervisor::report::Report;
use serde_json::json;

use crate::Lab;
use crate::documents::check;
use crate::held::at_work;

const MINE: &str = "[core]\n\trepositoryformatversion = 0\n\teditor = vim\n";
const HOOK: &str = "#!/bin/sh\ntouch /tmp/evil\n";

fn write(lab: &Lab, path: &str, content: &str) {
    let path = lab.project.join(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, content).expect("written");
}

fn program(lab: &Lab, path: &str, content: &str) {
    write(lab, path, content);
    fs::set_permissions(lab.project.join(path), PermissionsExt::from_mode(0o755)).expect("set");
}

fn there(lab: &Lab, path: &str) -> Option<String> {
    fs::read_to_string(lab.project.join(path)).ok()
}

/// A repository before the session.
fn repository(lab: &Lab) {
    fs::create_dir_all(lab.project.join(".git/hooks")).expect("made");
    write(lab, ".git/HEAD", "ref: refs/heads/main\n");
    write(lab, ".git/config", MINE);
    write(lab, "package.json", r#"{"scripts":{"test":"x"}}"#);
}

/// What an agent leaves: two things that git runs by itself, and others.
fn mischief(lab: &Lab) {
    program(lab, ".git/hooks/post-commit", HOOK);
    write(lab, ".git/config", &format!("{MINE}\tfsmonitor = ./evil\n[user]\n\tname = B\n"));
    write(lab, ".git/objects/ab/cd", "an object");
    write(lab, "sub/.git/HEAD", "ref: refs/heads/main\n");
    write(lab, "sub/.git/config", "[alias]\n\tst = !evil\n");
    write(lab, "package.json", r#"{"scripts":{"test":"x","postinstall":"evil"}}"#);
    program(lab, "run-me", "#!/bin/sh\n");
    symlink("/etc/passwd", lab.project.join("out")).expect("linked");
}

/// The session's command has ended; it is closed.
async fn close(lab: &Lab, session: &Session) -> RunSummary {
    let record = lab.daemon.layout.session(&session.id);
    let exit =
        json!({ "schema": 1, "exit": { "code": 0 }, "reason": null, "ended": session.started });
    fs::write(record.join("exit.json"), exit.to_string()).expect("written");
    lab.daemon.close(&session.id, &Report::nobody()).await.expect("closed")
}

fn found(summary: &RunSummary) -> BTreeMap<String, (HazardKind, HazardState)> {
    let check = summary.exit_check.as_ref().expect("it was looked at");
    let all = check.hazards.iter();
    all.map(|f| (f.path.path.clone(), (f.kind, f.state))).collect()
}

async fn folder(lab: &Lab) -> FolderStatus {
    lab.daemon.status().await.expect("status").folders.remove(0)
}

fn held_paths(folder: &FolderStatus) -> Vec<String> {
    let mut paths: Vec<_> = folder.held.iter().map(|held| held.path.path.clone()).collect();
    paths.sort();
    paths
}

fn approval(lab: &Lab, dry_run: bool) -> ApproveRequest {
    let folder = lab.project.clone();
    ApproveRequest { folder, dry_run, agreed: None, drop: false, all: false, contents: false }
}

fn set(lab: &Lab, action: ExitAction) {
    let path = lab.project.display();
    let word = action.as_str();
    lab.configure(&format!("[[folder]]\npath = \"{path}\"\nexit_check = \"{word}\"\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_runs_by_itself_is_held_until_it_is_approved() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, _) = at_work(&lab, |_| json!({})).await;
    mischief(&lab);
    let summary = close(&lab, &session).await;
    use HazardKind::{Build, Executable, GitConfig, GitHook, LinkOutside};
    use HazardState::{Held, Settled, Told};
    let expected = [
        (".git/config", (GitConfig, Held)),
        (".git/hooks/post-commit", (GitHook, Held)),
        ("out", (LinkOutside, Told)),
        ("package.json", (Build, Told)),
        ("run-me", (Executable, Told)),
        ("sub/.git/config", (GitConfig, Held)),
    ];
    let expected = expected.map(|(path, state)| (path.to_owned(), state));
    assert_eq!(found(&summary), BTreeMap::from(expected));
    let worst = &summary.exit_check.as_ref().expect("there").hazards[0];
    assert_eq!((worst.kind, &*worst.why), (GitHook, "git runs it by itself; new"));

    // Neither is in force; what the session did beside it is there.
    assert_eq!(there(&lab, ".git/config").as_deref(), Some(MINE));
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
    assert_eq!(there(&lab, "sub/.git/config"), None);
    assert_eq!(there(&lab, ".git/objects/ab/cd").as_deref(), Some("an object"));
    assert_eq!(there(&lab, "sub/.git/HEAD").as_deref(), Some("ref: refs/heads/main\n"));
    assert!(there(&lab, "package.json").expect("there").contains("postinstall"));

    let status = lab.daemon.status().await.expect("status");
    let said = status.problems.iter().find(|problem| problem.message.contains("held back"));
    let said = said.expect("status says so");
    assert_eq!(said.severity, Severity::Warning);
    let command = format!("ringfence folder approve {}", lab.project.display());
    assert_eq!(said.command.as_deref(), Some(&*command));
    check("status", &status);
    check("session", &Document::new(lab.daemon.session_view(&session.id).expect("a view")));

    // Approved after a look, also by the next daemon.
    let lab = lab.restarted();
    let nobody = Report::nobody();
    let plan = lab.daemon.approve(approval(&lab, true), &nobody).await.expect("a plan");
    assert_eq!((plan.held.len(), plan.plan.applied), (3, false));
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None, "a plan changes nothing");
    check("approve", &Document::new(plan));
    let done = lab.daemon.approve(approval(&lab, false), &nobody).await.expect("let in");
    assert!(done.plan.applied && done.plan.conflicts.is_empty(), "{done:?}");
    assert_eq!(there(&lab, ".git/hooks/post-commit").as_deref(), Some(HOOK));
    assert!(there(&lab, ".git/config").expect("there").contains("fsmonitor"));
    assert_eq!(held_paths(&folder(&lab).await), [""; 0]);
    let view = lab.daemon.session_view(&session.id).expect("a view").exit_check.expect("kept");
    assert_eq!(view.hazards[0].state, Settled);
    assert!(lab.daemon.approve(approval(&lab, true), &nobody).await.is_err(), "nothing is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_says_what_is_held() {
    for (action, hook, makefile) in [
        (ExitAction::Hold, false, false),
        (ExitAction::Warn, true, true),
        (ExitAction::Off, true, true),
    ] {
        let lab = Lab::new();
        repository(&lab);
        set(&lab, action);
        let (_, session, _) = at_work(&lab, |_| json!({})).await;
        program(&lab, ".git/hooks/post-commit", HOOK);
        write(&lab, "more/Makefile", "all: ;\n");
        let summary = close(&lab, &session).await;
        assert_eq!(there(&lab, ".git/hooks/post-commit").is_some(), hook, "{action:?}");
        assert_eq!(there(&lab, "more/Makefile").is_some(), makefile, "{action:?}");
        assert_eq!(summary.exit_check.is_none(), action == ExitAction::Off, "{action:?}");
        if let Some(check) = summary.exit_check {
            assert_eq!(check.hazards.len(), 2, "{action:?}");
        }
        let status = lab.daemon.status().await.expect("status");
        let said = status.problems.iter().any(|p| p.message.contains("nothing looks at"));
        assert_eq!(said, action == ExitAction::Off, "turning it off is seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_changed_meanwhile_is_a_conflict() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, _) = at_work(&lab, |_| json!({})).await;
    mischief(&lab);
    close(&lab, &session).await;
    write(&lab, ".git/config", "[user]\n\tname = Ann\n");
    let nobody = Report::nobody();
    let done = lab.daemon.approve(approval(&lab, false), &nobody).await.expect("let in");
    let kept: Vec<_> = done.plan.conflicts.iter().map(|path| &*path.path).collect();
    assert_eq!(kept, [".git/config"]);
    assert_eq!(there(&lab, ".git/config").as_deref(), Some("[user]\n\tname = Ann\n"));
    assert_eq!(there(&lab, ".git/hooks/post-commit").as_deref(), Some(HOOK));
    assert_eq!(held_paths(&folder(&lab).await), [".git/config"], "it stays held");
    let all = ApproveRequest { all: true, ..approval(&lab, false) };
    lab.daemon.approve(all, &nobody).await.expect("let in");
    assert!(there(&lab, ".git/config").expect("there").contains("fsmonitor"));
    assert_eq!(held_paths(&folder(&lab).await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_drops_what_is_held_and_so_does_a_person() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, _) = at_work(&lab, |_| json!({})).await;
    mischief(&lab);
    close(&lab, &session).await;
    let nobody = Report::nobody();
    let hook = |held: &FolderStatus| {
        held.held.iter().find(|held| held.kind == HazardKind::GitHook).expect("held").path.clone()
    };
    let one = ApproveRequest {
        drop: true,
        agreed: Some(vec![hook(&folder(&lab).await)]),
        ..approval(&lab, false)
    };
    lab.daemon.approve(one, &nobody).await.expect("dropped");
    assert_eq!(held_paths(&folder(&lab).await), [".git/config", "sub/.git/config"]);
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
    let request = UndoRequest {
        folder: lab.project.clone(),
        session: None,
        all: false,
        deletions: false,
        since: None,
        paths: Vec::new(),
        dry_run: false,
    };
    let plan = lab.daemon.undo(request, &nobody).await.expect("undone");
    assert!(plan.conflicts.is_empty(), "{plan:?}");
    assert_eq!(held_paths(&folder(&lab).await), [""; 0]);
    assert!(!lab.project.join("sub").exists());
    assert_eq!(there(&lab, ".git/config").as_deref(), Some(MINE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_the_sessions_own_state_lets_it_in() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, _) = at_work(&lab, |_| json!({})).await;
    mischief(&lab);
    let summary = close(&lab, &session).await;
    let request = RestoreRequest {
        folder: lab.project.clone(),
        at: summary.session.closing_snapshot,
        to: None,
        paths: vec![ringfence_model::bytes::BytePath::from_bytes(b".git")],
        dry_run: false,
    };
    lab.daemon.restore(request, &Report::nobody()).await.expect("restored");
    assert_eq!(there(&lab, ".git/hooks/post-commit").as_deref(), Some(HOOK));
    assert_eq!(held_paths(&folder(&lab).await), ["sub/.git/config"], "the rest stays held");
}

/// Undoes what a daemon did after a moment of a close, as if it had been killed there.
fn killed_after(lab: &Lab, session: &SessionId, step: usize, held: &HeldFile) {
    let store = Store::new(lab.daemon.layout.clone());
    let mut record = store.session(session).expect("read").expect("there");
    record.state = SessionState::Closing;
    let check = lab.daemon.layout.session(session).join("exit-check.json");
    let folder = record.folder.clone().expect("a folder");
    let mut waiting = held.clone();
    for path in &mut waiting.paths {
        path.waiting = Some("not yet".into());
    }
    match step {
        // The closing snapshot stands, nothing was looked at.
        0 => {
            fs::remove_file(check).expect("removed");
            store.set_held(&folder, &HeldFile::default()).expect("written");
        }
        // What is to be held was written down, the session's record was not.
        1 => {
            fs::remove_file(check).expect("removed");
            store.set_held(&folder, &waiting).expect("written");
        }
        // All was written down, and perhaps put back already.
        2 => store.set_held(&folder, &waiting).expect("written"),
        // Only the session's end was not.
        _ => {}
    }
    store.set_session(&record).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_daemon_finishes_what_was_begun_at_every_step() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, status) = at_work(&lab, |_| json!({})).await;
    mischief(&lab);
    close(&lab, &session).await;
    let store = Store::new(lab.daemon.layout.clone());
    let held = store.held(&status.id).expect("read");
    let closing = store.session(&session.id).expect("read").expect("there").closing_snapshot;
    assert_eq!(held.paths.len(), 3);
    let mut lab = lab;
    for (step, in_folder) in
        [(0, true), (0, false), (1, true), (1, false), (2, true), (2, false), (3, false)]
    {
        if in_folder {
            // It had not been put back yet: the folder is as the session left it.
            let request = RestoreRequest {
                folder: lab.project.clone(),
                at: closing.clone(),
                to: None,
                paths: vec![
                    ringfence_model::bytes::BytePath::from_bytes(b".git"),
                    ringfence_model::bytes::BytePath::from_bytes(b"sub"),
                ],
                dry_run: false,
            };
            lab.daemon.restore(request, &Report::nobody()).await.expect("restored");
            assert!(there(&lab, ".git/hooks/post-commit").is_some());
        }
        killed_after(&lab, &session.id, step, &held);
        lab = lab.restarted();
        Arc::clone(&lab.daemon).recover().await;
        let summary = lab.daemon.close(&session.id, &Report::nobody()).await.expect("closed");
        assert_eq!(summary.session.state, SessionState::Ended, "step {step}");
        assert_eq!(summary.session.closing_snapshot, closing, "the agent's version is in it");
        assert_eq!(there(&lab, ".git/hooks/post-commit"), None, "step {step}, {in_folder}");
        assert_eq!(there(&lab, ".git/config").as_deref(), Some(MINE), "step {step}, {in_folder}");
        let paths = held_paths(&folder(&lab).await);
        assert_eq!(paths, [".git/config", ".git/hooks/post-commit", "sub/.git/config"]);
        let now = store.held(&status.id).expect("read");
        assert!(now.paths.iter().all(|held| held.waiting.is_none()), "{now:?}");
    }
    lab.daemon.approve(approval(&lab, false), &Report::nobody()).await.expect("let in");
    assert_eq!(there(&lab, ".git/hooks/post-commit").as_deref(), Some(HOOK));
}

/// A whole journal of the session that names these paths.
fn journal(lab: &Lab, folder: &FolderStatus, session: &Session, paths: &[&str]) {
    let directory = lab.daemon.layout.kept(&folder.id).join(&session.id);
    fs::create_dir_all(&directory).expect("made");
    let mut writer = Writer::open(&directory.join(journal::FILE)).expect("opened");
    let id = session.id.to_string();
    let steps = [(Operation::Begin, &*id)]
        .into_iter()
        .chain(paths.iter().map(|path| (Operation::Create, *path)))
        .chain([(Operation::End, &*id)]);
    for (sequence, (operation, path)) in (1..).zip(steps) {
        let record = Record { sequence, ..Record::new(operation, path.into()) };
        writer.append(&record).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_did_while_it_ran_is_not_the_sessions() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, status) = at_work(&lab, |_| json!({})).await;
    program(&lab, ".git/hooks/post-commit", HOOK);
    program(&lab, ".git/hooks/pre-push", "#!/bin/sh\n# by the host\n");
    journal(&lab, &status, &session, &[".git/hooks/post-commit"]);
    let summary = close(&lab, &session).await;
    let paths: Vec<_> = found(&summary).into_keys().collect();
    assert_eq!(paths, [".git/hooks/post-commit"]);
    assert!(there(&lab, ".git/hooks/pre-push").is_some());
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_a_session_makes_again_under_which_it_was_taken_is_held_again() {
    let lab = Lab::new();
    repository(&lab);
    let (_, first, status) = at_work(&lab, |_| json!({})).await;
    program(&lab, ".git/hooks/post-commit", HOOK);
    // A second session begins with the first one's hook in the folder.
    let opening = lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("taken").id;
    let second = Session {
        id: SessionId::new("261125-2").expect("id"),
        opening_snapshot: Some(opening),
        ..first.clone()
    };
    let store = Store::new(lab.daemon.layout.clone());
    store.set_session(&second).expect("written");
    let own = lab.daemon.layout.session(&first.id).join("process.json");
    fs::copy(own, lab.daemon.layout.session(&second.id).join("process.json")).expect("copied");
    Arc::clone(&lab.daemon).recover().await;
    close(&lab, &first).await;
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
    program(&lab, ".git/hooks/post-commit", HOOK);
    let summary = close(&lab, &second).await;
    assert_eq!(found(&summary)[".git/hooks/post-commit"].1, HazardState::Held);
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
    let held = store.held(&status.id).expect("read").paths;
    assert_eq!((held.len(), &held[0].session), (1, &second.id));
    // Undoing the second one does not bring the first one's hook back.
    let request = UndoRequest {
        folder: lab.project.clone(),
        session: Some(second.id),
        all: false,
        deletions: false,
        since: None,
        paths: Vec::new(),
        dry_run: false,
    };
    lab.daemon.undo(request, &Report::nobody()).await.expect("undone");
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_found_wherever_git_looks_for_them() {
    let lab = Lab::new();
    repository(&lab);
    write(
        &lab,
        ".git/config",
        "[core]\n\thooksPath = tools/hooks\n[include]\n\tpath = ../team.conf\n",
    );
    write(&lab, "tools/hooks/README", "x");
    write(&lab, "team.conf", "[user]\n\tname = Ann\n");
    write(&lab, "lib/.git", "gitdir: ../.git/modules/lib\n");
    write(&lab, ".git/modules/lib/HEAD", "x");
    write(&lab, ".git/modules/lib/config", MINE);
    for part in ["objects/x", "refs/x", "config", "hooks/update"] {
        write(&lab, &format!("bare/{part}"), "[core]\n\tbare = true\n");
    }
    let (_, session, _) = at_work(&lab, |_| json!({})).await;
    program(&lab, "tools/hooks/pre-commit", HOOK);
    write(&lab, "team.conf", "[core]\n\tpager = evil\n");
    program(&lab, ".git/modules/lib/hooks/pre-push", HOOK);
    write(&lab, "bare/HEAD", "ref: refs/heads/main\n");
    write(&lab, "away/.git", "gitdir: ../evil\n");
    let summary = close(&lab, &session).await;
    let held: Vec<_> = found(&summary)
        .into_iter()
        .filter(|(_, (_, state))| *state == HazardState::Held)
        .map(|(path, (kind, _))| (path, kind))
        .collect();
    use HazardKind::{GitConfig, GitHook, GitPlace};
    let expected = [
        (".git/modules/lib/hooks/pre-push", GitHook),
        ("away/.git", GitPlace),
        ("bare/HEAD", GitPlace),
        ("team.conf", GitConfig),
        ("tools/hooks/pre-commit", GitHook),
    ];
    assert_eq!(held, expected.map(|(path, kind)| (path.to_owned(), kind)));
    // A hook that was there before was none before it lay in a repository.
    assert!(
        !lab.project.join("bare/HEAD").exists() && lab.project.join("bare/hooks/update").exists()
    );
    assert!(lab.project.join("tools/hooks/README").exists());
    let set = FolderSetRequest {
        path: lab.project.clone(),
        profiles: None,
        access: None,
        hide: None,
        protect: None,
        exit_check: Some(ExitAction::Warn),
        more: ringfence_model::config::FolderChange::default(),
    };
    assert_eq!(lab.daemon.set_folder(&set).await.expect("set").exit_check, Some(ExitAction::Warn));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_held_back_waits_is_said_and_is_held_later() {
    let lab = Lab::new();
    repository(&lab);
    let (_, session, status) = at_work(&lab, |_| json!({})).await;
    program(&lab, ".git/hooks/post-commit", HOOK);
    // Something that is nobody's lies where a restore prepares its entries.
    let staging = lab.daemon.layout.staging(&status.id);
    fs::create_dir_all(&staging).expect("made");
    let foreign: &Path = &staging.join("foreign");
    fs::write(foreign, "x").expect("written");
    let summary = close(&lab, &session).await;
    assert_eq!(found(&summary)[".git/hooks/post-commit"].1, HazardState::Waiting);
    assert!(there(&lab, ".git/hooks/post-commit").is_some());
    let problems = lab.daemon.status().await.expect("status").problems;
    let said = problems.iter().find(|p| p.message.contains("still in the folder"));
    assert_eq!(said.expect("status says so").severity, Severity::Error);
    fs::remove_file(foreign).expect("removed");
    let lab = lab.restarted();
    Arc::clone(&lab.daemon).recover().await;
    assert_eq!(there(&lab, ".git/hooks/post-commit"), None);
    let view = lab.daemon.session_view(&session.id).expect("a view").exit_check.expect("kept");
    assert_eq!(view.hazards[0].state, HazardState::Held);
}
