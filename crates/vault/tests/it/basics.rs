//! Keys, opening, what a snapshot holds, listing, finding, comparing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use ringfence_vault::{
    Change, Difference, EntryKind, Point, SnapshotKind, Vault, VaultError, VaultKey,
    opens_without_password,
};

use crate::lab::{Lab, bytes_name};

#[test]
fn only_its_key_opens_a_vault() {
    let lab = Lab::new();
    lab.write("a", "1");
    lab.snapshot(SnapshotKind::Manual);
    let other = VaultKey::generate().unwrap();
    assert!(matches!(Vault::open(lab.vault.dir(), &other), Err(VaultError::WrongKey { .. })));
    assert!(!opens_without_password(lab.vault.dir()).unwrap());
    let empty = lab.dir.path().join("nothing");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(Vault::open(&empty, &lab.key), Err(VaultError::NotAVault { .. })));
    assert!(matches!(Vault::create(lab.vault.dir(), &other), Err(VaultError::Exists { .. })));
    assert!(matches!(Vault::create(&lab.folder, &other), Err(VaultError::Exists { .. })));
    // The password alone is enough: the remembered master key only saves time.
    let typed = VaultKey::from_password(lab.key.reveal()).unwrap();
    assert_eq!(
        Vault::open(lab.vault.dir(), &typed).unwrap().snapshots().unwrap().snapshots.len(),
        1
    );
}

#[test]
fn a_stored_key_opens_without_deriving_again() {
    let lab = Lab::new();
    let path = lab.dir.path().join("id.key");
    let quickest = |key: &dyn Fn() -> VaultKey| {
        let once = |_| {
            let key = key();
            let start = Instant::now();
            Vault::open(lab.vault.dir(), &key).unwrap();
            start.elapsed()
        };
        (0..3).map(once).min().unwrap()
    };
    let stored = quickest(&|| VaultKey::load(&path).unwrap());
    let derived = quickest(&|| VaultKey::from_password(lab.key.reveal()).unwrap());
    assert!(stored * 5 < derived, "{stored:?} with, {derived:?} without the remembered key");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_vault_cut_short_while_it_was_made_is_made_again() {
    let lab = Lab::new();
    let dir = lab.dir.path().join("half");
    let key = VaultKey::generate().unwrap();
    drop(Vault::create(&dir, &key).unwrap());
    fs::remove_file(dir.join("config")).unwrap();
    let again = VaultKey::from_password(key.reveal()).unwrap();
    drop(Vault::create(&dir, &again).unwrap());
    Vault::open(&dir, &VaultKey::from_password(key.reveal()).unwrap()).unwrap();
}

#[test]
fn everything_in_the_vault_is_private() {
    let lab = Lab::new();
    lab.write("a", "1");
    lab.snapshot(SnapshotKind::Manual);
    let mut stack = vec![lab.vault.dir().to_path_buf()];
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let expected = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.mode() & 0o777, expected, "{}", path.display());
        if meta.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

#[test]
fn nothing_changed_writes_nothing() {
    let lab = Lab::new();
    lab.write("a/b", "1");
    lab.write(".git/config", "x");
    let first = lab.snapshot(SnapshotKind::Opening);
    assert!(!first.unchanged);
    let size = lab.vault.size().unwrap();
    // At once: every status is still too young, so contents are compared.
    let second = lab.snapshot(SnapshotKind::Closing);
    assert!(second.unchanged);
    assert_eq!(second.snapshot.id, first.snapshot.id);
    assert_eq!(second.counts, first.counts);
    assert_eq!((first.counts.files, first.counts.directories, first.counts.bytes), (2, 2, 2));
    std::thread::sleep(Duration::from_millis(60));
    assert!(lab.snapshot(SnapshotKind::Manual).unchanged);
    assert_eq!(lab.vault.size().unwrap(), size);
    // An unchanged small folder, vault opened anew, as `run -- true` does it. The best
    // of some, since the machine may be busy with other things.
    let once = |_| {
        let start = Instant::now();
        let key = VaultKey::load(&lab.dir.path().join("id.key")).unwrap();
        let vault = Vault::open(lab.vault.dir(), &key).unwrap();
        assert!(vault.snapshot(&lab.request(SnapshotKind::Opening)).unwrap().unchanged);
        start.elapsed()
    };
    let quickest = (0..5).map(once).min().unwrap();
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
    lab.assert_whole();
}

#[test]
fn a_change_of_any_kind_is_a_new_snapshot() {
    let lab = Lab::new();
    lab.write("d/file", "one");
    symlink("file", lab.path("d/link")).unwrap();
    fs::create_dir(lab.path("empty")).unwrap();
    let mut last = lab.snapshot(SnapshotKind::Opening);
    let mut changed = |what: &str, act: &dyn Fn()| {
        std::thread::sleep(Duration::from_millis(30));
        act();
        let next = lab.snapshot(SnapshotKind::Periodic);
        assert!(!next.unchanged, "{what} was not noticed");
        assert_ne!(next.snapshot.id, last.snapshot.id, "{what}");
        last = next;
    };
    changed("content", &|| fs::write(lab.path("d/file"), "two").unwrap());
    changed("mode", &|| {
        fs::set_permissions(lab.path("d/file"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    changed("the same size with the old time put back", &|| {
        let time = fs::metadata(lab.path("d/file")).unwrap().modified().unwrap();
        fs::write(lab.path("d/file"), "TWO").unwrap();
        let file = fs::File::options().write(true).open(lab.path("d/file")).unwrap();
        file.set_modified(time).unwrap();
    });
    changed("a link", &|| {
        fs::remove_file(lab.path("d/link")).unwrap();
        symlink("elsewhere", lab.path("d/link")).unwrap();
    });
    changed("a removed empty directory", &|| fs::remove_dir(lab.path("empty")).unwrap());
    changed("a new name", &|| fs::rename(lab.path("d/file"), lab.path("d/other")).unwrap());
    changed("the folder's own mode", &|| {
        fs::set_permissions(&lab.folder, fs::Permissions::from_mode(0o711)).unwrap();
    });
    lab.assert_whole();
}

#[test]
fn a_write_within_one_tick_of_the_scan_is_caught() {
    // Written, stored and written again so fast that its times may not move.
    let lab = Lab::new();
    for round in 0..30u8 {
        fs::write(lab.path("f"), [b'a', round]).unwrap();
        lab.snapshot(SnapshotKind::Periodic);
        fs::write(lab.path("f"), [b'b', round]).unwrap();
        let snapshot = lab.snapshot(SnapshotKind::Periodic);
        let mut content = Vec::new();
        lab.vault.read_file(snapshot.snapshot.id, b"f", &mut content).unwrap();
        assert_eq!(content, [b'b', round]);
    }
}

#[test]
fn snapshots_are_listed_and_found() {
    let lab = Lab::new();
    let mut ids = Vec::new();
    for n in 0..4 {
        lab.write("n", n.to_string());
        let mut request = lab.request(SnapshotKind::Periodic);
        request.labels.session = Some(format!("s{n}"));
        request.labels.profile = Some("claude".into());
        ids.push(lab.vault.snapshot(&request).unwrap().snapshot);
    }
    let listed = lab.vault.snapshots().unwrap().snapshots;
    let newest_first: Vec<_> = ids.iter().rev().map(|s| s.id).collect();
    assert_eq!(listed.iter().map(|s| s.id).collect::<Vec<_>>(), newest_first);
    assert_eq!(listed[0].labels.session.as_deref(), Some("s3"));
    assert_eq!(listed[0].labels.kind, SnapshotKind::Periodic);
    assert_eq!(listed[0].folder, lab.folder);
    assert_eq!(lab.vault.find("latest").unwrap().id, ids[3].id);
    assert_eq!(lab.vault.find(&ids[1].id.short()).unwrap().id, ids[1].id);
    assert_eq!(lab.vault.find(&ids[1].id.to_string()).unwrap().id, ids[1].id);
    assert_eq!(lab.vault.find(&ids[2].time.to_string()).unwrap().id, ids[2].id);
    let between = ids[2].time + jiff::SignedDuration::from_secs(59);
    assert_eq!(lab.vault.find_at(between).unwrap().id, ids[2].id);
    for missing in ["", "zz", "2001-01-01T00:00:00Z"] {
        let error = lab.vault.find(missing).unwrap_err();
        assert!(matches!(error, VaultError::NoSuchSnapshot { .. }), "{missing}: {error}");
    }
    let json = serde_json::to_value(&listed[0]).unwrap();
    assert_eq!(json["kind"], "periodic");
    assert_eq!(json["id"], ids[3].id.to_string());
}

#[test]
fn a_clock_set_back_does_not_change_which_is_latest() {
    let lab = Lab::new();
    lab.write("a", "1");
    lab.snapshot(SnapshotKind::Manual);
    lab.write("a", "2");
    let mut request = lab.request(SnapshotKind::Manual);
    request.now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
    let late = lab.vault.snapshot(&request).unwrap();
    assert_eq!(lab.vault.find("latest").unwrap().id, late.snapshot.id);
}

#[test]
fn one_damaged_snapshot_hides_no_other() {
    let lab = Lab::new();
    lab.write("a", "1");
    let first = lab.snapshot(SnapshotKind::Manual).snapshot;
    lab.write("a", "2");
    let second = lab.snapshot(SnapshotKind::Manual).snapshot;
    let file = lab.vault.dir().join("snapshots").join(first.id.to_string());
    fs::write(&file, "garbage").unwrap();
    let listed = lab.vault.snapshots().unwrap();
    assert_eq!(listed.snapshots.iter().map(|s| s.id).collect::<Vec<_>>(), [second.id]);
    assert_eq!(listed.damaged.iter().map(|d| d.id).collect::<Vec<_>>(), [first.id]);
    let report = lab.vault.check(false).unwrap();
    assert!(report.problems.iter().any(|p| p.name == "snapshot-damaged"), "{report:?}");
    // And the next snapshot still works.
    lab.write("a", "3");
    assert!(!lab.snapshot(SnapshotKind::Manual).unchanged);
}

#[test]
fn damage_to_stored_data_is_named() {
    let lab = Lab::new();
    let noise: Vec<u8> =
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    lab.write("big", noise);
    let snapshot = lab.snapshot(SnapshotKind::Manual).snapshot;
    lab.assert_whole();
    let packs = lab.vault.dir().join("data");
    let largest = fs::read_dir(packs)
        .unwrap()
        .flat_map(|d| fs::read_dir(d.unwrap().path()).unwrap())
        .map(|f| f.unwrap().path())
        .max_by_key(|p| fs::metadata(p).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[1000] ^= 1;
    fs::write(&largest, bytes).unwrap();
    assert!(lab.vault.check(false).unwrap().is_clean(), "structure is whole");
    let report = lab.vault.check(true).unwrap();
    assert!(!report.is_clean());
    assert!(report.problems.iter().any(|p| p.name == "pack-damaged"), "{report:#?}");
    let error = lab.vault.read_file(snapshot.id, b"big", &mut Vec::new()).unwrap_err();
    assert!(matches!(error, VaultError::Engine { .. }), "{error}");
    fs::remove_file(&largest).unwrap();
    let report = lab.vault.check(false).unwrap();
    assert!(report.problems.iter().any(|p| p.name == "pack-missing"), "{report:#?}");
}

#[test]
fn looking_into_a_snapshot() {
    let lab = Lab::new();
    lab.write("d/e/f", "hello");
    let odd = bytes_name(b"new\nline \xff \\x");
    fs::write(lab.folder.join(&odd), "odd").unwrap();
    symlink("d", lab.path("link")).unwrap();
    let id = lab.snapshot(SnapshotKind::Manual).snapshot.id;
    let top = lab.vault.list_dir(id, b"").unwrap();
    assert_eq!(top.len(), 3);
    assert_eq!(lab.vault.list_dir(id, b"d/e").unwrap()[0].path.0, b"d/e/f");
    let mut content = Vec::new();
    assert_eq!(lab.vault.read_file(id, b"d/e/f", &mut content).unwrap(), 5);
    assert_eq!(content, b"hello");
    content.clear();
    lab.vault.read_file(id, b"new\nline \xff \\x", &mut content).unwrap();
    assert_eq!(content, b"odd");
    let link = lab.vault.node(id, b"link").unwrap();
    assert_eq!((link.kind, link.target.as_deref()), (EntryKind::Link, Some("d")));
    for wrong in [&b"nope"[..], b"d/e/f/g", b"link/e"] {
        assert!(matches!(lab.vault.node(id, wrong), Err(VaultError::Path { .. })));
    }
    assert!(matches!(lab.vault.read_file(id, b"d", &mut Vec::new()), Err(VaultError::Path { .. })));
    assert!(matches!(lab.vault.list_dir(id, b"d/e/f"), Err(VaultError::Path { .. })));
    let odd_entry = lab.vault.node(id, b"new\nline \xff \\x").unwrap();
    let json = serde_json::to_value(&odd_entry).unwrap();
    assert!(json["path_b64"].is_string());
    assert!(serde_json::to_value(&top[0]).unwrap()["path_b64"].is_null());
}

#[test]
fn differences_between_snapshots_and_the_live_folder() {
    let lab = Lab::new();
    lab.write("keep/deep/a", "a");
    lab.write("mod", "one");
    lab.write("gone/x", "x");
    lab.write("touch", "t");
    let before = lab.snapshot(SnapshotKind::Opening).snapshot.id;
    fs::write(lab.path("mod"), "two").unwrap();
    fs::remove_dir_all(lab.path("gone")).unwrap();
    lab.write("new/y", "y");
    fs::set_permissions(lab.path("touch"), fs::Permissions::from_mode(0o640)).unwrap();
    let live = lab.vault.diff(Point::Snapshot(before), Point::Folder(&lab.folder)).unwrap();
    let after = lab.snapshot(SnapshotKind::Closing).snapshot.id;
    let stored = lab.vault.diff(Point::Snapshot(before), Point::Snapshot(after)).unwrap();
    for diff in [&live, &stored] {
        let found: Vec<_> = diff
            .entries
            .iter()
            .filter(|e| !e.is_directory_time())
            .map(|e| (e.path.lossy(), e.change))
            .collect();
        assert_eq!(
            found,
            [
                ("gone".to_owned(), Change::Removed),
                ("gone/x".to_owned(), Change::Removed),
                ("mod".to_owned(), found.iter().find(|f| f.0 == "mod").unwrap().1),
                ("new".to_owned(), Change::Added),
                ("new/y".to_owned(), Change::Added),
                ("touch".to_owned(), Change::Modified(Difference::MODE)),
            ]
        );
        let Change::Modified(what) = found.iter().find(|f| f.0 == "mod").unwrap().1 else {
            panic!()
        };
        assert!(what.has(Difference::CONTENT));
    }
    let none = lab.vault.diff(Point::Folder(&lab.folder), Point::Snapshot(after)).unwrap();
    assert!(none.entries.is_empty(), "{:?}", none.entries);
    let both = lab.vault.diff(Point::Folder(&lab.folder), Point::Folder(&lab.folder));
    assert!(matches!(both, Err(VaultError::Request(_))));
}

#[test]
fn a_spliced_snapshot_equals_a_full_walk() {
    let lab = Lab::new();
    for n in 0..60 {
        lab.write(&format!("d{}/e{}/f{n}", n % 4, n % 3), format!("content {n}"));
    }
    for round in 0..12 {
        std::thread::sleep(Duration::from_millis(25));
        match round % 4 {
            0 => lab.write(&format!("d1/e1/f{}", round + 1), format!("edit {round}")),
            1 => fs::rename(lab.path("d2"), lab.path(&format!("moved{round}"))).unwrap(),
            2 => {
                // The naive trap: A is deleted and B takes its name.
                fs::remove_dir_all(lab.path("d0")).unwrap();
                fs::rename(lab.path("d3"), lab.path("d0")).unwrap();
                lab.write("d3/e0/new", "n");
                lab.write("d2/x", "x");
            }
            _ => fs::create_dir_all(lab.path(&format!("dir{round}/empty"))).unwrap(),
        }
        let spliced = lab.snapshot(SnapshotKind::Periodic);
        assert!(!spliced.unchanged);
        // A vault that has never seen the folder has to walk and read all of it.
        let fresh = Vault::create(
            &lab.dir.path().join(format!("fresh{round}")),
            &VaultKey::generate().unwrap(),
        )
        .unwrap();
        let full = fresh.snapshot(&lab.request(SnapshotKind::Manual)).unwrap();
        assert_eq!(spliced.snapshot.tree_id(), full.snapshot.tree_id(), "round {round}");
        assert_eq!(spliced.counts, full.counts, "round {round}");
        if round > 0 {
            assert!(spliced.files_read < 20, "round {round} read {} files", spliced.files_read);
        }
        if round == 5 {
            let mut request = lab.request(SnapshotKind::Manual);
            request.reread = true;
            assert!(lab.vault.snapshot(&request).unwrap().unchanged);
        }
    }
    lab.assert_whole();
}

#[test]
fn a_vault_never_lies_in_its_folder() {
    let lab = Lab::new();
    let key = VaultKey::generate().unwrap();
    let inside = Vault::create(&lab.path("sub/vault"), &key).unwrap();
    let error = inside.snapshot(&lab.request(SnapshotKind::Manual)).unwrap_err();
    assert!(matches!(error, VaultError::Nested { .. }), "{error}");
    let mut request = lab.request(SnapshotKind::Manual);
    request.root = lab.vault.dir().join("data");
    let error = lab.vault.snapshot(&request).unwrap_err();
    assert!(matches!(error, VaultError::Nested { .. }), "{error}");
    request.root = lab.dir.path().join("absent");
    assert!(matches!(lab.vault.snapshot(&request), Err(VaultError::Folder { .. })));
    fs::write(lab.dir.path().join("file"), "").unwrap();
    request.root = lab.dir.path().join("file");
    assert!(matches!(lab.vault.snapshot(&request), Err(VaultError::Folder { .. })));
    request.root = lab.dir.path().join(bytes_name(b"f\xff"));
    assert!(matches!(lab.vault.snapshot(&request), Err(VaultError::Folder { .. })));
}

#[test]
fn a_cancelled_snapshot_leaves_nothing() {
    let lab = Lab::new();
    lab.write("a", "1");
    let request = lab.request(SnapshotKind::Manual);
    request.cancel.cancel();
    assert!(matches!(lab.vault.snapshot(&request), Err(VaultError::Cancelled)));
    assert!(lab.vault.snapshots().unwrap().snapshots.is_empty());
    assert!(!lab.snapshot(SnapshotKind::Manual).unchanged);
    lab.assert_whole();
}
