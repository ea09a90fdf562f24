//! What every target of copies can do. There is no call that deletes: whoever holds a copy's
//! login through this crate can add to it and nothing else.

use std::io::{self, Read, Write};

use rustic_core::{FileType, Id};

/// A file of the repository: its kind and its name.
pub(crate) type Name = (FileType, Id);

/// Largest `config` file; ours have some 200 bytes.
pub(crate) const MAX_CONFIG: u64 = 64 * 1024;

/// A repository's files at a target.
pub(crate) trait Place: Send + Sync {
    /// Content of the `config` file; `None` when there is none.
    fn config(&self) -> io::Result<Option<Vec<u8>>>;

    /// Makes what must exist before the first file is written.
    fn prepare(&self) -> io::Result<()>;

    /// All files of a kind with their lengths.
    fn list(&self, kind: FileType) -> io::Result<Vec<(Id, u64)>>;

    /// Writes a file's content to `to`; more than `limit` bytes are an error.
    fn read(&self, name: Name, limit: u64, to: &mut dyn Write) -> io::Result<()>;

    /// Stores a file of `length` bytes. It appears whole or not at all.
    fn write(&self, name: Name, length: u64, from: &mut dyn Read) -> io::Result<()>;

    /// Returns when what was written survives a crash of the target, as far as it can promise.
    fn settle(&self) -> io::Result<()>;

    /// Names of directories in which repositories may lie; `None` when it cannot tell.
    fn directories(&self) -> io::Result<Option<Vec<String>>>;
}

/// Where a file lies below the repository's directory, as stock restic lays it out.
pub(crate) fn path_of((kind, id): Name) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &hex[..2], hex.as_str()),
        _ => format!("{}/{}", kind.dirname(), hex.as_str()),
    }
}

/// The id that a file's name is; whatever is not named by a hash is not of the repository.
pub(crate) fn id_of(name: &str) -> Option<Id> {
    (name.len() == 64).then(|| name.parse().ok()).flatten()
}

/// Copies all of `from`, at most `limit` bytes.
pub(crate) fn copy_limited(from: &mut dyn Read, limit: u64, to: &mut dyn Write) -> io::Result<u64> {
    let copied = io::copy(&mut from.take(limit.saturating_add(1)), to)?;
    if copied > limit { Err(too_long()) } else { Ok(copied) }
}

pub(crate) fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file there is longer than it may be")
}
