//! Which folder a directory belongs to, and the registration of new ones.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ringfence_model::api::FolderLookup;
use ringfence_model::config::Config;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::{self, Folder, FolderRules, Guarded};
use ringfence_model::name::FolderId;
use rustix::fs::{Access, access};

use super::Daemon;
use super::protect::{lost_error, root_of};
use crate::host::{clock, facts};

/// Places in a home directory that no agent may see: keys, tokens, settings, passwords, browsers.
const PRIVATE: [&str; 40] = [
    ".aws",
    ".azure",
    ".bitcoin",
    ".boto",
    ".cache/chromium",
    ".cache/google-chrome",
    ".cache/mozilla",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".cert",
    ".config",
    ".docker",
    ".electrum",
    ".ethereum",
    ".git-credentials",
    ".gnome2/keyrings",
    ".gnupg",
    ".kde",
    ".kube",
    ".local/share/gnome-keyring",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/password-store",
    ".mozilla",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".oci",
    ".password-store",
    ".pgpass",
    ".pki",
    ".pypirc",
    ".s3cfg",
    ".ssh",
    ".subversion/auth",
    ".terraform.d",
    ".thunderbird",
    ".var/app",
    ".vault-token",
    "snap",
];

/// Makes a directory canonical, and says what is wrong with it in words.
///
/// # Errors
/// When it is missing, not a directory, or not readable.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, ApiError> {
    let shown = ringfence_model::bytes::visible(&path.to_string_lossy());
    let refuse = |kind, why: String| ApiError::new(kind, format!("{shown} {why}"));
    let facts = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            refuse(ErrorKind::Usage, "cannot be a folder: there is no such directory".into())
        }
        _ => refuse(ErrorKind::Failed, format!("cannot be a folder: {error}")),
    })?;
    if facts.is_symlink() {
        let target = fs::read_link(path).unwrap_or_default();
        let target = ringfence_model::bytes::visible(&target.to_string_lossy());
        return Err(refuse(ErrorKind::Refused, format!("is a link to {target}"))
            .hint(format!("name the directory itself: {target}")));
    }
    if !facts.is_dir() {
        return Err(refuse(ErrorKind::Usage, "is not a directory".into())
            .hint("name the directory that contains it".to_owned()));
    }
    if access(path, Access::READ_OK | Access::EXEC_OK).is_err() {
        return Err(refuse(
            ErrorKind::Failed,
            "cannot be read by you, so it could not be backed up".into(),
        )
        .hint(format!("look at its rights: ls -ld {shown}")));
    }
    fs::canonicalize(path)
        .map_err(|error| refuse(ErrorKind::Failed, format!("cannot be resolved: {error}")))
}

impl Daemon {
    /// The registered folder with the longest path that contains a canonical directory.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn folder_of(&self, directory: &Path) -> Result<Option<Folder>, ApiError> {
        let file = self.store.folders().map_err(super::failed)?;
        Ok(file
            .folders
            .into_iter()
            .filter(|folder| directory.starts_with(&folder.path))
            .max_by_key(|folder| folder.path.as_os_str().len()))
    }

    /// All registered folders, for work that nobody waits for; none where the state cannot be read.
    pub(super) fn every_folder(&self) -> Vec<Folder> {
        match self.store.folders() {
            Ok(file) => file.folders,
            Err(error) => {
                tracing::error!(%error, "folders cannot be read");
                Vec::new()
            }
        }
    }

    /// The registered folder of a directory that a person named.
    ///
    /// # Errors
    /// When there is none; the hint says how to make one.
    pub fn registered(&self, directory: &Path) -> Result<Folder, ApiError> {
        // A folder that was deleted can still be restored: fall back to the path as given.
        let place = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        self.folder_of(&place)?.ok_or_else(|| {
            ApiError::new(
                ErrorKind::Failed,
                format!("{} is in no registered folder", place.display()),
            )
            .hint(format!("ringfence folder add {}", place.display()))
        })
    }

    /// What a run in a directory would use.
    ///
    /// # Errors
    /// When the directory cannot be a folder.
    pub fn lookup(&self, directory: &Path) -> Result<FolderLookup, ApiError> {
        let canonical = canonical(directory)?;
        let registered = self.folder_of(&canonical)?.map(|folder| folder.path);
        let ruled = registered.as_ref().and_then(|own| self.ruled_within(own, &canonical));
        let registered = registered.filter(|_| ruled.is_none());
        let root = registered.clone().or(ruled).unwrap_or_else(|| canonical.clone());
        if registered.is_none() {
            self.may_register(&root)?;
        }
        Ok(FolderLookup {
            guest_path: folder::guest_path(&root),
            registered,
            canonical: root,
            vaults: self.layout.vaults(),
        })
    }

    pub(super) fn may_register(&self, canonical: &Path) -> Result<(), ApiError> {
        let home = facts::environment().home.unwrap_or_else(|| PathBuf::from("/"));
        let home = fs::canonicalize(&home).unwrap_or(home);
        // A place may be a link to where it truly is.
        let truly = |place: &Path| fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        let places = PRIVATE.iter().map(|name| home.join(name));
        let private: Vec<PathBuf> = places.flat_map(|place| [truly(&place), place]).collect();
        let mut own: Vec<PathBuf> = self.layout.own().into_iter().map(truly).collect();
        // A copy that an agent could reach would be none.
        own.extend(self.copy_directories());
        // A configuration that cannot be read lifts nothing.
        let lifted = self.config.current().map(|config| rules_of(canonical, &config).share_anyway);
        let lifted = lifted.unwrap_or_default();
        let guarded = Guarded { home: &home, private: &private, own: &own };
        folder::may_be_folder(canonical, guarded, &lifted).map_err(|error| {
            let refused = ApiError::new(ErrorKind::Refused, error.to_string()).hint(
                "share a project's own directory instead: ringfence folder add ~/code/PROJECT",
            );
            match error.lifted_by() {
                Some(exception) => refused.hint(format!(
                    "or say in its [[folder]] rule that it is meant: share_anyway = [\"{}\"]",
                    exception.as_str()
                )),
                None => refused,
            }
        })
    }

    /// Registers a directory, or finds it registered. A directory that replaced the
    /// registered one at the same path takes over its registration and vault.
    ///
    /// # Errors
    /// When it cannot be a folder or the state cannot be written.
    pub fn register(&self, directory: &Path) -> Result<Folder, ApiError> {
        self.register_as(directory, None)
    }

    /// As [`Self::register`], for a folder whose vault there is already under this id.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub(super) fn register_as(
        &self,
        directory: &Path,
        id: Option<FolderId>,
    ) -> Result<Folder, ApiError> {
        let canonical = canonical(directory)?;
        let _guard = self.folder_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = self.store.folders().map_err(super::failed)?;
        let facts = fs::metadata(&canonical).map_err(super::failed)?;
        if let Some(known) = file.folders.iter_mut().find(|folder| folder.path == canonical) {
            (known.device, known.inode) = (facts.dev(), facts.ino());
            let known = known.clone();
            self.store.set_folders(&file).map_err(super::failed)?;
            return Ok(known);
        }
        self.may_register(&canonical)?;
        let waits = |gone: &Folder| {
            id.is_none() && gone.path == canonical && self.layout.vault(&gone.id).exists()
        };
        let place = file.removed.iter().position(waits);
        let returned = place.map(|place| file.removed.remove(place));
        for other in &file.folders {
            // One in another is a folder of its own; one directory has one vault.
            if (other.device, other.inode) != (facts.dev(), facts.ino()) {
                continue;
            }
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!(
                    "{} is the same directory as the registered folder {}",
                    canonical.display(),
                    other.path.display()
                ),
            )
            .hint(format!(
                "to use the new one instead: ringfence folder remove {}",
                other.path.display()
            )));
        }
        let folder = Folder {
            // A folder that comes back finds its vault again.
            id: id.or(returned.map(|gone| gone.id)).unwrap_or_else(|| new_id(&canonical)),
            path: canonical,
            device: facts.dev(),
            inode: facts.ino(),
            registered: clock::now(),
        };
        file.folders.push(folder.clone());
        self.store.set_folders(&file).map_err(super::failed)?;
        Ok(folder)
    }

    /// Ends the protection of a folder; its vault and key stay.
    ///
    /// # Errors
    /// When a session still uses it or the state cannot be written.
    pub fn unregister(&self, directory: &Path) -> Result<Folder, ApiError> {
        let folder = self.registered(directory)?;
        if folder.path != fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()) {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!(
                    "{} is not registered itself; {} is",
                    directory.display(),
                    folder.path.display()
                ),
            ));
        }
        let sessions = self.store.sessions().map_err(super::failed)?;
        if let Some(session) = sessions.iter().find(|session| {
            session.folder.as_ref() == Some(&folder.id) && !session.state.is_final()
        }) {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!("session {} is at work in {}", session.id, folder.path.display()),
            )
            .hint(format!("ringfence session stop {}", session.id)));
        }
        let _guard = self.folder_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = self.store.folders().map_err(super::failed)?;
        file.folders.retain(|other| other.id != folder.id);
        file.removed.push(folder.clone());
        self.store.set_folders(&file).map_err(super::failed)?;
        // Should it come back, it comes back protected.
        self.change_acts(&folder, |acts| {
            acts.opt_out = None;
            acts.pause = None;
        })?;
        self.protect.tell();
        Ok(folder)
    }

    /// Whether a directory was a folder, is none now, and has its vault still.
    pub(super) fn waits_for_return(&self, directory: &Path) -> Result<bool, ApiError> {
        let canonical = canonical(directory)?;
        let file = self.store.folders().map_err(super::failed)?;
        let is_it = |folder: &Folder| folder.path == canonical;
        Ok(!file.folders.iter().any(is_it)
            && file.removed.iter().any(|gone| is_it(gone) && self.layout.vault(&gone.id).exists()))
    }

    /// That a registered folder is still the directory that was registered.
    ///
    /// # Errors
    /// When it is gone or another directory has its name.
    pub(super) fn same_directory(&self, folder: &Folder) -> Result<(), ApiError> {
        root_of(folder).check().map_err(|lost| lost_error(folder, &lost))
    }
}

/// The rules of one folder.
pub(super) fn rules_of(path: &Path, config: &Config) -> FolderRules {
    config
        .folders
        .iter()
        .find(|rules| fs::canonicalize(&rules.path).unwrap_or_else(|_| rules.path.clone()) == path)
        .map_or_else(
            || FolderRules::unspoken(path),
            |rules| FolderRules { path: path.to_owned(), ..rules.clone() },
        )
}

/// A readable and unique id: the directory's name and eight random digits.
pub(super) fn new_id(path: &Path) -> FolderId {
    let name = slug(path, 24);
    let mut random = [0u8; 4];
    // The operating system's generator cannot fail once the system is up.
    let _ = getrandom::fill(&mut random);
    FolderId::new(format!("{name}-{:08x}", u32::from_be_bytes(random)))
        .unwrap_or_else(|_| unreachable!("a slug and digits are a name"))
}

/// A directory's name in the letters that a name may have.
pub(super) fn slug(path: &Path, max: usize) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= max {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "folder".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_names() {
        for (path, expected) in [
            ("/a/My Shop!", "my-shop"),
            ("/a/---", "folder"),
            ("/a/Größe", "gr-e"),
            ("/a/averyveryverylongname", "averyveryv"),
        ] {
            assert_eq!(slug(Path::new(path), 10), expected);
            assert!(FolderId::new(new_id(Path::new(path)).as_str()).is_ok());
        }
    }
}
