//! Changes to the text of a file, which keep its comments and its order. No files here.

use ringfence_model::exit_check::ExitAction;
use ringfence_model::folder::{Access, Exception};
use ringfence_model::machine::LimitWords;
use ringfence_model::name::SecretName;
use ringfence_model::profile::{Network, Selector};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value, value};

/// One change to a folder's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderEdit {
    /// Who may see it.
    Profiles(Vec<Selector>),
    /// Who may not see it.
    Deny(Vec<Selector>),
    /// How it is visible.
    Access(Access),
    /// What it hides.
    Hide(Vec<String>),
    /// What it protects.
    Protect(Vec<String>),
    /// What happens to what the host might run of a session's changes.
    ExitCheck(ExitAction),
    /// The widest network.
    Network(Network),
    /// The only hosts.
    Allow(Vec<String>),
    /// The largest machine; what is left out stays as it is.
    Limits(LimitWords),
    /// Which secrets may be carried.
    Secrets(Vec<SecretName>),
    /// Which reasons against sharing it are lifted.
    ShareAnyway(Vec<Exception>),
    /// Whether it is backed up.
    Backup(bool),
    /// A key that it does not say any more.
    Unset(String),
}

/// One change to a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileEdit {
    /// What it runs.
    Recipe(String),
    /// Its labels.
    Labels(Vec<String>),
    /// Arguments before those of the command line.
    Args(Vec<String>),
    /// One variable inside.
    Env(String, String),
    /// The widest network.
    Network(Network),
    /// Hosts for `allowlist`.
    Allow(Vec<String>),
    /// The secrets that it carries.
    Secrets(Vec<SecretName>),
    /// The size of a machine that is made for it; what is left out stays as it is.
    Limits(LimitWords),
    /// A key that it does not say any more.
    Unset(String),
}

/// The number of the table of `[[folder]]` whose path is the one that is looked for.
pub(super) fn find_folder(document: &DocumentMut, is_it: impl Fn(&str) -> bool) -> Option<usize> {
    let tables = document.get("folder")?.as_array_of_tables()?;
    tables.iter().position(|table| table.get("path").and_then(Item::as_str).is_some_and(&is_it))
}

/// Adds a folder without rules; gives its number. `None` when `folder` is no list of tables.
pub(super) fn add_folder(document: &mut DocumentMut, path: &str) -> Option<usize> {
    let entry = document
        .entry("folder")
        .or_insert_with(|| Item::ArrayOfTables(toml_edit::ArrayOfTables::new()));
    let tables = entry.as_array_of_tables_mut()?;
    let mut table = Table::new();
    table.insert("path", value(path));
    tables.push(table);
    Some(tables.len() - 1)
}

/// Changes a folder's table.
pub(super) fn edit_folder(document: &mut DocumentMut, index: usize, edit: &FolderEdit) {
    let Some(table) = document
        .get_mut("folder")
        .and_then(Item::as_array_of_tables_mut)
        .and_then(|tables| tables.get_mut(index))
    else {
        return;
    };
    match edit {
        FolderEdit::Profiles(who) => set(table, "profiles", list(who)),
        FolderEdit::Deny(who) => set_or_none(table, "deny", who),
        FolderEdit::Access(access) => set(table, "access", access.to_string().into()),
        FolderEdit::Hide(names) => set(table, "hide", list(names)),
        FolderEdit::Protect(names) => set(table, "protect", list(names)),
        FolderEdit::ExitCheck(action) => set(table, "exit_check", action.as_str().into()),
        FolderEdit::Network(network) => set(table, "network", network.as_str().into()),
        FolderEdit::Allow(hosts) => set(table, "allow", list(hosts)),
        FolderEdit::Limits(limits) => edit_limits(table, limits),
        FolderEdit::Secrets(names) => set(table, "secrets", list(names)),
        FolderEdit::ShareAnyway(reasons) => {
            let words: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
            set_or_none(table, "share_anyway", &words);
        }
        FolderEdit::Unset(key) => forget(table, key),
        FolderEdit::Backup(enabled) => {
            if let Some(backup) =
                table.entry("backup").or_insert_with(toml_edit::table).as_table_like_mut()
            {
                set(backup, "enabled", (*enabled).into());
            }
        }
    }
}

/// Whether a file has a table for this profile.
pub(super) fn has_profile(document: &DocumentMut, name: &str) -> bool {
    document.get("profile").and_then(|all| all.get(name)).is_some()
}

/// Adds a profile that says nothing.
pub(super) fn add_profile(document: &mut DocumentMut, name: &str) {
    let all = document.entry("profile").or_insert_with(|| {
        let mut all = Table::new();
        // `[profile]` alone says nothing.
        all.set_implicit(true);
        Item::Table(all)
    });
    if let Some(all) = all.as_table_like_mut() {
        all.entry(name).or_insert_with(toml_edit::table);
    }
}

/// Takes a profile away.
pub(super) fn remove_profile(document: &mut DocumentMut, name: &str) {
    if let Some(all) = document.get_mut("profile").and_then(Item::as_table_like_mut) {
        all.remove(name);
    }
}

/// Changes a profile's table.
pub(super) fn edit_profile(document: &mut DocumentMut, name: &str, edit: &ProfileEdit) {
    let Some(table) = document
        .get_mut("profile")
        .and_then(|all| all.get_mut(name))
        .and_then(Item::as_table_like_mut)
    else {
        return;
    };
    match edit {
        ProfileEdit::Recipe(recipe) => set(table, "recipe", recipe.as_str().into()),
        ProfileEdit::Labels(labels) => set_or_none(table, "labels", labels),
        ProfileEdit::Args(args) => set_or_none(table, "args", args),
        ProfileEdit::Env(variable, text) => {
            let env = table.entry("env").or_insert_with(|| value(InlineTable::new()));
            if let Some(env) = env.as_table_like_mut() {
                set(env, variable, text.as_str().into());
            }
        }
        ProfileEdit::Network(network) => set(table, "network", network.as_str().into()),
        ProfileEdit::Allow(hosts) => set_or_none(table, "allow", hosts),
        ProfileEdit::Secrets(names) => set_or_none(table, "secrets", names),
        ProfileEdit::Limits(limits) => edit_limits(table, limits),
        ProfileEdit::Unset(key) => forget(table, key),
    }
}

fn edit_limits(table: &mut dyn toml_edit::TableLike, limits: &LimitWords) {
    let entry = table.entry("limits").or_insert_with(|| value(InlineTable::new()));
    let Some(own) = entry.as_table_like_mut() else { return };
    if let Some(cpus) = limits.cpus {
        set(own, "cpus", i64::from(cpus).into());
    }
    for (key, size) in [("memory", limits.memory), ("disk", limits.disk)] {
        if let Some(size) = size {
            set(own, key, String::from(size).into());
        }
    }
}

fn list<T: ToString>(words: &[T]) -> Value {
    Array::from_iter(words.iter().map(ToString::to_string)).into()
}

/// A list for which empty and absent are the same.
fn set_or_none<T: ToString>(table: &mut dyn toml_edit::TableLike, key: &str, words: &[T]) {
    if words.is_empty() {
        forget(table, key);
    } else {
        set(table, key, list(words));
    }
}

fn forget(table: &mut dyn toml_edit::TableLike, key: &str) {
    table.remove(key);
}

/// Replaces a value and keeps the comment behind it.
fn set(table: &mut dyn toml_edit::TableLike, key: &str, mut new: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    // In place, so that comments in front of the key stay.
    match table.get_mut(key) {
        Some(old) => *old = Item::Value(new),
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}
