//! The configuration file: strict raw form, then the resolved value.
//!
//! Unknown keys, wrong types and contradictions are errors that name line, column
//! and the nearest known key: a typo must never turn protection off.

mod change;
mod error;
mod fit;
#[cfg(test)]
mod fuzz;
mod hint;
#[cfg(test)]
mod mistakes;
mod paths;
mod places;
mod raw;
mod read;
mod resolve;
mod schema;
mod show;
mod sources;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use change::{
    ConfigWrite, FOLDER_KEYS, FolderChange, PROFILE_KEYS, ProfileChange, ProfileRemoval,
};
pub use error::ConfigError;
pub(crate) use error::nearest;
pub use hint::{HINT_FILE, Hint, HintStanding, HintStatus, HintView, LiveHint, MOST_HINT};
pub use read::{Place, Reading};
pub use schema::schema;
pub use show::{ConfigView, Origin, TableView, ValueView};
pub use sources::{INCLUDES, SCHEMA, Source, gather, migrated};

use crate::copy::CopyTarget;
use crate::folder::FolderRules;
use crate::health::CheckEvery;
use crate::mass_loss::GuardRule;
use crate::profile::{Network, Profile, SHIPPED, Shipped, built_in};
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

/// What the meaning of a configuration depends on, beside its text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What a leading `~` stands for.
    pub home: &'a Path,
    /// The value of an environment variable, if it is set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The directory that a path leads to, if there is one: two paths to it are one folder.
    pub canonical: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// The recipes that there are.
    pub shipped: &'a [Shipped],
}

impl<'a> Surroundings<'a> {
    /// The directory of a folder's rule, from `path` as it is written.
    ///
    /// # Errors
    /// Why it is none.
    pub fn folder_path(&self, written: &str) -> Result<PathBuf, String> {
        paths::absolute("folder path", written, self)
    }

    /// Without an environment, without looking at directories; the recipes are those that ship.
    #[must_use]
    pub fn of(home: &'a Path) -> Self {
        Self { home, variable: &|_| None, canonical: &|_| None, shipped: SHIPPED }
    }
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

    /// Reads the text of one configuration file, without an environment.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(file: &Path, text: &str, home: &Path) -> Result<Self, ConfigError> {
        let source = Source { file: file.to_owned(), text: text.to_owned() };
        Reading::of(vec![source], &Surroundings::of(home))
            .map(|reading| Arc::unwrap_or_clone(reading.config))
    }

    /// Every profile by name: a configured one replaces the built-in one of its name whole.
    #[must_use]
    pub fn all_profiles(&self) -> Vec<Profile> {
        let mut all = self.profiles.clone();
        for profile in built_in() {
            if !all.iter().any(|other| other.name == profile.name) {
                all.push(profile);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
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
