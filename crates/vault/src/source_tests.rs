use std::fs;

use super::*;
use crate::{Labels, SnapshotKind, SnapshotRequest, Vault, VaultKey};

/// After a scan found a directory clean, another one may take its name.
#[test]
fn another_directory_under_a_clean_name_is_read_and_not_taken_over() {
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().join("folder");
    fs::create_dir_all(folder.join("d")).unwrap();
    fs::write(folder.join("d/f"), "old").unwrap();
    let vault = Vault::create(&top.path().join("vault"), &VaultKey::generate().unwrap()).unwrap();
    let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let labels = Labels::new(SnapshotKind::Manual);
    let taken = vault.snapshot(&SnapshotRequest::new(&folder, labels, now)).unwrap().snapshot;
    let handed_over = || {
        let pass = Pass {
            engine: Arc::clone(&vault.engine),
            repo: vault.engine.repo().unwrap(),
            root: Arc::new(Dir::open_root(&folder).unwrap()),
            tree: Some(taken.tree),
            reuse: Arc::new(Reuse::Clean(HashSet::from([b"d".to_vec()]))),
            reread: Arc::default(),
            denied: HashMap::new(),
            excludes: Arc::new(Excludes::new(&[]).unwrap()),
            fresh: (i64::MAX, 0),
            watch: Watch::default(),
            found: Mutex::default(),
            read_bytes: AtomicU64::new(0),
        };
        let names = Walk::new(Arc::new(pass)).map(|item| item.unwrap().node.name().into_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(handed_over(), ["d"], "the clean one stands for all below it");
    fs::rename(folder.join("d"), top.path().join("away")).unwrap();
    fs::create_dir(folder.join("d")).unwrap();
    fs::write(folder.join("d/f"), "new").unwrap();
    assert_eq!(handed_over(), ["d", "f"]);
}
