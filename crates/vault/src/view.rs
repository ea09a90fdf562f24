//! The vault's files without those that cannot be read: what the engine is given when
//! a damaged index file would keep it from loading anything, and when a repair sorts
//! files out. Owns which files are left out, and where a file goes that is taken out:
//! aside, never away.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{BytesList, FileType, Id, ReadBackend, RusticResult, WriteBackend};

use crate::engine::engine_error;
use crate::repair::set_aside;
use crate::storage::Storage;

/// A view of a vault's storage.
#[derive(Debug)]
pub(crate) struct View {
    storage: Arc<Storage>,
    hidden: BTreeSet<Id>,
    /// Index files may be taken out, which moves them aside.
    sorting: bool,
}

impl View {
    /// Everything but these files. Names are hashes, so their kind need not be told.
    pub(crate) fn without(storage: &Arc<Storage>, hidden: BTreeSet<Id>) -> Self {
        Self { storage: Arc::clone(storage), hidden, sorting: false }
    }

    /// Everything, for a repair of the index.
    pub(crate) fn sorting(storage: &Arc<Storage>) -> Self {
        Self { storage: Arc::clone(storage), hidden: BTreeSet::new(), sorting: true }
    }
}

impl ReadBackend for View {
    fn location(&self) -> String {
        self.storage.location()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let mut all = self.storage.list_with_size(tpe)?;
        all.retain(|(id, _)| !self.hidden.contains(id));
        Ok(all)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.storage.read_full(tpe, id)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.storage.read_partial(tpe, id, cacheable, offset, length)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.storage.warmup_path(tpe, id)
    }
}

impl WriteBackend for View {
    fn create(&self) -> RusticResult<()> {
        self.storage.create()
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        self.storage.write_bytes(tpe, id, cacheable, content)
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        if self.sorting && tpe == FileType::Index {
            return set_aside(&self.storage, tpe, id)
                .map_err(|_| engine_error("an index file could not be moved aside"));
        }
        self.storage.remove(tpe, id, cacheable)
    }
}
