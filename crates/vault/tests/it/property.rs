//! Random folders, edited at random: every snapshot restores to what the folder was.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ringfence_vault::SnapshotKind;

use crate::lab::{Lab, assert_same, bytes_name};

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Write(u8, Vec<u8>, bool),
    Remove(u8),
    Rename(u8, u8),
    Link(u8, u8),
    HardLink(u8, u8),
    Mode(u8, u32),
    MakeDir(u8),
    Append(u8, u16),
    SameSizeOldTime(u8),
    Attribute(u8, Vec<u8>),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => (any::<u8>(), bytes(), any::<bool>()).prop_map(|(a, b, c)| Edit::Write(a, b, c)),
        2 => any::<u8>().prop_map(Edit::Remove),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Edit::Rename(a, b)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Edit::Link(a, b)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Edit::HardLink(a, b)),
        1 => (any::<u8>(), 0o400u32..0o7777).prop_map(|(a, b)| Edit::Mode(a, b | 0o700)),
        1 => any::<u8>().prop_map(Edit::MakeDir),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(a, b)| Edit::Append(a, b)),
        1 => any::<u8>().prop_map(Edit::SameSizeOldTime),
        1 => (any::<u8>(), bytes()).prop_map(|(a, b)| Edit::Attribute(a, b)),
    ]
}

/// A small world of names, so that edits meet: three levels, some names odd.
fn place(root: &Path, n: u8) -> PathBuf {
    let names: [&[u8]; 6] = [b"a", b"b", b"odd\n\xff", b".hidden", b"UPPER", b"z \"\\"];
    let pick = |k: u8| bytes_name(names[usize::from(k % 6)]);
    match n % 3 {
        0 => root.join(pick(n / 3)),
        1 => root.join(pick(n / 3)).join(pick(n / 18)),
        _ => root.join(pick(n / 3)).join(pick(n / 18)).join(pick(n / 7)),
    }
}

/// The paths that a watcher of the directories would name for an edit, asked before and
/// after it: where the entries really are, since a link may lie on the way. A name made
/// by linking changes the other names' status, of which a watcher hears nothing.
pub(crate) fn named(root: &Path, edit: &Edit) -> Vec<Vec<u8>> {
    let places = match edit {
        Edit::Rename(a, b) => vec![*a, *b],
        Edit::Link(_, n)
        | Edit::HardLink(_, n)
        | Edit::Write(n, ..)
        | Edit::Remove(n)
        | Edit::Mode(n, _)
        | Edit::MakeDir(n)
        | Edit::Append(n, _)
        | Edit::SameSizeOldTime(n)
        | Edit::Attribute(n, _) => vec![*n],
    };
    let mut found = Vec::new();
    for n in places {
        let path = place(root, n);
        let parent = fs::canonicalize(path.parent().unwrap());
        let entry = parent.map(|p| p.join(path.file_name().unwrap()));
        for real in [Ok(path.clone()), entry, fs::canonicalize(&path)].into_iter().flatten() {
            if let Ok(below) = real.strip_prefix(root) {
                found.push(below.as_os_str().as_bytes().to_vec());
            }
        }
    }
    found
}

/// Most edits fail now and then (a file where a directory should be): that is fine.
pub(crate) fn carry_out(root: &Path, edit: &Edit) -> std::io::Result<()> {
    match edit {
        Edit::Write(n, bytes, large) => {
            let path = place(root, *n);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, if *large { bytes.repeat(4000) } else { bytes.clone() })
        }
        Edit::Remove(n) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Edit::Rename(a, b) => fs::rename(place(root, *a), place(root, *b)),
        Edit::Link(a, b) => symlink(place(Path::new(".."), *a), place(root, *b)),
        Edit::HardLink(a, b) => fs::hard_link(place(root, *a), place(root, *b)),
        Edit::Mode(n, mode) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_symlink() {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))
        }
        Edit::MakeDir(n) => fs::create_dir_all(place(root, *n)),
        Edit::Append(n, length) => {
            let file = fs::File::options().append(true).open(place(root, *n))?;
            file.set_len(file.metadata()?.len() + u64::from(*length))
        }
        Edit::SameSizeOldTime(n) => {
            let path = place(root, *n);
            let meta = fs::symlink_metadata(&path)?;
            if !meta.is_file() || meta.len() == 0 {
                return Ok(());
            }
            let mut bytes = fs::read(&path)?;
            bytes[0] ^= 0x55;
            fs::write(&path, bytes)?;
            fs::File::options().write(true).open(&path)?.set_modified(meta.modified()?)
        }
        Edit::Attribute(n, value) => {
            let path = place(root, *n);
            if fs::symlink_metadata(&path)?.is_symlink() {
                return Ok(());
            }
            rustix::fs::setxattr(path, "user.p", value, rustix::fs::XattrFlags::empty())?;
            Ok(())
        }
    }
}

fn cases() -> u32 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 300 } else { 12 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_restores_to_what_the_folder_was(
        rounds in prop::collection::vec(prop::collection::vec(edit(), 1..25), 2..5),
        back in any::<prop::sample::Index>(),
    ) {
        let lab = Lab::new();
        let mut states = Vec::new();
        for (n, edits) in rounds.iter().enumerate() {
            for edit in edits {
                let _ = carry_out(&lab.folder, edit);
            }
            let reference = lab.reference(&format!("reference{n}"));
            states.push((lab.snapshot(SnapshotKind::Periodic), reference));
        }
        // In place, to one of them, chosen at random.
        let (state, reference) = back.get(&states);
        let report = lab.restore(state);
        prop_assert_eq!(report.kept_conflicts, []);
        assert_same(reference, &lab.folder);
        // And each of them into a new directory.
        for (n, (state, reference)) in states.iter().enumerate() {
            assert_same(reference, &lab.restore_elsewhere(state, &format!("restored{n}")));
        }
        lab.assert_whole();
    }
}
