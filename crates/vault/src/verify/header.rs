//! The table of contents at the end of a pack: reading it where no index names the
//! pack, and writing it for a pack that a repair puts together. Owns its format.
//!
//! A pack ends with the sealed table and its length (32 bits, the lowest byte first).
//! An entry is a kind, the length in the pack, for compressed blobs the length of the
//! text, and the id; blobs follow one another from the beginning of the pack.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustic_core::repofile::{BlobType, IndexBlob, IndexPack};
use rustic_core::{FileType, Id};

use crate::seal::Seal;
use crate::storage::Storage;

/// No table is longer: half a million blobs.
const MAX_TABLE: u32 = 32 * 1024 * 1024;

/// Reads the table of a pack; `None` where it cannot be read.
pub(crate) fn read(storage: &Storage, seal: &Seal, id: &Id, size: u32) -> Option<IndexPack> {
    let file = File::open(storage.path(FileType::Pack, id)).ok()?;
    let mut length = [0; 4];
    file.read_exact_at(&mut length, size.checked_sub(4)?.into()).ok()?;
    let length = u32::from_le_bytes(length);
    let start = size.checked_sub(4)?.checked_sub(length)?;
    let mut sealed = vec![0; usize::try_from(length.min(MAX_TABLE)).ok()?];
    file.read_exact_at(&mut sealed, start.into()).ok()?;
    let blobs = parse(seal.open(&mut sealed)?)?;
    let mut pack = IndexPack { blobs, ..IndexPack::default() };
    pack.id = (*id).into();
    (pack.pack_size() == size).then_some(pack)
}

fn parse(mut table: &[u8]) -> Option<Vec<IndexBlob>> {
    let mut blobs = Vec::new();
    let mut offset = 0u32;
    while let Some((kind, rest)) = table.split_first() {
        let (length, rest) = number(rest)?;
        let (text, rest) = match kind {
            0 | 1 => (None, rest),
            2 | 3 => number(rest).map(|(text, rest)| (Some(text), rest))?,
            _ => return None,
        };
        let (id, rest) = rest.split_first_chunk::<32>()?;
        // The engine does not name the type of a place in a pack, so it goes through JSON.
        let blob = serde_json::json!({
            "id": &*Id::new(*id).to_hex(),
            "type": if kind % 2 == 0 { "data" } else { "tree" },
            "offset": offset,
            "length": length,
            "uncompressed_length": text,
        });
        blobs.push(serde_json::from_value(blob).ok()?);
        offset = offset.checked_add(length)?;
        table = rest;
    }
    Some(blobs)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// The table of these blobs, in the order in which they lie in the pack.
pub(crate) fn table(blobs: &[IndexBlob]) -> Option<Vec<u8>> {
    let mut table = Vec::new();
    for blob in blobs {
        let text = blob.location.uncompressed_length;
        table.push(match (blob.tpe, text) {
            (BlobType::Data, None) => 0,
            (BlobType::Tree, None) => 1,
            (BlobType::Data, Some(_)) => 2,
            (BlobType::Tree, Some(_)) => 3,
        });
        table.extend_from_slice(&blob.location.length.to_le_bytes());
        if let Some(text) = text {
            table.extend_from_slice(&text.get().to_le_bytes());
        }
        let hex = blob.id.to_hex();
        for pair in hex.as_bytes().chunks(2) {
            table.push(u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?);
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_as_it_was_written() {
        let id = |byte: u8| Id::new([byte; 32]);
        let mut written = Vec::new();
        for (kind, length, text) in [(0u8, 40u32, None), (3, 50, Some(99u32)), (2, 60, Some(70))] {
            written.push(kind);
            written.extend(length.to_le_bytes());
            written.extend(text.into_iter().flat_map(u32::to_le_bytes));
            written.extend([kind; 32]);
        }
        let blobs = parse(&written).unwrap();
        let places: Vec<_> = blobs.iter().map(|b| (b.location.offset, b.location.length)).collect();
        assert_eq!(places, [(0, 40), (40, 50), (90, 60)]);
        assert_eq!(blobs[1].tpe, BlobType::Tree);
        assert_eq!(*blobs[2].id, id(2));
        assert_eq!(table(&blobs).unwrap(), written);
        assert!(parse(&written[1..]).is_none());
        assert!(parse(&written[..written.len() - 1]).is_none());
    }
}
