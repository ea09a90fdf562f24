//! Opens a vault for a check with whatever still opens it: the password through an
//! intact key file, else the master key that our own key file remembers. Owns what is
//! said about keys; writes nothing.

use rustic_core::repofile::{KeyFile, MasterKey};
use rustic_core::{FileType, Id};

use super::examine::{Opening, error, list, short};
use super::inventory::{BadFile, read_named};
use crate::check::Problem;
use crate::error::Result;
use crate::key::VaultKey;
use crate::seal::Seal;
use crate::storage::Storage;

/// What opens the vault, and what is wrong with its keys.
pub(crate) struct Unlocked {
    pub(crate) seal: Option<Seal>,
    pub(crate) problems: Vec<Problem>,
}

pub(crate) fn unlock(storage: &Storage, opening: &Opening<'_>) -> Result<Unlocked> {
    let ids = list(storage, FileType::Key)?;
    let mut problems = Vec::new();
    let mut intact = Vec::new();
    for id in &ids {
        let parsed = read_named(storage, FileType::Key, id).and_then(|bytes| {
            serde_json::from_slice::<KeyFile>(&bytes)
                .map_err(|_| BadFile { id: *id, why: "it holds no key" })
        });
        match parsed {
            Ok(file) => intact.push(file),
            Err(bad) => {
                let what = format!(
                    "key file {} in the vault: {}; the password may not open the vault any more",
                    short(id),
                    bad.why
                );
                problems.push(error("key-damaged", what, FileType::Key, id));
            }
        }
    }
    if ids.is_empty() {
        let what = "the vault has no key file: its password opens nothing any more".to_owned();
        problems.push(error_without_file("key-missing", what));
    }
    let seal = match opening {
        Opening::Open(master) => Some(Seal::new(master)?),
        Opening::With(key) => match by_password(&intact, key) {
            Some(seal) => Some(seal),
            None => {
                if !intact.is_empty() {
                    let what = "the folder's key does not open the vault; nothing was changed";
                    problems.push(error_without_file("key-wrong", what.to_owned()));
                }
                remembered(storage, key)?
            }
        },
    };
    Ok(Unlocked { seal, problems })
}

fn error_without_file(name: &'static str, what: String) -> Problem {
    Problem { file: None, ..error(name, what, FileType::Key, &Id::default()) }
}

fn by_password(files: &[KeyFile], key: &VaultKey) -> Option<Seal> {
    files.iter().find_map(|file| {
        let (encrypt, k, r) = file.key_from_password(&key.reveal()).ok()?.to_keys();
        Seal::from_parts(&encrypt, &k, &r).ok()
    })
}

/// The remembered master key, if it opens anything at all in this vault.
fn remembered(storage: &Storage, key: &VaultKey) -> Result<Option<Seal>> {
    let Some(master): Option<MasterKey> = key.master() else { return Ok(None) };
    let seal = Seal::new(&master)?;
    let opens = |bytes| seal.open_file::<serde_json::Value>(bytes).is_some();
    let config = std::fs::read(storage.path(FileType::Config, &Id::default())).ok();
    let mut fits = config.is_some_and(opens);
    for kind in [FileType::Index, FileType::Snapshot] {
        let named = list(storage, kind)?;
        fits = fits || named.iter().any(|id| read_named(storage, kind, id).is_ok_and(opens));
    }
    Ok(fits.then_some(seal))
}
