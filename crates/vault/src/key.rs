//! The key of a vault: a generated password and, to skip the slow key derivation
//! on later runs, the master key it unlocks. Owns the key file; never prints or
//! logs what is in it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustic_core::repofile::MasterKey;
use serde::{Deserialize, Serialize};

use crate::error::{At, Result, VaultError};

/// Letters and digits that cannot be mistaken for one another; 32, so that five
/// random bits choose one without bias.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
pub(crate) const GROUPS: usize = 8;
pub(crate) const GROUP: usize = 5;
/// Nothing we write comes near; a larger file is not ours.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Opens one vault. Holds a secret: `Debug` shows none of it.
pub struct VaultKey {
    password: String,
    /// Where the key is stored, once it is: there the master key is remembered.
    path: Mutex<Option<PathBuf>>,
    master: Mutex<Option<MasterKey>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct KeyFile {
    schema: u32,
    pub(crate) password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<MasterKey>,
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(redacted)")
    }
}

impl VaultKey {
    /// A new random key: eight groups of five characters, 200 bits.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self> {
        let mut random = [0u8; GROUPS * GROUP];
        getrandom::fill(&mut random)
            .map_err(|e| io::Error::other(e.to_string()))
            .at("read randomness for", "a new key")?;
        let mut password = String::with_capacity(GROUPS * (GROUP + 1));
        for (i, byte) in random.iter().enumerate() {
            if i > 0 && i % GROUP == 0 {
                password.push('-');
            }
            password.push(char::from(ALPHABET[usize::from(byte & 31)]));
        }
        Ok(Self::from_parts(password, None, None))
    }

    /// A key typed or kept by a person.
    ///
    /// # Errors
    /// When the password is empty: such a vault would be open to everybody.
    pub fn from_password(password: &str) -> Result<Self> {
        let password = password.trim();
        if password.is_empty() {
            return Err(VaultError::Request("a vault's password cannot be empty"));
        }
        Ok(Self::from_parts(password.to_owned(), None, None))
    }

    /// Reads a stored key.
    ///
    /// # Errors
    /// When the file cannot be read, is readable by others, or holds no key.
    pub fn load(path: &Path) -> Result<Self> {
        let broken = |what: &str| VaultError::KeyFile { path: path.into(), what: what.into() };
        let file = File::open(path).at("open the key file", path)?;
        let meta = file.metadata().at("look at the key file", path)?;
        if meta.mode() & 0o077 != 0 {
            return Err(broken("others can read it; make it mode 0600"));
        }
        let mut text = String::new();
        file.take(MAX_KEY_FILE).read_to_string(&mut text).at("read the key file", path)?;
        // The parser's own message could quote the secret, so it is not passed on.
        let parsed: KeyFile = serde_json::from_str(&text)
            .map_err(|_| broken("it holds no key (not readable as JSON)"))?;
        if parsed.schema != 1 {
            return Err(broken("it was written by a newer version"));
        }
        if parsed.password.trim().is_empty() {
            return Err(broken("its password is empty"));
        }
        Ok(Self::from_parts(parsed.password, Some(path.into()), parsed.master))
    }

    /// Writes the key to a new file (mode 0600, complete or not at all, on disk on return).
    ///
    /// # Errors
    /// When the file exists, or cannot be written.
    pub fn store(&self, path: &Path) -> Result<()> {
        let temporary = self.write_beside(path)?;
        // A hard link fails when the name is taken: unlike a rename it never overwrites.
        let linked = fs::hard_link(&temporary, path);
        let removed = fs::remove_file(&temporary);
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(VaultError::KeyFile {
                    path: path.into(),
                    what: "it exists already and is not overwritten".into(),
                });
            }
            other => other.at("write the key file", path)?,
        }
        removed.at("remove", &temporary)?;
        sync_parent(path)?;
        *lock(&self.path) = Some(path.into());
        Ok(())
    }

    /// The password, for stock restic. The caller must not log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.password
    }

    pub(crate) fn master(&self) -> Option<MasterKey> {
        lock(&self.master).clone()
    }

    /// Keeps the master key for the next run. Losing it only costs time, so a file
    /// that cannot be written is no error.
    pub(crate) fn remember(&self, master: MasterKey) {
        *lock(&self.master) = Some(master);
        let Some(path) = lock(&self.path).clone() else { return };
        let written = self
            .write_beside(&path)
            .and_then(|temporary| fs::rename(&temporary, &path).at("replace the key file", &path))
            .and_then(|()| sync_parent(&path));
        if let Err(error) = written {
            tracing::debug!(%error, "the master key could not be remembered");
        }
    }

    fn from_parts(password: String, path: Option<PathBuf>, master: Option<MasterKey>) -> Self {
        Self { password, path: Mutex::new(path), master: Mutex::new(master) }
    }

    fn write_beside(&self, path: &Path) -> Result<PathBuf> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(name);
        let content = KeyFile { schema: 1, password: self.password.clone(), master: self.master() };
        let text = serde_json::to_vec(&content)
            .map_err(|_| VaultError::Request("the key cannot be written as JSON"))?;
        // A leftover of a crashed process with our number is ours to replace.
        let _ = fs::remove_file(&temporary);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.at("write the key file", path)?;
        Ok(temporary)
    }
}

/// Whether a byte can stand in a generated key.
pub(crate) fn is_key_letter(byte: u8) -> bool {
    ALPHABET.contains(&byte)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-done under these locks, so a poisoned one is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|d| d.sync_all()).at("sync the directory", parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stored_once_reloaded_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id.key");
        let key = VaultKey::generate().unwrap();
        key.store(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = VaultKey::load(&path).unwrap();
        assert_eq!(again.reveal(), key.reveal());
        assert_eq!(key.reveal().len(), GROUPS * (GROUP + 1) - 1);
        assert!(!format!("{again:?}").contains(key.reveal()));
        let other = VaultKey::generate().unwrap();
        assert_ne!(other.reveal(), key.reveal());
        let refused = other.store(&path).unwrap_err();
        assert!(matches!(refused, VaultError::KeyFile { .. }), "{refused}");
        assert_eq!(VaultKey::load(&path).unwrap().reveal(), key.reveal());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file stayed behind");
    }

    #[test]
    fn exposed_empty_and_foreign_key_files_are_refused_without_quoting_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        for text in
            [r#"{"schema":1,"password":""}"#, r#"{"schema":9,"password":"x"}"#, "top-secret"]
        {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = VaultKey::load(&path).unwrap_err().to_string();
            assert!(!error.contains("top-secret"), "{error}");
        }
        fs::write(&path, r#"{"schema":1,"password":"abc"}"#).unwrap();
        assert!(VaultKey::load(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(VaultKey::load(&path).is_err());
        assert!(VaultKey::from_password("  ").is_err());
    }
}
