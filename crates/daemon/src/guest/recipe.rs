//! Recipes: how an agent program is installed, started and logged in to.
//!
//! Owns: reading and checking the directories of `recipes/`, which are embedded. Must not:
//! know any agent by name; a new one is a directory.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ringfence_model::name::{ProfileName, RecipeName};
use serde::Deserialize;

/// Name, `recipe.toml` and `install.sh` of every recipe.
const EMBEDDED: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// One agent program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its name: the directory's.
    pub name: RecipeName,
    /// The agent program, in a few words.
    pub description: String,
    /// The built-in profile that runs it.
    pub profile: String,
    /// The command that starts the agent.
    pub command: Vec<String>,
    /// Arguments that make it print its version and end.
    pub version_args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// What it keeps below the home directory: logins and settings.
    pub config: Vec<String>,
    /// How to log in, in a sentence.
    pub login: String,
    /// A shell script that installs it, run as root.
    pub install: String,
    /// The bytes that decide what its layer holds.
    pub(crate) source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    description: String,
    profile: ProfileName,
    command: Vec<String>,
    #[serde(default)]
    version_args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    config: Vec<String>,
    #[serde(default)]
    login: String,
}

/// Why a recipe is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recipe `{name}`: {why}")]
pub struct RecipeError {
    name: String,
    why: String,
}

/// Reads one recipe from its two files.
///
/// # Errors
/// When a key is unknown, missing or of a wrong kind, or a word could mean something to a shell.
pub fn read(name: &str, recipe: &str, install: &str) -> Result<Recipe, RecipeError> {
    let error = |why: String| RecipeError { name: name.to_owned(), why };
    let file: File = toml::from_str(recipe).map_err(|problem| error(problem.to_string()))?;
    if file.schema != 1 {
        return Err(error(format!("schema {} is unknown", file.schema)));
    }
    if file.command.is_empty()
        || !file.command.iter().chain(&file.version_args).all(|word| plain(word))
    {
        return Err(error("`command` and `version_args` are lists of plain words".to_owned()));
    }
    if !file.config.iter().all(|path| plain(path) && !path.starts_with('/') && !path.contains(".."))
    {
        return Err(error("`config` names plain paths below the home directory".to_owned()));
    }
    Ok(Recipe {
        name: RecipeName::new(name).map_err(|problem| error(problem.to_string()))?,
        description: file.description,
        profile: file.profile.as_str().to_owned(),
        command: file.command,
        version_args: file.version_args,
        env: file.env,
        config: file.config,
        login: file.login,
        install: install.to_owned(),
        source: install.to_owned(),
    })
}

/// Words that mean themselves in every shell: they are also put into one line of ours.
fn plain(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=@:+".contains(&byte))
}

/// Every recipe, by name.
#[must_use]
pub fn all() -> Vec<Recipe> {
    static ALL: OnceLock<Vec<Recipe>> = OnceLock::new();
    // A test reads every embedded recipe, so that none is left out here.
    let read_all = || {
        EMBEDDED.iter().filter_map(|(name, file, install)| read(name, file, install).ok()).collect()
    };
    ALL.get_or_init(read_all).clone()
}

/// The recipe of that name.
#[must_use]
pub fn find(name: &RecipeName) -> Option<Recipe> {
    all().into_iter().find(|recipe| recipe.name == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_directory_is_a_recipe() {
        assert!(!EMBEDDED.is_empty());
        for (name, file, install) in EMBEDDED {
            let recipe = read(name, file, install).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                !recipe.version_args.is_empty() && install.starts_with("#!/bin/sh\n"),
                "{name}"
            );
        }
        let mut profiles: Vec<_> = all().into_iter().map(|recipe| recipe.profile).collect();
        profiles.sort();
        let count = profiles.len();
        profiles.dedup();
        assert_eq!(profiles.len(), count, "two recipes ship one profile");
    }

    #[test]
    fn a_recipe_cannot_smuggle_a_shell_word() {
        let file = |command: &str| {
            format!("schema = 1\ndescription = 'x'\nprofile = 'x'\ncommand = [{command}]\n")
        };
        assert!(read("x", &file("'x', '--go'"), "").is_ok());
        for bad in ["", "''", "'x; rm'", "'$(x)'", "'a b'"] {
            assert!(read("x", &file(bad), "").is_err(), "{bad}");
        }
        let unknown = format!("{}commnd = 1\n", file("'x'"));
        assert!(read("x", &unknown, "").is_err());
    }
}
