//! What a session did and destroyed, in the words of the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::BytePath;
use crate::history::DiffView;
use crate::name::SessionId;

/// How a version of a file was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Content was overwritten or cut off.
    Overwritten,
    /// Content was added behind it.
    Extended,
    /// Its last name was removed.
    Removed,
    /// Another file took its name.
    Replaced,
}

impl Loss {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::Extended => "extended",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        }
    }
}

/// One version of a file that a session destroyed, and that no snapshot need have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptView {
    /// The number of the operation that destroyed it, within the session.
    pub number: u64,
    /// When it was lost.
    pub time: jiff::Timestamp,
    /// How.
    pub loss: Loss,
    /// Its path, relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
}

/// What a session did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A file was made.
    Created,
    /// A directory was made.
    MadeDirectory,
    /// A symbolic link was made.
    MadeLink,
    /// A FIFO or a socket was made.
    MadeNode,
    /// It got one more name.
    Linked,
    /// Its content was about to be overwritten or cut off.
    Overwritten,
    /// Content was about to be added behind its end.
    Extended,
    /// A file that was written to was closed.
    Written,
    /// Its name was about to be removed.
    Removed,
    /// The directory was about to be removed.
    RemovedDirectory,
    /// It was about to get another name.
    Renamed,
    /// It was about to change places with another.
    Exchanged,
    /// Another one was about to take its name.
    Replaced,
    /// Its mode or times were about to change.
    Attributes,
    /// An extended attribute of it was about to change.
    ExtendedAttribute,
    /// What was announced last was refused.
    Refused,
}

impl Act {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::MadeDirectory => "made-directory",
            Self::MadeLink => "made-link",
            Self::MadeNode => "made-node",
            Self::Linked => "linked",
            Self::Overwritten => "overwritten",
            Self::Extended => "extended",
            Self::Written => "written",
            Self::Removed => "removed",
            Self::RemovedDirectory => "removed-directory",
            Self::Renamed => "renamed",
            Self::Exchanged => "exchanged",
            Self::Replaced => "replaced",
            Self::Attributes => "attributes",
            Self::ExtendedAttribute => "extended-attribute",
            Self::Refused => "refused",
        }
    }
}

/// One operation of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// Its number within the session, from 1 on; the one that `kept` shows.
    pub number: u64,
    /// When.
    pub time: jiff::Timestamp,
    /// The process inside, as the guest says.
    pub process: u32,
    /// The user inside, as the guest says; 4294967295 where it says none.
    pub user: u32,
    /// What was done.
    pub act: Act,
    /// Its path, relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// The other path of what has two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<BytePath>,
    /// Bytes before, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    /// Bytes after, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
}

/// What a session changed: its journal, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDiffView {
    /// The session that began the journal.
    pub session: SessionId,
    /// Whether the journal has an end, so that nothing is missing.
    pub complete: bool,
    /// In the order in which they happened.
    pub operations: Vec<OperationView>,
    /// From the folder as the session found it to how it left it, or as it is; of the paths that
    /// the journal names.
    pub diff: DiffView,
}
