//! Whether the vault is whole, and which snapshots suffer where it is not. Owns the
//! words in which that is said; `verify` does the looking. Repairs nothing.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustic_core::FileType;
use serde::Serialize;

use crate::catalog::{EntryPath, SnapshotId};
use crate::error::{Result, VaultError};
use crate::key::VaultKey;
use crate::storage::Storage;
use crate::verify::examine::{Opening, examine};
use crate::watch::{Cancel, Progress};

/// A touched snapshot names no more lost entries than this.
pub const MAX_PATHS: usize = 20;
/// Of so many touched snapshots lost entries are named; of the others only counted.
pub(crate) const MAX_LISTED: usize = 50;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is lost: leftovers of a crash, say.
    Notice,
    /// A snapshot, or part of one, cannot be restored, or soon could not be, or the
    /// vault is open to others.
    Error,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// A stable word for programs: `pack-missing`, `pack-damaged`, `index-damaged`, …
    pub name: &'static str,
    /// What exactly.
    pub what: String,
    /// The file concerned, below the vault's directory.
    pub file: Option<String>,
    /// Every snapshot that cannot be restored whole because of it, the newest first.
    pub snapshots: Vec<Touched>,
}

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        name: &'static str,
        what: String,
        file: Option<String>,
    ) -> Self {
        Self { severity, name, what, file, snapshots: Vec::new() }
    }
}

/// A snapshot that a problem touches.
#[derive(Clone, Debug, Serialize)]
pub struct Touched {
    /// Which.
    pub snapshot: SnapshotId,
    /// When it was made; unknown where its own file cannot be read.
    pub time: Option<Timestamp>,
    /// Nothing of it can be restored.
    pub whole: bool,
    /// Files, and directories with all they hold, that cannot be restored.
    pub entries: u64,
    /// The first of them, at most [`MAX_PATHS`], and of the first snapshots only.
    pub paths: Vec<EntryPath>,
}

/// Result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// All that is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// Snapshots whose structure was followed.
    pub snapshots: usize,
    /// The newest of them.
    pub newest: Option<SnapshotId>,
    /// Whether all stored data was read, decrypted and hashed.
    pub data_read: bool,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Bytes of all packs that the index names.
    pub bytes: u64,
}

impl CheckReport {
    /// Whether every snapshot can be restored as far as was looked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|p| p.severity != Severity::Error)
    }

    /// The problems because of which a snapshot cannot be restored whole.
    pub fn touching(&self, snapshot: SnapshotId) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |p| p.snapshots.iter().any(|t| t.snapshot == snapshot))
    }
}

/// How to check.
#[derive(Clone, Default)]
pub struct CheckRequest {
    /// Also read all stored data, decrypt and hash it.
    pub read_data: bool,
    /// Read these packs so, by name, even where not all data is read.
    pub packs: Vec<String>,
    /// At most so many threads; 0: as many as there are processors, up to 8.
    pub threads: usize,
    /// Receives progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops it.
    pub cancel: Cancel,
}

impl CheckRequest {
    /// The most threads that may work.
    pub(crate) fn threads(&self) -> usize {
        if self.threads == 0 { usize::MAX } else { self.threads }
    }
}

/// Checks the vault in `dir` whether or not it can be opened. The key's password is
/// tried too, which takes about half a second of processor time.
///
/// # Errors
/// [`VaultError::NotAVault`] where there is not even the beginning of one,
/// [`VaultError::Cancelled`], or when the directory cannot be listed.
pub fn check(dir: &Path, key: &VaultKey, request: &CheckRequest) -> Result<CheckReport> {
    let storage = Storage::new(dir);
    if !dir.join(FileType::Pack.dirname()).is_dir() && !dir.join("config").exists() {
        return Err(VaultError::NotAVault { path: dir.into() });
    }
    Ok(examine(&storage, &Opening::With(key), request)?.report)
}
