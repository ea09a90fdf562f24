//! The configuration file: strict raw form, then the resolved value.
//!
//! Unknown keys, wrong types and contradictions are errors that name line, column
//! and the nearest known key: a typo must never turn protection off.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::copy::CopyTarget;
use crate::exit_check::ExitAction;
use crate::folder::{Access, FolderRules, NameRules};
use crate::health::CheckEvery;
use crate::mass_loss::{GuardRule, GuardWords};
use crate::name::{ProfileName, RecipeName};
use crate::pattern::Pattern;
use crate::profile::{Network, Profile, Selector};
use crate::retention::Keep;
use crate::size::Size;

/// What is wrong with a configuration file, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1; 0 where no place is known.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The text of that line.
    pub excerpt: String,
    /// What is wrong and, where there is one, the nearest known key.
    pub message: String,
}

impl ConfigError {
    fn at(file: &Path, text: &str, offset: Option<usize>, message: String) -> Self {
        let Some(offset) = offset else {
            return Self {
                file: file.to_owned(),
                line: 0,
                column: 0,
                excerpt: String::new(),
                message,
            };
        };
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text[start..offset].chars().count() + 1,
            excerpt: text[start..].lines().next().unwrap_or_default().to_owned(),
            message,
        }
    }

    fn render(&self) -> String {
        if self.line == 0 {
            return format!("{}: {}", self.file.display(), self.message);
        }
        format!(
            "{}:{}:{}: {}\n  | {}\n  | {}^",
            self.file.display(),
            self.line,
            self.column,
            self.message,
            self.excerpt,
            " ".repeat(self.column - 1)
        )
    }
}

/// The resolved configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What applies where nothing else is said.
    pub defaults: Defaults,
    /// Rules by folder; paths have `~` expanded and are not yet canonical.
    pub folders: Vec<FolderRules>,
    /// Configured profiles, which replace built-in ones of the same name whole.
    pub profiles: Vec<Profile>,
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
    /// Network of a profile that does not say.
    pub network: Network,
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

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    defaults: RawDefaults,
    #[serde(default)]
    folder: Vec<Spanned<RawFolder>>,
    #[serde(default)]
    profile: BTreeMap<String, Spanned<RawProfile>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDefaults {
    engine: Option<Engine>,
    cpus: Option<Spanned<u32>>,
    memory: Option<Size>,
    disk: Option<Size>,
    network: Option<Network>,
    guard: Option<Spanned<GuardWords>>,
    #[serde(default)]
    backup: RawDefaultBackup,
}

/// `[defaults.backup]`: no `enabled`, because nothing turns every backup off at once.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDefaultBackup {
    keep: Option<Spanned<String>>,
    limit: Option<Size>,
    check: Option<CheckEvery>,
    #[serde(default)]
    copy: Vec<Spanned<String>>,
    copy_rate: Option<Size>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    Auto,
    Qemu,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFolder {
    path: Spanned<String>,
    profiles: Option<Vec<Selector>>,
    #[serde(default)]
    access: Access,
    #[serde(default)]
    hide: Vec<Spanned<String>>,
    #[serde(default)]
    protect: Vec<Spanned<String>>,
    guard: Option<Spanned<GuardWords>>,
    exit_check: Option<ExitAction>,
    #[serde(default)]
    backup: RawBackup,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawBackup {
    enabled: Option<bool>,
    keep: Option<Spanned<String>>,
    limit: Option<Size>,
    copy: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    recipe: Option<RecipeName>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    network: Option<Network>,
    #[serde(default)]
    allow: Vec<String>,
}

impl Config {
    /// The configuration of a person who wrote none.
    #[must_use]
    pub fn empty() -> Self {
        Self { defaults: Defaults::default(), folders: Vec::new(), profiles: Vec::new() }
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

    /// Reads a configuration file's text. `home` replaces a leading `~`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(file: &Path, text: &str, home: &Path) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let message = with_nearest_key(error.message());
            ConfigError::at(file, text, error.span().map(|span| span.start), message)
        })?;
        let at =
            |offset: usize, message: String| ConfigError::at(file, text, Some(offset), message);

        let keep = |words: Option<Spanned<String>>| {
            words.map(|words| keep_rule(&words, text).map_err(|(o, m)| at(o, m))).transpose()
        };

        let guard = |words: Option<Spanned<GuardWords>>| match words {
            Some(words) => match words.get_ref().mistake() {
                Some(mistake) => Err(at(words.span().start, mistake.to_owned())),
                None => Ok(words.into_inner()),
            },
            None => Ok(GuardWords::default()),
        };

        let copies = |targets: Vec<Spanned<String>>| {
            copy_targets(&targets, home).map_err(|(offset, message)| {
                let mut error = at(offset, message);
                // Somebody may have put a password there: it is not repeated.
                error.excerpt = error.excerpt.chars().take(error.column - 1).collect();
                error.excerpt.push('…');
                error
            })
        };

        let patterns = |key: &str, written: Vec<Spanned<String>>| {
            let pattern = |text: Spanned<String>| {
                text.get_ref()
                    .parse::<Pattern>()
                    .map_err(|error| at(text.span().start, format!("`{key}`: {error}")))
            };
            written.into_iter().map(pattern).collect::<Result<Vec<_>, _>>()
        };

        let defaults = Defaults {
            guard: guard(raw.defaults.guard)?.over(GuardRule::default()),
            copy: copies(raw.defaults.backup.copy)?,
            copy_rate: raw.defaults.backup.copy_rate,
            keep: keep(raw.defaults.backup.keep)?.unwrap_or_default(),
            limit: raw.defaults.backup.limit,
            check: raw.defaults.backup.check.unwrap_or_default(),
            cpus: match raw.defaults.cpus {
                Some(cpus) if !(1..=256).contains(cpus.get_ref()) => {
                    return Err(at(cpus.span().start, "`cpus` must be 1 to 256".into()));
                }
                cpus => cpus.map(Spanned::into_inner),
            },
            memory: raw.defaults.memory,
            disk: raw.defaults.disk,
            network: raw.defaults.network.unwrap_or_default(),
        };
        // Both engines that this version knows resolve to the built-in one.
        match raw.defaults.engine {
            None | Some(Engine::Auto | Engine::Qemu) => {}
        }

        let mut folders: Vec<FolderRules> = Vec::new();
        for folder in raw.folder {
            let start = folder.span().start;
            let folder = folder.into_inner();
            let path = expand_home(folder.path.get_ref(), home);
            if !path.is_absolute() {
                return Err(at(
                    folder.path.span().start,
                    format!(
                        "folder path `{}` must be absolute or start with `~/`",
                        folder.path.get_ref()
                    ),
                ));
            }
            if folders.iter().any(|other| other.path == path) {
                return Err(at(start, format!("folder {} is listed twice", path.display())));
            }
            folders.push(FolderRules {
                path,
                profiles: folder.profiles,
                access: folder.access,
                backup: folder.backup.enabled.unwrap_or(true),
                keep: keep(folder.backup.keep)?,
                limit: folder.backup.limit,
                copy: folder.backup.copy.map(copies).transpose()?,
                exclude: patterns("exclude", folder.backup.exclude)?,
                guard: guard(folder.guard)?,
                names: NameRules {
                    hide: patterns("hide", folder.hide)?,
                    protect: patterns("protect", folder.protect)?,
                },
                exit_check: folder.exit_check,
            });
        }

        let mut profiles = Vec::new();
        for (name, profile) in raw.profile {
            let start = profile.span().start;
            let profile = profile.into_inner();
            let name = ProfileName::new(name).map_err(|error| at(start, error.to_string()))?;
            profiles.push(Profile {
                name,
                recipe: profile.recipe,
                labels: profile.labels,
                args: profile.args,
                env: profile.env,
                network: profile.network,
                allow: profile.allow,
            });
        }
        Ok(Self { defaults, folders, profiles })
    }
}

/// A retention rule, or what is wrong with it and where in the file.
fn keep_rule(words: &Spanned<String>, text: &str) -> Result<Keep, (usize, String)> {
    Keep::parse(words.get_ref()).map_err(|error| {
        let span = words.span();
        // A place within the words is a place in the file unless they are written with escapes.
        let quoted = text.get(span.clone()).unwrap_or_default();
        let within = quoted.get(1..).is_some_and(|rest| rest.starts_with(words.get_ref().as_str()));
        let offset = if within { span.start + 1 + error.offset } else { span.start };
        (offset, format!("`keep`: {}", error.message))
    })
}

/// Places for second copies, or what is wrong with one and where in the file.
fn copy_targets(
    written: &[Spanned<String>],
    home: &Path,
) -> Result<Vec<CopyTarget>, (usize, String)> {
    let mut targets = Vec::new();
    for text in written {
        let start = text.span().start;
        let target =
            CopyTarget::parse(text.get_ref(), home).map_err(|error| (start, error.to_string()))?;
        if targets.contains(&target) {
            return Err((start, format!("{target} is listed twice")));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn expand_home(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_owned(),
        None => PathBuf::from(path),
    }
}

/// Adds the nearest known key to serde's "unknown field `x`, expected one of …".
fn with_nearest_key(message: &str) -> String {
    let message = message.trim();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(wrong) = quoted.next().filter(|_| message.starts_with("unknown")) else {
        return message.to_owned();
    };
    match nearest(wrong, quoted) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

/// The known word that a wrong one was probably meant to be.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (distance(wrong, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .map(|(_, known)| known)
}

/// Levenshtein's distance between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ro => "ro",
            Self::Rw => "rw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mass_loss::GuardAction;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("config.toml"), text, Path::new("/home/ann"))
    }

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let config = parse(
            "[defaults]\nengine = \"auto\"\ncpus = 2\nmemory = \"4GiB\"\nnetwork = \"internet\"\n\
             [[folder]]\npath = \"~/code/shop\"\nprofiles = [\"claude\", \"codex\"]\naccess = \"rw\"\n[folder.backup]\n\
             [[folder]]\npath = \"~/clients/nda\"\nprofiles = [\"label:self-hosted\"]\n\
             [profile.claude]\nrecipe = \"claude-code\"\n\
             [profile.local-qwen]\nrecipe = \"qwen-code\"\nlabels = [\"self-hosted\"]\n",
        )
        .expect("parses");
        assert_eq!(config.folders[0].path, Path::new("/home/ann/code/shop"));
        assert!(config.folders[0].backup);
        assert_eq!(config.profiles.len(), 2);
        let nda = config.folders[1].profiles.as_ref().expect("profiles");
        let qwen = config.profiles.iter().find(|p| p.name.as_str() == "local-qwen").expect("qwen");
        assert!(nda[0].selects(qwen));
    }

    #[test]
    fn folders_keep_and_fill_what_they_say_else_what_the_defaults_say() {
        let config = parse(
            "[defaults.backup]\nkeep = \"everything for 1 week, monthly\"\nlimit = \"50GiB\"\n\
             [[folder]]\npath = \"/a\"\n[folder.backup]\nkeep = \"everything\"\nlimit = \"1GiB\"\n\
             [[folder]]\npath = \"/b\"\n",
        )
        .expect("parses");
        let words = |folder: usize| config.keep_of(&config.folders[folder]).to_string();
        assert_eq!(
            (words(0).as_str(), config.limit_of(&config.folders[0])),
            ("everything", Some(Size::gib(1)))
        );
        assert_eq!(words(1), "everything for 1 week, monthly");
        assert_eq!(config.limit_of(&config.folders[1]), Some(Size::gib(50)));
        assert_eq!(Config::empty().defaults.keep, Keep::default());
        let checked = parse("[defaults.backup]\ncheck = \"12h\"\n").expect("parses");
        assert_eq!(checked.defaults.check.to_string(), "12h");
        assert_eq!(config.defaults.check, CheckEvery::default());
    }

    #[test]
    fn folders_are_copied_where_they_say_else_where_the_defaults_say() {
        let config = parse(
            "[defaults.backup]\ncopy = [\"~/copies\", \"sftp:nas:/b\"]\ncopy_rate = \"4MiB\"\n\
             [[folder]]\npath = \"/a\"\n[folder.backup]\ncopy = [\"s3:host/bucket\"]\n\
             [[folder]]\npath = \"/b\"\n[[folder]]\npath = \"/c\"\n[folder.backup]\ncopy = []\n",
        )
        .expect("parses");
        let shown = |folder: usize| -> Vec<String> {
            let targets = config.copies_of(&config.folders[folder]);
            targets.iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(0), ["s3:https://host/bucket"]);
        assert_eq!(shown(1), ["/home/ann/copies", "sftp:nas:/b"]);
        assert_eq!(shown(2), Vec::<String>::new());
        assert_eq!(config.defaults.copy_rate, Some(Size::mib(4)));
    }

    #[test]
    fn the_guard_of_a_folder_is_that_of_the_defaults_where_it_says_nothing() {
        let config = parse(
            "[defaults.guard]\naction = \"warn\"\nfiles = 50\n\
             [[folder]]\npath = \"/a\"\nguard = { action = \"freeze\" }\n[[folder]]\npath = \"/b\"\n",
        )
        .expect("parses");
        let of = |folder: usize| config.guard_of(&config.folders[folder]);
        assert_eq!((of(0).action, of(0).files), (GuardAction::Freeze, 50));
        assert_eq!((of(1).action, of(1).files), (GuardAction::Warn, 50));
        assert_eq!(Config::empty().defaults.guard, GuardRule::default());
    }

    #[test]
    fn hidden_and_protected_names_are_patterns() {
        let text = "[[folder]]\npath = \"/a\"\nhide = [\".env\", \"secrets/**\"]\nprotect = [\".git/hooks/**\"]\n";
        let config = parse(text).expect("parses");
        let names = &config.folders[0].names;
        let words =
            |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words(&names.hide), [".env", "secrets/**"]);
        assert_eq!(words(&names.protect), [".git/hooks/**"]);
    }

    #[test]
    fn mistakes_name_their_place_and_the_nearest_key() {
        let cases = [
            "[[folder]]\npath = \"~/a\"\nprofils = [\"claude\"]\n",
            "[[folder]]\npath = \"a\"\n",
            "[[folder]]\npath = \"~/a\"\n[[folder]]\npath = \"~/a\"\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\nenable = false\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\nkeep = \"everything for 2 days, dayly for 2 weeks\"\n",
            "[defaults.backup]\nkeep = 'everything for 2 days, daily for 2 weks'\n",
            "[defaults.backup]\nkeep = \"everything for 2 \\u0064ays, dayly\"\n",
            "[defaults.backup]\nlimit = \"50 potatoes\"\n",
            "[defaults.backup]\nenabled = false\n",
            "[defaults.backup]\ncheck = \"1 day\"\n",
            "[defaults.backup]\ncheck = \"0s\"\n",
            "[defaults.backup]\ncopy = [\"/mnt/a\", \"rest:https://ann:hunter2@nas/\"]\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\ncopy = [\"/mnt/a\", \"/mnt/a/\"]\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\ncopies = [\"/mnt/a\"]\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\nexclude = [\"target/\", \"a/[z-\"]\n",
            "[[folder]]\npath = \"~/a\"\n[folder.backup]\nexcludes = [\"target/\"]\n",
            "[[folder]]\npath = \"~/a\"\naccess = \"write\"\n",
            "[defaults.guard]\nfile = 10\n",
            "[[folder]]\npath = \"~/a\"\nhide = [\".env\", \"[a\"]\n",
            "[[folder]]\npath = \"~/a\"\nprotect = [\"\"]\n",
            "[[folder]]\npath = \"~/a\"\nhides = [\".env\"]\n",
            "[defaults]\nguard = { action = \"freeze\", percent = 120 }\n",
            "[[folder]]\npath = \"~/a\"\n[folder.guard]\naction = \"frezee\"\n",
            "[defaults]\nmemory = 4096\n",
            "[defaults]\nmemory = \"lots\"\n",
            "[defaults]\ncpus = 0\n",
            "[defaults\n",
            "[profile.\"Not A Name\"]\n",
            "[profile.x]\nnetwork = \"lan\"\n",
            "[profiles.x]\n",
        ];
        let rendered: Vec<String> =
            cases.iter().map(|text| parse(text).expect_err(text).to_string()).collect();
        insta::assert_snapshot!(rendered.join("\n\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[|\\]|\"|=|folder|path|profile|\n|[a-zé~/.]){0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn the_exit_check_knows_three_words() {
        let of = |word: &str| {
            let text = format!("[[folder]]\npath = \"/a\"\nexit_check = {word}\n");
            Config::parse(Path::new("c.toml"), &text, Path::new("/home/ann"))
                .map(|config| config.folders[0].exit_check)
        };
        assert_eq!(of("\"hold\""), Ok(Some(ExitAction::Hold)));
        assert_eq!(of("\"warn\""), Ok(Some(ExitAction::Warn)));
        assert_eq!(of("\"off\""), Ok(Some(ExitAction::Off)));
        for wrong in ["\"Off\"", "\"on\"", "false", "\"\""] {
            let error = of(wrong).expect_err(wrong);
            assert_eq!(error.line, 3, "{error}");
        }
        let text = "[[folder]]\npath = \"/a\"\nexit-check = \"off\"\n";
        let error = Config::parse(Path::new("c.toml"), text, Path::new("/home/ann"));
        assert!(error.expect_err("a typo").message.contains("did you mean `exit_check`"));
    }
}
