//! Letting snapshots go: what stays is whole, whatever happens, and stock restic agrees.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ringfence_vault::{PruneRequest, SnapshotKind, SnapshotOutcome, VaultError};

use crate::faults::noise;
use crate::lab::{Lab, assert_same};
use crate::stock_restic::restic;

const MIB: usize = 1 << 20;

/// A snapshot that alone needs a good part of what it holds.
fn take(lab: &Lab, seed: u64) -> (SnapshotOutcome, PathBuf) {
    lab.write("own", noise(MIB, seed * 2 + 1));
    for n in 0..20 {
        lab.write(&format!("d{}/f{n}", n % 3), noise(4_000, seed * 31 + n));
    }
    lab.write(&format!("kept/{seed}"), noise(50_000, seed * 7 + 5));
    let taken = lab.snapshot(SnapshotKind::Periodic);
    (taken, lab.reference(&format!("state{seed}")))
}

fn files(lab: &Lab) -> usize {
    let packs = fs::read_dir(lab.vault.dir().join("data")).unwrap();
    packs.map(|sub| fs::read_dir(sub.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn what_only_forgotten_snapshots_needed_goes_in_two_phases() {
    let lab = Lab::new();
    let taken: Vec<_> = (0..5).map(|seed| take(&lab, seed)).collect();
    let forget = taken[..4].iter().map(|(taken, _)| taken.snapshot.id).collect::<Vec<_>>();
    let request = PruneRequest::new(forget.clone());
    let before = lab.vault.size().unwrap();
    let forecast = lab.vault.forecast_prune(&request).unwrap();
    assert!(forecast.later > 4 * MIB as u64, "{forecast:?}");
    assert_eq!(forecast.now, 0);
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), 5, "a forecast changes nothing");

    let report = lab.vault.prune(&request).unwrap();
    let mut expected = forget.clone();
    expected.sort();
    assert_eq!(report.forgotten, expected);
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), 1);
    assert!(report.marked > 4 * MIB as u64, "{report:?}");
    let marked = lab.vault.size().unwrap();
    assert!(marked > before - MIB as u64, "nothing is removed at once: {before} {marked}");
    restic(&lab, &["check", "--read-data"]);
    assert_same(&taken[4].1, &lab.restore_elsewhere(&taken[4].0, "after-marking"));

    // Too early for the second phase.
    let again = lab.vault.prune(&PruneRequest::new(forget)).unwrap();
    assert!(again.forgotten.is_empty());
    assert!(lab.vault.size().unwrap() > before - MIB as u64);

    let second = PruneRequest { marked_for: Duration::ZERO, ..PruneRequest::new(Vec::new()) };
    let freed = lab.vault.prune(&second).unwrap().freed;
    assert!(freed > 4 * MIB as u64, "{freed}");
    assert!(lab.vault.size().unwrap() < before - 4 * MIB as u64);
    restic(&lab, &["check", "--read-data"]);
    lab.assert_whole();
    assert_same(&taken[4].1, &lab.restore_elsewhere(&taken[4].0, "after-removing"));
    // And the next snapshot builds on what is left.
    let (next, state) = take(&lab, 9);
    assert_same(&state, &lab.restore_elsewhere(&next, "next"));
    restic(&lab, &["check", "--read-data"]);
}

#[test]
fn content_that_comes_back_is_stored_again() {
    let lab = Lab::new();
    let (first, state) = take(&lab, 1);
    take(&lab, 2);
    lab.vault.prune(&PruneRequest::new(vec![first.snapshot.id])).unwrap();
    // The same content as in the forgotten one, whose data is only marked so far.
    fs::remove_dir_all(&lab.folder).unwrap();
    crate::lab::run("cp", ["-a".as_ref(), state.as_os_str(), lab.folder.as_os_str()]);
    let back = lab.snapshot(SnapshotKind::Manual);
    let second = PruneRequest { marked_for: Duration::ZERO, ..PruneRequest::new(Vec::new()) };
    lab.vault.prune(&second).unwrap();
    lab.vault.prune(&second).unwrap();
    restic(&lab, &["check", "--read-data"]);
    assert_same(&state, &lab.restore_elsewhere(&back, "back"));
}

#[test]
fn the_newest_stays_and_a_damaged_vault_is_left_alone() {
    let lab = Lab::new();
    let first = take(&lab, 1).0.snapshot.id;
    let newest = take(&lab, 2).0.snapshot.id;
    let error = lab.vault.prune(&PruneRequest::new(vec![first, newest])).unwrap_err();
    assert!(matches!(error, VaultError::Request(_)), "{error:?}");
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), 2);

    // A snapshot file that cannot be read may need anything.
    let broken = lab.vault.dir().join("snapshots").join(newest.to_string());
    let content = fs::read(&broken).unwrap();
    fs::write(&broken, &content[..content.len() / 2]).unwrap();
    let before = files(&lab);
    let error = lab.vault.prune(&PruneRequest::new(vec![first])).unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error:?}");
    assert_eq!(files(&lab), before);
    assert!(lab.vault.dir().join("snapshots").join(first.to_string()).exists());
}

#[test]
fn nothing_is_removed_under_the_eyes_of_stock_restic() {
    let lab = Lab::new();
    let first = take(&lab, 1).0.snapshot.id;
    take(&lab, 2);
    let lock = lab.vault.dir().join("locks").join("00".repeat(32));
    fs::write(&lock, "restic holds this").unwrap();
    let error = lab.vault.prune(&PruneRequest::new(vec![first])).unwrap_err();
    assert!(matches!(error, VaultError::StockRestic { .. }), "{error:?}");
    fs::remove_file(lock).unwrap();
    lab.vault.prune(&PruneRequest::new(vec![first])).unwrap();
}

#[test]
fn a_request_to_stop_leaves_everything() {
    let lab = Lab::new();
    let first = take(&lab, 1).0.snapshot.id;
    take(&lab, 2);
    let request = PruneRequest::new(vec![first]);
    request.cancel.cancel();
    assert!(matches!(lab.vault.prune(&request), Err(VaultError::Cancelled)));
    assert_eq!(lab.vault.snapshots().unwrap().snapshots.len(), 2);
}
