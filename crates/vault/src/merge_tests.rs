//! Index files that are merged, and stopped in the middle of it.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::{Labels, PruneRequest, SnapshotKind, SnapshotRequest, Vault, VaultKey};
use proptest::prelude::*;
use rustic_core::repofile::IndexBlob;

fn id(n: u8) -> Id {
    Id::new([n; 32])
}

fn pack(n: u8, blobs: u8) -> IndexPack {
    let json = serde_json::json!({
        "id": id(n).to_hex().as_str(),
        "blobs": (0..blobs).map(|b| serde_json::json!({
            "id": id(b).to_hex().as_str(), "type": "data", "offset": b, "length": 40,
        })).collect::<Vec<_>>(),
    });
    serde_json::from_value(json).unwrap()
}

fn file(packs: &[u8], going: &[u8]) -> IndexFile {
    IndexFile {
        packs: packs.iter().map(|n| pack(*n, n % 4)).collect(),
        packs_to_delete: going.iter().map(|n| pack(*n, n % 4)).collect(),
        ..IndexFile::default()
    }
}

fn named(files: &[IndexFile]) -> (BTreeSet<Id>, BTreeSet<Id>) {
    let ids = |list: fn(&IndexFile) -> &Vec<IndexPack>| {
        files.iter().flat_map(list).map(|pack| *pack.id).collect()
    };
    (ids(|file| &file.packs), ids(|file| &file.packs_to_delete))
}

proptest! {
    #[test]
    fn what_is_joined_names_the_same_packs_marked_as_they_were(
        all in prop::collection::vec(
            (prop::collection::vec(0..60u8, 0..6), prop::collection::vec(0..60u8, 0..4)), 0..12)
    ) {
        let files: Vec<_> = all.iter().map(|(packs, going)| file(packs, going)).collect();
        let joined = joined(&files);
        prop_assert_eq!(named(&joined), named(&files));
        prop_assert!(says_all(&joined, &files));
        let count: usize =
            joined.iter().map(|file| file.packs.len() + file.packs_to_delete.len()).sum();
        let (packs, going) = named(&files);
        prop_assert_eq!(count, packs.len() + going.len(), "a pack is named twice");
        prop_assert!(joined.len() <= 1);
    }
}

#[test]
fn what_lacks_anything_does_not_say_all() {
    let old = [file(&[1, 2, 3], &[4])];
    assert!(says_all(&[file(&[3, 1], &[4]), file(&[2], &[])], &old));
    assert!(!says_all(&[file(&[3, 1], &[4])], &old));
    assert!(!says_all(&[file(&[1, 2, 3, 4], &[])], &old), "a marked pack is not a live one");
    assert!(!says_all(&[file(&[1, 2, 3], &[])], &old));
    let mut shorter = file(&[1, 2, 3], &[4]);
    let lost: Option<IndexBlob> = shorter.packs[2].blobs.pop();
    assert!(lost.is_some() && !says_all(&[shorter], &old), "a blob less");
    let mut later = file(&[1, 2, 3], &[4]);
    later.packs_to_delete[0].time = Some(jiff::Timestamp::UNIX_EPOCH);
    assert!(!says_all(&[later], &old), "the time of marking decides when it goes");
}

#[test]
fn the_blobs_of_a_file_are_bounded() {
    let mut large = pack(1, 1);
    large.blobs = vec![large.blobs[0]; MOST_BLOBS];
    let file = IndexFile { packs: vec![large, pack(2, 3), pack(3, 3)], ..IndexFile::default() };
    let joined = joined(std::slice::from_ref(&file));
    assert_eq!(joined.iter().map(|file| file.packs.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(says_all(&joined, &[file]));
}

#[test]
fn few_files_and_large_ones_are_left_alone() {
    let named = |n: usize| Id::new(std::array::from_fn(|at| n.to_le_bytes()[at % 8]));
    let files = |count: usize, size| (0..count).map(move |n| (named(n), size));
    assert!(chosen(files(MOST / 2, 10).collect()).is_empty());
    assert_eq!(chosen(files(MOST, 10).collect()).len(), MOST);
    assert!(chosen(files(1000, LARGE).collect()).is_empty());
    let mixed = files(MOST, LARGE - 1).chain((0..9).map(|n| (named(5000 + n), n as u32)));
    let taken = chosen(mixed.collect());
    assert!(taken.contains(&named(5000)), "the smallest first");
    assert!((30..50).contains(&taken.len()), "{}", taken.len());
}

/// A vault with that many small snapshots, some of whose packs are marked to go.
struct Many {
    top: tempfile::TempDir,
    vault: Vault,
    key: VaultKey,
    second: std::cell::Cell<i64>,
}

impl Many {
    fn new(snapshots: usize) -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("folder")).unwrap();
        let key = VaultKey::generate().unwrap();
        let vault = Vault::create(&top.path().join("vault"), &key).unwrap();
        let many = Self { top, vault, key, second: std::cell::Cell::new(1_800_000_000) };
        let first = many.take(0);
        many.take(1);
        many.vault.prune(&PruneRequest::new(vec![first])).unwrap();
        for n in 2..snapshots {
            many.take(n);
        }
        many
    }

    fn take(&self, n: usize) -> crate::SnapshotId {
        fs::write(self.top.path().join("folder/file"), format!("content {n}")).unwrap();
        self.second.set(self.second.get() + 60);
        let now = jiff::Timestamp::from_second(self.second.get()).unwrap();
        let request = SnapshotRequest::new(
            &self.top.path().join("folder"),
            Labels::new(SnapshotKind::Periodic),
            now,
        );
        self.vault.snapshot(&request).unwrap().snapshot.id
    }

    fn files(&self) -> Vec<Id> {
        self.vault.engine.storage.list(FileType::Index).unwrap()
    }

    fn seal(&self) -> Seal {
        Seal::new(&self.vault.engine.master).unwrap()
    }

    /// What all index files together name.
    fn named(&self) -> (BTreeSet<Id>, BTreeSet<Id>) {
        named(&read(&self.vault.engine.storage, &self.seal(), &self.files()).unwrap())
    }
}

/// Every state that a merge passes through on disk is a whole vault, and the next merge
/// makes one index file of it.
#[test]
fn stopped_after_any_step_it_harms_nothing() {
    let many = Many::new(20);
    let storage = &many.vault.engine.storage;
    let old = many.files();
    let before = many.named();
    assert!(!before.1.is_empty(), "nothing is marked, so this shows less than it should");
    let contents = read(storage, &many.seal(), &old).unwrap();
    let new = write(&many.vault.engine, &many.seal(), &joined(&contents)).unwrap();
    confirm(storage, &many.seal(), &new, &contents).unwrap();
    for gone in 0..=old.len() {
        if gone > 0 {
            fs::remove_file(storage.path(FileType::Index, &old[gone - 1])).unwrap();
        }
        assert_eq!(many.named(), before, "after {gone} removals");
        let report = many.vault.check(gone % 7 == 0).unwrap();
        assert!(report.problems.is_empty(), "after {gone} removals: {report:#?}");
        let fresh = Vault::open(many.vault.dir(), &many.key).unwrap();
        let newest = fresh.find("latest").unwrap().id;
        let mut content = Vec::new();
        fresh.read_file(newest, b"file", &mut content).unwrap();
        assert_eq!(content, b"content 19");
    }
    assert_eq!(many.files(), new);
    many.take(20);
    assert!(many.vault.check(true).unwrap().problems.is_empty());
}

#[test]
fn marked_packs_stay_marked_and_go_in_their_time() {
    let many = Many::new(MOST + 1);
    let (_, going) = many.named();
    assert!(!going.is_empty());
    let files = many.files().len();
    assert!(files > MOST / 2, "{files} files: they were merged before this could be seen");
    let merged = (0..MOST).any(|n| {
        many.take(1000 + n);
        many.files().len() < files
    });
    assert!(merged, "{} files", many.files().len());
    assert!(many.files().len() < 10, "{} files are left", many.files().len());
    assert_eq!(many.named().1, going);
    let second =
        PruneRequest { marked_for: std::time::Duration::ZERO, ..PruneRequest::new(Vec::new()) };
    assert!(many.vault.prune(&second).unwrap().freed > 0);
    assert_eq!(many.named().1, BTreeSet::new());
    assert!(many.vault.check(true).unwrap().problems.is_empty());
}

#[test]
fn a_damaged_index_file_is_left_to_a_repair() {
    let many = Many::new(MOST - 2);
    let damaged = many.vault.engine.storage.path(FileType::Index, &many.files()[5]);
    let content = fs::read(&damaged).unwrap();
    fs::write(&damaged, &content[..content.len() - 1]).unwrap();
    for n in 0..6 {
        many.take(1000 + n);
    }
    assert!(many.files().len() > MOST, "{} files", many.files().len());
    fs::write(&damaged, content).unwrap();
    many.take(2000);
    assert!(many.files().len() < 10, "{} files", many.files().len());
    assert!(many.vault.check(true).unwrap().problems.is_empty());
}

#[test]
fn nothing_is_merged_under_the_eyes_of_stock_restic() {
    let many = Many::new(MOST - 2);
    let lock = many.vault.dir().join("locks").join("00".repeat(32));
    fs::write(&lock, "restic holds this").unwrap();
    for n in 0..6 {
        many.take(1000 + n);
    }
    assert!(many.files().len() > MOST, "{} files", many.files().len());
    fs::remove_file(lock).unwrap();
    many.take(2000);
    assert!(many.files().len() < 10, "{} files", many.files().len());
}

#[test]
fn the_permission_covers_index_files_alone() {
    let many = Many::new(3);
    let storage = &many.vault.engine.storage;
    let removal = Removal::permit_indexes(storage);
    for kind in [FileType::Snapshot, FileType::Pack, FileType::Key, FileType::Config] {
        let (one, _) = storage.list_with_size(kind).unwrap()[0];
        assert!(storage.remove(kind, &one, false).is_err(), "{kind:?}");
    }
    let index = many.files()[0];
    storage.remove(FileType::Index, &index, false).unwrap();
    assert!(!many.files().contains(&index), "it is hidden at once");
    drop(removal);
    assert!(many.files().contains(&index), "and there again, since nothing was carried out");
}
