//! The journal: what a session changed, one file a session, appended to and never
//! changed. Owns the form of a record and how a file of them is written and read.
//! Must not know who writes it or why.
//!
//! A file is a header and then records, each with its length and its checksum.
//! A process that is killed leaves whole records, a power cut may leave a torn
//! one at the end: reading stops there, and whoever writes on cuts it off first.

mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

pub use record::{LONGEST_DATA, LONGEST_PATH, Operation, Record, STILL_NAMED};

/// Twelve letters and the schema's number.
const HEADER: [u8; 16] = *b"rf-journal\0\0\x01\0\0\0";

/// Name of a session's journal in its directory.
pub const FILE: &str = "journal";

/// Bytes before a record: its length and its checksum.
const FRAME: usize = 8;

/// What a journal's file holds.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every whole record, in the order of the changes.
    pub records: Vec<Record>,
    /// Whether the file ended within a record.
    pub torn: bool,
    /// Bytes of header and whole records.
    pub good: u64,
}

impl Journal {
    /// Reads a journal. A torn end is no error.
    ///
    /// # Errors
    /// The file cannot be read, or is a journal of another version.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// Reads the bytes of a journal. A torn end is no error.
    ///
    /// # Errors
    /// It is a journal of another version.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let Some(mut rest) = bytes.strip_prefix(&HEADER) else {
            // A crash while the header was written: nothing was promised yet.
            if HEADER.starts_with(bytes) {
                return Ok(Self { torn: !bytes.is_empty(), ..Self::default() });
            }
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no journal that this version reads; use the Ringfence that wrote it",
            ));
        };
        let mut journal = Self::default();
        while let Some((record, after)) = next(rest) {
            journal.records.push(record);
            rest = after;
        }
        journal.torn = !rest.is_empty();
        journal.good = (bytes.len() - rest.len()) as u64;
        // Several threads write at once; the numbers say in which order things happened.
        journal.records.sort_by_key(|record| record.sequence);
        Ok(journal)
    }

    /// Whether every session that wrote here was ended in an orderly way: then the
    /// journal is all that was changed. Another one is a hint, and the folder is walked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let count = |operation| self.records.iter().filter(|r| r.operation == operation).count();
        let last = self.records.last();
        !self.torn
            && last.is_some_and(|record| record.operation == Operation::End)
            && count(Operation::Begin) <= count(Operation::End)
    }

    /// Every path that was changed, relative to the folder's root, and whether
    /// everything below it may have changed too: a directory that was moved.
    #[must_use]
    pub fn changed_paths(&self) -> BTreeMap<&[u8], bool> {
        let mut paths = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.operation.changes()) {
            let moved = matches!(record.operation, Operation::Rename | Operation::Exchange);
            for path in [Some(record.path.as_slice()), record.second_path()].into_iter().flatten() {
                *paths.entry(path).or_default() |= moved;
            }
        }
        paths
    }
}

/// The first record and what follows it; `None` where it is torn or damaged.
fn next(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > Record::LONGEST || length > rest.len() {
        return None;
    }
    let (body, after) = rest.split_at(length);
    if checksum(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((Record::decode(body)?, after))
}

/// A journal that is written to.
#[derive(Debug)]
pub struct Writer {
    file: File,
    bytes: u64,
}

impl Writer {
    /// Opens a journal to append to, made where there is none; a torn end is cut off.
    ///
    /// # Errors
    /// The file cannot be made or read, or is of another version.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let known = Journal::read(path)?;
        if known.good == 0 {
            file.set_len(0)?;
            file.write_all_at(&HEADER, 0)?;
            return Ok(Self { file, bytes: HEADER.len() as u64 });
        }
        if known.torn {
            file.set_len(known.good)?;
        }
        Ok(Self { file, bytes: known.good })
    }

    /// Adds a record, in one write: a killed process leaves it whole or not at
    /// all. It is on disk after [`Self::sync`].
    ///
    /// # Errors
    /// What the file system says; nothing of the record then counts as written.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut frame = vec![0; FRAME];
        record.encode(&mut frame);
        let body = frame.len() - FRAME;
        let length = u32::try_from(body).map_err(|_| io::Error::other("too long a record"))?;
        let sum = checksum(&frame[FRAME..]);
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4..FRAME].copy_from_slice(&sum.to_le_bytes());
        // At a place of its own: what a failed write left is written over.
        self.file.write_all_at(&frame, self.bytes)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Another handle of the file, to sync it without holding up who writes.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Puts everything that was appended on the disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_data()
    }
}

/// CRC-32 as in gzip. It finds torn and rotten records; nobody who could forge
/// one can write to the file.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| TABLE[usize::from((crc ^ u32::from(*byte)) as u8)] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}
