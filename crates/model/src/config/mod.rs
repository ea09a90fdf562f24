//! The configuration file: strict raw form, then the resolved value.
//!
//! Unknown keys, wrong types and contradictions are errors that name line, column
//! and the nearest known key: a typo must never turn protection off.

mod error;
mod raw;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub(crate) use error::nearest;

use crate::copy::CopyTarget;
use crate::folder::FolderRules;
use crate::health::CheckEvery;
use crate::mass_loss::GuardRule;
use crate::profile::{Network, Profile};
use crate::retention::Keep;
use crate::secret::Secret;
use crate::size::Size;

/// The resolved configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What applies where nothing else is said.
    pub defaults: Defaults,
    /// Rules by folder; paths have `~` expanded and are not yet canonical.
    pub folders: Vec<FolderRules>,
    /// Configured profiles, which replace built-in ones of the same name whole.
    pub profiles: Vec<Profile>,
    /// Configured secrets: where they are read, never what they are.
    pub secrets: Vec<Secret>,
}

/// `[defaults]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    /// Virtual processors of a new machine; `None`: from the host's size.
    pub cpus: Option<u32>,
    /// Memory of a new machine.
    pub memory: Option<Size>,
    /// Disk of a new machine.
    pub disk: Option<Size>,
    /// Network of a profile that does not say, and the widest one of all; `None`: the internet
    /// for a profile that does not say, and no bound for one that does.
    pub network: Option<Network>,
    /// How long snapshots are kept, of folders that do not say.
    pub keep: Keep,
    /// How large a vault may get, of folders that do not say; `None`: a share of the disk.
    pub limit: Option<Size>,
    /// How often vaults are checked.
    pub check: CheckEvery,
    /// Where second copies go, of folders that do not say.
    pub copy: Vec<CopyTarget>,
    /// How much a copy may send in a second; `None`: a moderate amount.
    pub copy_rate: Option<Size>,
    /// What the guard against mass loss does in folders that do not say.
    pub guard: GuardRule,
}

impl Config {
    /// The configuration of a person who wrote none.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            defaults: Defaults::default(),
            folders: Vec::new(),
            profiles: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// How long a folder's snapshots are kept.
    #[must_use]
    pub fn keep_of<'a>(&'a self, rules: &'a FolderRules) -> &'a Keep {
        rules.keep.as_ref().unwrap_or(&self.defaults.keep)
    }

    /// How large a folder's vault may get; `None`: a share of the disk.
    #[must_use]
    pub fn limit_of(&self, rules: &FolderRules) -> Option<Size> {
        rules.limit.or(self.defaults.limit)
    }

    /// What the guard against mass loss does in a folder.
    #[must_use]
    pub fn guard_of(&self, rules: &FolderRules) -> GuardRule {
        rules.guard.over(self.defaults.guard)
    }

    /// Where second copies of a folder's vault go.
    #[must_use]
    pub fn copies_of<'a>(&'a self, rules: &'a FolderRules) -> &'a [CopyTarget] {
        rules.copy.as_deref().unwrap_or(&self.defaults.copy)
    }
}
