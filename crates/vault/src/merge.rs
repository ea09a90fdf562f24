//! Merging index files. Every snapshot adds one, and whoever opens the vault reads all of
//! them: without this ten thousand snapshots later each new one reads ten thousand files.
//! Owns when that is due, which files are merged, and that nothing they name is lost.
//!
//! The merged files are on disk, and were read back and compared with what they replace,
//! before the first of the old ones goes. Whoever is stopped in between leaves packs that
//! two files name alike, which every reader takes, and the next merge puts in order.

use std::collections::HashMap;

use rustic_core::repofile::{IndexFile, IndexPack};
use rustic_core::{FileType, Id, ReadBackend, WriteBackend};

use crate::engine::Engine;
use crate::error::{At, Result, VaultError};
use crate::removal::Removal;
use crate::seal::{Seal, hash, nonce};
use crate::storage::Storage;
use crate::verify::inventory::read_named;

/// More index files than this are merged, if half as many of them are small.
const MOST: usize = 128;
/// An index file of so many bytes is left as it is.
const LARGE: u32 = 256 * 1024;
/// So many bytes of index files are merged at a time: the caller waits for it.
const AT_A_TIME: u64 = 8 * 1024 * 1024;
/// Blobs that one file names at most, unless one pack has more. The engine's own measure.
const MOST_BLOBS: usize = 50_000;

/// Merges small index files if there are many, and gives how many files fewer there are.
/// The caller holds the writer's lock.
///
/// # Errors
/// When the merged files cannot be written or read back; then none was removed.
pub(crate) fn when_due(engine: &Engine) -> Result<usize> {
    let storage = &*engine.storage;
    let old = due(engine)?;
    // Stock restic lists the files once and reads them then. And packs that a stopped writer
    // left are swept first: with the next index file the list of them goes.
    if old.is_empty() || storage.refuse_stock_restic().is_err() || !storage.unnamed().is_empty() {
        return Ok(0);
    }
    let seal = Seal::new(&engine.master)?;
    let Some(contents) = read(storage, &seal, &old) else {
        tracing::warn!("index files are not merged, since one of them is damaged");
        return Ok(0);
    };
    let merged = write(engine, &seal, &joined(&contents))?;
    confirm(storage, &seal, &merged, &contents)?;
    let removal = Removal::permit_indexes(storage);
    for id in &old {
        engine.run("merging index files", || storage.remove(FileType::Index, id, false))?;
    }
    removal.carry_out()?;
    Ok(old.len().saturating_sub(merged.len()))
}

/// The small files, as many as are merged at a time; none if that is not worth it.
fn due(engine: &Engine) -> Result<Vec<Id>> {
    let storage = &engine.storage;
    if engine.run("listing index files", || storage.list(FileType::Index))?.len() <= MOST {
        return Ok(Vec::new());
    }
    let entries = storage.entries(FileType::Index).at("list the index files of", storage.dir())?;
    Ok(chosen(entries))
}

fn chosen(mut entries: Vec<(Id, u32)>) -> Vec<Id> {
    entries.retain(|(_, size)| *size < LARGE);
    if entries.len() <= MOST / 2 {
        return Vec::new();
    }
    entries.sort_unstable_by_key(|(id, size)| (*size, *id));
    let mut room = AT_A_TIME;
    let fits = |(_, size): &&(Id, u32)| {
        let left = room.checked_sub(u64::from(*size));
        room = left.unwrap_or(0);
        left.is_some()
    };
    entries.iter().take_while(fits).map(|(id, _)| *id).collect()
}

/// What these files say; `None` unless every one can be read: what a damaged one names is
/// found by a repair, to which it must be left.
fn read(storage: &Storage, seal: &Seal, files: &[Id]) -> Option<Vec<IndexFile>> {
    let one = |id| seal.open_file(read_named(storage, FileType::Index, id).ok()?);
    files.iter().map(one).collect()
}

/// The same packs in as few files as may be, each once.
fn joined(files: &[IndexFile]) -> Vec<IndexFile> {
    let mut all = Vec::new();
    let mut blobs = 0;
    for (going, packs) in [
        (false, distinct(files.iter().flat_map(|file| &file.packs))),
        (true, distinct(files.iter().flat_map(|file| &file.packs_to_delete))),
    ] {
        for pack in packs {
            if all.is_empty() || (blobs > 0 && blobs + pack.blobs.len() > MOST_BLOBS) {
                all.push(IndexFile::default());
                blobs = 0;
            }
            blobs += pack.blobs.len();
            if let Some(file) = all.last_mut() {
                let list = if going { &mut file.packs_to_delete } else { &mut file.packs };
                list.push(pack.clone());
            }
        }
    }
    all
}

fn distinct<'a>(packs: impl Iterator<Item = &'a IndexPack>) -> Vec<&'a IndexPack> {
    let mut packs: Vec<_> = packs.collect();
    packs.sort_by_key(|pack| pack.id);
    packs.dedup_by(|a, b| same(a, b));
    packs
}

/// Whether two entries say the same of a pack, its marking aside.
fn same(a: &IndexPack, b: &IndexPack) -> bool {
    a.id == b.id && a.time == b.time && a.size == b.size && a.blobs == b.blobs
}

/// Puts new index files on disk, and names them.
fn write(engine: &Engine, seal: &Seal, files: &[IndexFile]) -> Result<Vec<Id>> {
    let one = |file| {
        let nonce = nonce().at("read randomness for", "an index file")?;
        let sealed = seal.seal_file(file, nonce)?;
        let id = hash(&sealed);
        engine.run("merging index files", || {
            engine.storage.write_bytes(FileType::Index, &id, false, sealed.into())
        })?;
        Ok(id)
    };
    files.iter().map(one).collect()
}

/// Reads the new files back: they must say all that the old ones said.
fn confirm(storage: &Storage, seal: &Seal, new: &[Id], old: &[IndexFile]) -> Result<()> {
    let lost = || VaultError::Engine {
        doing: "merging index files",
        detail: "what was written does not name all packs; nothing was removed".into(),
    };
    let new = read(storage, seal, new).ok_or_else(lost)?;
    if says_all(&new, old) { Ok(()) } else { Err(lost()) }
}

fn says_all(new: &[IndexFile], old: &[IndexFile]) -> bool {
    let covers = |list: fn(&IndexFile) -> &Vec<IndexPack>| {
        let mut said: HashMap<Id, Vec<&IndexPack>> = HashMap::new();
        for pack in new.iter().flat_map(list) {
            said.entry(*pack.id).or_default().push(pack);
        }
        old.iter().flat_map(list).all(|pack| {
            said.get(&*pack.id).is_some_and(|found| found.iter().any(|other| same(pack, other)))
        })
    };
    covers(|file| &file.packs) && covers(|file| &file.packs_to_delete)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
