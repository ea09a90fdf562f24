//! Everything is kept, and what is not is said.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use ringfence_vault::{Entry, Excluded, Guard, SnapshotKind, SnapshotMode, VaultError, WalkReason};

use crate::lab::{Lab, assert_same};

/// The size of the sparse file; its time goes with it, since every byte is chunked.
fn large() -> u64 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 20 << 30 } else { 192 << 20 }
}

#[test]
fn holes_cost_nothing_and_come_back() {
    let lab = Lab::new();
    let file = fs::File::create(lab.path("sparse")).unwrap();
    for (at, text) in [(0, "head"), (large() / 2 + 123, "middle"), (large() - 4, "tail")] {
        file.write_all_at(text.as_bytes(), at).unwrap();
    }
    let hollow = fs::File::create(lab.path("hollow")).unwrap();
    hollow.set_len(32 << 20).unwrap();
    let held = |path| fs::metadata(path).unwrap().blocks() * 512;
    assert!(held(lab.path("sparse")) < 1 << 20, "this file system knows no holes");
    let made = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(made.counts.bytes, large() + (32 << 20));
    let size = lab.vault.size().unwrap();
    assert!(size < 1 << 20, "{size} bytes for next to nothing");
    let back = lab.restore_elsewhere(&made, "back");
    assert!(held(back.join("sparse")) < 1 << 20 && held(back.join("hollow")) < 1 << 20);
    if large() < 1 << 30 {
        assert_same(&lab.folder, &back);
    }
    let mut bytes = [0; 6];
    let back = fs::File::open(back.join("sparse")).unwrap();
    back.read_exact_at(&mut bytes, large() / 2 + 123).unwrap();
    assert_eq!(&bytes, b"middle");
}

#[test]
fn access_lists_are_kept() {
    // One entry for user 1 beside the owner, as setfacl writes it: version 2; owner rw,
    // user 1 r, group r, mask r, others none.
    let mut list = vec![2u8, 0, 0, 0];
    let all = u32::MAX;
    for (tag, right, id) in [(1u16, 6u16, all), (2, 4, 1), (4, 4, all), (16, 4, all), (32, 0, all)]
    {
        list.extend(tag.to_le_bytes());
        list.extend(right.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let lab = Lab::new();
    lab.write("file", "x");
    fs::create_dir(lab.path("dir")).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    let set = |name: &str, kind: &str| rustix::fs::setxattr(lab.path(name), kind, &list, none);
    if set("file", "system.posix_acl_access").is_err() {
        return eprintln!("SKIPPED: no access lists on this file system");
    }
    set("dir", "system.posix_acl_access").unwrap();
    set("dir", "system.posix_acl_default").unwrap();
    let reference = lab.reference("reference");
    let made = lab.snapshot(SnapshotKind::Manual);
    let back = lab.restore_elsewhere(&made, "back");
    assert_same(&reference, &back);
    let mut found = [0; 100];
    let name = "system.posix_acl_default";
    let length = rustix::fs::getxattr(back.join("dir"), name, &mut found[..]).unwrap();
    assert_eq!(found[..length], list);
}

#[test]
fn what_is_left_out_is_counted_and_nothing_else_is() {
    let lab = Lab::new();
    lab.write("src/main.rs", "fn main() {}");
    lab.write("target/debug/a.o", "0123456789");
    lab.write("target/debug/b.o", "01234");
    lab.write("sub/target/c", "c");
    lab.write("sub/target.txt", "kept");
    lab.write("src/x.tmp", "123");
    // A file in the folder must never have a say: an agent can write it.
    lab.write(".gitignore", "src\n");
    lab.write("src/.gitignore", "*\n");
    let whole = lab.snapshot(SnapshotKind::Manual);
    assert_eq!(whole.excluded, Some(Vec::new()));
    let take = |patterns: &[&str]| {
        let mut request = lab.request(SnapshotKind::Manual);
        request.excludes = patterns.iter().map(|p| (*p).to_owned()).collect();
        lab.vault.snapshot(&request).unwrap()
    };
    let patterns = ["target/", "*.tmp", "nothing-like-it"];
    let made = take(&patterns);
    let entry =
        |pattern: &str, entries, bytes| Excluded { pattern: pattern.into(), entries, bytes };
    let expected = [entry("target/", 6, 16), entry("*.tmp", 1, 3), entry("nothing-like-it", 0, 0)];
    assert_eq!(made.excluded.as_deref(), Some(expected.as_slice()));
    assert_eq!(made.snapshot.excludes, patterns);
    assert_eq!((made.counts.files, made.counts.directories), (4, 2));
    let top: Vec<_> = lab.vault.list_dir(made.snapshot.id, b"").unwrap();
    assert_eq!(
        top.iter().map(|e| e.path.lossy()).collect::<Vec<_>>(),
        [".gitignore", "src", "sub"]
    );
    assert!(lab.vault.node(made.snapshot.id, b"sub/target.txt").is_ok());
    // Left out is no change, and what happens in there neither.
    lab.write("target/debug/more.o", "x");
    std::thread::sleep(std::time::Duration::from_millis(60));
    let again = take(&patterns);
    assert!(again.unchanged);
    assert_eq!(again.excluded.as_ref().unwrap()[0], entry("target/", 7, 17));
    // Nor does going back touch it: no snapshot has it, so nothing could bring it back.
    lab.write("src/main.rs", "other");
    lab.write("src/new", "n");
    let mut guard = lab.request(SnapshotKind::BeforeRestore);
    guard.excludes = patterns.iter().map(|p| (*p).to_owned()).collect();
    let guard = Guard::Snapshot(lab.vault.snapshot(&guard).unwrap().snapshot.id);
    let plan = lab.vault.plan_restore(&lab.restore_request(&again, guard)).unwrap();
    let paths = |list: &[Entry]| list.iter().map(|e| e.path.lossy()).collect::<Vec<_>>();
    assert_eq!(
        (paths(&plan.deleted), paths(&plan.replaced)),
        (vec!["src/new".into()], vec!["src/main.rs".into()])
    );
    assert_eq!(plan.kept_conflicts, []);
    let report = lab.vault.apply(&plan, &lab.staging(), None, Default::default()).unwrap();
    assert_eq!(report.kept_conflicts, []);
    assert_eq!(fs::read(lab.path("target/debug/more.o")).unwrap(), b"x");
    assert_eq!(fs::read(lab.path("src/main.rs")).unwrap(), b"fn main() {}");
    // With other patterns a change list is no help.
    let mut request = lab.request(SnapshotKind::Manual);
    request.changes = Some(ringfence_vault::ChangeSet::new(again.snapshot.id));
    let back = lab.vault.snapshot(&request).unwrap();
    assert_eq!(back.mode, SnapshotMode::Walk(WalkReason::Excludes));
    assert_eq!(back.counts.files, 9);
    let mut request = lab.request(SnapshotKind::Manual);
    request.excludes = vec!["a/[z-".into()];
    let error = lab.vault.snapshot(&request).unwrap_err();
    assert!(matches!(error, VaultError::Exclude { .. }), "{error}");
}

#[test]
fn what_tools_make_again_is_found_where_they_can() {
    let lab = Lab::new();
    lab.write("web/package.json", "{}");
    lab.write("web/node_modules/a/index.js", "12345");
    lab.write("web/node_modules/a/node_modules/b/index.js", "123");
    lab.write("more/package.json", "{}");
    lab.write("more/node_modules/c", "1");
    lab.write("Cargo.toml", "");
    lab.write("target/debug/x", "1234567890123");
    // No tool made these from anything that is there.
    lab.write("notes/target/aim", "one");
    lab.write("notes/node_modules/mine", "two");
    lab.write("odd/target/x", "three");
    fs::create_dir(lab.path("odd/Cargo.toml")).unwrap();
    let made = lab.snapshot(SnapshotKind::Manual);
    let found = lab.vault.giants(made.snapshot.id).unwrap();
    let giant =
        |pattern: &str, entries, bytes| Excluded { pattern: pattern.into(), entries, bytes };
    assert_eq!(found, [giant("target/", 3, 13), giant("node_modules/", 8, 9)]);
}

/// Content that could not be read is old content: the snapshot itself has to say so,
/// even where it holds the same entries as the one before.
pub(crate) fn stale_content_is_marked_in_the_snapshot() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    lab.write("file", "one");
    std::thread::sleep(std::time::Duration::from_millis(60));
    let first = lab.snapshot(SnapshotKind::Opening).snapshot;
    fs::write(lab.path("file"), "newer").unwrap();
    fs::set_permissions(lab.path("file"), fs::Permissions::from_mode(0o000)).unwrap();
    let stale = lab.snapshot(SnapshotKind::Closing);
    assert!(!stale.unchanged, "nothing would tell that the content is stale");
    let stored = lab.vault.load(stale.snapshot.id).unwrap();
    assert_eq!(stored.tree_id(), first.tree_id());
    assert_eq!(stored.unreadable.len(), 1);
    assert!(stored.unreadable[0].previous_kept);
    // Once said is enough; and being readable again is said as well.
    assert!(lab.snapshot(SnapshotKind::Periodic).unchanged);
    fs::write(lab.path("other"), "x").unwrap();
    let mut request = lab.request(SnapshotKind::Periodic);
    let mut changes = ringfence_vault::ChangeSet::new(stored.id);
    changes.entry("other");
    request.changes = Some(changes);
    let quick = lab.vault.snapshot(&request).unwrap();
    assert_eq!(quick.mode, SnapshotMode::Changes);
    assert_eq!(quick.snapshot.unreadable, stored.unreadable, "forgotten by a change list");
    fs::set_permissions(lab.path("file"), fs::Permissions::from_mode(0o644)).unwrap();
    let after = lab.snapshot(SnapshotKind::Periodic);
    assert_eq!(after.snapshot.unreadable, []);
    let mut bytes = Vec::new();
    lab.vault.read_file(after.snapshot.id, b"file", &mut bytes).unwrap();
    assert_eq!(bytes, b"newer");
}
