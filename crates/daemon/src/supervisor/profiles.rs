//! Profiles: the built-in ones, which recipes ship, and those of the configuration.

use ringfence_model::config::{
    Config, ConfigView, ConfigWrite, PROFILE_KEYS, ProfileChange, ProfileRemoval,
};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::machine::LimitWords;
use ringfence_model::name::ProfileName;
use ringfence_model::profile::Profile;
pub(super) use ringfence_model::profile::SHELL;
use ringfence_model::status::ProfileView;

use super::backup::unset;
use super::{Daemon, failed};
use crate::config_file::ProfileEdit;

/// Its name.
pub(super) fn shell() -> ProfileName {
    ProfileName::new(SHELL).unwrap_or_else(|_| unreachable!("a word is a name"))
}

/// Every profile: a configured one replaces the built-in one of its name whole.
pub(super) fn all(config: &Config) -> Vec<Profile> {
    config.all_profiles()
}

/// The profile of that name.
///
/// # Errors
/// When there is none; names those that there are.
pub(super) fn find(config: &Config, name: &ProfileName) -> Result<Profile, ApiError> {
    let profiles = all(config);
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    let error =
        ApiError::new(ErrorKind::Usage, format!("there is no profile `{name}`")).hint(format!(
            "profiles: {} · to run a command instead: ringfence run -- {name} …",
            names.join(", ")
        ));
    profiles.into_iter().find(|profile| profile.name == *name).ok_or(error)
}

impl Daemon {
    /// Every profile, as `profile list` shows it.
    ///
    /// # Errors
    /// When the configuration is broken.
    pub fn profile_views(&self) -> Result<Vec<ProfileView>, ApiError> {
        let config = self.config.current()?;
        let network = config.defaults.network;
        let view = |profile: Profile| ProfileView {
            built_in: !config.profiles.iter().any(|other| other.name == profile.name),
            name: profile.name,
            recipe: profile.recipe.map(Into::into),
            labels: profile.labels,
            args: profile.args,
            env: profile.env,
            network: profile.network.or(network).unwrap_or_default(),
            allow: profile.allow,
            secrets: profile.secrets,
            limits: profile.limits,
        };
        Ok(all(&config).into_iter().map(view).collect())
    }

    /// Makes or changes a profile.
    ///
    /// # Errors
    /// When the configuration is broken or would be.
    pub fn set_profile(&self, change: &ProfileChange) -> Result<(), ApiError> {
        let mut edits = Vec::new();
        edits.extend(unset(&change.unset, &PROFILE_KEYS)?.map(ProfileEdit::Unset));
        edits.extend(change.recipe.clone().map(|recipe| ProfileEdit::Recipe(recipe.into())));
        edits.extend(change.labels.clone().map(ProfileEdit::Labels));
        edits.extend(change.args.clone().map(ProfileEdit::Args));
        let env = change.env.clone().into_iter();
        edits.extend(env.map(|(variable, text)| ProfileEdit::Env(variable, text)));
        edits.extend(change.network.map(ProfileEdit::Network));
        edits.extend(change.allow.clone().map(ProfileEdit::Allow));
        edits.extend(change.secrets.clone().map(ProfileEdit::Secrets));
        if change.limits != LimitWords::default() {
            edits.push(ProfileEdit::Limits(change.limits));
        }
        self.config.edit_profile(&change.name, change.add, &edits)
    }

    /// Takes a profile out of the configuration.
    ///
    /// # Errors
    /// When it is not there, or a folder names it.
    pub fn remove_profile(&self, removal: &ProfileRemoval) -> Result<(), ApiError> {
        self.config.remove_profile(&removal.name)
    }

    /// The configuration in force and where each value came from.
    ///
    /// # Errors
    /// When it is broken.
    pub fn config_view(&self) -> Result<ConfigView, ApiError> {
        let reading = self.config.reading()?;
        let computer = self.default_limits(&Config::empty());
        let folders = self.store.folders().map_err(failed)?.folders;
        let paths: Vec<_> = folders.into_iter().map(|folder| folder.path).collect();
        Ok(reading.show(computer, &paths))
    }

    /// Puts a text in the place of a file of the configuration.
    ///
    /// # Errors
    /// When it was changed meanwhile or the configuration would be broken.
    pub fn write_config(&self, write: ConfigWrite) -> Result<(), ApiError> {
        self.config.replace(&write.file, write.before.as_deref(), write.text)
    }
}
