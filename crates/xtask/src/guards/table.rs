//! The table of guards (`guards.toml`): what it says, and what must hold of it so that it
//! cannot rot. Must not read files or start anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;

/// Where the table is, from the repository's root.
pub(crate) const FILE: &str = "crates/xtask/guards.toml";

/// The promises of the product are numbered from 1 to this.
const PROMISES: u8 = 9;

/// One place of the sources that is written differently.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// From the repository's root.
    pub(crate) file: String,
    /// A text that is there exactly once.
    pub(crate) find: String,
    /// What stands there with the guard out; empty: nothing.
    pub(crate) replace: String,
}

/// One guard, and the test that must turn red without it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guard {
    /// Short, unique, of small letters, digits and `-`.
    pub(crate) name: String,
    /// What it keeps, in words.
    pub(crate) rule: String,
    /// Which promises that belongs to.
    pub(crate) promises: Vec<u8>,
    /// As in [`Edit`].
    pub(crate) file: String,
    /// As in [`Edit`].
    pub(crate) find: String,
    /// As in [`Edit`].
    pub(crate) replace: String,
    /// Further places, where another guard behind this one does the same: all are out together.
    #[serde(default)]
    pub(crate) also: Vec<Edit>,
    /// The text is no expression and no statement: a build of its own, not a choice at run time.
    #[serde(default)]
    pub(crate) build: bool,
    /// The package of the test, where it is not that of the file.
    pub(crate) package: Option<String>,
    /// The test: its name, with as many modules before it as make it the only one.
    pub(crate) test: Option<String>,
    /// Instead of a test: the number of a scenario on a real machine.
    pub(crate) scenario: Option<String>,
    /// The test shows it only to root.
    #[serde(default)]
    pub(crate) root: bool,
}

impl Guard {
    /// Every place that is written differently without it.
    pub(crate) fn edits(&self) -> impl Iterator<Item = Edit> + '_ {
        let (file, find) = (self.file.clone(), self.find.clone());
        let first = Edit { file, find, replace: self.replace.clone() };
        std::iter::once(first).chain(self.also.iter().cloned())
    }

    /// Whether somebody who asks for one of these words means it.
    pub(crate) fn is_meant(&self, words: &[String]) -> bool {
        let promises = self.promises.iter().map(|number| format!("promise {number}"));
        let about = [&self.name, &self.rule, &self.file]
            .into_iter()
            .chain(&self.package)
            .chain(&self.test)
            .cloned()
            .chain(promises)
            .collect::<Vec<_>>();
        words.is_empty()
            || words.iter().any(|word| about.iter().any(|text| text.contains(word.as_str())))
    }
}

/// The whole table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Made in every copy: by them the choice reaches processes that clear their environment.
    #[serde(default)]
    pub(crate) always: Vec<Edit>,
    #[serde(rename = "guard")]
    pub(crate) guards: Vec<Guard>,
}

impl Table {
    /// # Errors
    /// It is no TOML, or says something that a guard has not.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Everything that makes the table unusable; `sources` are the repository's texts by path.
    pub(crate) fn problems(&self, sources: &BTreeMap<String, String>) -> Vec<String> {
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for guard in &self.guards {
            let name = &guard.name;
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || !name.bytes().all(plain) || !names.insert(name) {
                found.push(format!("`{name}`: not a name of small letters, or there twice"));
            }
            if guard.promises.is_empty()
                || guard.promises.iter().any(|number| !(1..=PROMISES).contains(number))
            {
                found.push(format!("`{name}`: promises are numbers from 1 to {PROMISES}"));
            }
            for edit in guard.edits() {
                found.extend(place(&edit, sources).err().map(|why| format!("`{name}`: {why}")));
            }
            found.extend(shown_by(guard, sources).err().map(|why| format!("`{name}`: {why}")));
        }
        for edit in &self.always {
            found.extend(place(edit, sources).err());
        }
        for promise in 1..=PROMISES {
            if !self.guards.iter().any(|guard| guard.promises.contains(&promise)) {
                found.push(format!("promise {promise} has no guard"));
            }
        }
        found
    }

    /// The package of a guard's test.
    ///
    /// # Errors
    /// Its file is in no package.
    pub(crate) fn package(
        guard: &Guard,
        sources: &BTreeMap<String, String>,
    ) -> Result<String, String> {
        if let Some(package) = &guard.package {
            return Ok(package.clone());
        }
        let crate_of = guard.file.split('/').take(2).collect::<Vec<_>>().join("/");
        let manifest = sources.get(&format!("{crate_of}/Cargo.toml"));
        let name = manifest.and_then(|text| package_name(text));
        name.ok_or_else(|| format!("{} is in no package: say `package`", guard.file))
    }
}

/// Where an edit's text is.
///
/// # Errors
/// It is not there, or more than once.
pub(crate) fn place(
    edit: &Edit,
    sources: &BTreeMap<String, String>,
) -> Result<Range<usize>, String> {
    let Some(text) = sources.get(&edit.file) else {
        return Err(format!("there is no file {}", edit.file));
    };
    let mut places = text.match_indices(&edit.find);
    match (places.next(), places.count()) {
        (Some((at, found)), 0) if !found.is_empty() => Ok(at..at + found.len()),
        (None, _) => Err(format!("{} does not have `{}`", edit.file, edit.find)),
        _ => Err(format!("{} has `{}` more than once", edit.file, edit.find)),
    }
}

fn shown_by(guard: &Guard, sources: &BTreeMap<String, String>) -> Result<(), String> {
    match (&guard.test, &guard.scenario) {
        (Some(test), None) => {
            let package = Table::package(guard, sources)?;
            let manifest = sources.iter().find(|(path, text)| {
                path.ends_with("Cargo.toml") && package_name(text).as_ref() == Some(&package)
            });
            let Some((manifest, _)) = manifest else {
                return Err(format!("there is no package {package}"));
            };
            let inside = manifest.trim_end_matches("Cargo.toml");
            let function = test.rsplit("::").next().unwrap_or(test);
            let begin = format!("fn {function}(");
            let found: usize = sources
                .iter()
                .filter(|(path, _)| path.starts_with(inside) && path.ends_with(".rs"))
                .map(|(_, text)| text.matches(&begin).count())
                .sum();
            match found {
                0 => Err(format!("{package} has no test `{test}`")),
                1 => Ok(()),
                // Modules tell them apart; which are enough is seen when the tests are listed.
                _ if test.contains("::") => Ok(()),
                _ => Err(format!("{package} has several tests `{test}`: say of which module")),
            }
        }
        (None, Some(number)) => {
            let begins = format!("e2e/{number}-");
            let there = sources.keys().any(|path| path.starts_with(&begins));
            if there { Ok(()) } else { Err(format!("there is no scenario {number}")) }
        }
        _ => Err("is shown by a test or by a scenario".to_owned()),
    }
}

fn package_name(manifest: &str) -> Option<String> {
    let manifest: toml::Table = manifest.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}
