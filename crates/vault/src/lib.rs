//! Snapshots of one folder in a restic-format repository: the only code that knows
//! the storage engine.
//!
//! Owns what a snapshot is, when it counts as safe, and how it is put back. Knows no
//! daemon, no configuration, no clock (times are passed in) and starts no process.
//! Everything blocks; the caller chooses the thread.
//!
//! A folder is hostile ground: an agent may change it while it is read or restored.
//! Every open happens beneath the folder's descriptor without following links.

mod approach;
mod beneath;
mod browse;
mod catalog;
mod changes;
mod check;
mod compose;
mod copy;
mod diff;
mod engine;
mod error;
mod excludes;
mod giants;
mod health;
mod history;
mod kept;
mod key;
mod merge;
mod mount;
mod prune;
mod readback;
mod reader;
mod rehearse;
mod removal;
mod repair;
mod restore;
mod root;
mod scan;
mod seal;
mod settle;
mod sheet;
mod snapshot;
mod source;
mod stat;
mod storage;
mod tally;
mod twins;
mod vault;
mod verify;
mod view;
mod watch;

pub use approach::{SnapshotMode, WalkReason};
pub use browse::{Entry, EntryKind, View};
pub use catalog::{
    Counts, DamagedSnapshot, EntryPath, Labels, MAX_REMARKS, Remark, Snapshot, SnapshotId,
    SnapshotKind, Snapshots,
};
pub use changes::ChangeSet;
pub use check::{CheckReport, CheckRequest, MAX_PATHS, Problem, Severity, Touched, check};
pub use compose::{Composed, Piece, PieceWhat, StoredAt};
pub use copy::{Channel, Clock, Connect, CopyOutcome, CopyRequest, Login, S3Bucket, Target, Web};
pub use diff::{Change, Diff, DiffEntry, Difference, Point};
pub use error::{FolderProblem, Result, VaultError};
pub use excludes::Excluded;
pub use health::{Facts, Finding, Health, INTERVALS, Rehearsal, Structure, Verified, Work, due};
pub use history::{ChangeCounts, History, PathChange, PathState, Version};
pub use kept::{KeepRequest, KeptContent, KeptFile};
pub use key::VaultKey;
pub use mount::{Mounted, Naming, mount};
pub use prune::{PruneForecast, PruneReport, PruneRequest};
pub use rehearse::{RehearsalRequest, Rehearsed};
pub use repair::{
    Elsewhere, RepairPlan, RepairReport, RepairRequest, RepairStep, Spare, plan_repair, repair,
};
pub use restore::{
    Conflict, ConflictWhy, Guard, RestorePlan, RestoreReport, RestoreRequest, Selection,
    UndoRequest,
};
pub use scan::Missed;
pub use snapshot::{SnapshotOutcome, SnapshotRequest};
pub use vault::{Vault, check_staging, opens_without_password, resume_restore};
pub use verify::packs::PacksRead;
pub use watch::{Cancel, Progress, Step};
