//! What is in force and where each value came from, for `ringfence config show`.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::read::{Place, Reading};
use crate::folder::FolderRules;
use crate::machine::{LimitWords, Limits};
use crate::profile::{Profile, built_in};
use crate::secret::{Secret, SecretSource};

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    /// The files that it was read from.
    pub files: Vec<PathBuf>,
    /// Its tables, in the order of the documentation.
    pub tables: Vec<TableView>,
    /// What is no mistake and yet probably not meant.
    pub warnings: Vec<String>,
}

/// One table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableView {
    /// Which one, as its header is written: `defaults`, `folder`, `profile.claude`, `secret.x`.
    pub table: String,
    /// Its values.
    pub values: Vec<ValueView>,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueView {
    /// Its key, within the table; `backup.keep` for one of a table in it.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub from: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// Somebody wrote it.
    File {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// Nobody wrote it.
    Default,
    /// Nobody wrote it; it follows from the size of this computer.
    Computer,
    /// A profile that ships with a recipe.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Default => f.write_str("default"),
            Self::Computer => f.write_str("default for this computer"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

impl Reading {
    /// Everything that is in force. `computer` are the limits that its size gives; `registered`
    /// are folders that may have no rule.
    #[must_use]
    pub fn show(&self, computer: Limits, registered: &[PathBuf]) -> ConfigView {
        let mut tables = vec![self.defaults(computer)];
        for (index, rules) in self.config.folders.iter().enumerate() {
            tables.push(self.folder(Some(index), rules));
        }
        let has_rule = |path: &Path| self.config.folders.iter().any(|rules| rules.path == path);
        for path in registered.iter().filter(|path| !has_rule(path)) {
            tables.push(self.folder(None, &FolderRules::unspoken(path)));
        }
        tables.extend(self.config.all_profiles().iter().map(|profile| self.profile(profile)));
        tables.extend(self.config.secrets.iter().map(|secret| self.secret(secret)));
        ConfigView {
            files: self.files.clone(),
            tables,
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
        }
    }

    fn defaults(&self, computer: Limits) -> TableView {
        let defaults = &self.config.defaults;
        let own = LimitWords { cpus: defaults.cpus, memory: defaults.memory, disk: defaults.disk };
        let limits = own.over(computer);
        let mut table = Table::new(self, "defaults", &["defaults"], Origin::Default);
        table.add("engine", json!("qemu"));
        table.add_from("cpus", json!(limits.cpus), &["cpus"], Origin::Computer);
        table.add_from("memory", json!(limits.memory), &["memory"], Origin::Computer);
        table.add_from("disk", json!(limits.disk), &["disk"], Origin::Computer);
        table.add("network", json!(defaults.network.unwrap_or_default()));
        let guard = defaults.guard;
        table.add("guard.action", json!(guard.action));
        table.add("guard.files", json!(guard.files));
        table.add("guard.percent", json!(guard.percent));
        table.add("guard.seconds", json!(guard.seconds));
        table.add("backup.keep", json!(defaults.keep.to_string()));
        table.add_some("backup.limit", defaults.limit);
        table.add("backup.check", json!(defaults.check.to_string()));
        table.add("backup.copy", words(&defaults.copy));
        table.add_some("backup.copy_rate", defaults.copy_rate);
        table.view
    }

    /// A folder; what it does not say, the defaults say, and that is where it came from.
    fn folder(&self, index: Option<usize>, rules: &FolderRules) -> TableView {
        let config = &self.config;
        let index = index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        let above = ["folder", index.as_str()];
        let mut table = Table::new(self, "folder", &above, Origin::Default);
        table.add("path", json!(rules.path));
        table.add_some("profiles", rules.profiles.as_ref());
        table.add("deny", json!(rules.deny));
        table.add("access", json!(rules.access));
        table.add("hide", json!(rules.names.hide));
        table.add("protect", json!(rules.names.protect));
        table.add_some("exit_check", rules.exit_check);
        table.add_some("network", rules.network);
        table.add_some("allow", rules.allow.as_ref());
        table.limits(rules.limits);
        table.add_some("secrets", rules.secrets.as_ref());
        table.add("share_anyway", json!(rules.share_anyway));
        let guard = config.guard_of(rules);
        table.add_or_default("guard.action", json!(guard.action));
        table.add_or_default("guard.files", json!(guard.files));
        table.add_or_default("guard.percent", json!(guard.percent));
        table.add_or_default("guard.seconds", json!(guard.seconds));
        table.add("backup.enabled", json!(rules.backup));
        table.add_or_default("backup.keep", json!(config.keep_of(rules).to_string()));
        if let Some(limit) = config.limit_of(rules) {
            table.add_or_default("backup.limit", json!(limit));
        }
        table.add_or_default("backup.copy", words(config.copies_of(rules)));
        table.add("backup.exclude", json!(rules.exclude));
        table.view
    }

    fn profile(&self, profile: &Profile) -> TableView {
        let name = profile.name.as_str();
        let written = self.config.profiles.iter().any(|other| other.name == profile.name);
        let is_built_in = built_in().iter().any(|other| other.name == profile.name);
        let otherwise = if is_built_in && !written { Origin::BuiltIn } else { Origin::Default };
        let header = format!("profile.{name}");
        let above = ["profile", name];
        let mut table = Table::new(self, &header, &above, otherwise);
        table.add_some("recipe", profile.recipe.as_ref());
        table.add("labels", json!(profile.labels));
        table.add("args", json!(profile.args));
        for (variable, value) in &profile.env {
            table.add(&format!("env.{variable}"), json!(value));
        }
        let network = profile.network.or(self.config.defaults.network).unwrap_or_default();
        table.add_or_default("network", json!(network));
        table.add("allow", json!(profile.allow));
        table.limits(profile.limits);
        table.add("secrets", json!(profile.secrets));
        table.view
    }

    /// Where a secret is read; what it is, is not known here.
    fn secret(&self, secret: &Secret) -> TableView {
        let name = secret.name.as_str();
        let header = format!("secret.{name}");
        let above = ["secret", name];
        let mut table = Table::new(self, &header, &above, Origin::Default);
        match &secret.source {
            SecretSource::Keyring { service, account } => {
                table.add("keyring", json!(format!("{service}/{account}")));
            }
            SecretSource::File(file) => table.add("file", json!(file)),
            SecretSource::Command(command) => table.add("command", json!(command)),
            SecretSource::Environment(variable) => table.add("environment", json!(variable)),
        }
        table.add("as", json!(secret.variable));
        table.view
    }
}

fn words<T: ToString>(all: &[T]) -> Value {
    json!(all.iter().map(ToString::to_string).collect::<Vec<_>>())
}

impl From<&Place> for Origin {
    fn from(place: &Place) -> Self {
        Self::File { file: place.file.clone(), line: place.line }
    }
}

/// A table that is being filled.
struct Table<'a> {
    reading: &'a Reading,
    above: &'a [&'a str],
    otherwise: Origin,
    view: TableView,
}

impl<'a> Table<'a> {
    fn new(reading: &'a Reading, header: &str, above: &'a [&'a str], otherwise: Origin) -> Self {
        let view = TableView { table: header.to_owned(), values: Vec::new() };
        Self { reading, above, otherwise, view }
    }

    /// The place of a key of this table, or of the innermost one around it that was written.
    fn written(&self, above: &[&str], key: &[&str]) -> Option<Origin> {
        let whole: Vec<&str> = above.iter().chain(key).copied().collect();
        self.reading.place(&whole).map(Origin::from)
    }

    fn add(&mut self, key: &str, value: Value) {
        let parts: Vec<&str> = key.split('.').collect();
        self.add_from(key, value, &parts, self.otherwise.clone());
    }

    fn add_from(&mut self, key: &str, value: Value, parts: &[&str], otherwise: Origin) {
        let from = self.written(self.above, parts).unwrap_or(otherwise);
        self.view.values.push(ValueView { key: key.to_owned(), value, from });
    }

    /// One that is not there unless it is written.
    fn add_some(&mut self, key: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.add(key, json!(value));
        }
    }

    /// One that `[defaults]` says where this table does not.
    fn add_or_default(&mut self, key: &str, value: Value) {
        let parts: Vec<&str> = key.split('.').collect();
        let default = self.written(&["defaults"], &parts);
        self.add_from(key, value, &parts, default.unwrap_or(Origin::Default));
    }

    fn limits(&mut self, limits: LimitWords) {
        self.add_some("limits.cpus", limits.cpus);
        self.add_some("limits.memory", limits.memory);
        self.add_some("limits.disk", limits.disk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, Surroundings};
    use crate::size::Size;

    #[test]
    fn every_value_says_where_it_came_from() {
        let source = |file: &str, text: &str| Source { file: file.into(), text: text.into() };
        let sources = vec![
            source(
                "config.toml",
                "[defaults]\ncpus = 4\nnetwork = \"offline\"\n[defaults.backup]\nkeep = \"everything\"\n\
                 [[folder]]\npath = \"~/shop\"\ndeny = [\"codex\"]\nguard = { files = 10 }\n\
                 [folder.backup]\nlimit = \"5GiB\"\n",
            ),
            source(
                "conf.d/work.toml",
                "[profile.mine]\nrecipe = \"codex\"\nsecrets = [\"key\"]\nenv.A = \"1\"\n\
                 [secret.key]\ncommand = [\"pass\", \"key\"]\n",
            ),
        ];
        let reading =
            Reading::of(sources, &Surroundings::of(Path::new("/home/ann"))).expect("reads");
        let computer = Limits { cpus: 2, memory: Size::gib(4), disk: Size::gib(40) };
        let view = reading.show(computer, &["/home/ann/shop".into(), "/srv/b".into()]);
        let mut text = String::new();
        for table in view.tables.iter().filter(|table| table.table != "profile.claude") {
            text.push_str(&format!("[{}]\n", table.table));
            for value in &table.values {
                text.push_str(&format!("{} = {}  # {}\n", value.key, value.value, value.from));
            }
        }
        insta::assert_snapshot!(text);
    }
}
