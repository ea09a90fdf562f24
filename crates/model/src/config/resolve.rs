//! From the file as it is written to the value in force: checks that values fit each other.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::error::{ConfigError, Mistake, nearest, with_nearest_key};
use super::raw::{
    Engine, RawConfig, RawDefaultBackup, RawDefaults, RawFolder, RawProfile, RawSecret,
};
use super::{Config, Defaults};
use crate::copy::CopyTarget;
use crate::folder::{FolderRules, NameRules};
use crate::machine::LimitWords;
use crate::mass_loss::{GuardRule, GuardWords};
use crate::name::{ProfileName, SecretName};
use crate::pattern::Pattern;
use crate::profile::{Network, Profile};
use crate::retention::Keep;
use crate::secret::{Secret, SecretSource, is_variable};

type Read<T> = Result<T, Mistake>;

impl Config {
    /// Reads a configuration file's text. `home` replaces a leading `~`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(file: &Path, text: &str, home: &Path) -> Result<Self, ConfigError> {
        let resolver = Resolver { text, home };
        toml::from_str(text)
            .map_err(|error: toml::de::Error| Mistake {
                span: error.span(),
                message: with_nearest_key(error.message()),
                private: false,
            })
            .and_then(|raw| resolver.config(raw))
            .map_err(|mistake| ConfigError::at(file, text, mistake))
    }
}

struct Resolver<'a> {
    text: &'a str,
    home: &'a Path,
}

impl Resolver<'_> {
    fn config(&self, raw: RawConfig) -> Read<Config> {
        let defaults = self.defaults(raw.defaults)?;
        let mut secrets = Vec::new();
        for (name, secret) in raw.secret {
            secrets.push(self.secret(&name, secret)?);
        }
        let mut folders: Vec<FolderRules> = Vec::new();
        for folder in raw.folder {
            let span = folder.span();
            let folder = self.folder(folder.into_inner(), &secrets)?;
            if folders.iter().any(|other| other.path == folder.path) {
                let message = format!("folder {} is listed twice", folder.path.display());
                return Err(Mistake::new(span, message));
            }
            folders.push(folder);
        }
        let mut profiles = Vec::new();
        for (name, profile) in raw.profile {
            profiles.push(profile_of(&name, profile, &secrets)?);
        }
        Ok(Config { defaults, folders, profiles, secrets })
    }

    fn defaults(&self, raw: RawDefaults) -> Read<Defaults> {
        // Both engines that this version knows resolve to the built-in one.
        match raw.engine {
            None | Some(Engine::Auto | Engine::Qemu) => {}
        }
        let RawDefaultBackup { keep, limit, check, copy, copy_rate } = raw.backup;
        Ok(Defaults {
            guard: guard(raw.guard)?.over(GuardRule::default()),
            copy: self.copies(&copy)?,
            copy_rate,
            keep: self.keep(keep.as_ref())?.unwrap_or_default(),
            limit,
            check: check.unwrap_or_default(),
            cpus: match raw.cpus {
                Some(cpus) if !(1..=256).contains(cpus.get_ref()) => {
                    return Err(Mistake::new(cpus.span(), "`cpus` must be 1 to 256"));
                }
                cpus => cpus.map(Spanned::into_inner),
            },
            memory: raw.memory,
            disk: raw.disk,
            network: raw.network,
        })
    }

    fn folder(&self, raw: RawFolder, secrets: &[Secret]) -> Read<FolderRules> {
        let written = raw.path.get_ref();
        let path = expand_home(written, self.home);
        if !path.is_absolute() {
            let message = format!("folder path `{written}` must be absolute or start with `~/`");
            return Err(Mistake::new(raw.path.span(), message));
        }
        if let Some(allow) = raw.allow.as_ref().filter(|_| raw.network != Some(Network::Allowlist))
        {
            let message = "`allow` is read only beside `network = \"allowlist\"`";
            return Err(Mistake::new(allow.span(), message));
        }
        Ok(FolderRules {
            path,
            profiles: raw.profiles.map(plain),
            deny: plain(raw.deny),
            access: raw.access,
            backup: raw.backup.enabled.unwrap_or(true),
            keep: self.keep(raw.backup.keep.as_ref())?,
            limit: raw.backup.limit,
            copy: raw.backup.copy.map(|copy| self.copies(&copy)).transpose()?,
            exclude: patterns("exclude", raw.backup.exclude)?,
            guard: guard(raw.guard)?,
            names: NameRules {
                hide: patterns("hide", raw.hide)?,
                protect: patterns("protect", raw.protect)?,
            },
            exit_check: raw.exit_check,
            network: raw.network,
            allow: raw.allow.map(|allow| hosts(allow.into_inner())).transpose()?,
            limits: limits(raw.limits)?,
            secrets: raw.secrets.map(|names| secret_names(names, secrets)).transpose()?,
            share_anyway: raw.share_anyway,
        })
    }

    fn secret(&self, name: &Spanned<String>, raw: RawSecret) -> Read<Secret> {
        let span = name.span();
        let name = SecretName::new(name.get_ref().as_str())
            .map_err(|error| Mistake::new(span.clone(), error.to_string()))?;
        let mut sources = Vec::new();
        if let Some(entry) = raw.keyring {
            let (service, account) = entry
                .get_ref()
                .split_once('/')
                .filter(|(service, account)| !service.is_empty() && !account.is_empty())
                .ok_or_else(|| {
                    Mistake::new(entry.span(), "`keyring` is written \"service/account\"")
                })?;
            sources
                .push(SecretSource::Keyring { service: service.into(), account: account.into() });
        }
        if let Some(file) = raw.file {
            let path = expand_home(file.get_ref(), self.home);
            if !path.is_absolute() {
                let message = "`file` must be absolute or start with `~/`";
                return Err(Mistake::new(file.span(), message));
            }
            sources.push(SecretSource::File(path));
        }
        if let Some(command) = raw.command {
            if command.get_ref().first().is_none_or(String::is_empty) {
                return Err(Mistake::new(command.span(), "`command` names no program"));
            }
            sources.push(SecretSource::Command(command.into_inner()));
        }
        if let Some(variable) = raw.environment {
            if !is_variable(variable.get_ref()) {
                return Err(Mistake::new(variable.span(), "`environment` names no variable"));
            }
            sources.push(SecretSource::Environment(variable.into_inner()));
        }
        let one_of = "of `keyring`, `file`, `command` and `environment`";
        let source = match sources.len() {
            0 => Err(format!("secret `{name}` needs one {one_of}: where is it read?")),
            1 => sources.pop().ok_or_else(String::new),
            _ => Err(format!("secret `{name}` has more than one {one_of}")),
        }
        .map_err(|message| Mistake::new(span.clone(), message))?;
        let variable = match raw.variable {
            Some(variable) if !is_variable(variable.get_ref()) => {
                let message = format!(
                    "`{}` is not the name of an environment variable: letters, digits and `_`",
                    variable.get_ref()
                );
                return Err(Mistake::new(variable.span(), message));
            }
            Some(variable) => variable.into_inner(),
            None => Secret::default_variable(&name),
        };
        if !is_variable(&variable) {
            let message = format!("secret `{name}` needs `as`: `{variable}` is not a variable");
            return Err(Mistake::new(span, message));
        }
        Ok(Secret { name, source, variable })
    }

    /// A retention rule.
    fn keep(&self, words: Option<&Spanned<String>>) -> Read<Option<Keep>> {
        let Some(words) = words else { return Ok(None) };
        Keep::parse(words.get_ref()).map(Some).map_err(|error| {
            let span = words.span();
            // A place within the words is a place in the file unless they are written with escapes.
            let quoted = self.text.get(span.clone()).unwrap_or_default();
            let within =
                quoted.get(1..).is_some_and(|rest| rest.starts_with(words.get_ref().as_str()));
            let wrong = words.get_ref().get(error.offset..).unwrap_or_default();
            let width = wrong.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(wrong.len());
            let start = span.start + 1 + error.offset;
            let span = if within { start..start + width } else { span };
            Mistake::new(span, format!("`keep`: {}", error.message))
        })
    }

    /// Places for second copies.
    fn copies(&self, written: &[Spanned<String>]) -> Read<Vec<CopyTarget>> {
        let mut targets = Vec::new();
        for text in written {
            // Somebody may have put a password there: it is not repeated.
            let mistake = |message| Mistake { private: true, ..Mistake::new(text.span(), message) };
            let target = CopyTarget::parse(text.get_ref(), self.home)
                .map_err(|error| mistake(error.to_string()))?;
            if targets.contains(&target) {
                return Err(mistake(format!("{target} is listed twice")));
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

fn profile_of(name: &Spanned<String>, raw: RawProfile, secrets: &[Secret]) -> Read<Profile> {
    let name = ProfileName::new(name.get_ref().as_str())
        .map_err(|error| Mistake::new(name.span(), error.to_string()))?;
    let mut variables: Vec<(&str, &SecretName)> = Vec::new();
    for written in &raw.secrets {
        let Some(secret) = secrets.iter().find(|secret| secret.name.as_str() == written.get_ref())
        else {
            continue;
        };
        if let Some((variable, other)) =
            variables.iter().find(|(variable, _)| *variable == secret.variable)
        {
            let message = format!("secrets `{other}` and `{}` are both `{variable}`", secret.name);
            return Err(Mistake::new(written.span(), message));
        }
        variables.push((&secret.variable, &secret.name));
    }
    Ok(Profile {
        name,
        recipe: raw.recipe,
        labels: plain(raw.labels),
        args: raw.args,
        env: raw.env,
        network: raw.network,
        allow: hosts(raw.allow)?,
        secrets: secret_names(raw.secrets, secrets)?,
        limits: limits(raw.limits)?,
    })
}

fn plain<T>(written: Vec<Spanned<T>>) -> Vec<T> {
    written.into_iter().map(Spanned::into_inner).collect()
}

/// Names of secrets that there are.
fn secret_names(written: Vec<Spanned<String>>, secrets: &[Secret]) -> Read<Vec<SecretName>> {
    let known = || secrets.iter().map(|secret| secret.name.as_str());
    let mut names: Vec<SecretName> = Vec::new();
    for written in written {
        let name = written.get_ref();
        let Some(secret) = secrets.iter().find(|secret| secret.name.as_str() == name) else {
            let message = match nearest(name, known()) {
                Some(known) => format!("no `[secret.{name}]` is there; did you mean `{known}`?"),
                None => format!("no `[secret.{name}]` is there"),
            };
            return Err(Mistake::new(written.span(), message));
        };
        if names.contains(&secret.name) {
            return Err(Mistake::new(written.span(), format!("`{name}` is listed twice")));
        }
        names.push(secret.name.clone());
    }
    Ok(names)
}

/// Names and addresses for an allow list.
fn hosts(written: Vec<Spanned<String>>) -> Read<Vec<String>> {
    for host in &written {
        let text = host.get_ref();
        if text.is_empty() || text.contains(char::is_whitespace) || text.contains("://") {
            let message = format!("`{text}` is no host: write a name or an address, without more");
            return Err(Mistake::new(host.span(), message));
        }
    }
    Ok(plain(written))
}

fn guard(words: Option<Spanned<GuardWords>>) -> Read<GuardWords> {
    let Some(words) = words else { return Ok(GuardWords::default()) };
    match words.get_ref().mistake() {
        Some(mistake) => Err(Mistake::new(words.span(), mistake)),
        None => Ok(words.into_inner()),
    }
}

fn limits(words: Option<Spanned<LimitWords>>) -> Read<LimitWords> {
    let Some(words) = words else { return Ok(LimitWords::default()) };
    match words.get_ref().mistake() {
        Some(mistake) => Err(Mistake::new(words.span(), mistake)),
        None => Ok(words.into_inner()),
    }
}

fn patterns(key: &str, written: Vec<Spanned<String>>) -> Read<Vec<Pattern>> {
    let pattern = |text: Spanned<String>| {
        text.get_ref()
            .parse::<Pattern>()
            .map_err(|error| Mistake::new(text.span(), format!("`{key}`: {error}")))
    };
    written.into_iter().map(pattern).collect()
}

fn expand_home(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_owned(),
        None => PathBuf::from(path),
    }
}
