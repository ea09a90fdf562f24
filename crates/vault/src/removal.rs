//! The permission to remove files of a vault: given for one run, gathered, and carried
//! out at the end or not at all. Owns the order of removals; decides nothing about what
//! is still needed.
//!
//! While a run has the permission, what it removes is only hidden from it, so that the
//! vault can be checked as it will be before a single file is gone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use rustic_core::{FileType, Id};

use crate::error::{At, Result};
use crate::storage::Storage;

/// What a run wants to be gone.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    snapshots: BTreeSet<Id>,
    indexes: BTreeSet<Id>,
    packs: BTreeSet<Id>,
    /// Nothing but index files may go.
    only_indexes: bool,
}

impl Doomed {
    fn of(&mut self, kind: FileType) -> Option<&mut BTreeSet<Id>> {
        match kind {
            FileType::Index => Some(&mut self.indexes),
            FileType::Snapshot | FileType::Pack if self.only_indexes => None,
            FileType::Snapshot => Some(&mut self.snapshots),
            FileType::Pack => Some(&mut self.packs),
            // No run removes what the vault is opened with.
            FileType::Config | FileType::Key => None,
        }
    }

    /// Notes a file; `false` for those that are never removed.
    pub(crate) fn add(&mut self, kind: FileType, id: Id) -> bool {
        self.of(kind).map(|ids| ids.insert(id)).is_some()
    }

    /// Whether a file is to be gone.
    pub(crate) fn holds(&mut self, kind: FileType, id: &Id) -> bool {
        self.of(kind).is_some_and(|ids| ids.contains(id))
    }
}

/// The permission. What was gathered is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Removal<'a>(&'a Storage);

impl<'a> Removal<'a> {
    /// Gives it; the caller holds the writer's lock and lets go of this before that.
    pub(crate) fn permit(storage: &'a Storage) -> Self {
        storage.gather_removals(Some(Doomed::default()));
        Self(storage)
    }

    /// As [`Self::permit`], for index files whose content stands in others by now.
    pub(crate) fn permit_indexes(storage: &'a Storage) -> Self {
        storage.gather_removals(Some(Doomed { only_indexes: true, ..Doomed::default() }));
        Self(storage)
    }

    /// Removes what was gathered, and gives the bytes that were freed.
    ///
    /// Snapshots go first, then the indexes, then the packs that only those named, each
    /// kind on disk before the next: whoever is killed between two removals leaves a
    /// vault in which everything that is listed can be restored.
    pub(crate) fn carry_out(self) -> Result<u64> {
        let doomed = self.0.gather_removals(None).unwrap_or_default();
        let kinds = [
            (FileType::Snapshot, doomed.snapshots),
            (FileType::Index, doomed.indexes),
            (FileType::Pack, doomed.packs),
        ];
        let mut freed = 0;
        for (kind, ids) in kinds {
            let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
            for id in ids {
                let path = self.0.path(kind, &id);
                let length = fs::metadata(&path).map_or(0, |facts| facts.len());
                match fs::remove_file(&path) {
                    Ok(()) => freed += length,
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).at("remove", &path),
                }
                directories.extend(path.parent().map(PathBuf::from));
            }
            for directory in directories {
                File::open(&directory).and_then(|d| d.sync_all()).at("sync", &directory)?;
            }
        }
        self.0.let_go_of_packs();
        Ok(freed)
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.0.gather_removals(None);
    }
}
