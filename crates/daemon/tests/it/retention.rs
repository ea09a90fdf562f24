//! What stays, what goes after it was shown, and what is asked about a vault's size.

use std::fs;

use jiff::SignedDuration;
use ringfence_model::api::HistoryQuery;
use ringfence_model::error::ErrorKind;
use ringfence_model::history::SnapshotView;
use ringfence_model::protection::Actor;
use ringfence_model::prune::{PinRequest, PruneRequest, PruneView};
use ringfence_vault::{Labels, SnapshotKind, SnapshotRequest, Vault, VaultKey};
use ringfenced::supervisor::report::Report;

use crate::Lab;

/// Snapshots of long ago, four days apart, the oldest first.
async fn old_snapshots(lab: &Lab) -> Vec<String> {
    let status = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let key = VaultKey::load(&lab.daemon.layout.vault_key(&status.id)).expect("key");
    let vault = Vault::open(&status.vault, &key).expect("opens");
    let now = status.last_snapshot.expect("a first snapshot").time;
    let mut made = Vec::new();
    for n in 0..4 {
        fs::write(lab.project.join("data"), format!("state {n}").repeat(20_000)).expect("written");
        let time = now - SignedDuration::from_hours(24 * (300 - 4 * n));
        let request = SnapshotRequest::new(&lab.project, Labels::new(SnapshotKind::Periodic), time);
        made.push(vault.snapshot(&request).expect("taken").snapshot.id.to_string());
    }
    fs::write(lab.project.join("data"), "today").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("taken");
    made
}

async fn history(lab: &Lab) -> Vec<SnapshotView> {
    let query = HistoryQuery { folder: lab.project.clone(), path_b64: None, limit: None };
    let history = lab.daemon.history(query).await.expect("history");
    history.snapshots.into_iter().map(|entry| entry.snapshot).collect()
}

async fn prune(lab: &Lab, agreed: Option<Vec<String>>) -> PruneView {
    let request = PruneRequest { folder: lab.project.clone(), agreed };
    lab.daemon.prune(request, &Report::nobody()).await.expect("pruned")
}

fn pin(lab: &Lab, snapshot: &str, pinned: bool) -> PinRequest {
    PinRequest {
        folder: lab.project.clone(),
        snapshot: snapshot.to_owned(),
        pinned,
        reason: Some("before the move".into()),
        terminal: None,
    }
}

#[tokio::test]
async fn what_was_agreed_to_goes_and_nothing_else() {
    let lab = Lab::new();
    let old = old_snapshots(&lab).await;
    lab.configure("[defaults.backup]\nkeep = \"everything for 1 hour, daily for 1 week\"\n");
    let pinned = lab.daemon.set_pin(&pin(&lab, &old[1][..12], true), Actor::default()).await;
    assert_eq!(pinned.expect("pinned").pinned.as_deref(), Some("before the move"));

    let plan = prune(&lab, None).await;
    let ids = |plan: &PruneView| plan.forget.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&plan), [old[3].clone(), old[2].clone(), old[0].clone()]);
    let reason = plan.keep.iter().find(|one| one.id == old[1]).expect("kept");
    assert_eq!(reason.why, ["pinned: before the move"]);
    assert!(!plan.applied && plan.freed_later > 0, "{plan:?}");
    assert_eq!(history(&lab).await.len(), 6, "a plan changes nothing");

    // Of what was shown, one was agreed to; one is not there; one may not go at all.
    let agreed = vec![old[0].clone(), "00".repeat(32), old[1].clone()];
    let done = prune(&lab, Some(agreed)).await;
    assert!(done.applied);
    assert_eq!(ids(&done), [old[0].clone()]);
    let left: Vec<String> = history(&lab).await.into_iter().map(|one| one.id).collect();
    assert_eq!(left.len(), 5);
    assert!(!left.contains(&old[0]) && left.contains(&old[1]) && left.contains(&old[3]));
    // The folder is still protected, and the next snapshot works.
    fs::write(lab.project.join("data"), "tomorrow").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("taken");
}

#[tokio::test]
async fn a_pin_outlives_a_restart_and_is_missed_when_somebody_else_removes_its_snapshot() {
    let lab = Lab::new();
    let old = old_snapshots(&lab).await;
    lab.daemon.set_pin(&pin(&lab, &old[2], true), Actor::default()).await.expect("pinned");
    let lab = lab.restarted();
    let shown = history(&lab).await;
    let pins: Vec<_> = shown.iter().filter(|one| one.pinned.is_some()).map(|one| &one.id).collect();
    assert_eq!(pins, [&old[2]]);

    let vault = lab.daemon.status().await.expect("status").folders.remove(0).vault;
    fs::remove_file(vault.join("snapshots").join(&old[2])).expect("as stock restic would");
    let problems = lab.daemon.status().await.expect("status").problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.message.contains("(before the move) is not in the vault")),
        "{problems:?}"
    );
    let error = lab.daemon.set_pin(&pin(&lab, &old[3], false), Actor::default()).await;
    assert_eq!(error.expect_err("it is not pinned").kind, ErrorKind::Failed);
}

#[tokio::test]
async fn a_vault_over_its_limit_asks_and_goes_on() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    lab.daemon.note_sizes().await;
    let status = lab.daemon.status().await.expect("status");
    let size = status.folders[0].size.expect("noted");
    assert!(size.bytes > 0 && size.limit > size.bytes, "{size:?}");
    assert!(status.problems.iter().all(|problem| !problem.message.contains("limit")));

    lab.configure("[defaults.backup]\nlimit = \"1KiB\"\n");
    let problems = lab.daemon.status().await.expect("status").problems;
    let problem =
        problems.iter().find(|problem| problem.message.contains("over its limit of 1KiB"));
    let command = problem.expect("asked").command.clone().expect("a command");
    assert!(command.starts_with("ringfence backup prune "), "{command}");
    fs::write(lab.project.join("data"), "more").expect("written");
    lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("it goes on");
}
