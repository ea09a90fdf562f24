//! Killed at any moment, over and over: after each kill stock restic finds nothing
//! wrong, the newest finished snapshot restores to what the folder was, and what was cut
//! short is completed. The three tests make 510 kills in their long form.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use ringfence_vault::{SnapshotId, SnapshotKind, SnapshotOutcome, resume_restore};

use crate::children::{End, killed, killed_where_it_stands, moment, play};
use crate::faults::noise;
use crate::lab::{Lab, assert_same, differences};
use crate::stock_restic::restic;

/// Kills that each of the tests has to make.
fn kills() -> u32 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 170 } else { 6 }
}

/// Calls `round` with a number until enough rounds ended with a kill. How many end by
/// themselves depends on the moment only, which follows the pace of the machine.
fn until_enough(round: &mut dyn FnMut(u32) -> End) {
    let (mut hit, mut rounds) = (0, 0);
    while hit < kills() {
        assert!(rounds < 20 + 6 * kills(), "only {hit} of {rounds} were killed in time");
        hit += u32::from(round(rounds) == End::Killed);
        rounds += 1;
    }
    eprintln!("{hit} of {rounds} were killed");
}

/// A new version of every file; other ones for another seed.
fn fill(folder: &Path, seed: u32) {
    for n in 0..120u32 {
        let dir = folder.join(format!("d{}", n % 7));
        fs::create_dir_all(&dir).unwrap();
        let content = noise(n as usize * 300, u64::from(seed) * 977 + u64::from(n) + 1);
        fs::write(dir.join(format!("f{n}")), content).unwrap();
    }
}

/// What must hold after every kill. `state` is what the newest snapshot holds.
fn assert_sound(lab: &Lab, newest: SnapshotId, state: &Path) {
    restic(lab, &["check", "--read-data"]);
    let report = lab.vault.check(false).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert!(lab.vault.snapshots().unwrap().damaged.is_empty());
    assert_eq!(lab.vault.find("latest").unwrap().id, newest);
    let back = lab.restore_by_id(newest, "back-after-kill");
    assert_same(state, &back);
    fs::remove_dir_all(back).unwrap();
}

#[test]
fn a_snapshot_killed_at_any_moment_harms_nothing() {
    let lab = Lab::new();
    fill(&lab.folder, 0);
    let first = lab.snapshot(SnapshotKind::Opening);
    let reference = lab.reference("first");
    let mut newest = (first.snapshot.id, reference.clone());
    let dir = lab.dir.path().to_str().unwrap();
    until_enough(&mut |round| {
        fill(&lab.folder, round + 1);
        let state = lab.reference(&format!("state{round}"));
        let end = killed(&["snapshot", dir], moment(round));
        let found = lab.vault.find("latest").unwrap().id;
        assert!(end == End::Killed || found != newest.0, "it ended well and stored nothing");
        if found != newest.0 {
            newest = (found, state.clone());
        }
        assert_sound(&lab, newest.0, &newest.1);
        if round % 4 == 3 {
            newest = (lab.snapshot(SnapshotKind::Periodic).snapshot.id, state);
            assert_sound(&lab, newest.0, &newest.1);
        }
        end
    });
    assert_same(&reference, &lab.restore_elsewhere(&first, "first-again"));
    lab.assert_whole();
}

#[test]
fn a_restore_killed_at_any_moment_is_completed() {
    let lab = Lab::new();
    fill(&lab.folder, 0);
    lab.write("only-in-a/x", "a");
    let a = lab.snapshot(SnapshotKind::Manual);
    let reference_a = lab.reference("a");
    fs::remove_dir_all(lab.path("only-in-a")).unwrap();
    fs::remove_dir_all(lab.path("d1")).unwrap();
    fill(&lab.folder, 9);
    fs::hard_link(lab.path("d2/f2"), lab.path("twin")).unwrap();
    let b = lab.snapshot(SnapshotKind::Manual);
    let reference_b = lab.reference("b");
    let dir = lab.dir.path().to_str().unwrap();
    let ids = [a.snapshot.id.to_string(), b.snapshot.id.to_string()];
    let references = [&reference_a, &reference_b];
    let mut present = 1;
    let mut newest = (b.snapshot.id, 1);
    let mut resumed = 0;
    until_enough(&mut |round| {
        let to = 1 - present;
        let end = if round % 2 == 0 {
            killed(&["restore", dir, &ids[to]], moment(round))
        } else {
            // Putting in place takes a small part of the time: one step of it.
            let step = (1 + round * 37 % 100).to_string();
            killed_where_it_stands(&["restore", dir, &ids[to], &step]);
            End::Killed
        };
        // The guard of what was restored, if that came so far.
        let found = lab.vault.find("latest").unwrap().id;
        if found != newest.0 {
            newest = (found, present);
        }
        let log = lab.staging().join("redo.log");
        let waits = log.exists();
        if round % 3 != 0 && waits {
            killed(&["resume", dir], moment(round + 50));
        }
        let still = log.exists();
        let report = resume_restore(&lab.staging(), None).unwrap();
        assert_eq!(report.is_some(), still, "round {round}");
        if let Some(report) = report {
            resumed += 1;
            assert_eq!(report.kept_conflicts, [], "round {round}");
        }
        // Either nothing happened, or all of it: nothing in between.
        if differences(references[to], &lab.folder).is_empty() {
            present = to;
        } else {
            assert!(!waits, "round {round}: a resumed restore is not complete");
            assert!(end == End::Killed, "round {round}: a whole restore is not complete");
            assert_same(references[present], &lab.folder);
        }
        assert!(!lab.staging().exists() || fs::read_dir(lab.staging()).unwrap().count() == 0);
        assert_sound(&lab, newest.0, references[newest.1]);
        end
    });
    eprintln!("{resumed} resumed");
    assert!(resumed > 0, "none was killed while it put entries in place");
    lab.assert_whole();
}

/// A snapshot that alone needs a good part of what it holds.
fn take(lab: &Lab, seed: u64) -> (SnapshotOutcome, PathBuf) {
    lab.write("own", noise(1 << 20, seed * 2 + 1));
    for n in 0..20 {
        lab.write(&format!("d{}/f{n}", n % 3), noise(4_000, seed * 31 + n));
    }
    lab.write(&format!("kept/{}", seed % 16), noise(50_000, seed * 7 + 5));
    let taken = lab.snapshot(SnapshotKind::Periodic);
    (taken, lab.reference(&format!("state{seed}")))
}

#[test]
fn a_prune_killed_at_any_moment_harms_nothing() {
    let lab = Lab::new();
    let dir = lab.dir.path().to_str().unwrap();
    let mut kept: VecDeque<(SnapshotOutcome, PathBuf)> =
        (0..6).map(|seed| take(&lab, seed)).collect();
    until_enough(&mut |round| {
        kept.push_back(take(&lab, 100 + u64::from(round)));
        let (oldest, state) = kept.pop_front().unwrap();
        let id = oldest.snapshot.id.to_string();
        let end = killed(&["prune", dir, &id], moment(round));
        let newest = kept.back().unwrap();
        assert_sound(&lab, newest.0.snapshot.id, &newest.1);
        // Forgotten or not, but nothing in between.
        if lab.vault.load(oldest.snapshot.id).is_ok() {
            assert!(end == End::Killed, "it ended well and forgot nothing");
            assert_same(&state, &lab.restore_elsewhere(&oldest, &format!("old{round}")));
        }
        fs::remove_dir_all(state).unwrap();
        let one = &kept[round as usize % kept.len()];
        assert_same(&one.1, &lab.restore_elsewhere(&one.0, &format!("back{round}")));
        fs::remove_dir_all(lab.dir.path().join(format!("back{round}"))).unwrap();
        end
    });
    // What was cut short is completed by the next one.
    for _ in 0..2 {
        assert!(play(&["prune", dir, ""]).status().unwrap().success());
    }
    restic(&lab, &["check", "--read-data"]);
    for (n, (taken, state)) in kept.iter().enumerate() {
        assert_same(state, &lab.restore_elsewhere(taken, &format!("last{n}")));
    }
}
