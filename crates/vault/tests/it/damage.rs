//! Damage of every kind is found, and named with exactly the snapshots and files that
//! it touches; everything else restores.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringfence_vault::{
    CheckReport, CheckRequest, Problem, Severity, SnapshotId, SnapshotKind, SnapshotOutcome, Vault,
    VaultError, VaultKey, check,
};

use crate::lab::{Lab, assert_same};
use crate::stock_restic::restic;

pub(crate) fn noise(seed: u32, length: u32) -> Vec<u8> {
    let mut word = seed * 2 + 1;
    let step = |_| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (word >> 24) as u8
    };
    (0..length).map(step).collect()
}

/// A vault with three snapshots, each of which brought packs of its own.
pub(crate) struct Story {
    pub(crate) lab: Lab,
    /// The snapshots, the oldest first, with an exact copy of the folder at that time.
    pub(crate) states: Vec<(SnapshotOutcome, PathBuf)>,
    /// Packs of content and of directories that each snapshot brought.
    pub(crate) packs: Vec<(PathBuf, PathBuf)>,
}

impl Story {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let (mut states, mut packs) = (Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        let edits: [&[(&str, u32)]; 3] =
            [&[("a", 1), ("d/kept", 2), ("d/e/deep", 3)], &[("d/b", 4)], &[("a", 5)]];
        for (number, edits) in edits.iter().enumerate() {
            for (name, seed) in *edits {
                lab.write(name, noise(*seed, 200_000));
            }
            let made = lab.snapshot(SnapshotKind::Manual);
            states.push((made, lab.reference(&format!("state{number}"))));
            let now = files_in(&lab.vault.dir().join("data"));
            let mut new: Vec<_> = now.difference(&known).cloned().collect();
            new.sort_by_key(|path| fs::metadata(path).unwrap().len());
            let [directories, content] = &new[..] else { panic!("{new:?}") };
            packs.push((content.clone(), directories.clone()));
            known = now;
        }
        Self { lab, states, packs }
    }

    pub(crate) fn id(&self, number: usize) -> SnapshotId {
        self.states[number].0.snapshot.id
    }

    /// Everything about these snapshots restores, byte for byte.
    #[track_caller]
    pub(crate) fn assert_restores(&self, numbers: &[usize], name: &str) {
        for number in numbers {
            let (made, reference) = &self.states[*number];
            let back = self.lab.restore_elsewhere(made, &format!("{name}{number}"));
            assert_same(reference, &back);
        }
    }

    fn file(&self, directory: &str) -> PathBuf {
        files_in(&self.lab.vault.dir().join(directory)).into_iter().next().unwrap()
    }
}

pub(crate) fn files_in(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_in(&path)) } else { found.extend([path]) }
    }
    found
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// The one problem of a report.
#[track_caller]
pub(crate) fn only(report: &CheckReport) -> &Problem {
    assert_eq!(report.problems.len(), 1, "{report:#?}");
    assert!(!report.is_clean());
    &report.problems[0]
}

pub(crate) fn touched(problem: &Problem) -> BTreeSet<SnapshotId> {
    problem.snapshots.iter().map(|touched| touched.snapshot).collect()
}

#[track_caller]
fn names(problem: &Problem, snapshot: SnapshotId) -> Vec<String> {
    let touched = problem.snapshots.iter().find(|t| t.snapshot == snapshot).unwrap();
    assert_eq!(touched.entries, touched.paths.len() as u64);
    touched.paths.iter().map(|path| path.lossy()).collect()
}

/// The snapshots in which stock restic finds something of a pack.
fn by_restic(lab: &Lab, pack: &Path) -> BTreeSet<SnapshotId> {
    let name = pack.file_name().unwrap().to_str().unwrap();
    let found = restic(lab, &["find", "--json", "--pack", name]);
    let hits: serde_json::Value = serde_json::from_str(&found).unwrap();
    let hits = hits.as_array().unwrap().iter();
    let snapshot = |hit: &serde_json::Value| hit["snapshot"].as_str().unwrap().parse().unwrap();
    hits.filter(|hit| hit["object_type"] == "blob").map(snapshot).collect()
}

#[test]
fn a_flipped_byte_of_content_is_named_with_the_snapshots_and_files_it_touches() {
    let story = Story::new();
    let expected: [(&[usize], &str); 3] = [(&[0, 1, 2], "d/kept"), (&[1, 2], "d/b"), (&[2], "a")];
    for (number, (snapshots, name)) in expected.iter().enumerate() {
        let pack = &story.packs[number].0;
        let view = by_restic(&story.lab, pack);
        // The first pack holds several files in an order of its own: find the one wanted.
        let place = (0..)
            .step_by(1000)
            .take_while(|at| *at < fs::metadata(pack).unwrap().len() as usize)
            .find(|at| {
                flip(pack, *at);
                let report = story.lab.vault.check(true).unwrap();
                let hit = report.problems[0].snapshots.iter().any(|t| {
                    t.paths.iter().map(|path| path.lossy()).collect::<Vec<_>>() == [*name]
                });
                flip(pack, *at);
                hit
            })
            .unwrap();
        flip(pack, place);
        assert!(story.lab.vault.check(false).unwrap().is_clean(), "only reading finds it");
        let report = story.lab.vault.check(true).unwrap();
        let problem = only(&report);
        assert_eq!(problem.name, "pack-damaged");
        assert!(pack.ends_with(problem.file.as_deref().unwrap()));
        let wanted: BTreeSet<_> = snapshots.iter().map(|n| story.id(*n)).collect();
        assert_eq!(touched(problem), wanted, "{name}");
        assert!(wanted.is_subset(&view), "{view:?}");
        for snapshot in *snapshots {
            assert_eq!(names(problem, story.id(*snapshot)), [*name]);
        }
        assert_eq!(problem.snapshots[0].snapshot, story.id(2), "the newest comes first");
        let rest: Vec<_> = (0..3).filter(|n| !snapshots.contains(n)).collect();
        story.assert_restores(&rest, &format!("flipped{number}-"));
        flip(pack, place);
    }
    story.lab.assert_whole();
}

#[test]
fn a_missing_pack_is_found_without_reading_and_touches_what_restic_says() {
    let story = Story::new();
    let all: [&[usize]; 3] = [&[0, 1, 2], &[1, 2], &[2]];
    for (number, snapshots) in all.iter().enumerate() {
        let pack = &story.packs[number].0;
        let view = by_restic(&story.lab, pack);
        let aside = story.lab.dir.path().join("aside");
        fs::rename(pack, &aside).unwrap();
        let report = story.lab.vault.check(false).unwrap();
        let problem = only(&report);
        assert_eq!(problem.name, "pack-missing");
        assert_eq!(touched(problem), snapshots.iter().map(|n| story.id(*n)).collect());
        assert_eq!(touched(problem), view);
        let rest: Vec<_> = (0..3).filter(|n| !snapshots.contains(n)).collect();
        story.assert_restores(&rest, &format!("missing{number}-"));
        // Cut in half is found the same way.
        fs::copy(&aside, pack).unwrap();
        cut(pack);
        let report = story.lab.vault.check(false).unwrap();
        assert_eq!(only(&report).name, "pack-damaged");
        assert!(touched(only(&report)).is_subset(&view));
        assert!(!only(&report).snapshots.is_empty());
        fs::rename(&aside, pack).unwrap();
    }
    story.lab.assert_whole();
}

#[test]
fn a_damaged_directory_names_what_lies_below_it() {
    let story = Story::new();
    // The directories that the second snapshot brought: the root, and `d`.
    let pack = &story.packs[1].1;
    let aside = story.lab.dir.path().join("aside");
    fs::rename(pack, &aside).unwrap();
    let report = story.lab.vault.check(false).unwrap();
    let problem = only(&report);
    assert_eq!(problem.name, "pack-missing");
    assert_eq!(touched(problem), BTreeSet::from([story.id(1), story.id(2)]));
    let second = problem.snapshots.iter().find(|t| t.snapshot == story.id(1)).unwrap();
    assert!(second.whole, "{second:?}");
    assert_eq!(names(problem, story.id(2)), ["d"]);
    story.assert_restores(&[0], "directory");
    // A flipped byte in it is found by following the snapshots, without reading all data.
    fs::rename(&aside, pack).unwrap();
    flip(pack, 20);
    let report = story.lab.vault.check(false).unwrap();
    assert_eq!(only(&report).name, "pack-damaged", "{report:#?}");
    assert!(!only(&report).snapshots.is_empty());
    assert!(!touched(only(&report)).contains(&story.id(0)));
}

#[test]
fn a_damaged_table_of_contents_loses_nothing_and_is_still_a_problem() {
    let story = Story::new();
    let pack = &story.packs[1].0;
    flip(pack, fs::metadata(pack).unwrap().len() as usize - 10);
    let report = story.lab.vault.check(true).unwrap();
    assert_eq!(only(&report).name, "pack-damaged");
    assert_eq!(only(&report).snapshots.len(), 0);
    story.assert_restores(&[0, 1, 2], "table");
}

#[test]
fn a_damaged_index_loses_nothing_and_everything_restores() {
    let story = Story::new();
    let index = story.file("index");
    flip(&index, 40);
    let report = story.lab.vault.check(false).unwrap();
    let problem = only(&report);
    assert_eq!((problem.name, problem.snapshots.len()), ("index-damaged", 0));
    assert!(index.ends_with(problem.file.as_deref().unwrap()));
    story.assert_restores(&[0, 1, 2], "index");
    // Also for somebody who has loaded nothing yet.
    let fresh = Vault::open(story.lab.vault.dir(), &story.lab.key).unwrap();
    for (number, (_, reference)) in story.states.iter().enumerate() {
        let mut content = Vec::new();
        fresh.read_file(story.id(number), b"d/e/deep", &mut content).unwrap();
        assert_eq!(content, fs::read(reference.join("d/e/deep")).unwrap());
    }
    // Nor does it keep a new snapshot from being made.
    story.lab.write("new", "later");
    let made = story.lab.snapshot(SnapshotKind::Manual);
    assert_same(&story.lab.folder, &story.lab.restore_elsewhere(&made, "later"));
}

#[test]
fn a_damaged_snapshot_file_is_named_and_hides_no_other() {
    let story = Story::new();
    let file = story.lab.vault.dir().join("snapshots").join(story.id(1).to_string());
    flip(&file, 50);
    let report = story.lab.vault.check(false).unwrap();
    let problem = only(&report);
    assert_eq!(problem.name, "snapshot-damaged");
    assert_eq!(touched(problem), BTreeSet::from([story.id(1)]));
    assert!(problem.snapshots[0].whole);
    assert_eq!(report.snapshots, 2);
    assert_eq!(report.newest, Some(story.id(2)));
    story.assert_restores(&[0, 2], "snapshot");
}

#[test]
fn a_damaged_key_file_or_configuration_is_named_although_the_vault_still_opens() {
    let story = Story::new();
    let key = VaultKey::load(&story.lab.dir.path().join("id.key")).unwrap();
    let dir = story.lab.vault.dir();
    assert!(check(dir, &key, &CheckRequest::default()).unwrap().problems.is_empty());
    let file = story.file("keys");
    flip(&file, 30);
    let report = check(dir, &key, &CheckRequest::default()).unwrap();
    assert_eq!(only(&report).name, "key-damaged");
    assert!(file.ends_with(only(&report).file.as_deref().unwrap()));
    let aside = story.lab.dir.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    assert_eq!(only(&story.lab.vault.check(false).unwrap()).name, "key-missing");
    fs::rename(&aside, &file).unwrap();
    flip(&file, 30);
    let config = dir.join("config");
    flip(&config, 30);
    let report = check(dir, &key, &CheckRequest::default()).unwrap();
    assert_eq!(only(&report).name, "config-damaged");
    assert_eq!(touched(only(&report)).len(), 3);
    flip(&config, 30);
    story.lab.assert_whole();
}

#[test]
fn a_wrong_key_is_said_clearly_and_overwrites_nothing() {
    let story = Story::new();
    let dir = story.lab.vault.dir();
    let before = files_in(dir);
    let bytes = |files: &BTreeSet<PathBuf>| -> Vec<_> {
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    };
    let content = bytes(&before);
    let wrong = VaultKey::generate().unwrap();
    let wrong_file = story.lab.dir.path().join("wrong.key");
    wrong.store(&wrong_file).unwrap();
    let kept = fs::read(&wrong_file).unwrap();
    let report = check(dir, &wrong, &CheckRequest::default()).unwrap();
    assert_eq!(only(&report).name, "key-wrong");
    assert_eq!(touched(only(&report)).len(), 3, "every snapshot is named");
    let error = Vault::open(dir, &wrong).unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
    // Another vault's remembered master key is no key either.
    let other = Lab::new();
    let other = VaultKey::load(&other.dir.path().join("id.key")).unwrap();
    assert_eq!(only(&check(dir, &other, &CheckRequest::default()).unwrap()).name, "key-wrong");
    assert_eq!(files_in(dir), before);
    assert_eq!(bytes(&before), content);
    assert_eq!(fs::read(&wrong_file).unwrap(), kept);
}

#[test]
fn a_vault_open_to_others_is_a_problem_wherever_it_is_open() {
    let story = Story::new();
    for path in [story.packs[0].0.clone(), story.file("keys"), story.lab.vault.dir().join("index")]
    {
        let mode = fs::metadata(&path).unwrap().permissions();
        let open = fs::Permissions::from_mode(mode.mode() | 0o044);
        fs::set_permissions(&path, open).unwrap();
        let report = story.lab.vault.check(false).unwrap();
        assert_eq!(only(&report).name, "exposed", "{}", path.display());
        assert!(path.ends_with(only(&report).file.as_deref().unwrap()));
        fs::set_permissions(&path, mode).unwrap();
    }
    story.lab.assert_whole();
}

#[test]
fn a_leftover_pack_is_a_notice_and_no_more() {
    let story = Story::new();
    let stray = story.lab.vault.dir().join("data/00").join("0".repeat(64));
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::set_permissions(stray.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&stray, "leftover").unwrap();
    fs::set_permissions(&stray, fs::Permissions::from_mode(0o600)).unwrap();
    let report = story.lab.vault.check(false).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.problems.len(), 1, "{report:#?}");
    assert_eq!(report.problems[0].severity, Severity::Notice);
    assert_eq!(report.problems[0].name, "pack-unused");
}

#[test]
fn a_check_can_be_stopped() {
    let story = Story::new();
    let request = CheckRequest { read_data: true, ..CheckRequest::default() };
    request.cancel.cancel();
    let error = story.lab.vault.check_as(&request).unwrap_err();
    assert!(matches!(error, VaultError::Cancelled), "{error}");
}
