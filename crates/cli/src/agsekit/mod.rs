//! agsekit's configuration in Ringfence's words: one file's text, and what could not be carried
//! over. Pure. A rule becomes no wider on the way: who is not known here sees nothing.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use ringfence_model::config::SCHEMA;
use ringfence_model::name::ProfileName;
use ringfence_model::profile::SHIPPED;
use ringfence_model::size::Size;
use serde::Serialize;
use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, value};

use read::{Agent, Mount, Named, Vm};
pub use read::{Setup, read};

/// The recipe that runs an agent of a kind.
const RECIPES: [(&str, &str); 5] = [
    ("claude", "claude-code"),
    ("codex", "codex"),
    ("codex-glibc", "codex"),
    ("codex-glibc-prebuilt", "codex"),
    ("qwen", "qwen-code"),
];

/// What a variable's name has in it when its value is for nobody else.
const SECRET: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH"];

/// Why a key of a section has no counterpart; one that is not named is unknown to agsekit as well.
const WHY: [(&str, &str); 18] = [
    ("global", "nothing of it has a counterpart"),
    ("cloud-init", "machines start from Ringfence's own image"),
    ("install", "a machine has the usual tools; what is missing is installed inside, and stays"),
    ("proxychains", "a proxy is not set by the configuration"),
    ("http_proxy", "a proxy is not set by the configuration"),
    ("port-forwarding", "ports are not forwarded by the configuration"),
    ("target", "inside, a folder stands where it stands outside"),
    ("backup", "the snapshots there stay as they are; Ringfence keeps its own in a vault"),
    ("interval", "snapshots are taken while the folder changes"),
    ("max_backups", "how long snapshots are kept is said in words: `keep`"),
    ("backup_clean_method", "how long snapshots are kept is said in words: `keep`"),
    ("first_backup", "there is always a snapshot before a session"),
    ("version", "the recipe says which one is installed"),
    ("vm", "machines are made as folders need them"),
    ("vms", "machines are made as folders need them"),
    ("cpu", "it is no number of processors"),
    ("ram", "it is no size"),
    ("disk", "it is no size"),
];

/// Something that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it stands: `mounts[0].target`.
    pub what: String,
    /// Why, or what to do instead.
    pub why: String,
}

/// What becomes of a file.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The text of a file for `conf.d`.
    pub text: String,
    /// The folders in it, as they are written there.
    pub folders: Vec<String>,
    /// The profiles that its folders may name, built-in ones among them.
    pub profiles: Vec<String>,
    /// What is not in it.
    pub left: Vec<Left>,
}

/// Puts it into Ringfence's words.
#[must_use]
pub fn convert(setup: &Setup) -> Imported {
    let mut import = Import::default();
    import.leave_rest("", &setup.rest);
    for (name, vm) in &setup.vms {
        import.leave_rest(&format!("vms.{name}."), &vm.rest);
    }
    for (name, agent) in &setup.agents {
        import.agent(name, agent);
    }
    for (number, mount) in setup.mounts.iter().enumerate() {
        import.mount(number, mount, &setup.vms);
    }
    import.done()
}

#[derive(Default)]
struct Import {
    profiles: Table,
    known: BTreeSet<String>,
    folders: ArrayOfTables,
    left: Vec<Left>,
}

impl Import {
    fn leave(&mut self, what: String, why: impl Into<String>) {
        self.left.push(Left { what, why: why.into() });
    }

    fn leave_rest(&mut self, place: &str, rest: &Map<String, Value>) {
        for (key, said) in rest {
            self.leave_key(place, key, said);
        }
    }

    fn leave_key(&mut self, place: &str, key: &str, said: &Value) {
        let what = format!("{place}{key}");
        // Once, however many folders say it of one machine; and nothing is nothing to be told.
        if is_empty(said) || self.left.iter().any(|left| left.what == what) {
            return;
        }
        let why = WHY.iter().find(|(known, _)| *known == key).map(|(_, why)| *why);
        self.leave(what, why.unwrap_or("an unknown key"));
    }

    fn agent(&mut self, name: &str, agent: &Agent) {
        let place = format!("agents.{name}");
        let recipe = RECIPES.iter().find(|(kind, _)| *kind == agent.kind).map(|(_, recipe)| recipe);
        let Some(recipe) = recipe else {
            return self.leave(place, format!("there is no recipe for `{}`", agent.kind));
        };
        if let Err(error) = ProfileName::new(name) {
            return self.leave(place, format!("its name cannot be a profile's: {error}"));
        }
        self.leave_rest(&format!("{place}."), &agent.rest);
        let mut table = Table::new();
        table.insert("recipe", value(*recipe));
        let args: Array = agent.args.iter().filter_map(scalar).collect();
        if !args.is_empty() {
            table.insert("args", value(args));
        }
        let mut env = InlineTable::new();
        for (variable, said) in &agent.env {
            let upper = variable.to_ascii_uppercase();
            if SECRET.iter().any(|part| upper.contains(part)) {
                let why = "by its name a secret, which no configuration holds; see docs/guides/secrets.md";
                self.leave(format!("{place}.env.{variable}"), why);
            } else if let Some(said) = scalar(said) {
                env.insert(variable, said.into());
            } else {
                self.leave(format!("{place}.env.{variable}"), "it is no text");
            }
        }
        if !env.is_empty() {
            table.insert("env", value(env));
        }
        self.known.insert(name.to_owned());
        let ships = SHIPPED.iter().any(|one| one.profile == name && one.recipe == *recipe);
        if !(ships && table.len() == 1) {
            self.profiles.insert(name, Item::Table(table));
        }
    }

    fn mount(&mut self, number: usize, mount: &Mount, vms: &Named<Vm>) {
        let place = format!("mounts[{number}]");
        let path = Path::new(&mount.source);
        if !(path.is_absolute() || path.starts_with("~"))
            || path.components().any(|part| part == Component::ParentDir)
        {
            let why = format!("`{}` is not a whole path", mount.source);
            return self.leave(format!("{place}.source"), why);
        }
        self.leave_rest(&format!("{place}."), &mount.rest);
        let vm = match &mount.vm {
            None => vms.first(),
            Some(name) => {
                let found = vms.iter().find(|(known, _)| known == name);
                if found.is_none() {
                    self.leave(format!("{place}.vm"), format!("there is no machine `{name}`"));
                }
                found
            }
        };
        // A mount's list stands for its machine's.
        let names = mount.allowed_agents.as_ref();
        let names = names.or_else(|| vm.and_then(|(_, vm)| vm.allowed_agents.as_ref()));
        let profiles = names.map(|names| {
            let (known, unknown): (Vec<_>, Vec<_>) =
                names.all().into_iter().partition(|name| self.known.contains(*name));
            for name in unknown {
                let what = format!("{place}.allowed_agents: {name}");
                self.leave(what, "no profile of that name was carried over, so nobody sees more");
            }
            known.into_iter().map(ToOwned::to_owned).collect()
        });
        let written = mount.source.replace('$', "$$");
        let there = self.folders.iter().position(|table| path_of(table) == Some(&written));
        if let Some(table) = there.and_then(|number| self.folders.get_mut(number)) {
            narrow(table, profiles);
            let why = "the folder is there already; who may see it is who all of them name";
            return self.leave(place, why);
        }
        let mut table = Table::new();
        table.insert("path", value(&written));
        narrow(&mut table, profiles);
        if let Some((name, vm)) = vm {
            let limits = self.limits(name, vm);
            if !limits.is_empty() {
                table.insert("limits", value(limits));
            }
        }
        self.folders.push(table);
    }

    fn limits(&mut self, name: &str, vm: &Vm) -> InlineTable {
        let place = format!("vms.{name}.");
        let mut limits = InlineTable::new();
        if let Some(cpus) = vm.cpu.as_i64().filter(|cpus| *cpus > 0) {
            limits.insert("cpus", cpus.into());
        } else {
            self.leave_key(&place, "cpu", &vm.cpu);
        }
        for (key, word, said) in [("memory", "ram", &vm.ram), ("disk", "disk", &vm.disk)] {
            match scalar(said).filter(|text| text.parse::<Size>().is_ok()) {
                Some(text) => drop(limits.insert(key, text.trim().into())),
                None => self.leave_key(&place, word, said),
            }
        }
        limits
    }

    fn done(self) -> Imported {
        let mut document = DocumentMut::new();
        document.insert("schema", value(SCHEMA));
        let paths = self.folders.iter().filter_map(path_of);
        let folders = paths.map(ToOwned::to_owned).collect();
        if !self.folders.is_empty() {
            document.insert("folder", Item::ArrayOfTables(self.folders));
        }
        if !self.profiles.is_empty() {
            let mut profiles = self.profiles;
            profiles.set_implicit(true);
            document.insert("profile", Item::Table(profiles));
        }
        let profiles = self.known.into_iter().collect();
        Imported { text: document.to_string(), folders, profiles, left: self.left }
    }
}

/// Whom a folder is shown to: nobody who is not in every list there is. No list says nothing.
fn narrow(table: &mut Table, profiles: Option<Vec<String>>) {
    let Some(mut profiles) = profiles else { return };
    if let Some(before) = table.get("profiles").and_then(Item::as_array) {
        profiles.retain(|name| before.iter().any(|one| one.as_str() == Some(name)));
    }
    table.insert("profiles", value(profiles.into_iter().collect::<Array>()));
}

fn path_of(table: &Table) -> Option<&str> {
    table.get("path")?.as_str()
}

fn scalar(said: &Value) -> Option<String> {
    match said {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_empty(said: &Value) -> bool {
    match said {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
