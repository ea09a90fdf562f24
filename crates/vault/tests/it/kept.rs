//! What sessions destroyed, stored beside the states of the folder; and states that are put
//! together from both.

use std::fs;
use std::path::PathBuf;

use ringfence_vault::{
    Guard, KeepRequest, KeptContent, KeptFile, Piece, PieceWhat, PruneRequest, Selection,
    SnapshotId, SnapshotKind, StoredAt,
};

use crate::lab::Lab;
use crate::stock_restic::restic;

const TIME: i64 = 1_700_000_000_123_456_789;

fn file(path: &str, content: KeptContent) -> KeptFile {
    KeptFile { path: path.into(), content, mode: 0o640, modified: TIME }
}

fn bytes(path: &str, content: &[u8]) -> KeptFile {
    file(path, KeptContent::Bytes(content.to_vec()))
}

fn request(lab: &Lab, session: &str, files: Vec<KeptFile>) -> KeepRequest {
    KeepRequest { root: lab.folder.clone(), session: session.into(), now: lab.now(), files }
}

fn stored(snapshot: SnapshotId, path: &str) -> StoredAt {
    StoredAt { snapshot, path: path.into(), like: None, length: None }
}

fn piece(path: &str, from: Vec<StoredAt>) -> Piece {
    let what = PieceWhat::Stored { from, or_nothing: false, mode: None, modified: None };
    Piece { path: path.into(), what }
}

#[test]
fn what_was_kept_is_stored_once_and_is_no_state_of_the_folder() {
    let lab = Lab::new();
    lab.write("a", "state");
    let state = lab.snapshot(SnapshotKind::Closing);
    let object = lab.dir.path().join("object");
    fs::write(&object, vec![7; 3_000_000]).unwrap();
    let long =
        file("files/d/long.~2~", KeptContent::File { path: object.clone(), length: 2_000_001 });
    let files = vec![bytes("files/a.~1~", b"one"), long, bytes("journal", b"words")];
    let kept = lab.vault.keep(&request(&lab, "s", files.clone())).unwrap();
    let listed = |vault: &ringfence_vault::Vault| -> Vec<SnapshotId> {
        vault.snapshots().unwrap().snapshots.iter().map(|one| one.id).collect()
    };
    assert_eq!(listed(&lab.vault), [state.snapshot.id]);
    assert_eq!(lab.vault.find("latest").unwrap().id, state.snapshot.id);
    assert!(lab.vault.find(&kept.id.short()).is_err());
    assert_eq!(lab.vault.history(b"", 10).unwrap().versions.len(), 1);
    assert_eq!(lab.vault.kept().unwrap().len(), 1);
    // Again, as after a kill between storing and releasing.
    let again = lab.vault.keep(&request(&lab, "s", files)).unwrap();
    assert_eq!((again.id, lab.vault.kept().unwrap().len()), (kept.id, 1));
    // Who wants the latest snapshot wants the folder, not this.
    let latest = lab.dir.path().join("latest");
    restic(&lab, &["restore", "latest", "--target", latest.to_str().unwrap()]);
    assert!(!latest.join("journal").exists());
    // The next state is built on the state before, not on this.
    lab.write("b", "more");
    let next = lab.snapshot(SnapshotKind::Periodic);
    assert_eq!(lab.restore_elsewhere(&next, "next").read_dir().unwrap().count(), 2);
    let mut long = Vec::new();
    assert_eq!(lab.vault.read_file(kept.id, b"files/d/long.~2~", &mut long).unwrap(), 2_000_001);
    assert!(long.iter().all(|byte| *byte == 7));
    lab.assert_whole();
    restic(&lab, &["check", "--read-data"]);
    let target = lab.dir.path().join("by-restic");
    restic(&lab, &["restore", &kept.id.to_string(), "--target", target.to_str().unwrap()]);
    assert_eq!(fs::read(target.join("files/a.~1~")).unwrap(), b"one");
    assert_eq!(fs::metadata(target.join("files/d/long.~2~")).unwrap().len(), 2_000_001);

    // It goes when it is asked to, and the newest state does not.
    assert!(lab.vault.prune(&PruneRequest::new(vec![next.snapshot.id])).is_err());
    lab.vault.prune(&PruneRequest::new(vec![kept.id])).unwrap();
    assert!(lab.vault.kept().unwrap().is_empty());
    assert_eq!(listed(&lab.vault).len(), 2);
    lab.assert_whole();
}

#[test]
fn what_cannot_be_read_whole_is_not_stored_at_all() {
    let lab = Lab::new();
    lab.write("a", "state");
    lab.snapshot(SnapshotKind::Closing);
    let object = lab.dir.path().join("object");
    fs::write(&object, "short").unwrap();
    let missing = PathBuf::from("/nowhere");
    let bad = [
        vec![file("x", KeptContent::File { path: object, length: 6 })],
        vec![file("x", KeptContent::File { path: missing, length: 1 })],
        vec![bytes("../x", b"1")],
        vec![bytes("x", b"1"), bytes("x/y", b"1")],
    ];
    for files in bad {
        let shown = format!("{files:?}");
        assert!(lab.vault.keep(&request(&lab, "s", files)).is_err(), "{shown}");
    }
    assert!(lab.vault.kept().unwrap().is_empty());
    lab.vault.keep(&request(&lab, "s", vec![bytes("x", b"1")])).unwrap();
    lab.assert_whole();
}

#[test]
fn a_state_is_put_together_and_restored_like_any_other() {
    let lab = Lab::new();
    let big: Vec<u8> =
        (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    lab.write("log", &big);
    lab.write("same", "same");
    lab.write("dir/inner", "inner");
    lab.write("dir/gone", "gone");
    let base = lab.snapshot(SnapshotKind::Opening).snapshot.id;
    lab.write("log", [big.as_slice(), b"and more"].concat());
    fs::rename(lab.path("dir"), lab.path("moved")).unwrap();
    fs::remove_file(lab.path("moved/gone")).unwrap();
    lab.write("made", "made");
    let later = lab.snapshot(SnapshotKind::Closing).snapshot.id;
    let kept = lab
        .vault
        .keep(&request(&lab, "s", vec![bytes("files/deep/a.~1~", b"between")]))
        .unwrap()
        .id;
    let what = |what| move |path: &str| Piece { path: path.into(), what };
    let cut = StoredAt { length: Some(2_500_001), ..stored(later, "log") };
    let other = StoredAt { like: Some((4, 0)), ..stored(base, "same") };
    let pieces = [
        piece("log", vec![cut]),
        piece("new/deep/a", vec![stored(kept, "files/deep/a.~1~")]),
        piece("renamed", vec![stored(later, "moved")]),
        piece("renamed/gone", vec![stored(base, "dir/gone")]),
        what(PieceWhat::Nothing)("dir"),
        what(PieceWhat::Directory { mode: Some(0o700), modified: None })("empty"),
        what(PieceWhat::Empty { mode: Some(0o600), modified: Some(TIME) })("zero"),
        what(PieceWhat::Link { target: b"there".to_vec(), modified: None })("link"),
        // Not of that size and time; nowhere; no path.
        piece("same", vec![other]),
        piece("nowhere", vec![stored(base, "nowhere")]),
        piece("../out", vec![stored(base, "same")]),
    ];
    let state = lab.vault.compose(base, &pieces).unwrap();
    let lacking: Vec<_> = state.lacking.iter().map(|path| path.lossy()).collect();
    assert_eq!(lacking, ["../out", "nowhere", "same"]);

    let guard = lab.snapshot(SnapshotKind::BeforeRestore).snapshot.id;
    let request = lab.request_by_id(base, Guard::Snapshot(guard));
    let plan = lab.vault.plan_restore_composed(&request, &state).unwrap();
    let done = lab.vault.apply(&plan, &lab.staging(), None, Default::default()).unwrap();
    assert_eq!((done.kept_conflicts, done.disturbed), (vec![], vec![]));
    let read = |name: &str| fs::read(lab.path(name)).unwrap();
    assert_eq!(read("log"), big[..2_500_001]);
    assert_eq!(read("new/deep/a"), b"between");
    assert_eq!(
        (read("renamed/inner"), read("renamed/gone")),
        (b"inner".to_vec(), b"gone".to_vec())
    );
    assert_eq!((read("same"), read("zero")), (b"same".to_vec(), Vec::new()));
    assert_eq!(fs::read_link(lab.path("link")).unwrap(), PathBuf::from("there"));
    assert_eq!(fs::read_dir(lab.path("empty")).unwrap().count(), 0);
    let left = |name: &str| lab.path(name).symlink_metadata().is_ok();
    assert!(!left("dir") && !left("made") && !left("moved") && !left("nowhere"));
    // It is what it was put together as: there is nothing left to do.
    let again = lab.vault.plan_restore_composed(&request, &state).unwrap();
    assert!(again.is_empty(), "{again:?}");

    // Exactly some paths, without what is below them.
    fs::remove_dir_all(lab.path("renamed")).unwrap();
    let only = ["renamed/gone"].map(|path| path.as_bytes().to_vec());
    let request = ringfence_vault::RestoreRequest {
        selection: Selection::Exactly(only.into()),
        delete_extra: false,
        ..request
    };
    let plan = lab.vault.plan_restore_composed(&request, &state).unwrap();
    lab.vault.apply(&plan, &lab.staging(), None, Default::default()).unwrap();
    assert!(left("renamed/gone") && !left("renamed/inner"));
}
