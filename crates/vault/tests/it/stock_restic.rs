//! Stock restic, another program by other people, reads the vault. It must be
//! installed: this is the user's way out, so the test fails without it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use ringfence_vault::SnapshotKind;

use crate::lab::{Lab, bytes_name, run};

pub(crate) fn restic(lab: &Lab, arguments: &[&str]) -> String {
    let password = lab.dir.path().join("password");
    fs::write(&password, lab.key.reveal()).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let mut all: Vec<OsString> = vec![
        "-r".into(),
        lab.vault.dir().into(),
        "--password-file".into(),
        password.into(),
        "--no-cache".into(),
    ];
    all.extend(arguments.iter().map(OsString::from));
    String::from_utf8_lossy(&run("restic", all).stdout).into_owned()
}

#[test]
fn stock_restic_checks_lists_and_restores_a_vault() {
    let lab = Lab::new();
    lab.write("src/main.rs", "fn main() {}");
    lab.write(".git/HEAD", "ref: refs/heads/main");
    lab.write(
        "big",
        (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<_>>(),
    );
    fs::create_dir(lab.path("empty")).unwrap();
    fs::write(lab.folder.join(bytes_name(b"line\nbreak \xff")), "odd").unwrap();
    symlink("src", lab.path("link")).unwrap();
    fs::hard_link(lab.path("big"), lab.path("twin")).unwrap();
    fs::set_permissions(lab.path("src/main.rs"), fs::Permissions::from_mode(0o4750)).unwrap();
    lab.snapshot(SnapshotKind::Opening);
    // A second one, spliced, so that restic sees what our own walk put together.
    lab.write("src/lib.rs", "//");
    let last = lab.snapshot(SnapshotKind::Closing);
    restic(&lab, &["check", "--read-data"]);
    let listed = restic(&lab, &["snapshots", "--json"]);
    assert!(listed.contains(&last.snapshot.id.to_string()));
    assert!(listed.contains("closing"));
    let target = lab.dir.path().join("by-restic");
    restic(&lab, &["restore", "latest", "--target", target.to_str().unwrap()]);
    // The format has no place for the folder's own metadata; all else must be the same.
    let own = fs::metadata(&lab.folder).unwrap();
    fs::set_permissions(&target, own.permissions()).unwrap();
    fs::File::open(&target).unwrap().set_modified(own.modified().unwrap()).unwrap();
    crate::lab::assert_same(&lab.folder, &target);
}
