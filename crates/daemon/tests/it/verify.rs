//! Vaults are looked after by themselves: what is good becomes verified, what is damaged
//! turns the folder red within one interval, and a repair makes it good again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_model::api::Verdict;
use ringfence_model::health::{CheckRequest, RepairRequest};
use ringfence_model::status::{FolderStatus, Protection};
use ringfenced::supervisor::report::Report;

use crate::Lab;

/// Waits until the folder's status is as wanted.
async fn until(lab: &Lab, what: &str, wanted: impl Fn(&FolderStatus) -> bool) -> FolderStatus {
    let begun = Instant::now();
    loop {
        let status = lab.daemon.status().await.expect("status").folders.remove(0);
        if wanted(&status) {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "never {what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn every_second(lab: &Lab) {
    let text = "[defaults.backup]\ncheck = \"1s\"\n";
    fs::write(lab.daemon.layout.config_file(), text).expect("written");
    lab.daemon.config.current().expect("valid");
}

fn largest(directory: &Path) -> PathBuf {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("listed") {
        let path = entry.expect("entry").path();
        files.push(if path.is_dir() { largest(&path) } else { path });
    }
    files.sort_by_key(|path| fs::metadata(path).expect("there").len());
    files.pop().expect("a file")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_turns_a_folder_red_within_an_interval_and_a_repair_heals_it() {
    let lab = Lab::new();
    every_second(&lab);
    let noise: Vec<u8> =
        (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(lab.project.join("noise"), noise).expect("written");
    let added = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let last = added.last_snapshot.expect("a snapshot");
    assert!(!last.verified, "nobody has looked yet");
    let looking = tokio::spawn(Arc::clone(&lab.daemon).verify_vaults());
    let status =
        until(&lab, "verified", |s| s.last_snapshot.as_ref().is_some_and(|l| l.verified)).await;
    let health = status.health.expect("health");
    assert_eq!(health.verified.expect("verified").id, last.id);
    assert!(health.last_check.is_some() && health.last_rehearsal.is_some());
    assert_eq!(health.findings, []);
    until(&lab, "read back", |s| s.health.as_ref().is_some_and(|h| h.read_back > 0.99)).await;

    let pack = largest(&status.vault.join("data"));
    let mut bytes = fs::read(&pack).expect("read");
    bytes[2000] ^= 1;
    fs::write(&pack, bytes).expect("written");
    until(&lab, "damaged", |s| s.protection == Protection::Damaged).await;
    // A rehearsal may be the first to stumble over it; which pack it is, is found by reading.
    let pack_is_named = |s: &FolderStatus| {
        s.health.iter().flat_map(|health| &health.findings).any(|f| f.name == "pack-damaged")
    };
    let health = until(&lab, "named", pack_is_named).await.health.expect("health");
    let named = health.findings.iter().find(|f| f.name == "pack-damaged").expect("named");
    assert_eq!(named.snapshots, std::slice::from_ref(&last.id));
    assert!(health.verified.is_none(), "what is touched is not verified");
    let problems = lab.daemon.status().await.expect("status").problems;
    let said = problems
        .iter()
        .find(|p| p.message.contains("damaged") && p.message.contains(&last.id[..8]))
        .expect("said");
    assert!(said.command.as_deref().is_some_and(|command| command.contains("--repair")));
    let doctor = lab.daemon.doctor().await;
    assert!(doctor.iter().any(|f| f.check == "backup" && f.verdict == Verdict::Bad));

    let mut request = RepairRequest { folder: lab.project.clone(), read_data: true, apply: false };
    let plan = lab.daemon.repair(request.clone(), &Report::nobody()).await.expect("a plan");
    assert!(!plan.applied && !plan.steps.is_empty() && plan.beyond.is_empty(), "{plan:#?}");
    assert!(pack.exists(), "planning moved something");
    request.apply = true;
    let done = lab.daemon.repair(request, &Report::nobody()).await.expect("repaired");
    assert_eq!(done.healed, std::slice::from_ref(&last.id));
    assert!(done.check.is_good(), "{done:#?}");
    until(&lab, "good again", |s| {
        s.protection == Protection::Protected
            && s.last_snapshot.as_ref().is_some_and(|l| l.verified)
    })
    .await;
    let request = CheckRequest { folder: lab.project.clone(), read_data: true };
    let check = lab.daemon.check(request, &Report::nobody()).await.expect("checked");
    assert_eq!(check.problems, []);
    lab.daemon.request_shutdown();
    looking.await.expect("ended");
    assert!(!lab.daemon.layout.state.join("scratch").join(added.id.as_str()).exists());
}

#[tokio::test]
async fn a_vault_that_nothing_opens_is_still_checked_and_named() {
    let lab = Lab::new();
    let added = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let config = added.vault.join("config");
    let mut bytes = fs::read(&config).expect("read");
    bytes[20] ^= 1;
    fs::write(&config, bytes).expect("written");
    let request = CheckRequest { folder: lab.project.clone(), read_data: false };
    let check = lab.daemon.check(request, &Report::nobody()).await.expect("checked");
    assert_eq!(check.problems[0].name, "config-damaged");
    let status = lab.daemon.status().await.expect("status").folders.remove(0);
    assert_eq!(status.protection, Protection::Damaged);
}
