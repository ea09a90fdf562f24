//! What a folder says about itself, in `.ringfence.toml`: a rule like that of a `[[folder]]`,
//! with only those keys that can make things stricter. Whoever can write in the folder can have
//! written it, so its bytes are taken for hostile ones; which version of it counts, somebody
//! else decides (`docs/adr/0035-hints.md`).

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::{ConfigError, Mistake, in_words, kind_at};
use super::resolve::{Read, hosts, limits, patterns};
use super::sources::SCHEMA;
use crate::bytes::visible;
use crate::exit_check::ExitAction;
use crate::folder::{Access, FolderRules, NameRules};
use crate::machine::LimitWords;
use crate::profile::{Network, Selector};

/// The file's name, in the root of a folder.
pub const HINT_FILE: &str = ".ringfence.toml";

/// The largest such file that is read, in bytes.
pub const MOST_HINT: u64 = 16 * 1024;

/// Keys of a `[[folder]]` that can give as well as take.
const NOT_HERE: [&str; 7] =
    ["path", "guard", "secrets", "share_anyway", "backup", "defaults", "profile"];

/// `.ringfence.toml` as it is written. There is no key here that could give anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHint {
    schema: Option<Spanned<i64>>,
    profiles: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    access: Option<Spanned<Access>>,
    #[serde(default)]
    hide: Vec<Spanned<String>>,
    #[serde(default)]
    protect: Vec<Spanned<String>>,
    exit_check: Option<Spanned<ExitAction>>,
    network: Option<Network>,
    allow: Option<Spanned<Vec<Spanned<String>>>>,
    limits: Option<Spanned<LimitWords>>,
}

/// What a folder says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(FolderRules);

impl Hint {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in `file`.
    pub fn read(file: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() as u64 > MOST_HINT {
            return Err(ConfigError::of_file(file, format!("is larger than {MOST_HINT} bytes")));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ConfigError::of_file(file, "is no text (UTF-8)".into()))?;
        read(text).map(Self).map_err(|mistake| ConfigError::at(file, text, mistake))
    }

    /// The rule of the folder at `path`, in force beside the one that the person wrote.
    #[must_use]
    pub fn rules(&self, path: &Path) -> FolderRules {
        FolderRules { path: path.to_owned(), ..self.0.clone() }
    }

    /// The rule of a folder whose approved file cannot be read any more: nobody sees it.
    #[must_use]
    pub fn unreadable(path: &Path) -> FolderRules {
        FolderRules { profiles: Some(Vec::new()), ..FolderRules::unspoken(path) }
    }

    /// All that it says, one sentence a key, printable. Empty: nothing.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let rules = &self.0;
        let mut words = Vec::new();
        let mut say = |key: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{key}: {}", visible(&value))));
        };
        let or_none = |list: String| if list.is_empty() { "nobody".to_owned() } else { list };
        say("profiles", rules.profiles.as_deref().map(|list| or_none(listed(list))));
        say("deny", some(&rules.deny));
        say("access", (rules.access == Access::Ro).then(|| rules.access.to_string()));
        say("hide", some(&rules.names.hide));
        say("protect", some(&rules.names.protect));
        say("exit check", rules.exit_check.map(|action| action.as_str().to_owned()));
        say("network", rules.network.map(|network| network.as_str().to_owned()));
        say("hosts", rules.allow.as_deref().map(listed));
        say("processors at most", rules.limits.cpus.map(|cpus| cpus.to_string()));
        say("memory at most", rules.limits.memory.map(|size| size.to_string()));
        say("disk at most", rules.limits.disk.map(|size| size.to_string()));
        words
    }
}

fn listed<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn some<T: ToString>(all: &[T]) -> Option<String> {
    (!all.is_empty()).then(|| listed(all))
}

fn read(text: &str) -> Read<FolderRules> {
    let raw: RawHint = toml::from_str(text).map_err(|error| {
        let span = error.span();
        let message = match foreign_key(error.message()) {
            Some(key) => format!(
                "`{key}` cannot stand here: a file in the folder can only make rules stricter; write it in your configuration"
            ),
            None => in_words(error.message(), kind_at(text, span.clone())),
        };
        Mistake { span, message, private: false }
    })?;
    if let Some(schema) = raw.schema.filter(|schema| *schema.get_ref() != SCHEMA) {
        return Err(Mistake::new(schema.span(), format!("`schema` must be {SCHEMA}")));
    }
    if let Some(access) = raw.access.as_ref().filter(|access| *access.get_ref() != Access::Ro) {
        let message = "`access` can only be \"ro\" here: to write is not the folder's to give";
        return Err(Mistake::new(access.span(), message));
    }
    if let Some(action) =
        raw.exit_check.as_ref().filter(|action| *action.get_ref() != ExitAction::Hold)
    {
        let message = "`exit_check` can only be \"hold\" here: less is not the folder's to say";
        return Err(Mistake::new(action.span(), message));
    }
    if let Some(allow) = raw.allow.as_ref().filter(|_| raw.network != Some(Network::Allowlist)) {
        let message = "`allow` is read only beside `network = \"allowlist\"`";
        return Err(Mistake::new(allow.span(), message));
    }
    Ok(FolderRules {
        profiles: raw.profiles.map(selectors).transpose()?,
        deny: selectors(raw.deny)?,
        access: raw.access.map(Spanned::into_inner).unwrap_or_default(),
        names: NameRules {
            hide: patterns("hide", raw.hide)?,
            protect: patterns("protect", raw.protect)?,
        },
        exit_check: raw.exit_check.map(Spanned::into_inner),
        network: raw.network,
        allow: raw.allow.map(|allow| hosts(allow.into_inner())).transpose()?,
        limits: limits(raw.limits)?,
        ..FolderRules::unspoken(Path::new(""))
    })
}

/// The key of the configuration that the parser did not expect, if it is one of those.
fn foreign_key(message: &str) -> Option<&str> {
    let wrong = message.strip_prefix("unknown field `")?.split('`').next()?;
    NOT_HERE.contains(&wrong).then_some(wrong)
}

/// Who, by name and label. A name that nobody here has is no mistake: the file is written for
/// more people than one.
fn selectors(words: Vec<Spanned<String>>) -> Read<Vec<Selector>> {
    let selector = |word: Spanned<String>| {
        let span = word.span();
        Selector::try_from(word.into_inner()).map_err(|error| Mistake::new(span, error.to_string()))
    };
    words.into_iter().map(selector).collect()
}

/// How a folder's file stands to what a person approved of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HintStanding {
    /// The file is the approved one.
    InForce,
    /// There is a file, and none was ever approved: it counts for nothing.
    New,
    /// The file is another one; the approved one counts.
    Changed,
    /// The file is gone; the approved one counts.
    Gone,
}

/// What is found under the file's name in the folder as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveHint {
    /// Nothing.
    Absent,
    /// A file.
    File(Vec<u8>),
    /// What is no such file: a link, a directory, something too large or not readable.
    Unfit,
}

impl HintStanding {
    /// Decides; `None`: there is nothing, and nothing was approved.
    #[must_use]
    pub fn of(live: &LiveHint, approved: Option<&str>) -> Option<Self> {
        match (live, approved) {
            (LiveHint::Absent, None) => None,
            (LiveHint::Absent, Some(_)) => Some(Self::Gone),
            (_, None) => Some(Self::New),
            (LiveHint::File(bytes), Some(text)) if bytes == text.as_bytes() => Some(Self::InForce),
            (_, Some(_)) => Some(Self::Changed),
        }
    }
}

/// A folder's own file, and what of it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HintStatus {
    /// How the file stands to what was approved.
    pub standing: HintStanding,
    /// The snapshot in which the approved one was read; absent: none was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// What the approved one says, a sentence a key.
    pub says: Vec<String>,
    /// What is wrong with the file in the folder, or with the approved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl HintStatus {
    /// What a person should do something about, in one sentence; `None`: nothing.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let mut sentence = match self.standing {
            HintStanding::InForce => return self.error.clone(),
            HintStanding::New => {
                format!("its {HINT_FILE} counts for nothing until you approve it")
            }
            HintStanding::Changed => {
                format!("its {HINT_FILE} is another one than you approved, which stays in force")
            }
            HintStanding::Gone => {
                format!("its {HINT_FILE} is gone; the one that you approved stays in force")
            }
        };
        if let Some(error) = &self.error {
            sentence.push_str(&format!(" ({error})"));
        }
        Some(sentence)
    }
}

/// The answer to a request about a folder's own file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HintView {
    /// The snapshot in which the file was read.
    pub snapshot: String,
    /// Whether the folder has such a file in that snapshot.
    pub present: bool,
    /// What it says, a sentence a key.
    pub says: Vec<String>,
    /// What the approved one said before; absent: none was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<String>>,
    /// Names in it that no profile here has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// Whether it is in force now; else this was only asked for.
    pub applied: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Hint, ConfigError> {
        Hint::read(Path::new("/shop/.ringfence.toml"), text.as_bytes())
    }

    #[test]
    fn a_hint_says_all_that_makes_stricter() {
        let hint = read(
            "schema = 1\nprofiles = [\"claude\", \"label:self-hosted\"]\ndeny = [\"nobody-here\"]\naccess = \"ro\"\n\
             hide = [\".env\"]\nprotect = [\"ci/**\"]\nexit_check = \"hold\"\nnetwork = \"allowlist\"\n\
             allow = [\"packages.example.org\"]\nlimits = { cpus = 2, memory = \"4GiB\" }\n",
        );
        insta::assert_snapshot!(hint.expect("reads").words().join("\n"));
        let nobody = read("profiles = []\n").expect("reads");
        assert_eq!(nobody.words(), ["profiles: nobody"]);
        let rules = nobody.rules(Path::new("/shop"));
        assert_eq!(rules, Hint::unreadable(Path::new("/shop")));
        assert_eq!(read("").expect("reads").words(), Vec::<String>::new());
    }

    #[test]
    fn what_gives_or_makes_no_sense_is_a_mistake_with_its_place() {
        let texts = [
            "secrets = [\"key\"]\n",
            "share_anyway = [\"home\"]\n",
            "guard = { action = \"off\" }\n",
            "[backup]\nexclude = [\"src/\"]\n",
            "path = \"/\"\n",
            "access = \"rw\"\n",
            "exit_check = \"off\"\n",
            "exit_check = \"warn\"\n",
            "profils = [\"claude\"]\n",
            "profiles = \"claude\"\n",
            "deny = [\"Not A Name\"]\n",
            "allow = [\"a.example\"]\n",
            "network = \"none\"\n",
            "limits = { cpus = 0 }\n",
            "hide = [\"[a\"]\n",
            "schema = 2\n",
            "hide = [\"\u{1b}[2J\"\n",
            "= = =",
        ];
        let told: Vec<String> =
            texts.iter().map(|text| read(text).expect_err(text).to_string()).collect();
        insta::assert_snapshot!(told.join("\n"));
        let file = Path::new("/shop/.ringfence.toml");
        let large = vec![b'#'; usize::try_from(MOST_HINT).expect("small") + 1];
        assert!(Hint::read(file, &large).is_err());
        assert!(Hint::read(file, &large[1..]).is_ok());
        assert!(Hint::read(file, b"# \xff\n").is_err());
    }

    #[test]
    fn what_is_approved_stays_whatever_happens_to_the_file() {
        use HintStanding::{Changed, Gone, InForce, New};
        let file = |text: &str| LiveHint::File(text.into());
        for (live, approved, expected) in [
            (LiveHint::Absent, None, None),
            (LiveHint::Absent, Some("a"), Some(Gone)),
            (file("a"), None, Some(New)),
            (file("a"), Some("a"), Some(InForce)),
            (file("b"), Some("a"), Some(Changed)),
            (file(""), Some("a"), Some(Changed)),
            (LiveHint::Unfit, None, Some(New)),
            (LiveHint::Unfit, Some("a"), Some(Changed)),
        ] {
            assert_eq!(HintStanding::of(&live, approved), expected, "{live:?} {approved:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic_or_move_the_terminal(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::collection::vec(
                    proptest::sample::select(vec![
                        "deny", "profiles", "access", "hide", "limits", "secrets", " = ", "[", "]",
                        "{", "}", "\"claude\"", "\"", "\n", "\u{1b}[2J", "\u{202e}", "allow", ",",
                    ]),
                    0..30,
                ).prop_map(|words| words.concat().into_bytes()),
            ],
        ) {
            let said = match Hint::read(Path::new("/x"), &bytes) {
                Ok(hint) => hint.words().join("\n"),
                Err(error) => error.to_string(),
            };
            prop_assert!(said.chars().all(|c| c == '\n' || visible(&c.to_string()) == c.to_string()));
        }
    }
}
