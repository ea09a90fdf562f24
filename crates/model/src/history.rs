//! What a vault can tell and do, in the words of the API: snapshots, differences, plans.

use serde::{Deserialize, Serialize};

use crate::bytes::BytePath;

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// Before a session could write.
    Opening,
    /// While the folder changed.
    Periodic,
    /// After a session.
    Closing,
    /// Before a restore or an undo overwrote anything.
    BeforeRestore,
    /// A person asked for it.
    Manual,
}

impl SnapshotKind {
    /// The word shown in tables, JSON and labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Periodic => "periodic",
            Self::Closing => "closing",
            Self::BeforeRestore => "before-restore",
            Self::Manual => "manual",
        }
    }
}

/// One restorable state of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Full id, 64 hexadecimal digits.
    pub id: String,
    /// When it was taken.
    pub time: jiff::Timestamp,
    /// Why.
    pub kind: Option<SnapshotKind>,
    /// In which session.
    pub session: Option<String>,
    /// By which profile that session ran.
    pub profile: Option<String>,
    /// Files in it.
    pub files: u64,
    /// Their total size in bytes.
    pub bytes: u64,
    /// Why no prune lets it go, where it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// How one path differs between two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only in the later state.
    Added,
    /// Only in the earlier state.
    Deleted,
    /// Content differs.
    Modified,
    /// Another kind of thing (file, directory, link, …) has its name.
    TypeChanged,
    /// Only mode, owner, times or attributes differ.
    Metadata,
}

impl ChangeKind {
    /// The letter shown before a path.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Deleted => 'D',
            Self::Modified => 'M',
            Self::TypeChanged => 'T',
            Self::Metadata => 'm',
        }
    }
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// How it changed.
    pub change: ChangeKind,
    /// Bytes before, for files.
    pub size_before: Option<u64>,
    /// Bytes after, for files.
    pub size_after: Option<u64>,
}

/// A difference between two states of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffView {
    /// Earlier state: a snapshot's id.
    pub from: String,
    /// Later state: a snapshot's id, or `now`.
    pub to: String,
    /// Sorted by path.
    pub changes: Vec<Change>,
    /// Unified text differences, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<TextDiff>,
}

/// The textual difference of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextDiff {
    /// Relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// Unified format; empty when `note` says why there is none.
    pub unified: String,
    /// Why there is no text: binary, too large, unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a restore will do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanView {
    /// The snapshot whose state is put back.
    pub snapshot: String,
    /// The directory that is written.
    pub target: String,
    /// Paths that are created.
    pub create: Vec<BytePath>,
    /// Paths whose content is replaced.
    pub replace: Vec<BytePath>,
    /// Paths that are deleted.
    pub delete: Vec<BytePath>,
    /// Paths of which only mode, owner, times or attributes are set.
    pub metadata: Vec<BytePath>,
    /// Paths left alone because the host changed them meanwhile (`--all` takes them too).
    pub conflicts: Vec<BytePath>,
    /// Bytes to be written.
    pub bytes: u64,
    /// What the plan cannot know, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// False for a dry run.
    pub applied: bool,
    /// The snapshot of the state before, once applied; undoes the undo.
    pub before: Option<String>,
}

impl PlanView {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty()
            && self.replace.is_empty()
            && self.delete.is_empty()
            && self.metadata.is_empty()
    }
}
