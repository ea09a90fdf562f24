//! Reading back what a snapshot has just stored, from disk, by the index files that came
//! with it. Loading the whole index anew for that would take most of the time that a small
//! snapshot takes. Owns nothing; says whether a stored directory is there and whole.

use rustic_core::TreeId;
use rustic_core::repofile::Tree;

use crate::engine::{Engine, Loaded};
use crate::error::{Result, VaultError};
use crate::seal::Seal;
use crate::stat::is_plain_name;
use crate::verify::inventory::{Inventory, Kind, Reader};

/// Reads a directory that was stored after `loaded` was, or before.
///
/// # Errors
/// When it is not there or not what was written.
pub(crate) fn directory(engine: &Engine, loaded: &Loaded, id: TreeId) -> Result<()> {
    let damaged = |what: String| VaultError::Damaged { path: engine.storage.dir().into(), what };
    let seal = Seal::new(&engine.master)?;
    let mut new = engine.index_files()?;
    new.retain(|file| loaded.index.binary_search(file).is_err());
    let mut inventory = Inventory::read(&engine.storage, &seal, new);
    if let Some(bad) = inventory.bad_files.first() {
        return Err(damaged(format!("a new index file cannot be read back: {}", bad.why)));
    }
    inventory.arrange(|_, _| true);
    let Some((number, blob)) = inventory.find(Kind::Tree, &id) else {
        // The same directory was stored before.
        return engine.tree(&loaded.repo, id).map(drop);
    };
    let mut reader = Reader::new(&engine.storage, &seal);
    let text = inventory.packs.get(number).and_then(|pack| reader.blob(&pack.id, blob));
    let tree = text.and_then(|text| serde_json::from_slice::<Tree>(text).ok());
    match tree {
        Some(tree) if tree.nodes.iter().all(is_plain_name) => Ok(()),
        _ => Err(damaged("a new directory cannot be read back".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, SnapshotKind, SnapshotRequest, Vault, VaultKey};
    use rustic_core::{FileType, ReadBackend};
    use std::fs;

    #[test]
    fn a_directory_that_is_not_as_it_was_written_is_noticed() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "content").unwrap();
        let vault =
            Vault::create(&top.path().join("vault"), &VaultKey::generate().unwrap()).unwrap();
        let labels = Labels::new(SnapshotKind::Manual);
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let taken = vault.snapshot(&SnapshotRequest::new(&folder, labels, now)).unwrap();
        let (engine, tree) = (&*vault.engine, taken.snapshot.tree);
        let loaded = engine.as_loaded().unwrap();
        assert!(loaded.index.is_empty(), "the index was loaded anew for one small directory");
        directory(engine, &loaded, tree).unwrap();
        let path = |kind, id| engine.storage.path(kind, &id);
        let index = path(FileType::Index, engine.storage.list(FileType::Index).unwrap()[0]);
        let packs = engine.storage.list(FileType::Pack).unwrap();
        let noticed = |file: &std::path::Path| {
            let whole = fs::read(file).unwrap();
            fs::write(file, whole.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
            let touched = directory(engine, &loaded, tree).is_err();
            fs::remove_file(file).unwrap();
            let gone = directory(engine, &loaded, tree).is_err();
            fs::write(file, whole).unwrap();
            directory(engine, &loaded, tree).unwrap();
            touched && gone
        };
        assert!(noticed(&index));
        let of_trees = packs.into_iter().filter(|id| noticed(&path(FileType::Pack, *id)));
        assert_eq!(of_trees.count(), 1, "one pack holds directories, the other the file");
    }
}
