//! Reading all files of a configuration together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::error::{ConfigError, Mistake, in_words, kind_at};
use super::fit::{self, FolderSite};
use super::places::{self, Key};
use super::raw::RawConfig;
use super::resolve::{DefaultWords, Resolver, profile};
use super::sources::{SCHEMA, Source};
use super::{Config, Surroundings};

/// A configuration that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What is in force.
    pub config: Arc<Config>,
    /// What is no mistake and yet probably not meant.
    pub warnings: Vec<ConfigError>,
    /// The files that it came from.
    pub files: Vec<PathBuf>,
    places: BTreeMap<Key, Place>,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A mistake and the number of the file that it is in.
pub(super) type Wrong = (usize, Mistake);

impl Reading {
    /// The configuration of a person who wrote none.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            config: Arc::new(Config::empty()),
            warnings: Vec::new(),
            files: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Reads the files of a configuration, which together are one.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn of(sources: Vec<Source>, around: &Surroundings<'_>) -> Result<Self, ConfigError> {
        let told = |(index, mistake): Wrong| {
            ConfigError::at(&sources[index].file, &sources[index].text, mistake)
        };
        let mut raws = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            raws.push(raw(&source.text).map_err(|mistake| told((index, mistake)))?);
        }
        let places = together(&sources).map_err(told)?;
        let (config, sites) = resolve(raws, &sources, &places, around).map_err(told)?;
        let warnings = fit::check(&config, &sites, &sources, around).map_err(told)?;
        let warnings = warnings.into_iter().map(told).collect();
        let files = sources.iter().map(|source| source.file.clone()).collect();
        Ok(Self { config: Arc::new(config), warnings, files, places })
    }

    /// Where a key stands, as in `["folder", "0", "access"]`; `None` when nobody wrote it.
    #[must_use]
    pub fn place(&self, key: &[&str]) -> Option<&Place> {
        let key: Key = key.iter().map(ToString::to_string).collect();
        self.places.get(&key)
    }
}

/// One file as it is written.
fn raw(text: &str) -> Result<RawConfig, Mistake> {
    // The number first: a newer file may have keys that are unknown here.
    if let Some(schema) = schema(text)
        && schema.get_ref() > &SCHEMA
    {
        let message = format!(
            "this file has schema {}, and this version of Ringfence reads up to {SCHEMA}: install the newer version, or put the file back that lies beside it with `.previous` at its end",
            schema.get_ref()
        );
        return Err(Mistake::new(schema.span(), message));
    }
    let raw: RawConfig = toml::from_str(text).map_err(|error| Mistake {
        span: error.span(),
        message: in_words(error.message(), kind_at(text, error.span())),
        private: false,
    })?;
    match &raw.schema {
        Some(schema) if *schema.get_ref() != SCHEMA => {
            Err(Mistake::new(schema.span(), format!("`schema` must be {SCHEMA}")))
        }
        _ => Ok(raw),
    }
}

fn schema(text: &str) -> Option<Spanned<i64>> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        schema: Option<Spanned<i64>>,
    }
    toml::from_str::<Numbered>(text).ok()?.schema
}

/// The places of all keys, folders counted through all files. What only one file may say is said
/// by one.
fn together(sources: &[Source]) -> Result<BTreeMap<Key, Place>, Wrong> {
    let mut all: BTreeMap<Key, Place> = BTreeMap::new();
    let mut folders = 0;
    for (index, source) in sources.iter().enumerate() {
        let mut here = 0;
        for (mut key, span) in places::of(&source.text) {
            let place = place_of(source, &span);
            if key[0] == "folder" && key.len() > 1 {
                let number = key[1].parse::<usize>().unwrap_or_default();
                here = here.max(number + 1);
                key[1] = (folders + number).to_string();
            } else if let Some(other) = all.get(&key) {
                if is_whole(&key) {
                    let message = format!("{} is written in {other} as well", named(&key));
                    return Err((index, Mistake::new(span, message)));
                }
                continue;
            }
            all.insert(key, place);
        }
        folders += here;
    }
    Ok(all)
}

fn place_of(source: &Source, span: &Range<usize>) -> Place {
    let before = source.text.get(..span.start).unwrap_or_default();
    Place { file: source.file.clone(), line: before.matches('\n').count() + 1 }
}

/// Whether a key, with all below it, belongs to one file.
fn is_whole(key: &[String]) -> bool {
    match key {
        [table, _] if table == "profile" || table == "secret" => true,
        [defaults, key] if defaults == "defaults" => key != "backup",
        [defaults, backup, _] => defaults == "defaults" && backup == "backup",
        _ => false,
    }
}

fn named(key: &[String]) -> String {
    match key {
        [table, name] if table == "profile" || table == "secret" => format!("{table} `{name}`"),
        [.., name] => format!("`{name}`"),
        [] => "this".into(),
    }
}

fn resolve(
    raws: Vec<RawConfig>,
    sources: &[Source],
    places: &BTreeMap<Key, Place>,
    around: &Surroundings<'_>,
) -> Result<(Config, Vec<FolderSite>), Wrong> {
    let resolver = |index: usize| Resolver { text: &sources[index].text, around };
    let mut config = Config::empty();
    let mut defaults = DefaultWords::default();
    let (mut folders, mut profiles) = (Vec::new(), Vec::new());
    // Secrets of all files first: profiles and folders name them.
    for (index, raw) in raws.into_iter().enumerate() {
        let wrong = |mistake| (index, mistake);
        defaults = defaults.and(resolver(index).defaults(raw.defaults).map_err(wrong)?);
        for (name, secret) in raw.secret {
            config.secrets.push(resolver(index).secret(&name, secret).map_err(wrong)?);
        }
        profiles.extend(raw.profile.into_iter().map(|one| (index, one)));
        folders.extend(raw.folder.into_iter().map(|one| (index, one)));
    }
    config.defaults = defaults.fill();
    config.secrets.sort_by(|a, b| a.name.cmp(&b.name));
    for (index, (name, raw)) in profiles {
        let profile = profile(&name, raw, &config.secrets, around);
        config.profiles.push(profile.map_err(|mistake| (index, mistake))?);
    }
    config.profiles.sort_by(|a, b| a.name.cmp(&b.name));
    let known = config.all_profiles();
    let mut sites: Vec<FolderSite> = Vec::new();
    for (index, raw) in folders {
        let raw = raw.into_inner();
        let wrong = |mistake| (index, mistake);
        let site = FolderSite::of(index, &raw, &known).map_err(wrong)?;
        let rules = resolver(index).folder(raw, &site, &config.secrets).map_err(wrong)?;
        if let Some(message) = fit::listed_twice(&rules, &config.folders, places, around) {
            return Err((index, Mistake::new(site.path, message)));
        }
        config.folders.push(rules);
        sites.push(site);
    }
    Ok((config, sites))
}
