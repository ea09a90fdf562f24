//! What a vault can tell and do, in the words of the API: snapshots, differences, plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::BytePath;

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// It is no state of the folder, but has versions of files that a session destroyed.
    Kept,
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
            Self::Kept => "kept",
        }
    }
}

/// One restorable state of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Link,
    /// Named pipe.
    Pipe,
    /// Socket.
    Socket,
    /// Block or character device.
    Device,
}

impl EntryKind {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

/// How many paths differ between two states; what `diff` lists, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChangeCounts {
    /// Only in the later state.
    pub added: u64,
    /// Content or kind differs.
    pub changed: u64,
    /// Only in the earlier state.
    pub deleted: u64,
    /// Only mode, owner, times or attributes differ.
    pub metadata: u64,
}

impl ChangeCounts {
    /// Counts a difference.
    #[must_use]
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Self {
        let mut counts = Self::default();
        for change in changes {
            match change.change {
                ChangeKind::Added => counts.added += 1,
                ChangeKind::Modified | ChangeKind::TypeChanged => counts.changed += 1,
                ChangeKind::Deleted => counts.deleted += 1,
                ChangeKind::Metadata => counts.metadata += 1,
            }
        }
        counts
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.added + self.changed + self.deleted + self.metadata == 0
    }
}

/// What happened to one path from a snapshot to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathChange {
    /// How it differs from the snapshot before.
    pub change: ChangeKind,
    /// What it is now, or was where it is deleted.
    pub kind: EntryKind,
    /// Bytes, for a file that is there.
    pub size: Option<u64>,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: SnapshotView,
    /// What differs from the snapshot before: in the folder, or below the path that was asked
    /// for. `null` for the first snapshot, and where counting was put off because it would
    /// take long; asking again counts on.
    pub changes: Option<ChangeCounts>,
    /// With a path: what happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathChange>,
}

/// The snapshots of a folder, or those in which a path changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// The newest first.
    pub snapshots: Vec<HistoryEntry>,
    /// Sentences about snapshots that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// Relative to the folder's root; empty for the folder itself.
    #[serde(flatten)]
    pub path: BytePath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes, for a file.
    pub size: u64,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// When it was modified last.
    pub modified: Option<jiff::Timestamp>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A path of a snapshot, looked at: `GET /v1/entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShowView {
    /// The snapshot.
    pub snapshot: SnapshotView,
    /// The path.
    pub entry: EntryView,
    /// For a directory: what is in it, sorted by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<EntryView>>,
}

/// How one path differs between two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// What the difference cannot tell, in sentences: unreadable entries, files not compared
    /// as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The textual difference of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Where the version of one path comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathSource {
    /// Relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// A snapshot, or what was kept of a session, in words.
    pub source: String,
}

/// What a restore will do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// The snapshot whose state is put back.
    pub snapshot: String,
    /// When that snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<jiff::Timestamp>,
    /// The moment within a session whose state is put back: a snapshot, and what the session's
    /// journal says about the time after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<jiff::Timestamp>,
    /// Where paths come from that are not taken from that snapshot; sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PathSource>,
    /// The directory that is written.
    pub target: String,
    /// Only these paths and what lies below them; empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<BytePath>,
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
