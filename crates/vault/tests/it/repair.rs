//! Damage is mended where it can be, and what stays lost is named; nothing is deleted,
//! and stock restic finds the vault clean afterwards.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ringfence_vault::{
    CheckRequest, Elsewhere, Labels, RepairReport, RepairRequest, RepairStep, SnapshotKind,
    SnapshotRequest, Spare, Target, VaultError, VaultKey, plan_repair, repair,
};

use crate::damage::{Story, files_in, flip};
use crate::lab::run;
use crate::stock_restic::restic;

fn key(story: &Story) -> VaultKey {
    VaultKey::load(&story.lab.dir.path().join("id.key")).unwrap()
}

fn request(story: &Story) -> RepairRequest {
    let labels = Labels::new(SnapshotKind::Manual);
    RepairRequest {
        check: CheckRequest { read_data: true, ..CheckRequest::default() },
        reread: Some(SnapshotRequest::new(&story.lab.folder, labels, story.lab.now())),
        elsewhere: Vec::new(),
    }
}

/// Plans, shows that planning touched nothing, and repairs.
#[track_caller]
fn mend(story: &Story, request: &RepairRequest) -> RepairReport {
    let before = files_in(story.lab.vault.dir());
    let plan = plan_repair(story.lab.vault.dir(), &key(story), request).unwrap();
    assert!(!plan.report.is_clean());
    assert_eq!(files_in(story.lab.vault.dir()), before);
    let report = repair(story.lab.vault.dir(), &key(story), request).unwrap();
    let planned = plan.steps.iter().filter(|s| !matches!(s, RepairStep::Beyond { .. }));
    assert_eq!(planned.cloned().collect::<Vec<_>>(), report.done);
    report
}

/// Every byte that was in the vault is still in it, somewhere.
#[track_caller]
fn assert_kept(story: &Story, damaged: &[u8]) {
    let aside = files_in(&story.lab.vault.dir().join("set-aside"));
    assert!(aside.iter().any(|file| fs::read(file).unwrap() == damaged), "it was thrown away");
}

#[track_caller]
fn assert_clean(story: &Story) {
    story.lab.assert_whole();
    restic(&story.lab, &["check", "--read-data"]);
}

#[test]
fn content_that_the_folder_still_has_comes_back_into_every_snapshot() {
    let story = Story::new();
    for (number, pack) in [&story.packs[0].0, &story.packs[1].0].into_iter().enumerate() {
        // Through all of its content, so that nothing can be salvaged of it.
        let length = fs::metadata(pack).unwrap().len() as usize;
        (0..length).step_by(10_000).for_each(|at| flip(pack, at));
        let damaged = fs::read(pack).unwrap();
        let report = mend(&story, &request(&story));
        assert_kept(&story, &damaged);
        assert_clean_but(&story, &report, number);
    }
}

/// The first pack holds the first version of `a`, which the folder has no more.
#[track_caller]
fn assert_clean_but(story: &Story, report: &RepairReport, number: usize) {
    if number == 0 {
        assert_eq!(report.healed, [story.id(2)]);
        let mut lost: Vec<_> = report.lost.iter().map(|t| t.snapshot).collect();
        lost.sort_unstable();
        let mut expected = vec![story.id(0), story.id(1)];
        expected.sort_unstable();
        assert_eq!(lost, expected);
        for touched in &report.lost {
            assert_eq!(touched.paths.iter().map(|p| p.lossy()).collect::<Vec<_>>(), ["a"]);
        }
        story.assert_restores(&[2], "healed");
        // What is lost stays named.
        assert!(!story.lab.vault.check(false).unwrap().is_clean());
        return;
    }
    let mut healed = report.healed.clone();
    healed.sort_unstable();
    assert!(healed.contains(&story.id(2)), "{report:#?}");
    story.assert_restores(&[2], "healed-again");
}

#[test]
fn what_is_sound_in_a_damaged_pack_is_saved() {
    let story = Story::new();
    // One byte of a pack with several files, none of which the folder has any more.
    flip(&story.packs[0].0, 10);
    for entry in fs::read_dir(&story.lab.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    let lost_before = story.lab.vault.check(true).unwrap().problems[0].snapshots.clone();
    let report = mend(&story, &request(&story));
    assert!(matches!(report.done[0], RepairStep::Salvage { sound: 2, lost: 1, .. }), "{report:#?}");
    let entries = |touched: &[ringfence_vault::Touched]| -> Vec<_> {
        touched.iter().map(|t| (t.snapshot, t.paths.clone())).collect()
    };
    assert_eq!(entries(&report.lost), entries(&lost_before), "not one file more is lost");
    // All but that one file comes back from the oldest snapshot.
    let damaged = report.lost[0].paths[0].clone();
    for name in ["a", "d/kept", "d/e/deep"].into_iter().filter(|n| n.as_bytes() != damaged.0) {
        let mut content = Vec::new();
        let path = name.as_bytes();
        story.lab.vault.read_file(story.id(0), path, &mut content).unwrap();
        assert_eq!(content, fs::read(story.states[0].1.join(name)).unwrap());
    }
}

#[test]
fn a_lost_pack_of_directories_is_made_again_from_the_folder() {
    let story = Story::new();
    fs::remove_file(&story.packs[2].1).unwrap();
    let report = mend(&story, &request(&story));
    assert_eq!(report.healed, [story.id(2)]);
    assert_eq!(report.lost.len(), 0);
    story.assert_restores(&[0, 1, 2], "directories");
    assert_clean(&story);
}

#[test]
fn index_snapshot_and_key_files_are_mended_or_moved_aside() {
    let story = Story::new();
    let dir = story.lab.vault.dir().to_path_buf();
    let first = |name: &str| files_in(&dir.join(name)).into_iter().next().unwrap();
    let (index, keys) = (first("index"), first("keys"));
    let snapshot = dir.join("snapshots").join(story.id(1).to_string());
    for file in [&index, &keys, &snapshot] {
        flip(file, 33);
    }
    let contents: Vec<_> = [&index, &keys, &snapshot].map(|file| fs::read(file).unwrap()).into();
    let report = mend(&story, &request(&story));
    contents.iter().for_each(|content| assert_kept(&story, content));
    assert!(report.after.is_clean(), "{report:#?}");
    assert_eq!(report.healed, [], "a snapshot whose own file is lost is not healed");
    assert_clean(&story);
    story.assert_restores(&[0, 2], "mended");
}

#[test]
fn a_copy_gives_back_what_it_has_and_only_what_is_right() {
    let story = Story::new();
    let dir = story.lab.vault.dir().to_path_buf();
    let copy = story.lab.dir.path().join("copy");
    run("cp", ["-a".as_ref(), dir.as_os_str(), copy.as_os_str()]);
    let pack = &story.packs[0].0;
    flip(pack, 10);
    flip(&dir.join("config"), 10);
    let snapshot = dir.join("snapshots").join(story.id(0).to_string());
    fs::remove_file(&story.packs[2].0).unwrap();
    flip(&snapshot, 10);
    let mut request = request(&story);
    request.reread = None;
    // A copy that is damaged itself comes first, and is not believed.
    let bad = story.lab.dir.path().join("bad-copy");
    run("cp", ["-a".as_ref(), dir.as_os_str(), bad.as_os_str()]);
    request.elsewhere =
        vec![Arc::new(Target::disk("bad", bad)), Arc::new(Target::disk("good", copy))];
    let report = mend(&story, &request);
    let put_back = |s: &&RepairStep| matches!(s, RepairStep::PutBack { .. });
    assert_eq!(report.done.iter().filter(put_back).count(), 4, "{report:#?}");
    assert!(report.after.is_clean());
    assert_clean(&story);
    story.assert_restores(&[0, 1, 2], "copy");
}

#[test]
fn a_lost_configuration_is_put_back_from_the_spare_and_nothing_is_tried_without() {
    let story = Story::new();
    let dir = story.lab.vault.dir().to_path_buf();
    let spare = Spare::of(&dir).unwrap();
    assert_eq!(spare.files.len(), 2);
    let config = dir.join("config");
    let whole = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    let before = files_in(&dir);
    let error = repair(&dir, &key(&story), &request(&story)).unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    assert_eq!(files_in(&dir), before);
    let mut request = request(&story);
    request.elsewhere.push(Arc::new(spare));
    let report = mend(&story, &request);
    assert!(report.after.is_clean());
    assert_eq!(fs::read(&config).unwrap(), whole);
    assert_clean(&story);
}

#[test]
fn a_wrong_key_repairs_nothing() {
    let story = Story::new();
    let dir = story.lab.vault.dir().to_path_buf();
    flip(&story.packs[0].0, 10);
    let before = files_in(&dir);
    let wrong = VaultKey::generate().unwrap();
    let plan = plan_repair(&dir, &wrong, &request(&story)).unwrap();
    assert!(plan.steps.iter().all(|step| matches!(step, RepairStep::Beyond { .. })), "{plan:#?}");
    let error = repair(&dir, &wrong, &request(&story)).unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
    assert_eq!(files_in(&dir), before);
}

#[test]
fn a_repair_that_was_cut_short_is_done_again() {
    let story = Story::new();
    let dir = story.lab.vault.dir().to_path_buf();
    flip(&story.packs[0].0, 10);
    let twin = story.lab.dir.path().join("twin");
    run("cp", ["-a".as_ref(), dir.as_os_str(), twin.as_os_str()]);
    let mut request = request(&story);
    request.reread = None;
    let whole = mend(&story, &request);
    // The twin is as a power cut would leave it: the pack is aside, what was sound in it
    // is in a new pack, and the index knows nothing of that yet.
    let below = |path: &Path, top: &Path| path.strip_prefix(top).unwrap().to_path_buf();
    for new in files_in(&dir.join("data")) {
        let place = twin.join(below(&new, &dir));
        if !place.exists() {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(&new, place).unwrap();
        }
    }
    fs::remove_file(twin.join(below(&story.packs[0].0, &dir))).unwrap();
    let again = repair(&twin, &key(&story), &request).unwrap();
    assert!(again.done.contains(&RepairStep::Reindex));
    let lost = |report: &RepairReport| -> Vec<_> {
        report.lost.iter().map(|t| (t.snapshot, t.entries, t.paths.clone())).collect()
    };
    assert_eq!(lost(&again), lost(&whole));
    assert!(!whole.lost.is_empty());
}

/// What a copy elsewhere looks like to a repair.
#[test]
fn a_spare_knows_only_its_own_files() {
    let story = Story::new();
    let spare = Spare::of(story.lab.vault.dir()).unwrap();
    assert!(spare.fetch("config").unwrap().is_some());
    assert!(spare.fetch("data/00/nothing").unwrap().is_none());
    let text = serde_json::to_string(&spare).unwrap();
    assert_eq!(serde_json::from_str::<Spare>(&text).unwrap(), spare);
}
