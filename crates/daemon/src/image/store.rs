//! Images on disk: `cache/images/ID/` with `disk.qcow2`, for a base also `vmlinuz` and
//! `initrd`, and `image.json`, which is written last.
//!
//! Owns: the lock that makes builders wait for each other, the place where something
//! half-made lies, the check that an image is what was built. Must not: build.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::engine::BootFiles;
use crate::host::facts;
use crate::image::{ImageError, hex};

/// The disk's name.
pub const DISK: &str = "disk.qcow2";
/// The kernel's name.
pub const KERNEL: &str = "vmlinuz";
/// The initial file system's name.
pub const INITRD: &str = "initrd";
pub(super) const RECORD: &str = "image.json";
const UNFINISHED: &str = ".new-";
const LOCK: &str = ".lock";

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// The system itself.
    Base {
        /// Brought from another host instead of built here.
        #[serde(default)]
        imported: bool,
    },
    /// One recipe on a base.
    Layer {
        /// The base's id.
        base: String,
        /// The recipe's name.
        recipe: String,
        /// What the agent said to `--version` when it was installed.
        version: String,
    },
}

/// The record of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of this record.
    pub schema: u32,
    /// The image's name: a hash of its recipe.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// SHA-256 of each file.
    pub files: Vec<Fingerprint>,
}

/// One file of an image as it was when it was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: i64,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// All images of one user.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// The right to change the store. Another builder waits until this is dropped.
#[derive(Debug)]
pub struct Locked {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    /// The store in `cache/images`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where an image's files are.
    #[must_use]
    pub fn place(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// An image, if it was finished.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Image> {
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = plain.then(|| std::fs::read(self.place(id).join(RECORD)).ok())??;
        serde_json::from_slice::<Image>(&bytes)
            .ok()
            .filter(|image| image.schema == 1 && image.id == id)
    }

    /// All finished images, sorted by id.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        let mut found: Vec<Image> = entries
            .flatten()
            .filter_map(|entry| self.find(&entry.file_name().to_string_lossy()))
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// The base that machines are made from: the one with this id, else one that was imported.
    #[must_use]
    pub fn base(&self, id: &str) -> Option<Image> {
        self.find(id).or_else(|| {
            self.list().into_iter().find(|image| image.kind == Kind::Base { imported: true })
        })
    }

    /// What a machine with this image boots from.
    ///
    /// # Errors
    /// When the image, or the base of a layer, is not there.
    pub fn boot_files(&self, id: &str) -> Result<BootFiles, ImageError> {
        let unknown = || ImageError::Unknown(id.to_owned());
        let image = self.find(id).ok_or_else(unknown)?;
        let base = match &image.kind {
            Kind::Base { .. } => id,
            Kind::Layer { base, .. } => base,
        };
        let below = self.place(&self.find(base).ok_or_else(unknown)?.id);
        Ok(BootFiles {
            disk: self.place(id).join(DISK),
            kernel: below.join(KERNEL),
            initrd: below.join(INITRD),
        })
    }

    /// Checks an image, and the base of a layer, before a machine starts from it. Unchanged size
    /// and time are enough, unless `thorough`: then every byte is read, as for a new machine.
    ///
    /// # Errors
    /// When something differs from what was built.
    pub fn verify(&self, id: &str, thorough: bool) -> Result<(), ImageError> {
        let image = self.find(id).ok_or_else(|| ImageError::Unknown(id.to_owned()))?;
        let place = self.place(id);
        for wanted in &image.files {
            let path = place.join(&wanted.name);
            let changed = |what: String| ImageError::Changed { id: id.to_owned(), what };
            let facts = std::fs::metadata(&path).map_err(|error| changed(error.to_string()))?;
            if facts.len() != wanted.size {
                return Err(changed(format!("the size of {}", wanted.name)));
            }
            let touched = modified(&facts) != wanted.modified;
            if (thorough || touched)
                && sha256(&path).map_err(ImageError::file(&path))? != wanted.sha256
            {
                return Err(changed(format!("the content of {}", wanted.name)));
            }
        }
        match &image.kind {
            Kind::Base { .. } => Ok(()),
            Kind::Layer { base, .. } => self.verify(base, thorough),
        }
    }

    /// Waits for other builders, then sweeps what an interrupted one left.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub async fn lock(&self) -> Result<Locked, ImageError> {
        let directory = self.directory.clone();
        let work = move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let path = directory.join(LOCK);
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            sweep(&directory);
            Ok::<_, io::Error>(Locked { directory, _lock: file })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
            .and_then(|locked| locked)
            .map_err(ImageError::file(&self.directory))
    }

    /// Removes an image.
    ///
    /// # Errors
    /// When it is not there, or a layer stands on it. Whether machines use it is the caller's to know.
    pub async fn remove(&self, id: &str) -> Result<(), ImageError> {
        let locked = self.lock().await?;
        self.find(id).ok_or_else(|| ImageError::Unknown(id.to_owned()))?;
        for other in self.list() {
            if let Kind::Layer { base, recipe, .. } = &other.kind
                && base == id
            {
                let by = format!("image {} (recipe {recipe})", other.id);
                return Err(ImageError::InUse { id: id.to_owned(), by });
            }
        }
        // Renamed first: what is half removed does not look like an image.
        let from = self.place(id);
        let to = locked.directory.join(format!("{UNFINISHED}removed-{id}"));
        std::fs::rename(&from, &to).map_err(ImageError::file(&from))?;
        std::fs::remove_dir_all(&to).map_err(ImageError::file(&to))
    }
}

/// Removes what interrupted builders left. Only under the lock: nobody else is building.
fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        // A builder has namespaces of its own for what it mounts. Should something be mounted there all the same, it
        // could be the host's devices.
        if unfinished && !facts::mounted_beneath(&entry.path()) {
            // What cannot be removed is tried again by the next builder.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Locked {
    /// A private directory to build in, on the same file system; gone when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn workplace(&self) -> Result<tempfile::TempDir, ImageError> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&self.directory)
            .map_err(ImageError::file(&self.directory))
    }

    /// Makes a finished image of the files `names` in the workplace: read-only, hashed, on the
    /// disk for good, and only then under its name.
    ///
    /// # Errors
    /// When a file cannot be read or the disk is full.
    pub fn finish(
        &self,
        workplace: tempfile::TempDir,
        id: &str,
        kind: Kind,
        names: &[&str],
    ) -> Result<Image, ImageError> {
        let from = workplace.path().to_owned();
        let work = || {
            let mut files = Vec::new();
            for name in names {
                files.push(seal(&from.join(name), name)?);
            }
            let image = Image { schema: 1, id: id.to_owned(), kind, files };
            let mut record = File::create(from.join(RECORD))?;
            record.write_all(&serde_json::to_vec_pretty(&image)?)?;
            record.sync_all()?;
            File::open(&from)?.sync_all()?;
            let to = self.directory.join(id);
            if to.exists() {
                // Only something without a valid record can be here.
                std::fs::remove_dir_all(&to)?;
            }
            std::fs::rename(&from, &to)?;
            File::open(&self.directory)?.sync_all()?;
            Ok(image)
        };
        let image = work().map_err(ImageError::file(&from))?;
        // It lies under its own name now; there is nothing left to remove.
        let _ = workplace.keep();
        Ok(image)
    }
}

fn seal(path: &Path, name: &str) -> io::Result<Fingerprint> {
    std::fs::set_permissions(path, Permissions::from_mode(0o444))?;
    File::open(path)?.sync_all()?;
    let facts = std::fs::metadata(path)?;
    let (size, modified) = (facts.len(), modified(&facts));
    Ok(Fingerprint { name: name.to_owned(), size, modified, sha256: sha256(path)? })
}

fn modified(facts: &std::fs::Metadata) -> i64 {
    facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec())
}

pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&chunk[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    async fn made(store: &Store, id: &str, kind: Kind) -> Image {
        let locked = store.lock().await.expect("lock");
        let place = locked.workplace().expect("workplace");
        std::fs::write(place.path().join(DISK), id).expect("written");
        locked.finish(place, id, kind, &[DISK]).expect("finished")
    }

    fn layer(base: &str) -> Kind {
        let (recipe, version) = ("claude-code".to_owned(), "1".to_owned());
        Kind::Layer { base: base.to_owned(), recipe, version }
    }

    #[tokio::test]
    async fn what_is_not_finished_is_no_image() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path());
        let locked = store.lock().await.expect("lock");
        let place = locked.workplace().expect("workplace");
        std::fs::write(place.path().join(DISK), "half").expect("written");
        // As after kill -9: the directory stays.
        let left = place.keep();
        drop(locked);
        assert!(store.list().is_empty());
        std::fs::create_dir(store.place(ID)).expect("made");
        assert!(store.find(ID).is_none() && store.find("../x").is_none());
        drop(store.lock().await.expect("lock"));
        assert!(!left.exists());
        let image = made(&store, ID, Kind::Base { imported: false }).await;
        assert_eq!(store.find(ID), Some(image));
    }

    #[tokio::test]
    async fn a_changed_image_is_not_used() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path());
        made(&store, ID, Kind::Base { imported: false }).await;
        made(&store, "aa", layer(ID)).await;
        store.verify("aa", true).expect("as built");
        let disk = store.place(ID).join(DISK);
        std::fs::set_permissions(&disk, Permissions::from_mode(0o644)).expect("mode");
        std::fs::write(&disk, "0123456789abcdeX").expect("changed");
        let error = store.verify("aa", false).expect_err("changed below");
        assert!(error.to_string().contains("the content of disk.qcow2"), "{error}");
    }

    #[tokio::test]
    async fn a_base_with_layers_stays() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path());
        made(&store, ID, Kind::Base { imported: true }).await;
        made(&store, "aa", layer(ID)).await;
        assert!(matches!(store.remove(ID).await, Err(ImageError::InUse { .. })));
        assert_eq!(store.base("ffff").map(|image| image.id), Some(ID.to_owned()));
        let files = store.boot_files("aa").expect("files");
        assert_eq!(files.disk, store.place("aa").join(DISK));
        assert_eq!(files.kernel, store.place(ID).join(KERNEL));
        store.remove("aa").await.expect("removed");
        store.remove(ID).await.expect("removed");
        assert!(store.list().is_empty());
    }

    #[tokio::test]
    async fn builders_wait_for_each_other() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path());
        let first = store.lock().await.expect("lock");
        let second = tokio::spawn({
            let store = store.clone();
            async move { store.lock().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.expect("joined").expect("lock");
    }
}
