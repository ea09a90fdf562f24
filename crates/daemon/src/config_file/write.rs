//! Changed texts on their way to disk: checked together with all other files first, written
//! whole, with the previous version beside them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ringfence_model::config::{INCLUDES, Source, migrated};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::name::ProfileName;
use toml_edit::DocumentMut;

use super::ConfigFile;
use super::edit::{self, FolderEdit, ProfileEdit};
use crate::host::files;

impl ConfigFile {
    /// Changes one folder's rule where it stands, else in the main file; all edits or none.
    ///
    /// # Errors
    /// When the present files are broken, they would be afterwards, or one cannot be written.
    pub fn edit_folder(&self, folder: &Path, edits: &[FolderEdit]) -> Result<(), ApiError> {
        self.change(|texts| {
            let (place, index) = match self.folder_in(texts, folder)? {
                Some(there) => there,
                None => {
                    let main = self.main_of(texts);
                    let path = folder.to_string_lossy().replace('$', "$$");
                    let index =
                        document(&texts[main], |document| edit::add_folder(document, &path))?;
                    let (text, index) = index;
                    texts[main].text = text;
                    (main, index.ok_or_else(|| not_tables(&texts[main]))?)
                }
            };
            let (text, ()) = document(&texts[place], |document| {
                for one in edits {
                    edit::edit_folder(document, index, one);
                }
            })?;
            texts[place].text = text;
            Ok(())
        })
    }

    /// Changes one profile where it stands; `add`: makes it in the main file.
    ///
    /// # Errors
    /// As [`ConfigFile::edit_folder`]; when it is there already, or is not.
    pub fn edit_profile(
        &self,
        name: &ProfileName,
        add: bool,
        edits: &[ProfileEdit],
    ) -> Result<(), ApiError> {
        self.change(|texts| {
            let there = profile_in(texts, name)?;
            let place = match there {
                Some(place) if add => {
                    let file = texts[place].file.display();
                    let message = format!("profile `{name}` is in {file} already");
                    return Err(ApiError::new(ErrorKind::Usage, message)
                        .hint(format!("ringfence profile set {name} …")));
                }
                Some(place) => place,
                None if add => self.main_of(texts),
                None => return Err(no_profile(name)),
            };
            let (text, ()) = document(&texts[place], |document| {
                edit::add_profile(document, name.as_str());
                for one in edits {
                    edit::edit_profile(document, name.as_str(), one);
                }
            })?;
            texts[place].text = text;
            Ok(())
        })
    }

    /// Takes a profile away; a built-in one of its name is there again.
    ///
    /// # Errors
    /// As [`ConfigFile::edit_folder`]; when it is not there, or a folder names it.
    pub fn remove_profile(&self, name: &ProfileName) -> Result<(), ApiError> {
        self.change(|texts| {
            let place = profile_in(texts, name)?.ok_or_else(|| no_profile(name))?;
            let removed = document(&texts[place], |document| {
                edit::remove_profile(document, name.as_str());
            })?;
            texts[place].text = removed.0;
            Ok(())
        })
    }

    /// Puts a whole text in a file's place, if the file is still as it was when it was read.
    /// `before`: what it held; `None`: it was not there. Broken files may be mended by it.
    ///
    /// # Errors
    /// When the file is none of the configuration's, was changed meanwhile, the configuration
    /// would be broken, or it cannot be written.
    pub fn replace(&self, file: &Path, before: Option<&str>, text: String) -> Result<(), ApiError> {
        let _turn = self.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_include = file.parent() == Some(&self.main.with_file_name(INCLUDES))
            && file.extension().is_some_and(|ending| ending == "toml");
        if file != self.main && !is_include {
            let message = format!("{} is no file of the configuration", file.display());
            return Err(ApiError::new(ErrorKind::Usage, message));
        }
        let mut texts = self.sources().map_err(|error| self.told(&error))?;
        let place = texts.iter().position(|source| source.file == file);
        if place.map(|place| texts[place].text.as_str()) != before {
            let message = format!("{} was changed by somebody else meanwhile", file.display());
            return Err(ApiError::new(ErrorKind::Config, message)
                .hint("nothing was written; look at both, then again"));
        }
        let place = place.unwrap_or_else(|| {
            let at = texts.partition_point(|other| {
                other.file == self.main || (file != self.main && other.file.as_path() < file)
            });
            texts.insert(at, Source { file: file.to_owned(), text: String::new() });
            at
        });
        texts[place].text = text;
        self.read(texts.clone()).map_err(|error| self.told(&error))?;
        self.put(&texts[place], before)
    }

    /// Gives every file of an older schema the present one; gives those that were changed.
    ///
    /// # Errors
    /// As [`ConfigFile::edit_folder`].
    pub fn migrate(&self) -> Result<Vec<PathBuf>, ApiError> {
        let mut changed = Vec::new();
        self.change(|texts| {
            for source in texts {
                if let Some(text) = migrated(&source.text) {
                    source.text = text;
                    changed.push(source.file.clone());
                }
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Changes texts, checks them together, and writes those that are others now.
    fn change(
        &self,
        act: impl FnOnce(&mut Vec<Source>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let _turn = self.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.sources().map_err(|error| self.told(&error))?;
        self.read(before.clone()).map_err(|error| self.told(&error))?;
        let mut after = before.clone();
        act(&mut after)?;
        let old = |file: &Path| before.iter().find(|source| source.file == file);
        for source in &mut after {
            if old(&source.file) != Some(source) {
                source.text = migrated(&source.text).unwrap_or_else(|| source.text.clone());
            }
        }
        self.read(after.clone()).map_err(|error| {
            ApiError::new(ErrorKind::Config, format!("that would break the configuration: {error}"))
                .hint("nothing was written")
        })?;
        for source in &after {
            let old = old(&source.file);
            if old != Some(source) {
                self.put(source, old.map(|old| old.text.as_str()))?;
            }
        }
        Ok(())
    }

    /// Writes one file whole; what it held stays beside it.
    fn put(&self, source: &Source, before: Option<&str>) -> Result<(), ApiError> {
        // Through a link, as people have who keep their configuration somewhere else.
        let file = fs::canonicalize(&source.file).unwrap_or_else(|_| source.file.clone());
        let mode = fs::metadata(&file).map_or(0o600, |facts| facts.permissions().mode() & 0o777);
        let write = || {
            if let Some(before) = before {
                let mut previous = source.file.clone().into_os_string();
                previous.push(".previous");
                files::replace(Path::new(&previous), before.as_bytes(), mode)?;
            }
            files::replace(&file, source.text.as_bytes(), mode)
        };
        write().map_err(|error| {
            let message = format!("{} could not be written", source.file.display());
            ApiError::from_source(ErrorKind::Config, message, &error)
        })
    }

    /// The number of the main file, which is made if it is missing.
    fn main_of(&self, texts: &mut Vec<Source>) -> usize {
        if texts.first().is_none_or(|source| source.file != self.main) {
            texts.insert(0, Source { file: self.main.clone(), text: String::new() });
        }
        0
    }

    /// The file that has a folder's rule, and the rule's number in it.
    fn folder_in(
        &self,
        texts: &[Source],
        folder: &Path,
    ) -> Result<Option<(usize, usize)>, ApiError> {
        for (place, source) in texts.iter().enumerate() {
            let document = parsed(source)?;
            let index = self.with_surroundings(|around| {
                edit::find_folder(&document, |written| {
                    around.folder_path(written).is_ok_and(|path| {
                        path == folder
                            || (around.canonical)(&path).is_some_and(|real| real == folder)
                    })
                })
            });
            if let Some(index) = index {
                return Ok(Some((place, index)));
            }
        }
        Ok(None)
    }
}

/// The file that has a profile.
fn profile_in(texts: &[Source], name: &ProfileName) -> Result<Option<usize>, ApiError> {
    for (place, source) in texts.iter().enumerate() {
        if edit::has_profile(&parsed(source)?, name.as_str()) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn parsed(source: &Source) -> Result<DocumentMut, ApiError> {
    source.text.parse().map_err(|error: toml_edit::TomlError| {
        let message = format!("{} cannot be edited", source.file.display());
        ApiError::from_source(ErrorKind::Config, message, &error)
    })
}

/// A file's text after a change to it.
fn document<T>(
    source: &Source,
    act: impl FnOnce(&mut DocumentMut) -> T,
) -> Result<(String, T), ApiError> {
    let mut document = parsed(source)?;
    let comments = source.text.trim_end();
    if document.as_table().is_empty() && !comments.is_empty() {
        // Comments that stand before nothing would end up behind what is added.
        let mut added = DocumentMut::new();
        let outcome = act(&mut added);
        return Ok((format!("{comments}\n\n{added}"), outcome));
    }
    let outcome = act(&mut document);
    Ok((document.to_string(), outcome))
}

fn not_tables(source: &Source) -> ApiError {
    let message = format!("{}: `folder` is not written as [[folder]]", source.file.display());
    ApiError::new(ErrorKind::Config, message)
        .hint("write each folder under a [[folder]] of its own")
}

fn no_profile(name: &ProfileName) -> ApiError {
    ApiError::new(ErrorKind::Usage, format!("no file of the configuration has a profile `{name}`"))
        .hint(format!("a profile that ships is replaced by: ringfence profile add {name} …"))
}
