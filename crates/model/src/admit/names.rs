//! All that a share hides and protects: patterns with the folder whose patterns they are, and
//! directories that another rule keeps.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::folder::NameRules;

/// What of a shared folder a machine does not see, or cannot change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownNames {
    /// The folder's own patterns.
    #[serde(flatten)]
    pub own: NameRules,
    /// Directories in it that do not exist for the machine: exact ways from its root.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<PathBuf>,
    /// Directories in it that cannot be changed: exact ways from its root.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub read_only: BTreeSet<PathBuf>,
    /// Patterns of folders around it and in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placed: Vec<Placed>,
}

/// Patterns of another folder than the shared one. One of the two ways is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The way from that folder down to the shared one's root.
    pub above: PathBuf,
    /// The way from the shared folder's root down to that folder.
    pub below: PathBuf,
    /// The patterns, as they are meant there.
    pub names: NameRules,
}

impl ShownNames {
    /// Whether the patterns here keep all that those of another one would.
    #[must_use]
    pub(crate) fn patterns_keep(&self, other: &Self) -> bool {
        // The order of patterns has a meaning: others are others. None keep nothing.
        let none = NameRules::default();
        (self.own == other.own || other.own == none)
            && other.placed.iter().all(|placed| self.placed.contains(placed))
    }
}
