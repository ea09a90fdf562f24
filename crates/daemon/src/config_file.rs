//! The user's configuration file: read strictly, edited without losing comments.
//!
//! A broken file never takes effect: the last good configuration stays in force and
//! status says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ringfence_model::config::{Config, ConfigError};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::exit_check::ExitAction;
use ringfence_model::folder::Access;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use crate::host::files;

/// The configuration in force and the file it came from.
pub struct ConfigFile {
    file: PathBuf,
    home: PathBuf,
    state: Mutex<State>,
}

struct State {
    good: Arc<Config>,
    error: Option<ConfigError>,
    read: Option<(SystemTime, u64)>,
}

/// One change to a folder's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderEdit {
    /// Who may see it.
    Profiles(Vec<String>),
    /// How it is visible.
    Access(Access),
    /// What it hides.
    Hide(Vec<String>),
    /// What it protects.
    Protect(Vec<String>),
    /// What happens to what the host might run of a session's changes.
    ExitCheck(ExitAction),
    /// Whether it is backed up.
    Backup(bool),
    /// Forget every rule of this folder.
    Remove,
}

impl ConfigFile {
    /// Reads the file, which may be missing.
    #[must_use]
    pub fn open(file: PathBuf, home: PathBuf) -> Self {
        let state = State { good: Arc::new(Config::empty()), error: None, read: None };
        Self { file, home, state: Mutex::new(state) }
    }

    /// The configuration in force, or what is wrong with the file. Rereads a file that changed.
    ///
    /// # Errors
    /// What is wrong with the file, as the person is told.
    pub fn current(&self) -> Result<Arc<Config>, ApiError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.file);
        if stamp != state.read || stamp.is_none() {
            state.read = stamp;
            match self.read() {
                Ok(config) => (state.good, state.error) = (Arc::new(config), None),
                Err(error) => state.error = Some(error),
            }
        }
        match &state.error {
            None => Ok(Arc::clone(&state.good)),
            Some(error) => Err(config_error(error, &self.file)),
        }
    }

    /// The last configuration that was good: what keeps being enforced.
    #[must_use]
    pub fn last_good(&self) -> Arc<Config> {
        let _ = self.current();
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).good)
    }

    fn read(&self) -> Result<Config, ConfigError> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::empty());
            }
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return Err(ConfigError::of_file(&self.file, message));
            }
        };
        Config::parse(&self.file, &text, &self.home)
    }

    /// The file's text, for `config show`.
    #[must_use]
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Changes one folder's rule; comments and order stay, the previous file is kept as
    /// `config.toml.previous`.
    ///
    /// # Errors
    /// When the present file is broken, or the new one cannot be written.
    pub fn edit_folder(&self, folder: &Path, edit: &FolderEdit) -> Result<(), ApiError> {
        self.current()?;
        let before = self.text();
        let mut document: DocumentMut = before.parse().map_err(|error: toml_edit::TomlError| {
            ApiError::from_source(ErrorKind::Config, "the configuration cannot be edited", &error)
        })?;
        apply(&mut document, folder, edit, &self.home);
        let after = document.to_string();
        Config::parse(&self.file, &after, &self.home)
            .map_err(|error| config_error(&error, &self.file))?;
        let write = || {
            if !before.is_empty() {
                let mut previous = self.file.clone().into_os_string();
                previous.push(".previous");
                files::replace(Path::new(&previous), before.as_bytes(), 0o600)?;
            }
            files::replace(&self.file, after.as_bytes(), 0o600)
        };
        write().map_err(|error| {
            let message = format!("{} could not be written", self.file.display());
            ApiError::from_source(ErrorKind::Config, message, &error)
        })
    }
}

fn config_error(error: &ConfigError, file: &Path) -> ApiError {
    ApiError::new(ErrorKind::Config, error.to_string())
        .hint(format!("edit {} · then: ringfence config check", file.display()))
}

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let facts = std::fs::metadata(file).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

fn apply(document: &mut DocumentMut, folder: &Path, edit: &FolderEdit, home: &Path) {
    let is_it = |table: &Table| {
        table.get("path").and_then(Item::as_str).is_some_and(|path| match path.strip_prefix("~/") {
            Some(rest) => home.join(rest) == folder,
            None => Path::new(path) == folder,
        })
    };
    let entry =
        document.entry("folder").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(tables) = entry.as_array_of_tables_mut() else { return };
    if *edit == FolderEdit::Remove {
        tables.retain(|table| !is_it(table));
        return;
    }
    if !tables.iter().any(is_it) {
        let mut table = Table::new();
        table.insert("path", value(folder.to_string_lossy().into_owned()));
        tables.push(table);
    }
    let Some(table) = tables.iter_mut().find(|table| is_it(table)) else { return };
    match edit {
        FolderEdit::Profiles(profiles) => set(table, "profiles", Array::from_iter(profiles).into()),
        FolderEdit::Access(access) => set(table, "access", access.to_string().into()),
        FolderEdit::Hide(names) => set(table, "hide", Array::from_iter(names).into()),
        FolderEdit::Protect(names) => set(table, "protect", Array::from_iter(names).into()),
        FolderEdit::ExitCheck(action) => set(table, "exit_check", action.as_str().into()),
        FolderEdit::Backup(enabled) => {
            let backup = table.entry("backup").or_insert_with(toml_edit::table);
            if let Some(backup) = backup.as_table_mut() {
                set(backup, "enabled", (*enabled).into());
            }
        }
        FolderEdit::Remove => {}
    }
}

/// Replaces a value and keeps the comment behind it.
fn set(table: &mut Table, key: &str, mut new: toml_edit::Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(new));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).expect("writes");
        let config = ConfigFile::open(path, "/home/ann".into());
        (directory, config)
    }

    #[test]
    fn edits_keep_comments_and_the_previous_file() {
        let text = "# mine\n[[folder]]\npath = \"~/shop\" # the shop\naccess = \"rw\" # for now\n";
        let (directory, config) = file(text);
        let shop = Path::new("/home/ann/shop");
        config.edit_folder(shop, &FolderEdit::Access(Access::Ro)).expect("edits");
        config.edit_folder(shop, &FolderEdit::Profiles(vec!["label:x".into()])).expect("edits");
        config.edit_folder(Path::new("/srv/b"), &FolderEdit::Backup(false)).expect("edits");
        insta::assert_snapshot!(config.text());
        let good = config.current().expect("good");
        assert!(!good.folders[1].backup);
        config.edit_folder(shop, &FolderEdit::Remove).expect("edits");
        assert_eq!(config.current().expect("good").folders.len(), 1);
        assert!(directory.path().join("config.toml.previous").exists());
    }

    #[test]
    fn a_broken_file_leaves_the_last_good_one_in_force() {
        let (directory, config) = file("[[folder]]\npath = \"/srv/a\"\nprofiles = []\n");
        assert_eq!(config.current().expect("good").folders.len(), 1);
        std::fs::write(directory.path().join("config.toml"), "[[folder]]\npth = 1\n")
            .expect("writes");
        let error = config.current().expect_err("broken");
        assert_eq!(error.kind, ErrorKind::Config);
        assert_eq!(config.last_good().folders.len(), 1);
        assert!(config.edit_folder(Path::new("/srv/b"), &FolderEdit::Backup(false)).is_err());
    }
}
