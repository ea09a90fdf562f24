//! What the index files say is in the vault, read file by file so that a damaged one
//! hides no other. Owns the choice of the copy to read where a blob has several.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustic_core::repofile::{BlobType, IndexBlob, IndexFile, IndexPack};
use rustic_core::{FileType, Id};

use super::header;
use crate::seal::{Seal, hash};
use crate::storage::Storage;

/// A vault file that cannot be used, and why.
#[derive(Debug)]
pub(crate) struct BadFile {
    pub(crate) id: Id,
    pub(crate) why: &'static str,
}

/// All packs that the index names.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Index files that were read, for telling whether somebody pruned meanwhile.
    pub(crate) files: Vec<Id>,
    pub(crate) bad_files: Vec<BadFile>,
    pub(crate) packs: Vec<IndexPack>,
    /// Packs that a prune has marked to go; nothing refers to them.
    pub(crate) going: Vec<IndexPack>,
    /// Blobs by type and id, with their pack and place in it; sorted.
    blobs: Vec<(Kind, Id, u32, u32)>,
}

/// [`BlobType`] in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Tree,
    Data,
}

impl From<BlobType> for Kind {
    fn from(kind: BlobType) -> Self {
        match kind {
            BlobType::Tree => Self::Tree,
            BlobType::Data => Self::Data,
        }
    }
}

/// Reads a file that is named by its hash.
pub(crate) fn read_named(storage: &Storage, kind: FileType, id: &Id) -> Result<Vec<u8>, BadFile> {
    let bad = |why| BadFile { id: *id, why };
    let bytes = std::fs::read(storage.path(kind, id)).map_err(|e| bad(reason(&e)))?;
    if hash(&bytes) == *id { Ok(bytes) } else { Err(bad("its content is not what was written")) }
}

/// A system error in words that can be kept.
pub(crate) fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "it is gone",
        io::ErrorKind::PermissionDenied => "reading it is not permitted",
        io::ErrorKind::UnexpectedEof => "it is shorter than it was",
        _ => "the disk cannot read it",
    }
}

impl Inventory {
    /// Reads these index files.
    pub(crate) fn read(storage: &Storage, seal: &Seal, files: Vec<Id>) -> Self {
        let mut all = Self { files, ..Self::default() };
        for id in &all.files {
            let parsed = read_named(storage, FileType::Index, id).and_then(|bytes| {
                seal.open_file::<IndexFile>(bytes)
                    .ok_or(BadFile { id: *id, why: "the vault's key does not open it" })
            });
            match parsed {
                Ok(index) => {
                    all.packs.extend(index.packs);
                    all.going.extend(index.packs_to_delete);
                }
                Err(bad) => all.bad_files.push(bad),
            }
        }
        all.packs.sort_unstable_by_key(|pack| pack.id);
        all.packs.dedup_by_key(|pack| pack.id);
        all
    }

    /// Takes in packs that no readable index names, by their own tables of contents.
    pub(crate) fn recover(&mut self, storage: &Storage, seal: &Seal, found: &HashMap<Id, u32>) {
        let named: HashSet<Id> =
            self.packs.iter().chain(&self.going).map(|pack| *pack.id).collect();
        let unnamed = found.iter().filter(|(id, _)| !named.contains(id));
        let read = unnamed.filter_map(|(id, size)| header::read(storage, seal, id, *size));
        self.packs.extend(read.collect::<Vec<_>>());
        self.packs.sort_unstable_by_key(|pack| pack.id);
    }

    /// Fills the table of blobs. `usable` says which copies can be read; of several
    /// the first such one is kept.
    pub(crate) fn arrange(&mut self, usable: impl Fn(usize, &IndexBlob) -> bool) {
        let mut blobs = Vec::with_capacity(self.packs.iter().map(|pack| pack.blobs.len()).sum());
        for (number, pack) in self.packs.iter().enumerate() {
            for (place, blob) in pack.blobs.iter().enumerate() {
                if let (true, Ok(number), Ok(place)) =
                    (usable(number, blob), u32::try_from(number), u32::try_from(place))
                {
                    blobs.push((Kind::from(blob.tpe), *blob.id, number, place));
                }
            }
        }
        blobs.sort_unstable();
        blobs.dedup_by_key(|(kind, id, ..)| (*kind, *id));
        self.blobs = blobs;
    }

    /// Where a blob is, once [`Self::arrange`] was called.
    pub(crate) fn find(&self, kind: Kind, id: &Id) -> Option<(usize, &IndexBlob)> {
        let at = self.blobs.binary_search_by(|(k, i, ..)| (*k, *i).cmp(&(kind, *id))).ok()?;
        let (_, _, pack, place) = self.blobs.get(at)?;
        let pack = usize::try_from(*pack).ok()?;
        Some((pack, self.packs.get(pack)?.blobs.get(usize::try_from(*place).ok()?)?))
    }

    /// Whether a blob can be read from somewhere.
    pub(crate) fn has(&self, kind: Kind, id: &Id) -> bool {
        self.find(kind, id).is_some()
    }
}

/// Reads blobs one after the other; packs stay open while they follow one another.
pub(crate) struct Reader<'a> {
    storage: &'a Storage,
    seal: &'a Seal,
    open: Option<(Id, File)>,
    sealed: Vec<u8>,
    spare: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(storage: &'a Storage, seal: &'a Seal) -> Self {
        Self { storage, seal, open: None, sealed: Vec::new(), spare: Vec::new() }
    }

    /// One blob's text; `None` unless all about it is right.
    pub(crate) fn blob(&mut self, pack: &Id, blob: &IndexBlob) -> Option<&[u8]> {
        if self.open.as_ref().is_none_or(|(id, _)| id != pack) {
            self.open = None;
            self.open = Some((*pack, File::open(self.storage.path(FileType::Pack, pack)).ok()?));
        }
        let (_, file) = self.open.as_ref()?;
        self.sealed.resize(usize::try_from(blob.location.length).ok()?, 0);
        file.read_exact_at(&mut self.sealed, blob.location.offset.into()).ok()?;
        let length = blob.location.uncompressed_length;
        self.seal.open_blob(&mut self.sealed, length, &blob.id, &mut self.spare)
    }
}

/// The packs on disk with their sizes.
pub(crate) fn packs_on_disk(storage: &Storage) -> io::Result<HashMap<Id, u32>> {
    Ok(storage.entries(FileType::Pack)?.into_iter().collect())
}
