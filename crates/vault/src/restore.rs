//! Putting a folder back: plan, stage, put in place, resume. This file owns the
//! public words of it; each step is a module.
//!
//! - `plan` compares and decides, and touches nothing.
//! - `links` finds the other names of what has several.
//! - `stage` writes the new versions into a private directory on the same file
//!   system, verified and on disk, and only then the redo log.
//! - `log` is that log: once it is there, the restore will be finished.
//! - `place` carries the log out, entry by entry; doing it twice changes nothing.
//! - `attributes` sets modes, owners, attributes and times.

mod attributes;
mod links;
mod log;
mod place;
mod plan;
mod stage;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::browse::Entry;
use crate::catalog::{self, EntryPath, Remark, Snapshot, SnapshotId};
use crate::compose::Composed;
use crate::engine::{Engine, Repo};
use crate::error::Result;
use crate::watch::Watch;

pub(crate) use place::{apply, resume};
pub(crate) use plan::{plan_restore, plan_undo};
pub(crate) use stage::check as check_staging;

/// Which entries to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole folder, itself included.
    All,
    /// These paths and what lies below them.
    Paths(Vec<Vec<u8>>),
    /// These paths, and not what lies below them.
    Exactly(BTreeSet<Vec<u8>>),
}

impl Selection {
    fn covers(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|p| p == path || crate::diff::inside(p, path)),
            Self::Exactly(paths) => paths.contains(path),
        }
    }

    /// Whether `path` is a directory on the way to something that is covered.
    fn leads_to(&self, path: &[u8]) -> bool {
        match self {
            Self::All => false,
            Self::Paths(paths) => paths.iter().any(|p| crate::diff::inside(path, p)),
            Self::Exactly(paths) => {
                let below: Vec<u8> = [path, b"/"].concat();
                paths.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
            }
        }
    }
}

/// What keeps the versions that a restore takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// This snapshot, taken just before. What it does not hold is not taken away.
    Snapshot(SnapshotId),
    /// A snapshot that will be taken before the real plan: for showing a plan only,
    /// it cannot be applied.
    Promised,
    /// Nothing: nothing is taken away, only missing entries are made.
    Nothing,
}

/// What to restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The state to go back to.
    pub snapshot: SnapshotId,
    /// The folder, or another existing directory.
    pub target: PathBuf,
    /// What of it.
    pub selection: Selection,
    /// Also remove covered entries that the snapshot does not have.
    pub delete_extra: bool,
    /// What keeps the versions that go.
    pub guard: Guard,
}

/// What to undo.
#[derive(Clone, Debug)]
pub struct UndoRequest {
    /// The state before the session.
    pub opening: SnapshotId,
    /// The state after the session.
    pub closing: SnapshotId,
    /// The folder.
    pub root: PathBuf,
    /// What of it.
    pub selection: Selection,
    /// Also put back what somebody else changed after the session.
    pub all: bool,
    /// What keeps the versions that go.
    pub guard: Guard,
}

/// An entry that a restore leaves as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Where.
    #[serde(flatten)]
    pub path: EntryPath,
    /// Why it is kept.
    pub why: ConflictWhy,
}

/// Why an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictWhy {
    /// Somebody else changed it after the session.
    ChangedSince,
    /// No snapshot holds its present version.
    HeldByNoSnapshot,
    /// It changed between the plan and the moment it was to be replaced.
    ChangedMeanwhile,
    /// The directory still holds entries that are kept.
    NotEmpty,
    /// Something is in the way: its directory is gone, or another entry took the name.
    Obstructed,
}

/// What a restore would do. Nothing was touched for it.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The state to go back to.
    pub snapshot: SnapshotId,
    /// The directory to restore into.
    pub target: PathBuf,
    /// Entries that are missing and will be made.
    pub created: Vec<Entry>,
    /// Entries that will be replaced by their stored version.
    pub replaced: Vec<Entry>,
    /// Entries that will be removed.
    pub deleted: Vec<Entry>,
    /// Entries of which only mode, owner, times or attributes will be set.
    pub metadata_only: Vec<Entry>,
    /// Entries that will be left as they are.
    pub kept_conflicts: Vec<Conflict>,
    /// Entries that could not be looked at.
    pub unreadable: Vec<Remark>,
    /// Bytes to write.
    pub bytes: u64,
    #[serde(skip)]
    actions: Vec<plan::Action>,
    /// The state, where it is not that of the snapshot itself.
    #[serde(skip)]
    composed: Option<Composed>,
    #[serde(skip)]
    promised: bool,
    /// Keep the times of directories whose content is touched.
    #[serde(skip)]
    steady: bool,
}

impl RestorePlan {
    /// The state to go back to.
    fn state(&self, engine: &Engine, repo: &Repo) -> Result<Snapshot> {
        state(engine, repo, self.snapshot, self.composed.as_ref())
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// A snapshot, or with its tree what was put together over it.
fn state(
    engine: &Engine,
    repo: &Repo,
    snapshot: SnapshotId,
    composed: Option<&Composed>,
) -> Result<Snapshot> {
    match composed {
        Some(composed) => Ok(Snapshot { tree: composed.tree, ..composed.snapshot.clone() }),
        None => catalog::load(engine, repo, snapshot.0),
    }
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Entries made or replaced.
    pub placed: u64,
    /// Entries removed.
    pub removed: u64,
    /// Entries of which only metadata was set.
    pub metadata: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Entries that were looked at once more when all was done, and were as they were left.
    pub verified: u64,
    /// Entries that were not: somebody else has changed them since they were put in place.
    pub disturbed: Vec<EntryPath>,
    /// Entries left as they are.
    pub kept_conflicts: Vec<Conflict>,
    /// What could not be set exactly (owners without privilege, …).
    pub imperfect: Vec<Remark>,
}

/// How a restore is followed and stopped; it can be stopped until its log is written.
pub(crate) type Follow<'a> = &'a Watch;
