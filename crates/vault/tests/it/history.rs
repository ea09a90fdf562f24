//! Histories: what changed when, counted as a comparison counts it, without comparing.

use std::fs;

use ringfence_vault::{
    Change, ChangeCounts, Diff, EntryKind, PathChange, Point, SnapshotKind, SnapshotOutcome,
};

use crate::lab::Lab;

/// What a comparison lists, counted.
fn counted(diff: &Diff) -> ChangeCounts {
    let mut counts = ChangeCounts::default();
    for entry in diff.entries.iter().filter(|entry| !entry.is_directory_time()) {
        match entry.change {
            Change::Added => counts.added += 1,
            Change::Removed => counts.deleted += 1,
            Change::Modified(what) if what.is_content() => counts.changed += 1,
            Change::Modified(_) => counts.metadata += 1,
        }
    }
    counts
}

/// Six states in which a file and a directory come, change and go.
fn states(lab: &Lab) -> Vec<SnapshotOutcome> {
    let mut states = Vec::new();
    let mut take = || states.push(lab.snapshot(SnapshotKind::Manual));
    lab.write("other/deep/x", "1");
    take();
    lab.write("src/main.rs", "one");
    lab.write("src/lib/a", "a");
    take();
    lab.write("other/deep/x", "2");
    take();
    lab.write("src/main.rs", "two, longer");
    fs::remove_file(lab.path("src/lib/a")).unwrap();
    lab.write("src/lib/b", "b");
    take();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(lab.path("src/main.rs"), mode).unwrap();
    take();
    fs::remove_dir_all(lab.path("src")).unwrap();
    lab.write("src", "now a file");
    take();
    states
}

#[test]
fn a_folders_history_counts_what_a_comparison_lists() {
    let lab = Lab::new();
    let states = states(&lab);
    let history = lab.vault.history(b"", 100).unwrap();
    assert_eq!(history.versions.len(), states.len());
    assert_eq!(history.versions.last().unwrap().counts, None, "nothing before the first");
    for (n, version) in history.versions.iter().rev().enumerate() {
        assert_eq!(version.snapshot.id, states[n].snapshot.id);
        assert_eq!(version.path, None);
        if n > 0 {
            let (from, to) = (states[n - 1].snapshot.id, states[n].snapshot.id);
            let diff = lab.vault.diff(Point::Snapshot(from), Point::Snapshot(to)).unwrap();
            assert_eq!(version.counts, Some(counted(&diff)), "state {n}: {diff:#?}");
            assert!(!version.counts.unwrap().is_empty());
        }
    }
    // Asked again the counts are there already, and a limit keeps the newest.
    let again = lab.vault.history(b"", 2).unwrap();
    assert_eq!(again.versions.len(), 2);
    for (a, b) in again.versions.iter().zip(&history.versions) {
        assert_eq!((a.snapshot.id, a.counts), (b.snapshot.id, b.counts));
    }
}

#[test]
fn a_files_history_names_the_snapshots_in_which_it_changed() {
    let lab = Lab::new();
    let states = states(&lab);
    let of = |path: &[u8]| -> Vec<_> {
        let history = lab.vault.history(path, 100).unwrap();
        history
            .versions
            .into_iter()
            .rev()
            .map(|version| {
                let number = states.iter().position(|s| s.snapshot.id == version.snapshot.id);
                let state = version.path.unwrap();
                let change = match state.change {
                    PathChange::Added => "added".to_owned(),
                    PathChange::Removed => "removed".to_owned(),
                    PathChange::Modified(what) => {
                        what.words().filter(|w| *w != "times").collect::<Vec<_>>().join("+")
                    }
                };
                (number.unwrap(), change, state.kind, state.size, version.counts)
            })
            .collect()
    };
    let (file, dir) = (EntryKind::File, EntryKind::Directory);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        of(b"src/main.rs"),
        [
            (1, text("added"), file, Some(3), None),
            (3, text("content"), file, Some(11), None),
            (4, text("mode"), file, Some(11), None),
            (5, text("removed"), file, None, None),
        ]
    );
    let counts = |added, changed, deleted, metadata| {
        Some(ChangeCounts { added, changed, deleted, metadata })
    };
    assert_eq!(
        of(b"src"),
        [
            (1, text("added"), dir, None, None),
            (3, text(""), dir, None, counts(1, 1, 1, 0)),
            (4, text(""), dir, None, counts(0, 0, 0, 1)),
            (5, text("kind+mode"), file, Some(10), None),
        ]
    );
    assert_eq!(of(b"other/deep/x").len(), 2);
    assert_eq!(of(b"never/there"), []);
}

#[test]
fn the_newest_snapshot_that_has_a_path_is_found() {
    let lab = Lab::new();
    let states = states(&lab);
    let find = |paths: &[&str]| {
        let paths: Vec<_> = paths.iter().map(|p| p.as_bytes().to_vec()).collect();
        let found = lab.vault.newest_with(&paths, |_| true).unwrap();
        found.and_then(|found| states.iter().position(|s| s.snapshot.id == found.id))
    };
    assert_eq!(find(&["src/main.rs"]), Some(4));
    assert_eq!(find(&["src/lib/a"]), Some(2));
    assert_eq!(find(&["src/lib/a", "other/deep/x"]), Some(2));
    assert_eq!(find(&["src/lib/a", "src/lib/b"]), None);
    assert_eq!(find(&["src"]), Some(5));
    assert_eq!(find(&["src/main.rs/below/a/file"]), None);
    let not = states[4].snapshot.id;
    let found = lab.vault.newest_with(&[b"src/main.rs".to_vec()], |s| s.id != not).unwrap();
    assert_eq!(found.unwrap().id, states[3].snapshot.id);
}
