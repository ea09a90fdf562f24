//! From the file as it is written to the value in force: checks that values fit each other.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::error::{Mistake, nearest};
use super::fit::FolderSite;
use super::raw::{Engine, RawDefaultBackup, RawDefaults, RawFolder, RawProfile, RawSecret};
use super::{Defaults, Surroundings, paths};
use crate::copy::CopyTarget;
use crate::folder::{FolderRules, NameRules};
use crate::health::CheckEvery;
use crate::machine::LimitWords;
use crate::mass_loss::{GuardRule, GuardWords};
use crate::name::{ProfileName, SecretName};
use crate::pattern::Pattern;
use crate::profile::{Network, Profile, Selector};
use crate::retention::Keep;
use crate::secret::{Secret, SecretSource, is_variable};
use crate::size::Size;

pub(super) type Read<T> = Result<T, Mistake>;

/// `[defaults]` as far as one file says it.
#[derive(Default)]
pub(super) struct DefaultWords {
    cpus: Option<u32>,
    memory: Option<Size>,
    disk: Option<Size>,
    network: Option<Network>,
    keep: Option<Keep>,
    limit: Option<Size>,
    check: Option<CheckEvery>,
    copy: Option<Vec<CopyTarget>>,
    copy_rate: Option<Size>,
    guard: Option<GuardWords>,
}

impl DefaultWords {
    /// What two files say, of which no key is in both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.or(other.cpus),
            memory: self.memory.or(other.memory),
            disk: self.disk.or(other.disk),
            network: self.network.or(other.network),
            keep: self.keep.or(other.keep),
            limit: self.limit.or(other.limit),
            check: self.check.or(other.check),
            copy: self.copy.or(other.copy),
            copy_rate: self.copy_rate.or(other.copy_rate),
            guard: self.guard.or(other.guard),
        }
    }

    /// With what nobody says filled in.
    pub(super) fn fill(self) -> Defaults {
        Defaults {
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
            network: self.network,
            keep: self.keep.unwrap_or_default(),
            limit: self.limit,
            check: self.check.unwrap_or_default(),
            copy: self.copy.unwrap_or_default(),
            copy_rate: self.copy_rate,
            guard: self.guard.unwrap_or_default().over(GuardRule::default()),
        }
    }
}

/// Reads the tables of one file.
pub(super) struct Resolver<'a> {
    /// The file's text.
    pub text: &'a str,
    /// What it depends on beside.
    pub around: &'a Surroundings<'a>,
}

impl Resolver<'_> {
    pub(super) fn defaults(&self, raw: RawDefaults) -> Read<DefaultWords> {
        // Both engines that this version knows resolve to the built-in one.
        match raw.engine {
            None | Some(Engine::Auto | Engine::Qemu) => {}
        }
        let RawDefaultBackup { keep, limit, check, copy, copy_rate } = raw.backup;
        let cpus = match raw.cpus {
            Some(cpus) if !(1..=256).contains(cpus.get_ref()) => {
                return Err(Mistake::new(cpus.span(), "`cpus` must be 1 to 256"));
            }
            cpus => cpus.map(Spanned::into_inner),
        };
        let words = |memory, disk| LimitWords { memory, disk, ..LimitWords::default() };
        let (memory, disk) = (raw.memory, raw.disk);
        for (size, words) in [
            (&memory, words(memory.as_ref().map(|size| *size.get_ref()), None)),
            (&disk, words(None, disk.as_ref().map(|size| *size.get_ref()))),
        ] {
            if let (Some(size), Some(mistake)) = (size, words.mistake()) {
                return Err(Mistake::new(size.span(), mistake));
            }
        }
        Ok(DefaultWords {
            guard: raw.guard.map(|words| guard(Some(words))).transpose()?,
            copy: copy.map(|copy| self.copies(&copy)).transpose()?,
            copy_rate: above_nothing("copy_rate", copy_rate)?,
            keep: self.keep(keep.as_ref())?,
            limit: above_nothing("limit", limit)?,
            check,
            cpus,
            memory: memory.map(Spanned::into_inner),
            disk: disk.map(Spanned::into_inner),
            network: raw.network,
        })
    }

    pub(super) fn folder(
        &self,
        raw: RawFolder,
        site: &FolderSite,
        secrets: &[Secret],
    ) -> Read<FolderRules> {
        let who = |words: &[(Selector, Range<usize>)]| -> Vec<Selector> {
            words.iter().map(|(who, _)| who.clone()).collect()
        };
        let path = self.path("folder path", &raw.path)?;
        if let Some(allow) = raw.allow.as_ref().filter(|_| raw.network != Some(Network::Allowlist))
        {
            let message = "`allow` is read only beside `network = \"allowlist\"`";
            return Err(Mistake::new(allow.span(), message));
        }
        Ok(FolderRules {
            path,
            profiles: site.profiles.as_deref().map(who),
            deny: who(&site.deny),
            access: raw.access,
            backup: raw.backup.enabled.unwrap_or(true),
            keep: self.keep(raw.backup.keep.as_ref())?,
            limit: above_nothing("limit", raw.backup.limit)?,
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

    pub(super) fn secret(&self, name: &Spanned<String>, raw: RawSecret) -> Read<Secret> {
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
            let path = self.path("file", &file)?;
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

    fn path(&self, what: &str, written: &Spanned<String>) -> Read<PathBuf> {
        paths::absolute(what, written.get_ref(), self.around)
            .map_err(|message| Mistake::new(written.span(), message))
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
            // A directory is a path like every other; what is reached otherwise is none.
            let written = match text.get_ref().as_str() {
                path if path.starts_with(['/', '~', '$']) => paths::expand(path, self.around)
                    .map_err(&mistake)?
                    .to_string_lossy()
                    .into_owned(),
                other => other.to_owned(),
            };
            let target = CopyTarget::parse(&written, self.around.home)
                .map_err(|error| mistake(error.to_string()))?;
            if targets.contains(&target) {
                return Err(mistake(format!("{target} is listed twice")));
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

/// One profile; `secrets` are those of all files.
pub(super) fn profile(
    name: &Spanned<String>,
    raw: RawProfile,
    secrets: &[Secret],
    around: &Surroundings<'_>,
) -> Read<Profile> {
    let name = ProfileName::new(name.get_ref().as_str())
        .map_err(|error| Mistake::new(name.span(), error.to_string()))?;
    if let Some(recipe) = &raw.recipe {
        let mut recipes = around.shipped.iter().map(|shipped| shipped.recipe);
        if !recipes.clone().any(|known| known == recipe.get_ref().as_str()) {
            let message = match nearest(recipe.get_ref().as_str(), recipes.by_ref()) {
                Some(known) => {
                    format!("there is no recipe `{}`; did you mean `{known}`?", recipe.get_ref())
                }
                None => format!("there is no recipe `{}`: ringfence recipe list", recipe.get_ref()),
            };
            return Err(Mistake::new(recipe.span(), message));
        }
    }
    for label in &raw.labels {
        if ProfileName::new(label.get_ref().as_str()).is_err() {
            let message = format!(
                "`{}` is not a label: use 1 to 40 of a-z, 0-9 and '-', starting with a letter or digit",
                label.get_ref()
            );
            return Err(Mistake::new(label.span(), message));
        }
    }
    for variable in raw.env.keys() {
        if !is_variable(variable.get_ref()) {
            let message = format!(
                "`{}` is not the name of an environment variable: letters, digits and `_`",
                variable.get_ref()
            );
            return Err(Mistake::new(variable.span(), message));
        }
    }
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
        if raw.env.keys().any(|variable| *variable.get_ref() == secret.variable) {
            let variable = &secret.variable;
            let message =
                format!("secret `{}` is `{variable}`, which `env` sets as well", secret.name);
            return Err(Mistake::new(written.span(), message));
        }
        variables.push((&secret.variable, &secret.name));
    }
    Ok(Profile {
        name,
        recipe: raw.recipe.map(Spanned::into_inner),
        labels: plain(raw.labels),
        args: raw.args,
        env: raw.env.into_iter().map(|(name, value)| (name.into_inner(), value)).collect(),
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
pub(super) fn hosts(written: Vec<Spanned<String>>) -> Read<Vec<String>> {
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

pub(super) fn limits(words: Option<Spanned<LimitWords>>) -> Read<LimitWords> {
    let Some(words) = words else { return Ok(LimitWords::default()) };
    match words.get_ref().mistake() {
        Some(mistake) => Err(Mistake::new(words.span(), mistake)),
        None => Ok(words.into_inner()),
    }
}

/// A size that is not nothing.
fn above_nothing(key: &str, size: Option<Spanned<Size>>) -> Read<Option<Size>> {
    match size {
        Some(size) if size.get_ref().as_bytes() == 0 => {
            Err(Mistake::new(size.span(), format!("`{key}` must be more than nothing")))
        }
        size => Ok(size.map(Spanned::into_inner)),
    }
}

pub(super) fn patterns(key: &str, written: Vec<Spanned<String>>) -> Read<Vec<Pattern>> {
    let pattern = |text: Spanned<String>| {
        text.get_ref()
            .parse::<Pattern>()
            .map_err(|error| Mistake::new(text.span(), format!("`{key}`: {error}")))
    };
    written.into_iter().map(pattern).collect()
}
