//! Saves what is sound in a damaged pack: its pieces, sealed as they are, go into a
//! new pack with a table of contents of its own, which the index repair then finds.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustic_core::FileType;
use rustic_core::repofile::IndexBlob;

use super::{BadPack, files};
use crate::error::{At, Result, VaultError};
use crate::seal::{Seal, hash, nonce};
use crate::storage::Storage;
use crate::verify::header;

/// Writes a new pack of the sound pieces; nothing where there is none.
pub(super) fn salvage(storage: &Storage, seal: &Seal, bad: &BadPack) -> Result<()> {
    if bad.sound.is_empty() {
        return Ok(());
    }
    let path = storage.path(FileType::Pack, &bad.id);
    let file = File::open(&path).at("open", &path)?;
    let mut sound: Vec<IndexBlob> = bad.sound.clone();
    sound.sort_unstable();
    let mut pack = Vec::new();
    for blob in &sound {
        let length = usize::try_from(blob.location.length).unwrap_or(usize::MAX);
        let start = pack.len();
        pack.resize(start + length, 0);
        file.read_exact_at(&mut pack[start..], blob.location.offset.into()).at("read", &path)?;
    }
    let table = header::table(&sound)
        .ok_or(VaultError::Request("a damaged pack's contents cannot be listed"))?;
    let sealed = seal.seal(&table, nonce().at("read randomness for", "a new pack")?)?;
    let length = u32::try_from(sealed.len())
        .map_err(|_| VaultError::Request("a pack's table of contents is too long"))?;
    pack.extend_from_slice(&sealed);
    pack.extend_from_slice(&length.to_le_bytes());
    let id = hash(&pack);
    files::place(storage, &storage.path(FileType::Pack, &id), &pack)
}
