//! Everything that can go wrong in a vault, as types. Owns the wording; decides
//! nothing and touches no file.

use std::io;
use std::path::{Path, PathBuf};

/// Result of a vault operation.
pub type Result<T, E = VaultError> = std::result::Result<T, E>;

/// Why a vault operation failed. The message says what, where and why; what to
/// type next is the caller's knowledge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A system call on a file failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory holds no vault.
    #[error("{} is not a vault: it has no `config` file", path.display())]
    NotAVault {
        /// The directory that was looked at.
        path: PathBuf,
    },
    /// A vault, or something else, is already where a new one should be made.
    #[error("{} already exists and is not empty", path.display())]
    Exists {
        /// The directory that should have been new.
        path: PathBuf,
    },
    /// The key does not open this vault.
    #[error("the key does not open the vault {}", path.display())]
    WrongKey {
        /// The vault.
        path: PathBuf,
    },
    /// The key file is missing its secret, is readable by others, or exists already.
    #[error("key file {}: {what}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Part of the vault cannot be read back.
    #[error("the vault {} is damaged: {what}", path.display())]
    Damaged {
        /// The vault.
        path: PathBuf,
        /// What could not be read, and why.
        what: String,
    },
    /// Another process is writing to the vault.
    #[error("another process is writing to the vault {}", path.display())]
    Busy {
        /// The vault.
        path: PathBuf,
    },
    /// Stock restic has the vault open, or left its lock there.
    #[error("stock restic is at work in the vault {}, or was killed there", path.display())]
    StockRestic {
        /// The vault.
        path: PathBuf,
    },
    /// No room left on the disk, or less than the floor that is kept free.
    #[error("no space left for {}: {free} bytes free, {floor} bytes are kept free", path.display())]
    NoSpace {
        /// Where the write was meant to go.
        path: PathBuf,
        /// Bytes free when the write was refused; 0 when the system refused it.
        free: u64,
        /// Bytes that the vault leaves free.
        floor: u64,
    },
    /// The vault lies in the folder it protects, or the folder in the vault.
    #[error("the vault {} and the folder {} lie inside one another", vault.display(), folder.display())]
    Nested {
        /// The vault.
        vault: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used as one.
    #[error("{} cannot be used as a folder: {what}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        what: FolderProblem,
    },
    /// A pattern of what is to be left out cannot be used.
    #[error("cannot leave out `{pattern}`: {why}")]
    Exclude {
        /// The pattern.
        pattern: String,
        /// Why not.
        why: String,
    },
    /// No snapshot fits the selector.
    #[error("no snapshot fits `{selector}`")]
    NoSuchSnapshot {
        /// What was asked for.
        selector: String,
    },
    /// Several snapshots fit the selector.
    #[error("{count} snapshots begin with `{selector}`; give more of the id")]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// How many fit.
        count: usize,
    },
    /// The snapshot holds nothing at this path, or not what was asked for.
    #[error("snapshot {snapshot}: `{path}` {what}")]
    Path {
        /// Short id of the snapshot.
        snapshot: String,
        /// The path, made printable.
        path: String,
        /// What is wrong: "does not exist", "is not a file", …
        what: &'static str,
    },
    /// The staging directory cannot serve the folder.
    #[error("staging directory {}: {what}", path.display())]
    Staging {
        /// The staging directory.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// A second copy cannot be reached, or what it answers cannot be trusted.
    #[error("cannot {doing} the copy {target}: {what}")]
    Copy {
        /// The target, without any login.
        target: String,
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// Why not.
        what: String,
    },
    /// At the target lies another repository.
    #[error("another repository lies at {target}; nothing there was changed")]
    ForeignCopy {
        /// The target, without any login.
        target: String,
    },
    /// A copy that was there before is not there any more.
    #[error("the copy that was made at {target} is not there any more")]
    CopyGone {
        /// The target, without any login.
        target: String,
    },
    /// Snapshots cannot be mounted there.
    #[error("snapshots cannot be mounted at {}: {what}", path.display())]
    Mount {
        /// The directory.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// What remains of a mount whose process was killed is in the way.
    #[error("{} is a mount whose process was killed", path.display())]
    DeadMount {
        /// The directory.
        path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// The request contradicts itself.
    #[error("{0}")]
    Request(&'static str),
    /// The storage engine failed.
    #[error("vault engine, while {doing}: {detail}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The engine's own words, or its panic message.
        detail: String,
    },
}

/// Why a path cannot be used as a folder, or not as the one that its vault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FolderProblem {
    /// There is nothing.
    #[error("it does not exist")]
    Missing,
    /// It is a file or something else.
    #[error("it is not a directory")]
    NotADirectory,
    /// It is a symbolic link, which is never followed.
    #[error("it is a symbolic link, not a directory")]
    Link,
    /// The path is not UTF-8.
    #[error("its path is not UTF-8")]
    NotUtf8,
    /// A file system was mounted there when it was last backed up, and is not now.
    #[error("the file system that was mounted there is not mounted")]
    Unmounted,
    /// A file system is mounted over what was last backed up.
    #[error("another file system is mounted there now")]
    MountedOver,
    /// Another directory has its place, with nothing in it.
    #[error("another directory, an empty one, is in its place")]
    EmptyInItsPlace,
}

impl VaultError {
    /// Wraps a system error; a full disk or an exceeded quota becomes
    /// [`VaultError::NoSpace`] wherever it happens.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if is_no_space(&source) {
            return Self::NoSpace { path, free: 0, floor: 0 };
        }
        Self::Io { doing, path, source }
    }
}

/// Whether the system refused a write for lack of room.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Adds what was being done and where to a system error.
pub(crate) trait At<T> {
    /// Names the operation and the file.
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| VaultError::io(doing, path, e))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| VaultError::io(doing, path, e.into()))
    }
}
