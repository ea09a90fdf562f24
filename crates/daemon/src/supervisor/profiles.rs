//! Profiles: the built-in ones, which recipes ship, and those of the configuration.

use ringfence_model::config::Config;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::machine::LimitWords;
use ringfence_model::name::ProfileName;
use ringfence_model::profile::Profile;
use ringfence_model::status::ProfileView;

use super::Daemon;
use crate::guest::recipe;

/// Runs any command, under the same rules as every profile.
pub(super) const SHELL: &str = "shell";

/// Its name.
pub(super) fn shell() -> ProfileName {
    ProfileName::new(SHELL).unwrap_or_else(|_| unreachable!("a word is a name"))
}

/// Every profile: a configured one replaces the built-in one of its name whole.
pub(super) fn all(config: &Config) -> Vec<Profile> {
    let mut profiles = config.profiles.clone();
    for built_in in built_in() {
        if !profiles.iter().any(|profile| profile.name == built_in.name) {
            profiles.push(built_in);
        }
    }
    profiles.sort_by(|a, b| a.name.cmp(&b.name));
    profiles
}

fn built_in() -> Vec<Profile> {
    let plain = |name: &str, recipe| {
        Some(Profile {
            name: ProfileName::new(name).ok()?,
            recipe,
            labels: Vec::new(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            network: None,
            allow: Vec::new(),
            secrets: Vec::new(),
            limits: LimitWords::default(),
        })
    };
    let of_recipes =
        recipe::all().into_iter().filter_map(|recipe| plain(&recipe.profile, Some(recipe.name)));
    plain(SHELL, None).into_iter().chain(of_recipes).collect()
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
        Ok(all(&config)
            .into_iter()
            .map(|profile| ProfileView {
                built_in: !config.profiles.iter().any(|other| other.name == profile.name),
                name: profile.name,
                recipe: profile.recipe.map(Into::into),
                labels: profile.labels,
            })
            .collect())
    }
}
